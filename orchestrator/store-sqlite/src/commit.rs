//! One batch, one transaction.
//!
//! Order inside: fence, starts, changes, journal, audit, counters, progress. A start that meets an earlier one does not stop
//! the others, so that all conflicts are found in one go; then everything is rolled back.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use saga_core::{Partition, SagaId, Status};

use super::convert::{Id, StatusColumn, labels_text, status_number};
use super::fault::{cause, commit_error, statement_error};
use super::suffix;
use saga_engine::store::CommitError;
use saga_engine::store::record::{
    AuditRow, Batch, ChangeRow, Fence, JournalRow, StartConflict, StartRow,
};

/// Who owns a partition, as the database says; the file is ours alone, so memory may answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) epoch: u64,
    /// `None` until the first claim.
    pub(super) token: Option<u128>,
}

/// What the counters gain and lose: by name, version and number of the status.
type Deltas = BTreeMap<(String, u32, i64), i64>;

/// Writes the batch in one transaction, or nothing. Outside of a transaction again when it returns.
pub(super) fn commit(
    conn: &Connection,
    owners: &[Owner],
    batch: &Batch,
) -> Result<(), CommitError> {
    check_fence(owners, &batch.fence)?;
    batch.check_coverage()?;
    begin(conn)?;
    if let Err(error) = write(conn, batch) {
        return Err(if roll_back(conn) {
            error
        } else {
            CommitError::Unknown(error.to_string().into())
        });
    }
    conn.prepare_cached("COMMIT")
        .and_then(|mut statement| statement.execute([]))
        .map(drop)
        .map_err(|error| {
            let still_open = !conn.is_autocommit();
            if roll_back(conn) {
                commit_error(&error, still_open)
            } else {
                CommitError::Unknown(cause(&error))
            }
        })
}

fn begin(conn: &Connection) -> Result<(), CommitError> {
    if !conn.is_autocommit() && !roll_back(conn) {
        return Err(CommitError::Unavailable(
            "an earlier transaction cannot be rolled back".into(),
        ));
    }
    conn.prepare_cached("BEGIN IMMEDIATE")
        .and_then(|mut statement| statement.execute([]))
        .map(drop)
        .map_err(|error| CommitError::Unavailable(cause(&error)))
}

/// Ends the open transaction, if SQLite has not done so by itself. False when it stays open.
pub(super) fn roll_back(conn: &Connection) -> bool {
    if !conn.is_autocommit()
        && let Err(error) = conn.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "rollback failed");
    }
    conn.is_autocommit()
}

fn check_fence(owners: &[Owner], fence: &[Fence]) -> Result<(), CommitError> {
    let lost: Vec<Partition> = fence
        .iter()
        .filter(|fence| {
            owners
                .get(usize::from(fence.partition.0))
                .is_none_or(|owner| owner.epoch != fence.epoch || owner.token != Some(fence.token))
        })
        .map(|fence| fence.partition)
        .collect();
    if lost.is_empty() {
        Ok(())
    } else {
        Err(CommitError::Fenced(lost))
    }
}

fn write(conn: &Connection, batch: &Batch) -> Result<(), CommitError> {
    let mut deltas = Deltas::new();
    let mut conflicts = Vec::new();
    for (index, start) in batch.starts.iter().enumerate() {
        match insert_start(conn, index, start)? {
            Some(conflict) => conflicts.push(conflict),
            None => count(
                &mut deltas,
                &start.row.name,
                start.row.version,
                start.row.face.status,
                1,
            ),
        }
    }
    if !conflicts.is_empty() {
        return Err(CommitError::StartsExist(conflicts));
    }
    suffix::append(conn, &batch.starts)
        .map_err(|error| statement_error(error, || "ends of ids".to_owned()))?;
    for change in &batch.changes {
        update_face(conn, change, &mut deltas)?;
    }
    append_journal(conn, batch)?;
    append_audit(conn, &batch.audit)?;
    write_counters(conn, &deltas)?;
    write_progress(conn, batch)
}

fn count(deltas: &mut Deltas, name: &str, version: u32, status: Status, by: i64) {
    *deltas
        .entry((name.to_owned(), version, status_number(status)))
        .or_default() += by;
}

