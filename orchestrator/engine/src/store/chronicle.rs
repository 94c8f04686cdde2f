//! The journal of all sagas in the order of their commits, for whoever tells of it elsewhere.
//!
//! Apart from the store's own trait, since nothing that runs sagas needs it: it reads what was committed, and writes one
//! number in a transaction of its own.

use futures_util::future::BoxFuture;
use saga_core::SagaId;

use super::{
    Error,
    record::{JournalRow, SagaRow},
};

/// A journal that can be read in the order of its commits.
pub trait Chronicle: Send + Sync + 'static {
    /// Number of the last commit that was told of. At the first call ever that is the last one there is: what was before is
    /// not told.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store cannot be read or written.
    fn told_through(&self) -> BoxFuture<'_, Result<u64, Error>>;

    /// Rows of the commits after number `after`, in their order; some commits, and each of them whole. Empty when there is
    /// none yet.
    ///
    /// # Errors
    /// Those of reads.
    fn commits_after(&self, after: u64) -> BoxFuture<'_, Result<Vec<CommittedRow>, Error>>;

    /// The rows of these sagas, as far as they exist, in no order.
    ///
    /// # Errors
    /// Those of reads.
    fn sagas(&self, ids: Vec<SagaId>) -> BoxFuture<'_, Result<Vec<SagaRow>, Error>>;

    /// Notes durably that everything up to a commit was told. It never goes back.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store cannot be written.
    fn set_told_through(&self, commit_no: u64) -> BoxFuture<'_, Result<(), Error>>;
}

/// A journal row and its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedRow {
    /// Number of the commit.
    pub commit_no: u64,
    /// The row.
    pub row: JournalRow,
}
