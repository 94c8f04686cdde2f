//! The way forward: order, conditions, payloads, the end.

use super::*;
use saga_dsl::builder::{Item, parallel, sequence};

#[test]
fn one_step_after_the_other() {
    let mut talk = Conversation::begun(
        Saga::new("s", 1)
            .step(step("a"))
            .step(step("b"))
            .step(pivot("p")),
    );
    talk.sends(&["a"])
        .succeeds("a")
        .sends(&["b"])
        .succeeds("b")
        .sends(&["p"])
        .succeeds("p")
        .sends(&[]);
    talk.is(Status::Completed);
    assert_eq!(talk.decisions(), 4, "one decision per input");
}

#[test]
fn branches_run_together_and_join() {
    let branches = parallel([
        Item::from(step("a")),
        sequence([step("b"), step("c")]),
        parallel([step("d"), step("e")]),
    ]);
    let mut talk = Conversation::begun(Saga::new("s", 1).item(branches).step(step("f")));
    talk.sends(&["a", "b", "d", "e"]);
    talk.succeeds("e")
        .succeeds("a")
        .sends(&[])
        .succeeds("b")
        .sends(&["c"]);
    talk.succeeds("d")
        .sends(&[])
        .succeeds("c")
        .sends(&["f"])
        .succeeds("f")
        .is(Status::Completed);
}

#[test]
fn a_saga_without_steps_is_complete_at_once() {
    let mut talk = Conversation::begun(Saga::new("s", 1));
    talk.sends(&[]).is(Status::Completed);
    assert_eq!(talk.decisions(), 1);
    assert_eq!(talk.state.next_due(), None);
}

#[test]
fn a_false_condition_skips_and_the_order_holds() {
    let saga = || {
        Saga::new("s", 1)
            .step(step("a").when("input.x"))
            .item(sequence([step("b"), step("c").when("input.missing")]).when("input.x"))
            .step(step("d"))
            .output(json!({"a": "${steps.a.status}"}))
    };
    let mut talk = Conversation::begun_with(saga(), &json!({"x": false}));
    // The inner condition would fail; the outer one shields it.
    talk.sends(&["d"])
        .shows("a", "skipped")
        .shows("c", "skipped")
        .succeeds("d")
        .is(Status::Completed);
    assert_eq!(
        talk.state.output.as_ref().expect("an output").to_value(),
        json!({"a": "skipped"})
    );
}

#[test]
fn a_saga_whose_every_step_is_skipped_completes() {
    let saga = Saga::new("s", 1)
        .step(step("a").when("input.x"))
        .step(pivot("p").when("input.x"));
    let mut talk = Conversation::begun_with(
        saga.step(retriable("r").when("input.x")),
        &json!({"x": false}),
    );
    talk.sends(&[]).is(Status::Completed);
    assert_eq!(
        talk.state.output.as_ref().expect("an output").to_value(),
        json!({})
    );
}

#[test]
fn payloads_read_the_input_and_earlier_outputs_and_are_fixed() {
    let saga = Saga::new("s", 1)
        .step(step("a").input(json!({"who": "${input.who}"})))
        .step(step("b").input(json!({"seat": "${steps.a.output.seat}"})));
    let mut talk = Conversation::begun_with(saga, &json!({"who": "ann"}));
    assert_eq!(talk.payload(), json!({"who": "ann"}));
    talk.answers("a", done(&json!({"seat": 7})));
    assert_eq!(talk.payload(), json!({"seat": 7}));
    talk.sends(&["a", "b"]).fails("b").passes(1_000);
    assert_eq!(talk.payload(), json!({"seat": 7}));
    talk.sends(&["b#2"]);
}

#[test]
fn without_an_output_the_outputs_of_top_level_steps_are_the_result() {
    let saga = Saga::new("s", 1)
        .step(step("a"))
        .item(parallel([step("b")]))
        .step(plain("c"));
    let mut talk = Conversation::begun(saga);
    talk.succeeds("a")
        .succeeds("b")
        .succeeds("c")
        .is(Status::Completed);
    assert_eq!(
        talk.state.output.as_ref().expect("an output").to_value(),
        json!({"a": {"by": "a"}, "c": {"by": "c"}})
    );
}

#[test]
fn an_output_that_cannot_be_computed_does_not_stop_the_end() {
    let saga = Saga::new("s", 1)
        .step(step("a"))
        .output(json!({"x": "${steps.a.output.missing}"}));
    let mut talk = Conversation::begun(saga);
    let events = talk
        .answers_to("a", Op::Action, 1, done(&json!({})))
        .expect("taken");
    talk.is(Status::Completed);
    assert_eq!(talk.state.output, None);
    assert!(
        matches!(events.last(), Some(Event::Completed { output: None, error: Some(e) }) if e.code == "expression")
    );
}

#[test]
fn an_expression_that_fails_before_the_pivot_turns_the_saga_back() {
    let saga = Saga::new("s", 1)
        .step(step("a"))
        .step(step("b").input(json!({"x": "${steps.a.output.missing}"})));
    let mut talk = Conversation::begun(saga);
    talk.sends(&["a"])
        .succeeds("a")
        .sends(&["undo a"])
        .undone("a")
        .is(Status::Compensated);
    assert_eq!(
        talk.state.failure.as_ref().expect("a reason").cause,
        crate::event::Cause::Expression
    );

    let saga = Saga::new("s", 1)
        .step(step("a"))
        .step(step("b").when("steps.a.output.missing"));
    Conversation::begun(saga)
        .succeeds("a")
        .sends(&["a", "undo a"])
        .undone("a")
        .is(Status::Compensated);
}

#[test]
fn what_the_failing_decision_began_never_leaves_the_house() {
    let saga = Saga::new("s", 1).item(parallel([
        step("a"),
        step("b").input(json!({"x": "${input.missing}"})),
        step("c"),
    ]));
    let mut talk = Conversation::begun(saga);
    talk.sends(&[])
        .is(Status::Compensated)
        .shows("c", "pending");
    assert_eq!(talk.decisions(), 1);
}
