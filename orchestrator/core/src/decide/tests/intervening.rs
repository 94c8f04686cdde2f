//! Operators: retry, skip, resolve, abandon, and what each of them may not do.

use crate::input::{Order, Unfit};

use super::*;

const RETRY: Order = Order::Retry { input: None };

fn saga() -> Saga {
    Saga::new("s", 1)
        .step(step("a"))
        .step(pivot("p"))
        .step(retriable("r"))
        .step(retriable("z"))
}

/// Up to the retriable in flight.
fn paid() -> Conversation {
    let mut talk = Conversation::begun(saga());
    talk.succeeds("a").succeeds("p").sends(&["a", "p", "r"]);
    talk
}

/// Going back, the undo of `a` in flight.
fn going_back() -> Conversation {
    let mut talk = Conversation::begun(saga());
    talk.succeeds("a").refuses("p").sends(&["a", "p", "undo a"]);
    talk
}

fn resolved(output: &Value) -> Order {
    Order::ResolveSucceeded {
        output: Payload::from_value(output.clone()),
    }
}

fn edited(input: &Value) -> Order {
    Order::Retry {
        input: Some(Payload::from_value(input.clone())),
    }
}

#[test]
fn a_retry_does_not_wait_for_the_backoff_and_begins_the_budget_anew() {
    let mut talk = Conversation::begun(saga());
    talk.fails("a").sends(&["a"]).retries("a").sends(&["a#2"]);
    // Two attempts are allowed: without the operator this would have been the last.
    talk.fails("a")
        .is(Status::Running)
        .passes(1_000)
        .sends(&["a#3"])
        .fails("a")
        .sends(&["undo a"]);
    assert!(!talk.state.exceptions);
}

#[test]
fn a_stuck_undo_is_tried_again() {
    let mut talk = going_back();
    talk.answers("a", Outcome::NeedsOperator(error("by_hand")))
        .calls(&["undo_stuck a"])
        .retries("a");
    talk.calls(&[])
        .sends(&["undo a#2"])
        .undone("a")
        .is(Status::Compensated);
    assert!(!talk.state.exceptions);
}

#[test]
fn a_retry_of_the_whole_saga_moves_what_is_stuck_and_nothing_else() {
    let mut talk = Conversation::begun(Saga::new("s", 1).item(builder::parallel([
        step("a"),
        step("b"),
        step("c"),
    ])));
    talk.succeeds("a")
        .succeeds("b")
        .refuses("c")
        .sends(&["a", "b", "c", "undo b", "undo a"]);
    assert_eq!(talk.orders(RETRY, None, false), Err(Unfit::NothingFailed));
    talk.answers("a", Outcome::NeedsOperator(error("by_hand")))
        .fails("b");
    talk.orders(RETRY, None, false).expect("taken");
    talk.sends(&["undo a#2", "undo b#2"])
        .undone("a")
        .undone("b")
        .is(Status::Compensated);
}

#[test]
fn trouble_of_the_orchestrator_is_settled_by_a_retry() {
    let mut talk = paid();
    talk.tell(Input::Trouble(error("panic"))).expect("taken");
    talk.calls(&["internal"])
        .orders(RETRY, None, false)
        .expect("taken");
    talk.calls(&[])
        .succeeds("r")
        .succeeds("z")
        .is(Status::Completed);
}

#[test]
fn a_refused_step_begins_another_round_once_the_old_one_is_sealed() {
    let mut talk = paid();
    talk.refuses("r")
        .calls(&["retriable_refused r"])
        .retries("r")
        .sends(&["seal r"])
        .shows("r", "sealing");
    talk.answers("r", Outcome::Refused(error("sold_out")))
        .calls(&[])
        .sends(&["r@2"]);
    assert_eq!(
        talk.answers_in("r", 1, Op::Action, 1, Outcome::Refused(error("sold_out"))),
        Err(Rejected::Stale)
    );
    talk.restarts()
        .sends(&["r@2"])
        .succeeds("r")
        .sends(&["z"])
        .succeeds("z")
        .is(Status::Completed);
    assert!(!talk.state.exceptions);
}

