//! The plain form, for participants without our SDK: one command a message, its payload as the body, everything else in
//! the properties and in flat headers.
//!
//! Nothing that comes in is trusted: every header has a type and a limit, and what is wrong is said by its name. The
//! contract is `docs/reference/wire-protocol.md`; `proto/vectors/messages.json` holds examples, which the tests read.
//!
//! In reading order: `headers.rs` (typed, bounded), `command.rs` (out, and back as a dead letter), `reply.rs` (in),
//! `hello.rs` (who is there).

mod command;
mod headers;
mod hello;
mod reply;
#[cfg(test)]
mod tests;

use lapin::BasicProperties;
use saga_proto::v1 as wire;

pub(super) use command::{command, parcels, properties};
pub(super) use headers::Unreadable;
pub(super) use hello::hello;
pub(super) use reply::reply;

/// The version that a message carries in `saga-wire`; one without the header speaks it, too.
const WIRE: u32 = 1;
/// Media type of the plain form.
const JSON: &str = "application/json";

/// Is the message in the plain form? One that says nothing is, if it looks like it.
pub(super) fn is_json(properties: &BasicProperties, body: &[u8]) -> bool {
    match properties.content_type() {
        // `application/json; charset=utf-8`, `application/problem+json`
        Some(media) => media.as_str().contains("json"),
        None => body.trim_ascii_start().first() == Some(&b'{'),
    }
}

const OPS: [(wire::Op, &str); 5] = [
    (wire::Op::Action, "action"),
    (wire::Op::Compensation, "compensation"),
    (wire::Op::Query, "query"),
    (wire::Op::Seal, "seal"),
    (wire::Op::Forget, "forget"),
];

const OUTCOMES: [(wire::Outcome, &str); 14] = [
    (wire::Outcome::Succeeded, "succeeded"),
    (wire::Outcome::Refused, "refused"),
    (wire::Outcome::Failed, "failed"),
    (wire::Outcome::Accepted, "accepted"),
    (wire::Outcome::Running, "running"),
    (wire::Outcome::Blocked, "blocked"),
    (wire::Outcome::Conflict, "conflict"),
    (wire::Outcome::Expired, "expired"),
    (wire::Outcome::NeedsOperator, "needs_operator"),
    (wire::Outcome::NothingToDo, "nothing_to_do"),
    (wire::Outcome::Compensated, "compensated"),
    (wire::Outcome::Absent, "absent"),
    (wire::Outcome::Done, "done"),
    (wire::Outcome::Sealed, "sealed"),
];

/// The value that a word stands for.
fn named<T: Copy>(table: &[(T, &str)], word: &str) -> Option<T> {
    table
        .iter()
        .find(|(_, name)| *name == word)
        .map(|(value, _)| *value)
}

/// The word that stands for a value; empty for one without.
fn word<T: Copy + PartialEq>(table: &[(T, &'static str)], value: T) -> &'static str {
    table
        .iter()
        .find(|(known, _)| *known == value)
        .map_or("", |(_, name)| name)
}
