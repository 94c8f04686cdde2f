//! Who may write: one process at a time holds the lease on all partitions, and renews it while it lives.
//!
//! The lease only says who should try; that nobody else *can* write is the fence's business. A process that dies leaves
//! its lease to run out, by the clock of the database. The process itself counts from before it asked, by its own clock,
//! so it gives up before another one may begin. Renewals have a connection of their own: neither a read nor a commit
//! that waits can delay them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use saga_core::{Partition, Timestamp};
use sqlx::{Connection, PgConnection, Row};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use super::{convert::unsigned, session::Target};
use saga_engine::store::{
    Claim, Error,
    record::Fence,
    tenure::{Tenure, WeakTenure, since_boot},
};

/// How long a lease lasts without renewal.
const TTL_MS: i64 = 5_000;
/// The same for clocks.
pub(super) const TTL: Duration = Duration::from_millis(TTL_MS.unsigned_abs());
/// How often it is renewed, and how long a renewal may take before it is tried on another connection.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// Before a renewal that failed is tried again.
const RENEW_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How often the clock is read: a process that was stopped notices within this that its lease has run out.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The claim of this process, as the one who renews it sees it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) owner: Uuid,
    held: Mutex<WeakTenure>,
    claimed: Notify,
}

impl Lease {
    pub(super) fn of(owner: Uuid) -> Self {
        Self {
            owner,
            held: Mutex::default(),
            claimed: Notify::new(),
        }
    }

    /// The claim, if anybody holds it still.
    pub(super) fn held(&self) -> Option<Tenure> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
    }

    /// The tenure of a claim that was asked for at this time: the one in force, or a new one.
    pub(super) fn begin(&self, asked: Duration) -> Tenure {
        let until = asked + TTL;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenure) = held.upgrade().filter(Tenure::holds) {
            tenure.extend(until);
            return tenure;
        }
        let tenure = Tenure::until(until);
        *held = tenure.downgrade();
        drop(held);
        self.claimed.notify_one();
        tenure
    }

    /// Renews claims for as long as it runs, and ends one that cannot be renewed in time.
    pub(super) async fn keep(&self, target: Target) {
        let mut keeper = Keeper {
            target,
            owner: self.owner,
            conn: None,
        };
        loop {
            match self.held().filter(|tenure| !tenure.has_ended()) {
                Some(tenure) => keeper.keep(tenure.downgrade(), tenure).await,
                None => self.claimed.notified().await,
            }
        }
    }
}

/// Renews on a connection of its own, which is made anew when it fails.
struct Keeper {
    target: Target,
    owner: Uuid,
    conn: Option<PgConnection>,
}

impl Keeper {
    /// Renews until the claim has ended or nobody holds it.
    async fn keep(&mut self, weak: WeakTenure, first: Tenure) {
        drop(first);
        let mut next = Instant::now() + RENEW_EVERY;
        let mut failing: Option<String> = None;
        while let Some(tenure) = weak.upgrade() {
            if !tenure.holds() {
                let why =
                    failing.unwrap_or_else(|| "this process was stopped or too busy".to_owned());
                tenure.end(format!(
                    "the lease on the store was not renewed within {TTL:?}: {why}"
                ));
                return;
            }
            let wait = next
                .saturating_duration_since(Instant::now())
                .min(LOOK_EVERY)
                .min(tenure.left());
            if !wait.is_zero() {
                drop(tenure);
                sleep(wait).await;
                continue;
            }
            let asked = since_boot();
            let outcome = timeout(RENEW_EVERY.min(tenure.left()), self.renew()).await;
            match outcome {
                Ok(Ok(true)) => {
                    tenure.extend(asked + TTL);
                    failing = None;
                    next = Instant::now() + RENEW_EVERY;
                    continue;
                }
                Ok(Ok(false)) => {
                    tenure.end("another process took the store over");
                    return;
                }
                Ok(Err(error)) => self.failed(&mut failing, error.to_string()),
                Err(_) => self.failed(
                    &mut failing,
                    format!("{} does not answer", self.target.name()),
                ),
            }
            next = Instant::now() + RENEW_AGAIN_AFTER;
        }
    }

    fn failed(&mut self, failing: &mut Option<String>, why: String) {
        self.conn = None;
        if failing.is_none() {
            tracing::warn!(why, "the lease on the store is not renewed; trying again");
        }
        *failing = Some(why);
    }

    /// False when somebody else has the lease.
    async fn renew(&mut self) -> Result<bool, Error> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            None => self.conn.insert(self.target.connect().await?),
        };
        let renewed = sqlx::query(
            "UPDATE lease SET lease_until = clock_timestamp() + $2 * interval '1 millisecond' WHERE owner = $1",
        )
        .bind(self.owner)
        .bind(TTL_MS as f64)
        .execute(conn)
        .await;
        renewed
            .map(|renewed| renewed.rows_affected() > 0)
            .map_err(super::fault::read_error)
    }
}

/// What a claim found.
pub(super) struct Granted {
    fences: Vec<Fence>,
    last_commit_no: u64,
    last_commit_at: Timestamp,
}

impl Granted {
    pub(super) fn with(self, tenure: Tenure) -> Claim {
        let Self {
            fences,
            last_commit_no,
            last_commit_at,
        } = self;
        Claim {
            fences,
            last_commit_no,
            last_commit_at,
            tenure,
        }
    }
}

/// Takes the lease and raises every epoch; `None` while somebody else has it.
pub(super) async fn claim(
    conn: &mut PgConnection,
    owner: Uuid,
    token: u128,
) -> Result<Option<Granted>, sqlx::Error> {
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
    let all: i64 = sqlx::query("SELECT count(*) FROM lease")
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
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
        let partition =
            Partition(u16::try_from(id).map_err(|error| sqlx::Error::Decode(error.into()))?);
        fences.push(Fence {
            partition,
            epoch: unsigned(row, "epoch")?,
            token,
        });
    }
    let progress = sqlx::query("SELECT commit_no, at FROM progress")
        .fetch_one(&mut *tx)
        .await?;
    let granted = Granted {
        fences,
        last_commit_no: unsigned(&progress, "commit_no")?,
        last_commit_at: Timestamp(progress.try_get("at")?),
    };
    tx.commit().await?;
    Ok(Some(granted))
}

/// Gives the lease up, so that the next process need not wait for its end.
pub(super) async fn release(conn: &mut PgConnection, owner: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE lease SET owner = NULL, lease_until = NULL WHERE owner = $1")
        .bind(owner)
        .execute(conn)
        .await
        .map(drop)
}
