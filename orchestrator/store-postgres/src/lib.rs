//! The engine for several machines: PostgreSQL.
//!
//! A batch is one statement (`saga_commit` in `schema.sql`), fence included. One process at a time holds the lease on
//! all partitions; another one stands by and takes over when the lease runs out. The lease is renewed on a connection of
//! its own. Reads go to the primary, on a small pool.

pub mod address;
mod chronicle;
mod commit;
mod convert;
mod fault;
mod lease;
mod reader;
mod schema;
mod session;
mod suffix;
mod writer;

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt};
use saga_core::{SagaId, Status, Timestamp};
use sqlx::PgPool;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use uuid::Uuid;

use fault::read_error;
use lease::Lease;
use saga_engine::store;
use saga_engine::store::record::{
    AuditEntry, AuditRow, Batch, BreakerRow, DefinitionRow, JournalRow, ListFilter, Page,
    ParticipantRow, SagaRow,
};
use saga_engine::store::{
    Claim, CommitError, DefinitionCount, Error, Journals, Lanes, Reading, Registers, Store,
};
use session::Target;
use writer::{Op, Writer};

/// Partitions of a new store.
pub const PARTITIONS: u16 = 32;

/// Connections of the readers: those for screens, one for the lane and one for events.
const READERS: u32 = store::READS_AT_ONCE as u32 + 2;
/// A read that gets no connection within so long fails.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// A store in a PostgreSQL database.
///
/// Writes are queued when a method is called, not when its future is first polled, and carried out even if the future
/// is dropped.
#[derive(Debug)]
pub struct PostgresStore {
    ops: mpsc::UnboundedSender<Op>,
    readers: PgPool,
    /// Renews the lease.
    keeper: JoinHandle<()>,
}

/// The statement behind [`Reading::find_by_suffix`], to be explained.
#[must_use]
pub fn find_by_suffix_sql() -> String {
    suffix::statement()
}

impl PostgresStore {
    /// Opens the store behind an [address](address::Address), and makes its tables where they are missing.
    ///
    /// `unsafe_durability` takes a server that may lose what it confirmed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be reached, or would lose commits; [`Error::TooNew`];
    /// [`Error::Corrupt`] when other tables of these names are there.
    pub async fn open(url: &str, unsafe_durability: bool) -> Result<Self, Error> {
        let target = Target::read(url, unsafe_durability)?;
        let mut conn = target.connect().await?;
        schema::migrate(&mut conn, PARTITIONS).await?;
        let readers = target.readers(READERS, READ_WITHIN);
        let lease = Arc::new(Lease::of(Uuid::now_v7()));
        let (ops, queue) = mpsc::unbounded_channel();
        tokio::spawn(Writer::new(target.clone(), Arc::clone(&lease), conn).serve(queue));
        let keeper = tokio::spawn(async move { lease.keep(target).await });
        Ok(Self {
            ops,
            readers,
            keeper,
        })
    }

    /// Queues a write and waits for its answer.
    fn write<T: Send + 'static, E: Send + 'static>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Op,
        closed: fn() -> E,
    ) -> BoxFuture<'_, Result<T, E>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.ops.send(make(answer)).is_ok();
        async move {
            if !sent {
                return Err(closed());
            }
            answered.await.unwrap_or_else(|_| Err(closed()))
        }
        .boxed()
    }

    fn read<'a, T: Send + 'a>(
        &'a self,
        query: impl Future<Output = Result<T, sqlx::Error>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        async move {
            query.await.map_err(|error| match error {
                sqlx::Error::PoolClosed => Error::Closed,
                other => read_error(other),
            })
        }
        .boxed()
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Journals for PostgresStore {
    fn journal(
        &self,
        id: SagaId,
        after_seq: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        self.read(reader::journal(&self.readers, id, after_seq, limit))
    }

    fn journals(&self, ids: Vec<SagaId>) -> BoxFuture<'_, Result<Vec<Vec<JournalRow>>, Error>> {
        self.read(async move { reader::journals(&self.readers, &ids).await })
    }
}

