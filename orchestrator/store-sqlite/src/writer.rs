//! The one thread that writes.
//!
//! It takes whole operations from a channel, in order, and answers each when it is durable. It owns the
//! connection and the lock on the side file; both end with it.

use std::{
    fs::File,
    sync::Arc,
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use saga_core::{Partition, Timestamp};
use tokio::sync::{mpsc, oneshot};

use super::chronicle;
use super::commit::{self, Owner};
use super::convert::{clamped, unsigned};
use super::fault::{open_error, read_error};
use super::place::Place;
use saga_engine::store::record::{
    AuditRow, Batch, BreakerRow, DefinitionRow, Fence, ParticipantRow,
};
use saga_engine::store::{Claim, CommitError, Error, tenure::Tenure, trouble::Cause};

type Answer<T, E = Error> = oneshot::Sender<Result<T, E>>;

/// What the writer is asked to do.
pub(super) enum Op {
    Claim {
        token: u128,
        answer: Answer<Claim>,
    },
    Commit {
        batch: Batch,
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
    SetTold {
        commit_no: u64,
        answer: Answer<()>,
    },
    PutPresence {
        note: String,
        answer: Answer<()>,
    },
    PutBreaker {
        row: BreakerRow,
        audit: Option<AuditRow>,
        answer: Answer<()>,
    },
    Close {
        answer: Answer<()>,
    },
}

/// The way to the writer thread. Dropping it waits until the thread has done what was queued and has released the
/// lock, so that the file can be opened again at once.
#[derive(Debug)]
pub(super) struct Writer {
    /// Unbounded, so that the order of the calls is the order of the writes. It stays short: a lane waits for one batch
    /// before it hands over the next, and every other caller waits for its own small write.
    ops: Option<mpsc::UnboundedSender<Op>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread with an opened, migrated connection.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the thread cannot be started; [`Error::Corrupt`] when the partitions make no sense.
    pub(super) fn start(conn: Connection, lock: File, place: Arc<Place>) -> Result<Self, Error> {
        let owners = commit::load_owners(&conn).map_err(open_error)?;
        let (ops, queue) = mpsc::unbounded_channel();
        let mut desk = Desk {
            conn,
            owners,
            place,
            lost: false,
        };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let closing = desk.serve(queue);
                desk.close();
                // Explicitly after the connection: whoever gets the lock finds the file at rest.
                drop(lock);
                if let Some(answer) = closing {
                    answer.send(Ok(())).ok();
                }
            })
            .map_err(|error| Error::Unavailable(error.to_string().into()))?;
        Ok(Self {
            ops: Some(ops),
            thread: Some(thread),
        })
    }

    /// Queues the operation; false when the store is closed.
    pub(super) fn send(&self, op: Op) -> bool {
        self.ops.as_ref().is_some_and(|ops| ops.send(op).is_ok())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.ops.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// What the thread works with.
struct Desk {
    conn: Connection,
    owners: Vec<Owner>,
    place: Arc<Place>,
    /// What was written last may not be where the store's path leads to. Nothing is written until it does again.
    lost: bool,
}

impl Desk {
    /// Serves until everybody has hung up, or until [`Op::Close`], whose answer is returned.
    ///
    /// A send to somebody who stopped waiting fails, which is their business: the operation was done.
    fn serve(&mut self, mut queue: mpsc::UnboundedReceiver<Op>) -> Option<Answer<()>> {
        while let Some(op) = queue.blocking_recv() {
            match op {
                Op::Commit { batch, answer } => {
                    let commit = |desk: &mut Self| commit::commit(&desk.conn, &desk.owners, &batch);
                    answer
                        .send(self.in_place(commit, CommitError::Unavailable, CommitError::Unknown))
                        .ok();
                }
                Op::Claim { token, answer } => {
                    let claim = |desk: &mut Self| desk.claim(token).map_err(read_error);
                    answer.send(self.put(claim)).ok();
                }
                Op::PutDefinitions { rows, answer } => {
                    answer
                        .send(self.put(|desk| desk.put_definitions(&rows)))
                        .ok();
                }
                Op::PutParticipant { row, answer } => {
                    answer
                        .send(self.put(|desk| desk.put_participant(&row).map_err(read_error)))
                        .ok();
                }
                Op::PutAudit { row, answer } => {
                    let put = |desk: &mut Self| {
                        commit::append_audit(&desk.conn, &[row]).map_err(put_error)
                    };
                    answer.send(self.put(put)).ok();
                }
                Op::SetTold { commit_no, answer } => {
                    let put = |desk: &mut Self| {
                        chronicle::set_told(&desk.conn, commit_no).map_err(read_error)
                    };
                    answer.send(self.put(put)).ok();
                }
                Op::PutPresence { note, answer } => {
                    answer
                        .send(self.put(|desk| desk.put_presence(&note).map_err(read_error)))
                        .ok();
                }
                Op::PutBreaker { row, audit, answer } => {
                    let put = |desk: &mut Self| {
                        desk.put_breaker(&row, audit.as_ref()).map_err(read_error)
                    };
                    answer.send(self.put(put)).ok();
                }
                Op::Close { answer } => {
                    queue.close();
                    while let Some(late) = queue.blocking_recv() {
                        refuse(late);
                    }
                    return Some(answer);
                }
            }
        }
        None
    }

    /// Writes something, and looks whether it is where the store's path leads to before that is answered. `refused` says
    /// that nothing was written, `doubtful` that it was, perhaps to a file that nobody will read.
    fn in_place<T, E>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, E>,
        refused: fn(Cause) -> E,
        doubtful: fn(Cause) -> E,
    ) -> Result<T, E> {
        if self.lost {
            self.place.check().map_err(refused)?;
            self.lost = false;
        }
        let written = write(self)?;
        self.place.check().map_err(|cause| {
            self.lost = true;
            doubtful(cause)
        })?;
        Ok(written)
    }

    fn put<T>(&mut self, write: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.in_place(write, Error::Unavailable, Error::Unavailable)
    }

    fn claim(&mut self, token: u128) -> rusqlite::Result<Claim> {
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute(
            "UPDATE partition SET epoch = epoch + 1, owner_token = ?1",
            params![token.to_be_bytes()],
        )?;
        let owners = commit::load_owners(&tx)?;
        let (last_commit_no, last_commit_at) =
            tx.query_row("SELECT commit_no, at FROM progress", [], |row| {
                Ok((unsigned(row, 0)?, Timestamp(row.get(1)?)))
            })?;
        tx.commit()?;
        self.owners = owners;
        let fences = (0..)
            .zip(&self.owners)
            .map(|(number, owner)| Fence {
                partition: Partition(number),
                epoch: owner.epoch,
                token,
            })
            .collect();
        // The lock on the side file is held for as long as the file is open: nothing else ends the claim.
        Ok(Claim {
            fences,
            last_commit_no,
            last_commit_at,
            tenure: Tenure::unlimited(),
        })
    }

    fn put_definitions(&mut self, rows: &[DefinitionRow]) -> Result<Vec<bool>, Error> {
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(read_error)?;
        let mut new = Vec::with_capacity(rows.len());
        for row in rows {
            let known = tx
                .prepare_cached("SELECT hash FROM definition WHERE name = ?1 AND version = ?2")
                .and_then(|mut statement| {
                    statement
                        .query_row(params![row.name, row.version], |found| found.get(0))
                        .optional()
                })
                .map_err(read_error)?;
            if let Some::<[u8; 32]>(hash) = known {
                if hash != row.hash {
                    return Err(Error::DefinitionConflict {
                        name: row.name.clone(),
                        version: row.version,
                    });
                }
            } else {
                insert_definition(&tx, row).map_err(read_error)?;
            }
            new.push(known.is_none());
        }
        tx.commit().map_err(read_error)?;
        Ok(new)
    }

    fn put_participant(&self, row: &ParticipantRow) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO participant (name, inbox_id, inbox_kind, actions, last_seen)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (name) DO UPDATE SET inbox_id = excluded.inbox_id,
                     inbox_kind = excluded.inbox_kind, actions = excluded.actions,
                     last_seen = excluded.last_seen",
            )?
            .execute(params![
                row.name,
                row.inbox_id,
                row.inbox_kind,
                row.actions,
                row.last_seen.0
            ])
            .map(drop)
    }

    fn put_presence(&self, note: &str) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO meta (name, value) VALUES ('presence', ?1)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )?
            .execute(params![note.as_bytes()])
            .map(drop)
    }

    fn put_breaker(&mut self, row: &BreakerRow, audit: Option<&AuditRow>) -> rusqlite::Result<()> {
        let face = &row.face;
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.prepare_cached(
            "INSERT INTO breaker (participant, action, open, generation, open_until, since, by_whom, reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (participant, action) DO UPDATE SET open = excluded.open,
                 generation = excluded.generation, open_until = excluded.open_until, since = excluded.since,
                 by_whom = excluded.by_whom, reason = excluded.reason
             WHERE excluded.generation >= breaker.generation",
        )?
        .execute(params![
            row.participant,
            row.action,
            face.open,
            clamped(face.generation),
            face.open_until.map(|until| until.0),
            face.since.0,
            face.by,
            face.reason
        ])?;
        if let Some(row) = audit {
            commit::insert_audit(&tx, row, clamped(row.seq))?;
        }
        tx.commit()
    }

    /// Moves the log into the database file. A failure loses nothing: the log is as durable as the file, and the
    /// next open reads it.
    fn close(self) {
        commit::roll_back(&self.conn);
        let moved = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = moved {
            tracing::warn!(%error, "the store's log was left beside the file");
        }
    }
}

