//! How much a participant may be asked: the settings under `participants`, their texts, and their defaults.
//!
//! They come from saga files and from the server's own file, and one participant has one set of them: [`Limits::among`]
//! says which holds when several speak.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::definition::Duration;

/// Share of failed calls that opens a breaker where nothing is said, in percent.
pub const FAILURE_PERCENT: u8 = 50;
/// Span of time that a breaker looks back over where nothing is said, in milliseconds.
pub const WINDOW_MS: u64 = 30_000;
/// Calls in the window below which no breaker opens where nothing is said.
pub const MIN_CALLS: u32 = 20;
/// Time that a breaker stays open before it probes where nothing is said, in milliseconds.
pub const OPEN_FOR_MS: u64 = 15_000;
/// Probes in a row that must succeed where nothing is said.
pub const HALF_OPEN_CALLS: u32 = 3;

/// What was written of a participant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Participant {
    /// Commands that may be outstanding there at once, of all sagas together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Commands that may be sent there in a span of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// When to stop asking for a while; each of its actions has a breaker of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
}

/// When a breaker opens, and how it closes again, as far as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreaker {
    /// It opens when this share of the calls in the window failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<Percent>,
    /// It looks back over this span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
    /// And not before there were so many calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_calls: Option<u32>,
    /// It stays open for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_for: Option<Duration>,
    /// Probes in a row that must succeed before it closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_open_calls: Option<u32>,
}

/// A share from 1% to 100%.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u8);

/// Commands in a span of time: `50/s`, `600/m`, `1000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// So many, from 1 to [`RateLimit::COUNT_MAX`].
    pub count: u32,
    /// In this span.
    pub per: Per,
}

/// The span of a [`RateLimit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// `/s`
    Second,
    /// `/m`
    Minute,
    /// `/h`
    Hour,
}

/// Why a text is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a share is a whole number of percent from 1% to 100%, as in 50%")]
pub struct PercentError;

/// Why a text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Not of the form at all.
    #[error("a rate is a whole number in a second, minute or hour, as in 50/s, 600/m or 1000/h")]
    Form,
    /// Nothing would ever be sent, or more than can be counted.
    #[error("a rate is from 1 to {max} commands", max = RateLimit::COUNT_MAX)]
    Count,
}

impl FromStr for Percent {
    type Err = PercentError;

