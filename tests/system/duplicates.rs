//! Many starts with one key at once: one saga, one answer, and nobody else waits for them.

use std::time::{Duration, Instant};

use saga_proto::v1::StartSagaRequest;
use saga_tests::{Rig, client::start, postgres::Postgres};
use serde_json::json;
use tokio::task::JoinSet;

use crate::files::SINGLE;

/// `SAGA_DUPLICATES` asks for more than the suite does.
fn duplicates() -> usize {
    std::env::var("SAGA_DUPLICATES")
        .ok()
        .and_then(|many| many.parse().ok())
        .unwrap_or(2_000)
}

/// Starts one saga many times at once, others one by one meanwhile, and says how long the slowest of those waited.
async fn starts_at_once(rig: &Rig) -> Duration {
    rig.clients.deploy(SINGLE).await;
    let mut calls = JoinSet::new();
    for _ in 0..duplicates() {
        let clients = rig.clients.clone();
        let request = StartSagaRequest {
            key: "one".to_owned(),
            ..start("single", json!({"n": 1}))
        };
        calls.spawn(async move { clients.try_start(request).await.expect("an answer") });
    }
    let (mut slowest, mut created, mut ids) = (Duration::ZERO, 0, std::collections::HashSet::new());
    while !calls.is_empty() {
        let asked = Instant::now();
        rig.clients
            .try_start(start("single", json!({"n": 2})))
            .await
            .expect("a start");
        slowest = slowest.max(asked.elapsed());
        while let Some(answer) = calls.try_join_next() {
            let answer = answer.expect("no panic");
            created += usize::from(answer.created);
            ids.insert(answer.saga_id);
        }
    }
    assert_eq!((created, ids.len()), (1, 1));
    println!(
        "{} starts with one key: another start waited for {slowest:?} at most",
        duplicates()
    );
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_with_one_key_hold_up_no_other_start() {
    let slowest = starts_at_once(&Rig::start().await).await;
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_with_one_key_hold_up_no_other_start_on_postgres() {
    let server = tokio::task::spawn_blocking(Postgres::start)
        .await
        .expect("a server");
    let slowest = starts_at_once(&Rig::start_in_a_database(server.url("postgres")).await).await;
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}