/// Inserts a start with its key. A start in conflict leaves nothing behind, so that it does not stand in the way of
/// a later one in the same batch.
fn insert_start(
    conn: &Connection,
    index: usize,
    start: &StartRow,
) -> Result<Option<StartConflict>, CommitError> {
    let id = Id(start.row.id);
    let fault = |error| statement_error(error, || format!("start of saga {}", start.row.id));
    if let Some(key) = &start.row.key
        && insert_key(conn, key, start).map_err(fault)? == 0
    {
        let conflict = conn
            .prepare_cached(
                "SELECT k.saga_id, k.input_hash, k.version, s.status
                 FROM start_key k JOIN saga s ON s.id = k.saga_id WHERE k.name = ?1 AND k.key = ?2",
            )
            .and_then(|mut statement| {
                statement.query_row(params![start.row.name, key], |row| {
                    Ok(StartConflict {
                        index,
                        existing: row.get::<_, Id>(0)?.0,
                        by_key: true,
                        input_hash: row.get(1)?,
                        definition: (start.row.name.clone(), row.get(2)?),
                        status: row.get::<_, StatusColumn>(3)?.0,
                    })
                })
            });
        return conflict.map(Some).map_err(fault);
    }
    if insert_saga(conn, start)? == 1 {
        return Ok(None);
    }
    if let Some(key) = &start.row.key {
        conn.prepare_cached("DELETE FROM start_key WHERE name = ?1 AND key = ?2")
            .and_then(|mut statement| statement.execute(params![start.row.name, key]))
            .map_err(fault)?;
    }
    conn.prepare_cached("SELECT input_hash, name, version, status FROM saga WHERE id = ?1")
        .and_then(|mut statement| {
            statement.query_row(params![id], |row| {
                Ok(StartConflict {
                    index,
                    existing: start.row.id,
                    by_key: false,
                    input_hash: row.get(0)?,
                    definition: (row.get(1)?, row.get(2)?),
                    status: row.get::<_, StatusColumn>(3)?.0,
                })
            })
        })
        .map(Some)
        .map_err(fault)
}

/// Claims the key; 0 when somebody has it.
fn insert_key(conn: &Connection, key: &str, start: &StartRow) -> rusqlite::Result<usize> {
    conn.prepare_cached(
        "INSERT INTO start_key (name, key, saga_id, version, input_hash) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (name, key) DO NOTHING",
    )?
    .execute(params![start.row.name, key, Id(start.row.id), start.row.version, start.input_hash])
}

/// Inserts the saga's row; 0 when the id exists.
fn insert_saga(conn: &Connection, start: &StartRow) -> Result<usize, CommitError> {
    let row = &start.row;
    let labels = labels_text(&row.labels)
        .map_err(|error| CommitError::Data(format!("labels of saga {}: {error}", row.id)))?;
    conn.prepare_cached(
        "INSERT INTO saga
         (id, name, version, hash, key, input_hash, labels, started_at, status, incident, ended_at, exceptions)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (id) DO NOTHING",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            Id(row.id),
            row.name,
            row.version,
            row.hash,
            row.key,
            start.input_hash,
            labels,
            row.started_at.0,
            StatusColumn(row.face.status),
            row.face.incident,
            row.face.ended_at.map(|at| at.0),
            row.face.exceptions,
        ])
    })
    .map_err(|error| statement_error(error, || format!("start of saga {}", row.id)))
}

/// Changes a saga's face; its old status is read first, for the counters.
fn update_face(
    conn: &Connection,
    change: &ChangeRow,
    deltas: &mut Deltas,
) -> Result<(), CommitError> {
    let fault = |error| statement_error(error, || format!("change of saga {}", change.id));
    let (name, version, old) = conn
        .prepare_cached("SELECT name, version, status FROM saga WHERE id = ?1")
        .and_then(|mut statement| {
            statement.query_row(params![Id(change.id)], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get(1)?,
                    row.get::<_, StatusColumn>(2)?.0,
                ))
            })
        })
        .map_err(fault)?;
    let face = change.face;
    if old != face.status {
        count(deltas, &name, version, old, -1);
        count(deltas, &name, version, face.status, 1);
    }
    conn.prepare_cached(
        "UPDATE saga SET status = ?2, incident = ?3, ended_at = ?4, exceptions = ?5 WHERE id = ?1",
    )
    .and_then(|mut statement| {
        let ended_at = face.ended_at.map(|at| at.0);
        let status = StatusColumn(face.status);
        statement.execute(params![
            Id(change.id),
            status,
            face.incident,
            ended_at,
            face.exceptions
        ])
    })
    .map(drop)
    .map_err(fault)
}

