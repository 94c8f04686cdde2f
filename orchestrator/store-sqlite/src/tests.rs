//! What the engine alone promises; what every store promises is in the conformance suite.

use std::collections::BTreeMap;

use rusqlite::Connection;
use saga_core::{Partition, SagaId, Status, Timestamp};
use tempfile::TempDir;

use super::{SqliteStore, commit, connect, convert::unsigned, list, reader};
use saga_engine::store::record::{Batch, Face, Fence, JournalRow, ListFilter, SagaRow, StartRow};
use saga_engine::store::{CommitError, Error, Journals, Lanes, Store};

const TOKEN: u128 = 0xFEED;

/// A batch of `count` starts with one journal row of `body` bytes each.
fn starts(commit_no: u64, first: u64, count: u64, body: usize) -> Batch {
    let mut batch = Batch {
        commit_no,
        fence: vec![Fence {
            partition: Partition(3),
            epoch: 1,
            token: TOKEN,
        }],
        ..Batch::default()
    };
    for n in first..first + count {
        let id = SagaId::new(1_000 + n, Partition(3), n);
        let face = Face {
            status: Status::Running,
            incident: false,
            exceptions: false,
            ended_at: None,
        };
        let row = SagaRow {
            id,
            name: "book".to_owned(),
            version: 1,
            hash: [1; 32],
            key: Some(format!("k{n}")),
            labels: BTreeMap::new(),
            started_at: Timestamp(5),
            face,
        };
        batch.starts.push(StartRow {
            row,
            input_hash: [2; 32],
        });
        batch.journal.push(JournalRow {
            saga_id: id,
            seq: 1,
            at: Timestamp(5),
            body: vec![0xA5; body],
        });
    }
    batch
}

fn plan(conn: &Connection, sql: &str, parameters: Vec<rusqlite::types::Value>) -> String {
    let mut statement = conn
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .expect("prepare");
    let lines = statement
        .query_map(rusqlite::params_from_iter(parameters), |row| {
            row.get::<_, String>(3)
        })
        .expect("explain")
        .collect::<Result<Vec<_>, _>>()
        .expect("plan");
    lines.join("; ")
}

#[test]
fn plans_use_the_indexes_and_never_sort() {
    let dir = TempDir::new().expect("directory");
    let conn = connect(&dir.path().join("saga.db")).expect("open");
    let before = Some(SagaId::from_u128(9));
    let open = ListFilter {
        statuses: vec![Status::Running],
        ..ListFilter::default()
    };
    let incidents = ListFilter {
        incident_only: true,
        ..ListFilter::default()
    };
    let some = ListFilter {
        statuses: vec![Status::Running, Status::Completed],
        ..ListFilter::default()
    };
    for (what, sql, values, wanted) in [
        {
            let values = vec![vec![0_u8].into(), 10.into()];
            (
                "open_sagas",
                reader::open_sagas_sql(),
                values,
                "SEARCH saga USING INDEX saga_open (id>?)",
            )
        },
        {
            let (sql, values) = list::statement(&ListFilter::default(), None, 10);
            ("list from the top", sql, values, "SCAN saga")
        },
        {
            let (sql, values) = list::statement(&ListFilter::default(), before, 10);
            ("list", sql, values, "SEARCH saga USING PRIMARY KEY (id<?)")
        },
        {
            let (sql, values) = list::statement(&some, before, 10);
            (
                "list of statuses",
                sql,
                values,
                "SEARCH saga USING PRIMARY KEY (id<?)",
            )
        },
        {
            let (sql, values) = list::statement(&open, before, 10);
            (
                "open list",
                sql,
                values,
                "SEARCH saga USING INDEX saga_open (id<?)",
            )
        },
        {
            let (sql, values) = list::statement(&incidents, before, 10);
            (
                "incident list",
                sql,
                values,
                "SEARCH saga USING INDEX saga_incident (id<?)",
            )
        },
    ] {
        let plan = plan(&conn, &sql, values);
        // "SCAN saga" walks the primary key from its end and stops at the limit; a sort would show a b-tree.
        assert_eq!(plan, wanted, "{what}");
    }
}

#[test]
fn a_full_file_is_unavailable_loses_nothing_and_takes_the_batch_later() {
    let dir = TempDir::new().expect("directory");
    let mut conn = connect(&dir.path().join("saga.db")).expect("open");
    let tx = conn.transaction().expect("begin");
    tx.execute(
        "UPDATE partition SET epoch = 1, owner_token = ?1",
        [TOKEN.to_be_bytes()],
    )
    .expect("claim");
    tx.commit().expect("commit");
    let owners = commit::load_owners(&conn).expect("owners");
    let pages: i64 = conn
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .expect("pages");
    conn.pragma_update_and_check(None, "max_page_count", pages + 50, |_| Ok(()))
        .expect("cap");

    let mut written = 0;
    let refused = loop {
        let batch = starts(written + 1, written * 10, 10, 1_000);
        match commit::commit(&conn, &owners, &batch) {
            Ok(()) => written += 1,
            Err(error) => break (batch, error),
        }
        assert!(written < 1_000, "the cap has no effect");
    };
    assert!(
        matches!(refused.1, CommitError::Unavailable(_)),
        "{:?}",
        refused.1
    );
    assert!(written > 0, "some fitted");
    assert!(conn.is_autocommit());
    let sagas = |conn: &Connection| {
        conn.query_row(
            "SELECT count(*), (SELECT count(*) FROM saga_event), (SELECT sum(n) FROM counter) FROM saga",
            [],
            |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?, unsigned(row, 2)?)),
        )
        .expect("count")
    };
    assert_eq!(sagas(&conn), (written * 10, written * 10, written * 10));

    conn.pragma_update_and_check(None, "max_page_count", pages + 5_000, |_| Ok(()))
        .expect("room");
    commit::commit(&conn, &owners, &refused.0).expect("the same batch");
    written += 1;
    assert_eq!(sagas(&conn), (written * 10, written * 10, written * 10));
}

