//! Operators' acts through the real server and real participants: rounds, seals, and what the ledgers say afterwards.

use saga_proto::v1::{ResolveRequest, RetryRequest, SkipRequest};
use saga_tests::{
    Gate, Instance, Rig, Say, Script,
    client::{status, step},
};
use serde_json::json;

use crate::files::{PAIR, WHOLE};

fn retry(saga: &str, step: &str) -> RetryRequest {
    RetryRequest {
        saga: saga.to_owned(),
        step: step.to_owned(),
        ..RetryRequest::default()
    }
}

fn skip(saga: &str, step: &str) -> SkipRequest {
    let reason = "by hand".to_owned();
    SkipRequest {
        saga: saga.to_owned(),
        step: step.to_owned(),
        reason,
        ..SkipRequest::default()
    }
}

/// Refuses the last step until the input says otherwise.
async fn refused_after_the_pivot(rig: &Rig) -> (Script, [Instance; 2], String) {
    let left = Script::plain(rig, "left").act("act", |call| {
        match (call.step.as_str(), &call.input["n"]) {
            ("last", n) if *n != 7 => Say::Refuse("no_such_customer"),
            _ => Say::Succeed(json!({})),
        }
    });
    let right = Script::plain(rig, "right");
    let instances = [left.serve(rig).await, right.serve(rig).await];
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    rig.clients
        .until(&id, "an incident", |seen| !seen.incidents.is_empty())
        .await;
    (left, instances, id)
}

#[tokio::test]
async fn a_refused_step_is_done_in_another_round_with_other_data() {
    let rig = Rig::start().await;
    let (left, _instances, id) = refused_after_the_pivot(&rig).await;
    let mut operators = rig.clients.operators();
    // The same again is refused again, in a round of its own.
    operators.retry(retry(&id, "last")).await.expect("taken");
    let again = |seen: &saga_proto::v1::SagaDetail| {
        step(seen, "last").round == 2 && !seen.incidents.is_empty()
    };
    rig.clients.until(&id, "refused again", again).await;
    let edited = RetryRequest {
        input: json!({"n": 7}).to_string().into(),
        ..retry(&id, "last")
    };
    operators.retry(edited).await.expect("taken");
    let seen = rig.clients.ended(&id).await;
    assert_eq!((status(&seen), step(&seen, "last").round), ("completed", 3));
    assert!(
        !seen.summary.expect("a summary").exceptions,
        "every round before was proved to be over"
    );
    assert_eq!(left.deeds(), ["first", "last"]);
}

#[tokio::test]
async fn what_is_skipped_is_sealed_and_never_takes_effect() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let held = gate.clone();
    let left = Script::plain(&rig, "left").act("act", move |call| match call.step.as_str() {
        "last" => Say::Hang(held.clone(), Box::new(Say::Fail("busy"))),
        _ => Say::Succeed(json!({})),
    });
    let right = Script::plain(&rig, "right");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    rig.clients
        .until(&id, "the last step", |seen| {
            step(seen, "last").status == "running"
        })
        .await;
    rig.clients
        .operators()
        .skip(skip(&id, "last"))
        .await
        .expect("taken");
    gate.open();
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "last").status.as_str()),
        ("completed", "skipped")
    );
    assert!(seen.summary.expect("a summary").exceptions);
    assert_eq!(left.deeds(), ["first"]);
}

#[tokio::test]
async fn a_stuck_undo_goes_on_when_it_can_be_done() {
    let rig = Rig::start().await;
    let mended = Gate::new();
    let is_mended = mended.clone();
    let left = Script::plain(&rig, "left").undo("undo", move |_| {
        if is_mended.is_open() {
            Say::Succeed(json!(null))
        } else {
            Say::Refuse("already_flown")
        }
    });
    let right = Script::plain(&rig, "right").refuse("act", "no");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(PAIR).await;
    let id = rig.clients.begin("pair", json!({"n": 0})).await;
    rig.clients
        .until(&id, "an incident", |seen| !seen.incidents.is_empty())
        .await;
    mended.open();
    rig.clients
        .operators()
        .retry(retry(&id, ""))
        .await
        .expect("taken");
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "compensated");
    assert_eq!(left.deeds(), ["first", "-first"]);
    assert!(!seen.summary.expect("a summary").exceptions);
}

#[tokio::test]
async fn acts_survive_a_restart() {
    let mut rig = Rig::start().await;
    let (left, _instances, id) = refused_after_the_pivot(&rig).await;
    let request = ResolveRequest {
        saga: id.clone(),
        step: "last".to_owned(),
        r#as: "succeeded".to_owned(),
        output: json!({"by": "hand"}).to_string().into(),
        reason: "written into the ledger by hand".to_owned(),
        ..ResolveRequest::default()
    };
    rig.clients
        .operators()
        .resolve(request)
        .await
        .expect("taken");
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    assert_eq!(left.deeds(), ["first"]);
    rig.restart().await;
    let again = rig.clients.get(&id).await;
    assert!(again.summary.expect("a summary").exceptions);
    let audit = rig
        .clients
        .operators()
        .list_audit(saga_proto::v1::ListAuditRequest::default())
        .await;
    assert_eq!(audit.expect("a list").into_inner().entries.len(), 1);
}
