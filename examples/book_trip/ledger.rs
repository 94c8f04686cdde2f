//! One line for every effect and every undoing, written in the transaction of the effect itself. There
//! is no unique key: were anything done twice, it would show.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use saga_participant::{Ctx, Result as HandlerResult, Sqlite};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{Error, PARTICIPANTS, database};

pub(super) const SCHEMA: &str = "create table if not exists ledger (
    saga_id text not null,
    step text not null,
    round integer not null,
    kind text not null check (kind in ('effect', 'compensation')),
    subject text not null,
    at integer not null
);";

/// What a line of the ledger tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An action took effect.
    Effect,
    /// A compensation undid it.
    Compensation,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Effect => "effect",
            Kind::Compensation => "compensation",
        }
    }
}

/// A line of a participant's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// Whose ledger.
    pub participant: &'static str,
    /// The saga, in the usual form of a UUID.
    pub saga_id: String,
    /// Path of the step.
    pub step: String,
    /// Round of the step.
    pub round: u32,
    /// Done or undone.
    pub kind: Kind,
    /// What it was done to: a confirmation, a receipt.
    pub subject: String,
    /// When, in unix microseconds.
    pub at_us: i64,
}

/// Writes a line in the handler's transaction.
pub(super) async fn note(ctx: &Ctx<Sqlite>, kind: Kind, subject: &str) -> HandlerResult<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let mut tx = ctx.tx().await?;
    sqlx::query(
        "insert into ledger (saga_id, step, round, kind, subject, at) values (?, ?, ?, ?, ?, ?)",
    )
    .bind(ctx.saga_id().to_string())
    .bind(ctx.step())
    .bind(ctx.idempotency_key().round)
    .bind(kind.as_str())
    .bind(subject)
    .bind(i64::try_from(now)?)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// The ledgers of all participants that have a database in `dir`, in order of time.
///
/// # Errors
/// When a database is there but cannot be read.
pub async fn ledger(dir: &Path) -> Result<Vec<LedgerRow>, Error> {
    let mut rows = Vec::new();
    for participant in PARTICIPANTS {
        let path = database(dir, participant);
        if path.exists() {
            let read = read(&path, participant).await;
            rows.extend(read.map_err(|source| Error::Ledger {
                participant,
                source,
            })?);
        }
    }
    rows.sort_by_key(|row| row.at_us);
    Ok(rows)
}

async fn read(path: &Path, participant: &'static str) -> Result<Vec<LedgerRow>, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let rows = sqlx::query(
        "select saga_id, step, round, kind = 'effect', subject, at from ledger order by rowid",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    rows.iter()
        .map(|row| {
            Ok(LedgerRow {
                participant,
                saga_id: row.try_get(0)?,
                step: row.try_get(1)?,
                round: row.try_get(2)?,
                kind: if row.try_get(3)? {
                    Kind::Effect
                } else {
                    Kind::Compensation
                },
                subject: row.try_get(4)?,
                at_us: row.try_get(5)?,
            })
        })
        .collect()
}
