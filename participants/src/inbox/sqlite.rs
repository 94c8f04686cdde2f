//! The inbox in a SQLite database: the *business* database, so that row, reply and effect share one
//! transaction.
//!
//! SQLite has one writer. The inbox owns that connection and lends it to the handler inside
//! `BEGIN IMMEDIATE`, behind a savepoint: a refusal rolls the handler's writes back and keeps the row.
//! Forward work first passes a gate of its own, so that at most one action waits in front of an undo.

mod rows;

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};
use uuid::Uuid;

use super::rows::{Stored, told};
use super::{
    End, Entry, Error, Inbox, Kind, Store, answer,
    barrier::{Decision, RowState, decide},
    unix_micros,
};
use crate::{
    command::{Ask, Op, StepKey},
    reply::Answer,
};
use rows::{SCHEMA, bump_attempt, delete, read, update, write};

/// How long undo, query and seal wait for the writer before they answer `running`.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How long SQLite waits for a writer in another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Rows that one sweep transaction deletes at most; the writer is free between two.
const SWEEP_ROWS: u64 = 1_000;

/// Marks handlers that write through the inbox's SQLite transaction: `Ctx<Sqlite>`.
#[derive(Debug, Clone, Copy)]
pub struct Sqlite;

impl Store for Sqlite {
    type Inbox = SqliteInbox;
    type Unit = SqliteUnit;
}

/// The table `saga_inbox` in a SQLite database; cheap to clone.
#[derive(Debug, Clone)]
pub struct SqliteInbox {
    id: Arc<str>,
    writer: Arc<Mutex<Writer>>,
    forward_gate: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct Writer {
    connection: SqliteConnection,
    /// A transaction may be open that its owner never ended: the future was dropped.
    open: bool,
}

/// The open transaction of one handler run. Empty once the run is settled.
#[derive(Debug, Clone)]
pub struct SqliteUnit(pub(crate) Arc<Mutex<Option<Lent>>>);

/// The writer while a transaction is open on it.
#[derive(Debug)]
pub struct Lent {
    writer: OwnedMutexGuard<Writer>,
    _forward: Option<OwnedMutexGuard<()>>,
}

impl Lent {
    pub(crate) fn connection(&self) -> &SqliteConnection {
        &self.writer.connection
    }

    pub(crate) fn connection_mut(&mut self) -> &mut SqliteConnection {
        &mut self.writer.connection
    }

    async fn begin(mut writer: OwnedMutexGuard<Writer>) -> Result<Self, Error> {
        if writer.open {
            // Fails when nothing is open any more, which is just as good.
            let _ = sqlx::raw_sql("rollback").execute(&mut writer.connection).await;
        }
        writer.open = true;
        sqlx::raw_sql("begin immediate").execute(&mut writer.connection).await.map_err(busy)?;
        Ok(Self { writer, _forward: None })
    }

    async fn commit(self) -> Result<(), Error> {
        self.end("commit").await
    }

    async fn rollback(self) -> Result<(), Error> {
        self.end("rollback").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), Error> {
        sqlx::raw_sql(statement).execute(self.connection_mut()).await.map_err(busy)?;
        self.writer.open = false;
        Ok(())
    }
}

impl SqliteInbox {
    /// Opens the database at `path`, creates it and the inbox's tables where they are missing, and
    /// sets WAL with `synchronous=FULL`.
    ///
    /// # Errors
    /// When the database cannot be opened or written.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await.map_err(busy)?;
        sqlx::query("insert or ignore into saga_inbox_meta (name, value) values ('inbox_id', ?)")
            .bind(Uuid::now_v7().to_string())
            .execute(&mut connection)
            .await
            .map_err(busy)?;
        let id: String = sqlx::query_scalar("select value from saga_inbox_meta where name = 'inbox_id'")
            .fetch_one(&mut connection)
            .await?;
        Ok(Self {
            id: id.into(),
            writer: Arc::new(Mutex::new(Writer { connection, open: false })),
            forward_gate: Arc::default(),
        })
    }

    /// Runs `statements` on the writer connection in a transaction of its own: the place for the
    /// business tables' `create table if not exists`.
    ///
    /// # Errors
    /// When a statement fails; nothing of it stays then.
    pub async fn migrate(&self, statements: &'static str) -> Result<(), Error> {
        let mut lent = Lent::begin(self.writer.clone().lock_owned().await).await?;
        sqlx::raw_sql(statements).execute(lent.connection_mut()).await?;
        lent.commit().await
    }

