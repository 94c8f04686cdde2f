//! Points and spans of time as texts.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

/// Units with their nanoseconds, the largest first.
const UNITS: [(&str, i128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a point in time written by RFC 3339, from year 1 to 9999.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    // jiff reads more than RFC 3339 (spaces, zone names, short dates), so the shape is checked first.
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let (date, rest) = bytes.split_at_checked(shape.len())?;
    let fits = date.iter().zip(shape).all(|(byte, want)| match want {
        b'd' => byte.is_ascii_digit(),
        want => byte.eq_ignore_ascii_case(want),
    });
    let rest = match rest.split_first() {
        Some((b'.', rest)) => match rest.iter().take_while(|b| b.is_ascii_digit()).count() {
            digits @ 1..=9 => &rest[digits..],
            _ => return None,
        },
        _ => rest,
    };
    let zone = match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !fits || !zone {
        return None;
    }
    text.parse().ok().filter(|time| is_in_range(*time))
}

/// Whether the year is from 1 to 9999.
pub(super) fn is_in_range(time: Timestamp) -> bool {
    const YEAR_1: i128 = -62_135_596_800_000_000_000;
    time.as_nanosecond() >= YEAR_1
}

/// Reads a span of time: `1h30m`, `200ms`, `-1.5h`, `3600s`, `0`.
pub(crate) fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut nanos: i128 = 0;
    loop {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit = rest[number..]
            .find(|c: char| !c.is_ascii_lowercase())
            .unwrap_or(rest.len() - number);
        let (_, scale) = UNITS
            .iter()
            .find(|(name, _)| *name == &rest[number..number + unit])?;
        nanos = nanos.checked_add(scaled(&rest[..number], *scale)?)?;
        rest = &rest[number + unit..];
        if rest.is_empty() {
            break;
        }
    }
    let nanos = if negative { -nanos } else { nanos };
    let seconds = i64::try_from(nanos / 1_000_000_000).ok()?;
    let below = i32::try_from(nanos % 1_000_000_000).ok()?;
    Some(SignedDuration::new(seconds, below))
}

/// `12` or `1.5` times `scale`, cut to whole nanoseconds.
fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let plausible = |digits: &str| {
        (1..=18).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    };
    if !plausible(whole) || !plausible(fraction) {
        return None;
    }
    let power = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = fraction.parse::<i128>().ok()?.checked_mul(scale)? / power;
    whole
        .parse::<i128>()
        .ok()?
        .checked_mul(scale)?
        .checked_add(fraction)
}

/// Writes a span of time as `1h30m`; zero is `0s`.
pub(crate) fn duration_text(duration: SignedDuration) -> String {
    let mut nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    if nanos < 0 {
        text.push('-');
        nanos = -nanos;
    }
    for (unit, scale) in UNITS {
        if nanos >= scale {
            // Writing to a text cannot fail.
            let _ = write!(text, "{}{unit}", nanos / scale);
            nanos %= scale;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        let cases = [
            ("200ms", Some("200ms")),
            ("90m", Some("1h30m")),
            ("1h30m", Some("1h30m")),
            ("3d", Some("3d")),
            ("3600s", Some("1h")),
            ("1.5h", Some("1h30m")),
            ("-1.5s", Some("-1s500ms")),
            ("0s", Some("0s")),
            ("0", Some("0s")),
            ("1us2ns", Some("1us2ns")),
            ("0s1s", Some("1s")),
            ("", None),
            ("-", None),
            ("1", None),
            ("1.h", None),
            (".5h", None),
            ("1 h", None),
            ("1x", None),
            ("h", None),
            ("1h-3m", None),
            ("99999999999999999999s", None),
            ("999999999999999999d", None),
            ("1é", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                parse_duration(text).map(duration_text).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn timestamps_are_rfc_3339_and_nothing_else() {
        let cases = [
            ("2026-11-21T05:00:00Z", Some("2026-11-21T05:00:00Z")),
            ("2026-11-21t05:00:00z", Some("2026-11-21T05:00:00Z")),
            (
                "2026-11-21T05:00:00.25+02:00",
                Some("2026-11-21T03:00:00.25Z"),
            ),
            ("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00Z")),
            ("0000-12-31T23:59:59Z", None),
            ("2026-02-30T05:00:00Z", None),
            ("2026-11-21", None),
            ("2026-11-21T05:00:00", None),
            ("2026-11-21 05:00:00Z", None),
            ("2026-11-21T05:00:00Z[Europe/Berlin]", None),
            ("2026-11-21T05:00Z", None),
            ("2026-11-21T05:00:00.Z", None),
            ("2026-11-21T05:00:00.1234567890Z", None),
            ("é026-11-21T05:00:00Z", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = parse_timestamp(text).map(|time| time.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
