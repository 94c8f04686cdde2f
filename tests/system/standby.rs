//! Two processes on one database and at one broker: the one that loses the store ends everything that an owner does, the
//! other one goes on, and nothing is done twice.
//!
//! `SAGA_STANDBY=long` also stops an owner for a minute.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};
use saga_server::{BROKER_SERVICE, STANDBY_SERVICE};
use saga_tests::{
    Instance, Script,
    broker_log::Vhost,
    client::{code, id_of, start, status},
    eventually,
    ledger::assert_sane,
    postgres::database,
    proxy::Proxy,
    rabbitmq::{self, RabbitMq},
    served::{Served, is_standing_by},
    wait::eventually_or,
    within,
};
use serde_json::json;
use tonic::Status;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::files::SINGLE;

/// From the fault to the end of the first new saga.
const GOES_ON_WITHIN: Duration = Duration::from_secs(8);
/// The same for starts that sit with an owner that was stopped: twice the longest heartbeat, and two seconds.
const TAKEN_BACK_WITHIN: Duration = Duration::from_secs(12);
/// A refusal that comes later was held.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Starts by a message while the owner is stopped.
const MESSAGES: usize = 10;

/// An owner, a server that stands by, and a participant at their broker.
struct Pair {
    owner: Served,
    other: Served,
    left: Script,
    _instance: Instance,
    broker: Vhost,
    folder: tempfile::TempDir,
}

impl Pair {
    async fn start(broker: Vhost) -> Self {
        let database = database().await;
        Self::start_on(&database, &database, broker).await
    }

    /// Each server has its own way to the database.
    async fn start_on(owners: &str, others: &str, broker: Vhost) -> Self {
        let owner = Served::start(&["--store", owners, "--broker", &broker]).await;
        let other = Served::start_standing_by(&["--store", others, "--broker", &broker]).await;
        let folder = tempfile::tempdir().expect("a folder");
        let left = Script::plain_at(&broker, folder.path(), "left");
        let instance = left.launch_sqlite();
        owner.clients.deploy(SINGLE).await;
        let pair = Self {
            owner,
            other,
            left,
            _instance: instance,
            broker,
            folder,
        };
        pair.ends_at(&pair.owner).await;
        stands_by(&pair.other).await;
        pair
    }

    /// Begins a saga there, as soon as that server takes it, and waits for its end.
    async fn ends_at(&self, served: &Served) {
        let began = eventually_or("a start", async || {
            let answer = served
                .clients
                .try_start(start("single", json!({"n": 1})))
                .await;
            answer.map_err(|refusal| refusal.to_string())
        });
        let id = id_of(&began.await.saga_id);
        assert_eq!(status(&served.clients.ended(&id).await), "completed");
    }

