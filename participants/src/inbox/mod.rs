//! The inbox: seen before? too late? then the same answer.
//!
//! One row per [`StepKey`] stands between the wire and the handlers. `barrier` says what an
//! operation that meets a row leads to; each inbox carries that out under its own exclusion: PostgreSQL and SQLite
//! inside the transaction that the handler writes through, memory under a lock.

pub mod barrier;
mod claims;
mod memory;
mod postgres;
#[cfg(test)]
mod race;
mod rows;
mod sqlite;

use std::{
    fmt,
    future::Future,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

pub use claims::Claim;
pub use memory::{Memory, MemoryInbox};
pub use postgres::{PgInbox, PgUnit, Postgres};
pub(crate) use sqlite::Lent;
pub use sqlite::{Sqlite, SqliteInbox, SqliteUnit};

pub use crate::command::Ask;
use crate::{
    command::{Op, StepKey},
    reply::{Answer, Fault, with_causes},
};
use barrier::{Facts, Say};

/// How long the transaction of a handler that has returned is waited for: a task that the handler left behind may be using
/// it.
const HELD_MAX: Duration = Duration::from_secs(5);

/// Why an inbox could not do its part. The command is then answered as failed and comes again. `Debug` is for people, too:
/// it is what Rust prints of an error that `main` returns.
#[derive(thiserror::Error)]
pub enum Error {
    /// The database said no.
    #[error("inbox database")]
    Database(#[from] sqlx::Error),
    /// Another process held the database for longer than the busy timeout.
    #[error("the inbox database is held by another process: is another instance still running?")]
    Busy,
    /// The database holds what this version cannot read.
    #[error("inbox row of {key} is in the unknown state `{state}`")]
    UnknownState {
        /// The row's key.
        key: StepKey,
        /// What the column says.
        state: String,
    },
    /// The transaction ended under the handler's hands: it must not commit or roll back by itself.
    #[error("the handler ended the inbox's transaction by itself")]
    TransactionGone,
    /// Something that the handler left behind holds the transaction.
    #[error("the handler has returned, and a task that it left behind still uses its transaction")]
    TransactionHeld,
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_causes(self))
    }
}

/// How strong the promise of an inbox is; registered with the orchestrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Row and business write share one transaction.
    Transactional,
    /// Nothing survives the process.
    None,
}

/// Marks what a participant keeps its inbox in; handlers name it in [`Ctx`](crate::Ctx).
pub trait Store: Sized + Send + Sync + 'static {
    /// The inbox.
    type Inbox: Inbox<Store = Self>;
    /// What one handler run holds: the open transaction, or nothing.
    type Unit: Clone + Send + Sync + 'static;
}

/// What the barrier made of a command.
#[derive(Debug)]
pub enum Entry<U> {
    /// Answered without user code.
    Answered {
        /// The answer.
        answer: Answer,
        /// A row was written for it.
        wrote: bool,
    },
    /// Nobody waits for an answer.
    Silent,
    /// The handler is to be run, then [`Inbox::settle`] called, whatever happens.
    Run {
        /// The open transaction.
        unit: U,
        /// For a compensation: the output that the action stored.
        output: Option<Bytes>,
        /// For an action: it was accepted before, and whoever worked on it is gone.
        resumed: bool,
    },
}

/// How a handler's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The action took effect, with this output.
    Done(Bytes),
    /// The action is refused; what the handler wrote goes.
    Refused(Fault),
    /// The action's work goes on outside, under this claim.
    Accepted(Claim),
    /// The compensation is done.
    Compensated,
    /// Nothing of this run may stay.
    RolledBack,
}

/// What became of the end of accepted work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// It is stored; this is the attempt to answer.
    Stored(u32),
    /// The key has no accepted work.
    NotRunning,
    /// The work was handed to another handler, because its worker seemed to be gone. Nothing is stored.
    HandedOver,
}

/// What became of the transaction of a handler that did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// Nothing of the run takes effect, ever.
    RolledBack,
    /// The same; but the handler blocks the inbox, which takes nothing more until the handler returns.
    Stuck,
    /// Nobody can say.
    Unknown,
}

