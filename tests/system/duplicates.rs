//! Many starts with one key at once: one saga, one answer, and nobody else waits for them.
//!
//! The server is a process of its own, as its memory and its threads are looked at. The other starts come from a thread
//! and a connection of their own, for what is measured is the server and not this program.
//!
//! `SAGA_DUPLICATES` asks for another number of starts than the suite does.

use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use saga_proto::v1::{StartSagaRequest, StartSagaResponse};
use saga_tests::{Clients, client::start, postgres::Postgres, served::Served};
use serde_json::json;
use tokio::task::JoinSet;

use crate::files::SINGLE;

/// Connections that the starts with one key are spread over, as they come from many clients.
const CONNECTIONS: usize = 64;
/// Calls at once on one connection. HTTP/2 cuts a connection with many more of them where the machine is slow.
const CALLS_OF_ONE: usize = 4_000;
/// Time between two of the other starts.
const PACE: Duration = Duration::from_millis(50);
/// How long the other starts are measured without any duplicate.
const ALONE: Duration = Duration::from_secs(2);
/// Longest wait of another start beside the duplicates. Without optimisation each call costs ten times as much, and on a
/// machine that is busy with other things it was 6 s: there the figure only says that nobody is held up for ever.
const HELD_UP_MAX: Duration = if cfg!(debug_assertions) {
    Duration::from_secs(20)
} else {
    Duration::from_millis(500)
};

fn duplicates() -> usize {
    std::env::var("SAGA_DUPLICATES")
        .ok()
        .and_then(|many| many.parse().ok())
        .unwrap_or(20_000)
}

fn duplicate() -> StartSagaRequest {
    StartSagaRequest {
        key: "one".to_owned(),
        ..start("single", json!({"n": 1}))
    }
}

/// Starts that come one every [`PACE`], whatever becomes of those before.
struct Others {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Others {
    fn begin(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let clients = Clients::new(address);
                let mut calls = JoinSet::new();
                let mut pace = tokio::time::interval(PACE);
                while !stopped.load(Ordering::Relaxed) {
                    pace.tick().await;
                    let clients = clients.clone();
                    calls.spawn(async move {
                        let asked = Instant::now();
                        let begun = clients.try_start(start("single", json!({"n": 2}))).await;
                        assert!(begun.expect("a start").created);
                        asked.elapsed()
                    });
                }
                calls.join_all().await
            })
        });
        Self { stop, thread }
    }

    /// How long each waited for its answer, the shortest first.
    fn end(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let mut waits = self.thread.join().expect("no panic");
        waits.sort_unstable();
        waits
    }
}

/// Largest amount of memory that the process has had, in KiB.
fn peak_kib(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = peak.expect("VmHWM").split_whitespace().next();
    words.and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Answers of starts with one key: one saga.
#[derive(Default)]
struct Answers {
    created: usize,
    ids: HashSet<Vec<u8>>,
}

impl Answers {
    fn add(&mut self, answer: &StartSagaResponse) {
        self.created += usize::from(answer.created);
        self.ids.insert(answer.saga_id.to_vec());
    }
}

/// One call for each start.
async fn call_for_each(address: SocketAddr, calls_at_once: usize, connections: usize) {
    let connections: Vec<Clients> = (0..connections).map(|_| Clients::new(address)).collect();
    for clients in &connections {
        // The connection is made with the first call.
        let _ = clients.try_get("x").await;
    }
    let mut calls = JoinSet::new();
    for (_, clients) in (0..calls_at_once).zip(connections.iter().cycle()) {
        let clients = clients.clone();
        calls.spawn(async move { clients.try_start(duplicate()).await.expect("an answer") });
    }
    let mut answers = Answers::default();
    while let Some(answer) = calls.join_next().await {
        answers.add(&answer.expect("no panic"));
    }
    assert_eq!((answers.created, answers.ids.len()), (1, 1));
}

/// Starts one saga many times at once, others beside it, and says how long the slowest of those waited.
async fn starts_at_once(served: &Served) -> Duration {
    served.clients.deploy(SINGLE).await;
    let (address, process) = (served.address(), served.program.id());
    let others = Others::begin(address);
    tokio::time::sleep(ALONE).await;
    let alone = others.end();
    let before = peak_kib(&process);
    let others = Others::begin(address);
    let began = Instant::now();
    call_for_each(address, duplicates(), CONNECTIONS).await;
    let took = began.elapsed();
    let beside = others.end();
    let (slowest_alone, slowest) = (*alone.last().expect("some"), *beside.last().expect("some"));
    println!(
        "{} starts with one key in {took:?}: {} other starts waited {slowest:?} at most (half of them up to {:?}), \
         without duplicates {slowest_alone:?} ({:?}); memory peak {} MiB, {} MiB before",
        duplicates(),
        beside.len(),
        beside[beside.len() / 2],
        alone[alone.len() / 2],
        peak_kib(&process) / 1024,
        before / 1024,
    );
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_with_one_key_hold_up_no_other_start() {
    let slowest = starts_at_once(&Served::start(&[]).await).await;
    assert!(slowest < HELD_UP_MAX, "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_with_one_key_hold_up_no_other_start_on_postgres() {
    let server = tokio::task::spawn_blocking(Postgres::start)
        .await
        .expect("a server");
    let served = Served::start(&["--store", &server.url("postgres")]).await;
    let slowest = starts_at_once(&served).await;
    assert!(slowest < HELD_UP_MAX, "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_do_not_cut_their_connection() {
    let served = Served::start(&[]).await;
    served.clients.deploy(SINGLE).await;
    call_for_each(served.address(), CALLS_OF_ONE, 1).await;
}
