//! Texts with `${…}` in them.

use std::{ops::Range, sync::Arc};

use super::{
    Budget, Checked, EvalError, Expr, Fault, FaultKind, Root, Scope, TypeEnv, document,
    functions::Function,
    literal,
    value::{Val, bytes_text},
};
use crate::{json::push_text, payload::Payload, types::Type};

/// A text that may hold `${…}`. Exactly one `${…}` and nothing else keeps the type of the expression.
#[derive(Debug, Clone)]
pub struct Template {
    source: Arc<str>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    /// With the bytes of the source between `${` and `}`.
    Expr(Expr, Range<usize>),
}

impl Template {
    /// Parses a text; `$${` stands for a literal `${`.
    ///
    /// # Errors
    /// The first fault of an expression in it, or a `${` without its `}`.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut at = 0;
        while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with("$${") {
                text.push_str("${");
                at += "$${".len();
            } else if rest.starts_with("${") {
                let start = at + "${".len();
                let Some(length) = end_of_expression(&source[start..]) else {
                    return Err(Fault::new(
                        FaultKind::Syntax,
                        at..source.len(),
                        "this `${` has no matching `}`",
                    )
                    .with_help("a `${` that is meant literally is written `$${`"));
                };
                let span = start..start + length;
                let expr =
                    Expr::parse(&source[span.clone()]).map_err(|fault| fault.moved_by(start))?;
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                at = span.end + "}".len();
                parts.push(Part::Expr(expr, span));
            } else {
                // Up to the next `$`, but at least one character.
                let first = rest.chars().next().map_or(1, char::len_utf8);
                let plain = rest[first..]
                    .find('$')
                    .map_or(rest.len(), |next| first + next);
                text.push_str(&rest[..plain]);
                at += plain;
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self {
            source: source.into(),
            parts,
        })
    }

    /// Where a text has `$${…}` around what would be an expression: the expression, and the bytes from `$${` to `}`.
    pub(crate) fn escaped(source: &str) -> Vec<(Expr, Range<usize>)> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(dollar) = source[at..].find('$').map(|next| at + next) {
            let rest = &source[dollar..];
            let escape = rest.starts_with("$${");
            let start = dollar + if escape { "$${".len() } else { "${".len() };
            at = dollar + "$".len();
            if !escape && !rest.starts_with("${") {
                continue;
            }
            let Some(length) = end_of_expression(&source[start..]) else {
                continue;
            };
            let end = start + length;
            if !escape {
                at = end;
            } else if let Ok(expr) = Expr::parse(&source[start..end]) {
                found.push((expr, dollar..end + "}".len()));
                at = end;
            } else {
                at = start;
            }
        }
        found
    }

    /// A template that is nothing but this expression, written without `${` and `}`.
    pub(super) fn of_expression(source: &str) -> Result<Self, Fault> {
        let expr = Expr::parse(source)?;
        Ok(Self {
            source: source.into(),
            parts: vec![Part::Expr(expr, 0..source.len())],
        })
    }

    /// The text it was parsed from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text it always gives, if it holds no expression.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Nothing but one expression, whose type it keeps.
    pub(super) fn is_one_expression(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Expr(..)])
    }

    /// Its expressions, each with the bytes of the text that it takes (without `${` and `}`).
    pub fn expressions(&self) -> impl Iterator<Item = (&Expr, Range<usize>)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expr(expr, span) => Some((expr, span.clone())),
        })
    }

    /// Every root it may read; one that several expressions read comes several times.
    pub fn roots(&self) -> impl Iterator<Item = &Root> {
        self.parts.iter().flat_map(|part| match part {
            Part::Text(_) => [].iter(),
            Part::Expr(expr, _) => expr.parsed.roots.iter(),
        })
    }

    /// As [`Expr::with_types`].
    #[must_use]
    pub fn with_types(mut self, env: &dyn TypeEnv) -> Self {
        for part in &mut self.parts {
            if let Part::Expr(expr, _) = part {
                *expr = expr.clone().with_types(env);
            }
        }
        self
    }

    /// Its value over `scope`.
    ///
    /// # Errors
    /// As [`Expr::eval`]; [`EvalError::Type`] if a list, an object or null would have to stand inside a text.
    pub fn eval(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<Payload, EvalError> {
        document(|out| self.write(scope, budget, out))
    }

    /// Appends the JSON form of the value.
    pub(super) fn write(
        &self,
        scope: &dyn Scope,
        budget: &mut Budget,
        out: &mut String,
    ) -> Result<(), EvalError> {
        match self.parts.as_slice() {
            [Part::Expr(expr, _)] => expr.write(scope, budget, out),
            _ => self
                .eval_text(scope, budget)
                .map(|text| push_text(out, &text)),
        }
    }

    /// Its value as a text, also where it is a single number.
    ///
    /// # Errors
    /// As [`Template::eval`].
    pub fn eval_text(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<String, EvalError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => {
                    budget.build(plain.len())?;
                    text.push_str(plain);
                }
                Part::Expr(expr, _) => expr.evaluate(scope, budget, |value, budget| {
                    text.push_str(&inside_text(expr.source(), value, budget)?);
                    Ok(())
                })?,
            }
        }
        Ok(text)
    }

    /// Its type and every static fault, with spans in the text.
    #[must_use]
    pub fn check(&self, env: &dyn TypeEnv) -> Checked {
        let alone = matches!(self.parts.as_slice(), [Part::Expr(..)]);
        let mut checked = Checked {
            ty: Type::String,
            faults: Vec::new(),
        };
        for (expr, span) in self.expressions() {
            let found = expr.check(env);
            for mut fault in found.faults {
                // Inside of a text a number is as good as a word.
                if fault.kind == FaultKind::Branches && !alone {
                    continue;
                }
                let replaces_all =
                    expr.source().get(fault.span.clone()) == Some(expr.source().trim());
                if let (FaultKind::MaybeAbsent, Some(help), true) =
                    (fault.kind, &mut fault.help, replaces_all)
                {
                    *help = format!("${{{help}}}");
                }
                checked.faults.push(fault.moved_by(span.start));
            }
            if alone {
                checked.ty = found.ty;
            } else if matches!(
                found.ty,
                Type::List(_) | Type::Object(_) | Type::Null | Type::Optional(_)
            ) {
                let message = format!(
                    "`{}` is {}, which cannot stand inside a text",
                    expr.source(),
                    found.ty.phrase()
                );
                let fault = Fault::new(FaultKind::TypeMismatch, span, message);
                checked.faults.push(
                    fault.with_help("a field that is nothing but `${…}` keeps lists and objects"),
                );
            }
        }
        checked
    }
}

