use serde_json::json;

use super::*;
use crate::{file, plan::StepIx};

fn plan(text: &str) -> Plan {
    let loaded = file::load("t.saga.yaml", text.as_bytes());
    loaded
        .plan
        .unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

const ORDER: &str = "
saga: order
version: 1
input: {order_id: string, total_cents: int, express: optional bool, items: [{sku: string, qty: int}], at: timestamp}
steps:
  - step: score
    action: fraud/score
    input: [total_cents]
    compensation: {action: none, reason: a read}
  - step: review
    when: input.total_cents > 100000 || steps.score.output.score >= 0.8
    action: desk/review
    input: {level: '${steps.score.output.level}', why: 'score ${steps.score.output.why}'}
    compensation: {action: desk/drop, input: {ticket: '${has(self.output) ? self.output.ticket : self.key}'}}
  - step: ship
    when: has(input.express) && !input.express && steps.score.output.tags.exists(t, t.name == 'x')
    action: ship/slow
    compensation: ship/stop
output:
  by: \"${has(steps.review.output) ? steps.review.output.by.name : 'auto'}\"
";

#[test]
fn inputs_follow_the_declared_types() {
    let plan = plan(ORDER);
    let sample = input(&plan);
    assert_eq!(
        sample,
        json!({"order_id": "order_id-1", "total_cents": 1, "express": true,
            "items": [{"sku": "sku-1", "qty": 1}], "at": "2030-01-01T09:00:00Z"})
    );
    assert!(
        Type::Object(plan.definition.input.clone())
            .check_value(&sample)
            .is_empty()
    );
}

#[test]
fn outputs_have_what_is_read_of_them() {
    let outputs = outputs(&plan(ORDER));
    assert_eq!(
        outputs["score"],
        json!({"score": 1.5, "level": "level-1", "why": "why-1", "tags": [{"name": "name-1"}]})
    );
    assert_eq!(
        outputs["review"],
        json!({"ticket": "ticket-1", "by": {"name": "name-1"}})
    );
    assert_eq!(outputs["ship"], json!({}));
}

#[test]
fn conditions_are_found_true_and_false() {
    let plan = plan(ORDER);
    let base = Scenario::of(&plan);
    for at in [1, 2] {
        for run in [true, false] {
            let found = scenario(&plan, &base, StepIx(at), run).expect("both are possible");
            assert_eq!(
                found.selects(&plan, StepIx(at)),
                run,
                "step {at}, {run}: {found:?}"
            );
            assert!(
                Type::Object(plan.definition.input.clone())
                    .check_value(&found.input)
                    .is_empty()
            );
        }
    }
    assert_eq!(
        scenario(&plan, &base, StepIx(0), false),
        None,
        "it has no condition"
    );
}

#[test]
fn a_condition_that_cannot_hold_is_no_endless_search() {
    let plan = plan(
        "saga: s\nversion: 1\ninput: {x: int}\nsteps:\n  - step: a\n    when: input.x > 3 && input.x < 2\n    \
         action: p/a\n    compensation: p/b\n",
    );
    assert_eq!(scenario(&plan, &Scenario::of(&plan), StepIx(0), true), None);
}
