//! The inbox in a SQLite database: the *business* database, so that row, reply and effect share one
//! transaction.
//!
//! SQLite has one writer. The inbox owns that connection and lends it to the handler inside
//! `BEGIN IMMEDIATE`, behind a savepoint: a refusal rolls the handler's writes back and keeps the row.
//! Forward work first passes a gate of its own, so that at most one action waits in front of an undo.

mod rows;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use sqlx::{
    SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use super::rows::{Ending, Run, Stored, ending, facts, told};
use super::{
    Abandoned, Claim, Completed, End, Entry, Error, HELD_MAX, Inbox, Kind, Store, answer,
    barrier::{Decision, decide},
    claims::{Claims, keep},
    unix_micros,
};
use crate::{
    command::{Ask, Op, StepKey},
    reply::{Answer, Failure},
};
use rows::{bump_attempt, delete, make, read, sign_of_life, update, write};
pub use writer::Lent;
use writer::{Guard, Writer};

/// How long undo, query and seal wait for the writer before they answer `running`.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How long SQLite waits for a writer in another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a new instance tries to get at a file that is busy: longer than its predecessor takes to drain.
const OPENS_WITHIN: Duration = Duration::from_secs(30);

/// Between two tries, each of which waits for [`BUSY_TIMEOUT`].
const OPENS_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How long the connection is waited for when a handler was ended: it is free by then, or in the hands of somebody who blocks.
const ABANDONED_WITHIN: Duration = Duration::from_millis(50);

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
    guard: Guard,
    forward_gate: Arc<Mutex<()>>,
    claims: Claims,
}

/// The open transaction of one handler run. Empty once the run is settled.
#[derive(Debug, Clone)]
pub struct SqliteUnit(pub(crate) Arc<Mutex<Option<Lent>>>);

