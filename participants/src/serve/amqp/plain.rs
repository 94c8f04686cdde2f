//! Commands in the plain form, which come while an instance without this kit serves beside us: one a message, the payload
//! as the body, the rest in properties and headers. They are answered like all others.
//!
//! The contract is `docs/reference/wire-protocol.md`; `proto/vectors/messages.json` holds examples, which the tests read.

use bytes::Bytes;
use lapin::{BasicProperties, types::AMQPValue};
use saga_proto::v1;

/// The only version of the wire there is.
const WIRE: i128 = 1;
/// Letters of a saga's id.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A command that cannot be read, so that nobody could be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("property correlation_id is not the 26 letters of a saga's id")]
    Saga,
    #[error("property type, the action's name, is missing")]
    Action,
    #[error("header {name} is missing or not {wanted}")]
    Header {
        name: &'static str,
        wanted: &'static str,
    },
    #[error("header saga-wire is {0}; this version speaks 1")]
    Wire(i128),
}

/// Reads a command from a message.
pub(super) fn command(
    properties: &BasicProperties,
    body: Vec<u8>,
) -> Result<v1::Command, Unreadable> {
    let headers = Headers(properties);
    match headers.number("saga-wire", "a number")? {
        None | Some(WIRE) => {}
        Some(other) => return Err(Unreadable::Wire(other)),
    }
    let saga = properties
        .correlation_id()
        .as_ref()
        .and_then(|id| saga_id(id.as_str()));
    let op = match headers.text("saga-op", "an operation")? {
        "action" => v1::Op::Action,
        "compensation" => v1::Op::Compensation,
        "query" => v1::Op::Query,
        "seal" => v1::Op::Seal,
        "forget" => v1::Op::Forget,
        _ => {
            return Err(Unreadable::Header {
                name: "saga-op",
                wanted: "an operation",
            });
        }
    };
    let known = match headers.optional_text("saga-known")? {
        Some("done") => v1::Known::Done,
        Some(_) | None => v1::Known::Unknown,
    };
    Ok(v1::Command {
        saga_id: Bytes::copy_from_slice(&saga.ok_or(Unreadable::Saga)?.to_be_bytes()),
        step: headers.text("saga-step", "a text")?.to_owned(),
        round: headers.required("saga-round")?,
        op: op.into(),
        attempt: headers.required("saga-attempt")?,
        action: properties
            .kind()
            .as_ref()
            .ok_or(Unreadable::Action)?
            .to_string(),
        input: body.into(),
        known: known.into(),
        not_after_us: headers.moment("saga-not-after")?,
        retain_until_us: headers.moment("saga-retain-until")?,
        fingerprint: headers.fingerprint()?,
        definition: headers
            .optional_text("saga-definition")?
            .unwrap_or_default()
            .to_owned(),
        traceparent: headers
            .optional_text("traceparent")?
            .unwrap_or_default()
            .to_owned(),
        tracestate: headers
            .optional_text("tracestate")?
            .unwrap_or_default()
            .to_owned(),
        timeout_ms: u64::try_from(headers.moment("saga-timeout-ms")?).unwrap_or(0),
    })
}

/// The headers of one message.
struct Headers<'a>(&'a BasicProperties);

impl<'a> Headers<'a> {
    fn get(&self, name: &str) -> Option<&'a AMQPValue> {
        self.0
            .headers()
            .as_ref()
            .and_then(|headers| headers.inner().get(name))
    }

    fn optional_text(&self, name: &'static str) -> Result<Option<&'a str>, Unreadable> {
        let wanted = "a text";
        match self.get(name) {
            None => Ok(None),
            Some(AMQPValue::LongString(text)) => std::str::from_utf8(text.as_bytes())
                .map(Some)
                .map_err(|_| Unreadable::Header { name, wanted }),
            Some(AMQPValue::ShortString(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Unreadable::Header { name, wanted }),
        }
    }

    fn text(&self, name: &'static str, wanted: &'static str) -> Result<&'a str, Unreadable> {
        self.optional_text(name)?
            .ok_or(Unreadable::Header { name, wanted })
    }

    fn number(&self, name: &'static str, wanted: &'static str) -> Result<Option<i128>, Unreadable> {
        Ok(Some(match self.get(name) {
            None => return Ok(None),
            Some(AMQPValue::ShortShortInt(n)) => i128::from(*n),
            Some(AMQPValue::ShortShortUInt(n)) => i128::from(*n),
            Some(AMQPValue::ShortInt(n)) => i128::from(*n),
            Some(AMQPValue::ShortUInt(n)) => i128::from(*n),
            Some(AMQPValue::LongInt(n)) => i128::from(*n),
            Some(AMQPValue::LongUInt(n)) => i128::from(*n),
            Some(AMQPValue::LongLongInt(n)) => i128::from(*n),
            Some(_) => return Err(Unreadable::Header { name, wanted }),
        }))
    }

    fn required(&self, name: &'static str) -> Result<u32, Unreadable> {
        let wanted = "a number of 32 bits";
        let number = self
            .number(name, wanted)?
            .ok_or(Unreadable::Header { name, wanted })?;
        u32::try_from(number).map_err(|_| Unreadable::Header { name, wanted })
    }

    /// Zero where there is none.
    fn moment(&self, name: &'static str) -> Result<i64, Unreadable> {
        let wanted = "a number of 64 bits";
        let number = self.number(name, wanted)?.unwrap_or(0);
        i64::try_from(number).map_err(|_| Unreadable::Header { name, wanted })
    }

    /// Zero where there is none.
    fn fingerprint(&self) -> Result<u64, Unreadable> {
        let name = "saga-fingerprint";
        let Some(text) = self.optional_text(name)? else {
            return Ok(0);
        };
        u64::from_str_radix(text, 16).map_err(|_| Unreadable::Header {
            name,
            wanted: "a hexadecimal number",
        })
    }
}

fn saga_id(text: &str) -> Option<u128> {
    if text.len() != 26 {
        return None;
    }
    text.bytes().try_fold(0_u128, |id, letter| {
        let value = CROCKFORD
            .iter()
            .position(|&known| known == letter.to_ascii_uppercase())?;
        id.checked_mul(32)?.checked_add(u128::try_from(value).ok()?)
    })
}

#[cfg(test)]
mod tests;
