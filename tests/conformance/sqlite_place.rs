//! The file of an SQLite store is moved, removed, replaced or linked while it is written.

use std::{fs, path::Path};

use saga_core::Timestamp;
use saga_engine::store::{
    Claim, CommitError, Error, Lanes, Reading, Registers, Store,
    record::{Batch, JournalRow, ParticipantRow},
    trouble::{Cause, Kind},
};
use saga_store_sqlite::SqliteStore;
use tempfile::TempDir;

use crate::cases::{TOKEN, batch, id, start};

fn first(claim: &Claim, n: u64) -> Batch {
    let mut batch = batch(claim, n);
    batch.starts = vec![start(n)];
    batch.journal = vec![JournalRow {
        saga_id: id(n),
        seq: 1,
        at: Timestamp(1),
        body: vec![1],
    }];
    batch
}

fn participant() -> ParticipantRow {
    ParticipantRow {
        name: "p".to_owned(),
        inbox_id: "i".to_owned(),
        inbox_kind: "k".to_owned(),
        actions: "[]".to_owned(),
        last_seen: Timestamp(1),
    }
}

fn moved<T: std::fmt::Debug>(answer: Result<T, Error>) -> Cause {
    match answer {
        Err(Error::Unavailable(cause)) if cause.kind == Kind::Moved => cause,
        other => panic!("{other:?}"),
    }
}

