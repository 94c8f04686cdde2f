//! Answers that do not count, answers that contradict, and trouble in the house.

use super::*;

fn ab() -> Saga {
    Saga::new("s", 1).step(step("a")).step(step("b"))
}

fn reply(
    participant: &str,
    step: u16,
    round: u32,
    op: Op,
    attempt: u32,
    outcome: Outcome,
) -> Input {
    Input::Reply(Reply {
        participant: participant.into(),
        step: StepIx(step),
        round,
        op,
        attempt,
        outcome,
    })
}

#[test]
fn only_the_one_who_was_asked_may_answer() {
    let mut talk = Conversation::begun(ab());
    let taken = talk.tell(reply("bank", 0, 1, Op::Action, 1, done(&json!(1))));
    assert!(
        matches!(taken, Err(Rejected::WrongParticipant { from, expected }) if (&*from, &*expected) == ("bank", "shop"))
    );
    for (step, round, attempt, expected) in [
        (9, 1, 1, Rejected::NoSuchStep(9)),
        (0, 2, 1, Rejected::NeverSent),
        (0, 1, 0, Rejected::NeverSent),
        (0, 1, 2, Rejected::NeverSent),
        (1, 1, 1, Rejected::NeverSent),
    ] {
        assert_eq!(
            talk.tell(reply(
                "shop",
                step,
                round,
                Op::Action,
                attempt,
                done(&json!(1))
            )),
            Err(expected)
        );
    }
    assert_eq!(
        talk.tell(reply(
            "shop",
            0,
            1,
            Op::Compensation,
            1,
            Outcome::Compensated
        )),
        Err(Rejected::NeverSent)
    );
    assert_eq!(
        talk.tell(reply("shop", 0, 1, Op::Query, 1, Outcome::Absent)),
        Err(Rejected::NeverSent)
    );
    assert_eq!(talk.decisions(), 1);
}

#[test]
fn an_answer_to_another_question_is_nonsense() {
    let mut talk = Conversation::begun(ab());
    for outcome in [
        Outcome::Compensated,
        Outcome::Sealed,
        Outcome::Absent,
        Outcome::NothingToDo,
    ] {
        assert_eq!(
            talk.answers_to("a", Op::Action, 1, outcome),
            Err(Rejected::Nonsense)
        );
    }
    talk.succeeds("a").refuses("b");
    for outcome in [
        done(&json!(1)),
        Outcome::Blocked,
        Outcome::Expired,
        Outcome::Sealed,
    ] {
        assert_eq!(
            talk.answers_to("a", Op::Compensation, 1, outcome),
            Err(Rejected::Nonsense)
        );
    }
}

#[test]
fn repeated_answers_are_nothing_new() {
    let mut talk = Conversation::begun(ab());
    talk.succeeds("a");
    assert_eq!(
        talk.answers_to("a", Op::Action, 1, done(&json!({"by": "a"}))),
        Ok(vec![])
    );
    talk.refuses("b");
    assert_eq!(
        talk.answers_to("b", Op::Action, 1, Outcome::Refused(error("sold_out"))),
        Ok(vec![])
    );
    talk.undone("a");
    assert_eq!(
        talk.answers_to("a", Op::Compensation, 1, Outcome::Compensated),
        Err(Rejected::Stale)
    );
}

#[test]
fn who_says_yes_and_then_no_is_looked_at() {
    let mut talk = Conversation::begun(ab());
    talk.succeeds("a");
    let no = || Outcome::Refused(error("no"));
    let events = talk.answers_to("a", Op::Action, 1, no()).expect("taken");
    assert_eq!(kinds(&events), ["late_reply", "incident_raised"]);
    assert_eq!(talk.answers_to("a", Op::Action, 1, no()), Ok(vec![]));
    talk.calls(&["contradiction a"])
        .shows("a", "succeeded")
        .is(Status::Running);
}

#[test]
fn an_effect_after_nothing_to_undo_is_looked_at() {
    let mut talk = Conversation::begun(
        Saga::new("s", 1)
            .step(step("z"))
            .step(step("a").max_attempts(1)),
    );
    talk.succeeds("z")
        .passes(10_000)
        .answers("a", Outcome::NothingToDo);
    let events = talk
        .answers_to("a", Op::Action, 1, done(&json!(1)))
        .expect("taken");
    assert_eq!(kinds(&events), ["late_reply", "incident_raised"]);
    talk.calls(&["contradiction a"]);
    assert_eq!(
        talk.answers_to("a", Op::Action, 1, done(&json!(1))),
        Ok(vec![])
    );
}

#[test]
fn a_saga_begins_once() {
    let mut talk = Conversation::about(ab());
    for input in [
        Input::Cancel(Cancel {
            reason: String::new(),
            by: String::new(),
            act: None,
        }),
        Input::Trouble(error("panic")),
    ] {
        assert_eq!(talk.tell(input), Err(Rejected::NotBegun));
    }
    assert_eq!(talk.tell(Input::Due), Ok(vec![]));
    assert_eq!(talk.tell(Input::Wake), Ok(vec![]));
    talk.tell(start(&json!({}))).expect("taken");
    assert_eq!(talk.tell(start(&json!({}))), Err(Rejected::Begun));
    talk.sends(&["a"]);
}

#[test]
fn trouble_in_the_house_is_recorded_once_and_nothing_else_with_it() {
    let mut talk = Conversation::begun(ab());
    // The gate is open again, which another input would use to go on.
    talk.leaves("shop").succeeds("a");
    let live = talk.live("shop");
    talk.gate.participants.insert("shop".into(), live);
    let trouble = || Input::Trouble(ErrorBody::new("row_refused", "too large"));
    assert_eq!(
        kinds(&talk.tell(trouble()).expect("taken")),
        ["incident_raised"]
    );
    assert_eq!(talk.tell(trouble()), Ok(vec![]));
    talk.calls(&["internal"]).sends(&["a"]);
    talk.comes("shop")
        .sends(&["b"])
        .succeeds("b")
        .is(Status::Completed);
    assert!(matches!(talk.tell(trouble()), Err(Rejected::Ended { .. })));
}

#[test]
fn a_lost_command_that_is_not_outstanding_is_stale() {
    let mut talk = Conversation::begun(ab());
    for (step, round, op, attempt) in [
        (0, 1, Op::Action, 2),
        (0, 2, Op::Action, 1),
        (0, 1, Op::Compensation, 1),
        (1, 1, Op::Action, 1),
    ] {
        let lost = Lost {
            step: StepIx(step),
            round,
            op,
            attempt,
            unsent: false,
            error: error("gone"),
        };
        assert_eq!(talk.tell(Input::Lost(lost)), Err(Rejected::Stale));
    }
}
