//! The inbox in a PostgreSQL database: the *business* database, so that row, reply and effect share one
//! transaction.
//!
//! Every operation first tries to insert the key's row. Whoever finds it there, or under way in another
//! transaction, waits for that one and then locks the row; so operations on one key follow each other, in whatever
//! process, at `READ COMMITTED`. Undo, query and seal have connections of their own: forward work cannot take the
//! last one from them.

mod backend;
mod rows;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sqlx::{
    PgConnection, PgPool, Postgres as Driver, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{sync::Mutex, time::timeout};
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
    reply::Answer,
};
use backend::{BACKEND, Backend};
use rows::{SCHEMA, bump_attempt, delete, insert, lock, signs_of_life, update, write};

/// How long an operation waits for another one on the same key before it answers `running`.
const LOCK_WAIT_MS: u32 = 5_000;
/// How long an operation waits for a connection before it fails, and comes again.
const CONNECTION_WAIT: Duration = Duration::from_secs(30);
/// Connections for actions.
const FORWARD_CONNECTIONS: u32 = 16;
/// Connections for undo, query, seal and the rest.
const UNDO_CONNECTIONS: u32 = 4;
/// How long the connection is waited for when a handler was ended: it is free by then, or in the hands of somebody who blocks.
const ABANDONED_WITHIN: Duration = Duration::from_millis(50);
/// How long it may take to roll back before PostgreSQL is told to end it: a statement may be under way on it.
const ROLLBACK_WITHIN: Duration = Duration::from_millis(250);
/// Rows that one sweep transaction deletes at most.
const SWEEP_ROWS: u64 = 1_000;

/// Marks handlers that write through the inbox's PostgreSQL transaction: `Ctx<Postgres>`.
#[derive(Debug, Clone, Copy)]
pub struct Postgres;

impl Store for Postgres {
    type Inbox = PgInbox;
    type Unit = PgUnit;
}

/// The table `saga_inbox` in a PostgreSQL database; cheap to clone.
#[derive(Debug, Clone)]
pub struct PgInbox {
    id: Arc<str>,
    forward: PgPool,
    undo: PgPool,
    options: Arc<PgConnectOptions>,
    claims: Claims,
}

/// The open transaction of one handler run. Empty once the run is settled.
#[derive(Debug, Clone)]
pub struct PgUnit {
    pub(crate) tx: Arc<Mutex<Option<Transaction<'static, Driver>>>>,
    backend: Backend,
}

impl PgInbox {
    /// Opens the database behind a `postgres://` URL, and makes the inbox's tables where they are missing.
    ///
    /// It holds up to 16 connections for actions and 4 for everything else.
    ///
    /// # Errors
    /// When the URL is none, or the database cannot be reached or written.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse()?;
        Self::connect_with(options, FORWARD_CONNECTIONS).await
    }

    /// The same with options of one's own, and so many connections for actions.
    ///
    /// # Errors
    /// When the database cannot be reached or written.
    pub async fn connect_with(options: PgConnectOptions, connections: u32) -> Result<Self, Error> {
        let pool = |most: u32| {
            PgPoolOptions::new()
                .max_connections(most.max(1))
                .acquire_timeout(CONNECTION_WAIT)
                .connect_lazy_with(options.clone())
        };
        let (forward, undo) = (pool(connections), pool(UNDO_CONNECTIONS));
        let mut tx = undo.begin().await?;
        // Instances that start together make the tables one after the other.
        sqlx::query("select pg_advisory_xact_lock(hashtext('saga_inbox'))")
            .execute(&mut *tx)
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *tx).await?;
        sqlx::query(
            "insert into saga_inbox_meta (name, value) values ('inbox_id', $1) on conflict do nothing",
        )
        .bind(Uuid::now_v7().to_string())
        .execute(&mut *tx)
        .await?;
        let id: String =
            sqlx::query_scalar("select value from saga_inbox_meta where name = 'inbox_id'")
                .fetch_one(&mut *tx)
                .await?;
        tx.commit().await?;
        Ok(Self {
            id: id.into(),
            forward,
            undo,
            options: Arc::new(options),
            claims: Claims::default(),
        })
    }

    /// Runs `statements` in a transaction of its own: the place for the business tables'
    /// `create table if not exists`.
    ///
    /// # Errors
    /// When a statement fails; nothing of it stays then.
    pub async fn migrate(&self, statements: &'static str) -> Result<(), Error> {
        let mut tx = self.undo.begin().await?;
        sqlx::query("select pg_advisory_xact_lock(hashtext('saga_inbox'))")
            .execute(&mut *tx)
            .await?;
        sqlx::raw_sql(statements).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn begin(&self, op: Op) -> Result<(Transaction<'static, Driver>, Backend), Error> {
        let pool = if op == Op::Action {
            &self.forward
        } else {
            &self.undo
        };
        let mut tx = pool
            .begin_with("begin isolation level read committed")
            .await?;
        let first = sqlx::AssertSqlSafe(format!(
            "set local lock_timeout = {LOCK_WAIT_MS}; {BACKEND}"
        ));
        let backend = Backend::of(&sqlx::raw_sql(first).fetch_one(&mut *tx).await?)?;
        Ok((tx, backend))
    }
}

