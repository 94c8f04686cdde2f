//! What a scalar means: YAML 1.2's core schema, with the traps refused.

use serde_json::{Number, Value};

use super::tree::{Scalar, Style};

/// Reads a scalar as a JSON value.
///
/// Only `true` and `false` are booleans (`yes`, `no`, `on` and `True` are texts). A number that JSON or a
/// signed 64-bit integer cannot hold, or that would lose its zeros, is refused with the reason.
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
        let number = text.parse::<f64>().ok().and_then(Number::from_f64);
        return number.map(Value::Number).ok_or_else(|| format!("{text} is beyond what a double can hold"));
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => Err(format!("JSON has no {text}")),
        _ => Ok(Value::from(text)),
    }
}

fn integer(text: &str, digits: &str) -> Result<Value, String> {
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(format!("{text} would be read as a number and lose its zeros"));
    }
    match text.strip_prefix('+').unwrap_or(text).parse::<i64>() {
        Ok(number) => Ok(Value::from(number)),
        Err(_) => Err(format!("{text} does not fit 64 bits")),
    }
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
        value(&Scalar { text: text.to_owned(), style: Style::Plain })
    }

    #[test]
    fn words_stay_words() {
        for word in
            ["yes", "no", "on", "True", "FALSE", "1_000", "1.2.3", "0b1", "e3", ".", "-", "1e", "2026-11-21"]
        {
            assert_eq!(plain(word), Ok(json!(word)));
        }
        let quoted = Scalar { text: "true".into(), style: Style::SingleQuoted };
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
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), Ok(expected), "{text}");
        }
        for text in
            ["007", "-01", "9223372036854775808", "1e999", ".inf", "-.inf", ".nan", "0xffffffffffffffffff"]
        {
            assert!(plain(text).is_err(), "{text}");
        }
    }
}
