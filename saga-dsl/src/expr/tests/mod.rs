//! Tests of the expression language: a scope and a type environment made of JSON, and the tables that use them.

#![allow(clippy::unwrap_used)]

mod absence;
mod conformance;
mod faults;
mod limits;
mod numbers;
mod page;
mod random;
mod saga_files;
mod soundness;
mod templates;
mod typed;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Budget, EvalError, Expr, Root, RootType, Scope, TypeEnv};
use crate::{payload::Payload, types::Type};

/// A scope over `{input, steps: {id: {output, status, error}}, saga, self, <local>}`.
pub(super) struct Data(pub Value);

impl Scope for Data {
    fn value(&self, root: &Root) -> Option<Payload> {
        let step = |id: &str, what: &str| self.0.get("steps")?.get(id)?.get(what);
        let found = match root {
            Root::Input => self.0.get("input"),
            Root::StepOutput(id) => step(id, "output"),
            Root::StepStatus(id) => step(id, "status"),
            Root::StepError(id) => step(id, "error"),
            Root::Saga(name) => self.0.get("saga")?.get(name),
            Root::Own(name) => self.0.get("self")?.get(name),
            Root::Local(name) => self.0.get(name),
        };
        found.cloned().map(Payload::from_value)
    }
}

/// What is known: written types by the written name of a root.
#[derive(Default)]
pub(super) struct Types {
    known: BTreeMap<String, Type>,
    maybe_absent: BTreeMap<String, String>,
}

impl Types {
    pub fn of(written: Value) -> Self {
        let roots = written.as_object().unwrap();
        let known = roots
            .iter()
            .map(|(name, ty)| (name.clone(), Type::from_value(ty).unwrap()))
            .collect();
        Self {
            known,
            maybe_absent: BTreeMap::new(),
        }
    }

    pub fn maybe_absent(mut self, root: &str, why: &str) -> Self {
        self.maybe_absent.insert(root.to_owned(), why.to_owned());
        self
    }
}

impl TypeEnv for Types {
    fn root(&self, root: &Root) -> RootType {
        let name = root.to_string();
        match self.known.get(&name) {
            Some(ty) => RootType::Known {
                ty: ty.clone(),
                maybe_absent: self.maybe_absent.get(&name).cloned(),
            },
            None => {
                let near =
                    crate::near_miss::near_miss(&name, self.known.keys().map(String::as_str));
                RootType::Unknown {
                    suggestions: near.map(str::to_owned).into_iter().collect(),
                }
            }
        }
    }
}

pub(super) fn eval(source: &str, data: &Value) -> Result<Value, EvalError> {
    let expr =
        Expr::parse(source).unwrap_or_else(|fault| panic!("{source}: {fault} {:?}", fault.help));
    expr.eval(&Data(data.clone()), &mut Budget::default())
        .map(|found| found.to_value())
}

/// What a table expects of an expression.
#[derive(Debug)]
pub(super) enum Want {
    Is(Value),
    /// The error's text holds this.
    Fails(&'static str),
}

pub(super) fn is(value: impl Into<Value>) -> Want {
    Want::Is(value.into())
}

/// Evaluates each expression over `data` and compares.
pub(super) fn table(data: &Value, rows: &[(&str, Want)]) {
    for (source, want) in rows {
        let found = eval(source, data);
        match (want, &found) {
            (Want::Is(value), Ok(found)) => assert_eq!(found, value, "{source}"),
            (Want::Fails(part), Err(error)) => {
                assert!(error.to_string().contains(part), "{source}: {error}");
            }
            _ => panic!("{source}: wanted {want:?}, got {found:?}"),
        }
    }
}

#[test]
fn roots_are_told_once_each() {
    let expr = Expr::parse(
        "input.a + input.b + steps.x.output.c + item.d + saga.id + self.key + input.l.map(i, i + steps.y.error.code)[0]",
    )
    .unwrap();
    let roots: Vec<_> = expr.roots().map(ToString::to_string).collect();
    assert_eq!(
        roots,
        [
            "input",
            "steps.x.output",
            "item",
            "saga.id",
            "self.key",
            "steps.y.error"
        ]
    );
}

#[test]
fn eval_bool_wants_a_bool() {
    let data = Data(json!({"input": {"a": 1}}));
    let bool = |source: &str| {
        Expr::parse(source)
            .unwrap()
            .eval_bool(&data, &mut Budget::default())
    };
    assert_eq!(bool("input.a == 1"), Ok(true));
    assert_eq!(bool("input.a > 1"), Ok(false));
    assert!(matches!(bool("input.a"), Err(EvalError::Type(_))));
}
