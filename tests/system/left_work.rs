//! The process that works on an accepted action is killed: a later attempt is handed to its successor, over each road and
//! with each inbox.

use std::{path::Path, process::Stdio};

use saga_tests::{
    Rig,
    client::{json as read, status},
    postgres::database,
    rabbitmq,
    served::program,
};
use serde_json::json;
use tokio::process::{Child, Command};

const LONG: &str = "
saga: long
version: 1
input: {n: int}
defaults:
  timeout: 2s
  retry: {initial_delay: 20ms, max_delay: 100ms, max_attempts: 50}
steps:
  - {step: first, action: left/long, compensation: left/undo}
  - {step: last, kind: pivot, action: left/long}
output: {first: '${steps.first.output.resumed_in}', last: '${steps.last.output.resumed_in}'}
";

fn start(rig: &Rig, folder: &Path, database: Option<&str>) -> Child {
    Command::new(program("saga-lethal"))
        .arg(folder)
        .args(database)
        .current_dir(folder)
        .env("SAGA_ENDPOINT", rig.endpoint())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts")
}

/// How often work was accepted.
fn accepted(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("accepted"))
        .map(|lines| lines.lines().count())
        .unwrap_or_default()
}

async fn outlives_its_worker(rig: Rig, database: Option<String>) {
    // A process that starts faster than its queues are declared asks for them in vain.
    rig.causes("no queue");
    rig.causes("client unexpectedly closed TCP connection");
    let folder = rig.folder().join("left");
    std::fs::create_dir(&folder).expect("a folder");
    rig.clients.deploy(LONG).await;
    let id = rig.clients.begin("long", json!({"n": 1})).await;
    // A step that can be undone, then the pivot, which is asked for before it is tried again.
    for name in ["first", "last"] {
        let before = accepted(&folder);
        let mut worker = start(&rig, &folder, database.as_deref());
        rig.clients
            .until(&id, "the work to be accepted", |seen| {
                let told = format!("{name} was accepted by");
                seen.story.iter().any(|line| line.contains(&told))
            })
            .await;
        assert_eq!(accepted(&folder), before + 1, "{name} is new");
        worker.kill().await.expect("it was there");
    }
    let _successor = start(&rig, &folder, database.as_deref());
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed", "{seen:?}");
    let output = read(&seen.output);
    for name in ["first", "last"] {
        assert!(output[name].as_u64() > Some(1), "a later attempt: {output}");
    }
    assert_eq!(accepted(&folder), 2, "nobody accepted it twice");
}

#[tokio::test]
async fn accepted_work_outlives_its_worker_over_streams() {
    outlives_its_worker(Rig::start_on_streams().await, None).await;
}

#[tokio::test]
async fn accepted_work_outlives_its_worker_over_streams_in_postgresql() {
    let database = database().await;
    outlives_its_worker(Rig::start_on_streams().await, Some(database)).await;
}

#[tokio::test]
async fn accepted_work_outlives_its_worker_over_the_broker() {
    let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    outlives_its_worker(rig, None).await;
}

#[tokio::test]
async fn accepted_work_outlives_its_worker_over_the_broker_in_postgresql() {
    let database = database().await;
    let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    outlives_its_worker(rig, Some(database)).await;
}
