//! The builder gives what a file gives, and reports what has not its form.

use serde_json::json;

use super::*;

#[test]
fn gives_what_a_file_gives() {
    let built = Saga::new("trip", 3)
        .idempotency_key("${input.id}")
        .deadline("90m")
        .label("domain", "travel")
        .step(
            step("a")
                .action("p/a")
                .pick(["id"])
                .compensation("p/undo_a")
                .timeout("10s")
                .max_attempts(2),
        )
        .item(parallel([
            Item::from(step("b").action("p/b").no_compensation("a read")),
            sequence([step("c")
                .action("p/c")
                .input(json!({"n": 1}))
                .compensation_block("p/undo_c", |block| {
                    block.input = Some(Input::Pick(vec!["self.key".into()]));
                })])
            .when("input.c"),
        ]))
        .step(
            step("d")
                .action("p/d")
                .pivot()
                .escalate_after("1m")
                .at_least_once(),
        )
        .step(
            step("e")
                .action("p/e")
                .retriable()
                .when("input.e")
                .unlimited_attempts(),
        )
        .output(json!({"x": "${steps.a.output.x}"}))
        .build()
        .expect("a definition");
    let expected = json!({
        "saga": "trip", "version": 3, "idempotency_key": "${input.id}", "deadline": "1h30m",
        "labels": {"domain": "travel"}, "output": {"x": "${steps.a.output.x}"},
        "steps": [
            {"step": "a", "action": "p/a", "input": ["id"], "compensation": "p/undo_a", "timeout": "10s",
             "retry": {"max_attempts": 2}},
            {"parallel": [
                {"step": "b", "action": "p/b", "compensation": {"action": "none", "reason": "a read"}},
                {"when": "input.c", "sequence": [
                    {"step": "c", "action": "p/c", "input": {"n": 1},
                     "compensation": {"action": "p/undo_c", "input": ["self.key"]}},
                ]},
            ]},
            {"step": "d", "action": "p/d", "kind": "pivot", "escalate_after": "1m", "at_least_once": true},
            {"step": "e", "action": "p/e", "kind": "retriable", "when": "input.e",
             "retry": {"max_attempts": "unlimited"}},
        ],
    });
    assert_eq!(serde_json::to_value(&built).expect("json"), expected);
    assert_eq!(
        Definition::from_canonical_json(&built.canonical_json()).expect("canonical"),
        built
    );
}

#[test]
fn the_first_bad_text_is_reported() {
    let cases = [
        (Saga::new("Trip", 1), "saga: names are"),
        (
            Saga::new("t", 1).deadline("soon"),
            "deadline: not a duration",
        ),
        (
            Saga::new("t", 1).step(step("a-b").action("p/a")),
            "steps.a-b: names have no hyphen",
        ),
        (
            Saga::new("t", 1).step(step("a").action("p")),
            "steps.a.action: an action is written",
        ),
        (
            Saga::new("t", 1).item(parallel([step("a").action("p/a").timeout("1")])),
            "steps.a.timeout: a",
        ),
        (
            Saga::new("t", 1).step(step("a").action("p/a").input(json!(1))),
            "steps.a.input: a payload",
        ),
    ];
    for (saga, message) in cases {
        let error = saga.build().expect_err(message).to_string();
        assert!(error.starts_with(message), "{error}");
    }
}
