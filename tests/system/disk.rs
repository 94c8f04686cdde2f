//! The server's disk is full, or its file is moved away under it.
//!
//! The first needs the right to mount a small tmpfs; without it the test says so and passes.

use std::{fs, path::Path, process::Command, time::Duration};

use saga_proto::v1::{ListSagasRequest, StartSagaRequest};
use saga_tests::{
    Rig, Script,
    client::{id_of, start, status},
    ledger::assert_sane,
};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::files::SINGLE;

/// A mounted tmpfs; unmounted on drop.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    pub(crate) fn mount() -> Option<Self> {
        let dir = TempDir::new().expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mount
            .is_ok_and(|status| status.success())
            .then_some(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .status()
            .ok();
    }
}

#[tokio::test]
async fn a_full_disk_holds_everything_up_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("no right to mount a tmpfs: not tested here");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut rig = Rig::start_in(folder, disk.path().join("saga.db")).await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![0; 6 << 20]).expect("ballast");
    let text = "x".repeat(100_000);
    let request = || {
        let request_id = Uuid::now_v7().as_bytes().to_vec().into();
        StartSagaRequest {
            request_id,
            ..start("single", json!({"n": 0, "text": text}))
        }
    };
    // Starts until one is neither taken nor refused for a while.
    let mut taken = Vec::new();
    let held_up = loop {
        let request = request();
        let answer = rig.clients.try_start(request.clone());
        match tokio::time::timeout(Duration::from_secs(1), answer).await {
            Ok(Ok(started)) => taken.push(id_of(&started.saga_id)),
            Ok(Err(_)) | Err(_) => break request,
        }
        assert!(taken.len() < 100, "the disk does not fill up");
    };
    assert!(!taken.is_empty());
    // What is there can still be looked at.
    assert!(
        rig.clients
            .list(ListSagasRequest::default())
            .await
            .sagas
            .len()
            >= taken.len()
    );
    fs::remove_file(&ballast).expect("make room");
    let again = saga_tests::within("the start to be taken", rig.clients.try_start(held_up)).await;
    taken.push(id_of(&again.expect("there is room again").saga_id));
    for id in &taken {
        assert_eq!(status(&rig.clients.ended(id).await), "completed");
    }
    assert_eq!(left.ledger().len(), taken.len());
    assert_sane(&left.ledger());
    rig.restart().await;
    let list = rig.clients.list(ListSagasRequest::default()).await;
    assert_eq!(
        (list.open_total, list.finished_total),
        (0, taken.len() as u64)
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_file_that_is_moved_away_holds_everything_up_until_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, aside) = (
        folder.path().join("saga.db"),
        folder.path().join("moved.db"),
    );
    let mut rig = Rig::start_in(folder, path.clone()).await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let request = |text: &str| {
        let request_id = Uuid::now_v7().as_bytes().to_vec().into();
        StartSagaRequest {
            request_id,
            ..start("single", json!({"n": 0, "text": text}))
        }
    };
    let first = rig
        .clients
        .try_start(request("first"))
        .await
        .expect("a start");
    let mut taken = vec![id_of(&first.saga_id)];
    rig.clients.ended(&taken[0]).await;

    fs::rename(&path, &aside).expect("moved");
    let held_up = request("held up");
    let answer = tokio::time::timeout(
        Duration::from_secs(3),
        rig.clients.try_start(held_up.clone()),
    )
    .await;
    assert!(!matches!(answer, Ok(Ok(_))), "{answer:?}");
    fs::rename(&aside, &path).expect("moved back");
    let again = saga_tests::wait::eventually_or("the start to be taken", async || {
        rig.clients
            .try_start(held_up.clone())
            .await
            .map_err(|status| status.to_string())
    });
    taken.push(id_of(&again.await.saga_id));
    for id in &taken {
        assert_eq!(status(&rig.clients.ended(id).await), "completed");
    }
    assert_eq!(left.ledger().len(), taken.len());
    assert_sane(&left.ledger());
    rig.restart().await;
    let list = rig.clients.list(ListSagasRequest::default()).await;
    assert_eq!(
        (list.open_total, list.finished_total),
        (0, taken.len() as u64)
    );
    rig.stop().await;
}
