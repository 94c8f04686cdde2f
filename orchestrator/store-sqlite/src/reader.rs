//! Reads, on a few read-only connections, off the runtime's threads.
//!
//! A read sees what was committed when it began; it never waits for the writer.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use saga_core::{SagaId, Status};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::convert::{
    FIRST_ENDED, Id, SAGA_COLUMNS, StatusColumn, audit_entry, breaker_row, clamped, definition_row,
    journal_row, participant_row, row_limit, saga_row, unsigned,
};
use super::fault::read_error;
use super::place::Place;
use saga_engine::store::READS_AT_ONCE;
use saga_engine::store::record::{
    AuditEntry, BreakerRow, DefinitionRow, JournalRow, ParticipantRow, SagaRow,
};
use saga_engine::store::{DefinitionCount, Error};

/// Connections at most, opened when first needed: those for screens, one for the lane and one for events.
const CONNECTIONS: u32 = READS_AT_ONCE as u32 + 2;

/// A pool of read-only connections.
#[derive(Debug)]
pub(super) struct Pool {
    path: PathBuf,
    place: Arc<Place>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(path: &Path, place: Arc<Place>) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            place,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(CONNECTIONS as usize)),
        })
    }

    /// Runs one query in one snapshot.
    pub(super) async fn read<T: Send + 'static>(
        self: Arc<Self>,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Error::Closed)?;
        let work = move || {
            // Held until the connection is back, also when nobody waits for the answer any more.
            let _permit = permit;
            let conn = self.take()?;
            let tx = conn.unchecked_transaction().map_err(read_error)?;
            let answer = query(&tx);
            let ended = tx.finish();
            if answer.is_ok() && ended.is_ok() {
                self.idle
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(conn);
            }
            answer.map_err(read_error)
        };
        spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(Error::Unavailable(error.to_string().into())))
    }

    fn take(&self) -> Result<Connection, Error> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(conn) = idle {
            return Ok(conn);
        }
        // Another file at this path holds other sagas.
        self.place.check().map_err(Error::Unavailable)?;
        let conn = self.open().map_err(read_error)?;
        self.place.check().map_err(Error::Unavailable)?;
        Ok(conn)
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.busy_timeout(super::BUSY_TIMEOUT)?;
        conn.pragma_update(None, "cache_size", -1_024)?;
        Ok(conn)
    }

    /// Waits for the reads under way and closes the connections. A second close is refused.
    pub(super) async fn close(&self) -> Result<(), Error> {
        let all = self
            .permits
            .acquire_many(CONNECTIONS)
            .await
            .map_err(|_| Error::Closed)?;
        self.permits.close();
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        drop(all);
        Ok(())
    }
}

/// Open sagas after `after`, from the partial index.
pub(super) fn open_sagas(
    conn: &Connection,
    after: Option<SagaId>,
    limit: usize,
) -> rusqlite::Result<Vec<SagaRow>> {
    conn.prepare_cached(&open_sagas_sql())?
        .query_map(params![lower_bound(after), row_limit(limit)], saga_row)?
        .collect()
}

pub(super) fn open_sagas_sql() -> String {
    format!(
        "SELECT {SAGA_COLUMNS} FROM saga INDEXED BY saga_open
         WHERE status < {FIRST_ENDED} AND id > ?1 ORDER BY id LIMIT ?2"
    )
}

/// Ids come after this blob; the empty one comes before all.
fn lower_bound(after: Option<SagaId>) -> Vec<u8> {
    after.map(|id| id.to_bytes().to_vec()).unwrap_or_default()
}

pub(super) fn saga(conn: &Connection, id: SagaId) -> rusqlite::Result<Option<SagaRow>> {
    conn.prepare_cached(&format!("SELECT {SAGA_COLUMNS} FROM saga WHERE id = ?1"))?
        .query_row(params![Id(id)], saga_row)
        .optional()
}

