//! Rows of an inbox that is a table: what the barrier sees of one, what changes when it settles, what is told from it.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Ask, Claim, Completed, End, Entry, answer,
    barrier::{Facts, RowState, Say},
    claims::{Claims, lease},
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
    /// Of accepted work; zero: of an earlier release.
    pub(super) claim: i64,
    /// No sign of life has come in time.
    pub(super) lapsed: bool,
    pub(super) output: Bytes,
    pub(super) fault: Option<Fault>,
}

/// The part of a row that changes when it settles.
pub(super) struct Stored {
    pub(super) state: &'static str,
    pub(super) fingerprint: u64,
    pub(super) output: Option<Bytes>,
    pub(super) fault: Option<Fault>,
    /// Of accepted work: the number of its claim, and its lease.
    pub(super) claim: Option<(i64, Duration)>,
}

impl Row {
    /// Is it the row of accepted work whose worker is gone, and may the command say so?
    fn is_left(&self, ask: &Ask, claims: &Claims) -> bool {
        self.state == RowState::Running
            && ask.may_find_left(self.attempt)
            && claims.is_left(self.claim, self.lapsed)
    }
}

/// What the barrier needs to know of a command and the row that it meets.
pub(super) fn facts(ask: &Ask, row: Option<&Row>, claims: &Claims) -> Facts {
    Facts {
        left: row.is_some_and(|row| row.is_left(ask, claims)),
        ..ask.facts(row.map(|row| row.fingerprint))
    }
}

/// Which handler is to be run, with the output that the action stored.
pub(super) enum Run {
    Act,
    Resume,
    Undo(Option<Bytes>),
}

impl Run {
    pub(super) fn entry<U>(self, unit: U) -> Entry<U> {
        let (output, resumed) = match self {
            Self::Act => (None, false),
            Self::Resume => (None, true),
            Self::Undo(output) => (output, false),
        };
        Entry::Run {
            unit,
            output,
            resumed,
        }
    }
}

/// How accepted work ends in its row.
pub(super) enum Ending {
    Store(Stored),
    Delete,
}

/// Whether the end of accepted work is taken, and how.
pub(super) fn ending(
    row: Option<&Row>,
    claim: Option<&Claim>,
    end: End,
) -> Result<Ending, Completed> {
    let Some(row) = row.filter(|row| row.state == RowState::Running) else {
        return Err(Completed::NotRunning);
    };
    if claim.is_some_and(|claim| claim.number() != row.claim) {
        return Err(Completed::HandedOver);
    }
    match end {
        End::Done(output) => Ok(Ending::Store(Stored {
            output: Some(output),
            ..Stored::new("done", row.fingerprint)
        })),
        End::Refused(fault) => Ok(Ending::Store(Stored {
            fault: Some(fault),
            ..Stored::new("refused", row.fingerprint)
        })),
        End::RolledBack => Ok(Ending::Delete),
        End::Accepted(_) | End::Compensated => Err(Completed::NotRunning),
    }
}

impl Stored {
    pub(super) fn new(state: &'static str, fingerprint: u64) -> Self {
        Self {
            state,
            fingerprint,
            output: None,
            fault: None,
            claim: None,
        }
    }

    /// Accepted work, which this process holds from here on.
    pub(super) fn accepted(ask: &Ask, claim: &Claim, claims: &Claims) -> Self {
        let lease = lease(ask.timeout);
        Self {
            claim: Some((claims.hold(claim, lease), lease)),
            ..Self::new("running", ask.fingerprint)
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
