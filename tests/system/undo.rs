//! Undo that does not go smoothly, and steps that call for a person.

use saga_proto::v1::{ListSagasRequest, SagaSummary};
use saga_tests::{
    Rig, Say, Script,
    client::{status, step},
};
use serde_json::{Value, json};

use crate::files::{PAIR, WHOLE};

async fn incidents(rig: &Rig) -> Vec<SagaSummary> {
    rig.clients
        .list(ListSagasRequest {
            mark: "incident".to_owned(),
            ..Default::default()
        })
        .await
        .sagas
}

#[tokio::test]
async fn an_undo_that_fails_is_tried_until_it_succeeds() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left").undo("undo", |call| {
        if call.before < 7 {
            Say::Fail("busy")
        } else {
            Say::Succeed(Value::Null)
        }
    });
    let right = Script::plain(&rig, "right").refuse("act", "no");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(PAIR).await;
    let id = rig.clients.begin("pair", json!({"n": 0})).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").undo_tries),
        ("compensated", 8)
    );
    assert_eq!(
        (left.deeds(), right.ledger()),
        (vec!["first".to_owned(), "-first".to_owned()], vec![])
    );
    let undone = left
        .calls()
        .into_iter()
        .find(|call| call.action == "undo")
        .expect("an undo");
    assert_eq!(undone.input, json!({"n": 0}));
    assert_eq!(undone.output.expect("an output")["step"], "first");
}

#[tokio::test]
async fn an_undo_that_is_refused_is_an_incident_that_everybody_can_see() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left").undo("undo", |_| Say::Refuse("already_flown"));
    let right = Script::plain(&rig, "right").refuse("act", "no");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(PAIR).await;
    let id = rig.clients.begin("pair", json!({"n": 0})).await;
    let seen = rig
        .clients
        .until(&id, "an incident", |seen| !seen.incidents.is_empty())
        .await;
    assert_eq!(status(&seen), "compensating");
    let incident = &seen.incidents[0];
    assert_eq!(
        (incident.code.as_str(), incident.step.as_str()),
        ("undo_stuck", "first")
    );
    let told = |line: &String| line.contains("Incident") && line.contains("already_flown");
    assert!(seen.story.iter().any(told), "{:?}", seen.story);
    let listed = incidents(&rig).await;
    assert_eq!(listed.len(), 1);
    let line = (
        &*listed[0].id,
        &*listed[0].mark,
        &*listed[0].status,
        &*listed[0].step,
    );
    assert_eq!(line, (&*id, "incident", "compensating", "first"));
    assert_eq!(left.count("undo"), 1, "a refused undo is not tried again");
    // A cancel finds it on its way back.
    assert_eq!(
        rig.clients.cancel(&id).await.expect("a cancel").disposition,
        "already"
    );
}

#[tokio::test]
async fn a_step_refused_after_the_pivot_is_an_incident() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left").act("act", |call| {
        if call.step == "last" {
            Say::Refuse("no_such_customer")
        } else {
            Say::Succeed(json!({}))
        }
    });
    let right = Script::plain(&rig, "right");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    let seen = rig
        .clients
        .until(&id, "an incident", |seen| !seen.incidents.is_empty())
        .await;
    assert_eq!(status(&seen), "running");
    assert_eq!(
        (
            seen.incidents[0].code.as_str(),
            step(&seen, "last").status.as_str()
        ),
        ("retriable_refused", "refused")
    );
    assert_eq!(incidents(&rig).await.len(), 1);
    assert_eq!(left.deeds(), ["first"], "nothing is undone after the pivot");
}

#[tokio::test]
async fn a_slow_step_raises_an_incident_that_its_success_clears() {
    let rig = Rig::start().await;
    let mended = saga_tests::Gate::new();
    let is_mended = mended.clone();
    let left = Script::plain(&rig, "left").act("act", move |call| match call.step.as_str() {
        "last" if !is_mended.is_open() => Say::Fail("busy"),
        _ => Say::Succeed(json!({})),
    });
    let right = Script::plain(&rig, "right");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients
        .deploy(&WHOLE.replace("kind: retriable,", "kind: retriable, escalate_after: 50ms,"))
        .await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    let seen = rig
        .clients
        .until(&id, "an incident", |seen| !seen.incidents.is_empty())
        .await;
    assert_eq!(
        (status(&seen), seen.incidents[0].code.as_str()),
        ("running", "slow")
    );
    let tries = left.count("act");
    rig.clients
        .until(&id, "further tries", |_| left.count("act") > tries + 2)
        .await;
    mended.open();
    let seen = rig.clients.ended(&id).await;
    assert_eq!((status(&seen), seen.incidents.len()), ("completed", 0));
    assert_eq!(incidents(&rig).await, []);
    assert_eq!(left.deeds(), ["first", "last"]);
}

#[tokio::test]
async fn a_slow_undo_raises_an_incident_that_its_success_clears() {
    let rig = Rig::start().await;
    let mended = saga_tests::Gate::new();
    let is_mended = mended.clone();
    let left = Script::plain(&rig, "left").undo("undo", move |_| {
        if is_mended.is_open() {
            Say::Succeed(Value::Null)
        } else {
            Say::Fail("busy")
        }
    });
    let right = Script::plain(&rig, "right").refuse("act", "no");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    let file = PAIR.replace(
        "compensation: left/undo}",
        "compensation: {action: left/undo, escalate_after: 50ms}}",
    );
    rig.clients.deploy(&file).await;
    let id = rig.clients.begin("pair", json!({"n": 0})).await;
    let seen = rig
        .clients
        .until(&id, "an incident", |seen| !seen.incidents.is_empty())
        .await;
    assert_eq!(
        (status(&seen), seen.incidents[0].code.as_str()),
        ("compensating", "undo_slow")
    );
    let tries = left.count("undo");
    rig.clients
        .until(&id, "further tries", |_| left.count("undo") > tries + 2)
        .await;
    mended.open();
    let seen = rig.clients.ended(&id).await;
    assert_eq!((status(&seen), seen.incidents.len()), ("compensated", 0));
    assert_eq!(left.deeds(), ["first", "-first"]);
}

#[tokio::test]
async fn an_undo_waits_for_a_participant_that_is_away() {
    let rig = Rig::start().await;
    let gate = saga_tests::Gate::new();
    let held = gate.clone();
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").act("act", move |_| {
        Say::Hang(held.clone(), Box::new(Say::Refuse("no")))
    });
    let (away, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(PAIR).await;
    let id = rig.clients.begin("pair", json!({"n": 0})).await;
    gate.arrived(1).await;
    away.stop().await.expect("an end in order");
    gate.open();
    let waits = |seen: &_| step(seen, "first").status == "undo_waiting";
    let seen = rig.clients.until(&id, "the undo to wait", waits).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").undo_tries),
        ("compensating", 0)
    );
    assert_eq!(seen.summary.expect("a summary").mark, "waiting");
    let _left = left.serve(&rig).await;
    assert_eq!(status(&rig.clients.ended(&id).await), "compensated");
    assert_eq!(left.deeds(), ["first", "-first"]);
}