#[test]
fn what_turns_out_done_makes_the_wish_void() {
    let mut talk = paid();
    talk.passes(10_000)
        .shows("r", "backing_off")
        .skips("r")
        .sends(&["seal r"]);
    let output = Payload::from_value(json!({"late": true}));
    let told = talk
        .answers_to("r", Op::Seal, 1, Outcome::Done(output))
        .expect("taken");
    assert_eq!(
        kinds(&told),
        ["round_overtaken", "step_succeeded", "step_dispatched"]
    );
    talk.sends(&["z"]);
    assert!(!talk.state.exceptions);
}

#[test]
fn another_payload_is_another_round() {
    let mut talk = paid();
    talk.fails("r")
        .orders(edited(&json!({"to": "bob"})), Some("r"), false)
        .expect("taken");
    talk.sends(&["seal r"]).answers("r", Outcome::Sealed);
    assert_eq!(talk.payload(), json!({"to": "bob"}));
    talk.sends(&["r@2"]);
}

#[test]
fn what_was_never_sent_takes_another_payload_in_its_own_round() {
    let broken = retriable("r").input(json!({"x": "${input.missing}"}));
    let mut talk = Conversation::begun(
        Saga::new("s", 1)
            .step(pivot("p"))
            .step(broken)
            .step(retriable("z")),
    );
    talk.succeeds("p").calls(&["expression r"]);
    assert_eq!(
        talk.orders(RETRY, Some("z"), false),
        Err(Unfit::NotReached { step: "z".into() })
    );
    talk.retries("r").calls(&["expression r"]).sends(&["p"]);
    talk.orders(edited(&json!({"x": 1})), Some("r"), false)
        .expect("taken");
    assert_eq!(talk.payload(), json!({"x": 1}));
    talk.calls(&[])
        .sends(&["r"])
        .succeeds("r")
        .succeeds("z")
        .is(Status::Completed);
    assert!(
        !talk.state.exceptions,
        "nothing was taken on anybody's word"
    );
}

#[test]
fn an_undo_takes_another_payload() {
    let broken = plain("a").compensation_block("shop/undo_a", |undo| {
        undo.retry = unlimited();
        undo.input = Some(saga_dsl::definition::Input::Pick(vec!["missing".into()]));
    });
    let mut talk = Conversation::begun(Saga::new("s", 1).step(broken).step(step("b")));
    talk.succeeds("a")
        .refuses("b")
        .calls(&["undo_stuck a"])
        .sends(&["a", "b"]);
    talk.orders(edited(&json!({"by": "hand"})), Some("a"), false)
        .expect("taken");
    assert_eq!(talk.payload(), json!({"by": "hand"}));
    talk.sends(&["undo a"]).undone("a").is(Status::Compensated);
}

#[test]
fn a_skip_goes_on_without_the_step_and_marks_the_saga() {
    let mut talk = paid();
    talk.refuses("r")
        .skips("r")
        .shows("r", "skipped")
        .sends(&["z"])
        .succeeds("z")
        .is(Status::Completed);
    assert!(talk.state.exceptions);

    let mut talk = going_back();
    talk.answers("a", Outcome::NeedsOperator(error("by_hand")))
        .skips("a")
        .is(Status::Compensated);
    assert!(talk.state.exceptions);
}

#[test]
fn a_skip_of_what_was_sent_seals_it_first() {
    let mut talk = paid();
    talk.skips("r")
        .sends(&["seal r"])
        .answers("r", Outcome::Running)
        .passes(1_000)
        .sends(&["seal r#2"]);
    talk.answers("r", Outcome::Sealed)
        .shows("r", "skipped")
        .sends(&["z"]);
    let late = talk.answers_to("r", Op::Action, 1, done(&json!({})));
    assert_eq!(
        late,
        Err(Rejected::Stale),
        "no attempt of it counts any more"
    );
}

