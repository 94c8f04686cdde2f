//! SQLite on a disk that is really full.
//!
//! Needs the right to mount a small tmpfs; without it the test says so and passes, because the engine's own tests
//! go through the same path with a capped file.

use std::{path::Path, process::Command};

use saga_core::{Partition, SagaId, Status, Timestamp};
use saga_engine::store::{
    Claim, CommitError, Journals, Lanes, Store,
    record::{Batch, Face, JournalRow, SagaRow, StartRow},
};
use saga_store_sqlite::SqliteStore;
use tempfile::TempDir;

const BALLAST: usize = 6 << 20;

/// A mounted tmpfs; unmounted on drop.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = TempDir::new().expect("directory");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        status
            .is_ok_and(|status| status.success())
            .then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(self.path()).status().ok();
    }
}

fn batch(claim: &Claim, n: u64) -> Batch {
    let mut batch = Batch {
        commit_no: n,
        fence: claim.fences.clone(),
        ..Batch::default()
    };
    let id = SagaId::new(n, Partition(0), n);
    batch.starts.push(StartRow {
        row: SagaRow {
            id,
            name: "book".to_owned(),
            version: 1,
            hash: [0; 32],
            key: Some(n.to_string()),
            labels: Default::default(),
            started_at: Timestamp(0),
            face: Face {
                status: Status::Running,
                incident: false,
                exceptions: false,
                ended_at: None,
            },
        },
        input_hash: [0; 32],
    });
    batch.journal.push(JournalRow {
        saga_id: id,
        seq: 1,
        at: Timestamp(0),
        body: vec![7; 20_000],
    });
    batch
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_the_same_batch_commits_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("no right to mount a tmpfs: not tested here");
        return;
    };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; BALLAST]).expect("ballast");
    let path = disk.path().join("saga.db");
    let store = SqliteStore::open(&path).expect("open");
    let claim = store.claim(1).await.expect("claim");
    let mut written = 0;
    let error = loop {
        match store.commit(batch(&claim, written + 1)).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CommitError::Unavailable(_)), "{error:?}");
    assert!(written > 0);
    let again = store.commit(batch(&claim, written + 1)).await;
    assert!(
        matches!(again, Err(CommitError::Unavailable(_))),
        "{again:?}"
    );
    assert_eq!(
        store
            .open_sagas(None, 1_000)
            .await
            .expect("reads go on")
            .len() as u64,
        written
    );

    std::fs::remove_file(&ballast).expect("make room");
    store
        .commit(batch(&claim, written + 1))
        .await
        .expect("the same batch");
    store.close().await.expect("close");
    let store = SqliteStore::open(&path).expect("open again");
    let rows = store.open_sagas(None, 1_000).await.expect("read");
    assert_eq!(rows.len() as u64, written + 1);
    for row in rows {
        assert_eq!(store.journal(row.id, 0, 10).await.expect("read").len(), 1);
    }
}
