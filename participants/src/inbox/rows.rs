//! Rows of an inbox that is a table: what the barrier sees of one, what changes when it settles, what is told from it.

use bytes::Bytes;

use super::{
    Ask, answer,
    barrier::{RowState, Say},
};
use crate::{
    command::Op,
    reply::{Answer, Fault},
};

/// A row as the barrier wants to see it.
pub(super) struct Row {
    pub(super) state: RowState,
    pub(super) fingerprint: u64,
    pub(super) attempt: u32,
    pub(super) output: Bytes,
    pub(super) fault: Option<Fault>,
}

/// The part of a row that changes when it settles.
pub(super) struct Stored {
    pub(super) state: &'static str,
    pub(super) fingerprint: u64,
    pub(super) output: Option<Bytes>,
    pub(super) fault: Option<Fault>,
}

impl Stored {
    pub(super) fn new(state: &'static str, fingerprint: u64) -> Self {
        Self {
            state,
            fingerprint,
            output: None,
            fault: None,
        }
    }
}

/// What is answered from a row without running a handler, and whether the row must take note of the newer attempt: work
/// that goes on outside of handlers answers the attempt that was asked last.
pub(super) fn told(say: Say, ask: &Ask, row: Option<Row>) -> (Answer, bool) {
    let (output, fault, newer) = match row {
        Some(row) => {
            let newer = row.state == RowState::Running && row.attempt < ask.attempt;
            (row.output, row.fault, newer && ask.op == Op::Action)
        }
        None => (Bytes::new(), None, false),
    };
    let answer = answer(say, ask, output, fault);
    let newer = newer && answer != Answer::Conflict;
    (answer, newer)
}
