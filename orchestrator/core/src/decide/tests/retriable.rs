//! After the pivot there is only forward; what cannot go forward is for an operator.

use super::*;

fn after() -> Saga {
    Saga::new("s", 1)
        .step(step("a"))
        .step(pivot("p"))
        .step(retriable("r").escalate_after("1m"))
        .step(retriable("z"))
}

fn shipping(saga: Saga) -> Conversation {
    let mut talk = Conversation::begun(saga);
    talk.succeeds("a").succeeds("p");
    talk
}

#[test]
fn attempts_go_on_until_it_succeeds_and_an_operator_hears_of_it() {
    let mut talk = shipping(after());
    for _ in 0..20 {
        talk.fails("r").passes(3_000);
    }
    talk.calls(&["slow r"])
        .is(Status::Running)
        .succeeds("r")
        .calls(&[])
        .succeeds("z")
        .is(Status::Completed);
}

#[test]
fn a_refusal_is_an_incident_at_once() {
    let mut talk = shipping(after());
    talk.refuses("r")
        .calls(&["retriable_refused r"])
        .is(Status::Running)
        .passes(10_000_000);
    talk.calls(&["retriable_refused r"]).sends(&["a", "p", "r"]);
    assert_eq!(talk.state.next_due(), None);
}

#[test]
fn a_spent_budget_is_an_incident_and_a_late_success_mends_it() {
    let saga = Saga::new("s", 1)
        .step(step("a"))
        .step(pivot("p"))
        .step(retriable("r").max_attempts(1));
    let mut talk = shipping(saga);
    talk.passes(10_000)
        .calls(&["retriable_exhausted r"])
        .sends(&["a", "p", "r"]);
    talk.answers_to("r", Op::Action, 1, done(&json!(1)))
        .expect("taken");
    talk.calls(&[]).is(Status::Completed);
}

#[test]
fn neither_cancel_nor_deadline_turn_it_back() {
    let mut talk = shipping(after().deadline("30s"));
    assert!(matches!(talk.cancel(), Err(Rejected::AfterPivot { pivot }) if pivot == "p"));
    talk.passes(31_000).calls(&["deadline"]).is(Status::Running);
    talk.succeeds("r").succeeds("z").is(Status::Completed);
}

#[test]
fn an_expression_that_fails_is_one_incident() {
    for broken in [
        retriable("r").input(json!({"x": "${steps.p.output.missing}"})),
        retriable("r").when("steps.p.output.missing"),
    ] {
        let mut talk = shipping(
            Saga::new("s", 1)
                .step(step("a"))
                .step(pivot("p"))
                .step(broken),
        );
        let decisions = talk.calls(&["expression r"]).decisions();
        talk.passes(10_000_000)
            .comes("bank")
            .restarts()
            .comes("shop")
            .calls(&["expression r"]);
        assert_eq!(talk.decisions(), decisions);
        talk.is(Status::Running).sends(&["a", "p"]);
    }
}

#[test]
fn where_the_pivot_is_left_out_the_first_retriable_step_is_the_point_of_no_return() {
    let saga = || {
        let pivot = pivot("p").when("false");
        Saga::new("s", 1)
            .step(step("a"))
            .step(pivot)
            .step(retriable("r"))
            .step(retriable("z"))
    };
    let mut talk = Conversation::begun(saga());
    talk.succeeds("a").sends(&["a", "r"]);
    assert!(matches!(talk.cancel(), Err(Rejected::AfterPivot { pivot }) if pivot == "r"));
    talk.succeeds("r")
        .refuses("z")
        .is(Status::Running)
        .calls(&["retriable_refused z"]);

    let mut talk = Conversation::begun(saga());
    talk.leaves("bank")
        .succeeds("a")
        .cancel()
        .expect("nothing of it was sent");
    talk.sends(&["a", "undo a"]);
}