    /// The writer with an open transaction; `None` after the lock wait, which actions do not have.
    async fn lend(&self, op: Op) -> Result<Option<Lent>, Error> {
        if op == Op::Action {
            let forward = self.forward_gate.clone().lock_owned().await;
            let mut lent = Lent::begin(self.writer.clone().lock_owned().await).await?;
            lent._forward = Some(forward);
            return Ok(Some(lent));
        }
        let Ok(writer) = timeout(LOCK_WAIT, self.writer.clone().lock_owned()).await else { return Ok(None) };
        match Lent::begin(writer).await {
            Ok(lent) => Ok(Some(lent)),
            // Another process may be at work on this very key.
            Err(Error::Busy) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn carry_out(&self, ask: &Ask, lent: &mut Lent) -> Result<Step, Error> {
        let row = read(lent.connection_mut(), &ask.key).await?;
        let facts = ask.facts(row.as_ref().map(|row| row.fingerprint));
        let decision = decide(ask.op, row.as_ref().map(|row| row.state), facts);
        let connection = lent.connection_mut();
        Ok(match decision {
            Decision::Act => {
                write(connection, ask, Stored::new("running", ask.fingerprint)).await?;
                sqlx::raw_sql("savepoint saga_handler").execute(connection).await?;
                Step::Run(None)
            }
            Decision::Undo => {
                sqlx::raw_sql("savepoint saga_handler").execute(connection).await?;
                Step::Run(row.map(|row| row.output))
            }
            Decision::Tombstone(say) => {
                let fingerprint = row.map_or(0, |row| row.fingerprint);
                write(connection, ask, Stored::new("tombstone", fingerprint)).await?;
                Step::Commit(Some(answer(say, ask, Bytes::new(), None)))
            }
            Decision::Answer(say) => {
                let (answer, newer) = told(say, ask, row);
                if newer {
                    bump_attempt(connection, ask).await?;
                    Step::Commit(Some(answer))
                } else {
                    Step::Rollback(Some(answer))
                }
            }
            Decision::Delete => {
                delete(connection, &ask.key).await?;
                Step::Commit(None)
            }
            Decision::Keep => Step::Rollback(None),
        })
    }
}

/// What is left to do with the transaction after the barrier has spoken.
enum Step {
    Run(Option<Bytes>),
    Commit(Option<Answer>),
    Rollback(Option<Answer>),
}

impl Inbox for SqliteInbox {
    type Store = Sqlite;

    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> Kind {
        Kind::Transactional
    }

    async fn enter(&self, ask: &Ask) -> Result<Entry<SqliteUnit>, Error> {
        let Some(mut lent) = self.lend(ask.op).await? else {
            return Ok(match ask.op {
                Op::Forget => Entry::Silent,
                Op::Action | Op::Compensation | Op::Query | Op::Seal => {
                    Entry::Answered { answer: Answer::Running, wrote: false }
                }
            });
        };
        let (reply, wrote) = match self.carry_out(ask, &mut lent).await? {
            Step::Run(output) => {
                let unit = SqliteUnit(Arc::new(Mutex::new(Some(lent))));
                return Ok(Entry::Run { unit, output });
            }
            Step::Commit(reply) => {
                lent.commit().await?;
                (reply, true)
            }
            Step::Rollback(reply) => {
                lent.rollback().await?;
                (reply, false)
            }
        };
        Ok(reply.map_or(Entry::Silent, |answer| Entry::Answered { answer, wrote }))
    }

    async fn settle(&self, ask: &Ask, unit: SqliteUnit, end: End) -> Result<u32, Error> {
        // The handler is over; taking the transaction out ends it for whatever it left behind, too.
        let Some(mut lent) = unit.0.lock().await.take() else { return Err(Error::TransactionGone) };
        let connection = lent.connection_mut();
        let stored = match end {
            End::RolledBack => {
                lent.rollback().await?;
                return Ok(ask.attempt);
            }
            End::Refused(fault) => {
                savepoint(connection, "rollback to saga_handler").await?;
                Stored { fault: Some(fault), ..Stored::new("refused", ask.fingerprint) }
            }
            End::Done(output) => Stored { output: Some(output), ..Stored::new("done", ask.fingerprint) },
            End::Accepted => Stored::new("running", ask.fingerprint),
            End::Compensated => Stored::new("compensated", 0),
        };
        savepoint(connection, "release saga_handler").await?;
        write(connection, ask, stored).await?;
        lent.commit().await?;
        Ok(ask.attempt)
    }

    async fn complete(&self, key: &StepKey, end: End) -> Result<Option<u32>, Error> {
        let mut lent = Lent::begin(self.writer.clone().lock_owned().await).await?;
        let connection = lent.connection_mut();
        let row = read(connection, key).await?;
        let Some(row) = row.filter(|row| row.state == RowState::Running) else {
            lent.rollback().await?;
            return Ok(None);
        };
        let stored = match end {
            End::Done(output) => Stored { output: Some(output), ..Stored::new("done", row.fingerprint) },
            End::Refused(fault) => Stored { fault: Some(fault), ..Stored::new("refused", row.fingerprint) },
            End::RolledBack => {
                delete(connection, key).await?;
                lent.commit().await?;
                return Ok(Some(row.attempt));
            }
            End::Accepted | End::Compensated => {
                lent.rollback().await?;
                return Ok(None);
            }
        };
        update(connection, key, stored).await?;
        lent.commit().await?;
        Ok(Some(row.attempt))
    }

    async fn sweep(&self) -> Result<u64, Error> {
        let mut dropped = 0;
        loop {
            let mut lent = Lent::begin(self.writer.clone().lock_owned().await).await?;
            let rows = sqlx::query(
                "delete from saga_inbox where rowid in (select rowid from saga_inbox
                 where retain_until_us > 0 and retain_until_us < ? and state <> 'running' limit ?)",
            )
            .bind(unix_micros())
            .bind(SWEEP_ROWS as i64)
            .execute(lent.connection_mut())
            .await?
            .rows_affected();
            lent.commit().await?;
            dropped += rows;
            if rows < SWEEP_ROWS {
                return Ok(dropped);
            }
        }
    }
}

async fn savepoint(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(statement).execute(connection).await.map(drop).map_err(|_| Error::TransactionGone)
}

/// `SQLITE_BUSY` and its extended forms have 5 in the low byte.
fn busy(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.and_then(|code| code.parse::<u32>().ok()) {
        Some(code) if code & 0xff == 5 => Error::Busy,
        Some(_) | None => Error::Database(error),
    }
}

#[cfg(test)]
mod tests;
