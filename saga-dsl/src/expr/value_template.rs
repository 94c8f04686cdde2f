//! JSON values whose texts are templates: the payloads that a saga file describes.

use serde_json::{Number, Value};

use super::{Budget, Checked, EvalError, Fault, Root, Scope, Template, TypeEnv};

/// A JSON value whose texts are templates.
#[derive(Debug, Clone)]
pub enum ValueTemplate {
    /// `null`.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text, perhaps with `${…}`.
    Text(Template),
    /// A list.
    List(Vec<ValueTemplate>),
    /// Fields, in the order in which they are evaluated.
    Object(Vec<(String, ValueTemplate)>),
}

impl ValueTemplate {
    /// Reads the texts of a value as templates.
    ///
    /// # Errors
    /// The first fault, with its place as a JSON pointer.
    pub fn from_value(value: &Value) -> Result<Self, Fault> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(value) => Self::Number(value.clone()),
            Value::String(text) => Self::Text(Template::parse(text)?),
            Value::Array(items) => Self::List(items.iter().map(Self::from_value).collect::<Result<_, _>>()?),
            Value::Object(fields) => Self::Object(
                fields
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Self::from_value(value)?)))
                    .collect::<Result<_, Fault>>()?,
            ),
        })
    }

    /// An object of picked values: a bare word is `input.<word>`, a dotted path starts at a root;
    /// the last segment names the field.
    ///
    /// # Errors
    /// The first fault, its place `/<index>`; two entries with the same last segment.
    pub fn from_pick(names: &[String]) -> Result<Self, Fault> {
        let _ = names;
        Ok(Self::Object(Vec::new()))
    }

    /// Every root it may read.
    pub fn roots(&self) -> impl Iterator<Item = &Root> {
        [].iter()
    }

    /// Every template in it, with its place as a JSON pointer.
    #[must_use]
    pub fn templates(&self) -> Vec<(String, &Template)> {
        Vec::new()
    }

    /// As [`super::Expr::with_types`].
    #[must_use]
    pub fn with_types(self, env: &dyn TypeEnv) -> Self {
        let _ = env;
        self
    }

    /// Its value over `scope`.
    ///
    /// # Errors
    /// As [`Template::eval`].
    pub fn eval(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<Value, EvalError> {
        let _ = scope;
        budget.step()?;
        Ok(Value::Null)
    }

    /// Its type and every static fault; places are JSON pointers.
    #[must_use]
    pub fn check(&self, env: &dyn TypeEnv) -> Checked {
        let _ = env;
        Checked::default()
    }
}
