//! The one session that writes, and its task.
//!
//! It takes whole operations from a channel, in order, and answers each when it is durable. A session that broke is
//! made anew for the next operation; the one that was under way then is answered as what it is: unknown.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection, Row};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use uuid::Uuid;

use super::{
    commit,
    convert::{clamped, uuid},
    fault::{breaks_connection, read_error},
    lease::{self, Lease, TTL},
    session::Target,
};
use saga_engine::store::{
    Claim, CommitError, Error,
    record::{AuditRow, Batch, BreakerRow, DefinitionRow, ParticipantRow},
    tenure::{Tenure, since_boot},
    trouble::Cause,
};

/// Longer than the server lets a statement run: whoever does not answer by then is gone.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

type Answer<T, E = Error> = oneshot::Sender<Result<T, E>>;

/// What the writer is asked to do.
pub(super) enum Op {
    Claim {
        token: u128,
        answer: Answer<Claim>,
    },
    Commit {
        batch: Box<Batch>,
        answer: Answer<(), CommitError>,
    },
    PutDefinitions {
        rows: Vec<DefinitionRow>,
        answer: Answer<Vec<bool>>,
    },
    PutParticipant {
        row: ParticipantRow,
        answer: Answer<()>,
    },
    PutAudit {
        row: AuditRow,
        answer: Answer<()>,
    },
    PutPresence {
        note: String,
        answer: Answer<()>,
    },
    PutBreaker {
        row: Box<BreakerRow>,
        audit: Option<AuditRow>,
        answer: Answer<()>,
    },
    Close {
        answer: Answer<()>,
    },
}

pub(super) struct Writer {
    target: Target,
    lease: Arc<Lease>,
    conn: Option<PgConnection>,
    /// On this connection.
    commits: u64,
}

impl Writer {
    pub(super) fn new(target: Target, lease: Arc<Lease>, conn: PgConnection) -> Self {
        Self {
            target,
            lease,
            conn: Some(conn),
            commits: 0,
        }
    }

    /// Serves until everybody has hung up, or until [`Op::Close`].
    ///
    /// A send to somebody who stopped waiting fails, which is their business: the operation was done.
    pub(super) async fn serve(mut self, mut queue: mpsc::UnboundedReceiver<Op>) {
        while let Some(op) = queue.recv().await {
            match op {
                Op::Commit { batch, answer } => {
                    drop(answer.send(self.commit(&batch).await));
                    self.renew_plans().await;
                }
                Op::Claim { token, answer } => drop(answer.send(self.claim(token).await)),
                Op::PutDefinitions { rows, answer } => {
                    drop(answer.send(self.put_definitions(&rows).await))
                }
                Op::PutParticipant { row, answer } => {
                    drop(answer.send(self.put_participant(&row).await))
                }
                Op::PutAudit { row, answer } => drop(answer.send(self.put_audit(&row).await)),
                Op::PutPresence { note, answer } => {
                    drop(answer.send(self.put_presence(&note).await))
                }
                Op::PutBreaker { row, audit, answer } => {
                    drop(answer.send(self.put_breaker(&row, audit.as_ref()).await));
                }
                Op::Close { answer } => {
                    queue.close();
                    while let Some(late) = queue.recv().await {
                        refuse(late);
                    }
                    self.close().await;
                    answer.send(Ok(())).ok();
                    return;
                }
            }
        }
        self.close().await;
    }

    async fn session(&mut self) -> Result<&mut PgConnection, Error> {
        if self.conn.is_none() {
            self.conn = Some(self.target.connect().await?);
            self.commits = 0;
        }
        self.conn.as_mut().ok_or(Error::Closed)
    }

