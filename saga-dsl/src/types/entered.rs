//! Values that people enter as text, as `-f zip=10115` does: the type says what they stand for.

use super::Type;
use crate::json::{self, Fault, Shape, push_text};

impl Type {
    /// The type of what stands at a path of field names; `any` where this type does not say.
    #[must_use]
    pub fn at<'a>(&'a self, path: &[String]) -> &'a Self {
        match (self, path) {
            (ty, []) => ty,
            (Self::Optional(inner), path) => inner.at(path),
            (Self::Object(fields), [name, rest @ ..]) => {
                fields.get(name).map_or(&Self::Any, |ty| ty.at(rest))
            }
            (_, [_, ..]) => &Self::Any,
        }
    }

    /// The JSON of a value of this type that was entered as `text`.
    ///
    /// Where the type is written as text in JSON, the text is the value, unless it is a JSON string itself: `10115` and
    /// `"10115"` are the same string. Elsewhere it is JSON where it is JSON, and text where it is not.
    ///
    /// # Errors
    /// JSON by its form without a value: `1e400`.
    pub fn entered(&self, text: &str) -> Result<String, Fault> {
        let read = json::read(text);
        let as_text = |text: &str| {
            let mut out = String::with_capacity(text.len() + 2);
            push_text(&mut out, text);
            out
        };
        match (self, read) {
            (Self::Optional(_), _) if text.trim() == "null" => Ok("null".to_owned()),
            (Self::Optional(inner), _) => inner.entered(text),
            (Self::String | Self::Timestamp | Self::Duration | Self::Bytes, Ok(tree)) => {
                let is_text = matches!(tree.view(text).shape(), Shape::Text(_));
                Ok(if is_text {
                    text.trim().to_owned()
                } else {
                    as_text(text)
                })
            }
            (Self::String | Self::Timestamp | Self::Duration | Self::Bytes, Err(_)) => {
                Ok(as_text(text))
            }
            (_, Ok(_)) => Ok(text.trim().to_owned()),
            (_, Err(Fault::Syntax(_))) => Ok(as_text(text)),
            (_, Err(fault)) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_type_says_what_a_text_stands_for() {
        let ty = Type::from_value(&json!({
            "zip": "string", "n": "int", "x": "double", "ok": "bool", "note": "optional string", "at": "timestamp",
            "tag": "any", "l": ["string"], "o": {"Zip": "string"}, "m": "optional int",
        }))
        .expect("types");
        let rows = [
            ("zip", "10115", r#""10115""#),
            ("zip", "01234", r#""01234""#),
            ("zip", "215e6", r#""215e6""#),
            ("zip", "1.10", r#""1.10""#),
            ("zip", r#""10115""#, r#""10115""#),
            ("zip", "null", r#""null""#),
            ("zip", "true", r#""true""#),
            ("zip", r#"{"a":1}"#, r#""{\"a\":1}""#),
            ("zip", "a \"b\"", r#""a \"b\"""#),
            ("zip", "", r#""""#),
            ("note", "null", "null"),
            ("note", "7", r#""7""#),
            ("n", "7", "7"),
            ("n", "18446744073709551615", "18446744073709551615"),
            ("n", "x", r#""x""#),
            ("m", "null", "null"),
            ("x", "1.10", "1.10"),
            ("x", "01", r#""01""#),
            ("ok", "true", "true"),
            ("at", "2026-01-31T10:00:00Z", r#""2026-01-31T10:00:00Z""#),
            ("tag", "12345678901234567890123", "12345678901234567890123"),
            ("tag", "FRA", r#""FRA""#),
            ("tag", r#""3""#, r#""3""#),
            ("l", r#"["a"]"#, r#"["a"]"#),
            ("o.Zip", "10115", r#""10115""#),
            ("o.other", "10115", "10115"),
            ("none.at.all", " [1, 2] ", "[1, 2]"),
        ];
        for (path, text, expected) in rows {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert_eq!(
                ty.at(&path).entered(text).as_deref(),
                Ok(expected),
                "{path:?}={text}"
            );
        }
        assert!(matches!(
            Type::Any.entered("1e400"),
            Err(Fault::NumberTooLarge(_))
        ));
        assert_eq!(Type::String.entered("1e400").as_deref(), Ok(r#""1e400""#));
    }
}
