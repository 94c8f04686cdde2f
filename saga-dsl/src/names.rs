//! The names a file may use: ids of sagas and steps, and `participant/action`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::definition::ActionName;

/// Longest id, in characters.
pub const ID_CHARS_MAX: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name cannot be empty")]
    Empty,
    /// More than [`ID_CHARS_MAX`] characters.
    #[error("names have at most {ID_CHARS_MAX} characters")]
    TooLong,
    /// A hyphen: it would be a minus in expressions.
    #[error("names have no hyphen, which is a minus in expressions: use `_`")]
    Hyphen,
    /// Anything else.
    #[error("names are written with a-z, 0-9 and _, and begin with a letter")]
    Form,
    /// An action's name without exactly one slash.
    #[error("an action is written participant/action")]
    NotAnAction,
}

/// Whether a text is an id: `[a-z][a-z0-9_]*`, at most 63 characters.
///
/// # Errors
/// The rule that it breaks.
pub fn check_id(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.chars().count() > ID_CHARS_MAX {
        return Err(NameError::TooLong);
    }
    if text.contains('-') {
        return Err(NameError::Hyphen);
    }
    let letters = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if letters && text.starts_with(|c: char| c.is_ascii_lowercase()) {
        Ok(())
    } else {
        Err(NameError::Form)
    }
}

impl FromStr for ActionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (participant, action) = text.split_once('/').ok_or(NameError::NotAnAction)?;
        if action.contains('/') {
            return Err(NameError::NotAnAction);
        }
        check_id(participant)?;
        check_id(action)?;
        Ok(Self {
            participant: participant.to_owned(),
            action: action.to_owned(),
        })
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.participant, self.action)
    }
}

impl Serialize for ActionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ActionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert_eq!(check_id("reserve_flight2"), Ok(()));
        assert_eq!(check_id(&"a".repeat(63)), Ok(()));
        assert_eq!(check_id(&"a".repeat(64)), Err(NameError::TooLong));
        assert_eq!(check_id(""), Err(NameError::Empty));
        assert_eq!(check_id("reserve-flight"), Err(NameError::Hyphen));
        for bad in ["Reserve", "2nd", "_a", "a b", "ü", "a.b"] {
            assert_eq!(check_id(bad), Err(NameError::Form), "{bad}");
        }
    }

    #[test]
    fn actions() {
        let name: ActionName = "flights/reserve".parse().expect("a good name");
        assert_eq!(name.to_string(), "flights/reserve");
        for bad in ["flights", "a/b/c", "/a", "a/", "A/b"] {
            assert!(bad.parse::<ActionName>().is_err(), "{bad}");
        }
    }
}