#[test]
fn a_step_that_was_left_out_by_force_is_undone_all_the_same() {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a")).step(step("b")));
    talk.passes(10_000)
        .orders(Order::Skip, Some("a"), true)
        .expect("taken");
    talk.sends(&["a", "b"]).refuses("b").sends(&["undo a"]);
    let told = talk
        .answers_to("a", Op::Compensation, 1, Outcome::NothingToDo)
        .expect("taken");
    assert_eq!(kinds(&told), ["undo_done", "compensated"]);
    assert!(talk.state.exceptions);
}

#[test]
fn who_contradicts_an_operators_word_calls_for_him_again() {
    let mut talk = paid();
    talk.passes(10_000)
        .orders(Order::Skip, Some("r"), true)
        .expect("taken");
    talk.answers_to("r", Op::Action, 1, done(&json!({})))
        .expect("taken");
    talk.calls(&["contradiction r"]);
    assert_eq!(
        talk.answers_to("r", Op::Action, 1, done(&json!({}))),
        Ok(vec![]),
        "said once"
    );

    let mut talk = paid();
    talk.refuses("r")
        .orders(RETRY, Some("r"), true)
        .expect("taken");
    talk.sends(&["r@2"])
        .answers_in("r", 1, Op::Action, 1, done(&json!({})))
        .expect("taken");
    talk.calls(&["contradiction r"])
        .succeeds("r")
        .succeeds("z")
        .is(Status::Completed);
    assert!(talk.state.exceptions);
}

#[test]
fn a_resolved_step_counts_as_what_the_operator_says() {
    let mut talk = paid();
    talk.refuses("r")
        .orders(resolved(&json!({"by": "hand"})), Some("r"), false)
        .expect("taken");
    assert_eq!(
        talk.answers_to("r", Op::Action, 1, Outcome::Refused(error("sold_out"))),
        Ok(vec![]),
        "it was known"
    );
    talk.sends(&["z"]).succeeds("z").is(Status::Completed);
    assert_eq!(
        talk.state
            .output
            .as_ref()
            .map(|o| o.to_value()["r"].clone()),
        Some(json!({"by": "hand"}))
    );
    assert!(talk.state.exceptions);
}

#[test]
fn an_undo_does_not_claim_to_know_what_an_operator_said() {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a")).step(step("b")));
    talk.passes(10_000)
        .orders(resolved(&json!({})), Some("a"), false)
        .expect("taken");
    talk.sends(&["a", "b"]).refuses("b");
    assert_eq!(talk.sent[0].known, Some(crate::effect::Known::Unknown));
}

#[test]
fn a_pivot_that_is_said_to_have_failed_is_sealed_first() {
    let mut talk = Conversation::begun(saga());
    talk.succeeds("a").passes(10_000).sends(&["a", "p"]);
    talk.orders(Order::ResolveFailed, Some("p"), false)
        .expect("taken");
    talk.sends(&["seal p"])
        .answers("p", Outcome::Sealed)
        .sends(&["undo a"])
        .undone("a");
    talk.is(Status::Compensated);
    assert!(!talk.state.exceptions, "it was proved");

    let mut talk = Conversation::begun(saga());
    talk.succeeds("a").passes(10_000).sends(&["a", "p"]);
    talk.orders(Order::ResolveFailed, Some("p"), true)
        .expect("taken");
    talk.sends(&["undo a"]).undone("a").is(Status::Compensated);
    assert!(talk.state.exceptions, "it was not");
}

#[test]
fn a_pivot_that_is_being_settled_can_be_resolved() {
    let mut talk = Conversation::begun(saga());
    talk.succeeds("a");
    talk.cancel().expect("taken");
    talk.sends(&["a", "p", "seal p"]);
    assert_eq!(
        talk.orders(RETRY, Some("p"), false),
        Err(Unfit::Outstanding { step: "p".into() })
    );
    talk.passes(10_000).retries("p").sends(&["seal p#2"]);
    talk.orders(resolved(&json!({"paid": true})), Some("p"), false)
        .expect("taken");
    talk.is(Status::Running).sends(&["r"]);
    assert!(talk.state.exceptions);
}

