//! The store is a PostgreSQL server that dies under load and comes back.

use futures_util::{StreamExt, stream};
use saga_tests::{
    Rig, Script,
    client::{id_of, start, status},
    eventually,
    ledger::{Kind, assert_sane},
    postgres::Postgres,
    wait::eventually_or,
};
use serde_json::json;

const SAGAS: i64 = 240;
/// Of so many sagas one is refused at its second step.
const REFUSED_EVERY: i64 = 3;

/// Two compensatable steps; a start that is asked for twice is one saga.
const KEYED: &str = "
saga: keyed
version: 1
idempotency_key: ${string(input.n)}
input: {n: int}
defaults:
  timeout: 50s
  retry: {initial_delay: 20ms, max_delay: 100ms}
  compensation_retry: {initial_delay: 20ms, max_delay: 100ms}
steps:
  - {step: first, action: left/act, input: [n], compensation: left/undo}
  - {step: second, action: right/act, input: [n], compensation: right/undo}
";

#[tokio::test]
async fn a_database_that_dies_under_load_loses_nothing_and_doubles_nothing() {
    let mut server = tokio::task::spawn_blocking(Postgres::start)
        .await
        .expect("a server");
    let rig = Rig::start_in_a_database(server.url("postgres")).await;
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").act("act", |call| {
        if call.input["n"].as_i64().unwrap_or(0) % REFUSED_EVERY == 0 {
            saga_tests::Say::Refuse("no")
        } else {
            saga_tests::Say::Succeed(json!({}))
        }
    });
    let _instances = [left.serve(&rig).await, right.serve(&rig).await];
    rig.clients.deploy(KEYED).await;

    // Whoever gets no answer asks again, as clients do.
    let clients = &rig.clients;
    let begin = |n: i64| async move {
        let started = eventually_or("a start", async || {
            let answer = clients.try_start(start("keyed", json!({"n": n}))).await;
            answer.map_err(|status| format!("{n}: {status}"))
        });
        (n, id_of(&started.await.saga_id))
    };
    let load = stream::iter(0..SAGAS)
        .map(begin)
        .buffer_unordered(8)
        .collect::<Vec<_>>();
    let kills = async {
        for round in 1..=3 {
            // In the middle of the load each time, since a saga leaves at most one deed here per step.
            let deeds = || async { (left.ledger().len() >= round * 50).then_some(()) };
            eventually("some work", deeds).await;
            let killed = tokio::task::spawn_blocking(move || {
                server.kill();
                server.revive();
                server
            });
            server = killed.await.expect("it came back");
        }
        server
    };
    let (begun, _server) = tokio::join!(load, kills);

    for (n, id) in &begun {
        let expected = if n % REFUSED_EVERY == 0 {
            "compensated"
        } else {
            "completed"
        };
        assert_eq!(status(&rig.clients.ended(id).await), expected, "{n}");
    }
    let (left, right) = (left.ledger(), right.ledger());
    assert_sane(&left);
    assert_sane(&right);
    let count = |kind| left.iter().filter(|effect| effect.kind == kind).count() as i64;
    assert_eq!(
        (count(Kind::Done), count(Kind::Undone)),
        (SAGAS, SAGAS / REFUSED_EVERY)
    );
    assert_eq!(right.len() as i64, SAGAS - SAGAS / REFUSED_EVERY);
}
