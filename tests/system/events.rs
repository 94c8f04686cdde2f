//! What becomes of sagas is told on `saga.events`: all of it, at least once, whatever dies.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream::FuturesUnordered};
use lapin::{
    Connection, ConnectionProperties, Consumer, ExchangeKind,
    options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use saga_server::config::Store as Place;
use saga_tests::{
    Rig, Say, Script,
    client::status,
    postgres, rabbitmq,
    served::{Program, Served},
    within,
};
use serde_json::{Value, json};

use crate::files::{SINGLE, WHOLE};

/// Somebody who listens.
struct Listener {
    _connection: Connection,
    events: Consumer,
}

impl Listener {
    /// Binds a queue, with some more arguments of it.
    async fn bind(url: &str, key: &str, arguments: &[(&str, AMQPValue)]) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default())
            .await
            .expect("connected");
        let channel = connection.create_channel().await.expect("a channel");
        let options = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let declared = channel.exchange_declare(
            "saga.events".into(),
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        );
        declared
            .await
            .expect("the exchange as the server declares it");
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        let options = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .queue_declare("audit.events".into(), options, table)
            .await
            .expect("a queue");
        let none = FieldTable::default();
        let bound = channel.queue_bind(
            "audit.events".into(),
            "saga.events".into(),
            key.into(),
            QueueBindOptions::default(),
            none,
        );
        bound.await.expect("bound");
        let (options, none) = (
            BasicConsumeOptions {
                no_ack: true,
                ..Default::default()
            },
            FieldTable::default(),
        );
        let events = channel.basic_consume("audit.events".into(), "".into(), options, none);
        let events = events.await.expect("a consumer");
        Self {
            _connection: connection,
            events,
        }
    }

    /// The next event and its routing key.
    async fn next(&mut self) -> (String, Value) {
        let delivery = within("an event", self.events.next())
            .await
            .expect("open")
            .expect("a delivery");
        let event: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        let id = delivery
            .properties
            .message_id()
            .as_ref()
            .map(ToString::to_string);
        assert_eq!(id.as_deref(), event["id"].as_str());
        let kind = delivery
            .properties
            .content_type()
            .as_ref()
            .map(ToString::to_string);
        assert_eq!(kind.as_deref(), Some("application/cloudevents+json"));
        (delivery.routing_key.to_string(), event)
    }

    /// The types of the events of one saga, until one is the end of it.
    async fn life(&mut self, saga: &str) -> Vec<String> {
        let mut types = Vec::new();
        loop {
            let (key, event) = self.next().await;
            if event["subject"] != saga {
                continue;
            }
            let kind = event["type"].as_str().expect("a type").to_owned();
            assert_eq!(
                key,
                format!(
                    "{}.{kind}",
                    event["data"]["definition"].as_str().expect("a name")
                )
            );
            types.push(kind);
            if matches!(
                types.last().map(String::as_str),
                Some("saga.completed" | "saga.compensated")
            ) {
                return types;
            }
        }
    }
}

#[tokio::test]
async fn a_life_is_told_in_its_order() {
    let url = rabbitmq::vhost().await;
    let mut listener = Listener::bind(&url, "#", &[]).await;
    let rig = Rig::start_with_events(&url).await;
    let left = Script::plain(&rig, "left");
    let right = Script::new(&rig, "right").act("act", |call| match call.input["n"].as_i64() {
        Some(0) => Say::Refuse("no"),
        _ => Say::Succeed(json!({})),
    });
    let _instances = [left.serve(&rig).await, right.serve(&rig).await];
    rig.clients.deploy(WHOLE).await;
    let good = rig.clients.begin("whole", json!({"n": 1})).await;
    assert_eq!(
        listener.life(&good).await,
        ["saga.started", "saga.completed"]
    );
    let bad = rig.clients.begin("whole", json!({"n": 0})).await;
    assert_eq!(
        listener.life(&bad).await,
        ["saga.started", "saga.compensating", "saga.compensated"]
    );
}

