//! Undo: what it is told, when it is due, and what happens when it does not work.

use super::*;
use crate::effect::Known;
use saga_dsl::{builder::parallel, definition::Input as Payloads};

/// `a` is done, `b` refused: `a` is being undone.
fn undoing(a: StepBuilder) -> Conversation {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(a).step(step("b")));
    talk.answers("a", done(&json!({"seat": 7})))
        .refuses("b")
        .is(Status::Compensating);
    talk
}

#[test]
fn it_is_told_input_output_and_key() {
    let talk = undoing(step("a").input(json!({"who": "ann"})));
    let key = format!("{}/a/1", talk.state.id);
    assert_eq!(
        talk.payload(),
        json!({"input": {"who": "ann"}, "output": {"seat": 7}, "action_key": key})
    );
    assert_eq!(talk.sent.last().and_then(|c| c.known), Some(Known::Done));
}

#[test]
fn it_is_told_that_nobody_knows_and_every_sending_is_the_same() {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a").max_attempts(1)));
    talk.passes(10_000);
    let key = format!("{}/a/1", talk.state.id);
    assert_eq!(talk.payload(), json!({"input": {}, "action_key": key}));
    // The answer of the action comes too late to change the command.
    let events = talk
        .answers_to("a", Op::Action, 1, done(&json!(1)))
        .expect("taken");
    assert_eq!(kinds(&events), ["late_reply"]);
    assert_eq!(
        talk.answers_to("a", Op::Action, 1, done(&json!(1))),
        Ok(vec![]),
        "once is enough"
    );
    talk.fails("a").passes(1_000);
    let [_, first, second] = talk.sent.as_slice() else {
        panic!("{:?}", talk.sent)
    };
    assert_eq!(first.known, Some(Known::Unknown));
    assert_eq!(
        &Command {
            attempt: 1,
            ..second.clone()
        },
        first
    );
}

#[test]
fn what_it_was_told_first_it_is_told_again() {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a").max_attempts(1)));
    talk.passes(10_000)
        .leaves("shop")
        .loses("a", false)
        .passes(1_000)
        .shows("a", "undo_waiting");
    talk.answers_to("a", Op::Action, 1, done(&json!(1)))
        .expect("taken");
    talk.comes("shop");
    let [_, first, second] = talk.sent.as_slice() else {
        panic!("{:?}", talk.sent)
    };
    assert_eq!((first.known, second.attempt), (Some(Known::Unknown), 2));
    assert_eq!(
        &Command {
            attempt: 1,
            ..second.clone()
        },
        first
    );
}

#[test]
fn a_success_that_is_late_but_in_time_makes_it_known() {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a").max_attempts(1)));
    talk.leaves("shop")
        .passes(10_000)
        .shows("a", "undo_waiting");
    talk.answers_to("a", Op::Action, 1, done(&json!(1)))
        .expect("taken");
    talk.comes("shop");
    assert_eq!(talk.sent.last().and_then(|c| c.known), Some(Known::Done));

    // And a no makes it superfluous.
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a").max_attempts(1)));
    talk.leaves("shop")
        .passes(10_000)
        .shows("a", "undo_waiting");
    talk.answers_to("a", Op::Action, 1, Outcome::Refused(error("no")))
        .expect("taken");
    talk.is(Status::Compensated).sends(&["a"]);
}

#[test]
fn its_own_payload_comes_from_the_file() {
    let a = plain("a").input(json!({"n": 1})).compensation_block("shop/undo_a", |undo| {
        let fields = json!({"seat": "${self.output.seat}", "was": "${self.input.n}", "key": "${self.key}"});
        let Value::Object(fields) = fields else { return };
        undo.input = Some(Payloads::Value(fields));
    });
    let talk = undoing(a);
    let key = format!("{}/a/1", talk.state.id);
    assert_eq!(talk.payload(), json!({"seat": 7, "was": 1, "key": key}));
}

#[test]
fn a_payload_that_cannot_be_computed_is_an_incident() {
    let a = plain("a").compensation_block("shop/undo_a", |undo| {
        undo.input = Some(Payloads::Pick(vec!["self.output.missing".into()]));
    });
    let mut talk = undoing(a);
    talk.sends(&["a", "b"])
        .calls(&["undo_stuck a"])
        .shows("a", "undo_stuck")
        .comes("shop")
        .calls(&["undo_stuck a"]);
    assert_eq!(talk.state.next_due(), None);
}

#[test]
fn it_is_retried_without_end_and_an_operator_hears_of_it() {
    let a = plain("a").compensation_block("shop/undo_a", |undo| {
        undo.retry = unlimited();
        undo.escalate_after = Some(Duration { ms: 30_000 });
    });
    let mut talk = undoing(a);
    for _ in 0..20 {
        talk.fails("a").passes(2_000);
    }
    talk.calls(&["undo_slow a"])
        .undone("a")
        .calls(&[])
        .is(Status::Compensated);
}

