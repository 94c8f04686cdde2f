//! Objects on the broker that somebody deletes while nothing travels: they are made again before anybody needs them.

use lapin::{
    Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{ExchangeDeclareOptions, ExchangeUnbindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use saga_tests::{Instance, Rig, Script, client::status, eventually, rabbitmq};
use serde_json::json;

use crate::files::PAIR;

const SHARED_EXCHANGES: [&str; 7] = [
    "saga.cmd",
    "saga.reply",
    "saga.unroutable",
    "saga.dlx",
    "saga.start",
    "saga.started",
    "saga.events",
];
const SHARED_QUEUES: [&str; 3] = ["saga.dead", "saga.register", "saga.start"];

/// A server with two participants, and a connection of somebody who may delete everything.
struct Scene {
    rig: Rig,
    broker: Connection,
    _instances: [Instance; 2],
}

impl Scene {
    async fn set() -> Self {
        let rig = Rig::start_at_a_broker(rabbitmq::vhost().await).await;
        // Looks for what is missing, and participants that read or write it.
        rig.causes("no queue");
        rig.causes("no exchange");
        let left = Script::plain(&rig, "left");
        let right = Script::plain(&rig, "right").refuse("refuse", "no_room");
        let instances = [left.serve(&rig).await, right.serve(&rig).await];
        rig.clients.deploy(PAIR).await;
        rig.clients
            .deploy(
                &PAIR
                    .replace("saga: pair", "saga: back")
                    .replace("right/act", "right/refuse"),
            )
            .await;
        let properties = ConnectionProperties::default();
        let broker = Connection::connect(&rig.endpoint(), properties)
            .await
            .expect("a connection");
        let scene = Self {
            rig,
            broker,
            _instances: instances,
        };
        scene.sagas_end().await;
        scene
    }

    /// One saga goes through, another comes back.
    async fn sagas_end(&self) {
        for (name, end) in [("pair", "completed"), ("back", "compensated")] {
            let id = self.rig.clients.begin(name, json!({"n": 0})).await;
            assert_eq!(status(&self.rig.clients.ended(&id).await), end, "{name}");
        }
    }

    async fn channel(&self) -> Channel {
        self.broker.create_channel().await.expect("a channel")
    }

    async fn delete(&self, queues: &[&str], exchanges: &[&str]) {
        let channel = self.channel().await;
        for queue in queues {
            channel
                .queue_delete((*queue).into(), Default::default())
                .await
                .expect("deleted");
        }
        for exchange in exchanges {
            channel
                .exchange_delete((*exchange).into(), Default::default())
                .await
                .expect("deleted");
        }
    }

    /// Waits until they are there again although nothing is sent.
    async fn return_of(&self, queues: &[&str], exchanges: &[&str]) {
        for queue in queues {
            eventually(&format!("queue {queue}"), || async {
                self.has_queue(queue).await.then_some(())
            })
            .await;
        }
        for exchange in exchanges {
            let look = || async { self.has_exchange(exchange).await.then_some(()) };
            eventually(&format!("exchange {exchange}"), look).await;
        }
    }

    /// A channel of its own, which the broker closes when there is none.
    async fn has_queue(&self, name: &str) -> bool {
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let channel = self.channel().await;
        let there = channel
            .queue_declare(name.into(), options, FieldTable::default())
            .await
            .is_ok();
        channel.close(200, "seen".into()).await.ok();
        there
    }

    async fn has_exchange(&self, name: &str) -> bool {
        let options = ExchangeDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let channel = self.channel().await;
        let kind = ExchangeKind::Direct;
        let there = channel
            .exchange_declare(name.into(), kind, options, FieldTable::default())
            .await
            .is_ok();
        channel.close(200, "seen".into()).await.ok();
        there
    }

    async fn are_replaced(&self, queues: &[&str], exchanges: &[&str]) {
        self.delete(queues, exchanges).await;
        self.return_of(queues, exchanges).await;
        self.sagas_end().await;
    }
}

#[tokio::test]
async fn queues_of_a_participant_that_vanish_at_rest_are_made_again_and_read() {
    let scene = Scene::set().await;
    scene.are_replaced(&["saga.undo.left"], &[]).await;
    scene
        .are_replaced(&["saga.cmd.left", "saga.undo.right"], &[])
        .await;
    scene.are_replaced(&[], &["saga.reply.left"]).await;
}

#[tokio::test]
async fn exchanges_that_vanish_at_rest_are_made_again_with_their_bindings() {
    let scene = Scene::set().await;
    scene.are_replaced(&[], &["saga.reply"]).await;
    scene.are_replaced(&[], &SHARED_EXCHANGES).await;
}

#[tokio::test]
async fn shared_queues_that_vanish_at_rest_are_made_again_and_read() {
    let scene = Scene::set().await;
    scene.are_replaced(&SHARED_QUEUES, &[]).await;
    for queue in SHARED_QUEUES {
        let read = || async {
            let options = QueueDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let channel = scene.channel().await;
            let seen = channel
                .queue_declare(queue.into(), options, FieldTable::default())
                .await;
            seen.ok().filter(|queue| queue.consumer_count() > 0)
        };
        eventually(&format!("a reader of {queue}"), read).await;
    }
}

#[tokio::test]
async fn bindings_that_vanish_at_rest_are_made_again() {
    let scene = Scene::set().await;
    let channel = scene.channel().await;
    for queue in ["saga.cmd.left", "saga.undo.left"] {
        let unbound = channel.queue_unbind(
            queue.into(),
            "saga.cmd".into(),
            queue.into(),
            FieldTable::default(),
        );
        unbound.await.expect("unbound");
    }
    let (options, none) = (ExchangeUnbindOptions::default(), FieldTable::default());
    let unbound = channel.exchange_unbind(
        "saga.reply".into(),
        "saga.reply.right".into(),
        "".into(),
        options,
        none,
    );
    unbound.await.expect("unbound");
    let (_, vhost) = scene
        .rig
        .endpoint()
        .rsplit_once('/')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a vhost");
    let bound = [
        "saga.cmd\tsaga.cmd.left",
        "saga.cmd\tsaga.undo.left",
        "saga.reply.right\tsaga.reply",
    ];
    eventually("the bindings", || async {
        let vhost = vhost.clone();
        let listed = tokio::task::spawn_blocking(move || {
            rabbitmq::ctl(&[
                "list_bindings",
                "-p",
                &vhost,
                "source_name",
                "destination_name",
            ])
        });
        let listed = listed.await.expect("a list");
        bound
            .iter()
            .all(|binding| listed.lines().any(|line| line == *binding))
            .then_some(())
    })
    .await;
    scene.sagas_end().await;
}