fn insert_definition(conn: &Connection, row: &DefinitionRow) -> rusqlite::Result<usize> {
    conn.prepare_cached(
        "INSERT INTO definition (name, version, hash, canonical, deployed_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![row.name, row.version, row.hash, row.canonical, row.deployed_at.0])
}

/// Answers an operation that came after the close.
fn refuse(op: Op) {
    match op {
        Op::Commit { answer, .. } => {
            answer
                .send(Err(CommitError::Unavailable(Error::Closed.into())))
                .ok();
        }
        Op::Claim { answer, .. } => {
            answer.send(Err(Error::Closed)).ok();
        }
        Op::PutDefinitions { answer, .. } => {
            answer.send(Err(Error::Closed)).ok();
        }
        Op::PutParticipant { answer, .. }
        | Op::PutAudit { answer, .. }
        | Op::SetTold { answer, .. }
        | Op::PutPresence { answer, .. }
        | Op::PutBreaker { answer, .. }
        | Op::Close { answer } => {
            answer.send(Err(Error::Closed)).ok();
        }
    }
}

/// A row by itself fails as it would in a batch.
fn put_error(error: CommitError) -> Error {
    match error {
        CommitError::Unavailable(text) | CommitError::Unknown(text) => Error::Unavailable(text),
        CommitError::Data(_) | CommitError::Fenced(_) | CommitError::StartsExist(_) => {
            Error::Corrupt(error.to_string())
        }
    }
}
