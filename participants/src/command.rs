//! A command as the kit sees it: the key it is about, what is asked, and the limits it carries.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

/// The idempotency key: one step of one saga in one round, the same for every attempt.
///
/// Prints as `saga/step/round`, the form in which handlers pass it on to remote services.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepKey {
    /// The saga.
    pub saga_id: Uuid,
    /// Path of the step in the saga.
    pub step: Arc<str>,
    /// Counts from the first; a new one opens only when an operator repeats a settled step.
    pub round: u32,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.saga_id, self.step, self.round)
    }
}

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Take effect.
    Action,
    /// Undo the effect.
    Compensation,
    /// Say what became of the action.
    Query,
    /// As a query; an action that has not happened never will.
    Seal,
    /// The root saga is over: the inbox row may go.
    Forget,
}

impl Op {
    /// Every operation, in the order of the wire.
    pub const ALL: [Op; 5] = [
        Op::Action,
        Op::Compensation,
        Op::Query,
        Op::Seal,
        Op::Forget,
    ];
}

/// What the orchestrator knows of the action that a compensation undoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It took effect.
    Done,
    /// Nobody can say.
    Unknown,
}

/// One command, read from the wire.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Which step it is about.
    pub key: StepKey,
    /// What is asked.
    pub op: Op,
    /// Which sending this is; diagnostic, never part of the key.
    pub attempt: u32,
    /// Name of the action or compensation.
    pub action: String,
    /// JSON.
    pub input: Bytes,
    /// For a compensation: what the orchestrator knows of the action.
    pub known: Known,
    /// Past this moment an action without a row is not begun; unix microseconds, zero for no limit.
    pub not_after_us: i64,
    /// The row stays at least until then; unix microseconds.
    pub retain_until_us: i64,
    /// Tells another command under the same key; zero when the sender gave none.
    pub fingerprint: u64,
    /// The saga's definition, for people.
    pub definition: String,
    /// W3C trace context, empty when there is none.
    pub traceparent: String,
    /// The limit of one attempt; zero when there is none.
    pub timeout: Duration,
}
