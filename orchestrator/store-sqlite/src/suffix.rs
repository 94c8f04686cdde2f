//! Finds sagas by the last letters of their ids, however many there are.
//!
//! The last letters of an id are random, so a plain index over them would change another page for every start. Instead the
//! ids of new sagas are appended to `suffix_tail`. Every [`RUN`] of them are sorted and moved into `suffix_run`, as one run
//! behind the others. A start costs an append twice; a search reads the tail and looks once into every run.

use rusqlite::{Connection, OptionalExtension, params};
use saga_core::SagaId;

use super::convert::{Id, StatusColumn};
use saga_engine::store::record::StartRow;

/// Ids that one run holds, at least: sorting them delays a commit by a few milliseconds.
pub(super) const RUN: usize = 4_096;
/// Letters that are indexed: 60 bits fit a column. Longer suffixes are compared as a whole afterwards.
const LETTERS: u32 = 12;

/// The tables, for a migration.
pub(super) const TABLES: &str = "
CREATE TABLE suffix_tail (position INTEGER PRIMARY KEY, id BLOB NOT NULL) STRICT;

CREATE TABLE suffix_run (
    run INTEGER NOT NULL,
    letters INTEGER NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (run, letters, id)
) WITHOUT ROWID, STRICT;
";

/// The last letters of an id as a number in which the last letter counts most: ids with a common end are neighbours.
fn letters(id: u128) -> i64 {
    let mut rest = id;
    let mut reversed = 0_i64;
    for _ in 0..LETTERS {
        reversed = reversed << 5 | i64::try_from(rest & 31).unwrap_or(0);
        rest >>= 5;
    }
    reversed
}

/// The first and the last number that [`letters`] gives for ids that end in `value` of `bits` bits.
fn range(value: u128, bits: u32) -> (i64, i64) {
    let known = (bits / 5).min(LETTERS);
    let free = (1_i64 << (5 * (LETTERS - known))) - 1;
    let first = letters(value) & !free;
    (first, first | free)
}

/// Notes the ids of sagas that begin, in the transaction that writes them.
pub(super) fn append(conn: &Connection, starts: &[StartRow]) -> rusqlite::Result<()> {
    if starts.is_empty() {
        return Ok(());
    }
    let mut insert = conn.prepare_cached("INSERT INTO suffix_tail (id) VALUES (?1)")?;
    for start in starts {
        insert.execute(params![Id(start.row.id)])?;
    }
    // Positions begin at 1 whenever the table was emptied, so the last one is the number of rows.
    let rows = usize::try_from(conn.last_insert_rowid()).unwrap_or(usize::MAX);
    if rows < RUN {
        return Ok(());
    }
    let ids = tail(conn)?;
    conn.prepare_cached("DELETE FROM suffix_tail")?
        .execute([])?;
    add_run(conn, next_run(conn)?, ids)
}

/// Indexes the sagas that were there before the tables were, run by run: no more ids than one run has are in memory.
pub(super) fn index_all(conn: &Connection) -> rusqlite::Result<()> {
    let mut ids = conn.prepare("SELECT id FROM saga ORDER BY id")?;
    let mut rows = ids.query([])?;
    let (mut run, mut batch) = (0, Vec::with_capacity(RUN));
    while let Some(row) = rows.next()? {
        let Id(id) = row.get(0)?;
        batch.push(id);
        if batch.len() == RUN {
            add_run(conn, run, std::mem::take(&mut batch))?;
            run += 1;
        }
    }
    add_run(conn, run, batch)
}

fn next_run(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT coalesce(max(run) + 1, 0) FROM suffix_run")?
        .query_row([], |row| row.get(0))
}

/// In order, so that every row is appended to the last page.
fn add_run(conn: &Connection, run: i64, ids: Vec<SagaId>) -> rusqlite::Result<()> {
    let mut rows: Vec<(i64, SagaId)> = ids
        .into_iter()
        .map(|id| (letters(id.as_u128()), id))
        .collect();
    rows.sort_unstable();
    let mut insert = conn.prepare_cached("INSERT INTO suffix_run VALUES (?1, ?2, ?3)")?;
    for (letters, id) in rows {
        insert.execute(params![run, letters, Id(id)])?;
    }
    Ok(())
}

fn tail(conn: &Connection) -> rusqlite::Result<Vec<SagaId>> {
    conn.prepare_cached("SELECT id FROM suffix_tail")?
        .query_map([], |row| row.get::<_, Id>(0).map(|Id(id)| id))?
        .collect()
}

/// Ids that end in the given letters: open sagas first, then the finished ones, each newest first.
pub(super) fn find(conn: &Connection, suffix: &str, limit: usize) -> rusqlite::Result<Vec<SagaId>> {
    let Some((value, bits)) = SagaId::parse_suffix(suffix) else {
        return Ok(Vec::new());
    };
    let mut found = match bits {
        u128::BITS.. => vec![SagaId::from_u128(value)],
        _ => ending_in(conn, value, bits)?,
    };
    found.sort_unstable_by(|one, other| other.cmp(one));
    let mut status = conn.prepare_cached("SELECT status FROM saga WHERE id = ?1")?;
    let (mut open, mut ended) = (Vec::new(), Vec::new());
    for id in found {
        let status = status.query_row(params![Id(id)], |row| row.get::<_, StatusColumn>(0));
        match status.optional()? {
            Some(StatusColumn(status)) if status.is_open() => open.push(id),
            Some(StatusColumn(_)) => ended.push(id),
            None => {}
        }
    }
    open.extend(ended);
    open.truncate(limit);
    Ok(open)
}

fn ending_in(conn: &Connection, value: u128, bits: u32) -> rusqlite::Result<Vec<SagaId>> {
    let mask = (1_u128 << bits) - 1;
    let fits = |id: &SagaId| id.as_u128() & mask == value;
    let mut found: Vec<SagaId> = tail(conn)?.into_iter().filter(fits).collect();
    let (first, last) = range(value, bits);
    let mut run = conn
        .prepare_cached("SELECT id FROM suffix_run WHERE run = ?1 AND letters BETWEEN ?2 AND ?3")?;
    for number in 0..next_run(conn)? {
        let mut rows = run.query(params![number, first, last])?;
        while let Some(row) = rows.next()? {
            let Id(id) = row.get(0)?;
            if fits(&id) {
                found.push(id);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use saga_core::Partition;

    use super::*;

    #[test]
    fn ids_with_a_common_end_are_neighbours() {
        for n in 0..500_u64 {
            let random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let id = SagaId::new(n, Partition(3), random);
            let text = id.to_string();
            for length in 1..26 {
                let (value, bits) = SagaId::parse_suffix(&text[26 - length..]).expect("letters");
                let (first, last) = range(value, bits);
                let at = letters(id.as_u128());
                assert!(first <= at && at <= last, "{text} by {length} letters");
            }
        }
    }

    #[test]
    fn another_last_letter_is_out_of_the_range() {
        let (value, bits) = SagaId::parse_suffix("7QK3MV2A").expect("letters");
        let (first, last) = range(value, bits);
        for other in ["7QK3MV2B", "7QK3MV29", "8QK3MV2A", "0QK3MV2A"] {
            let (other, _) = SagaId::parse_suffix(other).expect("letters");
            assert!(!(first..=last).contains(&letters(other)), "{other}");
        }
    }
}
