//! Sagas by the thousand on one stream.

use std::collections::BTreeMap;

use futures_util::stream;
use saga_proto::v1::{ListSagasRequest, RunOutcome, RunSagasRequest, StartSagaRequest};
use saga_tests::{
    Instance, Rig, Say, Script,
    client::start,
    eventually,
    ledger::{Kind, assert_sane},
    within,
};
use serde_json::json;

use crate::files::PAIR_AT_LEAST_ONCE;

/// Every third is refused at the second step, every seventh fails once.
async fn mixed(rig: &Rig) -> (Script, Script, [Instance; 2]) {
    let left = Script::plain(rig, "left").act("act", |call| {
        let n = call.input["n"].as_i64().unwrap_or(0);
        if n % 7 == 0 && call.before == 0 {
            Say::Fail("busy")
        } else {
            Say::Succeed(json!({}))
        }
    });
    let right = Script::plain(rig, "right").act("act", |call| {
        let n = call.input["n"].as_i64().unwrap_or(0);
        if n % 3 == 0 {
            Say::Refuse("no")
        } else {
            Say::Succeed(json!({}))
        }
    });
    let instances = [
        left.serve_from_memory(rig).await,
        right.serve_from_memory(rig).await,
    ];
    rig.clients.deploy(PAIR_AT_LEAST_ONCE).await;
    (left, right, instances)
}

fn requests(count: u64) -> Vec<RunSagasRequest> {
    let tags: Vec<u64> = (0..count).collect();
    let of = |tags: &[u64]| RunSagasRequest {
        starts: tags
            .iter()
            .map(|n| start("pair", json!({"n": n})))
            .collect(),
        tags: tags.to_vec(),
    };
    tags.chunks(300).map(of).collect()
}

async fn run(rig: &Rig, requests: Vec<RunSagasRequest>) -> BTreeMap<u64, RunOutcome> {
    let mut sagas = rig.clients.sagas.clone();
    let mut answers = sagas
        .run_sagas(stream::iter(requests))
        .await
        .expect("a stream")
        .into_inner();
    let mut outcomes = BTreeMap::new();
    while let Some(answer) = within("outcomes", answers.message())
        .await
        .expect("outcomes")
    {
        for outcome in answer.outcomes {
            let tag = outcome.tag;
            assert!(
                outcomes.insert(tag, outcome).is_none(),
                "{tag} came back twice"
            );
        }
    }
    outcomes
}

#[tokio::test]
async fn two_thousand_sagas_of_mixed_fate_come_back_once_each() {
    let rig = Rig::start().await;
    let (left, right, _instances) = mixed(&rig).await;
    let outcomes = run(&rig, requests(2_000)).await;
    assert_eq!(outcomes.len(), 2_000);
    for (tag, outcome) in &outcomes {
        let expected = if tag % 3 == 0 {
            "compensated"
        } else {
            "completed"
        };
        assert_eq!(outcome.status, expected, "{tag}: {outcome:?}");
        assert_eq!(
            outcome.fault.as_ref().map(|fault| &*fault.step),
            (tag % 3 == 0).then_some("second")
        );
    }
    assert_sane(&left.ledger());
    assert_sane(&right.ledger());
    let undone = left
        .ledger()
        .iter()
        .filter(|effect| effect.kind == Kind::Undone)
        .count();
    assert_eq!(
        (left.ledger().len(), undone, right.ledger().len()),
        (2_000 + 667, 667, 2_000 - 667)
    );
    let list = rig.clients.list(ListSagasRequest::default()).await;
    assert_eq!((list.open_total, list.finished_total), (0, 2_000));
}

#[tokio::test]
async fn a_refused_start_is_an_outcome_and_does_not_end_the_stream() {
    let rig = Rig::start().await;
    let (_left, _right, _instances) = mixed(&rig).await;
    let keyed = |n: u64, key: &str| StartSagaRequest {
        key: key.to_owned(),
        ..start("pair", json!({"n": n}))
    };
    let starts = vec![
        keyed(1, "K"),
        start("pair", json!({"n": "x"})),
        start("piar", json!({"n": 1})),
        keyed(2, "K"),
        keyed(1, "K"),
        start("pair", json!({"n": 3})),
    ];
    let outcomes = run(
        &rig,
        vec![RunSagasRequest {
            tags: (0..6).collect(),
            starts,
        }],
    )
    .await;
    let line = |tag: u64| {
        let outcome = &outcomes[&tag];
        (
            outcome.status.as_str(),
            outcome
                .fault
                .as_ref()
                .map_or("", |fault| fault.code.as_str()),
            outcome.created,
        )
    };
    assert_eq!(line(0), ("completed", "", true));
    assert_eq!(line(1), ("", "A0422", false));
    assert_eq!(line(2), ("", "A0405", false));
    assert_eq!(line(3), ("", "A0409", false));
    assert_eq!(line(4), ("completed", "", false));
    assert_eq!(outcomes[&4].saga_id, outcomes[&0].saga_id);
    assert_eq!(line(5), ("compensated", "no", true));
}

#[tokio::test]
async fn sagas_end_although_their_client_has_gone() {
    let rig = Rig::start().await;
    let (left, right, _instances) = mixed(&rig).await;
    let mut sagas = rig.clients.sagas.clone();
    // The stream stays open on our side, and is dropped with the first outcomes.
    let requests = futures_util::StreamExt::chain(stream::iter(requests(600)), stream::pending());
    let mut answers = sagas
        .run_sagas(requests)
        .await
        .expect("a stream")
        .into_inner();
    within("an outcome", answers.message())
        .await
        .expect("an outcome")
        .expect("an outcome");
    drop(answers);
    let started = eventually("every saga that began to end", || async {
        let list = rig.clients.list(ListSagasRequest::default()).await;
        (list.open_total == 0).then_some(list.finished_total)
    })
    .await;
    assert!(started > 0);
    let (left, right) = (left.ledger(), right.ledger());
    assert_sane(&left);
    assert_sane(&right);
    let done = |effects: &[saga_tests::Effect]| {
        effects.iter().filter(|e| e.kind == Kind::Done).count() as u64
    };
    assert_eq!(done(&left), started);
}
