//! JSON values whose texts are templates: the payloads that a saga file describes.

use std::collections::BTreeMap;

use serde_json::{Number, Value};

use super::{
    Budget, Checked, EvalError, Fault, FaultKind, Root, Scope, Template, TypeEnv, ast::Kind,
    document,
};
use crate::{
    json::push_text,
    payload::Payload,
    types::{Type, pointer_segment},
};

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
    /// Fields, in the order of their names or of the pick list.
    Object(Vec<(String, ValueTemplate)>),
    /// A picked path, and how the author wrote it.
    Picked(Template, String),
}

/// Deepest nesting of a value.
const DEPTH_MAX: usize = 64;

impl ValueTemplate {
    /// Reads the texts of a value as templates.
    ///
    /// # Errors
    /// The first fault, with its place as a JSON pointer.
    pub fn from_value(value: &Value) -> Result<Self, Fault> {
        read(value, &mut String::new(), DEPTH_MAX)
    }

    /// An object of picked values: a bare word is `input.<word>`, a dotted path starts at a root;
    /// the last segment names the field.
    ///
    /// # Errors
    /// The first fault, its place `/<index>`; two entries with the same last segment.
    pub fn from_pick(names: &[String]) -> Result<Self, Fault> {
        let mut fields: Vec<(String, Self)> = Vec::with_capacity(names.len());
        for (index, written) in names.iter().enumerate() {
            let picked = picked(written).and_then(|(name, template)| {
                if fields.iter().any(|(known, _)| *known == name) {
                    let message = format!("two picked fields are called `{name}`");
                    return Err(Fault::new(FaultKind::Duplicate, 0..written.len(), message)
                        .with_help(format!(
                            "write the input as a map to name them: `other_{name}: ${{…}}`"
                        )));
                }
                Ok((name, Self::Picked(template, written.clone())))
            });
            fields.push(picked.map_err(|fault| fault.at_place(&format!("/{index}")))?);
        }
        Ok(Self::Object(fields))
    }

    /// Every root it may read; one that is read several times comes several times.
    pub fn roots(&self) -> impl Iterator<Item = &Root> {
        self.templates()
            .into_iter()
            .flat_map(|(_, template)| template.roots())
    }

    /// Every template in it, with its place as a JSON pointer into the value it was read from.
    #[must_use]
    pub fn templates(&self) -> Vec<(String, &Template)> {
        let mut found = Vec::new();
        self.walk(&mut String::new(), &mut |place, template, _| {
            found.push((place.to_owned(), template))
        });
        found
    }

    /// As [`super::Expr::with_types`].
    #[must_use]
    pub fn with_types(self, env: &dyn TypeEnv) -> Self {
        match self {
            Self::Text(template) => Self::Text(template.with_types(env)),
            Self::Picked(template, written) => Self::Picked(template.with_types(env), written),
            Self::List(items) => {
                Self::List(items.into_iter().map(|item| item.with_types(env)).collect())
            }
            Self::Object(fields) => Self::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| (name, value.with_types(env)))
                    .collect(),
            ),
            plain @ (Self::Null | Self::Bool(_) | Self::Number(_)) => plain,
        }
    }

    /// Its value over `scope`.
    ///
    /// # Errors
    /// As [`Template::eval`].
    pub fn eval(&self, scope: &dyn Scope, budget: &mut Budget) -> Result<Payload, EvalError> {
        document(|out| self.write(scope, budget, out))
    }

    /// Appends the JSON form of the value; fields in the order of their names.
    fn write(
        &self,
        scope: &dyn Scope,
        budget: &mut Budget,
        out: &mut String,
    ) -> Result<(), EvalError> {
        budget.step()?;
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(value) => out.push_str(&value.to_string()),
            Self::Text(template) | Self::Picked(template, _) => {
                template.write(scope, budget, out)?
            }
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(scope, budget, out)?;
                }
                out.push(']');
            }
            Self::Object(fields) => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by_key(|(name, _)| name.as_str());
                out.push('{');
                for (index, (name, value)) in sorted.into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    budget.build(name.len())?;
                    push_text(out, name);
                    out.push(':');
                    value.write(scope, budget, out)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }

    /// Its type and every static fault; places are JSON pointers into the value it was read from,
    /// spans lie in the text there.
    #[must_use]
    pub fn check(&self, env: &dyn TypeEnv) -> Checked {
        let mut faults = Vec::new();
        self.walk(&mut String::new(), &mut |place, template, written| {
            for mut fault in template.check(env).faults {
                if let Some(written) = written {
                    fault = of_pick(fault, template, written);
                }
                faults.push(fault.at_place(place));
            }
        });
        Checked {
            ty: self.ty(env),
            faults,
        }
    }

    fn ty(&self, env: &dyn TypeEnv) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Number(number) if number.is_i64() || number.is_u64() => Type::Int,
            Self::Number(_) => Type::Double,
            Self::Text(template) | Self::Picked(template, _) => template.check(env).ty,
            Self::List(items) => {
                let item = items
                    .iter()
                    .map(|item| item.ty(env))
                    .reduce(|a, b| a.join(&b));
                Type::List(Box::new(item.unwrap_or(Type::Any)))
            }
            Self::Object(fields) => {
                let fields: BTreeMap<_, _> = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.ty(env)))
                    .collect();
                Type::Object(fields)
            }
        }
    }

    /// Visits every template with its place and, for a picked one, how it was written.
    fn walk<'a>(
        &'a self,
        place: &mut String,
        visit: &mut impl FnMut(&str, &'a Template, Option<&'a str>),
    ) {
        let length = place.len();
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => {}
            Self::Text(template) => visit(place, template, None),
            Self::Picked(template, written) => visit(place, template, Some(written)),
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    place.push_str(&format!("/{index}"));
                    item.walk(place, visit);
                    place.truncate(length);
                }
            }
            Self::Object(fields) => {
                for (index, (name, value)) in fields.iter().enumerate() {
                    match value {
                        Self::Picked(..) => place.push_str(&format!("/{index}")),
                        _ => place.push_str(&format!("/{}", pointer_segment(name))),
                    }
                    value.walk(place, visit);
                    place.truncate(length);
                }
            }
        }
    }
}

