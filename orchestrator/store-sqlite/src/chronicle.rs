//! The journal in the order of its commits. Rows stand in the order of their arrival and commits are numbered in theirs,
//! so the first row after a commit is found by halving, and no index is kept for it.

use futures_util::future::{BoxFuture, FutureExt};
use rusqlite::{Connection, OptionalExtension, params};
use saga_core::SagaId;

use super::{
    SqliteStore,
    convert::{Id, clamped, journal_row, unsigned},
    reader,
    writer::Op,
    writer_died,
};
use saga_engine::store::{
    Error,
    chronicle::{Chronicle, CommittedRow},
    record::SagaRow,
};

/// No further commit is begun after so many rows.
const ROWS: usize = 2_000;

impl Chronicle for SqliteStore {
    fn told_through(&self) -> BoxFuture<'_, Result<u64, Error>> {
        async move {
            if let Some(told) = self.read(told).await? {
                return Ok(told);
            }
            let last = self.read(last_commit).await?;
            self.set_told_through(last).await?;
            Ok(last)
        }
        .boxed()
    }

    fn commits_after(&self, after: u64) -> BoxFuture<'_, Result<Vec<CommittedRow>, Error>> {
        self.read(move |conn| commits_after(conn, after))
    }

    fn sagas(&self, ids: Vec<SagaId>) -> BoxFuture<'_, Result<Vec<SagaRow>, Error>> {
        self.read(move |conn| {
            ids.iter()
                .filter_map(|&id| reader::saga(conn, id).transpose())
                .collect::<rusqlite::Result<_>>()
        })
    }

    fn set_told_through(&self, commit_no: u64) -> BoxFuture<'_, Result<(), Error>> {
        self.write(
            |answer| Op::SetTold { commit_no, answer },
            || Error::Closed,
            writer_died,
        )
    }
}

/// Kept as eight bytes, the highest first, which compare as the numbers do.
fn told(conn: &Connection) -> rusqlite::Result<Option<u64>> {
    let told: Option<[u8; 8]> = conn
        .query_row(
            "SELECT value FROM meta WHERE name = 'told_through'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(told.map(u64::from_be_bytes))
}

pub(super) fn set_told(conn: &Connection, commit_no: u64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO meta (name, value) VALUES ('told_through', ?1)
         ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
    )?
    .execute(params![commit_no.to_be_bytes()])
    .map(drop)
}

fn last_commit(conn: &Connection) -> rusqlite::Result<u64> {
    conn.query_row("SELECT commit_no FROM progress", [], |row| unsigned(row, 0))
}

fn commits_after(conn: &Connection, after: u64) -> rusqlite::Result<Vec<CommittedRow>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, at, body, saga_id, commit_no FROM saga_event WHERE position >= ?1 ORDER BY position",
    )?;
    let mut rows = statement.query(params![first_after(conn, clamped(after))?])?;
    let mut found: Vec<CommittedRow> = Vec::new();
    while let Some(row) = rows.next()? {
        let (Id(id), commit_no) = (row.get(3)?, unsigned(row, 4)?);
        if found.len() >= ROWS && found.last().is_some_and(|last| last.commit_no != commit_no) {
            break;
        }
        found.push(CommittedRow {
            commit_no,
            row: journal_row(id, row)?,
        });
    }
    Ok(found)
}

/// Position of the first row of a later commit; where there is none, one behind the last row.
fn first_after(conn: &Connection, after: i64) -> rusqlite::Result<i64> {
    let last: Option<i64> =
        conn.query_row("SELECT max(position) FROM saga_event", [], |row| row.get(0))?;
    let mut probe = conn.prepare_cached(
        "SELECT position, commit_no FROM saga_event WHERE position >= ?1 ORDER BY position LIMIT 1",
    )?;
    let mut at = |position: i64| -> rusqlite::Result<(i64, i64)> {
        probe.query_row(params![position], |row| Ok((row.get(0)?, row.get(1)?)))
    };
    let Some(last) = last else { return Ok(1) };
    // Mostly nothing is new, and then the last row tells it.
    if at(last)?.1 <= after {
        return Ok(last + 1);
    }
    let (mut low, mut high) = (1, last);
    while low < high {
        let middle = low + (high - low) / 2;
        let (position, commit_no) = at(middle)?;
        if commit_no > after {
            high = middle;
        } else {
            low = position + 1;
        }
    }
    Ok(low)
}
