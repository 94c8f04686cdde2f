//! A server whose store takes no commits does nothing but try again now and then, however many timers are due.

use std::{
    fs,
    time::{Duration, Instant},
};

use saga_tests::{
    client::{start, status},
    eventually,
    postgres::Postgres,
    served::Served,
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::files::SINGLE;

/// Sagas whose deadline passes while the store is away.
const SAGAS: usize = 3_000;
/// Long enough for their starts.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long the server is looked at.
const LOOK: Duration = Duration::from_secs(6);
/// Processor time over time.
const CORES_MAX: f64 = 0.05;
/// A clock tick of `/proc`, which is the same on every Linux that a program sees.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process so far.
fn processor_time(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("its status");
    // The name may hold spaces; behind it come the state and then numbers.
    let (_, numbers) = stat.rsplit_once(')').expect("a name");
    let ticks = numbers.split_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.filter_map(|n| n.parse::<u32>().ok()).sum();
    TICK * ticks
}

#[tokio::test(flavor = "multi_thread")]
async fn due_timers_cost_nothing_while_the_store_is_away() {
    let mut database = tokio::task::spawn_blocking(Postgres::start)
        .await
        .expect("a database");
    let served = Served::start(&["--store", &database.url("postgres")]).await;
    let process = served.program.id();
    let deadline = format!("version: 1\ndeadline: {}s", DEADLINE.as_secs());
    served
        .clients
        .deploy(&SINGLE.replace("version: 1", &deadline))
        .await;
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..SAGAS {
        let clients = served.clients.clone();
        calls.spawn(async move { clients.begin("single", json!({"n": n})).await });
    }
    let ids = calls.join_all().await;
    database.kill();
    assert!(began.elapsed() < DEADLINE, "none is due yet");
    // The deadline of the last one has passed, and the first tries are over.
    tokio::time::sleep((DEADLINE + Duration::from_secs(3)).saturating_sub(began.elapsed())).await;
    let (since, before) = (Instant::now(), processor_time(&process));
    tokio::time::sleep(LOOK).await;
    let used = processor_time(&process).saturating_sub(before);
    let cores = used.as_secs_f64() / since.elapsed().as_secs_f64();
    println!("{SAGAS} due timers and no store: {cores:.3} cores");
    assert!(cores < CORES_MAX, "{cores:.3} cores");
    // It goes on when the store is back.
    database.revive();
    let last = ids.last().expect("some");
    eventually("the store to be back", || async {
        let seen = served.clients.try_get(last).await.ok()?;
        (status(&seen) != "running").then_some(())
    })
    .await;
    let again = start("single", json!({"n": SAGAS}));
    assert!(
        served
            .clients
            .try_start(again)
            .await
            .expect("a start")
            .created
    );
}
