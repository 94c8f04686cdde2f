//! A command whose handler ends its process, restarted again and again: few deaths, told as what they are, and nobody else
//! pays for them.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use lapin::{
    Connection, ConnectionProperties,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use saga_proto::v1 as wire;
use saga_tests::{
    Rig,
    client::{status, step},
    rabbitmq,
    served::program,
};
use serde_json::json;
use tokio::{process::Command, time::timeout};

use crate::files::SINGLE;

/// The same saga with few attempts, so that its end is near.
fn deadly() -> String {
    SINGLE
        .replace("saga: single", "saga: deadly")
        .replace("max_attempts: 10", "max_attempts: 2")
}

/// Processes are started many times over, on machines that may be busy.
const PATIENCE: Duration = Duration::from_secs(150);

/// Starts the participant anew whenever it has died.
async fn restart_for_ever(endpoint: &str, folder: &Path) {
    loop {
        let ended = Command::new(program("saga-lethal"))
            .arg(folder)
            .current_dir(folder)
            .env("SAGA_ENDPOINT", endpoint)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .status();
        ended.await.expect("it starts");
    }
}

/// Runs a deadly saga among others, and looks at what became of them; the deaths by attempt, and the deadly one's history.
async fn live_through(
    rig: &Rig,
    others_pay: bool,
) -> (BTreeMap<u32, usize>, Vec<wire::HistoryEvent>) {
    // A process that starts faster than its queues are declared asks for them in vain.
    rig.causes("no queue");
    rig.clients.deploy(SINGLE).await;
    rig.clients.deploy(&deadly()).await;
    // Nobody is there, so all wait, and are released together.
    let mut others = Vec::new();
    for n in 1..=2 {
        others.push(rig.clients.begin("single", json!({"n": n})).await);
    }
    let culprit = rig.clients.begin("deadly", json!({"n": 0})).await;
    for n in 3..=4 {
        others.push(rig.clients.begin("single", json!({"n": n})).await);
    }
    let ends = async {
        for id in others.iter().chain([&culprit]) {
            while matches!(
                status(&rig.clients.get(id).await),
                "running" | "compensating"
            ) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let folder = rig.folder().join("lethal");
    std::fs::create_dir(&folder).expect("a folder");
    let endpoint = rig.endpoint();
    tokio::select! {
        () = restart_for_ever(&endpoint, &folder) => {}
        ended = timeout(PATIENCE, ends) => ended.expect("every saga ends"),
    }
    for id in &others {
        let seen = rig.clients.get(id).await;
        assert_eq!(status(&seen), "completed");
        assert!(others_pay || step(&seen, "first").tries == 1, "{seen:?}");
    }
    let seen = rig.clients.get(&culprit).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("compensated", 2)
    );
    let mut deaths = BTreeMap::new();
    for attempt in std::fs::read_to_string(folder.join("deaths"))
        .expect("deaths")
        .lines()
    {
        *deaths
            .entry(attempt.parse().expect("an attempt"))
            .or_default() += 1;
    }
    (deaths, rig.clients.history(&culprit).await)
}

#[tokio::test]
async fn a_command_that_kills_its_process_does_so_three_times_an_attempt_over_the_broker() {
    let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    let (deaths, history) = live_through(&rig, false).await;
    assert_eq!(deaths.keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert!(deaths.values().all(|&times| times <= 3), "{deaths:?}");
    let told =
        |event: &&wire::HistoryEvent| event.text.contains("it may kill the process that takes it");
    assert!(history.iter().filter(told).count() >= 2, "{history:?}");
}

#[tokio::test]
async fn a_queue_of_an_older_release_is_used_as_it_is_and_kills_no_more_often() {
    let url = rabbitmq::vhost().await;
    let connection = Connection::connect(&url, ConnectionProperties::default())
        .await
        .expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(20));
    arguments.insert(
        "x-dead-letter-exchange".into(),
        AMQPValue::LongString("saga.dlx".into()),
    );
    arguments.insert(
        "x-dead-letter-strategy".into(),
        AMQPValue::LongString("at-least-once".into()),
    );
    arguments.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare("saga.cmd.left".into(), options, arguments)
        .await
        .expect("a queue");
    url.causes("inequivalent arg 'x-delivery-limit'");
    let rig = Rig::start_at_a_broker(url).await;
    let (deaths, _) = live_through(&rig, false).await;
    assert!(deaths.values().all(|&times| times <= 3), "{deaths:?}");
}

#[tokio::test]
async fn a_command_that_kills_its_process_does_so_once_an_attempt_over_streams() {
    let rig = Rig::start_on_streams().await;
    // The end of a stream tells of everything that was on it, so others lose an attempt, too.
    let (deaths, history) = live_through(&rig, true).await;
    assert_eq!(deaths, BTreeMap::from([(1, 1), (2, 1)]));
    let told = |event: &wire::HistoryEvent| {
        event.text.contains("instances_lost")
            && event.text.contains("2 connections in a row ended within")
    };
    assert!(history.iter().any(told), "{history:?}");
}