#[test]
fn files_that_are_not_ours_are_refused_and_left_alone() {
    let dir = TempDir::new().expect("directory");
    let database = dir.path().join("invoices.db");
    Connection::open(&database)
        .expect("open")
        .execute_batch("CREATE TABLE invoices (id)")
        .expect("create");
    let letter = dir.path().join("letter.txt");
    std::fs::write(&letter, "Dear reader, ".repeat(1_000)).expect("write");
    for path in [database, letter] {
        let before = std::fs::read(&path).expect("read");
        let answer = SqliteStore::open(&path);
        assert!(matches!(answer, Err(Error::Corrupt(_))), "{answer:?}");
        assert!(
            std::fs::read(&path).expect("read") == before,
            "{} was changed",
            path.display()
        );
    }
    let nowhere = SqliteStore::open(&dir.path().join("no/such/folder/saga.db"));
    assert!(matches!(nowhere, Err(Error::Unavailable(_))), "{nowhere:?}");
}

#[tokio::test]
async fn one_store_at_a_time() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("saga.db");
    let first = SqliteStore::open(&path).expect("open");
    match SqliteStore::open(&path) {
        Err(Error::Held { path: held }) => assert_eq!(held, path.display().to_string()),
        other => panic!("a second store was let in: {other:?}"),
    }
    first.close().await.expect("close");
    let second = SqliteStore::open(&path).expect("the lock is free after close");
    drop(second);
    SqliteStore::open(&path).expect("the lock is free after a drop");
}

#[cfg(unix)]
#[test]
fn a_link_to_the_file_is_the_same_store() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("saga.db");
    let _first = SqliteStore::open(&path).expect("open");
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).expect("link");
    let answer = SqliteStore::open(&link);
    assert!(matches!(answer, Err(Error::Held { .. })), "{answer:?}");
}

#[tokio::test]
async fn close_leaves_one_file_without_a_log() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("saga.db");
    let store = SqliteStore::open(&path).expect("open");
    store.claim(TOKEN).await.expect("claim");
    store.commit(starts(1, 0, 10, 100)).await.expect("commit");
    store.close().await.expect("close");
    let mut names: Vec<_> = std::fs::read_dir(dir.path())
        .expect("list")
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    assert_eq!(names, ["saga.db", "saga.db.lock"]);
    let copy = dir.path().join("copy.db");
    std::fs::copy(&path, &copy).expect("copy");
    let copied = SqliteStore::open(&copy).expect("open the copy");
    assert_eq!(copied.open_sagas(None, 100).await.expect("read").len(), 10);
}

#[tokio::test]
async fn a_write_is_done_even_if_nobody_waits_for_it() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("saga.db");
    let store = SqliteStore::open(&path).expect("open");
    drop(store.claim(TOKEN));
    drop(store.commit(starts(1, 0, 10, 100)));
    drop(store);
    let store = SqliteStore::open(&path).expect("open again");
    assert_eq!(store.open_sagas(None, 100).await.expect("read").len(), 10);
    let claim = store.claim(1).await.expect("claim");
    assert_eq!(
        (claim.last_commit_no, claim.last_commit_at),
        (1, Timestamp(5))
    );
    assert!(
        claim
            .fences
            .iter()
            .all(|fence| fence.epoch == 2 && fence.token == 1)
    );
}

#[tokio::test]
async fn writes_are_done_in_the_order_of_the_calls() {
    let dir = TempDir::new().expect("directory");
    let store = SqliteStore::open(&dir.path().join("saga.db")).expect("open");
    store.claim(TOKEN).await.expect("claim");
    // Each batch continues the same saga, so any other order would leave a gap.
    let mut first = starts(1, 0, 1, 10);
    let id = first.starts[0].row.id;
    let commits = (1..=300_u64).map(|seq| {
        let batch = if seq == 1 {
            std::mem::take(&mut first)
        } else {
            let row = JournalRow {
                saga_id: id,
                seq,
                at: Timestamp(5),
                body: Vec::new(),
            };
            Batch {
                journal: vec![row],
                starts: Vec::new(),
                ..starts(seq, 0, 0, 0)
            }
        };
        store.commit(batch)
    });
    let answers = futures_util::future::join_all(commits.collect::<Vec<_>>()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(store.journal(id, 0, 1_000).await.expect("read").len(), 300);
}

#[tokio::test]
async fn damaged_rows_are_called_so() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("saga.db");
    let store = SqliteStore::open(&path).expect("open");
    store.claim(TOKEN).await.expect("claim");
    store.commit(starts(1, 0, 1, 10)).await.expect("commit");
    store.close().await.expect("close");
    let conn = Connection::open(&path).expect("open");
    conn.execute("UPDATE saga SET status = 5", [])
        .expect("damage");
    drop(conn);
    let store = SqliteStore::open(&path).expect("open again");
    let answer = store.open_sagas(None, 1).await;
    assert!(matches!(answer, Err(Error::Corrupt(_))), "{answer:?}");
}