impl SqliteInbox {
    /// Opens the database at `path`, creates it and the inbox's tables where they are missing, and
    /// sets WAL with `synchronous=FULL`.
    ///
    /// A file that another process holds, perhaps an instance that drains, is tried again for 30 s.
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
        let began = Instant::now();
        loop {
            match Self::open_once(&options).await {
                Err(Error::Busy) if began.elapsed() < OPENS_WITHIN => try_again().await,
                ended => return ended,
            }
        }
    }

    async fn open_once(options: &SqliteConnectOptions) -> Result<Self, Error> {
        let (mut writer, guard) = Writer::connect(options).await?;
        let connection = writer.connection();
        make(connection).await.map_err(busy)?;
        sqlx::query("insert or ignore into saga_inbox_meta (name, value) values ('inbox_id', ?)")
            .bind(Uuid::now_v7().to_string())
            .execute(&mut *connection)
            .await
            .map_err(busy)?;
        let id: String =
            sqlx::query_scalar("select value from saga_inbox_meta where name = 'inbox_id'")
                .fetch_one(connection)
                .await
                .map_err(busy)?;
        let (writer, forward_gate) = (Arc::new(Mutex::new(writer)), Arc::default());
        Ok(Self {
            id: id.into(),
            writer,
            guard,
            forward_gate,
            claims: Claims::default(),
        })
    }

    /// Runs `statements` on the writer connection in a transaction of its own: the place for the
    /// business tables' `create table if not exists`. A busy file is tried again, as by [`open`](Self::open).
    ///
    /// # Errors
    /// When a statement fails; nothing of it stays then.
    pub async fn migrate(&self, statements: &'static str) -> Result<(), Error> {
        let began = Instant::now();
        let mut lent = loop {
            match Lent::begin(self.writer.clone().lock_owned().await).await {
                Err(Error::Busy) if began.elapsed() < OPENS_WITHIN => try_again().await,
                ended => break ended?,
            }
        };
        sqlx::raw_sql(statements)
            .execute(lent.connection_mut())
            .await?;
        lent.commit().await
    }

    /// The writer with an open transaction; `None` when it stayed busy for too long: for [`LOCK_WAIT`], or for an action its
    /// attempt's limit, after which nobody waits for its answer.
    async fn lend(&self, ask: &Ask) -> Result<Option<Lent>, Error> {
        if ask.op == Op::Action {
            let lend = async {
                let forward = self.forward_gate.clone().lock_owned().await;
                (forward, self.writer.clone().lock_owned().await)
            };
            let (forward, writer) = if ask.timeout.is_zero() {
                lend.await
            } else {
                let Ok(lent) = timeout(ask.timeout, lend).await else {
                    return Ok(None);
                };
                lent
            };
            return Ok(Some(Lent::begin(writer).await?.keeping(forward)));
        }
        let Ok(writer) = timeout(LOCK_WAIT, self.writer.clone().lock_owned()).await else {
            return Ok(None);
        };
        match Lent::begin(writer).await {
            Ok(lent) => Ok(Some(lent)),
            // Another process may be at work on this very key.
            Err(Error::Busy) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn carry_out(&self, ask: &Ask, lent: &mut Lent) -> Result<Step, Error> {
        let row = read(lent.connection_mut(), &ask.key).await?;
        let facts = facts(ask, row.as_ref(), &self.claims);
        let decision = decide(ask.op, row.as_ref().map(|row| row.state), facts);
        let connection = lent.connection_mut();
        Ok(match decision {
            Decision::Act => {
                write(connection, ask, Stored::new("running", ask.fingerprint)).await?;
                sqlx::raw_sql("savepoint saga_handler")
                    .execute(connection)
                    .await?;
                Step::Run(Run::Act)
            }
            // The row stays as it is until the handler has returned: no other command gets at it, and if it fails, the work
            // is as left as before.
            Decision::Resume => {
                sqlx::raw_sql("savepoint saga_handler")
                    .execute(connection)
                    .await?;
                Step::Run(Run::Resume)
            }
            Decision::Undo => {
                sqlx::raw_sql("savepoint saga_handler")
                    .execute(connection)
                    .await?;
                Step::Run(Run::Undo(row.map(|row| row.output)))
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
    Run(Run),
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
        let Some(mut lent) = self.lend(ask).await? else {
            let answer = match ask.op {
                Op::Forget => return Ok(Entry::Silent),
                Op::Action => {
                    let message =
                        "other commands held the database for longer than the attempt's limit";
                    Answer::Failed(Failure::new("inbox_busy", message))
                }
                Op::Compensation | Op::Query | Op::Seal => Answer::Running,
            };
            return Ok(Entry::Answered {
                answer,
                wrote: false,
            });
        };
        let (reply, wrote) = match self.carry_out(ask, &mut lent).await? {
            Step::Run(run) => {
                return Ok(run.entry(SqliteUnit(Arc::new(Mutex::new(Some(lent))))));
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
        let Ok(mut slot) = timeout(HELD_MAX, unit.0.lock()).await else {
            self.guard.close();
            return Err(Error::TransactionHeld);
        };
        let Some(mut lent) = slot.take() else {
            return Err(Error::TransactionGone);
        };
        drop(slot);
        let connection = lent.connection_mut();
        let stored = match end {
            End::RolledBack => {
                lent.rollback().await?;
                return Ok(ask.attempt);
            }
            End::Refused(fault) => {
                savepoint(connection, "rollback to saga_handler").await?;
                Stored {
                    fault: Some(fault),
                    ..Stored::new("refused", ask.fingerprint)
                }
            }
            End::Done(output) => Stored {
                output: Some(output),
                ..Stored::new("done", ask.fingerprint)
            },
            End::Accepted(claim) => Stored::accepted(ask, &claim, &self.claims),
            End::Compensated => Stored::new("compensated", 0),
        };
        let held = stored.claim.map(|(number, _)| number);
        let written = async {
            let connection = lent.connection_mut();
            savepoint(connection, "release saga_handler").await?;
            write(connection, ask, stored).await?;
            lent.commit().await
        };
        if let Err(error) = written.await {
            held.inspect(|number| self.claims.release(*number));
            return Err(error);
        }
        Ok(ask.attempt)
    }

    /// The guard is closed first: it interrupts what the handler left running, and keeps a handler that still holds the
    /// connection from committing.
    async fn abandon(&self, _: &Ask, unit: SqliteUnit) -> Result<Abandoned, Error> {
        self.guard.close();
        let Ok(mut slot) = timeout(ABANDONED_WITHIN, unit.0.lock()).await else {
            return Ok(Abandoned::Stuck);
        };
        if let Some(lent) = slot.take() {
            // Fails where the interruption has rolled back already; whoever is lent the writer next makes sure of it.
            let _ = lent.rollback().await;
        }
        Ok(Abandoned::RolledBack)
    }

    fn is_stuck(&self) -> bool {
        self.guard.is_closed() && self.writer.try_lock().is_err()
    }

    async fn complete(
        &self,
        key: &StepKey,
        claim: Option<&Claim>,
        end: End,
    ) -> Result<Completed, Error> {
        let mut lent = Lent::begin(self.writer.clone().lock_owned().await).await?;
        let connection = lent.connection_mut();
        let row = read(connection, key).await?;
        match ending(row.as_ref(), claim, end) {
            Ok(Ending::Store(stored)) => update(connection, key, stored).await?,
            Ok(Ending::Delete) => delete(connection, key).await?,
            Err(refused) => {
                lent.rollback().await?;
                return Ok(refused);
            }
        }
        lent.commit().await?;
        Ok(row.map_or(Completed::NotRunning, |row| {
            self.claims.release(row.claim);
            Completed::Stored(row.attempt)
        }))
    }

    async fn give_signs_of_life(&self) -> Result<(), Error> {
        let alive = self.claims.alive();
        if alive.is_empty() {
            return Ok(());
        }
        let mut lent = Lent::begin(self.writer.clone().lock_owned().await).await?;
        for (claim, lease) in alive {
            sign_of_life(lent.connection_mut(), claim, lease).await?;
        }
        lent.commit().await
    }

    async fn keep_claims(&self) {
        keep(self, &self.claims).await;
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

async fn savepoint(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), Error> {
    sqlx::raw_sql(statement)
        .execute(connection)
        .await
        .map(drop)
        .map_err(|_| Error::TransactionGone)
}

/// Between two tries to get at a busy file.
async fn try_again() {
    tracing::warn!("the inbox database is held by another process, will try again");
    sleep(OPENS_AGAIN_AFTER).await;
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
