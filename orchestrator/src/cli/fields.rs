//! Input from the command line: `-i FILE` for the whole of it, `-f path=value` for single fields, labels.

use std::{collections::HashMap, convert::Infallible, str::FromStr};

use serde_json::{Map, Value};

use super::{
    exit::{Exit, Failure},
    files,
};

/// Larger inputs are refused by the server anyway.
const INPUT_BYTES_MAX: u64 = 1 << 20;
/// As deep as JSON readers commonly go; a path beyond it is a slip.
const PATH_MAX: usize = 100;

/// One `-f flight.from=FRA`.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    path: Vec<String>,
    value: Value,
}

/// The text is not a field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAField {
    /// No equals sign.
    #[error("write PATH=VALUE, as in -f flight.from=FRA")]
    NoValue,
    /// `=x`, `a..b=x`.
    #[error("a part of the path `{0}` is empty")]
    EmptyPart(String),
    /// A path that no input has.
    #[error("the path has more than {PATH_MAX} parts")]
    TooDeep,
}

impl FromStr for Field {
    type Err = NotAField;

    fn from_str(text: &str) -> Result<Self, NotAField> {
        let (path, value) = text.split_once('=').ok_or(NotAField::NoValue)?;
        let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            return Err(NotAField::EmptyPart(path.to_owned()));
        }
        if parts.len() > PATH_MAX {
            return Err(NotAField::TooDeep);
        }
        Ok(Self { path: parts, value: value_of(value) })
    }
}

/// JSON where it is JSON, else text: `3` is a number, `true` a boolean, `FRA` a text, `"3"` a text.
fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// One `--label key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String, String);

/// The text is not a label.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("write KEY=VALUE, as in --label team=billing")]
pub struct NotALabel;

impl FromStr for Label {
    type Err = NotALabel;

    fn from_str(text: &str) -> Result<Self, NotALabel> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self(key.to_owned(), value.to_owned())),
            Some(_) | None => Err(NotALabel),
        }
    }
}

/// Labels as the wire has them; of two with one key the last counts.
pub fn label_map(labels: &[Label]) -> HashMap<String, String> {
    labels.iter().map(|Label(key, value)| (key.clone(), value.clone())).collect()
}

/// `-i`: a file, or `-` for stdin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(pub String);

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// The input that a file and fields make together; fields win. Without either it is `{}`.
pub fn input(source: Option<&Source>, fields: &[Field]) -> Result<Value, Failure> {
    let mut root = match source {
        None => Map::new(),
        Some(Source(name)) => object(name)?,
    };
    for field in fields {
        set(&mut root, field)?;
    }
    Ok(Value::Object(root))
}

fn object(name: &str) -> Result<Map<String, Value>, Failure> {
    let bytes = files::read(name, INPUT_BYTES_MAX)?;
    let shown = files::shown(name);
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => {
            Err(Failure::error(format!("{shown}: the input is {}, not a JSON object", kind(&other)))
                .help("write {\"field\": value, …}"))
        }
        Err(error) => Err(Failure::error(format!("{shown}: not JSON: {error}"))),
    }
}

fn set(root: &mut Map<String, Value>, field: &Field) -> Result<(), Failure> {
    let Some((last, groups)) = field.path.split_last() else { return Ok(()) };
    let mut at = root;
    for (depth, name) in groups.iter().enumerate() {
        let slot = at.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
        at = match slot {
            Value::Object(object) => object,
            other => {
                let path = field.path[..=depth].join(".");
                let message =
                    format!("-f {}: `{path}` is {}, it has no fields", field.path.join("."), kind(other));
                return Err(Failure::new(Exit::Usage, message)
                    .help(format!("give the whole of it as JSON: -f '{path}={{…}}'")));
            }
        };
    }
    at.insert(last.clone(), field.value.clone());
    Ok(())
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn made(fields: &[&str]) -> Value {
        let fields: Vec<Field> = fields.iter().map(|f| f.parse().expect("a field")).collect();
        input(None, &fields).expect("an input")
    }

    #[test]
    fn values_are_json_or_text() {
        assert_eq!(
            made(&["n=3", "b=true", "t=FRA", "q=\"3\"", "l=[1,2]", "o={\"x\":1}", "e=", "z=null", "s=a=b"]),
            json!({"n": 3, "b": true, "t": "FRA", "q": "3", "l": [1, 2], "o": {"x": 1}, "e": "", "z": null, "s": "a=b"})
        );
    }

    #[test]
    fn dots_lead_into_objects_and_the_last_field_wins() {
        assert_eq!(
            made(&["flight.from=FRA", "flight.to=LIS", "flight.from=MUC", "a.b.c=1"]),
            json!({"flight": {"from": "MUC", "to": "LIS"}, "a": {"b": {"c": 1}}})
        );
        assert_eq!(made(&[]), json!({}));
    }

    #[test]
    fn a_path_through_a_value_is_refused() {
        let fields = ["a=1".parse().expect("a field"), "a.b=2".parse().expect("a field")];
        let failure = input(None, &fields).expect_err("`a` is a number");
        assert_eq!(failure.to_string(), "-f a.b: `a` is a number, it has no fields");
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn what_is_no_field_says_how_to_write_one() {
        assert_eq!("abc".parse::<Field>(), Err(NotAField::NoValue));
        assert_eq!("a..b=1".parse::<Field>(), Err(NotAField::EmptyPart("a..b".into())));
        assert_eq!("=1".parse::<Field>(), Err(NotAField::EmptyPart(String::new())));
        assert_eq!(format!("{}a=1", "a.".repeat(200)).parse::<Field>(), Err(NotAField::TooDeep));
        assert_eq!("=x".parse::<Label>(), Err(NotALabel));
        assert_eq!("team=a=b".parse::<Label>(), Ok(Label("team".into(), "a=b".into())));
    }

    #[test]
    fn fields_override_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("input.json");
        std::fs::write(&path, r#"{"a": 1, "b": {"c": 2}}"#).expect("written");
        let source = Source(path.display().to_string());
        let field = "b.c=3".parse().expect("a field");
        assert_eq!(input(Some(&source), &[field]).expect("an input"), json!({"a": 1, "b": {"c": 3}}));
        std::fs::write(&path, "[1]").expect("written");
        let failure = input(Some(&source), &[]).expect_err("a list");
        assert!(failure.to_string().ends_with("the input is a list, not a JSON object"), "{failure}");
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,60}") {
            if let Ok(field) = text.parse::<Field>() {
                let _ = input(None, &[field]);
            }
        }
    }
}