/// Opens a store, writes a saga, lets something happen to its files, and sees that nothing more is answered as written.
/// `mend` puts it right; then the store goes on with all that it ever confirmed.
async fn goes_on(what: &str, harm: impl FnOnce(&Path), mend: impl FnOnce(&Path)) {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("saga.db");
    let store = SqliteStore::open(&path).expect("open");
    let claim = store.claim(TOKEN).await.expect("claim");
    store.commit(first(&claim, 1)).await.expect("commit");
    assert!(store.saga(id(1)).await.expect("read").is_some());
    harm(&path);
    match store.commit(first(&claim, 2)).await {
        Err(CommitError::Unknown(cause)) => {
            assert!(
                cause.kind == Kind::Moved && cause.words.contains("saga.db"),
                "{what}: {cause:?}"
            );
        }
        other => panic!("{what}: {other:?}"),
    }
    match store.commit(first(&claim, 3)).await {
        Err(CommitError::Unavailable(cause)) => assert_eq!(cause.kind, Kind::Moved, "{what}"),
        other => panic!("{what}: {other:?}"),
    }
    moved(store.claim(TOKEN + 1).await);
    moved(store.put_participant(participant()).await);
    assert!(
        store.saga(id(1)).await.is_ok(),
        "{what}: an open reader goes on"
    );
    mend(&path);
    let claim = store.claim(TOKEN + 2).await.expect(what);
    assert_eq!(
        claim.last_commit_no, 2,
        "{what}: the doubtful commit is read back"
    );
    store.commit(first(&claim, 3)).await.expect(what);
    store.close().await.expect("close");
    let store = SqliteStore::open(&path).expect(what);
    for n in 1..=3 {
        assert!(
            store.saga(id(n)).await.expect("read").is_some(),
            "{what}: saga {n}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_answered_only_where_the_path_leads() {
    let aside = |path: &Path| path.with_file_name("aside");
    let away = |path: &Path| fs::rename(path, aside(path)).expect("moved");
    let back = |path: &Path| fs::rename(aside(path), path).expect("moved back");
    goes_on("moved", away, back).await;
    let replaced = |path: &Path| {
        fs::rename(path, aside(path)).expect("moved");
        fs::copy(aside(path), path).expect("replaced");
    };
    goes_on("replaced", replaced, back).await;
    let linked = |path: &Path| fs::hard_link(path, aside(path)).expect("linked");
    goes_on("linked", linked, |path| {
        fs::remove_file(aside(path)).expect("removed")
    })
    .await;
    let log = |path: &Path| path.with_file_name("saga.db-wal");
    let log_away = move |path: &Path| fs::rename(log(path), aside(path)).expect("moved");
    goes_on("log moved", log_away, move |path| {
        fs::rename(aside(path), log(path)).expect("moved back")
    })
    .await;
    let lock = |path: &Path| path.with_file_name("saga.db.lock");
    let lock_away = move |path: &Path| fs::rename(lock(path), aside(path)).expect("moved");
    goes_on("lock moved", lock_away, move |path| {
        fs::rename(aside(path), lock(path)).expect("moved back")
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_file_is_never_written_as_if_it_were_there() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("saga.db");
    let store = SqliteStore::open(&path).expect("open");
    let claim = store.claim(TOKEN).await.expect("claim");
    store.commit(first(&claim, 1)).await.expect("commit");
    fs::remove_file(&path).expect("removed");
    let cause = moved(store.put_participant(participant()).await);
    assert!(
        cause.words.contains("removed") && cause.words.contains("/proc/"),
        "{cause:?}"
    );
    let refused = store.commit(first(&claim, 2)).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable(_))),
        "{refused:?}"
    );
    // What the server still holds can be saved, as its words say.
    let saved = TempDir::new().expect("a folder");
    let open_files = format!("/proc/{}/fd", std::process::id());
    let removed = format!("{} (deleted)", path.display());
    let handle = fs::read_dir(&open_files)
        .expect("open files")
        .flatten()
        .find_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            (target.as_os_str() == removed.as_str()).then(|| entry.path())
        });
    // By another process: closing a second handle in this one would give up SQLite's locks.
    for (from, to) in [
        (handle.expect("a handle"), "saga.db"),
        (path.with_file_name("saga.db-wal"), "saga.db-wal"),
    ] {
        let copied = std::process::Command::new("cp")
            .arg(from)
            .arg(saved.path().join(to))
            .status();
        assert!(copied.expect("cp runs").success());
    }
    let saved = SqliteStore::open(&saved.path().join("saga.db")).expect("what was saved");
    assert!(saved.saga(id(1)).await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_not_made_over_the_log_of_another() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("saga.db");
    let log = path.with_file_name("saga.db-wal");
    // As after SIGKILL: the last commits stand in the log alone.
    let copy = TempDir::new().expect("a folder");
    {
        let store = SqliteStore::open(&path).expect("open");
        let claim = store.claim(TOKEN).await.expect("claim");
        store.commit(first(&claim, 1)).await.expect("commit");
        for name in ["saga.db", "saga.db-wal"] {
            fs::copy(dir.path().join(name), copy.path().join(name)).expect("copied");
        }
        store.close().await.expect("close");
    }
    let (path, log) = (
        copy.path().join("saga.db"),
        copy.path().join(log.file_name().expect("a name")),
    );
    let aside = copy.path().join("aside");
    fs::rename(&path, &aside).expect("moved");
    let before = fs::read(&log).expect("a log");
    let cause = moved(SqliteStore::open(&path));
    assert!(cause.words.contains("saga.db-wal"), "{cause:?}");
    fs::write(&path, []).expect("an empty file");
    moved(SqliteStore::open(&path));
    assert!(
        fs::read(&log).expect("a log") == before,
        "the log was touched"
    );
    fs::rename(&aside, &path).expect("moved back");
    let store = SqliteStore::open(&path).expect("open");
    assert!(store.saga(id(1)).await.expect("read").is_some());
}

#[test]
fn a_file_with_two_names_is_not_opened() {
    let dir = TempDir::new().expect("a folder");
    let (path, other) = (dir.path().join("saga.db"), dir.path().join("other.db"));
    drop(SqliteStore::open(&path).expect("open"));
    fs::hard_link(&path, &other).expect("linked");
    for path in [&path, &other] {
        assert!(moved(SqliteStore::open(path)).words.contains("hard links"));
    }
    fs::remove_file(&path).expect("removed");
    SqliteStore::open(&other).expect("one name again");
}
