//! The point of no return: asked before it is tried again, settled before the saga turns back.

use super::*;

fn charge() -> Saga {
    Saga::new("s", 1)
        .step(step("a"))
        .step(pivot("p"))
        .step(retriable("r"))
}

/// Up to the pivot in flight.
fn charging(saga: Saga) -> Conversation {
    let mut talk = Conversation::begun(saga);
    talk.succeeds("a").sends(&["a", "p"]);
    talk
}

fn output() -> Payload {
    Payload::from_value(json!({"paid": true}))
}

#[test]
fn an_unknown_pivot_is_asked_for_before_the_next_attempt() {
    let mut talk = charging(charge());
    talk.passes(10_000)
        .shows("p", "backing_off")
        .passes(1_000)
        .sends(&["query p"])
        .shows("p", "querying");
    talk.answers("p", Outcome::Absent)
        .sends(&["p#2"])
        .passes(11_000)
        .sends(&["query p#2"]);
    talk.answers("p", Outcome::Done(output()))
        .shows("p", "succeeded")
        .sends(&["r"]);
    assert_eq!(
        talk.state.steps[1].action,
        crate::state::ActionState::Succeeded(output())
    );
}

#[test]
fn a_pivot_that_failed_for_certain_is_tried_again_unasked() {
    let mut talk = charging(charge());
    talk.fails("p").passes(1_000).sends(&["p#2"]);
}

#[test]
fn a_refused_pivot_turns_back() {
    let mut talk = charging(charge());
    talk.refuses("p")
        .sends(&["undo a"])
        .undone("a")
        .is(Status::Compensated);

    let mut talk = charging(charge());
    talk.passes(11_000)
        .answers("p", Outcome::Refused(error("declined")))
        .sends(&["query p", "undo a"]);
}

#[test]
fn a_question_without_answer_is_asked_again() {
    let mut talk = charging(charge());
    talk.passes(11_000)
        .sends(&["query p"])
        .passes(10_000)
        .sends(&[])
        .passes(1_000)
        .sends(&["query p#2"]);
    talk.answers("p", Outcome::Running)
        .passes(999)
        .sends(&[])
        .passes(1)
        .sends(&["query p#3"]);
    talk.leaves("bank")
        .loses("p", false)
        .passes(1_000)
        .shows("p", "waiting")
        .comes("bank")
        .sends(&["query p#4"]);
}

#[test]
fn a_participant_that_answers_but_may_not_act_is_not_asked_without_end() {
    let mut talk = charging(charge());
    talk.passes(11_000).sends(&["query p"]);
    talk.gate
        .participants
        .get_mut("bank")
        .expect("there")
        .actions
        .clear();
    talk.answers("p", Outcome::Absent)
        .sends(&[])
        .passes(999)
        .sends(&[])
        .passes(1)
        .sends(&["query p#2"]);
    talk.comes("bank")
        .answers("p", Outcome::Absent)
        .sends(&["p#2"]);
}

#[test]
fn a_pivot_that_was_never_sent_is_no_bar() {
    let mut talk = Conversation::begun(charge());
    talk.leaves("bank")
        .succeeds("a")
        .shows("p", "waiting")
        .cancel()
        .expect("taken");
    talk.sends(&["a", "undo a"]);
}

#[test]
fn a_cancel_while_it_is_in_flight_seals_it_first() {
    let mut talk = charging(charge());
    assert_eq!(
        kinds(&talk.cancel().expect("taken")),
        ["cancel_requested", "pivot_closing", "pivot_asked"]
    );
    talk.sends(&["seal p"])
        .is(Status::Running)
        .shows("p", "sealing");
    assert_eq!(talk.cancel(), Ok(vec![]));
    talk.answers("p", Outcome::Sealed)
        .is(Status::Compensating)
        .sends(&["undo a"])
        .shows("p", "sealed");
    assert_eq!(
        talk.answers_to("p", Op::Action, 1, Outcome::Blocked),
        Ok(vec![]),
        "what the seal blocked"
    );
    talk.undone("a").is(Status::Compensated);
}

#[test]
fn a_sealed_pivot_that_turns_out_done_goes_forward() {
    let mut talk = charging(charge());
    talk.cancel().expect("taken");
    talk.answers("p", Outcome::Done(output()))
        .sends(&["seal p", "r"])
        .is(Status::Running)
        .calls(&[]);
    assert!(matches!(talk.cancel(), Err(Rejected::AfterPivot { pivot }) if pivot == "p"));
    talk.succeeds("r").is(Status::Completed);
}

#[test]
fn its_own_answer_may_come_before_that_of_the_seal() {
    let mut talk = charging(charge());
    talk.cancel().expect("taken");
    talk.sends(&["seal p"])
        .answers_to("p", Op::Action, 1, done(&json!(1)))
        .expect("taken");
    talk.sends(&["r"]);
    assert_eq!(
        talk.answers_to("p", Op::Seal, 1, Outcome::Done(output())),
        Ok(vec![])
    );

    let mut talk = charging(charge());
    talk.cancel().expect("taken");
    talk.answers_to("p", Op::Action, 1, Outcome::Refused(error("declined")))
        .expect("taken");
    talk.sends(&["seal p", "undo a"]);
    assert_eq!(
        talk.state.failure.as_ref().expect("a reason").cause,
        crate::event::Cause::Cancel
    );
}

#[test]
fn what_failed_before_the_seal_proves_nothing() {
    let mut talk = charging(charge());
    talk.cancel().expect("taken");
    assert_eq!(
        talk.answers_to("p", Op::Action, 1, Outcome::Failed(error("busy"))),
        Ok(vec![])
    );
    talk.shows("p", "sealing");
}

