//! Plans made from definitions: order, guards, defaults, hashes.

use serde_json::json;

use super::*;

fn definition(value: &serde_json::Value) -> Definition {
    serde_json::from_value(value.clone()).expect("a definition")
}

fn plan(value: &serde_json::Value) -> Plan {
    Plan::from_definition(definition(value)).expect("a plan")
}

fn step(id: &str) -> serde_json::Value {
    json!({"step": id, "action": "shop/do", "compensation": "shop/undo"})
}

/// `id < predecessors > successors`, one line a step.
fn order(plan: &Plan) -> Vec<String> {
    let names = |list: &[StepIx]| {
        let ids: Vec<_> = list
            .iter()
            .map(|ix| plan.steps[ix.at()].id.as_str())
            .collect();
        ids.join(",")
    };
    plan.steps
        .iter()
        .map(|s| format!("{} < {} > {}", s.id, names(&s.after), names(&s.before)))
        .collect()
}

#[test]
fn a_list_is_a_sequence_and_parallel_children_share_their_entry() {
    let plan = plan(&json!({"saga": "s", "version": 1, "steps": [
        step("a"),
        {"parallel": [step("b"), {"sequence": [step("c"), step("d")]}, {"parallel": [step("e"), step("f")]}]},
        step("g"),
        step("h"),
    ]}));
    let expected = [
        "a <  > b,c,e,f",
        "b < a > g",
        "c < a > d",
        "d < c > g",
        "e < a > g",
        "f < a > g",
        "g < b,d,e,f > h",
        "h < g > ",
    ];
    assert_eq!(order(&plan), expected);
    assert_eq!(
        plan.steps[3].groups,
        [GroupKind::Parallel, GroupKind::Sequence]
    );
    assert_eq!(plan.step_ix("g"), Some(StepIx(6)));
}

#[test]
fn an_empty_group_hands_its_entry_through() {
    let plan = plan(&json!({"saga": "s", "version": 1, "steps": [
        step("a"), {"parallel": [{"sequence": []}, {"parallel": []}]}, step("b"),
    ]}));
    assert_eq!(order(&plan), ["a <  > b", "b < a > "]);
}

#[test]
fn what_is_inside_inherits_the_guards_around_it() {
    let mut inner = step("b");
    inner["when"] = json!("input.c");
    let plan = plan(&json!({"saga": "s", "version": 1, "steps": [
        {"when": "input.a", "parallel": [{"when": "input.b", "sequence": [inner]}, step("x")]},
    ]}));
    let guards: Vec<_> = plan.steps[0].guards.iter().map(Expr::source).collect();
    assert_eq!(guards, ["input.a", "input.b", "input.c"]);
    let guards: Vec<_> = plan.steps[1].guards.iter().map(Expr::source).collect();
    assert_eq!(guards, ["input.a"]);
}

#[test]
fn canonical_json_is_what_was_written_without_defaults_and_sorted() {
    let written = definition(&json!({
        "version": 2, "saga": "s", "format": 1, "deadline": "90m",
        "steps": [{"step": "a", "timeout": "1000ms", "action": "p/a", "input": {"z": 1, "b": [true, null, 1.5]},
                   "compensation": {"action": "none", "reason": "a read"}}],
    }));
    let json = written.canonical_json();
    let expected = r#"{"deadline":"1h30m","saga":"s","steps":[{"action":"p/a","compensation":{"action":"none","reason":"a read"},"input":{"b":[true,null,1.5],"z":1},"step":"a","timeout":"1s"}],"version":2}"#;
    assert_eq!(json, expected);
    let again = Plan::from_canonical(&json).expect("a plan");
    assert_eq!(again.definition, written);
    assert_eq!(again.hash, written.content_hash());
    let hex: String = again
        .hash
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hex,
        "540581328dd0aeebf9b3a3e98688de9a30c4db9208fe1b1c08923ae48fa0a3e4"
    );
}

#[test]
fn only_the_canonical_form_is_loaded() {
    let cases = [
        (
            r#"{"saga":"s","steps":[],"version":1,"zeal":1}"#,
            "not a definition",
        ),
        (
            r#"{"saga":"s","version":1,"steps":[]}"#,
            "not in canonical form",
        ),
        (
            r#"{"saga":"s","steps":[{"action":"p/a","step":"a","surprise":1}],"version":1}"#,
            "not",
        ),
        (
            r#"{"deadline":"60s","saga":"s","steps":[],"version":1}"#,
            "not in canonical form",
        ),
        ("[", "not a definition"),
        (
            r#"{"format":2,"saga":"s","steps":[],"version":1}"#,
            "format 2 is unknown",
        ),
    ];
    for (json, message) in cases {
        let error = Plan::from_canonical(json).expect_err(json);
        assert!(error.message.starts_with(message), "{json}: {error}");
    }
}

#[test]
fn defaults_are_resolved() {
    let plan = plan(&json!({"saga": "s", "version": 1, "deadline": "1h",
    "defaults": {"timeout": "10s", "retry": {"max_attempts": 3}, "compensation_retry": {"max_delay": "5s"}},
    "steps": [
        step("a"),
        {"step": "b", "kind": "pivot", "action": "p/b", "timeout": "1m", "escalate_after": "2m"},
        {"step": "c", "kind": "retriable", "action": "p/c", "retry": {"max_attempts": 7}},
    ]}));
    let [a, b, c] = plan.steps.as_slice() else {
        panic!("three steps")
    };
    assert_eq!(
        (a.action.timeout_ms, a.action.retry.max_attempts),
        (10_000, Some(3))
    );
    assert_eq!(a.lifetime_ms, Some(2 * 3_600_000));
    let undo = a.compensation.as_ref().expect("an undo");
    assert_eq!(
        (
            undo.timeout_ms,
            undo.retry.max_attempts,
            undo.retry.max_delay_ms
        ),
        (10_000, None, 5_000)
    );
    assert_eq!(
        (
            b.action.timeout_ms,
            b.action.retry.max_attempts,
            b.lifetime_ms
        ),
        (60_000, None, None)
    );
    assert_eq!(
        (b.escalate_after_ms, c.escalate_after_ms),
        (120_000, 900_000)
    );
    assert_eq!(
        (c.action.retry.max_attempts, c.lifetime_ms),
        (Some(7), None)
    );
    assert_eq!(plan.deadline_ms, Some(3_600_000));
}

#[test]
fn an_id_that_stands_twice_is_no_plan() {
    let twice = definition(&json!({"saga": "s", "version": 1, "steps": [step("a"), step("a")]}));
    let error = Plan::from_definition(twice).expect_err("twice");
    assert_eq!(error.to_string(), "steps.a: this id stands twice");
}
