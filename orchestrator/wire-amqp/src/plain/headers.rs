//! Properties and headers, read with their types and limits.
//!
//! Clients choose the type of a number by themselves: one that fits is taken, whatever its width. A text is a text.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use saga_core::SagaId;

use super::WIRE;

/// Longest text in a header, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// What is wrong with a message in the plain form; names the property or header, and says what belongs there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Unreadable {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{name} is {found}; it must be {wanted}")]
    Mistyped {
        name: &'static str,
        found: String,
        wanted: &'static str,
    },
    #[error("{name} has {bytes} bytes, more than {TEXT_BYTES_MAX}")]
    TooLong { name: &'static str, bytes: usize },
    #[error("header saga-wire is {0}; this release speaks {WIRE}")]
    Wire(u64),
    #[error("the body is no registration: {0}")]
    Hello(String),
}

/// The headers of one message.
pub(super) struct Headers<'a>(Option<&'a FieldTable>);

impl<'a> Headers<'a> {
    /// Those of a message that speaks our version.
    pub(super) fn of(properties: &'a BasicProperties) -> Result<Self, Unreadable> {
        let headers = Self(properties.headers().as_ref());
        match headers.number("header saga-wire")? {
            Some(version) if version != u64::from(WIRE) => Err(Unreadable::Wire(version)),
            Some(_) | None => Ok(headers),
        }
    }

    fn get(&self, name: &str) -> Option<&'a AMQPValue> {
        let name = name.strip_prefix("header ").unwrap_or(name);
        self.0.and_then(|headers| headers.inner().get(name))
    }

    /// A text, whole and in bounds.
    pub(super) fn text(&self, name: &'static str) -> Result<&'a str, Unreadable> {
        let value = self.get(name).ok_or(Unreadable::Missing(name))?;
        let wanted = "a text";
        let bytes = match value {
            AMQPValue::LongString(text) => text.as_bytes(),
            AMQPValue::ShortString(text) => text.as_str().as_bytes(),
            other => {
                return Err(Unreadable::Mistyped {
                    name,
                    found: kind(other),
                    wanted,
                });
            }
        };
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(Unreadable::TooLong {
                name,
                bytes: bytes.len(),
            });
        }
        std::str::from_utf8(bytes).map_err(|_| Unreadable::Mistyped {
            name,
            found: "no UTF-8".to_owned(),
            wanted,
        })
    }

    /// A number of 32 bits that must be there.
    pub(super) fn count(&self, name: &'static str) -> Result<u32, Unreadable> {
        let number = self.number(name)?.ok_or(Unreadable::Missing(name))?;
        u32::try_from(number).map_err(|_| Unreadable::Mistyped {
            name,
            found: number.to_string(),
            wanted: "a number of 32 bits",
        })
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>, Unreadable> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = match value {
            AMQPValue::ShortShortInt(n) => i128::from(*n),
            AMQPValue::ShortShortUInt(n) => i128::from(*n),
            AMQPValue::ShortInt(n) => i128::from(*n),
            AMQPValue::ShortUInt(n) => i128::from(*n),
            AMQPValue::LongInt(n) => i128::from(*n),
            AMQPValue::LongUInt(n) => i128::from(*n),
            AMQPValue::LongLongInt(n) => i128::from(*n),
            AMQPValue::Timestamp(n) => i128::from(*n),
            other => {
                return Err(Unreadable::Mistyped {
                    name,
                    found: kind(other),
                    wanted: "a whole number",
                });
            }
        };
        let negative = |_| Unreadable::Mistyped {
            name,
            found: number.to_string(),
            wanted: "a number from zero up",
        };
        u64::try_from(number).map(Some).map_err(negative)
    }
}

/// The saga that a message is about.
pub(super) fn saga_id(properties: &BasicProperties) -> Result<SagaId, Unreadable> {
    const NAME: &str = "property correlation_id";
    let text = properties
        .correlation_id()
        .as_ref()
        .ok_or(Unreadable::Missing(NAME))?;
    text.as_str().parse().map_err(|_| Unreadable::Mistyped {
        name: NAME,
        found: format!("`{}`", text.as_str().escape_debug()),
        wanted: "the 26 letters of a saga's id",
    })
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(
    headers: &Headers<'_>,
    name: &'static str,
    table: &[(T, &str)],
    wanted: &'static str,
) -> Result<T, Unreadable> {
    let word = headers.text(name)?;
    super::named(table, word).ok_or_else(|| Unreadable::Mistyped {
        name,
        found: format!("`{}`", word.escape_debug()),
        wanted,
    })
}

fn kind(value: &AMQPValue) -> String {
    let kind = format!("{:?}", value.get_type());
    format!("of the type {kind}")
}
