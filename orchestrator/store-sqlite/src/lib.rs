//! The embedded engine: one SQLite file, one writer thread, a few readers.
//!
//! The file belongs to one [`SqliteStore`] at a time, kept so by an operating system lock on `<file>.lock`. The log
//! is a WAL with `synchronous=FULL`: an answered commit survives a power cut.

mod chronicle;
mod commit;
mod convert;
mod fault;
mod list;
mod place;
mod reader;
mod schema;
mod suffix;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use rusqlite::{Connection, OpenFlags};
use saga_core::{SagaId, Status};
use tokio::sync::oneshot;

use place::Place;
use reader::Pool;
use saga_engine::store::record::{
    AuditEntry, AuditRow, Batch, BreakerRow, DefinitionRow, JournalRow, ListFilter, Page,
    ParticipantRow, SagaRow,
};
use saga_engine::store::{
    Claim, CommitError, DefinitionCount, Error, Journals, Lanes, Reading, Registers, Store,
};
use writer::{Op, Writer};

/// Partitions of a new store.
pub const PARTITIONS: u16 = 32;

/// How long a statement waits for a lock. Nobody else writes, so only recovery of the log takes one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages (of 4 KiB) in the log before a commit also moves them into the file. More make fewer, longer stalls.
const CHECKPOINT_PAGES: u32 = 2_000;

/// Bytes that the log keeps on disk when it starts over.
const LOG_BYTES: u32 = 64 << 20;

/// A store in one SQLite file.
///
/// Writes are queued when a method is called, not when its future is first polled, and carried out even if the future
/// is dropped. Dropping the store waits for queued writes.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: Arc<Pool>,
}

impl SqliteStore {
    /// Opens the store in `path`, or makes it, with [`PARTITIONS`] partitions. Blocks on disk.
    ///
    /// # Errors
    /// [`Error::Held`] when somebody has it open, in this process or another; [`Error::TooNew`];
    /// [`Error::Corrupt`] when the file is no store of ours; [`Error::Unavailable`] when it cannot be opened, has several
    /// names, or is missing while its log is there.
    pub fn open(path: &Path) -> Result<Self, Error> {
        place::check_before_open(path).map_err(Error::Unavailable)?;
        let lock = lock(path)?;
        let conn = connect(path)?;
        let place = Arc::new(Place::of(path, &lock).map_err(Error::Unavailable)?);
        let writer = Writer::start(conn, lock, Arc::clone(&place))?;
        Ok(Self {
            writer,
            readers: Pool::new(path, place),
        })
    }

    /// Queues a write and waits for its answer.
    fn write<T: Send + 'static, E: Send + 'static>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Op,
        closed: fn() -> E,
        died: fn() -> E,
    ) -> BoxFuture<'_, Result<T, E>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.writer.send(make(answer));
        async move {
            if !sent {
                return Err(closed());
            }
            answered.await.unwrap_or_else(|_| Err(died()))
        }
        .boxed()
    }

    /// Runs a query on a reader.
    fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, Error>> {
        Arc::clone(&self.readers).read(query).boxed()
    }
}

/// Takes the lock on the side file, which stays there: removing it would race with the next one who opens it.
fn lock(path: &Path) -> Result<File, Error> {
    // A link to the file must meet the same lock; a file that does not exist yet has no other name.
    let side = place::beside(&place::behind_links(path), ".lock");
    let unavailable =
        |error: std::io::Error| Error::Unavailable(format!("{}: {error}", side.display()).into());
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&side)
        .map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Held {
            path: path.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(unavailable(error)),
    }
}

/// The writer's connection, with the schema up to date.
fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(fault::open_error)?;
    conn.busy_timeout(BUSY_TIMEOUT).map_err(fault::open_error)?;
    schema::check(&conn)?;
    let log = configure(&conn).map_err(fault::open_error)?;
    if log != "wal" {
        return Err(Error::Unavailable(
            format!("the file system allows no WAL, only {log}").into(),
        ));
    }
    schema::migrate(&mut conn, PARTITIONS)?;
    Ok(conn)
}

/// Sets the connection up; returns the kind of log that SQLite settled on.
fn configure(conn: &Connection) -> rusqlite::Result<String> {
    conn.set_prepared_statement_cache_capacity(64);
    let log = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // A long read keeps the log growing; once it is over, the file shrinks back to this.
    conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
    // 16 MiB: the pages that open sagas touch; the file's cold part is the system's to cache.
    conn.pragma_update(None, "cache_size", -16_384)?;
    Ok(log)
}