/// Keeps one row per key and lets handlers run at most once at a time for it.
pub trait Inbox: Clone + Send + Sync + 'static {
    /// What it is kept in.
    type Store: Store<Inbox = Self>;

    /// Random id that the inbox was created with; all instances of a participant share it.
    fn id(&self) -> &str;

    /// What it promises.
    fn kind(&self) -> Kind;

    /// Asks the barrier and carries out what needs no handler.
    fn enter(
        &self,
        ask: &Ask,
    ) -> impl Future<Output = Result<Entry<<Self::Store as Store>::Unit>, Error>> + Send;

    /// Stores how the run of `ask` ended and commits. Returns the attempt that the answer is for: the
    /// latest that asked while the handler ran.
    fn settle(
        &self,
        ask: &Ask,
        unit: <Self::Store as Store>::Unit,
        end: End,
    ) -> impl Future<Output = Result<u32, Error>> + Send;

    /// Ends the run of `ask` without its handler, which ran into its limit: it was dropped, or it blocks its thread and may
    /// go on one day. Returns within seconds. Without an implementation of its own, the run's fate is unknown.
    fn abandon(
        &self,
        ask: &Ask,
        unit: <Self::Store as Store>::Unit,
    ) -> impl Future<Output = Result<Abandoned, Error>> + Send {
        let _ = (ask, unit);
        std::future::ready(Ok(Abandoned::Unknown))
    }

    /// Is it still blocked by a handler, after [`Abandoned::Stuck`]?
    fn is_stuck(&self) -> bool {
        false
    }

    /// Stores the end of accepted work ([`End::RolledBack`] removes the row, so that it may be tried again). With a claim,
    /// only of the work under that claim; without one, of whatever work the key has.
    fn complete(
        &self,
        key: &StepKey,
        claim: Option<&Claim>,
        end: End,
    ) -> impl Future<Output = Result<Completed, Error>> + Send;

    /// Writes down that the accepted work of this process goes on.
    fn give_signs_of_life(&self) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Does so whenever it is due, for as long as it is polled.
    fn keep_claims(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Drops rows past their retention in small batches; returns how many went.
    fn sweep(&self) -> impl Future<Output = Result<u64, Error>> + Send;
}

/// Now, in unix microseconds.
pub(crate) fn unix_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl Ask {
    pub(crate) fn facts(&self, stored_fingerprint: Option<u64>) -> Facts {
        let same_fingerprint = match stored_fingerprint {
            Some(stored) => stored == 0 || self.fingerprint == 0 || stored == self.fingerprint,
            None => true,
        };
        let limited = self.op == Op::Action && self.not_after_us != 0;
        Facts {
            same_fingerprint,
            expired: limited && unix_micros() > self.not_after_us,
            known: self.known,
            left: false,
        }
    }

    /// May the command notice that the worker of a row is gone, which was accepted for this attempt or asked for by it?
    pub(crate) fn may_find_left(&self, attempt: u32) -> bool {
        match self.op {
            // An attempt that was answered `accepted` may be on its way a second time.
            Op::Action => self.attempt > attempt,
            Op::Query => true,
            Op::Compensation | Op::Seal | Op::Forget => false,
        }
    }
}

/// Puts what the barrier says into an answer, with the row's content where it is called for.
pub(crate) fn answer(say: Say, ask: &Ask, output: Bytes, fault: Option<Fault>) -> Answer {
    match say {
        Say::StoredSuccess => Answer::Succeeded(output),
        Say::StoredDone => Answer::Done(output),
        Say::StoredRefusal => Answer::Refused(
            fault.unwrap_or_else(|| Fault::new("refused", "the reason was not stored")),
        ),
        Say::Running => Answer::Running,
        Say::Accepted => Answer::Accepted,
        Say::Blocked => Answer::Blocked,
        Say::Conflict => Answer::Conflict,
        Say::Expired => Answer::Expired,
        Say::Contradiction => {
            tracing::error!(key = %ask.key, action = ask.action,
                "the orchestrator saw this action succeed, the inbox has no trace of it: \
                 was the database restored or the inbox purged?");
            Answer::NeedsOperator(Fault::new(
                "inbox_lost",
                "the action is known to be done, but the inbox has no trace of it; \
                 the database may have been restored or purged",
            ))
        }
        Say::NothingToDo => Answer::NothingToDo,
        Say::Compensated => Answer::Compensated,
        Say::Absent => Answer::Absent,
        Say::Sealed => Answer::Sealed,
    }
}
