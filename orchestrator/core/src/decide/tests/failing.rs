//! The one path back: what leads to it, and what becomes of the steps that are under way.

use super::*;
use crate::event::Cause;
use saga_dsl::builder::{Item, parallel, sequence};

fn abc() -> Saga {
    Saga::new("s", 1)
        .step(step("a"))
        .step(step("b"))
        .step(step("c"))
}

/// `a` and `b` side by side, then `c`.
fn side_by_side() -> Saga {
    Saga::new("s", 1)
        .item(parallel([step("a"), step("b")]))
        .step(step("c"))
}

#[track_caller]
fn because(talk: &Conversation, cause: Cause) {
    assert_eq!(talk.state.failure.as_ref().expect("a reason").cause, cause);
}

#[test]
fn a_refusal_is_never_retried_and_undoes_what_was_done_before() {
    let mut talk = Conversation::begun(abc());
    talk.succeeds("a")
        .succeeds("b")
        .refuses("c")
        .sends(&["a", "b", "c", "undo b"]);
    talk.undone("b")
        .sends(&["undo a"])
        .undone("a")
        .sends(&[])
        .is(Status::Compensated);
    talk.shows("c", "refused").shows("b", "compensated");
    because(&talk, Cause::Refused);
}

#[test]
fn the_first_step_refused_leaves_nothing_to_undo() {
    let mut talk = Conversation::begun(abc());
    let events = talk
        .answers_to("a", Op::Action, 1, Outcome::Refused(error("no")))
        .expect("taken");
    assert_eq!(kinds(&events), ["step_refused", "failing", "compensated"]);
    talk.sends(&["a"]).is(Status::Compensated);
}

#[test]
fn blocked_is_a_definite_no() {
    let mut talk = Conversation::begun(abc());
    talk.answers("a", Outcome::Blocked).is(Status::Compensated);
}

#[test]
fn the_deadline_turns_back_and_steps_in_flight_settle_first() {
    let mut talk = Conversation::begun(abc().deadline("15s"));
    talk.passes(8_000)
        .succeeds("a")
        .sends(&["a", "b"])
        .passes(7_000)
        .is(Status::Compensating)
        .sends(&[]);
    because(&talk, Cause::Deadline);
    // It answers after all: known to be done, so it is undone as such.
    talk.succeeds("b")
        .sends(&["undo b"])
        .undone("b")
        .sends(&["undo a"])
        .undone("a")
        .is(Status::Compensated);

    let mut talk = Conversation::begun(abc().deadline("15s"));
    talk.passes(8_000)
        .succeeds("a")
        .passes(10_000)
        .sends(&["a", "b", "undo b"]);
}

#[test]
fn a_cancel_turns_back_and_a_second_one_changes_nothing() {
    let mut talk = Conversation::begun(abc());
    talk.succeeds("a");
    assert_eq!(
        kinds(&talk.cancel().expect("taken")),
        ["cancel_requested", "failing"]
    );
    assert_eq!(talk.cancel(), Ok(vec![]));
    because(&talk, Cause::Cancel);
    let events = talk
        .answers_to("b", Op::Action, 1, Outcome::Failed(error("busy")))
        .expect("taken");
    assert!(
        matches!(&events[0], Event::StepFailed(ended) if ended.retry_at.is_none()),
        "{events:?}"
    );
    talk.sends(&["a", "b", "undo b"]);
    assert_eq!(talk.cancel(), Ok(vec![]));
    talk.answers("b", Outcome::NothingToDo)
        .undone("a")
        .is(Status::Compensated);
    assert!(matches!(talk.cancel(), Err(Rejected::Ended { .. })));
}

#[test]
fn a_refused_step_in_flight_needs_no_undo() {
    let mut talk = Conversation::begun(side_by_side());
    talk.cancel().expect("taken");
    talk.refuses("a")
        .succeeds("b")
        .sends(&["a", "b", "undo b"])
        .undone("b")
        .is(Status::Compensated);
}

#[test]
fn a_sibling_in_flight_settles_before_its_undo() {
    let mut talk = Conversation::begun(side_by_side());
    talk.sends(&["a", "b"])
        .refuses("a")
        .is(Status::Compensating)
        .sends(&[])
        .passes(10_000)
        .sends(&["undo b"]);
    assert_eq!(talk.state.steps[1].undo_attempts, 1);
    assert!(!talk.state.steps[1].undo_known);
}

#[test]
fn a_sibling_that_backs_off_is_undone_at_once() {
    let mut talk = Conversation::begun(side_by_side());
    talk.sends(&["a", "b"])
        .fails("b")
        .refuses("a")
        .sends(&["undo b"])
        .passes(1_000)
        .sends(&[]);
}

#[test]
fn a_sibling_that_waits_without_an_attempt_needs_no_undo() {
    let bank = builder::step("b")
        .action("bank/b")
        .compensation("bank/undo_b");
    let mut talk = Conversation::about(Saga::new("s", 1).item(parallel([step("a"), bank])));
    talk.leaves("bank").tell(start(&json!({}))).expect("taken");
    talk.refuses("a")
        .is(Status::Compensated)
        .shows("b", "waiting");
}

#[test]
fn a_sibling_that_waits_for_its_second_attempt_is_undone_when_it_can_be() {
    let bank = builder::step("b")
        .action("bank/b")
        .compensation("bank/undo_b")
        .timeout("10s");
    let mut talk = Conversation::begun(Saga::new("s", 1).item(parallel([step("a"), bank])));
    talk.leaves("bank")
        .loses("b", false)
        .passes(5_000)
        .shows("b", "waiting")
        .refuses("a");
    talk.is(Status::Compensating)
        .shows("b", "undo_waiting")
        .comes("bank")
        .sends(&["a", "b", "undo b"]);
}

#[test]
fn undo_goes_against_the_order_and_branches_go_together() {
    let branches = parallel([Item::from(step("b")), sequence([step("c"), step("d")])]);
    let mut talk = Conversation::begun(
        Saga::new("s", 1)
            .step(step("a"))
            .item(branches)
            .step(step("e")),
    );
    for id in ["a", "b", "c", "d"] {
        talk.succeeds(id);
    }
    talk.refuses("e")
        .sends(&["a", "b", "c", "d", "e", "undo d", "undo b"]);
    talk.undone("b")
        .sends(&[])
        .undone("d")
        .sends(&["undo c"])
        .undone("c")
        .sends(&["undo a"]);
    talk.undone("a").is(Status::Compensated);
}

#[test]
fn order_holds_across_steps_that_need_no_undo() {
    let saga = Saga::new("s", 1)
        .step(step("a"))
        .step(step("b").when("false"))
        .step(plain("c"));
    let mut talk = Conversation::begun(saga.step(step("d")).step(step("e")));
    talk.succeeds("a")
        .succeeds("c")
        .succeeds("d")
        .refuses("e")
        .sends(&["a", "c", "d", "e", "undo d"]);
    talk.undone("d").sends(&["undo a"]);
}

#[test]
fn what_is_in_flight_without_an_undo_is_waited_for() {
    let saga = Saga::new("s", 1)
        .step(step("a"))
        .item(parallel([plain("b"), step("c")]));
    let mut talk = Conversation::begun(saga);
    talk.succeeds("a")
        .refuses("c")
        .sends(&["a", "b", "c"])
        .is(Status::Compensating);
    talk.succeeds("b").sends(&["undo a"]);
}

#[test]
fn the_deadline_is_looked_at_before_new_attempts() {
    let mut talk = Conversation::begun(abc().deadline("1s"));
    talk.fails("a").passes(1_000).sends(&["a", "undo a"]);
}
