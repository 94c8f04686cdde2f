//! Connections that are lost, shared, refused and given up.

use saga_participant::{Error, Op};
use saga_proto::v1::ListParticipantsRequest;
use saga_tests::{
    Gate, Instance, Rig, Say, Script,
    client::{status, step},
    eventually,
    ledger::assert_sane,
    script::connected,
};
use serde_json::json;

use crate::files::{PAIR, SINGLE};

#[tokio::test]
async fn a_step_whose_connection_is_lost_is_sent_again_and_acts_once() {
    let rig = Rig::start_on_streams().await;
    let gate = Gate::new();
    let held = gate.clone();
    let left = Script::plain(&rig, "left")
        .hold_replies(move |_, op| (op == Op::Action).then(|| held.clone()));
    let doomed = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    gate.arrived(1).await;
    doomed.kill();
    let _left = left.serve(&rig).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    // The inbox answered the second attempt, not the handler.
    assert_eq!(
        (
            step(&seen, "first").tries,
            left.count("act"),
            left.deeds().len()
        ),
        (2, 1, 1)
    );
}

#[tokio::test]
async fn an_answer_that_comes_after_its_time_still_counts_once() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let held = gate.clone();
    let left = Script::plain(&rig, "left")
        .hold_replies(move |_, op| (op == Op::Action).then(|| held.clone()));
    let _left = left.serve(&rig).await;
    let file = SINGLE
        .replace("timeout: 50s", "timeout: 100ms")
        .replace("max_attempts: 10", "max_attempts: 2");
    rig.clients.deploy(&file).await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    gate.arrived(1).await;
    // The second attempt is answered by the inbox, while the answer to the first is still held.
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("completed", 2)
    );
    gate.open();
    let next = rig.clients.begin("single", json!({"n": 0})).await;
    assert_eq!(status(&rig.clients.ended(&next).await), "completed");
    assert_eq!(
        rig.clients.get(&id).await.seq,
        seen.seq,
        "an answer to an ended saga changes nothing"
    );
    assert_eq!((left.count("act"), left.ledger().len()), (2, 2));
}

#[tokio::test]
async fn two_instances_share_the_work_and_the_inbox() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let first = left.serve(&rig).await;
    let _second = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(rig.clients.begin("single", json!({"n": n})).await);
    }
    first.kill();
    for id in &ids {
        assert_eq!(status(&rig.clients.ended(id).await), "completed");
    }
    assert_eq!(left.ledger().len(), 20);
    assert_sane(&left.ledger());
}

#[tokio::test]
async fn an_instance_with_another_inbox_is_refused() {
    let rig = Rig::start_on_streams().await;
    let other = Rig::start_on_streams().await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    // Its database stands in the other rig's folder.
    let stranger = Script::plain(&other, "left").at(&rig.endpoint());
    let refused = stranger.launch_sqlite().join().await;
    let Err(Error::Refused { reason, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        reason.starts_with("A0425") && reason.contains("share one inbox"),
        "{reason}"
    );
    assert_eq!(connected(&rig, "left").await.len(), 1);
}

#[tokio::test]
async fn a_draining_instance_finishes_and_gets_nothing_new() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let held = gate.clone();
    let say = move |call: &saga_tests::Call| {
        let done = Say::Succeed(json!({}));
        if call.input["n"] == 0 {
            Say::Hang(held.clone(), Box::new(done))
        } else {
            done
        }
    };
    let left = Script::plain(&rig, "left").act("act", say);
    let old = left.serve_from_memory(&rig).await;
    let file = SINGLE.replace(
        "compensation: left/undo}",
        "compensation: left/undo, at_least_once: true}",
    );
    rig.clients.deploy(&file).await;
    let slow = rig.clients.begin("single", json!({"n": 0})).await;
    gate.arrived(1).await;
    let draining = old.begin_stop();
    eventually("the instance to drain", || async {
        let mut directory = rig.clients.directory.clone();
        let seen = directory
            .list_participants(ListParticipantsRequest::default())
            .await
            .expect("a list")
            .into_inner();
        let left = seen
            .participants
            .iter()
            .find(|p| p.name == "left")
            .expect("known");
        (left.instances.len() == 1
            && left.instances[0].draining
            && left.instances[0].outstanding == 1)
            .then_some(())
    })
    .await;
    let quick = rig.clients.begin("single", json!({"n": 1})).await;
    let seen = rig
        .clients
        .until(&quick, "waiting", |seen| {
            step(seen, "first").status == "waiting"
        })
        .await;
    assert!(step(&seen, "first").note.contains("no live participant"));
    let _new = left.serve_from_memory(&rig).await;
    assert_eq!(status(&rig.clients.ended(&quick).await), "completed");
    gate.open();
    assert_eq!(status(&rig.clients.ended(&slow).await), "completed");
    draining.join().await.expect("an end in order");
    assert_eq!(left.ledger().len(), 2);
    assert_sane(&left.ledger());
}

#[tokio::test]
async fn an_instance_without_the_action_is_passed_over() {
    let rig = Rig::start_on_streams().await;
    let full = Script::plain(&rig, "left");
    let whole = full.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    whole.stop().await.expect("an end in order");
    // The same participant of an older release: the same inbox, but no `act`.
    let older = Script::new(&rig, "left").undo("undo", |_| Say::Succeed(json!({})));
    let _older = older.serve(&rig).await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    let seen = rig
        .clients
        .until(&id, "waiting", |seen| {
            step(seen, "first").status == "waiting"
        })
        .await;
    assert!(
        step(&seen, "first").note.contains("does not serve"),
        "{seen:?}"
    );
    let _whole: Instance = full.serve(&rig).await;
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
    assert_eq!((full.count("act"), older.count("act")), (1, 0));
}

#[tokio::test]
async fn a_handler_that_panics_is_a_failed_attempt_and_nothing_more() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").act("act", |call| {
        if call.before == 0 {
            Say::Panic
        } else {
            Say::Succeed(json!({}))
        }
    });
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(PAIR).await;
    let id = rig.clients.begin("pair", json!({"n": 0})).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "second").tries),
        ("completed", 2)
    );
    let history = rig.clients.history(&id).await;
    assert!(
        history
            .iter()
            .any(|e| e.kind == "step_failed" && e.text.contains("panic")),
        "{history:?}"
    );
    assert_eq!(right.deeds(), ["second"]);
}