    async fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let tenure = self.lease.held();
        // Whoever lost the lease need not ask the database, which may not even answer.
        if tenure.as_ref().is_some_and(|tenure| !tenure.holds()) {
            return Err(CommitError::Fenced(
                batch.fence.iter().map(|fence| fence.partition).collect(),
            ));
        }
        let conn = self
            .session()
            .await
            .map_err(|error| CommitError::Unavailable(error.into()))?;
        let committed = tokio::select! {
            committed = timeout(ANSWERS_WITHIN, commit::commit(conn, batch)) => committed,
            () = ended(tenure) => {
                self.conn = None;
                return Err(CommitError::Unknown("the lease was lost before the database answered".into()));
            }
        };
        match committed {
            Ok(Ok(())) => {
                self.commits += 1;
                Ok(())
            }
            Ok(Err((told, error))) => {
                if matches!(told, CommitError::Unknown(_))
                    || error.as_ref().is_some_and(breaks_connection)
                {
                    self.conn = None;
                }
                Err(told)
            }
            Err(_) => {
                self.conn = None;
                Err(CommitError::Unknown(self.silent()))
            }
        }
    }

    /// The database plans the statements of `saga_commit` once a session. What it plans over empty tables, it reads whole
    /// tables for when they have grown, until it happens to gather statistics. So it plans anew when there may be twice
    /// as much as the last time.
    async fn renew_plans(&mut self) {
        // Before that nothing is planned for good.
        if self.commits < 8 || !self.commits.is_power_of_two() {
            return;
        }
        let Some(conn) = &mut self.conn else { return };
        let renewed = timeout(ANSWERS_WITHIN, sqlx::raw_sql("DISCARD PLANS").execute(conn)).await;
        if !matches!(renewed, Ok(Ok(_))) {
            // Whoever does not answer this does not answer a commit.
            self.conn = None;
        }
    }

    async fn claim(&mut self, token: u128) -> Result<Claim, Error> {
        let (lease, asked) = (Arc::clone(&self.lease), since_boot());
        let conn = self.session().await?;
        // An answer that comes later is of no use: the lease would have run out by then.
        let granted = match timeout(TTL, lease::claim(conn, lease.owner, token)).await {
            Ok(Ok(Some(granted))) => granted,
            Ok(Ok(None)) => return Err(Error::Owned),
            Ok(Err(error)) => {
                self.conn = None;
                return Err(read_error(error));
            }
            Err(_) => {
                self.conn = None;
                return Err(Error::Unavailable(self.silent()));
            }
        };
        Ok(granted.with(lease.begin(asked)))
    }

    async fn put_definitions(&mut self, rows: &[DefinitionRow]) -> Result<Vec<bool>, Error> {
        let conn = self.session().await?;
        let done = timeout(ANSWERS_WITHIN, put_definitions(conn, rows)).await;
        self.settled(done)?
            .map_err(|(name, version)| Error::DefinitionConflict { name, version })
    }

    async fn put_audit(&mut self, row: &AuditRow) -> Result<(), Error> {
        let seq = i64::try_from(row.seq).map_err(|error| Error::Corrupt(error.to_string()))?;
        let conn = self.session().await?;
        let put = sqlx::query(
            "INSERT INTO audit (saga_id, seq, at, verb, step, who, reason, forced)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(Uuid::from_u128(row.saga_id.as_u128()))
        .bind(seq)
        .bind(row.at.0)
        .bind(&row.verb)
        .bind(&row.step)
        .bind(&row.who)
        .bind(&row.reason)
        .bind(row.forced)
        .execute(conn);
        let done = timeout(ANSWERS_WITHIN, put).await;
        self.settled(done).map(drop)
    }

    async fn put_participant(&mut self, row: &ParticipantRow) -> Result<(), Error> {
        let conn = self.session().await?;
        let put = sqlx::query(
            "INSERT INTO participant (name, inbox_id, inbox_kind, actions, last_seen) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name) DO UPDATE SET inbox_id = excluded.inbox_id, inbox_kind = excluded.inbox_kind,
                 actions = excluded.actions, last_seen = excluded.last_seen",
        )
        .bind(&row.name)
        .bind(&row.inbox_id)
        .bind(&row.inbox_kind)
        .bind(&row.actions)
        .bind(row.last_seen.0)
        .execute(conn);
        let done = timeout(ANSWERS_WITHIN, put).await;
        self.settled(done).map(drop)
    }

    /// A former owner has nothing to note: it no longer hears who is there.
    async fn put_presence(&mut self, note: &str) -> Result<(), Error> {
        if !self.lease.held().is_some_and(|tenure| tenure.holds()) {
            return Err(Error::Owned);
        }
        let conn = self.session().await?;
        let put = sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('presence', $1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(note)
        .execute(conn);
        let done = timeout(ANSWERS_WITHIN, put).await;
        self.settled(done).map(drop)
    }

    async fn put_breaker(
        &mut self,
        row: &BreakerRow,
        audit: Option<&AuditRow>,
    ) -> Result<(), Error> {
        let conn = self.session().await?;
        let done = timeout(ANSWERS_WITHIN, put_breaker(conn, row, audit)).await;
        self.settled(done)
    }

    fn settled<T>(
        &mut self,
        done: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, Error> {
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                if breaks_connection(&error) {
                    self.conn = None;
                }
                Err(read_error(error))
            }
            Err(_) => {
                self.conn = None;
                Err(Error::Unavailable(self.silent()))
            }
        }
    }

    fn silent(&self) -> Cause {
        self.target.silent()
    }

    async fn close(&mut self) {
        let owner = self.lease.owner;
        if let Some(tenure) = self.lease.held() {
            tenure.end("the store is closed");
        }
        if let Some(mut conn) = self.conn.take() {
            // Whoever comes next waits for the end of the lease at most.
            if let Ok(Err(error)) = timeout(ANSWERS_WITHIN, lease::release(&mut conn, owner)).await
            {
                tracing::warn!(%error, "the lease on the store was not given up; it runs out by itself");
            }
            conn.close().await.ok();
        }
    }
}