/// How a value reads inside a text.
fn inside_text(source: &str, value: Val<'_>, budget: &mut Budget) -> Result<String, EvalError> {
    let kind = value.kind();
    let not_a_text = || {
        EvalError::Type(format!(
            "`{source}` is {kind}, which cannot stand inside a text"
        ))
    };
    match value {
        Val::Null | Val::List(_) | Val::Map(_) => Err(not_a_text()),
        // Bytes read as they do in JSON.
        Val::Bytes(bytes) => bytes_text(&bytes, budget),
        Val::Text(text) => {
            budget.build(text.as_str().len())?;
            Ok(text.as_str().to_owned())
        }
        other => match Function::ToText.of_one(other, budget)? {
            Val::Text(text) => Ok(text.as_str().to_owned()),
            _ => Err(not_a_text()),
        },
    }
}

/// Where the `}` stands that closes an expression, string literals and nested braces respected.
pub(crate) fn end_of_expression(source: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    // Letters before a quote make a raw text or bytes only if a literal begins with them.
    let mut in_name = false;
    while let Some(next) = source.get(at..).and_then(|rest| rest.chars().next()) {
        if !in_name || matches!(next, '\'' | '"') {
            if let Some(length) = literal::skip(&source[at..]) {
                at += length;
                in_name = false;
                continue;
            }
            if matches!(next, '\'' | '"') {
                // Not closed: the `}` after it is as good as any, the lexer reports the quote.
                return source[at..].find('}').map(|end| at + end);
            }
        }
        match next {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        in_name = next.is_ascii_alphanumeric() || next == '_';
        at += next.len_utf8();
    }
    None
}
