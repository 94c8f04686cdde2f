//! Expressions: text to a tree, its faults, and values over documents that may be of any shape.
//!
//! A case is the text, and behind a first NUL the documents as JSON, by the names of the roots; without one there are
//! a few that fit the words of the dictionary.

use std::collections::BTreeMap;

use saga_dsl::{
    expr::{
        Budget, EvalError, Expr, Fault, Root, RootType, STEPS_MAX, Scope, Template, TypeEnv,
        ValueTemplate,
    },
    payload::Payload,
    types::Type,
};
use serde_json::{Value, json};

use crate::{edits::edited, run::fuzz};

const WORDS: &[&str] = &[
    "input",
    "input.a",
    "input.l",
    "input.o.x",
    "steps.s.output",
    "steps.s.status",
    "saga.id",
    "saga.started_at",
    "self.output",
    "self.key",
    "1",
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "1e308",
    "0x7f",
    "'a'",
    "\"a\"",
    "b'x'",
    "r'\\d+'",
    "'''a'''",
    "true",
    "false",
    "null",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ",",
    ":",
    "?",
    " ? 1 : 2",
    ".",
    "!",
    "-",
    " + ",
    " - ",
    " * ",
    " / ",
    " % ",
    " == ",
    " != ",
    " < ",
    " >= ",
    " && ",
    " || ",
    " in ",
    "has(input.a)",
    "size(",
    ".size()",
    "string(",
    "int(",
    "double(",
    "bytes(",
    "timestamp('2026-01-31T10:00:00Z')",
    "duration('1h')",
    ".all(x, ",
    ".exists(x, ",
    ".exists_one(x, ",
    ".map(x, ",
    ".filter(x, ",
    "x",
    ".matches('a+')",
    ".matches('(a*)*$')",
    ".contains('a')",
    ".startsWith(",
    ".getFullYear()",
    ".getHours('Europe/Berlin')",
    "[0]",
    "[-1]",
    "['a']",
    "{'a': 1}",
    "{1: 2}",
    "\\u00",
    "\\",
    "'",
    "\"",
    "`",
    "$",
    "${",
    "}",
    "$${",
    "//",
    "ü",
    "\u{0}",
    "\u{0}{\"input\":",
    "\n",
    " ",
];

#[test]
fn expression() {
    let originals = [
        "input.total_cents > 100000 || input.items.exists(i, i.qty > 9)",
        "has(steps.s.output.x) && steps.s.output.x in ['a', 'b']",
        "input.l.map(x, input.l.map(y, input.l.filter(z, z == x + y)))",
        "timestamp(input.t) + duration('36h') < timestamp('2026-03-01T00:00:00Z')",
        "input.t.getDayOfWeek() == 1 ? 'monday' : string(input.a) + input.s",
        "input.s.matches('^[a-z]+(-[a-z]+)*$') && size(input.s) <= 63",
        "{'k': input.a, 'l': [1, 2.5, null]}.k / (input.a - input.a)",
        "input.l.all(x, x >= 0 && x < 10) ? double(input.l[0]) : 1.0 / 3.0",
        "Trip ${input.s} is booked, receipt ${steps.s.output.x}, $${not this}.",
        "input.a\u{0}{\"input\":{\"a\":[[[]]]}}",
        "input.o.x.y.z == self.output.x\u{0}{\"self.output\":{\"x\":1e300}}",
    ];
    let originals = originals.map(|text| text.as_bytes().to_vec()).to_vec();
    fuzz("expression", edited(originals, WORDS), |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            target(text);
        }
    });
}

pub fn target(case: &str) {
    let (text, documents) = match case.split_once('\0') {
        Some((text, documents)) => (
            text,
            serde_json::from_str(documents).map_or(Vec::new(), |read| vec![read]),
        ),
        None => (case, usual()),
    };
    let value = json!({"at": [text, {"k": text}], text: 1});
    match Expr::parse(text) {
        Ok(expr) => {
            assert_eq!(expr.source(), text);
            for env in [&Anything as &dyn TypeEnv, &Typed] {
                expr.check(env)
                    .faults
                    .iter()
                    .for_each(|fault| is_in(fault, text));
            }
            for scope in &documents {
                let typed = expr.clone().with_types(&Typed);
                gives_one_answer(&|budget| expr.eval(scope, budget));
                gives_one_answer(&|budget| typed.eval(scope, budget));
            }
        }
        Err(fault) => is_in(&fault, text),
    }
    match Template::parse(text) {
        Ok(template) => {
            template
                .check(&Typed)
                .faults
                .iter()
                .for_each(|fault| is_in(fault, text));
            for (expr, span) in template.expressions() {
                assert_eq!(text.get(span), Some(expr.source()));
            }
            for scope in &documents {
                gives_one_answer(&|budget| template.eval(scope, budget));
                gives_one_answer(&|budget| {
                    template
                        .eval_text(scope, budget)
                        .map(|text| Payload::from_value(Value::from(text)))
                });
            }
        }
        Err(fault) => is_in(&fault, text),
    }
    match ValueTemplate::from_value(&value) {
        Ok(template) => {
            template
                .check(&Typed)
                .faults
                .iter()
                .for_each(|fault| is_in(fault, pointed(&value, fault)));
            for scope in &documents {
                gives_one_answer(&|budget| template.eval(scope, budget));
            }
        }
        Err(fault) => is_in(&fault, pointed(&value, &fault)),
    }
    if let Err(fault) = ValueTemplate::from_pick(&[text.to_owned(), text.to_owned()]) {
        is_in(&fault, text);
    }
}