#[test]
fn a_pivot_without_inbox_needs_force() {
    let loose = Saga::new("s", 1).deadline("30s").step(step("a")).step(
        builder::step("p")
            .action("bank/p")
            .timeout("10s")
            .retry(unlimited())
            .at_least_once()
            .pivot(),
    );
    let mut talk = Conversation::begun(loose);
    talk.succeeds("a").passes(60_000);
    talk.calls(&["pivot_unknown p"]);
    let unfit = talk.orders(Order::ResolveFailed, Some("p"), false);
    assert_eq!(unfit, Err(Unfit::NeedsForce { step: "p".into() }));
    talk.orders(Order::ResolveFailed, Some("p"), true)
        .expect("taken");
    talk.is(Status::Compensating)
        .undone("a")
        .is(Status::Compensated);
}

#[test]
fn a_step_that_is_said_to_have_failed_is_undone_as_unknown() {
    let mut talk = Conversation::begun(saga());
    talk.orders(Order::ResolveFailed, Some("a"), false)
        .expect("taken");
    talk.sends(&["a", "undo a"])
        .answers("a", Outcome::NothingToDo)
        .is(Status::Compensated);
    assert!(!talk.state.exceptions);
    assert_eq!(
        talk.state.failure.as_ref().map(|f| f.cause),
        Some(crate::event::Cause::Operator)
    );
}

#[test]
fn a_saga_that_goes_back_closes_no_round_any_more() {
    let mut talk =
        Conversation::begun(Saga::new("s", 1).item(builder::parallel([step("a"), step("b")])));
    talk.skips("a")
        .sends(&["a", "b", "seal a"])
        .refuses("b")
        .sends(&["undo a"]);
    assert_eq!(
        talk.answers_to("a", Op::Seal, 1, Outcome::Sealed),
        Ok(vec![])
    );
    talk.answers("a", Outcome::NothingToDo)
        .is(Status::Compensated);
    assert!(!talk.state.exceptions);
}

#[test]
fn abandoned_is_an_end() {
    let mut talk = paid();
    assert_eq!(
        kinds(&talk.orders(Order::Abandon, None, false).expect("taken")),
        ["intervened", "abandoned"]
    );
    talk.is(Status::Abandoned);
    assert!(talk.state.exceptions && talk.state.ended_at.is_some());
    assert_eq!(
        talk.answers_to("r", Op::Action, 1, done(&json!({}))),
        Err(Rejected::Stale)
    );
    assert!(matches!(talk.cancel(), Err(Rejected::Ended { .. })));
    assert_eq!(talk.state.next_due(), None);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let (a, p, r) = (|| "a".to_owned(), || "p".to_owned(), || "r".to_owned());
    let mut talk = Conversation::begun(saga());
    assert_eq!(
        talk.orders(RETRY, Some("a"), false),
        Err(Unfit::Outstanding { step: a() })
    );
    assert_eq!(
        talk.orders(Order::Skip, None, false),
        Err(Unfit::StepNeeded)
    );
    assert_eq!(
        talk.orders(Order::Abandon, Some("a"), false),
        Err(Unfit::NoStepTaken)
    );
    assert_eq!(
        talk.orders(Order::Skip, Some("p"), true),
        Err(Unfit::PivotStays { step: p() })
    );
    assert_eq!(
        talk.orders(Order::Skip, Some("r"), true),
        Err(Unfit::NotReached { step: r() })
    );
    let forced = Err(Unfit::OutstandingUnlessForced { step: a() });
    assert_eq!(talk.orders(resolved(&json!(1)), Some("a"), false), forced);
    talk.leaves("bank").succeeds("a").sends(&["a"]);
    let reason = "no live participant".to_owned();
    assert_eq!(
        talk.orders(RETRY, Some("p"), false),
        Err(Unfit::Waits { step: p(), reason })
    );
    assert_eq!(
        talk.orders(Order::ResolveFailed, Some("p"), true),
        Err(Unfit::NeverSent { step: p() })
    );
    let status = "succeeded".to_owned();
    assert_eq!(
        talk.orders(Order::Skip, Some("a"), false),
        Err(Unfit::Settled { step: a(), status })
    );

    let mut talk = paid();
    talk.fails("r");
    assert_eq!(
        talk.orders(Order::ResolveFailed, Some("r"), true),
        Err(Unfit::MustSucceed { step: r() })
    );

    let mut talk = going_back();
    assert_eq!(
        talk.orders(RETRY, Some("a"), false),
        Err(Unfit::Outstanding { step: a() })
    );
    assert_eq!(talk.orders(Order::Skip, Some("a"), false), forced);
    assert_eq!(
        talk.orders(resolved(&json!(1)), Some("a"), false),
        Err(Unfit::GoesBack { step: a() })
    );
    assert_eq!(
        talk.orders(Order::ResolveFailed, Some("a"), false),
        Err(Unfit::GoesBack { step: a() })
    );
    let decisions = talk.decisions();
    talk.undone("a").is(Status::Compensated);
    assert_eq!(
        talk.decisions(),
        decisions + 1,
        "what is refused is not recorded"
    );
}

