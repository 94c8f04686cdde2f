//! Who may be sent a command now, and waiting for it.

use super::*;
use crate::{ground::Wait, state::ActionState};

fn one() -> Saga {
    Saga::new("s", 1).step(step("a"))
}

#[test]
fn a_participant_that_is_not_there_is_waited_for() {
    let mut talk = Conversation::about(one());
    talk.leaves("shop").tell(start(&json!({}))).expect("taken");
    talk.sends(&[])
        .shows("a", "waiting")
        .passes(60_000)
        .sends(&[]);
    assert_eq!(talk.state.steps[0].attempts, 0, "no attempt is spent");
    talk.comes("shop")
        .sends(&["a"])
        .succeeds("a")
        .is(Status::Completed);
}

#[test]
fn every_reason_is_recorded_once() {
    let mut talk = Conversation::about(one());
    talk.gate
        .participants
        .get_mut("shop")
        .expect("there")
        .actions
        .clear();
    talk.tell(start(&json!({}))).expect("taken");
    let reason = |talk: &Conversation| match talk.state.steps[0].action {
        ActionState::Waiting { reason, .. } => reason,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(reason(&talk), Wait::NoAction);
    talk.gate.participants.insert(
        "shop".into(),
        Live {
            transactional: false,
            ..talk.live("shop")
        },
    );
    assert_eq!(
        kinds(&talk.tell(Input::Wake).expect("taken")),
        ["step_waiting"]
    );
    assert_eq!(reason(&talk), Wait::NotTransactional);
    assert_eq!(talk.tell(Input::Wake).expect("taken"), []);
    assert_eq!(talk.decisions(), 2);
}

#[test]
fn whoever_cannot_be_heard_is_not_said_to_be_absent() {
    let mut talk = Conversation::about(one());
    talk.leaves("shop");
    talk.gate.unheard = Some(Wait::BrokerAway);
    talk.tell(start(&json!({}))).expect("taken");
    let reason = |talk: &Conversation| match talk.state.steps[0].action {
        ActionState::Waiting { reason, .. } => reason,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(reason(&talk), Wait::BrokerAway);
    talk.gate.unheard = Some(Wait::BrokerBlocked);
    assert_eq!(
        kinds(&talk.tell(Input::Wake).expect("taken")),
        ["step_waiting"]
    );
    assert_eq!(reason(&talk), Wait::BrokerBlocked);
    assert_eq!(talk.tell(Input::Wake).expect("taken"), []);
    // Who dials us is there all the same.
    talk.comes("shop").sends(&["a"]);
    assert_eq!(talk.state.steps[0].attempts, 1);
}

#[test]
fn who_accepts_at_least_once_needs_no_inbox() {
    let mut talk = Conversation::about(Saga::new("s", 1).step(step("a").at_least_once()));
    talk.gate.participants.insert(
        "shop".into(),
        Live {
            transactional: false,
            ..talk.live("shop")
        },
    );
    talk.tell(start(&json!({}))).expect("taken");
    talk.sends(&["a"]);
}

#[test]
fn a_command_that_never_left_spends_no_attempt() {
    let mut talk = Conversation::begun(one());
    talk.sends(&["a"])
        .leaves("shop")
        .loses("a", true)
        .shows("a", "waiting")
        .sends(&[]);
    assert_eq!(talk.state.steps[0].attempts, 0);
    talk.comes("shop").sends(&["a"]);

    // And nothing needs undoing.
    talk.leaves("shop")
        .loses("a", true)
        .cancel()
        .expect("taken");
    talk.sends(&[]).is(Status::Compensated);
}

#[test]
fn the_deadline_runs_while_a_step_waits() {
    let mut talk = Conversation::about(
        Saga::new("s", 1)
            .step(step("a"))
            .step(step("b"))
            .deadline("1m"),
    );
    talk.tell(start(&json!({}))).expect("taken");
    talk.sends(&["a"])
        .leaves("shop")
        .succeeds("a")
        .shows("b", "waiting")
        .passes(60_000);
    talk.is(Status::Compensating)
        .shows("a", "undo_waiting")
        .sends(&[]);
    talk.comes("shop")
        .sends(&["undo a"])
        .undone("a")
        .is(Status::Compensated);
}

#[test]
fn a_long_wait_calls_an_operator_once() {
    let mut talk = Conversation::about(Saga::new("s", 1).step(step("a").escalate_after("5m")));
    talk.leaves("shop").tell(start(&json!({}))).expect("taken");
    talk.passes(299_999)
        .calls(&[])
        .passes(1)
        .calls(&["slow a"])
        .passes(10_000_000)
        .calls(&["slow a"]);
    assert_eq!(talk.decisions(), 2);
    talk.comes("shop")
        .sends(&["a"])
        .fails("a")
        .passes(1_000)
        .sends(&["a#2"])
        .calls(&["slow a"]);
    talk.succeeds("a").calls(&[]);
}

#[test]
fn the_life_of_a_key_may_end_while_its_step_waits() {
    let saga = Saga::new("s", 1).step(step("a"));
    let mut talk = Conversation::begun(saga);
    let life = talk.plan.steps[0].lifetime_ms.expect("it has one");
    talk.sends(&["a"])
        .leaves("shop")
        .loses("a", false)
        .passes(1_000)
        .shows("a", "waiting");
    talk.passes(life).comes("shop");
    // It was sent once, and what became of that is not known.
    talk.sends(&["undo a"]).is(Status::Compensating);
    assert_eq!(
        talk.state.failure.as_ref().expect("a reason").error.code,
        "expired"
    );
}
