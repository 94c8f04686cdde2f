//! Attempts: what ends one, when the next is due, and which answers count.

use super::*;
use saga_dsl::definition::Duration;

fn two() -> Saga {
    Saga::new("s", 1).step(step("a")).step(step("b"))
}

#[test]
fn a_failed_attempt_is_repeated_after_its_delay() {
    let mut talk = Conversation::begun(two());
    talk.sends(&["a"])
        .fails("a")
        .shows("a", "backing_off")
        .passes(999)
        .sends(&[])
        .passes(1)
        .sends(&["a#2"]);
    talk.succeeds("a").sends(&["b"]);
}

#[test]
fn the_participant_may_ask_for_more_time() {
    let mut talk = Conversation::begun(two());
    let busy = ErrorBody {
        retry_after_ms: Some(5_000),
        ..error("busy")
    };
    talk.sends(&["a"])
        .answers("a", Outcome::Failed(busy))
        .passes(4_999)
        .sends(&[])
        .passes(1)
        .sends(&["a#2"]);
}

#[test]
fn an_attempt_without_answer_is_unknown_and_repeated() {
    let mut talk = Conversation::begun(two());
    talk.passes(9_999)
        .shows("a", "running")
        .passes(1)
        .shows("a", "backing_off")
        .passes(1_000);
    talk.sends(&["a", "a#2"]);
    assert!(talk.state.steps[0].unclear);
}

#[test]
fn a_definite_answer_counts_from_whichever_attempt_it_comes() {
    let mut talk = Conversation::begun(two());
    talk.passes(11_000).sends(&["a", "a#2"]);
    talk.answers_to("a", Op::Action, 1, done(&json!(1)))
        .expect("taken");
    talk.shows("a", "succeeded").sends(&["b"]);
    assert_eq!(
        talk.answers_to("a", Op::Action, 2, done(&json!(1))),
        Ok(vec![]),
        "the same again is nothing new"
    );

    let mut talk = Conversation::begun(two());
    talk.passes(10_500).shows("a", "backing_off");
    talk.answers_to("a", Op::Action, 1, Outcome::Refused(error("no")))
        .expect("taken");
    talk.shows("a", "refused").is(Status::Compensated);
}

#[test]
fn a_failed_attempt_counts_for_its_own_number_only() {
    let mut talk = Conversation::begun(two());
    talk.passes(11_000).sends(&["a", "a#2"]);
    assert_eq!(
        talk.answers_to("a", Op::Action, 1, Outcome::Failed(error("busy"))),
        Ok(vec![])
    );
    talk.shows("a", "running").fails("a").shows("a", "undoing");
    assert_eq!(
        talk.answers_to("a", Op::Action, 3, Outcome::Failed(error("busy"))),
        Err(Rejected::NeverSent)
    );
}

#[test]
fn exhaustion_undoes_the_step_itself_too() {
    let mut talk = Conversation::begun(two());
    talk.fails("a")
        .passes(1_000)
        .fails("a")
        .sends(&["a", "a#2", "undo a"]);
    talk.answers("a", Outcome::NothingToDo)
        .is(Status::Compensated)
        .shows("a", "nothing_to_undo");
}

#[test]
fn an_error_that_no_attempt_mends_ends_them_without_being_definite() {
    let mut talk = Conversation::begun(two());
    talk.answers("a", Outcome::Failed(error("hopeless")))
        .sends(&["a", "undo a"])
        .is(Status::Compensating);
}

#[test]
fn time_for_attempts_ends_also_while_the_step_waits() {
    let mut policy = retry(MaxAttempts::Times(9));
    policy.max_elapsed = Some(Duration { ms: 30_000 });
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a").retry(policy)));
    talk.fails("a")
        .leaves("shop")
        .passes(1_000)
        .shows("a", "waiting")
        .passes(60_000)
        .comes("shop");
    talk.sends(&["a", "undo a"]);
}

#[test]
fn a_lost_command_counts_as_an_attempt_and_a_repeated_loss_does_not() {
    let mut talk = Conversation::begun(two());
    talk.loses("a", false).shows("a", "backing_off");
    let again = Lost {
        step: StepIx(0),
        round: 1,
        op: Op::Action,
        attempt: 1,
        unsent: false,
        error: error("connection"),
    };
    assert_eq!(talk.tell(Input::Lost(again)), Err(Rejected::Stale));
    talk.passes(1_000).sends(&["a", "a#2"]);
}

#[test]
fn accepted_work_runs_on_without_its_connection() {
    let mut talk = Conversation::begun(two());
    talk.passes(9_000)
        .answers("a", Outcome::Accepted)
        .loses("a", false)
        .shows("a", "running");
    talk.passes(9_000)
        .answers("a", Outcome::Running)
        .passes(9_000)
        .shows("a", "running");
    assert_eq!(talk.decisions(), 2, "signs of life are not recorded");
    talk.passes(1_000).shows("a", "backing_off");
    talk.answers_to("a", Op::Action, 1, done(&json!(1)))
        .expect("taken");
    talk.sends(&["a", "b"]);
}

#[test]
fn a_key_whose_time_has_passed_ends_the_attempts() {
    let mut talk = Conversation::begun(two());
    talk.answers("a", Outcome::Expired).sends(&["a", "undo a"]);
}

#[test]
fn another_content_under_the_same_key_is_for_an_operator_too() {
    let mut talk = Conversation::begun(two());
    talk.answers("a", Outcome::Conflict(error("conflict")))
        .calls(&["contradiction a"])
        .sends(&["a", "undo a"]);
    talk.undone("a").is(Status::Compensated);
}

#[test]
fn after_a_restart_limits_begin_anew_and_no_attempt_is_spent() {
    let mut talk = Conversation::begun(two());
    talk.sends(&["a"])
        .passes(9_000)
        .restarts()
        .sends(&["a"])
        .passes(9_999)
        .shows("a", "running")
        .passes(1);
    talk.shows("a", "backing_off")
        .restarts()
        .sends(&[])
        .passes(1_000)
        .sends(&["a#2"]);
}

#[test]
fn without_an_inbox_a_no_after_an_unknown_attempt_is_unknown() {
    let mut talk = Conversation::begun(
        Saga::new("s", 1)
            .step(step("a").at_least_once())
            .step(step("b")),
    );
    talk.passes(11_000).sends(&["a", "a#2"]);
    assert_eq!(
        talk.answers_to("a", Op::Action, 1, Outcome::Refused(error("no"))),
        Ok(vec![])
    );
    talk.refuses("a")
        .is(Status::Compensating)
        .shows("a", "undo_waiting")
        .sends(&[]);
    assert_eq!(
        talk.answers_to("a", Op::Action, 2, Outcome::Refused(error("no"))),
        Ok(vec![]),
        "once is enough"
    );
    // Undone when the life of the key is over.
    let life = talk.plan.steps[0].lifetime_ms.expect("it has one");
    talk.passes(life - 11_000)
        .sends(&["undo a"])
        .undone("a")
        .is(Status::Compensated);

    // At the first attempt a no is a no.
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a").at_least_once()));
    talk.refuses("a").is(Status::Compensated).sends(&["a"]);
}
