//! Everybody dies now and then, and the sums are right in the end.

use saga_participant::Op;
use saga_proto::v1::{GetSagaRequest, RunSagasRequest};
use saga_tests::{
    Gate, Rig, Say, Script,
    client::{json, start, status, step},
    eventually,
    ledger::{Kind, assert_sane},
    within,
};
use serde_json::json;

use crate::files::{SINGLE, WHOLE};

#[tokio::test]
async fn participants_that_die_again_and_again_act_once() {
    const SAGAS: usize = 200;
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").act("act", |call| {
        if call.input["n"].as_i64().unwrap_or(0) % 4 == 0 {
            Say::Refuse("no")
        } else {
            Say::Succeed(json!({}))
        }
    });
    let (mut at_left, mut at_right) = (left.serve(&rig).await, right.serve(&rig).await);
    // Attempts are lost with each death; the limit of the default policy is not what this is about.
    let file = WHOLE.replace(
        "max_delay: 100ms}",
        "max_delay: 100ms, max_attempts: unlimited}",
    );
    rig.clients.deploy(&file).await;
    let starts = (0..SAGAS).map(|n| rig.clients.begin("whole", json!({"n": n})));
    let ids = futures_util::future::join_all(starts).await;
    for part in 1..=6 {
        let done = || async {
            (left.calls().len() + right.calls().len() >= part * SAGAS / 4).then_some(())
        };
        eventually("work to be done", done).await;
        if part % 2 == 0 {
            at_left.kill();
            at_left = left.serve(&rig).await;
        } else {
            at_right.kill();
            at_right = right.serve(&rig).await;
        }
    }
    for (n, id) in ids.iter().enumerate() {
        let seen = rig.clients.ended(id).await;
        let expected = if n % 4 == 0 {
            "compensated"
        } else {
            "completed"
        };
        assert_eq!(status(&seen), expected, "{n}: {:?}", seen.story);
        assert_eq!(seen.incidents, []);
    }
    let (left, right) = (left.ledger(), right.ledger());
    assert_sane(&left);
    assert_sane(&right);
    let undone = left
        .iter()
        .filter(|effect| effect.kind == Kind::Undone)
        .count();
    assert_eq!(
        (undone, left.len(), right.len()),
        (SAGAS / 4, 2 * SAGAS, SAGAS - SAGAS / 4)
    );
}

#[tokio::test]
async fn a_watcher_of_large_pictures_that_does_not_read_holds_nobody_back() {
    let rig = Rig::start().await;
    // Each attempt is a change, each picture has three documents of 200 KB: far more than a stream takes unread.
    let text = "x".repeat(200_000);
    let output = text.clone();
    let left = Script::plain(&rig, "left").act("act", move |call| {
        if call.before < 40 {
            Say::Fail("busy")
        } else {
            Say::Succeed(json!({"echo": output}))
        }
    });
    let _left = left.serve(&rig).await;
    rig.clients
        .deploy(&SINGLE.replace(
            "max_delay: 100ms, max_attempts: 10",
            "max_delay: 20ms, max_attempts: 99",
        ))
        .await;
    let slow = rig
        .clients
        .begin("single", json!({"n": 0, "text": text}))
        .await;
    let request = GetSagaRequest { saga: slow.clone() };
    let mut watch = rig
        .clients
        .sagas
        .clone()
        .watch_saga(request)
        .await
        .expect("a watch")
        .into_inner();
    let seen = rig.clients.ended(&slow).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("completed", 41)
    );
    let mut pictures = Vec::new();
    while let Some(seen) = within("pictures", watch.message())
        .await
        .expect("a picture")
    {
        pictures.push((seen.seq, status(&seen).to_owned()));
    }
    assert_eq!(pictures.last(), Some(&(seen.seq, "completed".to_owned())));
    assert!(
        pictures.len() < 40,
        "{} pictures were kept for somebody who did not look",
        pictures.len()
    );
    assert_eq!(
        json(&seen.input)["text"].as_str().map(str::len),
        Some(200_000)
    );
}

#[tokio::test]
async fn a_stream_of_starts_ends_with_the_server_and_its_sagas_go_on_with_the_next() {
    let mut rig = Rig::start().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left").hang_until("act", &gate);
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let keyed = |n: u64| saga_proto::v1::StartSagaRequest {
        key: format!("K-{n}"),
        ..start("single", json!({"n": n}))
    };
    let requests = || {
        let message = RunSagasRequest {
            starts: (0..50).map(keyed).collect(),
            tags: (0..50).collect(),
        };
        futures_util::stream::iter([message])
    };
    let mut run = rig
        .clients
        .sagas
        .clone()
        .run_sagas(requests())
        .await
        .expect("a stream")
        .into_inner();
    gate.arrived(1).await;
    rig.clients
        .until("single/K-49", "its start", |_| true)
        .await;
    rig.kill();
    within("the end of the stream", run.message())
        .await
        .expect_err("the server is gone");
    rig.revive().await;
    gate.open();
    // The client repeats what it did not hear the end of; the keys make it the same sagas.
    let again = || async { rig.clients.sagas.clone().run_sagas(requests()).await.ok() };
    let mut run = eventually("the server to answer", again).await.into_inner();
    let mut tags = Vec::new();
    while let Some(answer) = within("outcomes", run.message()).await.expect("outcomes") {
        for outcome in answer.outcomes {
            assert_eq!(
                (outcome.status.as_str(), outcome.created),
                ("completed", false)
            );
            tags.push(outcome.tag);
        }
    }
    tags.sort_unstable();
    assert_eq!(tags, (0..50).collect::<Vec<_>>());
    assert_eq!(left.ledger().len(), 50);
    assert_sane(&left.ledger());
}

#[tokio::test]
async fn a_server_that_restarts_takes_answers_that_were_held_meanwhile() {
    let mut rig = Rig::start().await;
    let gate = Gate::new();
    let held = gate.clone();
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right")
        .hold_replies(move |_, op| (op == Op::Action).then(|| held.clone()));
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    gate.arrived(1).await;
    rig.restart().await;
    gate.open();
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    assert_eq!(
        (left.deeds(), right.deeds()),
        (vec!["first".into(), "last".into()], vec!["pivot".into()])
    );
    assert_eq!(right.count("act"), 1);
}