#[test]
fn an_alarm_of_the_way_forward_does_not_silence_that_of_the_way_back() {
    let a = plain("a")
        .escalate_after("1s")
        .compensation_block("shop/undo_a", |undo| {
            undo.retry = unlimited();
            undo.escalate_after = Some(Duration { ms: 5_000 });
        });
    let mut talk = Conversation::begun(Saga::new("s", 1).step(a));
    talk.passes(2_000)
        .calls(&["slow a"])
        .cancel()
        .expect("taken");
    talk.passes(8_000)
        .calls(&[])
        .sends(&["a", "undo a"])
        .passes(5_000)
        .calls(&["undo_slow a"]);
}

#[test]
fn a_no_to_an_undo_is_an_incident_and_the_others_go_on() {
    for no in [
        Outcome::Refused(error("no")),
        Outcome::NeedsOperator(error("by_hand")),
        Outcome::Conflict(error("conflict")),
        Outcome::Failed(error("hopeless")),
    ] {
        let saga = Saga::new("s", 1).step(step("a")).item(parallel([
            step("b").compensation_block("shop/undo_b", |undo| undo.retry = unlimited()),
            step("c"),
        ]));
        let mut talk = Conversation::begun(saga.step(step("d")));
        talk.succeeds("a").succeeds("b").succeeds("c").refuses("d");
        talk.answers("b", no)
            .calls(&["undo_stuck b"])
            .undone("c")
            .is(Status::Compensating);
        talk.sends(&["a", "b", "c", "d", "undo c", "undo b"])
            .passes(10_000_000)
            .sends(&[]);
        // Its answer to the same attempt may still come.
        talk.answers_to("b", Op::Compensation, 1, Outcome::Compensated)
            .expect("taken");
        talk.calls(&[])
            .sends(&["undo a"])
            .undone("a")
            .is(Status::Compensated);
    }
}

#[test]
fn a_finite_budget_ends_in_an_incident() {
    let a = plain("a").compensation_block("shop/undo_a", |undo| {
        undo.retry = retry(MaxAttempts::Times(2))
    });
    let mut talk = undoing(a);
    talk.fails("a")
        .passes(1_000)
        .fails("a")
        .sends(&["a", "b", "undo a", "undo a#2"])
        .calls(&["undo_stuck a"]);
}

#[test]
fn an_action_in_progress_delays_it_and_costs_no_budget() {
    let a = plain("a").compensation_block("shop/undo_a", |undo| {
        undo.retry = retry(MaxAttempts::Times(2))
    });
    let mut talk = undoing(a);
    for _ in 0..5 {
        talk.answers("a", Outcome::Running)
            .shows("a", "undo_backing_off")
            .passes(1_000)
            .shows("a", "undoing");
    }
    // Two attempts are allowed, and both are still there.
    talk.fails("a")
        .calls(&[])
        .passes(1_000)
        .fails("a")
        .calls(&["undo_stuck a"]);
}

#[test]
fn an_answer_counts_from_whichever_attempt_it_comes() {
    let mut talk = undoing(step("a"));
    talk.passes(11_000).sends(&["a", "b", "undo a", "undo a#2"]);
    assert_eq!(
        talk.answers_to("a", Op::Compensation, 1, Outcome::Failed(error("busy"))),
        Ok(vec![])
    );
    talk.answers_to("a", Op::Compensation, 1, Outcome::Compensated)
        .expect("taken");
    talk.is(Status::Compensated);
}

#[test]
fn a_participant_that_is_not_there_is_waited_for() {
    let mut talk = undoing(step("a"));
    talk.leaves("shop")
        .loses("a", true)
        .shows("a", "undo_waiting")
        .comes("shop")
        .sends(&["a", "b", "undo a", "undo a"]);
    talk.leaves("shop")
        .loses("a", false)
        .passes(1_000)
        .shows("a", "undo_waiting")
        .passes(800_000)
        .calls(&[]);
    talk.passes(100_000)
        .calls(&["undo_slow a"])
        .comes("shop")
        .sends(&["undo a#2"])
        .undone("a")
        .is(Status::Compensated);
}

#[test]
fn the_kind_of_the_inbox_never_holds_it_back() {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a")).step(step("b")));
    talk.succeeds("a");
    talk.gate
        .participants
        .get_mut("shop")
        .expect("there")
        .transactional = false;
    talk.refuses("b").sends(&["a", "b", "undo a"]);
}

#[test]
fn it_survives_a_restart() {
    let mut talk = undoing(step("a"));
    talk.sends(&["a", "b", "undo a"])
        .passes(9_000)
        .restarts()
        .sends(&["undo a"])
        .passes(9_999)
        .shows("a", "undoing");
    talk.undone("a").is(Status::Compensated);
}

#[test]
fn a_pivot_is_never_undone_whatever_its_file_says() {
    let p = pivot("p").compensation("bank/undo_p").max_attempts(1);
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a")).step(p));
    talk.succeeds("a")
        .passes(10_000)
        .answers("p", Outcome::Sealed)
        .undone("a")
        .is(Status::Compensated);
    talk.sends(&["a", "p", "seal p", "undo a"]);
}

#[test]
fn accepted_undo_is_given_its_time_anew() {
    let mut talk = undoing(step("a"));
    talk.passes(9_000)
        .answers("a", Outcome::Accepted)
        .passes(9_000)
        .shows("a", "undoing")
        .undone("a");
    talk.is(Status::Compensated);
}
