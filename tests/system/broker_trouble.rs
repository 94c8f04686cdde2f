//! A broker that is away, or full, or gives commands up: who waits says so, and nothing is charged for it.

use std::net::SocketAddr;

use saga_proto::v1::{self as wire, ListParticipantsRequest};
use saga_server::BROKER_SERVICE;
use saga_tests::{
    Rig, Script,
    broker_log::Vhost,
    client::{status, step},
    eventually,
    puppet::Puppet,
    rabbitmq::{self, RabbitMq},
};
use serde_json::{Value, json};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::files::SINGLE;

async fn own_broker() -> (RabbitMq, Vhost) {
    let started = tokio::task::spawn_blocking(|| {
        let broker = RabbitMq::start();
        let url = broker.vhost("own");
        (broker, url)
    });
    started.await.expect("a broker")
}

async fn health(address: SocketAddr) -> ServingStatus {
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut client = HealthClient::new(endpoint.connect().await.expect("a connection"));
    let request = HealthCheckRequest {
        service: BROKER_SERVICE.to_owned(),
    };
    client
        .check(request)
        .await
        .expect("an answer")
        .into_inner()
        .status()
}

async fn trouble(rig: &Rig) -> Option<String> {
    let mut directory = rig.clients.directory.clone();
    let answer = directory
        .list_participants(ListParticipantsRequest::default())
        .await
        .expect("a list")
        .into_inner();
    answer.broker.map(|trouble| trouble.state)
}

#[tokio::test]
async fn who_waits_for_a_broker_that_is_away_says_so_and_goes_on_when_it_is_back() {
    let (mut broker, url) = own_broker().await;
    let rig = Rig::start_at_a_broker(url).await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let before = rig.clients.begin("single", json!({"n": 0})).await;
    assert_eq!(status(&rig.clients.ended(&before).await), "completed");
    assert_eq!(
        (health(rig.address()).await, trouble(&rig).await),
        (ServingStatus::Serving, None)
    );
    broker.write_down_queues();
    broker.kill();
    eventually("the end of the connection to be noticed", || async {
        trouble(&rig).await
    })
    .await;
    let id = rig.clients.begin("single", json!({"n": 1})).await;
    let says = |seen: &_| {
        step(seen, "first")
            .note
            .contains("the broker cannot be reached")
    };
    let seen = rig.clients.until(&id, "to wait for the broker", says).await;
    assert_eq!(
        (
            step(&seen, "first").status.as_str(),
            step(&seen, "first").tries
        ),
        ("waiting", 0)
    );
    assert!(
        seen.story
            .iter()
            .any(|line| line.contains("the broker cannot be reached")),
        "{:?}",
        seen.story
    );
    let listed = rig.clients.list(Default::default()).await.sagas;
    assert!(
        listed
            .iter()
            .any(|saga| saga.next.contains("the broker cannot be reached")),
        "{listed:?}"
    );
    assert_eq!(health(rig.address()).await, ServingStatus::NotServing);
    assert_eq!(
        trouble(&rig).await.as_deref(),
        Some("the broker cannot be reached")
    );
    let _broker = tokio::task::spawn_blocking(move || {
        broker.revive();
        broker
    })
    .await
    .expect("a broker");
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("completed", 1)
    );
    assert_eq!(
        (health(rig.address()).await, trouble(&rig).await),
        (ServingStatus::Serving, None)
    );
    assert_eq!(left.ledger().len(), 2);
}

/// As a process that dies of one command would look to the broker, which takes back what it had brought.
#[tokio::test]
async fn of_a_message_that_kills_whoever_takes_it_only_the_culprit_loses_an_attempt() {
    let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    rig.clients.deploy(SINGLE).await;
    // Nobody is there, so they wait, and all are released by one commit.
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(rig.clients.begin("single", json!({"n": n})).await);
    }
    let culprit = |command: &wire::Command| {
        let input: Value = serde_json::from_slice(&command.input).expect("JSON");
        input["n"] == 0 && command.attempt == 1
    };
    let (mut deaths, mut answered) = (Vec::new(), 0);
    let mut left = Puppet::connect_for_one(&rig, "left").await;
    while answered < ids.len() {
        let asked = left.asked().await;
        if asked.commands.iter().any(culprit) {
            deaths.push(asked.commands.len());
            drop((asked, left));
            left = Puppet::connect_for_one(&rig, "left").await;
        } else {
            answered += asked.commands.len();
            left.succeed_all(&asked).await;
        }
    }
    for (n, id) in ids.iter().enumerate() {
        let seen = rig.clients.ended(id).await;
        let tries = if n == 0 { 2 } else { 1 };
        assert_eq!(
            (status(&seen), step(&seen, "first").tries),
            ("completed", tries),
            "{n}"
        );
    }
    assert_eq!(deaths, [5, 5, 1], "with the others, then alone");
    let history = rig.clients.history(&ids[0]).await;
    let told =
        |event: &wire::HistoryEvent| event.text.contains("instances_lost \"taken 3 times within");
    assert!(history.iter().any(told), "{history:?}");
}

