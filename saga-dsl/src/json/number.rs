//! Numbers as they were written, and what of them fits 64 bits.

use std::cmp::Ordering;

/// Digits that tell every double from its neighbours. A decimal with more of them says more than a double can hold.
const DOUBLE_DIGITS: usize = 17;
/// Zeros that a number without exponent may show before or after its digits.
const ZEROS_SHOWN: i64 = 400;

/// A number of a JSON document, in its own text.
#[derive(Debug, Clone, Copy)]
pub struct Number<'a>(&'a str);

/// The exact value of a number: `0.digits × 10^exponent`. Two texts of one value have one decimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// Without zeros at either end; empty: zero.
    digits: String,
    exponent: i64,
}

/// What a number of a document is to expressions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reduced {
    /// Written as a whole number, and an int.
    Whole(i64),
    /// Written with a point or an exponent, and a double.
    Double(f64),
    /// Anything else: a whole number beyond every int, or a decimal that a double would round.
    Beyond,
}

impl<'a> Number<'a> {
    /// Of a text that is known to be a JSON number.
    pub(super) fn of_valid(text: &'a str) -> Self {
        Self(text)
    }

    /// The text as it was written.
    #[must_use]
    pub fn written(self) -> &'a str {
        self.0
    }

    /// Whether it is written as a whole number: digits alone, perhaps with a minus.
    #[must_use]
    pub fn is_whole(self) -> bool {
        !self
            .0
            .bytes()
            .any(|byte| matches!(byte, b'.' | b'e' | b'E'))
    }

    /// A whole number of 64 bits with sign whose text is exactly this one (`-0` is not).
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        if self.0 == "-0" {
            None
        } else {
            self.0.parse().ok()
        }
    }

    /// A whole number of 64 bits without sign.
    #[must_use]
    pub fn as_u64(self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// Whether it is a whole number of 64 bits, with or without sign.
    #[must_use]
    pub fn fits_int(self) -> bool {
        self.is_whole() && (self.0.parse::<i64>().is_ok() || self.0.parse::<u64>().is_ok())
    }

    /// The double that stands for it; `None`: no double does, because it has more than 17 significant digits or lies
    /// too near to zero.
    #[must_use]
    pub fn as_double(self) -> Option<f64> {
        let double = self.rounded();
        let decimal = self.decimal();
        let fits = decimal.digits.len() <= DOUBLE_DIGITS
            && double.is_finite()
            && (double != 0.0 || decimal.digits.is_empty());
        fits.then_some(double)
    }

    /// The nearest double, whatever is lost.
    #[must_use]
    pub fn rounded(self) -> f64 {
        // The grammar of JSON's numbers is part of the one that Rust reads.
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// Its exact value.
    #[must_use]
    pub fn decimal(self) -> Decimal {
        Decimal::read(self.0)
    }

    /// The int or the double that it is, by the way it is written.
    #[must_use]
    pub fn reduced(self) -> Reduced {
        if self.is_whole() {
            return self.0.parse().map_or(Reduced::Beyond, Reduced::Whole);
        }
        self.as_double().map_or(Reduced::Beyond, Reduced::Double)
    }

    /// How it reads inside a text: the same for every way of writing the same number.
    #[must_use]
    pub fn in_text(self) -> String {
        match self.as_double() {
            Some(double) if !self.is_whole() => double.to_string(),
            Some(_) | None => self.decimal().to_string(),
        }
    }
}

impl Decimal {
    /// The value of a number in the grammar of JSON, or of Rust.
    pub(crate) fn read(text: &str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_start_matches('0');
        let zeros = all.len() - digits.len();
        let digits = digits.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Self {
                negative: false,
                digits,
                exponent: 0,
            };
        }
        let point = i64::try_from(whole.len()).unwrap_or(i64::MAX)
            - i64::try_from(zeros).unwrap_or(i64::MAX);
        // No document is long enough to bring an exponent of more digits back into range.
        let edge = if exponent.starts_with('-') {
            i64::MIN
        } else {
            i64::MAX
        };
        let exponent = exponent.parse().unwrap_or(edge).saturating_add(point);
        Self {
            negative,
            digits,
            exponent,
        }
    }

    /// The value that a double prints as.
    #[must_use]
    pub fn of_double(double: f64) -> Option<Self> {
        double
            .is_finite()
            .then(|| Self::read(&format!("{double:e}")))
    }

    /// The value of an int.
    #[must_use]
    pub fn of_int(int: i64) -> Self {
        Self::read(&int.to_string())
    }
}

impl Decimal {
    /// Sign, digits and exponent: one text for one value.
    #[must_use]
    pub fn exact(&self) -> String {
        let Self {
            negative,
            digits,
            exponent,
        } = self;
        format!("{}{digits}e{exponent}", if *negative { "-" } else { "" })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |of: &Self| {
            if of.digits.is_empty() {
                0
            } else {
                1 - 2 * i8::from(of.negative)
            }
        };
        sign(self).cmp(&sign(other)).then_with(|| {
            let size = self
                .exponent
                .cmp(&other.exponent)
                .then_with(|| self.digits.cmp(&other.digits));
            if self.negative { size.reverse() } else { size }
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        let count = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        match self.exponent {
            _ if self.digits.is_empty() => f.write_str("0"),
            point if !(-ZEROS_SHOWN..=ZEROS_SHOWN).contains(&point) => {
                let (first, rest) = self.digits.split_at(1);
                let dot = if rest.is_empty() { "" } else { "." };
                write!(f, "{first}{dot}{rest}e{}", point.saturating_sub(1))
            }
            point if point <= 0 => {
                let zeros = usize::try_from(-point).unwrap_or(0);
                write!(f, "0.{}{}", "0".repeat(zeros), self.digits)
            }
            point if point >= count => {
                let zeros = usize::try_from(point - count).unwrap_or(0);
                write!(f, "{}{}", self.digits, "0".repeat(zeros))
            }
            point => {
                let (whole, fraction) = self.digits.split_at(usize::try_from(point).unwrap_or(0));
                write!(f, "{whole}.{fraction}")
            }
        }
    }
}
