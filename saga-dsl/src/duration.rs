//! Spans of time as files write them: `200ms`, `15m`, `1h30m`, `1.5h`, `3d`.
//!
//! One value has one canonical text, so that equal definitions have equal hashes however they were written.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::definition::Duration;

/// Units from the longest to the shortest, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form at all.
    #[error("not a duration: write a number and a unit, as in 200ms, 15m, 1h30m or 3d")]
    Form,
    /// A number without a unit.
    #[error("a duration needs a unit: ms, s, m, h or d")]
    NoUnit,
    /// A unit that does not exist.
    #[error("unknown unit `{0}`: durations know ms, s, m, h and d")]
    Unit(String),
    /// `30m1h`, `1m1m`.
    #[error("units go from long to short and stand once each, as in 1h30m")]
    Order,
    /// `0.5ms`.
    #[error("durations are whole milliseconds")]
    Fraction,
    /// Beyond [`Duration::MAX`].
    #[error("a duration is at most 36500d")]
    TooLong,
}

impl Duration {
    /// A hundred years; no sum of a file's durations can overflow.
    pub const MAX: Duration = Duration {
        ms: 36_500 * 86_400_000,
    };
    /// Nothing at all.
    pub const ZERO: Duration = Duration { ms: 0 };

    /// A duration of whole milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    /// A duration of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self {
            ms: secs.saturating_mul(1_000),
        }
    }

    /// Whether it is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.ms == 0
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let mut rest = text;
        let mut total: u64 = 0;
        let mut units = UNITS.iter();
        if rest.is_empty() {
            return Err(DurationError::Form);
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let letters = tail
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            if !well_formed(number) || (unit.is_empty() && !tail.is_empty()) {
                return Err(DurationError::Form);
            }
            if unit.is_empty() {
                return Err(DurationError::NoUnit);
            }
            if !UNITS.iter().any(|(name, _)| *name == unit) {
                return Err(DurationError::Unit(unit.to_owned()));
            }
            let Some((_, size)) = units.find(|(name, _)| *name == unit) else {
                return Err(DurationError::Order);
            };
            total = total
                .checked_add(part_ms(number, *size)?)
                .ok_or(DurationError::TooLong)?;
            rest = tail;
        }
        if total > Self::MAX.ms {
            Err(DurationError::TooLong)
        } else {
            Ok(Self { ms: total })
        }
    }
}

fn well_formed(number: &str) -> bool {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    [whole, fraction]
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

/// `number` times `size`, exactly.
fn part_ms(number: &str, size: u64) -> Result<u64, DurationError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| DurationError::TooLong)?;
    let fraction = fraction.trim_end_matches('0');
    // Nine digits are more than a millisecond needs in any unit (a day is 86,400,000 ms).
    if fraction.len() > 9 {
        return Err(DurationError::Fraction);
    }
    let mut fraction_ms: u64 = 0;
    if !fraction.is_empty() {
        let scale = 10_u64.pow(u32::try_from(fraction.len()).map_err(|_| DurationError::Fraction)?);
        let scaled = fraction
            .parse::<u64>()
            .map_err(|_| DurationError::Fraction)?
            * size;
        if !scaled.is_multiple_of(scale) {
            return Err(DurationError::Fraction);
        }
        fraction_ms = scaled / scale;
    }
    whole
        .checked_mul(size)
        .and_then(|ms| ms.checked_add(fraction_ms))
        .ok_or(DurationError::TooLong)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0ms");
        }
        let mut rest = self.ms;
        for (unit, size) in UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        let cases = [
            ("200ms", 200),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("3d", 259_200_000),
        ];
        let more = [
            ("1.5h", 5_400_000),
            ("0.001s", 1),
            ("1d2h3m4s5ms", 93_784_005),
            ("0s", 0),
        ];
        for (text, ms) in cases.into_iter().chain(more) {
            assert_eq!(text.parse(), Ok(Duration { ms }), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_with_the_reason() {
        let cases = [
            ("", DurationError::Form),
            ("fast", DurationError::Form),
            ("-1s", DurationError::Form),
            ("1 s", DurationError::Form),
            (".5s", DurationError::Form),
            ("1.s", DurationError::Form),
            ("1.2.3s", DurationError::Form),
            ("15", DurationError::NoUnit),
            ("1h30", DurationError::NoUnit),
            ("3w", DurationError::Unit("w".into())),
            ("5M", DurationError::Unit("M".into())),
            ("30m1h", DurationError::Order),
            ("1m1m", DurationError::Order),
            ("0.5ms", DurationError::Fraction),
            ("0.00000000001d", DurationError::Fraction),
            ("36501d", DurationError::TooLong),
            ("99999999999999999999999s", DurationError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Duration>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(ms in 0..=Duration::MAX.ms) {
            let duration = Duration { ms };
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn never_panics(text in "[0-9.a-z ]{0,24}") {
            let _ = text.parse::<Duration>();
        }
    }
}
