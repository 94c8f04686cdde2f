//! What the checker lets pass never meets a wrong type or absent data, if the data have the types that were checked.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Data, Types};
use crate::expr::{Budget, EvalError, Expr};

fn written() -> Value {
    json!({
        "a": "int", "b": "double", "w": "double", "s": "string", "ok": "bool", "l": ["int"], "ds": ["double"],
        "t": "timestamp", "ts": ["timestamp"], "d": "duration", "raw": "bytes", "o": "optional string",
        "n": "optional int", "in": {"deep": "optional timestamp", "x": "string"},
        "items": [{"sku": "string", "qty": "int", "gift": "optional bool"}],
    })
}

fn types() -> Types {
    Types::of(json!({"input": written(), "steps.x.output": {"v": "int"}}))
        .maybe_absent("steps.x.output", "skipped")
}

/// Documents of these types: everything there, and as little as possible.
fn documents() -> [Data; 2] {
    let full = json!({
        "a": 7, "b": 2.5, "w": 3, "s": "text", "ok": true, "l": [1, 2, 3], "ds": [1, 2.5],
        "t": "2026-01-31T10:00:00Z", "ts": ["2026-01-31T10:00:00Z"], "d": "1h", "raw": "YWI=", "o": "there", "n": 1,
        "in": {"deep": "2026-01-31T10:00:00Z", "x": "y"},
        "items": [{"sku": "k", "qty": 2, "gift": true}, {"sku": "j", "qty": 1}],
    });
    let bare = json!({
        "a": 0, "b": 0, "w": 0.5, "s": "", "ok": false, "l": [], "ds": [], "t": "2026-01-31T10:00:00+02:00", "ts": [],
        "d": "0s", "raw": "", "o": null, "in": {"x": ""}, "items": [{"sku": "", "qty": 0, "gift": null}],
    });
    let ty = crate::types::Type::from_value(&written()).expect("types");
    assert_eq!(
        (ty.check_value(&full), ty.check_value(&bare)),
        (Vec::new(), Vec::new())
    );
    [
        Data(json!({"input": full, "steps": {"x": {"output": {"v": 1}}}})),
        Data(json!({"input": bare})),
    ]
}

/// Expressions in which [`crate::types::Type::Any`] cannot arise: no lists or branches of mixed types,
/// no computed keys.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "0",
        "2.5",
        "'a'",
        "b'x'",
        "true",
        "null",
        "input.a",
        "input.b",
        "input.w",
        "input.s",
        "input.ok",
        "input.l",
        "input.ds",
        "input.t",
        "input.ts",
        "input.d",
        "input.raw",
        "input.o",
        "input.n",
        "input.in.x",
        "input.in.deep",
        "input.in",
        "input.items",
        "steps.x.output.v",
        "v",
        "v.sku",
        "v.gift",
        "duration('1h')",
        "timestamp(0)",
        "has(input.o)",
        "has(input.in.deep)",
        "has(steps.x.output)",
        "has(v.gift)",
        "(has(input.n) ? input.n : 0)",
        "(has(steps.x.output.v) ? steps.x.output.v : 0)",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", " in ",
        ]);
        let function = prop::sample::select(vec![
            "size", "string", "int", "double", "bool", "bytes", "duration", "timestamp", "!", "-",
        ]);
        let method = prop::sample::select(vec![
            "all(v, ", "exists(v, ", "exists_one(v, ", "map(v, ", "filter(v, ", "contains(", "startsWith(",
        ]);
        let index = prop::sample::select(vec!["0", "1", "input.a", "'x'", "'deep'"]);
        prop_oneof![
            3 => (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a}{op}{b})")),
            1 => (function, inner.clone()).prop_map(|(name, a)| format!("{name}({a})")),
            2 => (inner.clone(), method, inner.clone()).prop_map(|(a, name, b)| format!("({a}).{name}{b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} ? {b} : {b})")),
            1 => inner.clone().prop_map(|a| format!("[{a}, {a}]")),
            1 => (inner.clone(), index).prop_map(|(a, index)| format!("({a})[{index}]")),
            1 => inner.clone().prop_map(|a| format!("(has(input.o) && has(input.n) && has(input.in.deep) && {a})")),
            1 => inner.prop_map(|a| format!("(!has(input.o) || !has(steps.x.output) || !has(input.n) || {a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn checked_expressions_meet_what_they_expect(source in expressions()) {
        let Ok(expr) = Expr::parse(&source) else { return Ok(()) };
        if !expr.check(&types()).faults.is_empty() {
            return Ok(());
        }
        let expr = expr.with_types(&types());
        for document in documents() {
            let found = expr.eval(&document, &mut Budget::default());
            prop_assert!(
                !matches!(found, Err(EvalError::Type(_) | EvalError::Absent(_))), "{}: {:?}", source, found
            );
        }
    }
}

#[test]
fn enough_generated_expressions_pass_the_checker() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let passed = (0..2_000)
        .map(|_| {
            expressions()
                .new_tree(&mut runner)
                .expect("a tree")
                .current()
        })
        .filter(|source| source.len() > 20)
        .filter(|source| {
            Expr::parse(source).is_ok_and(|expr| expr.check(&types()).faults.is_empty())
        })
        .count();
    assert!(passed > 50, "{passed}");
}