/// The text of a value template that a fault is about.
fn pointed<'a>(value: &'a Value, fault: &Fault) -> &'a str {
    value
        .pointer(&fault.place)
        .and_then(Value::as_str)
        .expect("a fault's place is a text of the value")
}

/// A fault speaks of a piece of the text, and says something.
fn is_in(fault: &Fault, text: &str) {
    assert!(
        text.get(fault.span.clone()).is_some(),
        "{fault:?} is no piece of {text:?}"
    );
    assert!(!fault.message.is_empty());
}

/// The same value or error every time, within the budget.
fn gives_one_answer(eval: &dyn Fn(&mut Budget) -> Result<Payload, EvalError>) {
    let mut budget = Budget::default();
    let first = eval(&mut budget);
    let spent = STEPS_MAX - budget.steps_left();
    let mut again = Budget::default();
    assert_eq!(eval(&mut again), first);
    assert_eq!(again, budget, "the same work costs the same");
    if let Ok(value) = &first {
        assert_eq!(value.check(), Ok(()), "a value is JSON");
        serde_json::from_str::<Value>(value.text()).expect("for every reader");
        // Exactly what was spent is enough, and one step less is not.
        assert_eq!(
            eval(&mut Budget::new(spent, usize::MAX)).as_ref(),
            Ok(value)
        );
        if let Some(less) = spent.checked_sub(1) {
            assert!(eval(&mut Budget::new(less, usize::MAX)).is_err_and(|error| error.is_limit()));
        }
    }
}

struct Documents(BTreeMap<String, Payload>);

impl<'de> serde::Deserialize<'de> for Documents {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self)
    }
}

impl Scope for Documents {
    fn value(&self, root: &Root) -> Option<Payload> {
        self.0.get(&root.to_string()).cloned()
    }
}

fn usual() -> Vec<Documents> {
    let full = json!({
        "input": {
            "a": 7, "s": "text", "t": "2026-01-31T10:00:00Z", "l": [1, 2, 3, 2.5], "o": {"x": {"y": null}},
            "total_cents": 5, "items": [{"qty": 10}, {}, 3],
        },
        "steps.s.output": {"x": "a"}, "steps.s.status": "succeeded", "saga.id": "01", "self.output": null,
        "saga.started_at": "2026-01-31T10:00:00Z", "self.key": "k",
    });
    let long: Vec<u64> = (0..500).collect();
    let odd = json!({"input": {"a": i64::MAX, "s": "ü\u{0}", "l": long, "o": [], "t": -1}, "steps.s.output": 1.5});
    [full, odd, json!({})]
        .map(|value| serde_json::from_value(value).expect("documents by name"))
        .into()
}

/// Nothing is known of any type.
struct Anything;

impl TypeEnv for Anything {
    fn root(&self, _: &Root) -> RootType {
        RootType::Known {
            ty: Type::Any,
            maybe_absent: None,
        }
    }
}

/// Some types are known, some names are not, and some values may be absent.
struct Typed;

impl TypeEnv for Typed {
    fn root(&self, root: &Root) -> RootType {
        let written = json!({"a": "int", "s": "string", "t": "timestamp", "l": ["double"], "o": {"x": "optional string"}});
        let input = Type::from_value(&written).expect("types");
        match root {
            Root::Input => RootType::Known {
                ty: input,
                maybe_absent: None,
            },
            Root::StepOutput(_) => RootType::Known {
                ty: Type::Any,
                maybe_absent: Some("it may be skipped".to_owned()),
            },
            Root::Saga(_) => RootType::Known {
                ty: Type::Timestamp,
                maybe_absent: None,
            },
            Root::StepStatus(_) | Root::StepError(_) => RootType::Known {
                ty: Type::String,
                maybe_absent: None,
            },
            Root::Own(_) => RootType::Known {
                ty: Type::Bytes,
                maybe_absent: None,
            },
            Root::Local(name) => RootType::Unknown {
                suggestions: vec![name.clone()],
            },
        }
    }
}