pub(super) fn journal(
    conn: &Connection,
    id: SagaId,
    after_seq: u64,
    limit: usize,
) -> rusqlite::Result<Vec<JournalRow>> {
    conn.prepare_cached(
        "SELECT seq, at, body FROM saga_event WHERE saga_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?
    .query_map(params![Id(id), clamped(after_seq), row_limit(limit)], |row| journal_row(id, row))?
    .collect()
}

pub(super) fn journals(
    conn: &Connection,
    ids: &[SagaId],
) -> rusqlite::Result<Vec<Vec<JournalRow>>> {
    ids.iter()
        .map(|&id| journal(conn, id, 0, usize::MAX))
        .collect()
}

pub(super) fn find_by_key(
    conn: &Connection,
    name: &str,
    key: &str,
) -> rusqlite::Result<Option<SagaId>> {
    conn.prepare_cached("SELECT saga_id FROM start_key WHERE name = ?1 AND key = ?2")?
        .query_row(params![name, key], |row| {
            row.get::<_, Id>(0).map(|Id(id)| id)
        })
        .optional()
}

/// What operators did, newest first.
pub(super) fn audit(
    conn: &Connection,
    saga: Option<SagaId>,
    before: Option<u64>,
    limit: usize,
) -> rusqlite::Result<Vec<AuditEntry>> {
    const COLUMNS: &str = "position, saga_id, seq, at, verb, step, who, reason, forced";
    let before = before.map_or(i64::MAX, clamped);
    match saga {
        Some(id) => conn
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM audit WHERE saga_id = ?1 AND position < ?2 ORDER BY position DESC LIMIT ?3"
            ))?
            .query_map(params![Id(id), before, row_limit(limit)], audit_entry)?
            .collect(),
        None => conn
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM audit WHERE position < ?1 ORDER BY position DESC LIMIT ?2"
            ))?
            .query_map(params![before, row_limit(limit)], audit_entry)?
            .collect(),
    }
}

/// Every status with its number of sagas, zero too.
pub(super) fn counts(conn: &Connection) -> rusqlite::Result<Vec<(Status, u64)>> {
    let mut counts: Vec<(Status, u64)> =
        Status::ALL.into_iter().map(|status| (status, 0)).collect();
    let mut statement =
        conn.prepare_cached("SELECT status, sum(n) FROM counter GROUP BY status")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let StatusColumn(status) = row.get(0)?;
        let n = unsigned(row, 1)?;
        for count in counts.iter_mut().filter(|count| count.0 == status) {
            count.1 = n;
        }
    }
    Ok(counts)
}

pub(super) fn open_per_definition(conn: &Connection) -> rusqlite::Result<Vec<DefinitionCount>> {
    conn.prepare_cached(&format!(
        "SELECT name, version, sum(n) FROM counter WHERE status < {FIRST_ENDED}
         GROUP BY name, version HAVING sum(n) > 0 ORDER BY name, version"
    ))?
    .query_map([], |row| Ok((row.get(0)?, row.get(1)?, unsigned(row, 2)?)))?
    .collect()
}

pub(super) fn definitions(conn: &Connection) -> rusqlite::Result<Vec<DefinitionRow>> {
    conn.prepare_cached(
        "SELECT name, version, hash, canonical, deployed_at FROM definition ORDER BY name, version",
    )?
    .query_map([], definition_row)?
    .collect()
}

pub(super) fn participants(conn: &Connection) -> rusqlite::Result<Vec<ParticipantRow>> {
    conn.prepare_cached(
        "SELECT name, inbox_id, inbox_kind, actions, last_seen FROM participant ORDER BY name",
    )?
    .query_map([], participant_row)?
    .collect()
}

pub(super) fn breakers(conn: &Connection) -> rusqlite::Result<Vec<BreakerRow>> {
    conn.prepare_cached(
        "SELECT participant, action, open, generation, open_until, since, by_whom, reason
         FROM breaker ORDER BY participant, action",
    )?
    .query_map([], breaker_row)?
    .collect()
}

/// Who was there over the broker, as it was noted.
pub(super) fn presence(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let note: Option<Vec<u8>> = conn
        .query_row(
            "SELECT value FROM meta WHERE name = 'presence'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(note.map(|note| String::from_utf8_lossy(&note).into_owned()))
}