impl Lanes for PostgresStore {
    fn claim(&self, token: u128) -> BoxFuture<'_, Result<Claim, Error>> {
        self.write(|answer| Op::Claim { token, answer }, || Error::Closed)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitError>> {
        self.write(
            |answer| Op::Commit {
                batch: Box::new(batch),
                answer,
            },
            || CommitError::Unavailable(Error::Closed.into()),
        )
    }

    fn open_sagas(
        &self,
        after: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaRow>, Error>> {
        self.read(reader::open_sagas(&self.readers, after, limit))
    }

    fn put_breaker(
        &self,
        row: BreakerRow,
        audit: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<(), Error>> {
        self.write(
            |answer| Op::PutBreaker {
                row: Box::new(row),
                audit,
                answer,
            },
            || Error::Closed,
        )
    }

    fn breakers(&self) -> BoxFuture<'_, Result<Vec<BreakerRow>, Error>> {
        self.read(reader::breakers(&self.readers))
    }

    fn clock(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        self.read(reader::clock(&self.readers))
    }
}

impl Registers for PostgresStore {
    fn put_definitions(&self, rows: Vec<DefinitionRow>) -> BoxFuture<'_, Result<Vec<bool>, Error>> {
        self.write(
            |answer| Op::PutDefinitions { rows, answer },
            || Error::Closed,
        )
    }

    fn definitions(&self) -> BoxFuture<'_, Result<Vec<DefinitionRow>, Error>> {
        self.read(reader::definitions(&self.readers))
    }

    fn put_participant(&self, row: ParticipantRow) -> BoxFuture<'_, Result<(), Error>> {
        self.write(
            |answer| Op::PutParticipant { row, answer },
            || Error::Closed,
        )
    }

    fn participants(&self) -> BoxFuture<'_, Result<Vec<ParticipantRow>, Error>> {
        self.read(reader::participants(&self.readers))
    }

    fn put_audit(&self, row: AuditRow) -> BoxFuture<'_, Result<(), Error>> {
        self.write(|answer| Op::PutAudit { row, answer }, || Error::Closed)
    }

    fn put_presence(&self, note: String) -> BoxFuture<'_, Result<(), Error>> {
        self.write(|answer| Op::PutPresence { note, answer }, || Error::Closed)
    }

    fn presence(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        self.read(reader::presence(&self.readers))
    }
}

impl Reading for PostgresStore {
    fn saga(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaRow>, Error>> {
        self.read(reader::saga(&self.readers, id))
    }

    fn find_by_suffix(
        &self,
        suffix: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaId>, Error>> {
        self.read(async move { suffix::find(&self.readers, &suffix, limit).await })
    }

    fn find_by_key(
        &self,
        name: String,
        key: String,
    ) -> BoxFuture<'_, Result<Option<SagaId>, Error>> {
        self.read(async move { reader::find_by_key(&self.readers, &name, &key).await })
    }

    fn list(
        &self,
        filter: ListFilter,
        before: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, Error>> {
        self.read(async move { reader::list(&self.readers, &filter, before, limit).await })
    }

    fn audit(
        &self,
        saga: Option<SagaId>,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditEntry>, Error>> {
        self.read(reader::audit(&self.readers, saga, before, limit))
    }

    fn counts(&self) -> BoxFuture<'_, Result<Vec<(Status, u64)>, Error>> {
        self.read(reader::counts(&self.readers))
    }

    fn open_per_definition(&self) -> BoxFuture<'_, Result<Vec<DefinitionCount>, Error>> {
        self.read(reader::open_per_definition(&self.readers))
    }
}

impl Store for PostgresStore {
    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.keeper.abort();
        let closed = self.write(|answer| Op::Close { answer }, || Error::Closed);
        async move {
            let closed = closed.await;
            self.readers.close().await;
            closed
        }
        .boxed()
    }
}
