//! A step took effect, and what it returned cannot be taken: undone where it can be, else an operator gives the output.

use crate::input::{Order, Unfit};

use super::*;

fn saga() -> Saga {
    Saga::new("s", 1)
        .deadline("60s")
        .step(step("a"))
        .step(pivot("p"))
        .step(retriable("r").input(json!({"receipt": "${steps.p.output.receipt}"})))
}

fn illegible() -> Outcome {
    Outcome::OutputNotTaken(error("bad_output"))
}

fn charging() -> Conversation {
    let mut talk = Conversation::begun(saga());
    talk.succeeds("a").sends(&["a", "p"]);
    talk
}

fn resolved() -> Order {
    Order::ResolveSucceeded {
        output: Payload::from_value(json!({"receipt": "R-1"})),
    }
}

#[test]
fn a_step_with_an_undo_is_tried_again_and_then_undone() {
    let mut talk = Conversation::begun(saga());
    talk.answers("a", illegible())
        .passes(1_000)
        .sends(&["a", "a#2"]);
    talk.answers("a", illegible())
        .is(Status::Compensating)
        .sends(&["undo a"]);
    talk.undone("a").is(Status::Compensated);
}

#[test]
fn a_pivot_calls_an_operator_at_once_who_gives_the_output() {
    let mut talk = charging();
    talk.answers("p", illegible())
        .is(Status::Running)
        .calls(&["output_not_taken p"])
        .sends(&[]);
    talk.passes(30_000).sends(&[]);
    talk.orders(resolved(), Some("p"), false).expect("taken");
    assert_eq!(talk.payload(), json!({"receipt": "R-1"}));
    talk.calls(&[])
        .sends(&["r"])
        .succeeds("r")
        .is(Status::Completed);
}

#[test]
fn the_saga_does_not_go_back_over_a_pivot_whose_output_is_missing() {
    let mut talk = charging();
    talk.answers("p", illegible());
    assert!(matches!(talk.cancel(), Err(Rejected::AfterPivot { .. })));
    talk.passes(60_000)
        .sends(&[])
        .is(Status::Running)
        .calls(&["output_not_taken p", "deadline"]);
    talk.orders(resolved(), Some("p"), false).expect("taken");
    talk.sends(&["r"]);
}

#[test]
fn a_question_may_bring_the_same_answer() {
    let mut talk = charging();
    talk.passes(11_000)
        .sends(&["query p"])
        .answers("p", illegible())
        .calls(&["output_not_taken p"]);
    talk.retries("p")
        .calls(&[])
        .sends(&["query p#2"])
        .answers("p", illegible());
    talk.calls(&["output_not_taken p"]);
    talk.retries("p").answers(
        "p",
        Outcome::Done(Payload::from_value(json!({"receipt": "R-2"}))),
    );
    assert_eq!(talk.payload(), json!({"receipt": "R-2"}));
}

#[test]
fn a_pivot_that_is_settled_for_a_cancel_goes_forward() {
    let mut talk = charging();
    talk.cancel().expect("taken");
    talk.sends(&["seal p"])
        .answers("p", illegible())
        .is(Status::Running)
        .calls(&["output_not_taken p"]);
    talk.restarts()
        .sends(&[])
        .orders(resolved(), Some("p"), false)
        .expect("taken");
    talk.sends(&["r"]).succeeds("r").is(Status::Completed);
}

#[test]
fn an_operators_new_round_is_void_when_the_old_one_took_effect() {
    let mut talk = charging();
    talk.succeeds_with_receipt("p")
        .sends(&["r"])
        .refuses("r")
        .retries("r")
        .sends(&["seal r"]);
    talk.answers("r", illegible())
        .calls(&["output_not_taken r"])
        .sends(&[]);
    assert_eq!(
        talk.orders(Order::ResolveFailed, Some("r"), false),
        Err(Unfit::MustSucceed { step: "r".into() })
    );
    talk.orders(resolved(), Some("r"), false).expect("taken");
    talk.is(Status::Completed);
}

impl Conversation {
    #[track_caller]
    fn succeeds_with_receipt(&mut self, id: &str) -> &mut Self {
        self.answers(id, done(&json!({"receipt": "R-0"})))
    }
}
