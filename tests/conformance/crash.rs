//! SQLite after a process was killed while it wrote.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use saga_core::{Partition, SagaId, Status, Timestamp};
use saga_engine::store::{
    Journals, Lanes, Reading,
    record::{Batch, ChangeRow, Face, JournalRow, SagaRow, StartRow},
};
use saga_store_sqlite::SqliteStore;
use tempfile::TempDir;

const PATH: &str = "SAGA_TEST_CRASH_STORE";
const SAGAS: u64 = 20;

fn id(commit: u64, n: u64) -> SagaId {
    SagaId::new(commit, Partition(u16::try_from(n).expect("small")), n)
}

/// Commit `n` starts twenty sagas and ends those of commit `n - 1`.
fn batch(fence: Vec<saga_engine::store::record::Fence>, commit_no: u64) -> Batch {
    let at = Timestamp(i64::try_from(commit_no).expect("small"));
    let mut batch = Batch {
        commit_no,
        fence,
        ..Batch::default()
    };
    for n in 0..SAGAS {
        let face = Face {
            status: Status::Running,
            incident: false,
            exceptions: false,
            ended_at: None,
        };
        let row = SagaRow {
            id: id(commit_no, n),
            name: "book".to_owned(),
            version: 1,
            hash: [0; 32],
            key: Some(format!("{commit_no}/{n}")),
            labels: Default::default(),
            started_at: at,
            face,
        };
        batch.journal.push(JournalRow {
            saga_id: row.id,
            seq: 1,
            at,
            body: vec![1; 300],
        });
        batch.starts.push(StartRow {
            row,
            input_hash: [0; 32],
        });
        if commit_no > 1 {
            let saga_id = id(commit_no - 1, n);
            let face = Face {
                status: Status::Completed,
                incident: false,
                exceptions: false,
                ended_at: Some(at),
            };
            batch.journal.push(JournalRow {
                saga_id,
                seq: 2,
                at,
                body: vec![2; 300],
            });
            batch.changes.push(ChangeRow { id: saga_id, face });
        }
    }
    batch
}

/// The process that is killed: commits for ever and says which commits were answered.
#[tokio::test]
#[ignore = "started by the test below"]
async fn commits_until_killed() {
    let Ok(path) = std::env::var(PATH) else {
        return;
    };
    let store = SqliteStore::open(path.as_ref()).expect("open");
    let claim = store.claim(1).await.expect("claim");
    for n in claim.last_commit_no + 1.. {
        store
            .commit(batch(claim.fences.clone(), n))
            .await
            .expect("commit");
        writeln!(std::io::stdout(), "\nanswered {n}").expect("say so");
    }
}

/// Runs that process until it has answered `count` commits, kills it, and returns the last answered one.
fn load_and_kill(path: &std::path::Path, count: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "crash::commits_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    let lines = BufReader::new(child.stdout.take().expect("piped"))
        .lines()
        .map_while(Result::ok);
    let mut answers = lines.filter_map(|line| line.strip_prefix("answered ")?.parse::<u64>().ok());
    let seen = answers.by_ref().take(count).last();
    child.kill().expect("kill");
    let late = answers.last();
    child.wait().expect("wait");
    late.or(seen).expect("the process answered commits")
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("saga.db");
    let mut answered = 0;
    for count in [1, 40, 173] {
        answered = load_and_kill(&path, count);
    }
    let store = SqliteStore::open(&path).expect("open");
    let last = store.claim(2).await.expect("claim").last_commit_no;
    assert!(
        last == answered || last == answered + 1,
        "answered {answered}, found {last}"
    );
    let counts = store.counts().await.expect("counts");
    assert_eq!(
        counts[..3],
        [
            (Status::Running, SAGAS),
            (Status::Compensating, 0),
            (Status::Completed, SAGAS * (last - 1)),
        ]
    );
    for commit in 1..=last {
        let ids: Vec<SagaId> = (0..SAGAS).map(|n| id(commit, n)).collect();
        let rows = if commit == last { 1 } else { 2 };
        for journal in store.journals(ids).await.expect("journals") {
            assert_eq!(journal.len(), rows, "commit {commit} of {last}");
        }
    }
}
