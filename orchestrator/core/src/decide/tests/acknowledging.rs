//! A broken promise stays on the list until an operator has acknowledged it, also past the end of its saga.

use super::*;
use crate::{
    event::IncidentKind,
    input::{Order, Unfit},
};

/// A saga whose first step says no after it has said yes.
fn contradicted() -> Conversation {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a")).step(step("b")));
    talk.succeeds("a");
    let no = Outcome::Refused(error("no"));
    talk.answers_to("a", Op::Action, 1, no).expect("taken");
    talk.calls(&["contradiction a"]);
    talk
}

#[test]
fn a_contradiction_outlives_a_saga_that_completes() {
    let mut talk = contradicted();
    talk.succeeds("b")
        .is(Status::Completed)
        .calls(&["contradiction a"]);
    assert!(talk.state.exceptions && talk.state.broken_promise);
    assert_eq!(talk.state.next_due(), None);
}

#[test]
fn neither_undo_nor_another_round_takes_a_contradiction_off() {
    let mut talk = contradicted();
    talk.refuses("b").undone("a").is(Status::Compensated);
    talk.calls(&["contradiction a"]);

    let mut talk = contradicted();
    talk.orders(Order::Abandon, None, false).expect("taken");
    talk.is(Status::Abandoned).calls(&["contradiction a"]);
}

#[test]
fn a_conflict_outlives_its_saga() {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a")));
    talk.answers("a", Outcome::Conflict(error("conflict")));
    talk.calls(&["contradiction a"]).is(Status::Compensating);
    talk.undone("a")
        .is(Status::Compensated)
        .calls(&["contradiction a"]);
}

#[test]
fn an_operator_acknowledges_it_once_before_or_after_the_end() {
    let mut talk = contradicted();
    let told = talk.orders(Order::Acknowledge, None, false).expect("taken");
    assert_eq!(kinds(&told), ["intervened", "acknowledged"]);
    talk.calls(&[]).succeeds("b").is(Status::Completed);

    let mut talk = contradicted();
    talk.succeeds("b");
    let ended = talk.state.clone();
    let told = talk.orders(Order::Acknowledge, None, false).expect("taken");
    assert_eq!(kinds(&told), ["intervened", "acknowledged"]);
    talk.calls(&[]).is(Status::Completed);
    assert_eq!(talk.state.ended_at, ended.ended_at);
    assert!(talk.state.exceptions, "the mark stays for good");
    assert_eq!(
        talk.orders(Order::Acknowledge, None, false),
        Err(Unfit::NothingToAcknowledge)
    );
}

#[test]
fn an_acknowledgement_is_about_the_whole_saga() {
    let mut talk = contradicted();
    assert_eq!(
        talk.orders(Order::Acknowledge, Some("a"), false),
        Err(Unfit::NoStepTaken)
    );
}

#[test]
fn only_what_nothing_else_settles_can_be_acknowledged() {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(pivot("p")).step(retriable("r")));
    talk.succeeds("p").refuses("r");
    talk.calls(&["retriable_refused r"]);
    assert_eq!(
        talk.orders(Order::Acknowledge, None, false),
        Err(Unfit::NothingToAcknowledge)
    );
}

#[test]
fn a_deadline_after_the_pivot_can_be_acknowledged_and_ends_with_its_saga() {
    let late = || {
        let saga = Saga::new("s", 1)
            .deadline("5s")
            .step(pivot("p"))
            .step(retriable("r"));
        let mut talk = Conversation::begun(saga);
        talk.succeeds("p").passes(5_000).calls(&["deadline"]);
        talk
    };
    let mut talk = late();
    talk.orders(Order::Acknowledge, None, false).expect("taken");
    talk.calls(&[]);
    let mut talk = late();
    talk.succeeds("r").is(Status::Completed).calls(&[]);
    assert!(!talk.state.exceptions);
}

/// Journals of earlier releases raise contradictions without the flag: they end with their sagas, and mark nothing.
#[test]
fn a_contradiction_of_an_earlier_release_ends_with_its_saga() {
    let text = r#"{"incident_raised":{"step":0,"kind":"contradiction","error":{"code":"contradiction","message":"m"}}}"#;
    let raised: Event = serde_json::from_str(text).expect("an event");
    assert_eq!(serde_json::to_string(&raised).expect("JSON"), text);
    let talk = Conversation::begun(Saga::new("s", 1).step(step("a")));
    let state = crate::apply(talk.state.clone(), &raised, talk.now);
    assert!(state.incidents[0].incident.kind == IncidentKind::Contradiction && !state.exceptions);
    let ended = crate::apply(state, &Event::Compensated {}, talk.now);
    assert!(ended.incidents.is_empty() && !ended.exceptions);
}
