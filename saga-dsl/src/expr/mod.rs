//! Expressions: the subset of CEL that saga files use.
//!
//! In reading order: [`Expr`] is one expression, [`Template`] a text with `${…}` in it, [`ValueTemplate`] a
//! JSON value of such texts. Parsing (`lexer`, `literal`, `parser`, `names`) resolves every name to a [`Root`]
//! or a loop's variable. Checking (`check`, `guards`, `operands`) needs a [`TypeEnv`], evaluating (`eval` and
//! its helpers) a [`Scope`] and a [`Budget`].
//!
//! The same expression over the same data always gives the same value: no clock, no chance, no host functions.
//! What differs from CEL, on purpose:
//! - JSON documents are the data. A whole number of a document is an int that becomes a double where it meets
//!   one; ints and doubles of the expression itself do not mix without `double(…)`. There is no uint.
//! - What is only passed on keeps the text it was written in, and is compared digit for digit. Arithmetic refuses a
//!   number that it would have to round first.
//! - Keys of maps are strings. The pattern of `matches` is a literal, its `\d` and `\w` know Unicode.
//! - `has(a.b.c)` is false when any segment is absent or null, roots included.
//! - Spans of time are also read as `1h30m`, beside CEL's `5400s`, and written so.

mod arithmetic;
mod ast;
mod budget;
mod check;
mod compare;
mod decode;
mod demand;
mod eval;
mod fault;
mod functions;
mod guards;
mod lexer;
mod literal;
mod names;
mod operands;
mod parser;
mod template;
pub(crate) mod time;
pub(crate) mod value;
mod value_template;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

pub(crate) use self::template::end_of_expression;
pub use self::{
    budget::{BYTES_MAX, Budget, STEPS_MAX},
    check::{Checked, RootType, TypeEnv},
    demand::{Demand, Way},
    fault::{EvalError, Fault, FaultKind},
    template::Template,
    value_template::ValueTemplate,
};
use self::{check::Checker, decode::Decoding, eval::Evaluator, parser::Parsed, value::Val};
use crate::payload::Payload;

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
    fn value(&self, root: &Root) -> Option<Payload>;
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("input"),
            Self::StepOutput(id) => write!(f, "steps.{id}.output"),
            Self::StepStatus(id) => write!(f, "steps.{id}.status"),
            Self::StepError(id) => write!(f, "steps.{id}.error"),
            Self::Saga(name) => write!(f, "saga.{name}"),
            Self::Own(name) => write!(f, "self.{name}"),
            Self::Local(name) => f.write_str(name),
        }
    }
}

/// A parsed expression, ready to be evaluated many times; cheap to clone.
///
/// ```
/// use saga_dsl::{expr::{Budget, Expr, Root, Scope}, payload::Payload};
///
/// struct Input(Payload);
///
/// impl Scope for Input {
///     fn value(&self, root: &Root) -> Option<Payload> {
///         (*root == Root::Input).then(|| self.0.clone())
///     }
/// }
///
/// let condition = Expr::parse("input.total_cents > 100000 || input.items.exists(i, i.qty > 9)")?;
/// let input = Input(Payload::from_bytes(br#"{"total_cents": 500, "items": [{"qty": 12}]}"#)?);
/// assert_eq!(condition.eval_bool(&input, &mut Budget::default()), Ok(true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Expr {
    source: Arc<str>,
    parsed: Arc<Parsed>,
    /// How operands are read, by node id; empty until [`Expr::with_types`].
    decodings: Arc<[Option<Decoding>]>,
}

impl Expr {
    /// Parses an expression and resolves its names.
    ///
    /// # Errors
    /// The first fault of the text.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        let parsed = Arc::new(parser::parse(source)?);
        Ok(Self {
            source: source.into(),
            parsed,
            decodings: Arc::new([]),
        })
    }

    /// The text it was parsed from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Every root it may read, each once.
    pub fn roots(&self) -> impl Iterator<Item = &Root> {
        self.parsed.roots.iter()
    }

    /// Lets operators read JSON forms as what `env` types them: texts as times, spans of time or bytes,
    /// whole numbers as doubles. Without it `input.at < timestamp(…)` is an error at run time.
    ///
    /// Only types that are pinned with the definition may stand in `env`, or a replay could differ.
    #[must_use]
    pub fn with_types(mut self, env: &dyn TypeEnv) -> Self {
        let (_, decodings) = Checker::run(&self, env);
        if decodings.iter().any(Option::is_some) {
            self.decodings = decodings.into();
        }
        self
    }

    /// The value over `scope`.
    ///
    /// # Errors
    /// Absent data, values of the wrong type, arithmetic out of range, or a spent budget.
    pub fn eval(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<Payload, EvalError> {
        document(|out| self.write(scope, budget, out))
    }

    /// Appends the JSON form of the value.
    fn write(
        &self,
        scope: &dyn Scope,
        budget: &mut Budget,
        out: &mut String,
    ) -> Result<(), EvalError> {
        self.evaluate(scope, budget, |value, budget| value.write(out, budget))
    }

    /// The value over `scope`, which must be true or false.
    ///
    /// # Errors
    /// As [`Expr::eval`]; [`EvalError::Type`] for any other value.
    pub fn eval_bool(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<bool, EvalError> {
        self.evaluate(scope, budget, |value, _| match value {
            Val::Bool(value) => Ok(value),
            other => Err(EvalError::Type(format!(
                "expected true or false, got {}",
                other.kind()
            ))),
        })
    }

    /// Its type and every static fault.
    #[must_use]
    pub fn check(&self, env: &dyn TypeEnv) -> Checked {
        Checker::run(self, env).0
    }

    /// Evaluates, and takes the value while what it borrows is there.
    fn evaluate<T>(
        &self,
        scope: &dyn Scope,
        budget: &mut Budget,
        take: impl FnOnce(Val<'_>, &mut Budget) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        let roots: Vec<_> = self
            .parsed
            .roots
            .iter()
            .map(|root| scope.value(root))
            .collect();
        let mut evaluator = Evaluator {
            source: &self.source,
            roots: &roots,
            decodings: &self.decodings,
            variables: Vec::new(),
            budget,
        };
        let value = evaluator.value(&self.parsed.tree)?;
        take(value, budget)
    }
}

/// The document that is written.
fn document(
    write: impl FnOnce(&mut String) -> Result<(), EvalError>,
) -> Result<Payload, EvalError> {
    let mut text = String::new();
    write(&mut text)?;
    Payload::from_text(text).map_err(|error| EvalError::Convert(error.to_string()))
}

/// Names in a sentence: `a`, `b` and `c`; long lists are cut.
fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    const SHOWN: usize = 8;
    let mut names: Vec<String> = names
        .take(SHOWN + 1)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > SHOWN {
        names.truncate(SHOWN);
        return format!("{}, …", names.join(", "));
    }
    match names.pop() {
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} and {last}", names.join(", ")),
        None => String::new(),
    }
}
