//! Types of the definition let operators read the JSON forms of times, bytes and doubles.

use serde_json::{Value, json};

use super::{Data, Types};
use crate::expr::{Budget, EvalError, Expr, ValueTemplate};

fn types() -> Types {
    Types::of(json!({
        "input": {"at": "timestamp", "due": "optional timestamp", "wait": "duration", "raw": "bytes", "part": "double",
                  "other": "double", "times": ["timestamp"], "text": "string", "stops": [{"at": "timestamp"}]},
        "steps.s.output": "any",
    }))
}

fn data() -> Data {
    Data(json!({
        "input": {"at": "2026-01-31T12:00:00+02:00", "wait": "90m", "raw": "YWI=", "part": 3, "other": 2, "text": "x",
                  "times": ["2026-01-31T10:00:00Z"], "stops": [{"at": "2026-02-01T00:00:00Z"}]},
        "steps": {"s": {"output": {"at": "2026-01-31T10:00:00Z", "bad": "soon"}}},
    }))
}

fn typed(source: &str) -> Result<Value, EvalError> {
    let expr = Expr::parse(source).expect(source);
    assert_eq!(expr.check(&types()).faults, [], "{source}");
    expr.with_types(&types())
        .eval(&data(), &mut Budget::default())
        .map(|found| found.to_value())
}

#[test]
fn typed_texts_are_read_as_what_they_stand_for() {
    let rows = [
        ("input.at + input.wait", json!("2026-01-31T11:30:00Z")),
        ("input.at == timestamp('2026-01-31T10:00:00Z')", json!(true)),
        (
            "timestamp('2026-01-31T10:00:00Z') in input.times",
            json!(true),
        ),
        ("input.at in input.times", json!(true)),
        ("input.times[0] - input.at", json!("0s")),
        ("input.times.exists(t, t >= input.at)", json!(true)),
        (
            "input.stops.map(s, s.at + duration('1h'))",
            json!(["2026-02-01T01:00:00Z"]),
        ),
        ("input.stops.filter(s, s.at > input.at).size()", json!(1)),
        (
            "(input.text == 'x' ? input.at : input.times[0]) == input.at",
            json!(true),
        ),
        ("has(input.due) && input.due > input.at", json!(false)),
        ("input.wait > duration('1h')", json!(true)),
        ("input.wait + input.wait", json!("3h")),
        ("size(input.raw)", json!(2)),
        ("input.raw == b'ab'", json!(true)),
        ("string(input.raw)", json!("ab")),
        ("input.part / input.other", json!(1.5)),
        ("input.part + 0.5", json!(3.5)),
        // What is not typed but meets a time is read as one.
        ("steps.s.output.at == input.at", json!(true)),
        ("steps.s.output.at in input.times", json!(true)),
        // What no operator takes stays as it was written.
        ("input.at", json!("2026-01-31T12:00:00+02:00")),
        ("[input.at]", json!(["2026-01-31T12:00:00+02:00"])),
        ("input.part", json!(3)),
    ];
    for (source, expected) in rows {
        assert_eq!(typed(source), Ok(expected), "{source}");
    }
    assert!(matches!(
        typed("steps.s.output.bad > input.at"),
        Err(EvalError::Convert(_))
    ));
}

#[test]
fn without_types_texts_are_texts() {
    let expr = Expr::parse("input.at < timestamp('2026-01-31T10:00:00Z')").expect("an expression");
    assert!(matches!(
        expr.eval(&data(), &mut Budget::default()),
        Err(EvalError::Type(_))
    ));
}

#[test]
fn templates_and_values_pass_the_types_on() {
    let value =
        json!({"until": "${input.at + input.wait}", "text": ["at ${input.at + input.wait}"]});
    let template = ValueTemplate::from_value(&value)
        .expect("a template")
        .with_types(&types());
    let expected = json!({"until": "2026-01-31T11:30:00Z", "text": ["at 2026-01-31T11:30:00Z"]});
    assert_eq!(
        template
            .eval(&data(), &mut Budget::default())
            .map(|found| found.to_value()),
        Ok(expected)
    );
}