/// Waits for the end of a claim; for ever where there is none.
async fn ended(tenure: Option<Tenure>) {
    match tenure {
        Some(tenure) => tenure.ended().await,
        None => std::future::pending().await,
    }
}

/// All rows or none; for each whether it is new, or the name and version that has other content.
async fn put_definitions(
    conn: &mut PgConnection,
    rows: &[DefinitionRow],
) -> Result<Result<Vec<bool>, (String, u32)>, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let mut new = Vec::with_capacity(rows.len());
    for row in rows {
        let version = i64::from(row.version);
        let inserted = sqlx::query(
            "INSERT INTO definition (name, version, hash, canonical, deployed_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
        )
        .bind(&row.name)
        .bind(version)
        .bind(row.hash.as_slice())
        .bind(&row.canonical)
        .bind(row.deployed_at.0)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if inserted == 0 {
            let there = sqlx::query("SELECT hash FROM definition WHERE name = $1 AND version = $2")
                .bind(&row.name)
                .bind(version)
                .fetch_one(&mut *tx)
                .await?;
            if there.try_get::<Vec<u8>, _>("hash")? != row.hash {
                tx.rollback().await?;
                return Ok(Err((row.name.clone(), row.version)));
            }
        }
        new.push(inserted == 1);
    }
    tx.commit().await?;
    Ok(Ok(new))
}

/// What became of a breaker and what an operator did, or neither.
async fn put_breaker(
    conn: &mut PgConnection,
    row: &BreakerRow,
    audit: Option<&AuditRow>,
) -> Result<(), sqlx::Error> {
    let face = &row.face;
    let mut tx = conn.begin().await?;
    sqlx::query(
        "INSERT INTO breaker (participant, action, open, generation, open_until, since, by_whom, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (participant, action) DO UPDATE SET open = excluded.open,
             generation = excluded.generation, open_until = excluded.open_until, since = excluded.since,
             by_whom = excluded.by_whom, reason = excluded.reason
         WHERE excluded.generation >= breaker.generation",
    )
    .bind(&row.participant)
    .bind(&row.action)
    .bind(face.open)
    .bind(clamped(face.generation))
    .bind(face.open_until.map(|until| until.0))
    .bind(face.since.0)
    .bind(&face.by)
    .bind(&face.reason)
    .execute(&mut *tx)
    .await?;
    if let Some(row) = audit {
        sqlx::query(
            "INSERT INTO audit (saga_id, seq, at, verb, step, who, reason, forced)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(uuid(row.saga_id))
        .bind(clamped(row.seq))
        .bind(row.at.0)
        .bind(&row.verb)
        .bind(&row.step)
        .bind(&row.who)
        .bind(&row.reason)
        .bind(row.forced)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}

/// The store is closed; what comes now is told so.
fn refuse(op: Op) {
    match op {
        Op::Claim { answer, .. } => drop(answer.send(Err(Error::Closed))),
        Op::Commit { answer, .. } => {
            drop(answer.send(Err(CommitError::Unavailable(Error::Closed.into()))));
        }
        Op::PutDefinitions { answer, .. } => drop(answer.send(Err(Error::Closed))),
        Op::PutParticipant { answer, .. } => drop(answer.send(Err(Error::Closed))),
        Op::PutAudit { answer, .. } => drop(answer.send(Err(Error::Closed))),
        Op::PutPresence { answer, .. } => drop(answer.send(Err(Error::Closed))),
        Op::PutBreaker { answer, .. } => drop(answer.send(Err(Error::Closed))),
        Op::Close { answer } => drop(answer.send(Err(Error::Closed))),
    }
}