    /// Asks for sagas by a message, with keys of their own.
    async fn ask(&self) -> Vec<String> {
        let connection = Connection::connect(&self.broker, ConnectionProperties::default()).await;
        let connection = connection.expect("connected");
        let channel = connection.create_channel().await.expect("a channel");
        let mut names = Vec::new();
        for n in 0..MESSAGES {
            let mut headers = FieldTable::default();
            headers.insert(
                "saga-key".into(),
                AMQPValue::LongString(format!("m{n}").into()),
            );
            let (exchange, key) = ("saga.start".into(), "single".into());
            let properties = BasicProperties::default()
                .with_headers(headers)
                .with_delivery_mode(2);
            let options = BasicPublishOptions::default();
            let said = channel
                .basic_publish(exchange, key, options, br#"{"n": 2}"#, properties)
                .await;
            said.expect("said");
            names.push(format!("single/m{n}"));
        }
        connection.close(200, "done".into()).await.expect("closed");
        names
    }
}

async fn health(address: SocketAddr, service: &str) -> ServingStatus {
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut client = HealthClient::new(endpoint.connect().await.expect("a connection"));
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    client
        .check(request)
        .await
        .expect("an answer")
        .into_inner()
        .status()
}

/// It is harmless and says what it is: health on all names, and every call refused at once.
async fn stands_by(served: &Served) {
    eventually("health to say what it is", || async {
        let seen = [
            health(served.address(), "").await,
            health(served.address(), STANDBY_SERVICE).await,
        ];
        (seen == [ServingStatus::NotServing, ServingStatus::Serving]).then_some(())
    })
    .await;
    for service in [
        "saga.v1.SagaService",
        "saga.v1.ParticipantService",
        BROKER_SERVICE,
    ] {
        assert_eq!(
            health(served.address(), service).await,
            ServingStatus::NotServing,
            "{service}"
        );
    }
    let asked = Instant::now();
    let refusals: [Status; 3] = [
        served
            .clients
            .try_start(start("single", json!({"n": 3})))
            .await
            .expect_err("a start"),
        served
            .clients
            .try_get("single/m0")
            .await
            .expect_err("a read"),
        served
            .clients
            .cancel("single/m0")
            .await
            .expect_err("an act"),
    ];
    for refusal in refusals {
        assert!(is_standing_by(&refusal), "{refusal}");
        assert!(refusal.message().contains("standing by: "), "{refusal}");
        assert_eq!(refusal.code(), tonic::Code::Unavailable);
    }
    assert!(
        asked.elapsed() < AT_ONCE,
        "a refusal was held for {:?}",
        asked.elapsed()
    );
}

/// Nobody did anything twice, and every saga did its step.
fn all_done_once(pair: &Pair, sagas: usize) {
    let ledger = pair.left.ledger();
    assert_sane(&ledger);
    assert_eq!(ledger.len(), sagas, "{:?}", pair.folder.path());
}

async fn an_owner_is_stopped_for(pause: Duration) {
    let broker = rabbitmq::vhost().await;
    broker.causes("missed heartbeats from client");
    let pair = Pair::start(broker).await;
    pair.owner.program.signal("STOP");
    let fault = Instant::now();
    // These go to the one that was stopped: the broker knows no better yet.
    let asked = pair.ask().await;
    pair.ends_at(&pair.other).await;
    let went_on = fault.elapsed();
    assert!(
        went_on <= GOES_ON_WITHIN,
        "the first new saga ended after {went_on:?}"
    );
    for name in &asked {
        let seen = eventually_or(name, async || {
            pair.other
                .clients
                .try_get(name)
                .await
                .map_err(|refusal| refusal.to_string())
        });
        seen.await;
        pair.other.clients.ended(name).await;
    }
    let taken_back = fault.elapsed();
    assert!(
        taken_back <= TAKEN_BACK_WITHIN,
        "the last saga asked for by a message ended after {taken_back:?}"
    );
    tokio::time::sleep(pause.saturating_sub(fault.elapsed())).await;
    pair.owner.program.signal("CONT");
    stands_by(&pair.owner).await;
    for _ in 0..5 {
        pair.ends_at(&pair.other).await;
    }
    stands_by(&pair.owner).await;
    all_done_once(&pair, 1 + 1 + MESSAGES + 5);
    println!(
        "new sagas went on after {went_on:?}, those with the stopped owner after {taken_back:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_stopped_stands_by() {
    an_owner_is_stopped_for(Duration::from_secs(7)).await;
    if std::env::var("SAGA_STANDBY").is_ok_and(|mode| mode == "long") {
        an_owner_is_stopped_for(Duration::from_secs(60)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_cut_off_from_the_database_stands_by() {
    let database = database().await;
    let (before, place) = database.split_once('@').expect("a user");
    let (server, name) = place.split_once('/').expect("a database");
    let proxy = Proxy::before(server.parse().expect("an address")).await;
    let owners = format!("{before}@{}/{name}", proxy.address());
    let pair = Pair::start_on(&owners, &database, rabbitmq::vhost().await).await;
    proxy.stall();
    let fault = Instant::now();
    // Whoever waits for the old owner is answered when it gives up, not when a deadline comes.
    let clients = pair.owner.clients.clone();
    let waits =
        tokio::spawn(async move { clients.try_start(start("single", json!({"n": 4}))).await });
    pair.ends_at(&pair.other).await;
    let went_on = fault.elapsed();
    assert!(
        went_on <= GOES_ON_WITHIN,
        "the first new saga ended after {went_on:?}"
    );
    let answer = within("the answer of the former owner", waits)
        .await
        .expect("no panic");
    let refusal = answer.expect_err("nobody can say");
    assert_eq!(
        (code(&refusal).as_str(), refusal.code()),
        ("A0506", tonic::Code::Unavailable),
        "{refusal}"
    );
    assert!(refusal.message().contains("unknown"), "{refusal}");
    stands_by(&pair.owner).await;
    tokio::time::sleep(Duration::from_secs(8).saturating_sub(fault.elapsed())).await;
    proxy.go_on();
    for _ in 0..5 {
        pair.ends_at(&pair.other).await;
    }
    stands_by(&pair.owner).await;
    assert!(
        pair.other
            .clients
            .try_start(start("single", json!({"n": 5})))
            .await
            .is_ok()
    );
    let all = pair.other.clients.list(Default::default()).await;
    eventually("all sagas to end", || async {
        (pair.other.clients.list(Default::default()).await.open_total == 0).then_some(())
    })
    .await;
    // The start whose fate was unknown was fenced off, or it was not: it ran once or never.
    all_done_once(&pair, all.sagas.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_meets_the_owner_alone() {
    let started = tokio::task::spawn_blocking(|| {
        let broker = RabbitMq::start();
        let url = broker.vhost("own");
        (broker, url)
    });
    let (mut broker, url) = started.await.expect("a broker");
    let pair = Pair::start(url).await;
    let killed = tokio::task::spawn_blocking(move || {
        broker.write_down_queues();
        broker.kill();
        broker
    });
    let mut broker = killed.await.expect("a broker");
    eventually("the owner to miss its broker", || async {
        (health(pair.owner.address(), BROKER_SERVICE).await == ServingStatus::NotServing)
            .then_some(())
    })
    .await;
    let revived = tokio::task::spawn_blocking(move || {
        broker.revive();
        broker
    });
    let _broker = revived.await.expect("a broker");
    let back = Instant::now();
    pair.ends_at(&pair.owner).await;
    let went_on = back.elapsed();
    assert!(
        went_on <= GOES_ON_WITHIN,
        "the first saga ended {went_on:?} after the broker was back"
    );
    stands_by(&pair.other).await;
    assert!(
        !pair
            .other
            .program
            .logged()
            .contains("the road over the broker is open"),
        "it dialled"
    );
    // And when the owner dies, the other one takes over all the same.
    let Pair {
        mut owner,
        other,
        left,
        ..
    } = pair;
    owner.program.kill().await;
    let fault = Instant::now();
    let id = eventually_or("a start", async || {
        let answer = other
            .clients
            .try_start(start("single", json!({"n": 6})))
            .await;
        answer
            .map(|answer| id_of(&answer.saga_id))
            .map_err(|refusal| refusal.to_string())
    })
    .await;
    assert_eq!(status(&other.clients.ended(&id).await), "completed");
    assert!(
        fault.elapsed() <= GOES_ON_WITHIN,
        "after a kill: {:?}",
        fault.elapsed()
    );
    assert_sane(&left.ledger());
    assert_eq!(left.ledger().len(), 3);
}