    fn from_str(text: &str) -> Result<Self, PercentError> {
        let number = text
            .strip_suffix('%')
            .filter(|number| is_number(number))
            .ok_or(PercentError)?;
        let percent = number.parse().map_err(|_| PercentError)?;
        if (1..=100).contains(&percent) {
            Ok(Self(percent))
        } else {
            Err(PercentError)
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl RateLimit {
    /// No participant takes more in any of the spans.
    pub const COUNT_MAX: u32 = 1_000_000;

    /// Microseconds from one command to the next when they are evenly spread; at least 1.
    #[must_use]
    pub fn interval_us(self) -> u64 {
        (self.per.us() / u64::from(self.count.max(1))).max(1)
    }
}

impl Per {
    /// Its length in microseconds.
    #[must_use]
    pub const fn us(self) -> u64 {
        match self {
            Self::Second => 1_000_000,
            Self::Minute => 60 * 1_000_000,
            Self::Hour => 3_600 * 1_000_000,
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Second => 's',
            Self::Minute => 'm',
            Self::Hour => 'h',
        }
    }
}

impl FromStr for RateLimit {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (number, unit) = text.split_once('/').ok_or(RateError::Form)?;
        let per = match unit {
            "s" => Per::Second,
            "m" => Per::Minute,
            "h" => Per::Hour,
            _ => return Err(RateError::Form),
        };
        if !is_number(number) {
            return Err(RateError::Form);
        }
        let count = number.parse().map_err(|_| RateError::Count)?;
        if (1..=Self::COUNT_MAX).contains(&count) {
            Ok(Self { count, per })
        } else {
            Err(RateError::Count)
        }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.letter())
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

macro_rules! as_text {
    ($($ty:ty),+) => {$(
        impl Serialize for $ty {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}
as_text!(Percent, RateLimit);

/// What holds for a participant, with every default resolved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Commands that may be outstanding at once.
    pub max_in_flight: Option<u32>,
    /// Commands in a span of time.
    pub rate_limit: Option<RateLimit>,
    /// For each of its actions.
    pub breaker: Option<BreakerPolicy>,
}

/// When a breaker opens, and how it closes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Share of failed calls in percent.
    pub failure_percent: u8,
    /// In milliseconds.
    pub window_ms: u64,
    /// At least 1.
    pub min_calls: u32,
    /// In milliseconds.
    pub open_for_ms: u64,
    /// At least 1.
    pub half_open_calls: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self::from(&CircuitBreaker::default())
    }
}

impl From<&CircuitBreaker> for BreakerPolicy {
    fn from(written: &CircuitBreaker) -> Self {
        Self {
            failure_percent: written
                .failure_rate
                .map_or(FAILURE_PERCENT, |share| share.0),
            window_ms: written.window.map_or(WINDOW_MS, |window| window.ms),
            min_calls: written.min_calls.unwrap_or(MIN_CALLS),
            open_for_ms: written.open_for.map_or(OPEN_FOR_MS, |open| open.ms),
            half_open_calls: written.half_open_calls.unwrap_or(HALF_OPEN_CALLS),
        }
    }
}

impl From<&Participant> for Limits {
    fn from(written: &Participant) -> Self {
        Self {
            max_in_flight: written.max_in_flight,
            rate_limit: written.rate_limit,
            breaker: written.circuit_breaker.as_ref().map(BreakerPolicy::from),
        }
    }
}

impl Limits {
    /// Nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What holds when definitions disagree: of each setting the one that asks less of the participant, whatever the
    /// order they come in. Of two breakers that is the one that opens first: at the lower share, then after fewer
    /// calls, then over the longer window; then the one that stays open longer.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        let sooner = |policy: &BreakerPolicy| {
            let BreakerPolicy {
                failure_percent,
                window_ms,
                min_calls,
                open_for_ms,
                half_open_calls,
            } = *policy;
            let longer = std::cmp::Reverse::<u64>;
            let probes = longer(half_open_calls.into());
            (
                failure_percent,
                min_calls,
                longer(window_ms),
                longer(open_for_ms),
                probes,
            )
        };
        let all = |one: Option<u32>, two: Option<u32>| one.into_iter().chain(two).min();
        Self {
            max_in_flight: all(self.max_in_flight, other.max_in_flight),
            rate_limit: self
                .rate_limit
                .into_iter()
                .chain(other.rate_limit)
                .max_by_key(|r| r.interval_us()),
            breaker: self
                .breaker
                .into_iter()
                .chain(other.breaker)
                .min_by_key(sooner),
        }
    }

    /// These settings, and `other`'s where they say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            max_in_flight: self.max_in_flight.or(other.max_in_flight),
            rate_limit: self.rate_limit.or(other.rate_limit),
            breaker: self.breaker.or(other.breaker),
        }
    }

    /// One set for each participant: what the server's own file says wins, setting by setting; where it is silent, the
    /// strictest of what the definitions say.
    #[must_use]
    pub fn among<'a>(
        server: &BTreeMap<String, Participant>,
        definitions: impl Iterator<Item = &'a BTreeMap<String, Participant>>,
    ) -> BTreeMap<String, Self> {
        let mut all: BTreeMap<String, Self> = BTreeMap::new();
        for (name, written) in definitions.flatten() {
            let limits = Self::from(written);
            let known = all.entry(name.clone()).or_insert(limits);
            *known = known.stricter(limits);
        }
        for (name, written) in server {
            let known = all.entry(name.clone()).or_default();
            *known = Self::from(written).or(*known);
        }
        all.retain(|_, limits| !limits.is_empty());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_printed() {
        for text in ["1/s", "50/s", "600/m", "1000000/h"] {
            assert_eq!(
                text.parse::<RateLimit>().map(|rate| rate.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "", "50", "50/", "/s", "50/d", "5.5/s", "-1/s", "+1/s", "05/s", "50 /s",
        ] {
            assert_eq!(text.parse::<RateLimit>(), Err(RateError::Form), "{text}");
        }
        for text in ["0/s", "1000001/s", "99999999999/s"] {
            assert_eq!(text.parse::<RateLimit>(), Err(RateError::Count), "{text}");
        }
        assert_eq!("100%".parse(), Ok(Percent(100)));
        for text in ["", "%", "50", "0%", "101%", "05%", "1.5%", "-1%", "256%"] {
            assert_eq!(text.parse::<Percent>(), Err(PercentError), "{text}");
        }
        assert_eq!(
            "3/m".parse::<RateLimit>().map(RateLimit::interval_us),
            Ok(20_000_000)
        );
    }

    fn written(json: &str) -> BTreeMap<String, Participant> {
        serde_json::from_str(json).expect("settings")
    }

    #[test]
    fn of_two_definitions_the_stricter_holds_and_the_server_wins_over_both() {
        let one =
            written(r#"{"p": {"max_in_flight": 10, "rate_limit": "60/m", "circuit_breaker": {}}}"#);
        let two = written(
            r#"{"p": {"max_in_flight": 20, "rate_limit": "2/s", "circuit_breaker": {"min_calls": 5}}, "q": {"max_in_flight": 1}}"#,
        );
        let both = Limits::among(&BTreeMap::new(), [&one, &two].into_iter());
        assert_eq!(
            both,
            Limits::among(&BTreeMap::new(), [&two, &one].into_iter())
        );
        let p = both["p"];
        assert_eq!(
            (p.max_in_flight, p.rate_limit),
            (Some(10), "60/m".parse().ok())
        );
        assert_eq!(p.breaker.map(|policy| policy.min_calls), Some(5));
        let server = written(r#"{"p": {"max_in_flight": 99}, "r": {}}"#);
        let all = Limits::among(&server, [&one, &two].into_iter());
        assert_eq!(
            (all["p"].max_in_flight, all["p"].rate_limit),
            (Some(99), p.rate_limit)
        );
        assert_eq!(all.keys().collect::<Vec<_>>(), ["p", "q"]);
    }
}
