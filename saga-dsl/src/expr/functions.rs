//! Functions and methods: their names, and what they do.

use jiff::Timestamp;

use super::{
    Budget, EvalError,
    arithmetic::to_double,
    time,
    value::{Text, Val},
};
use crate::json::Reduced;

/// A function other than the macros, `has` and `matches`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    ToText,
    ToInt,
    ToDouble,
    ToBool,
    ToBytes,
    ToDuration,
    ToTimestamp,
}

impl Function {
    pub const ALL: [Self; 11] = [
        Self::Size,
        Self::StartsWith,
        Self::EndsWith,
        Self::Contains,
        Self::ToText,
        Self::ToInt,
        Self::ToDouble,
        Self::ToBool,
        Self::ToBytes,
        Self::ToDuration,
        Self::ToTimestamp,
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|function| function.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Contains => "contains",
            Self::ToText => "string",
            Self::ToInt => "int",
            Self::ToDouble => "double",
            Self::ToBool => "bool",
            Self::ToBytes => "bytes",
            Self::ToDuration => "duration",
            Self::ToTimestamp => "timestamp",
        }
    }

    /// Whether it stands after its first value: `text.contains('a')`.
    pub fn is_method(self) -> bool {
        matches!(
            self,
            Self::Size | Self::StartsWith | Self::EndsWith | Self::Contains
        )
    }

    /// Whether it stands before its values: `size(list)`.
    pub fn is_global(self) -> bool {
        !matches!(self, Self::StartsWith | Self::EndsWith | Self::Contains)
    }

    /// How many values it takes, a method's target included.
    pub fn arguments(self) -> usize {
        if matches!(self, Self::StartsWith | Self::EndsWith | Self::Contains) {
            2
        } else {
            1
        }
    }

    /// Of one value.
    pub fn of_one<'a>(self, value: Val<'a>, budget: &mut Budget) -> Result<Val<'a>, EvalError> {
        match self {
            Self::Size => self.size(&value, budget),
            Self::ToText => self.to_text(value, budget),
            Self::ToInt => self.to_int(&value),
            Self::ToDouble => self.to_double(&value),
            Self::ToBool => match &value {
                Val::Bool(_) => Ok(value),
                Val::Text(text) => match text.as_str() {
                    "true" | "True" | "TRUE" | "t" | "1" => Ok(Val::Bool(true)),
                    "false" | "False" | "FALSE" | "f" | "0" => Ok(Val::Bool(false)),
                    _ => Err(self.not_understood(text)),
                },
                other => Err(self.wrong(other)),
            },
            Self::ToBytes => match &value {
                Val::Bytes(_) => Ok(value),
                Val::Text(text) => {
                    budget.build(text.as_str().len())?;
                    Ok(Val::Bytes(text.as_str().as_bytes().into()))
                }
                other => Err(self.wrong(other)),
            },
            Self::ToDuration => match &value {
                Val::Duration(_) => Ok(value),
                Val::Text(text) => time::parse_duration(text.as_str())
                    .map(Val::Duration)
                    .ok_or_else(|| self.not_understood(text)),
                other => Err(self.wrong(other)),
            },
            Self::ToTimestamp => self.to_timestamp(value),
            Self::StartsWith | Self::EndsWith | Self::Contains => Err(self.wrong(&value)),
        }
    }

    /// Of two values.
    pub fn of_two<'a>(
        self,
        a: &Val<'a>,
        b: &Val<'a>,
        budget: &mut Budget,
    ) -> Result<Val<'a>, EvalError> {
        let (Val::Text(text), Val::Text(part)) = (a, b) else {
            let (a, b) = (a.kind(), b.kind());
            return Err(EvalError::Type(format!(
                "`{}` takes two strings, got {a} and {b}",
                self.name()
            )));
        };
        let (text, part) = (text.as_str(), part.as_str());
        budget.scan(text.len() + part.len())?;
        Ok(Val::Bool(match self {
            Self::StartsWith => text.starts_with(part),
            Self::EndsWith => text.ends_with(part),
            _ => text.contains(part),
        }))
    }

    fn size<'a>(self, value: &Val<'a>, budget: &mut Budget) -> Result<Val<'a>, EvalError> {
        let size = match value {
            Val::Text(text) => {
                budget.scan(text.as_str().len())?;
                text.as_str().chars().count()
            }
            Val::Bytes(bytes) => bytes.len(),
            Val::List(items) => items.len(),
            Val::Map(fields) => fields.len(),
            other => return Err(self.wrong(other)),
        };
        Ok(Val::Int(i64::try_from(size).unwrap_or(i64::MAX)))
    }

    fn to_text<'a>(self, value: Val<'a>, budget: &mut Budget) -> Result<Val<'a>, EvalError> {
        match value {
            Val::Text(_) => Ok(value),
            Val::Bool(value) => Val::text(value.to_string(), budget),
            Val::Int(value) | Val::Whole(value) => Val::text(value.to_string(), budget),
            Val::Double(value) => Val::text(value.to_string(), budget),
            Val::Written(number) => Val::text(number.in_text(), budget),
            Val::Timestamp(time) => Val::text(time.to_string(), budget),
            Val::Duration(duration) => Val::text(time::duration_text(duration), budget),
            Val::Bytes(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => Val::text(text, budget),
                Err(_) => Err(EvalError::Convert(
                    "`string` got bytes that are not UTF-8".to_owned(),
                )),
            },
            other @ (Val::Null | Val::List(_) | Val::Map(_)) => Err(self.wrong(&other)),
        }
    }

    fn to_int<'a>(self, value: &Val<'a>) -> Result<Val<'a>, EvalError> {
        match value {
            Val::Int(value) | Val::Whole(value) => Ok(Val::Int(*value)),
            Val::Written(number) => match number.reduced() {
                Reduced::Whole(value) => Ok(Val::Int(value)),
                Reduced::Double(value) => self.to_int(&Val::Double(value)),
                Reduced::Beyond => Err(EvalError::Range(format!(
                    "`int` got {}, which is out of range or has more digits than a double holds",
                    number.written()
                ))),
            },
            Val::Double(value) => {
                const BOUND: f64 = 9_223_372_036_854_775_808.0;
                if !(value.trunc() >= -BOUND && value.trunc() < BOUND) {
                    return Err(EvalError::Range(format!(
                        "`int` got {value}, which is out of range"
                    )));
                }
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "cutting the fraction is what int(…) means"
                )]
                let whole = *value as i64;
                Ok(Val::Int(whole))
            }
            Val::Text(text) => text
                .as_str()
                .parse()
                .map(Val::Int)
                .map_err(|_| self.not_understood(text)),
            Val::Timestamp(time) => Ok(Val::Int(time.as_second())),
            other => Err(self.wrong(other)),
        }
    }

    fn to_double<'a>(self, value: &Val<'a>) -> Result<Val<'a>, EvalError> {
        match value {
            Val::Int(value) | Val::Whole(value) => Ok(Val::Double(to_double(*value))),
            Val::Double(value) => Ok(Val::Double(*value)),
            Val::Written(number) => Ok(Val::Double(number.rounded())),
            Val::Text(text) => text
                .as_str()
                .parse()
                .map(Val::Double)
                .map_err(|_| self.not_understood(text)),
            other => Err(self.wrong(other)),
        }
    }

    fn to_timestamp(self, value: Val<'_>) -> Result<Val<'_>, EvalError> {
        match &value {
            Val::Timestamp(_) => Ok(value),
            Val::Text(text) => time::parse_timestamp(text.as_str())
                .map(Val::Timestamp)
                .ok_or_else(|| self.not_understood(text)),
            Val::Int(seconds) | Val::Whole(seconds) => Timestamp::from_second(*seconds)
                .ok()
                .filter(|time| time::is_in_range(*time))
                .map(Val::Timestamp)
                .ok_or_else(|| {
                    EvalError::Range(format!(
                        "`timestamp` got {seconds} s, which is out of range"
                    ))
                }),
            other => Err(self.wrong(other)),
        }
    }

    fn wrong(self, value: &Val<'_>) -> EvalError {
        EvalError::Type(format!(
            "`{}` does not work on {}",
            self.name(),
            value.kind()
        ))
    }

    fn not_understood(self, text: &Text<'_>) -> EvalError {
        const SHOWN: usize = 40;
        let shown: String = text.as_str().chars().take(SHOWN).collect();
        EvalError::Convert(format!(
            "`{}` does not understand '{}'",
            self.name(),
            shown.escape_debug()
        ))
    }
}
