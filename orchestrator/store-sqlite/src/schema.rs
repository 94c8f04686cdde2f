//! Tables and the migrations that make them.
//!
//! A migration is applied once, in a transaction of its own, and never edited after a release.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{fault::open_error, suffix};
use saga_engine::store::Error;

/// "saga" in ASCII, in the file's header: tells our files from other people's databases.
const APPLICATION_ID: i64 = 0x7361_6761;

/// All migrations; the number of the first is 1.
///
/// `saga_event` keeps its rows in order of arrival with an index beside it: a batch touches a thousand sagas, and
/// rows clustered by saga would dirty a page for each of them in every commit.
const MIGRATIONS: [&str; 4] = [
    "
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;

CREATE TABLE partition (id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, owner_token BLOB) STRICT;

CREATE TABLE progress (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    commit_no INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;
INSERT INTO progress VALUES (1, 0, 0);

CREATE TABLE saga (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    hash BLOB NOT NULL,
    key TEXT,
    input_hash BLOB NOT NULL,
    labels TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    incident INTEGER NOT NULL,
    ended_at INTEGER
) WITHOUT ROWID, STRICT;
CREATE INDEX saga_open ON saga (id) WHERE status < 10;
CREATE INDEX saga_incident ON saga (id) WHERE incident = 1;

CREATE TABLE counter (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    status INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (name, version, status)
) WITHOUT ROWID, STRICT;

CREATE TABLE start_key (
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    saga_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    input_hash BLOB NOT NULL,
    PRIMARY KEY (name, key)
) WITHOUT ROWID, STRICT;

CREATE TABLE saga_event (
    position INTEGER PRIMARY KEY,
    saga_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    commit_no INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX saga_event_seq ON saga_event (saga_id, seq);

CREATE TABLE definition (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    hash BLOB NOT NULL,
    canonical TEXT NOT NULL,
    deployed_at INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) WITHOUT ROWID, STRICT;

CREATE TABLE participant (
    name TEXT PRIMARY KEY,
    inbox_id TEXT NOT NULL,
    inbox_kind TEXT NOT NULL,
    actions TEXT NOT NULL,
    last_seen INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
",
    "
ALTER TABLE saga ADD COLUMN exceptions INTEGER NOT NULL DEFAULT 0;

CREATE TABLE audit (
    position INTEGER PRIMARY KEY,
    saga_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    verb TEXT NOT NULL,
    step TEXT,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    forced INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_saga ON audit (saga_id, position);
",
    "
CREATE TABLE breaker (
    participant TEXT NOT NULL,
    action TEXT NOT NULL,
    open INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    open_until INTEGER,
    since INTEGER NOT NULL,
    by_whom TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (participant, action)
) WITHOUT ROWID, STRICT;
",
    suffix::TABLES,
];

/// The migration that brings [`suffix::TABLES`].
const SUFFIXES: i64 = 4;

/// The newest schema this release knows.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Reads whether this release can work with the database, and changes nothing: it may be somebody else's.
///
/// # Errors
/// [`Error::TooNew`]; [`Error::Corrupt`] for a database that is not ours; [`Error::Unavailable`].
pub(super) fn check(conn: &Connection) -> Result<(), Error> {
    let found = version(conn)?;
    if found > KNOWN {
        Err(Error::TooNew {
            found,
            known: KNOWN,
        })
    } else {
        Ok(())
    }
}

/// Brings a checked database up to [`KNOWN`]; `partitions` counts only for a new one.
///
/// # Errors
/// [`Error::Unavailable`] when it cannot be written.
pub(super) fn migrate(conn: &mut Connection, partitions: u16) -> Result<(), Error> {
    let found = version(conn)?;
    for (number, script) in (1..).zip(MIGRATIONS).filter(|&(number, _)| number > found) {
        apply(conn, number, script, partitions).map_err(open_error)?;
    }
    Ok(())
}

/// The newest applied migration, 0 for an empty file.
fn version(conn: &Connection) -> Result<i64, Error> {
    let application: i64 = conn
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(open_error)?;
    if application == APPLICATION_ID {
        return conn
            .query_row(
                "SELECT coalesce(max(number), 0) FROM schema_migration",
                [],
                |row| row.get(0),
            )
            .map_err(open_error);
    }
    let foreign: Option<String> = conn
        .query_row("SELECT name FROM sqlite_schema LIMIT 1", [], |row| {
            row.get(0)
        })
        .optional()
        .map_err(open_error)?;
    match foreign {
        None => Ok(0),
        Some(table) => Err(Error::Corrupt(format!(
            "the file is another program's database (it has {table})"
        ))),
    }
}

fn apply(
    conn: &mut Connection,
    number: i64,
    script: &str,
    partitions: u16,
) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if number == 1 {
        tx.execute_batch(
            "CREATE TABLE schema_migration (number INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT",
        )?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    tx.execute_batch(script)?;
    if number == 1 {
        fill(&tx, partitions)?;
    }
    if number == SUFFIXES {
        suffix::index_all(&tx)?;
    }
    tx.execute(
        "INSERT INTO schema_migration VALUES (?1, CAST(unixepoch('subsec') * 1000000 AS INTEGER))",
        params![number],
    )?;
    tx.commit()
}

/// What a new store begins with: its identity and its partitions, owned by nobody.
fn fill(conn: &Connection, partitions: u16) -> rusqlite::Result<()> {
    conn.execute("INSERT INTO meta VALUES ('identity', randomblob(16))", [])?;
    let mut insert = conn.prepare("INSERT INTO partition VALUES (?1, 0, NULL)")?;
    for id in 0..partitions {
        insert.execute(params![id])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use saga_core::{Partition, SagaId};

    use super::super::convert::{FIRST_ENDED, Id, status_number};
    use super::*;

    #[test]
    fn the_index_of_open_sagas_agrees_with_the_statuses() {
        assert_eq!(FIRST_ENDED, 10, "the partial index says 10");
        for status in saga_core::Status::ALL {
            assert_eq!(
                status.is_open(),
                status_number(status) < FIRST_ENDED,
                "{status:?}"
            );
        }
    }

    #[test]
    fn a_second_migration_run_changes_nothing() {
        let mut conn = Connection::open_in_memory().expect("open");
        migrate(&mut conn, 8).expect("first");
        migrate(&mut conn, 99).expect("second");
        let partitions: i64 = conn
            .query_row("SELECT count(*) FROM partition", [], |row| row.get(0))
            .expect("count");
        assert_eq!(partitions, 8);
    }

    #[test]
    fn a_store_of_the_first_schema_is_brought_up_and_keeps_its_sagas() {
        let mut conn = Connection::open_in_memory().expect("open");
        apply(&mut conn, 1, MIGRATIONS[0], 4).expect("the first");
        conn.execute(
            "INSERT INTO saga VALUES (?1, 'book', 1, ?1, NULL, ?1, '{}', 5, 12, 0, 9)",
            params![[1_u8; 16]],
        )
        .expect("a saga of then");
        migrate(&mut conn, 4).expect("the others");
        let exceptions: bool = conn
            .query_row("SELECT exceptions FROM saga", [], |row| row.get(0))
            .expect("still there");
        assert!(!exceptions);
        assert_eq!(version(&conn).expect("a version"), KNOWN);
    }

    #[test]
    fn the_oldest_saga_of_an_earlier_schema_is_found_by_its_suffix() {
        let mut conn = Connection::open_in_memory().expect("open");
        for (number, script) in (1..SUFFIXES).zip(MIGRATIONS) {
            apply(&mut conn, number, script, 4).expect("a table of then");
        }
        let id = |n: u64| {
            let random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            SagaId::new(1_000 + n, Partition(1), random)
        };
        // More than were ever searched by reading them.
        for n in 0..100_050 {
            conn.prepare_cached(
                "INSERT INTO saga VALUES (?1, 'book', 1, ?1, NULL, ?1, '{}', 5, 12, 0, 9, 0)",
            )
            .expect("prepared")
            .execute(params![Id(id(n))])
            .expect("a saga of then");
        }
        migrate(&mut conn, 4).expect("migrate");
        for n in [0, 1, 4_095, 4_096, 50_000, 100_049] {
            let found = suffix::find(&conn, &id(n).short(), 10).expect("find");
            assert_eq!(found, [id(n)], "saga {n}");
        }
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let mut conn = Connection::open_in_memory().expect("open");
        migrate(&mut conn, 1).expect("migrate");
        conn.execute("INSERT INTO schema_migration VALUES (?1, 0)", [KNOWN + 1])
            .expect("insert");
        let answer = check(&conn);
        assert!(
            matches!(answer, Err(Error::TooNew { found, known }) if found == KNOWN + 1 && known == KNOWN),
            "{answer:?}"
        );
    }

    #[test]
    fn another_programs_database_is_refused() {
        let conn = Connection::open_in_memory().expect("open");
        conn.execute_batch("CREATE TABLE invoices (id)")
            .expect("create");
        assert!(matches!(check(&conn), Err(Error::Corrupt(_))));
    }
}
