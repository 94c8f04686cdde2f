//! Whatever the text and whatever the tree: no panic, spans in the text, the same result twice.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Data, Types};
use crate::expr::{Budget, Expr, Template, ValueTemplate};

fn data() -> Data {
    Data(json!({
        "input": {"a": 1, "b": 2.5, "s": "text", "l": [1, 2, 3], "m": {"k": [true, null]}, "t": "2026-01-31T10:00:00Z",
                  "d": "1h", "big": i64::MAX},
        "steps": {"x": {"output": {"v": 1}, "status": "succeeded"}},
        "saga": {"id": "s"},
        "item": [1],
    }))
}

fn types() -> Types {
    Types::of(json!({
        "input": {"a": "int", "b": "double", "s": "string", "l": ["int"], "m": "any", "t": "timestamp", "d": "duration",
                  "big": "int", "o": "optional string"},
        "steps.x.output": {"v": "int"}, "saga.id": "string", "item": "any",
    }))
}

/// Parses, checks and evaluates; every result twice.
fn exercise(source: &str) {
    match Expr::parse(source) {
        Err(fault) => assert!(
            source.get(fault.span.clone()).is_some(),
            "{source}: {fault:?}"
        ),
        Ok(expr) => {
            for fault in expr.check(&types()).faults {
                assert!(
                    source.get(fault.span.clone()).is_some(),
                    "{source}: {fault:?}"
                );
            }
            let typed = expr.clone().with_types(&types());
            for expr in [expr, typed] {
                let mut budgets = [Budget::new(2_000, 100_000), Budget::new(2_000, 100_000)];
                let [first, second] = budgets.each_mut().map(|budget| expr.eval(&data(), budget));
                assert_eq!(first, second, "{source}");
                assert_eq!(budgets[0], budgets[1], "{source}");
            }
        }
    }
}

/// Pieces that make sense next to each other often enough.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "input",
        "input.a",
        "input.b",
        ".s",
        ".l",
        "steps",
        "steps.x.output",
        ".v",
        "saga.id",
        "self.key",
        "item",
        "has(",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        ".",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        "<=",
        "&&",
        "||",
        " in ",
        "1",
        "0",
        "2.5",
        "9223372036854775807",
        "'a'",
        "\"b\"",
        "r'\\'",
        "b'\\xff'",
        "'''x'''",
        "true",
        "null",
        ".all(x,",
        ".map(y,",
        ".filter(z,",
        "x",
        "y",
        "size(",
        "string(",
        "timestamp(",
        "duration('1h')",
        ".matches('",
        "${",
        "}",
        "$",
        "'",
        "\"",
        "\\",
        "é",
        " ",
        "\n",
        "//",
        "0x",
        "1e",
        "u",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Well-formed expressions.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "0",
        "-3",
        "2.5",
        "'a'",
        "''",
        "b'x'",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        "input.a",
        "input.b",
        "input.s",
        "input.l",
        "input.m",
        "input.m.k",
        "input.t",
        "input.d",
        "input.big",
        "input.zz",
        "steps.x.output.v",
        "steps.y.output",
        "item[0]",
        "duration('1h')",
        "timestamp(0)",
        "has(input.o)",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operator = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", " in ",
        ]);
        let function = prop::sample::select(vec![
            "size",
            "string",
            "int",
            "double",
            "bool",
            "bytes",
            "duration",
            "timestamp",
            "!",
            "-",
        ]);
        let method = prop::sample::select(vec![
            "all(v, ",
            "exists(v, ",
            "exists_one(v, ",
            "map(v, v == ",
            "filter(v, v != ",
            "contains(",
            "startsWith(",
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a}{op}{b})")),
            (function, inner.clone()).prop_map(|(name, a)| format!("{name}({a})")),
            (inner.clone(), method, inner.clone())
                .prop_map(|(a, name, b)| format!("({a}).{name}{b})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{'p': {a}, 'q': {b}}}.p")),
        ]
    })
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        pieces().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z~/]{0,3}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(source in "\\PC{0,60}") {
        exercise(&source);
    }

    #[test]
    fn any_pieces(source in pieces()) {
        exercise(&source);
    }

    #[test]
    fn any_expression(source in expressions()) {
        exercise(&source);
    }

    #[test]
    fn any_template(source in pieces(), around in "\\PC{0,8}") {
        let text = format!("{around}${{{source}}}{around}");
        match Template::parse(&text) {
            Err(fault) => prop_assert!(text.get(fault.span.clone()).is_some(), "{}: {:?}", text, fault),
            Ok(template) => {
                for fault in template.check(&types()).faults {
                    prop_assert!(text.get(fault.span.clone()).is_some(), "{}: {:?}", text, fault);
                }
                let _ = template.eval(&data(), &mut Budget::default());
            }
        }
    }

    #[test]
    fn any_value(value in values()) {
        if let Ok(template) = ValueTemplate::from_value(&value) {
            for fault in template.check(&types()).faults {
                prop_assert!(value.pointer(&fault.place).is_some(), "{:?}", fault);
            }
            let _ = template.eval(&data(), &mut Budget::default());
        }
    }

    #[test]
    fn any_pick(names in prop::collection::vec(pieces(), 0..4)) {
        if let Ok(template) = ValueTemplate::from_pick(&names) {
            let _ = template.check(&types());
            let _ = template.eval(&data(), &mut Budget::default());
        }
    }
}

#[test]
fn most_generated_expressions_parse() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let sources: Vec<String> = (0..300)
        .map(|_| {
            expressions()
                .new_tree(&mut runner)
                .expect("a tree")
                .current()
        })
        .collect();
    let parsed = sources
        .iter()
        .filter(|source| Expr::parse(source).is_ok())
        .count();
    assert!(parsed * 2 > sources.len(), "{parsed} of {}", sources.len());
}
