//! The store: what must survive. Narrow traits, one for each kind of user, so that engines can differ in everything else.
//!
//! A lane knows [`Lanes`] only and writes whole batches through [`Lanes::commit`]. Reads show committed state only.

pub mod chronicle;
pub mod record;
pub mod tenure;
pub mod trouble;

use futures_util::future::BoxFuture;
use saga_core::{Partition, SagaId, Status, Timestamp};

use record::{
    AuditEntry, AuditRow, Batch, BreakerRow, DefinitionRow, Fence, JournalRow, ListFilter, Page,
    ParticipantRow, SagaRow, StartConflict,
};
use tenure::Tenure;
use trouble::{Cause, Kind};

/// Reads the journals of sagas.
pub trait Journals: Send + Sync + 'static {
    /// The journal of a saga after `after_seq`, in order, at most `limit` rows.
    fn journal(
        &self,
        id: SagaId,
        after_seq: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>>;

    /// The whole journals of several sagas in one read, in the order of `ids`.
    fn journals(&self, ids: Vec<SagaId>) -> BoxFuture<'_, Result<Vec<Vec<JournalRow>>, Error>>;
}

/// What a lane needs of a store: its claim, its commits, the sagas that are open, and the breakers that it keeps.
pub trait Lanes: Journals {
    /// Claims the partitions for this process: raises each epoch and sets a new token, durably. Does not wait for another
    /// owner. While an earlier claim of this process holds, its [`Tenure`] goes on; a claim whose tenure nobody holds is
    /// given up.
    ///
    /// # Errors
    /// [`Error::Owned`] while another process owns the store; [`Error::Unavailable`] when the store cannot be written.
    fn claim(&self, token: u128) -> BoxFuture<'_, Result<Claim, Error>>;

    /// Writes the batch in one durable transaction, or not at all.
    ///
    /// # Errors
    /// See [`CommitError`]; only [`CommitError::Unknown`] leaves it open whether the batch was written.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitError>>;