fn writer_died() -> Error {
    Error::Unavailable("the store's writer has ended".into())
}

impl Journals for SqliteStore {
    fn journal(
        &self,
        id: SagaId,
        after_seq: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        self.read(move |conn| reader::journal(conn, id, after_seq, limit))
    }

    fn journals(&self, ids: Vec<SagaId>) -> BoxFuture<'_, Result<Vec<Vec<JournalRow>>, Error>> {
        self.read(move |conn| reader::journals(conn, &ids))
    }
}

impl Lanes for SqliteStore {
    fn claim(&self, token: u128) -> BoxFuture<'_, Result<Claim, Error>> {
        self.write(
            |answer| Op::Claim { token, answer },
            || Error::Closed,
            writer_died,
        )
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitError>> {
        self.write(
            |answer| Op::Commit { batch, answer },
            || CommitError::Unavailable(Error::Closed.into()),
            || CommitError::Unknown(writer_died().into()),
        )
    }

    fn open_sagas(
        &self,
        after: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaRow>, Error>> {
        self.read(move |conn| reader::open_sagas(conn, after, limit))
    }

    fn put_breaker(
        &self,
        row: BreakerRow,
        audit: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<(), Error>> {
        self.write(
            |answer| Op::PutBreaker { row, audit, answer },
            || Error::Closed,
            writer_died,
        )
    }

    fn breakers(&self) -> BoxFuture<'_, Result<Vec<BreakerRow>, Error>> {
        self.read(reader::breakers)
    }
}

impl Registers for SqliteStore {
    fn put_definitions(&self, rows: Vec<DefinitionRow>) -> BoxFuture<'_, Result<Vec<bool>, Error>> {
        self.write(
            |answer| Op::PutDefinitions { rows, answer },
            || Error::Closed,
            writer_died,
        )
    }

    fn definitions(&self) -> BoxFuture<'_, Result<Vec<DefinitionRow>, Error>> {
        self.read(reader::definitions)
    }

    fn put_participant(&self, row: ParticipantRow) -> BoxFuture<'_, Result<(), Error>> {
        self.write(
            |answer| Op::PutParticipant { row, answer },
            || Error::Closed,
            writer_died,
        )
    }

    fn participants(&self) -> BoxFuture<'_, Result<Vec<ParticipantRow>, Error>> {
        self.read(reader::participants)
    }

    fn put_audit(&self, row: AuditRow) -> BoxFuture<'_, Result<(), Error>> {
        self.write(
            |answer| Op::PutAudit { row, answer },
            || Error::Closed,
            writer_died,
        )
    }

    fn put_presence(&self, note: String) -> BoxFuture<'_, Result<(), Error>> {
        self.write(
            |answer| Op::PutPresence { note, answer },
            || Error::Closed,
            writer_died,
        )
    }

    fn presence(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        self.read(reader::presence)
    }
}

impl Reading for SqliteStore {
    fn saga(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaRow>, Error>> {
        self.read(move |conn| reader::saga(conn, id))
    }

    fn find_by_suffix(
        &self,
        suffix: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaId>, Error>> {
        self.read(move |conn| suffix::find(conn, &suffix, limit))
    }

    fn find_by_key(
        &self,
        name: String,
        key: String,
    ) -> BoxFuture<'_, Result<Option<SagaId>, Error>> {
        self.read(move |conn| reader::find_by_key(conn, &name, &key))
    }

    fn list(
        &self,
        filter: ListFilter,
        before: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, Error>> {
        self.read(move |conn| list::list(conn, &filter, before, limit))
    }

    fn audit(
        &self,
        saga: Option<SagaId>,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditEntry>, Error>> {
        self.read(move |conn| reader::audit(conn, saga, before, limit))
    }

    fn counts(&self) -> BoxFuture<'_, Result<Vec<(Status, u64)>, Error>> {
        self.read(reader::counts)
    }

    fn open_per_definition(&self) -> BoxFuture<'_, Result<Vec<DefinitionCount>, Error>> {
        self.read(reader::open_per_definition)
    }
}

impl Store for SqliteStore {
    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            self.readers.close().await?;
            self.write(|answer| Op::Close { answer }, || Error::Closed, writer_died)
                .await
        }
        .boxed()
    }
}