#[tokio::test]
async fn who_does_not_ask_for_events_gets_none() {
    let url = rabbitmq::vhost().await;
    let mut listener = Listener::bind(&url, "#", &[]).await;
    let rig = Rig::start_at_a_broker(url.clone()).await;
    let left = Script::plain(&rig, "left");
    let instance = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let silent = rig.clients.begin("single", json!({"n": 1})).await;
    assert_eq!(status(&rig.clients.ended(&silent).await), "completed");
    drop((instance, rig));
    let rig = Rig::start_with_events(&url).await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let told = rig.clients.begin("single", json!({"n": 1})).await;
    let (_, first) = listener.next().await;
    assert_eq!(first["subject"], told.as_str());
}

/// A queue that is full refuses; the events wait until it has room, and the sagas do not.
#[tokio::test]
async fn a_full_queue_loses_nothing() {
    let url = rabbitmq::vhost().await;
    let small = [
        ("x-max-length", AMQPValue::LongInt(2)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ];
    // Nobody reads yet.
    let quiet = Listener::bind(&url, "*.saga.completed", &small).await;
    drop(quiet);
    let rig = Rig::start_with_events(&url).await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let mut ids = BTreeSet::new();
    for n in 0..20 {
        ids.insert(rig.clients.begin("single", json!({"n": n})).await);
    }
    for id in &ids {
        assert_eq!(status(&rig.clients.ended(id).await), "completed");
    }
    let mut listener = Listener::bind(&url, "*.saga.completed", &small).await;
    let mut told = BTreeSet::new();
    while told.len() < ids.len() {
        let (_, event) = listener.next().await;
        told.insert(event["subject"].as_str().expect("a saga").to_owned());
    }
    assert_eq!(told, ids);
}

#[tokio::test]
async fn every_end_is_told_although_the_server_is_killed_again_and_again() {
    killed_again_and_again(&[]).await;
}

#[tokio::test]
async fn every_end_is_told_although_the_server_is_killed_again_and_again_over_postgresql() {
    let Place::Postgres { url, .. } = postgres::database_place().await else {
        panic!("no database")
    };
    killed_again_and_again(&["--store", &url]).await;
}

async fn killed_again_and_again(store: &[&str]) {
    let url = rabbitmq::vhost().await;
    // The participants may look for their queues before the server has made them.
    url.causes("no queue");
    let mut listener = Listener::bind(&url, "#", &[]).await;
    let arguments = [&["--broker", &url, "--events"], store].concat();
    let mut served = Served::start(&arguments).await;
    let trip =
        std::fs::read_to_string("../examples/book_trip/book_trip.saga.yaml").expect("the example");
    served.clients.deploy(&trip).await;
    let _services = Program::start(
        "book_trip",
        &[],
        &[("SAGA_ENDPOINT", &url)],
        served.folder(),
    );
    let directory = served.clients.directory.clone();
    saga_tests::eventually("the participants", || {
        let mut directory = directory.clone();
        async move {
            let list = directory
                .list_participants(saga_proto::v1::ListParticipantsRequest::default())
                .await
                .ok()?;
            let there = list
                .into_inner()
                .participants
                .iter()
                .filter(|p| !p.instances.is_empty())
                .count();
            (there == 4).then_some(())
        }
    })
    .await;
    let mut ids = Vec::new();
    for round in 0..4 {
        let mut starts = FuturesUnordered::new();
        for n in 0..40 {
            let customer = if n % 4 == 0 { "customer-broke" } else { "ada" };
            let input = json!({
                "trip_id": format!("{round}-{n}"), "customer_id": customer, "amount_cents": 100,
                "flight": {"from": "FRA", "to": "LIS", "date": "2027-03-01"}, "hotel": {"city": "Lisbon", "nights": 1},
            });
            starts.push(served.clients.begin("book_trip", input));
        }
        while let Some(id) = starts.next().await {
            ids.push(id);
        }
        drop(starts);
        served.kill_and_revive().await;
    }
    let mut ends: BTreeMap<String, String> = BTreeMap::new();
    while ends.len() < ids.len() {
        let (_, event) = listener.next().await;
        let kind = event["type"].as_str().expect("a type");
        if kind == "saga.completed" || kind == "saga.compensated" {
            let before = ends.insert(
                event["subject"].as_str().expect("a saga").to_owned(),
                kind.to_owned(),
            );
            assert!(
                before.is_none_or(|before| before == kind),
                "two ends: {event}"
            );
        }
    }
    for id in &ids {
        let ended = served.clients.get(id).await;
        assert_eq!(format!("saga.{}", status(&ended)), ends[id], "{id}");
    }
}
