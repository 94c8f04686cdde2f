//! Input from the command line: `-i FILE` for the whole of it, `-f path=value` for single fields, labels.

use std::{collections::HashMap, convert::Infallible, str::FromStr};

use saga_core::Payload;
use saga_dsl::{json::edit, types::Type};
use saga_proto::v1::FieldEdit;

use crate::{
    exit::{Exit, Failure},
    files,
};

/// Larger inputs are refused by the server anyway.
const INPUT_BYTES_MAX: u64 = 1 << 20;
/// As deep as JSON readers commonly go; a path beyond it is a slip.
const PATH_MAX: usize = 100;

/// One `-f flight.from=FRA`, as it was typed: what the text stands for is for the type at that place to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    path: Vec<String>,
    text: String,
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
        Ok(Self {
            path: parts,
            text: value.to_owned(),
        })
    }
}

impl Field {
    /// As the wire has it.
    pub fn edit(&self) -> FieldEdit {
        FieldEdit {
            path: self.path.clone(),
            text: self.text.clone(),
        }
    }
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
    labels
        .iter()
        .map(|Label(key, value)| (key.clone(), value.clone()))
        .collect()
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

/// The input that a file and fields make together; fields win, and are read as `ty` types them. Without either it is
/// `{}`. Whatever is not set stays as it stands in the file, number for number.
pub fn input(source: Option<&Source>, fields: &[Field], ty: &Type) -> Result<Payload, Failure> {
    let mut input = match source {
        None => Payload::from_bytes(b"{}").map_err(|error| Failure::error(error.to_string()))?,
        Some(Source(name)) => object(name)?,
    };
    for field in fields {
        input = set(&input, field, ty)?;
    }
    Ok(input)
}

fn object(name: &str) -> Result<Payload, Failure> {
    let bytes = files::read(name, INPUT_BYTES_MAX)?;
    let shown = files::shown(name);
    let input =
        Payload::from_bytes(&bytes).map_err(|error| Failure::error(format!("{shown}: {error}")))?;
    input
        .check()
        .map_err(|fault| Failure::error(format!("{shown}: {fault}")))?;
    if !input.json().is_object() {
        return Err(
            Failure::error(format!("{shown}: the input is not a JSON object"))
                .help("write {\"field\": value, …}"),
        );
    }
    if let Some(field) = input.repeated_field() {
        return Err(Failure::error(format!(
            "{shown}: the field `{field}` stands twice in one object"
        )));
    }
    Ok(input)
}

fn set(input: &Payload, field: &Field, ty: &Type) -> Result<Payload, Failure> {
    let path = field.path.join(".");
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let value = ty
        .at(&field.path)
        .entered(&field.text)
        .map_err(|fault| usage(format!("-f {path}: {fault}")))?;
    let text = edit::with_field(input.json(), &field.path, &value).map_err(|fault| {
        usage(format!("-f {path}: {fault}")).help(format!(
            "give the whole of it as JSON: -f '{}={{…}}'",
            fault.path
        ))
    })?;
    Payload::from_text(text).map_err(|error| usage(format!("-f {path}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn made(fields: &[&str]) -> Value {
        let fields: Vec<Field> = fields.iter().map(|f| f.parse().expect("a field")).collect();
        input(None, &fields, &Type::Any)
            .expect("an input")
            .to_value()
    }

    #[test]
    fn without_a_type_values_are_json_or_text() {
        assert_eq!(
            made(&[
                "n=3",
                "b=true",
                "t=FRA",
                "q=\"3\"",
                "l=[1,2]",
                "o={\"x\":1}",
                "e=",
                "z=null",
                "s=a=b"
            ]),
            json!({"n": 3, "b": true, "t": "FRA", "q": "3", "l": [1, 2], "o": {"x": 1}, "e": "", "z": null, "s": "a=b"})
        );
    }

    #[test]
    fn a_declared_type_says_what_the_text_is() {
        let ty = Type::from_value(&json!({"zip": "string", "n": "int", "o": {"Zip": "string"}}))
            .expect("types");
        let fields = ["zip=01234", "n=18446744073709551615", "o.Zip=215e6"]
            .map(|f| f.parse().expect("a field"));
        let made = input(None, &fields, &ty).expect("an input");
        assert_eq!(
            made.text(),
            r#"{"n":18446744073709551615,"o":{"Zip":"215e6"},"zip":"01234"}"#
        );
        let long = ["n=12345678901234567890123".parse().expect("a field")];
        assert_eq!(
            input(None, &long, &Type::Any).expect("an input").text(),
            r#"{"n":12345678901234567890123}"#
        );
    }

    #[test]
    fn dots_lead_into_objects_and_the_last_field_wins() {
        assert_eq!(
            made(&[
                "flight.from=FRA",
                "flight.to=LIS",
                "flight.from=MUC",
                "a.b.c=1"
            ]),
            json!({"flight": {"from": "MUC", "to": "LIS"}, "a": {"b": {"c": 1}}})
        );
        assert_eq!(made(&[]), json!({}));
    }

    #[test]
    fn a_path_through_a_value_is_refused() {
        let fields = [
            "a=1".parse().expect("a field"),
            "a.b=2".parse().expect("a field"),
        ];
        let failure = input(None, &fields, &Type::Any).expect_err("`a` is a number");
        assert_eq!(
            failure.to_string(),
            "-f a.b: `a` is a number, it has no fields"
        );
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn what_is_no_field_says_how_to_write_one() {
        assert_eq!("abc".parse::<Field>(), Err(NotAField::NoValue));
        assert_eq!(
            "a..b=1".parse::<Field>(),
            Err(NotAField::EmptyPart("a..b".into()))
        );
        assert_eq!(
            "=1".parse::<Field>(),
            Err(NotAField::EmptyPart(String::new()))
        );
        assert_eq!(
            format!("{}a=1", "a.".repeat(200)).parse::<Field>(),
            Err(NotAField::TooDeep)
        );
        assert_eq!("=x".parse::<Label>(), Err(NotALabel));
        assert_eq!(
            "team=a=b".parse::<Label>(),
            Ok(Label("team".into(), "a=b".into()))
        );
    }

    #[test]
    fn fields_override_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("input.json");
        std::fs::write(&path, r#"{"a": 1.10, "b": {"c": 2}}"#).expect("written");
        let source = Source(path.display().to_string());
        let field = "b.c=3".parse().expect("a field");
        let made = input(Some(&source), &[field], &Type::Any).expect("an input");
        assert_eq!(made.text(), r#"{"a":1.10,"b":{"c":3}}"#);
        std::fs::write(&path, r#"{"a": 1, "a": 2}"#).expect("written");
        let failure = input(Some(&source), &[], &Type::Any).expect_err("twice");
        assert!(
            failure
                .to_string()
                .ends_with("the field `a` stands twice in one object"),
            "{failure}"
        );
        std::fs::write(&path, "[1]").expect("written");
        let failure = input(Some(&source), &[], &Type::Any).expect_err("a list");
        assert!(
            failure
                .to_string()
                .ends_with("the input is not a JSON object"),
            "{failure}"
        );
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,60}") {
            if let Ok(field) = text.parse::<Field>() {
                let _ = input(None, &[field], &Type::Any);
            }
        }
    }
}