fn read(value: &Value, place: &mut String, depth: usize) -> Result<ValueTemplate, Fault> {
    let Some(depth) = depth.checked_sub(1) else {
        let message = format!("a value nests at most {DEPTH_MAX} deep");
        return Err(Fault::new(FaultKind::TooLarge, 0..0, message).at_place(place));
    };
    let length = place.len();
    Ok(match value {
        Value::Null => ValueTemplate::Null,
        Value::Bool(value) => ValueTemplate::Bool(*value),
        Value::Number(value) => ValueTemplate::Number(value.clone()),
        Value::String(text) => {
            ValueTemplate::Text(Template::parse(text).map_err(|fault| fault.at_place(place))?)
        }
        Value::Array(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                place.push_str(&format!("/{index}"));
                list.push(read(item, place, depth)?);
                place.truncate(length);
            }
            ValueTemplate::List(list)
        }
        Value::Object(fields) => {
            let mut object = Vec::with_capacity(fields.len());
            for (name, value) in fields {
                place.push_str(&format!("/{}", pointer_segment(name)));
                object.push((name.clone(), read(value, place, depth)?));
                place.truncate(length);
            }
            ValueTemplate::Object(object)
        }
    })
}

/// The field that an entry of a pick list names, and its value.
fn picked(written: &str) -> Result<(String, Template), Fault> {
    let whole = 0..written.len();
    let segments: Vec<&str> = written.split('.').collect();
    let is_word = |segment: &&str| {
        segment.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !segments.iter().all(is_word) {
        let help = if written.contains('-') {
            "names have no hyphen; `_` joins words"
        } else if written.contains("${") {
            "in a list the path stands alone: `steps.reserve.output.seat`"
        } else {
            "`customer_id` picks `input.customer_id`, other paths start at a root: `steps.reserve.output.seat`; \
             anything more stands in a map: `seat: ${…}`"
        };
        return Err(Fault::new(
            FaultKind::Syntax,
            whole,
            format!("`{written}` is not a path"),
        )
        .with_help(help));
    }
    let bare = segments.len() == 1;
    let source = if bare {
        format!("input.{written}")
    } else {
        written.to_owned()
    };
    let template = Template::of_expression(&source).map_err(|fault| {
        let offset = source.len() - written.len();
        let span = fault.span.start.saturating_sub(offset)..fault.span.end.saturating_sub(offset);
        Fault { span, ..fault }
    })?;
    let is_path = template
        .expressions()
        .all(|(expr, _)| matches!(expr.parsed.tree.kind, Kind::Root(_) | Kind::Field(..)));
    match segments.last() {
        Some(name) if is_path => Ok(((*name).to_owned(), template)),
        _ => Err(Fault::new(
            FaultKind::Syntax,
            whole,
            format!("`{written}` is not a path"),
        )),
    }
}

/// A fault of a picked path, told of the list's entry.
fn of_pick(mut fault: Fault, template: &Template, written: &str) -> Fault {
    let name = written.rsplit('.').next().unwrap_or(written);
    if fault.kind == FaultKind::MaybeAbsent {
        // A list has no room for a guard.
        let guarded = format!("has({0}) ? {0} : null", template.source());
        fault.help = fault
            .help
            .map(|_| format!("write the input as a map: `{name}: \"${{{guarded}}}\"`"));
    }
    if let Some((root, path)) = written.split_once('.')
        && fault.span.end <= root.len()
    {
        // The fault is of the root alone, and what is shown is the whole entry.
        let meant = fault.help.as_deref().and_then(|help| {
            let meant = help.strip_prefix("did you mean `")?;
            meant.strip_suffix("`?")
        });
        fault.help = meant
            .map(|meant| format!("did you mean `{meant}.{path}`?"))
            .or(fault.help);
    }
    fault.span = 0..written.len();
    fault
}