    /// The open sagas of the claimed partitions, in order of their ids, after `after`, at most `limit`.
    fn open_sagas(
        &self,
        after: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaRow>, Error>>;

    /// Writes what became of a breaker, unless something newer is known of it, and what an operator did, if one did.
    fn put_breaker(
        &self,
        row: BreakerRow,
        audit: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<(), Error>>;

    /// All breakers that ever opened, by participant, then action.
    fn breakers(&self) -> BoxFuture<'_, Result<Vec<BreakerRow>, Error>>;

    /// What the store's own clock shows; `None`: it has none but this machine's.
    fn clock(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Registers of what is known beside the sagas: definitions, participants, and what operators did that changed no saga.
pub trait Registers: Send + Sync + 'static {
    /// Registers definitions, all or none. A row whose name and version exist with the same hash is left alone.
    /// Returns for each whether it is new.
    ///
    /// # Errors
    /// [`Error::DefinitionConflict`] when a name and version exist with another hash.
    fn put_definitions(&self, rows: Vec<DefinitionRow>) -> BoxFuture<'_, Result<Vec<bool>, Error>>;

    /// All definitions, by name, then version.
    fn definitions(&self) -> BoxFuture<'_, Result<Vec<DefinitionRow>, Error>>;

    /// Writes what is known of a participant.
    fn put_participant(&self, row: ParticipantRow) -> BoxFuture<'_, Result<(), Error>>;

    /// All participants ever seen, by name.
    fn participants(&self) -> BoxFuture<'_, Result<Vec<ParticipantRow>, Error>>;

    /// Writes down what an operator is about to do that changes no saga.
    fn put_audit(&self, row: AuditRow) -> BoxFuture<'_, Result<(), Error>>;

    /// Notes who can be reached over the broker, for the owner that comes next. A store without a broker keeps no notes.
    fn put_presence(&self, note: String) -> BoxFuture<'_, Result<(), Error>> {
        drop(note);
        Box::pin(async { Ok(()) })
    }

    /// The last note of [`Registers::put_presence`].
    fn presence(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        Box::pin(async { Ok(None) })
    }
}

/// Reads for people and programs: sagas by name, lists, counts. They show committed state only.
pub trait Reading: Journals {
    /// The saga's row, if it exists.
    fn saga(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaRow>, Error>>;

    /// Ids that end in the given letters (case does not matter), open sagas first, then the finished ones, each
    /// newest first; at most `limit`. Letters that no id has find nothing. Every saga whose id fits is looked at, which
    /// takes long where a letter or two fit a part of all sagas.
    fn find_by_suffix(
        &self,
        suffix: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaId>, Error>>;

    /// The saga that was started with this key, over all versions of the definition.
    fn find_by_key(
        &self,
        name: String,
        key: String,
    ) -> BoxFuture<'_, Result<Option<SagaId>, Error>>;

    /// A page of sagas, newest first, older than `before`.
    fn list(
        &self,
        filter: ListFilter,
        before: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, Error>>;

    /// What operators did, newest first, to one saga or to all, before position `before`.
    fn audit(
        &self,
        saga: Option<SagaId>,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditEntry>, Error>>;

    /// Number of sagas in each status: every status, zero too, in the order of [`Status`].
    fn counts(&self) -> BoxFuture<'_, Result<Vec<(Status, u64)>, Error>>;

    /// Number of open sagas per definition name and version.
    fn open_per_definition(&self) -> BoxFuture<'_, Result<Vec<DefinitionCount>, Error>>;
}

/// A durable store of sagas.
///
/// Every method of it and of the traits that it consists of may be called from any task; writes are applied in the order
/// of the calls.
pub trait Store: Lanes + Registers + Reading {
    /// Waits until everything written is on disk and closes; later calls fail with [`Error::Closed`].
    fn close(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// Reads for screens that run at once. Engines have more readers than this; the others are for lanes and for events.
pub const READS_AT_ONCE: usize = 3;

/// A definition's name and version with a number of sagas.
pub type DefinitionCount = (String, u32, u64);

/// What a process owns after [`Lanes::claim`].
#[derive(Debug, Clone)]
pub struct Claim {
    /// One fence per partition, in order of their numbers.
    pub fences: Vec<Fence>,
    /// Number of the last commit.
    pub last_commit_no: u64,
    /// The latest moment in the journal; time never goes back behind it.
    pub last_commit_at: Timestamp,
    /// How long the claim holds.
    pub tenure: Tenure,
}

/// Compares what was claimed. A tenure is no part of that.
impl PartialEq for Claim {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            fences,
            last_commit_no,
            last_commit_at,
            tenure: _,
        } = self;
        (fences, last_commit_no, last_commit_at)
            == (&other.fences, &other.last_commit_no, &other.last_commit_at)
    }
}

/// Why a read or a small write failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be reached or written: retry.
    #[error("the store is not available: {0}")]
    Unavailable(Cause),
    /// Another process has the store open: stop.
    #[error("another process holds {path}")]
    Held {
        /// The file.
        path: String,
    },
    /// Another process owns the store now: stand by.
    #[error("another process owns the store")]
    Owned,
    /// Too many reads wait already: try again in a moment.
    #[error("{waiting} reads wait already, and this one was not begun; try again in a moment")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// What was read makes no sense: call a person.
    #[error("the store holds damaged data: {0}")]
    Corrupt(String),
    /// The store was written by a newer release: stop.
    #[error("the store has schema {found}, this release knows up to {known}")]
    TooNew {
        /// Schema number found.
        found: i64,
        /// Highest number known.
        known: i64,
    },
    /// Mend the request: the version needs another number.
    #[error("{name}@{version} is registered with other content")]
    DefinitionConflict {
        /// Name.
        name: String,
        /// Version.
        version: u32,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Unavailable(_) => None,
            Error::Closed => Some(Kind::Closed),
            Error::Held { .. } | Error::Owned => Some(Kind::Fenced),
            Error::Busy { .. } => Some(Kind::Overloaded),
            Error::TooNew { .. } => Some(Kind::Unfit),
            Error::Corrupt(_) | Error::DefinitionConflict { .. } => Some(Kind::Other),
        };
        match (error, kind) {
            (Error::Unavailable(cause), _) => cause,
            (error, kind) => Self::new(kind.unwrap_or(Kind::Other), error.to_string()),
        }
    }
}

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written: these partitions belong to somebody else now.
    #[error("{} partitions are owned by another process", .0.len())]
    Fenced(Vec<Partition>),
    /// Nothing was written: these starts were asked for before. All of the batch's conflicts are listed, by index.
    /// Starts count in the order of the batch, so that one may conflict with an earlier one of the same batch; one
    /// that is refused itself stands in nobody's way. A key that is taken goes before an id that is taken.
    #[error("{} starts were asked for before", .0.len())]
    StartsExist(Vec<StartConflict>),
    /// Nothing was written: the store refuses the content of some row; a retry would fail again. Also for a journal
    /// with a gap or a repeat, a change of an unknown saga, and a row whose partition the batch does not fence.
    #[error("the store refuses a row: {0}")]
    Data(String),
    /// Nothing was written, but the same batch may succeed later (disk full, busy).
    #[error("the store is not available: {0}")]
    Unavailable(Cause),
    /// The batch may or may not have been written.
    #[error("it is unknown whether the commit was written: {0}")]
    Unknown(Cause),
}
