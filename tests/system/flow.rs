//! Deadlines, groups and conditions over the wire.

use saga_tests::{
    Gate, Rig, Say, Script,
    client::{json, status, step},
    eventually,
    script::connected,
};
use serde_json::{Value, json};

use crate::files::WHOLE;

#[tokio::test]
async fn a_deadline_before_the_pivot_turns_the_saga_back() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right");
    let (_left, gone) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients
        .deploy(
            &WHOLE
                .replace("version: 1", "version: 1\ndeadline: 300ms")
                .replace("timeout: 50s", "timeout: 200ms"),
        )
        .await;
    gone.stop().await.expect("an end in order");
    let gone = || async { connected(&rig, "right").await.is_empty().then_some(()) };
    eventually("the participant to be gone", gone).await;
    // The pivot waits for its participant until the time is up.
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "compensated");
    assert_eq!(seen.failure.expect("a failure").code, "deadline");
    assert_eq!(
        (left.deeds(), right.ledger()),
        (vec!["first".to_owned(), "-first".to_owned()], vec![])
    );
}

#[tokio::test]
async fn a_deadline_after_the_pivot_calls_a_person_and_goes_on() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let at_last = gate.clone();
    let left = Script::plain(&rig, "left").act("act", move |call| {
        if call.step == "last" && !at_last.is_open() {
            Say::Fail("busy")
        } else {
            Say::Succeed(json!({}))
        }
    });
    let right = Script::plain(&rig, "right");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    rig.clients
        .deploy(
            &WHOLE
                .replace("version: 1", "version: 1\ndeadline: 700ms")
                .replace("timeout: 50s", "timeout: 500ms"),
        )
        .await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    let seen = rig
        .clients
        .until(&id, "an incident", |seen| !seen.incidents.is_empty())
        .await;
    assert_eq!(
        (status(&seen), seen.incidents[0].code.as_str()),
        ("running", "deadline")
    );
    gate.open();
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    assert_eq!(
        (left.deeds(), right.deeds()),
        (vec!["first".into(), "last".into()], vec!["pivot".into()])
    );
}

const GROUPS: &str = r#"
saga: groups
version: 1
input: {n: int, gift: bool, fail: bool}
defaults: {timeout: 50s}
steps:
  - parallel:
      - {step: a, action: left/act, input: [n], compensation: left/undo}
      - sequence:
          - {step: b1, action: left/act, input: [n], compensation: left/undo}
          - {step: b2, action: left/act, input: {n: "${steps.b1.output.n}"}, compensation: left/undo}
      - {step: wrap, when: input.gift, action: left/act, input: [n], compensation: left/undo}
  - {step: z, action: right/act, input: [fail], compensation: right/undo}
output:
  b2: ${steps.b2.output.n}
  wrapped: ${steps.wrap.status == 'succeeded'}
"#;

#[tokio::test]
async fn groups_run_side_by_side_in_order_and_only_where_their_condition_holds() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let held = gate.clone();
    let left = Script::plain(&rig, "left").act("act", move |call| {
        let n = call.input["n"].as_i64().unwrap_or(0);
        let done = Say::Succeed(json!({"n": n + 1}));
        if call.step == "a" {
            Say::Hang(held.clone(), Box::new(done))
        } else {
            done
        }
    });
    let right = Script::plain(&rig, "right").act("act", |call| {
        if call.input["fail"] == true {
            Say::Refuse("no")
        } else {
            Say::Succeed(Value::Null)
        }
    });
    let (_left, _right) = (left.serve_from_memory(&rig).await, right.serve(&rig).await);
    let file = GROUPS.replace(
        "compensation: left/undo}",
        "compensation: left/undo, at_least_once: true}",
    );
    rig.clients.deploy(&file).await;

    let id = rig
        .clients
        .begin("groups", json!({"n": 1, "gift": false, "fail": false}))
        .await;
    gate.arrived(1).await;
    // The other branch gets through while `a` is held.
    let seen = rig
        .clients
        .until(&id, "b2", |seen| step(seen, "b2").status == "succeeded")
        .await;
    assert_eq!(
        (
            step(&seen, "a").status.as_str(),
            step(&seen, "z").status.as_str()
        ),
        ("running", "pending")
    );
    assert_eq!(step(&seen, "b2").groups, ["parallel", "sequence"]);
    gate.open();
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    assert_eq!(json(&seen.output), json!({"b2": 3, "wrapped": false}));
    assert_eq!(step(&seen, "wrap").status, "skipped");
    assert_eq!(left.ledger().len(), 3);

    let id = rig
        .clients
        .begin("groups", json!({"n": 1, "gift": true, "fail": true}))
        .await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "compensated");
    let deeds = left.deeds().split_off(3);
    let at = |deed: &str| deeds.iter().position(|d| d == deed).expect(deed);
    assert_eq!(deeds.len(), 8);
    assert!(at("-b2") < at("-b1"), "undo goes backwards: {deeds:?}");
    assert!(
        ["a", "b1", "b2", "wrap"]
            .iter()
            .all(|id| step(&seen, id).status == "compensated"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_pivot_acts_waits_for_it() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").hang_until("act", &gate);
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    // The second attempt is in flight then: a handler is ended at its attempt's limit.
    let file = WHOLE.replace("version: 1", "version: 1\ndeadline: 3s");
    rig.clients
        .deploy(&file.replace("timeout: 50s", "timeout: 2500ms"))
        .await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    gate.arrived(1).await;
    let closing = |seen: &_| settling(seen);
    let seen = rig.clients.until(&id, "the deadline", closing).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").status.as_str()),
        ("running", "succeeded")
    );
    gate.open();
    let seen = rig.clients.ended(&id).await;
    // The seal finds the pivot in progress and then done, or its own answer comes first: forward either way.
    assert_eq!(status(&seen), "completed");
    assert_eq!(
        (left.deeds(), right.deeds()),
        (vec!["first".into(), "last".into()], vec!["pivot".into()])
    );
}

fn settling(seen: &saga_proto::v1::SagaDetail) -> bool {
    seen.story
        .iter()
        .any(|line| line.contains("its pivot is in flight and is settled first"))
}