/// Appends the journal saga by saga, which keeps the index's pages near each other and shows gaps.
fn append_journal(conn: &Connection, batch: &Batch) -> Result<(), CommitError> {
    let commit_no = signed(batch.commit_no, || "the commit's number".to_owned())?;
    let mut rows: Vec<&JournalRow> = batch.journal.iter().collect();
    rows.sort_by_key(|row| (row.saga_id, row.seq));
    let mut last: Option<(SagaId, u64)> = None;
    for row in rows {
        let name = || format!("saga {} seq {}", row.saga_id, row.seq);
        let seq = signed(row.seq, name)?;
        let follows = match last {
            Some((saga, seq)) if saga == row.saga_id => seq + 1 == row.seq,
            Some(_) | None => {
                row.seq == 1 || (row.seq > 1 && journal_has(conn, row.saga_id, seq - 1)?)
            }
        };
        if !follows {
            return Err(CommitError::Data(format!(
                "{} does not follow the saga's last row",
                name()
            )));
        }
        conn.prepare_cached(
            "INSERT INTO saga_event (saga_id, seq, commit_no, at, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .and_then(|mut statement| {
            statement.execute(params![Id(row.saga_id), seq, commit_no, row.at.0, row.body])
        })
        .map_err(|error| statement_error(error, name))?;
        last = Some((row.saga_id, row.seq));
    }
    Ok(())
}

pub(super) fn append_audit(conn: &Connection, rows: &[AuditRow]) -> Result<(), CommitError> {
    for row in rows {
        let name = || format!("audit of saga {} seq {}", row.saga_id, row.seq);
        let seq = signed(row.seq, name)?;
        insert_audit(conn, row, seq).map_err(|error| statement_error(error, name))?;
    }
    Ok(())
}

/// One row of the list of what operators did.
pub(super) fn insert_audit(conn: &Connection, row: &AuditRow, seq: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO audit (saga_id, seq, at, verb, step, who, reason, forced)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        Id(row.saga_id),
        seq,
        row.at.0,
        row.verb,
        row.step,
        row.who,
        row.reason,
        row.forced
    ])
    .map(drop)
}

fn journal_has(conn: &Connection, saga: SagaId, seq: i64) -> Result<bool, CommitError> {
    conn.prepare_cached("SELECT 1 FROM saga_event WHERE saga_id = ?1 AND seq = ?2")
        .and_then(|mut statement| statement.exists(params![Id(saga), seq]))
        .map_err(|error| statement_error(error, || format!("saga {saga} seq {seq}")))
}

fn write_counters(conn: &Connection, deltas: &Deltas) -> Result<(), CommitError> {
    for ((name, version, status), by) in deltas.iter().filter(|&(_, &by)| by != 0) {
        conn.prepare_cached(
            "INSERT INTO counter (name, version, status, n) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name, version, status) DO UPDATE SET n = n + excluded.n",
        )
        .and_then(|mut statement| statement.execute(params![name, version, status, by]))
        .map_err(|error| statement_error(error, || format!("counter of {name}@{version}")))?;
    }
    Ok(())
}

fn write_progress(conn: &Connection, batch: &Batch) -> Result<(), CommitError> {
    let commit_no = signed(batch.commit_no, || "the commit's number".to_owned())?;
    let at = batch.journal.iter().map(|row| row.at.0).max().unwrap_or(0);
    conn.prepare_cached("UPDATE progress SET commit_no = max(commit_no, ?1), at = max(at, ?2)")
        .and_then(|mut statement| statement.execute(params![commit_no, at]))
        .map(drop)
        .map_err(|error| statement_error(error, || "progress".to_owned()))
}

fn signed(number: u64, what: impl FnOnce() -> String) -> Result<i64, CommitError> {
    i64::try_from(number).map_err(|_| CommitError::Data(format!("{}: number out of range", what())))
}

/// All owners, by partition.
pub(super) fn load_owners(conn: &Connection) -> rusqlite::Result<Vec<Owner>> {
    conn.prepare("SELECT epoch, owner_token FROM partition ORDER BY id")?
        .query_map([], |row| {
            Ok(Owner {
                epoch: super::convert::unsigned(row, 0)?,
                token: row.get::<_, Option<[u8; 16]>>(1)?.map(u128::from_be_bytes),
            })
        })?
        .collect()
}