#[test]
fn a_condition_that_fails_after_the_pivot_is_passed_with_an_input() {
    let broken = retriable("r")
        .when("input.missing")
        .input(json!({"of": "the file"}));
    let mut talk = Conversation::begun(
        Saga::new("s", 1)
            .step(step("a"))
            .step(pivot("p"))
            .step(broken),
    );
    talk.succeeds("a")
        .succeeds("p")
        .calls(&["expression r"])
        .sends(&["a", "p"]);
    talk.orders(edited(&json!({"of": "ann"})), Some("r"), false)
        .expect("taken");
    assert_eq!(talk.payload(), json!({"of": "ann"}));
    talk.calls(&[])
        .sends(&["r"])
        .succeeds("r")
        .is(Status::Completed);
}

#[test]
fn another_round_does_not_ask_for_the_condition_again() {
    let picky = retriable("r").when("steps.p.output.by == 'p'");
    let mut talk = Conversation::begun(
        Saga::new("s", 1)
            .step(step("a"))
            .step(pivot("p"))
            .step(picky),
    );
    talk.succeeds("a")
        .succeeds("p")
        .sends(&["a", "p", "r"])
        .refuses("r")
        .retries("r")
        .sends(&["seal r"]);
    talk.answers("r", Outcome::Sealed).sends(&["r@2"]);
}

#[test]
fn what_was_never_sent_has_nothing_to_undo() {
    let both = builder::parallel([step("a"), step("b")]);
    let mut talk = Conversation::about(Saga::new("s", 1).item(both));
    talk.gate
        .participants
        .get_mut("shop")
        .expect("there")
        .actions
        .remove("b");
    talk.tell(start(&json!({}))).expect("it begins");
    talk.refuses("a").is(Status::Compensated);

    let held = builder::parallel([step("a"), step("b"), step("c")]);
    let mut talk = Conversation::about(Saga::new("s", 1).item(held));
    talk.gate
        .participants
        .get_mut("shop")
        .expect("there")
        .actions
        .remove("b");
    talk.tell(start(&json!({}))).expect("it begins");
    talk.succeeds("a").refuses("c").is(Status::Compensating);
    let never = Unfit::NothingToUndo { step: "b".into() };
    assert_eq!(
        talk.orders(Order::Skip, Some("b"), false),
        Err(never.clone())
    );
    assert_eq!(talk.orders(RETRY, Some("b"), false), Err(never));
}