#[test]
fn the_deadline_seals_and_a_done_pivot_makes_it_an_incident() {
    let mut talk = charging(charge().deadline("5s"));
    talk.passes(5_000).sends(&["seal p"]).is(Status::Running);
    talk.answers("p", Outcome::Done(output()))
        .calls(&["deadline"])
        .sends(&["r"])
        .succeeds("r")
        .is(Status::Completed);

    let mut talk = charging(charge().deadline("5s"));
    talk.passes(5_000)
        .answers("p", Outcome::Sealed)
        .sends(&["seal p", "undo a"]);
}

#[test]
fn cancel_and_deadline_together_are_told_apart_when_the_pivot_is_done() {
    let mut talk = charging(charge().deadline("5s"));
    talk.passes(4_000).cancel().expect("taken");
    talk.passes(2_000)
        .sends(&["seal p"])
        .answers("p", Outcome::Done(output()))
        .calls(&["deadline"])
        .sends(&["r"]);
}

#[test]
fn a_spent_budget_seals() {
    let saga = Saga::new("s", 1)
        .step(step("a"))
        .step(pivot("p").max_attempts(1));
    let mut talk = charging(saga);
    talk.passes(10_000)
        .sends(&["seal p"])
        .answers("p", Outcome::Sealed)
        .sends(&["undo a"]);
    let saga = Saga::new("s", 1).step(step("a")).step(pivot("p"));
    let mut talk = charging(saga);
    talk.answers("p", Outcome::Failed(error("hopeless")))
        .sends(&["seal p"])
        .answers("p", Outcome::Done(output()));
    talk.is(Status::Completed);
}

#[test]
fn a_seal_waits_for_its_participant_and_calls_an_operator_in_time() {
    let saga = Saga::new("s", 1)
        .step(step("a"))
        .step(pivot("p").escalate_after("1m"));
    let mut talk = charging(saga);
    talk.leaves("bank").cancel().expect("taken");
    talk.sends(&[]).shows("p", "sealing");
    assert_eq!(talk.cancel(), Ok(vec![]));
    talk.passes(60_000)
        .calls(&["pivot_unknown p"])
        .passes(10_000_000)
        .calls(&["pivot_unknown p"]);
    talk.comes("bank")
        .sends(&["seal p"])
        .leaves("bank")
        .loses("p", false)
        .passes(1_000)
        .sends(&[]);
    talk.comes("bank")
        .sends(&["seal p#2"])
        .answers("p", Outcome::Sealed)
        .calls(&[])
        .sends(&["undo a"]);
}

#[test]
fn a_pivot_that_waits_after_an_attempt_is_sealed() {
    let mut talk = charging(charge());
    talk.leaves("bank")
        .loses("p", false)
        .passes(1_000)
        .shows("p", "waiting")
        .cancel()
        .expect("taken");
    talk.shows("p", "sealing").comes("bank").sends(&["seal p"]);
}

#[test]
fn a_pivot_whose_time_ran_out_while_it_waited_is_sealed_when_its_participant_is_back() {
    let mut policy = unlimited();
    policy.max_elapsed = Some(Duration { ms: 30_000 });
    let mut talk = charging(
        Saga::new("s", 1)
            .step(step("a"))
            .step(pivot("p").retry(policy)),
    );
    talk.answers("p", Outcome::Failed(error("busy")))
        .leaves("bank")
        .passes(1_000)
        .shows("p", "waiting");
    talk.passes(60_000)
        .comes("bank")
        .sends(&["seal p"])
        .answers("p", Outcome::Sealed)
        .sends(&["undo a"]);
}

#[test]
fn an_inbox_that_may_have_forgotten_is_neither_asked_nor_sealed() {
    let mut talk = charging(charge());
    talk.passes(10_000)
        .gate
        .participants
        .get_mut("bank")
        .expect("there")
        .transactional = false;
    talk.passes(1_000)
        .shows("p", "waiting")
        .cancel()
        .expect("taken");
    talk.shows("p", "sealing")
        .sends(&[])
        .comes("bank")
        .sends(&["seal p"]);
}

#[test]
fn a_seal_survives_a_restart() {
    let mut talk = charging(charge());
    talk.cancel().expect("taken");
    talk.sends(&["seal p"])
        .restarts()
        .sends(&["seal p"])
        .answers("p", Outcome::Running)
        .restarts()
        .sends(&[]);
    talk.passes(1_000)
        .sends(&["seal p#2"])
        .answers("p", Outcome::Sealed)
        .sends(&["undo a"]);
}

#[test]
fn a_pivot_without_an_inbox_cannot_be_asked() {
    let saga = || {
        Saga::new("s", 1)
            .step(step("a"))
            .step(pivot("p").at_least_once())
            .deadline("1h")
    };
    let mut talk = charging(saga());
    talk.passes(11_000).sends(&["p#2"]).cancel().expect("taken");
    talk.is(Status::Running).calls(&["pivot_unknown p"]);
    assert_eq!(talk.cancel(), Ok(vec![]));
    talk.succeeds("p").calls(&[]).is(Status::Completed);

    // A no after an unknown attempt may hide a yes.
    let mut talk = charging(saga());
    talk.passes(11_000)
        .refuses("p")
        .sends(&["p#2"])
        .calls(&["pivot_unknown p"])
        .is(Status::Running);

    let mut talk = charging(saga());
    talk.refuses("p").sends(&["undo a"]);
}
