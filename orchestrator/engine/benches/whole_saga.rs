//! What whole sagas cost without a wire: lane, decisions and SQLite, participants played in the process.
//!
//! `cargo bench -p saga-engine --bench whole_saga -- [sagas] [concurrency]`; prints one line a figure.

#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::{sync::Arc, time::Instant};

use saga_core::{
    Partition, Payload, SagaId,
    input::{Outcome, Start},
};
use saga_dsl::{
    builder::{Saga, step},
    plan::Plan,
};
use saga_engine::{
    definitions::Definitions,
    lane::{
        self, Handle, Settings,
        intake::{Incoming, Intake, Listener, StartJob},
    },
    link::{Link, Outgoing},
    store::Store,
};
use saga_store_sqlite::SqliteStore;
use tokio::sync::mpsc;

struct Echo {
    actions: Vec<String>,
    sent: mpsc::UnboundedSender<Vec<Outgoing>>,
}

impl Link for Echo {
    fn number(&self) -> u64 {
        1
    }
    fn participant(&self) -> &str {
        "bench"
    }
    fn actions(&self) -> &[String] {
        &self.actions
    }
    fn transactional(&self) -> bool {
        true
    }
    fn send(&self, commands: Vec<Outgoing>) {
        self.sent.send(commands).ok();
    }
}

fn plan() -> Arc<Plan> {
    let mut saga = Saga::new("bench", 1);
    for n in 1..=4 {
        saga = saga.step(
            step(&format!("step_{n}"))
                .action("bench/work")
                .compensation("bench/undo"),
        );
    }
    Arc::new(Plan::from_definition(saga.build().expect("valid")).expect("valid"))
}

async fn echo(lane: Handle, mut commands: mpsc::UnboundedReceiver<Vec<Outgoing>>) {
    let participant: Arc<str> = "bench".into();
    while let Some(batch) = commands.recv().await {
        let replies = batch
            .iter()
            .map(|out| Incoming {
                saga_id: out.command.saga_id,
                step: out.plan.steps[out.command.step.at()].id.clone(),
                round: out.command.round,
                op: out.command.op,
                attempt: out.command.attempt,
                participant: Arc::clone(&participant),
                outcome: Outcome::Succeeded(
                    Payload::from_bytes(br#"{"ok":true,"r":"ref-0001"}"#).expect("JSON"),
                ),
            })
            .collect();
        if lane.send(Intake::Replies(replies)).await.is_err() {
            return;
        }
    }
}

async fn run(sagas: u64, concurrency: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&dir.path().join("bench.db")).expect("a store"));
    let plan = plan();
    let definitions = Definitions::default();
    definitions.insert(Arc::clone(&plan));
    let (lane, _task) = lane::spawn(store.clone(), Arc::new(definitions), Settings::default())
        .await
        .expect("a lane");
    let (sent, received) = mpsc::unbounded_channel();
    lane.send(Intake::Connected(Arc::new(Echo {
        actions: vec!["work".into(), "undo".into()],
        sent,
    })))
    .await
    .expect("runs");
    tokio::spawn(echo(lane.clone(), received));
    let (sink, mut ended) = mpsc::unbounded_channel();
    let input = Payload::from_bytes(br#"{"n":1}"#).expect("JSON");
    let begun = Instant::now();
    let (mut started, mut over) = (0, 0);
    while over < sagas {
        let mut jobs = Vec::new();
        while started < sagas && started - over < concurrency {
            started += 1;
            jobs.push(StartJob {
                id: SagaId::new(
                    1_700_000_000_000 + started / 40,
                    Partition((started % 32) as u16),
                    started,
                ),
                plan: Arc::clone(&plan),
                start: Start {
                    input: input.clone(),
                    key: None,
                    labels: Default::default(),
                },
                input_hash: [0; 32],
                started: None,
                ended: Some(Listener {
                    tag: started,
                    sink: sink.clone(),
                }),
                waits: Default::default(),
                holds: Default::default(),
            });
        }
        if !jobs.is_empty() {
            lane.send(Intake::Starts(jobs)).await.expect("runs");
        }
        let mut ends = Vec::new();
        over += ended.recv_many(&mut ends, 4_096).await as u64;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "in flight {concurrency:>5}: {:>8.0} sagas/s {:>8.0} steps/s",
        sagas as f64 / seconds,
        4.0 * sagas as f64 / seconds
    );
}

fn main() {
    let numbers: Vec<u64> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let sagas = numbers.first().copied().unwrap_or(20_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    for concurrency in numbers.get(1).map_or(vec![1, 256, 2_000], |c| vec![*c]) {
        runtime.block_on(run(
            if concurrency == 1 { sagas / 20 } else { sagas },
            concurrency,
        ));
    }
}
