//! Expressions: the subset of CEL that saga files use. Parser, static checker, and an evaluator with a budget.

use std::borrow::Cow;

use serde_json::Value;

/// What an expression may speak of; resolved when it is parsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// `input`.
    Input,
    /// `steps.<id>.output`.
    StepOutput(String),
    /// `steps.<id>.status`.
    StepStatus(String),
    /// `steps.<id>.error`.
    StepError(String),
    /// `saga.id`, `saga.version`, `saga.started_at`, `saga.failure`, ...
    Saga(String),
    /// `self.input`, `self.output`, `self.key` in a compensation's input.
    Own(String),
    /// A variable of the surrounding construct: a loop's item, `signal`.
    Local(String),
}

/// Where the evaluator finds values.
pub trait Scope {
    /// The value of a root; `None`: absent.
    fn value(&self, root: &Root) -> Option<Cow<'_, Value>>;
}
