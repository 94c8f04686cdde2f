//! Who may write: one process at a time holds the lease on all partitions, and renews it while it lives.
//!
//! The lease only says who should try; that nobody else *can* write is the fence's business. Time is the database's
//! alone. A process that dies leaves its lease to run out.

use std::time::Duration;

use saga_core::{Partition, Timestamp};
use sqlx::{Connection, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::convert::unsigned;
use crate::store::{Claim, record::Fence};

/// How long a lease lasts without renewal.
const TTL_MS: i64 = 5_000;
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// How often a process that waits for the lease looks again.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Takes the lease and raises every epoch; `None` while somebody else has it.
pub(super) async fn claim(
    conn: &mut PgConnection,
    owner: Uuid,
    token: u128,
) -> Result<Option<Claim>, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let taken = sqlx::query(
        "UPDATE lease SET owner = $1, lease_until = clock_timestamp() + $2 * interval '1 millisecond'
         WHERE owner IS NULL OR owner = $1 OR lease_until < clock_timestamp()",
    )
    .bind(owner)
    .bind(TTL_MS as f64)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    let all: i64 = sqlx::query("SELECT count(*) FROM lease").fetch_one(&mut *tx).await?.try_get(0)?;
    if i64::try_from(taken).unwrap_or(0) < all {
        tx.rollback().await?;
        return Ok(None);
    }
    let rows = sqlx::query(
        "WITH raised AS (UPDATE partition SET epoch = epoch + 1, owner_token = $1 RETURNING id, epoch)
         SELECT id, epoch FROM raised ORDER BY id",
    )
    .bind(Uuid::from_u128(token))
    .fetch_all(&mut *tx)
    .await?;
    let mut fences = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: i32 = row.try_get("id")?;
        let partition = Partition(u16::try_from(id).map_err(|error| sqlx::Error::Decode(error.into()))?);
        fences.push(Fence { partition, epoch: unsigned(row, "epoch")?, token });
    }
    let progress = sqlx::query("SELECT commit_no, at FROM progress").fetch_one(&mut *tx).await?;
    let claim = Claim {
        fences,
        last_commit_no: unsigned(&progress, "commit_no")?,
        last_commit_at: Timestamp(progress.try_get("at")?),
    };
    tx.commit().await?;
    Ok(Some(claim))
}

/// Renews the lease for as long as it runs. A renewal that fails is tried again: whether it was too late, the fence tells.
pub(super) async fn keep(pool: PgPool, owner: Uuid) {
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let renewed = sqlx::query(
            "UPDATE lease SET lease_until = clock_timestamp() + $2 * interval '1 millisecond' WHERE owner = $1",
        )
        .bind(owner)
        .bind(TTL_MS as f64)
        .execute(&pool)
        .await;
        if let Err(error) = renewed {
            tracing::warn!(%error, "the lease on the store is not renewed; trying again");
        }
    }
}

/// Gives the lease up, so that the next process need not wait for its end.
pub(super) async fn release(conn: &mut PgConnection, owner: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE lease SET owner = NULL, lease_until = NULL WHERE owner = $1")
        .bind(owner)
        .execute(conn)
        .await
        .map(drop)
}