/// What is left to do with the transaction after the barrier has spoken.
enum Step {
    Run(Run),
    Commit(Option<Answer>),
    Rollback(Option<Answer>),
}

/// What a handler writes can be rolled back alone.
async fn run(connection: &mut PgConnection, run: Run) -> Result<Step, Error> {
    sqlx::raw_sql("savepoint saga_handler")
        .execute(connection)
        .await?;
    Ok(Step::Run(run))
}

async fn carry_out(
    connection: &mut PgConnection,
    ask: &Ask,
    claims: &Claims,
) -> Result<Step, Error> {
    // A row that goes between the two statements is swept, or rolled back by who held it: then ours goes in.
    let row = loop {
        let ours = ask.op != Op::Forget && insert(connection, ask).await?;
        let row = if ours {
            None
        } else {
            lock(connection, &ask.key).await?
        };
        if ours || row.is_some() || ask.op == Op::Forget {
            break row;
        }
    };
    let facts = facts(ask, row.as_ref(), claims);
    let decision = decide(ask.op, row.as_ref().map(|row| row.state), facts);
    Ok(match decision {
        Decision::Act => run(connection, Run::Act).await?,
        // The row stays as it is until the handler has returned: it is locked, and if the handler fails, the work is as left
        // as before.
        Decision::Resume => run(connection, Run::Resume).await?,
        Decision::Undo => run(connection, Run::Undo(row.map(|row| row.output))).await?,
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

impl Inbox for PgInbox {
    type Store = Postgres;

    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> Kind {
        Kind::Transactional
    }

    async fn enter(&self, ask: &Ask) -> Result<Entry<PgUnit>, Error> {
        let (mut tx, backend) = self.begin(ask.op).await?;
        let step = match carry_out(&mut tx, ask, &self.claims).await {
            Ok(step) => step,
            // Somebody is at work on this very key.
            Err(error) if is_lock_timeout(&error) => {
                tx.rollback().await?;
                return Ok(match ask.op {
                    Op::Forget => Entry::Silent,
                    Op::Action | Op::Compensation | Op::Query | Op::Seal => Entry::Answered {
                        answer: Answer::Running,
                        wrote: false,
                    },
                });
            }
            Err(error) => return Err(error),
        };
        let (reply, wrote) = match step {
            Step::Run(run) => {
                // The limit was for the barrier; what the handler waits for is its own business.
                sqlx::raw_sql("set local lock_timeout = default")
                    .execute(&mut *tx)
                    .await?;
                return Ok(run.entry(PgUnit {
                    tx: Arc::new(Mutex::new(Some(tx))),
                    backend,
                }));
            }
            Step::Commit(reply) => {
                tx.commit().await?;
                (reply, true)
            }
            Step::Rollback(reply) => {
                tx.rollback().await?;
                (reply, false)
            }
        };
        Ok(reply.map_or(Entry::Silent, |answer| Entry::Answered { answer, wrote }))
    }

    async fn settle(&self, ask: &Ask, unit: PgUnit, end: End) -> Result<u32, Error> {
        // The handler is over; taking the transaction out ends it for whatever it left behind, too.
        let Ok(mut slot) = timeout(HELD_MAX, unit.tx.lock()).await else {
            unit.backend.kill(&self.options).await;
            return Err(Error::TransactionHeld);
        };
        let Some(mut tx) = slot.take() else {
            return Err(Error::TransactionGone);
        };
        drop(slot);
        let stored = match end {
            End::RolledBack => {
                tx.rollback().await?;
                return Ok(ask.attempt);
            }
            End::Refused(fault) => {
                savepoint(&mut tx, "rollback to saga_handler").await?;
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
            savepoint(&mut tx, "release saga_handler").await?;
            write(&mut tx, ask, stored).await?;
            Ok(tx.commit().await?)
        };
        if let Err(error) = written.await {
            held.inspect(|number| self.claims.release(*number));
            return Err(error);
        }
        Ok(ask.attempt)
    }

    /// In order where the connection is ours and answers; else PostgreSQL is told to end it.
    async fn abandon(&self, _: &Ask, unit: PgUnit) -> Result<Abandoned, Error> {
        if let Ok(mut slot) = timeout(ABANDONED_WITHIN, unit.tx.lock()).await
            && let Some(tx) = slot.take()
            && let Ok(Ok(())) = timeout(ROLLBACK_WITHIN, tx.rollback()).await
        {
            return Ok(Abandoned::RolledBack);
        }
        Ok(if unit.backend.kill(&self.options).await {
            Abandoned::RolledBack
        } else {
            Abandoned::Unknown
        })
    }

    async fn complete(
        &self,
        key: &StepKey,
        claim: Option<&Claim>,
        end: End,
    ) -> Result<Completed, Error> {
        let (mut tx, _) = self.begin(Op::Query).await?;
        let row = lock(&mut tx, key).await?;
        match ending(row.as_ref(), claim, end) {
            Ok(Ending::Store(stored)) => update(&mut tx, key, stored).await?,
            Ok(Ending::Delete) => delete(&mut tx, key).await?,
            Err(refused) => {
                tx.rollback().await?;
                return Ok(refused);
            }
        }
        tx.commit().await?;
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
        signs_of_life(&self.undo, &alive).await
    }

    async fn keep_claims(&self) {
        keep(self, &self.claims).await;
    }

    async fn sweep(&self) -> Result<u64, Error> {
        let mut dropped = 0;
        loop {
            let rows = sqlx::query(
                "delete from saga_inbox where (saga_id, step, round) in (select saga_id, step, round from saga_inbox
                 where retain_until_us > 0 and retain_until_us < $1 and state <> 'running' limit $2
                 for update skip locked)",
            )
            .bind(unix_micros())
            .bind(SWEEP_ROWS as i64)
            .execute(&self.undo)
            .await?
            .rows_affected();
            dropped += rows;
            if rows < SWEEP_ROWS {
                return Ok(dropped);
            }
        }
    }
}

async fn savepoint(connection: &mut PgConnection, statement: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(statement)
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| match error.as_database_error() {
            Some(_) => Error::TransactionGone,
            None => Error::Database(error),
        })
}

fn is_lock_timeout(error: &Error) -> bool {
    match error {
        Error::Database(error) => {
            error
                .as_database_error()
                .and_then(|error| error.code())
                .as_deref()
                == Some("55P03")
        }
        Error::Busy
        | Error::UnknownState { .. }
        | Error::TransactionGone
        | Error::TransactionHeld => false,
    }
}
