//! A participant dies with the pivot in its hands.

use saga_participant::Op;
use saga_tests::{
    Gate, Rig, Script,
    client::{status, step},
};
use serde_json::json;

use crate::files::WHOLE;

#[tokio::test]
async fn a_pivot_that_committed_and_never_said_so_is_asked_and_goes_forward_once() {
    let rig = Rig::start_on_streams().await;
    let gate = Gate::new();
    let held = gate.clone();
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").hold_replies(move |key, op| {
        (&*key.step == "pivot" && op == Op::Action).then(|| held.clone())
    });
    let (_left, doomed) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    gate.arrived(1).await;
    doomed.kill();
    let waits = |seen: &_| step(seen, "pivot").status != "running";
    rig.clients
        .until(&id, "the loss to be noticed", waits)
        .await;
    let _right = right.serve(&rig).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "pivot").tries),
        ("completed", 1)
    );
    assert_eq!(
        (right.deeds(), right.count("act")),
        (vec!["pivot".to_owned()], 1)
    );
    let kinds: Vec<_> = rig
        .clients
        .history(&id)
        .await
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert!(kinds.iter().any(|kind| kind == "step_unknown"), "{kinds:?}");
    assert!(kinds.iter().any(|kind| kind == "pivot_asked"), "{kinds:?}");
}

#[tokio::test]
async fn a_pivot_that_died_before_its_commit_is_asked_and_tried_again() {
    let rig = Rig::start_on_streams().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").hang_until("act", &gate);
    let (_left, doomed) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    gate.arrived(1).await;
    doomed.kill();
    let waits = |seen: &_| step(seen, "pivot").status != "running";
    rig.clients
        .until(&id, "the loss to be noticed", waits)
        .await;
    gate.open();
    let _right = right.serve(&rig).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "pivot").tries),
        ("completed", 2)
    );
    assert_eq!(
        (right.deeds(), right.count("act")),
        (vec!["pivot".to_owned()], 2)
    );
    let kinds: Vec<_> = rig
        .clients
        .history(&id)
        .await
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert!(kinds.iter().any(|kind| kind == "pivot_asked"), "{kinds:?}");
}
