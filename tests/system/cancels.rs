//! Cancel: before, during and after the point of no return.

use saga_tests::{
    Gate, Rig, Script,
    client::{code, status, step},
};
use serde_json::json;

use crate::files::WHOLE;

#[tokio::test]
async fn a_cancel_waits_for_the_step_in_flight_and_then_undoes_it() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left").hang_until("act", &gate);
    let right = Script::plain(&rig, "right");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    gate.arrived(1).await;
    let answer = rig.clients.cancel(&id).await.expect("a cancel");
    assert_eq!(
        (answer.disposition.as_str(), answer.status.as_str()),
        ("compensating", "compensating")
    );
    let again = rig.clients.cancel(&id).await.expect("a second cancel");
    assert_eq!(again.disposition, "already");
    gate.open();
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "compensated");
    assert_eq!(seen.cancel_reason, "changed my mind");
    assert_eq!(left.deeds(), ["first", "-first"]);
    assert_eq!(right.ledger(), []);
    let refusal = rig.clients.cancel(&id).await.expect_err("it has ended");
    assert_eq!(code(&refusal), "A0410");
}

#[tokio::test]
async fn a_cancel_while_the_pivot_acts_waits_for_it_and_goes_forward_if_it_took_effect() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").hang_until("act", &gate);
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    gate.arrived(1).await;
    let answer = rig.clients.cancel(&id).await.expect("a cancel");
    assert_eq!(
        (answer.disposition.as_str(), answer.status.as_str()),
        ("settling", "running")
    );
    gate.open();
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    assert_eq!(
        (left.deeds(), right.deeds()),
        (vec!["first".into(), "last".into()], vec!["pivot".into()])
    );
}

#[tokio::test]
async fn a_cancel_seals_a_pivot_whose_attempt_was_lost() {
    let rig = Rig::start_on_streams().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").hang_until("act", &gate);
    let (_left, doomed) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    gate.arrived(1).await;
    let answer = rig.clients.cancel(&id).await.expect("a cancel");
    assert_eq!(answer.disposition, "settling");
    // Dies in the middle of its transaction; another instance is asked what became of it.
    doomed.kill();
    let _right = right.serve(&rig).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "compensated");
    assert_eq!(left.deeds(), ["first", "-first"]);
    assert_eq!(right.ledger(), []);
    let history = rig.clients.history(&id).await;
    assert!(
        history.iter().any(|event| event.kind == "pivot_sealed"),
        "{history:?}"
    );
}

#[tokio::test]
async fn a_cancel_after_the_pivot_is_refused() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let (at_last, opened) = (gate.clone(), saga_tests::Say::Succeed(json!({})));
    let left = Script::plain(&rig, "left").act("act", move |call| match call.step.as_str() {
        "last" => saga_tests::Say::Hang(at_last.clone(), Box::new(opened.clone())),
        _ => opened.clone(),
    });
    let right = Script::plain(&rig, "right");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    gate.arrived(1).await;
    let refusal = rig
        .clients
        .cancel(&id)
        .await
        .expect_err("there is no way back");
    assert_eq!(code(&refusal), "A0411");
    assert!(refusal.message().contains("`pivot`"), "{refusal}");
    gate.open();
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    assert_eq!(step(&seen, "last").status, "succeeded");
    let refusal = rig.clients.cancel(&id).await.expect_err("it has ended");
    assert_eq!(code(&refusal), "A0410");
    for nobody in ["01BX5ZZKBKACTAV9WEVGEMMVRZ", "ZZZZZZ", "whole/nobody"] {
        let refusal = rig
            .clients
            .cancel(nobody)
            .await
            .expect_err("nobody of that name");
        assert_eq!(code(&refusal), "A0404", "{nobody}");
    }
}
