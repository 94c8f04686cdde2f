//! What a scalar means: YAML 1.2's core schema, with the traps refused.

use serde_json::{Number, Value};

use super::tree::{Scalar, Style};
use crate::json::Decimal;

/// Reads a scalar as a JSON value.
///
/// Only `true` and `false` are booleans (`yes`, `no`, `on` and `True` are texts). A number that JSON or
/// 64 bits cannot hold, that would be rounded or would lose its zeros, is refused with the reason.
pub(super) fn value(scalar: &Scalar) -> Result<Value, String> {
    let text = scalar.text.as_str();
    if scalar.style != Style::Plain {
        return Ok(Value::from(text));
    }
    match text {
        "null" | "Null" | "NULL" | "~" => return Ok(Value::Null),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return integer(text, unsigned);
    }
    if let Some((digits, radix)) = based(text) {
        return match i64::from_str_radix(digits, radix) {
            Ok(number) => Ok(Value::from(number)),
            Err(_) => Err(format!("{text} does not fit 64 bits")),
        };
    }
    if is_float(unsigned) {
        return decimal(text);
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => Err(format!("JSON has no {text}")),
        _ => Ok(Value::from(text)),
    }
}

/// A decimal becomes a double; one that would be rounded is refused, because a definition keeps no more.
fn decimal(text: &str) -> Result<Value, String> {
    let double = text.parse::<f64>().ok().filter(|double| double.is_finite());
    let double = double.ok_or_else(|| format!("{text} is beyond what a double can hold"))?;
    if Decimal::of_double(double) != Some(Decimal::read(text.strip_prefix('+').unwrap_or(text))) {
        return Err(format!("{text} would be rounded to {double:?}"));
    }
    Number::from_f64(double)
        .map(Value::Number)
        .ok_or_else(|| format!("JSON has no {text}"))
}

fn integer(text: &str, digits: &str) -> Result<Value, String> {
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(format!(
            "{text} would be read as a number and lose its zeros"
        ));
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let (signed, unsigned) = (text.parse::<i64>(), text.parse::<u64>());
    signed
        .map(Value::from)
        .or(unsigned.map(Value::from))
        .map_err(|_| format!("{text} does not fit 64 bits"))
}

fn based(text: &str) -> Option<(&str, u32)> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x', ..] => (&text[2..], 16),
        [b'0', b'o', ..] => (&text[2..], 8),
        _ => return None,
    };
    let good = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    good.then_some((digits, radix))
}

/// `1.5`, `.5`, `1.`, `1e3`, `1.5e-3`.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_good = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let some_digit = !whole.is_empty() || !fraction.is_empty();
    let looks_so = mantissa.contains('.') || exponent.is_some();
    looks_so && some_digit && digits(whole) && digits(fraction) && exponent_good
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(text: &str) -> Result<Value, String> {
        value(&Scalar {
            text: text.to_owned(),
            style: Style::Plain,
        })
    }

    #[test]
    fn words_stay_words() {
        for word in [
            "yes",
            "no",
            "on",
            "True",
            "FALSE",
            "1_000",
            "1.2.3",
            "0b1",
            "e3",
            ".",
            "-",
            "1e",
            "2026-11-21",
        ] {
            assert_eq!(plain(word), Ok(json!(word)));
        }
        let quoted = Scalar {
            text: "true".into(),
            style: Style::SingleQuoted,
        };
        assert_eq!(value(&quoted), Ok(json!("true")));
    }

    #[test]
    fn numbers() {
        let cases = [
            ("0", json!(0)),
            ("-12", json!(-12)),
            ("+7", json!(7)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("1.5", json!(1.5)),
            ("-.5", json!(-0.5)),
            ("1e3", json!(1000.0)),
            ("true", json!(true)),
            ("~", Value::Null),
            ("9223372036854775807", json!(i64::MAX)),
            ("18446744073709551615", json!(u64::MAX)),
            ("19.90", json!(19.9)),
            ("+1.50e0", json!(1.5)),
            ("0.1234567890123456", json!(0.123_456_789_012_345_6)),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), Ok(expected), "{text}");
        }
        for text in [
            "007",
            "-01",
            "18446744073709551616",
            "-9223372036854775809",
            "0.12345678901234567890",
            "1e-400",
            "1e999",
            ".inf",
            "-.inf",
            ".nan",
            "0xffffffffffffffffff",
        ] {
            assert!(plain(text).is_err(), "{text}");
        }
    }
}