/// A queue that is full refuses: nobody can say what became of the command, so it costs an attempt, and the next one finds
/// room.
#[tokio::test]
async fn commands_that_a_full_queue_refuses_are_tried_again() {
    let url = rabbitmq::vhost().await;
    let vhost = url.rsplit_once('/').expect("a virtual host").1.to_owned();
    let rig = Rig::start_at_a_broker(url).await;
    // Patient, so that nothing is undone meanwhile.
    rig.clients
        .deploy(&SINGLE.replace("max_attempts: 10", "max_attempts: 10000"))
        .await;
    let mut left = Puppet::connect_for_one(&rig, "left").await;
    let limited = tokio::task::spawn_blocking(move || {
        let limit = r#"{"max-length": 1}"#;
        rabbitmq::ctl(&[
            "set_policy",
            "-p",
            &vhost,
            "full",
            r"^saga\.cmd\.left$",
            limit,
            "--apply-to",
            "queues",
        ])
    });
    limited.await.expect("a policy");
    let mut ids = Vec::new();
    // A quorum queue learns of its length a moment late, so the first messages are taken.
    let refused = loop {
        left.greet().await;
        let id = rig.clients.begin("single", json!({"n": ids.len()})).await;
        let seen = rig
            .clients
            .until(&id, "to be sent", |seen| {
                !step(seen, "first").status.is_empty()
            })
            .await;
        ids.push(id.clone());
        let history = rig.clients.history(&id).await;
        if step(&seen, "first").tries > 0
            && history
                .iter()
                .any(|event| event.text.contains("broker_refused"))
        {
            break id;
        }
        assert!(ids.len() < 5_000, "nothing is refused");
    };
    let answering = async {
        let mut greet = tokio::time::interval(std::time::Duration::from_secs(2));
        loop {
            let asked = tokio::select! {
                asked = left.asked() => Some(asked),
                _ = greet.tick() => None,
            };
            match asked {
                Some(asked) => left.succeed_all(&asked).await,
                None => left.greet().await,
            }
        }
    };
    let ending = async {
        for id in &ids {
            assert_eq!(status(&rig.clients.ended(id).await), "completed");
        }
    };
    tokio::select! {
        () = answering => {}
        () = ending => {}
    }
    let seen = rig.clients.get(&refused).await;
    assert!(step(&seen, "first").tries > 1, "{seen:?}");
}

async fn participant(rig: &Rig, name: &str) -> wire::ParticipantInfo {
    let mut directory = rig.clients.directory.clone();
    let answer = directory
        .list_participants(ListParticipantsRequest::default())
        .await
        .expect("a list")
        .into_inner();
    answer
        .participants
        .into_iter()
        .find(|participant| participant.name == name)
        .expect("it is known")
}

#[tokio::test]
async fn while_the_broker_takes_nothing_participants_are_held_and_sagas_say_why() {
    let (broker, url) = own_broker().await;
    let rig = Rig::start_at_a_broker(url).await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MiB"]);
    // The broker blocks whoever publishes, so the first command shows that it takes nothing.
    let first = rig.clients.begin("single", json!({"n": 0})).await;
    let says = |seen: &wire::SagaDetail| {
        seen.story.iter().any(|line| {
            line.contains("is with left/act, attempt 1. Nothing travels there: the broker takes no")
        })
    };
    let seen = rig
        .clients
        .until(&first, "to say that the broker takes nothing", says)
        .await;
    assert!(
        seen.story
            .iter()
            .any(|line| line.contains("It goes on by itself when the broker does.")),
        "{:?}",
        seen.story
    );
    let summary = seen.summary.as_ref().expect("a summary");
    assert_eq!(summary.mark, "waiting");
    assert!(
        summary
            .next
            .starts_with("answer of left/act waits: the broker takes no messages"),
        "{}",
        summary.next
    );
    let held = eventually("the participant to be held", || async {
        Some(participant(&rig, "left").await.instances).filter(|all| all.iter().any(|one| one.held))
    });
    assert!(
        held.await
            .iter()
            .all(|instance| instance.held && !instance.draining && !instance.lost)
    );
    broker.ctl(&["set_vm_memory_high_watermark", "0.8"]);
    let seen = rig.clients.ended(&first).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("completed", 1)
    );
    let live = |one: &wire::InstanceInfo| !one.held && !one.draining && !one.lost;
    assert!(participant(&rig, "left").await.instances.iter().any(live));
}

#[tokio::test]
async fn an_instance_that_died_is_listed_as_lost_before_it_is_given_up() {
    let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
    let left = Script::plain(&rig, "left");
    let doomed = left.serve(&rig).await;
    let _other = left.serve(&rig).await;
    eventually("both to be there and to read", || async {
        let there = participant(&rig, "left").await.instances;
        (there.len() == 2 && there.iter().all(|one| !one.lost)).then_some(())
    })
    .await;
    doomed.kill();
    // It is listed for fifteen seconds more, so a list with both is earlier than that.
    eventually("one of two to be lost", || async {
        let there = participant(&rig, "left").await.instances;
        (there.len() == 2 && there.iter().filter(|one| one.lost).count() == 1).then_some(())
    })
    .await;
    let seen = eventually("a sign of life after the first", || async {
        let there = participant(&rig, "left").await;
        let later = |one: &&wire::InstanceInfo| one.last_seen_us > one.connected_at_us + 4_000_000;
        there
            .instances
            .iter()
            .find(later)
            .map(|one| (one.last_seen_us, there.last_seen_us))
    });
    let (instance, any) = seen.await;
    assert!(any >= instance);
}
