//! A participant over the broker, played by hand: for what the SDK never does.

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        BasicRejectOptions,
    },
    types::{AMQPValue, FieldTable},
};
use prost::Message;
use saga_proto::v1 as wire;

use crate::{instance::prepare, server::Rig, wait::within};

/// A participant that answers what a test tells it.
pub struct Puppet {
    /// Its connection, as a user who may do everything.
    pub channel: Channel,
    name: String,
    _connection: Connection,
    commands: Consumer,
}

/// A message with commands.
pub struct Asked {
    /// The commands.
    pub commands: Vec<wire::Command>,
    /// Who asks.
    pub reply_to: String,
    delivery: Delivery,
}

impl Puppet {
    /// Connects and says hello as a participant with the action `act` and the compensation `undo`.
    ///
    /// # Panics
    /// When the broker does not let it.
    pub async fn connect(rig: &Rig, name: &str) -> Self {
        prepare(&rig.endpoint(), name).await;
        Self::open(&rig.endpoint(), name, None).await
    }

    async fn open(endpoint: &str, name: &str, prefetch: Option<u16>) -> Self {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(endpoint, properties)
            .await
            .expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        if let Some(messages) = prefetch {
            channel
                .basic_qos(messages, BasicQosOptions::default())
                .await
                .expect("a prefetch");
        }
        let queue = format!("saga.cmd.{name}");
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let commands = channel.basic_consume(queue.as_str().into(), "".into(), options, none);
        let commands = commands.await.expect("a consumer");
        let puppet = Self {
            channel,
            name: name.to_owned(),
            _connection: connection,
            commands,
        };
        puppet.greet().await;
        puppet
    }

    /// Says that it is there, still: who is silent for fifteen seconds is gone.
    pub async fn greet(&self) {
        let exchange = format!("saga.reply.{}", self.name);
        self.say(
            &exchange,
            "register",
            "saga.v1.Hello",
            &self.hello(&self.name),
        )
        .await;
    }

    /// As [`Puppet::connect`], but it takes one message at a time.
    ///
    /// # Panics
    /// When the broker does not let it.
    pub async fn connect_for_one(rig: &Rig, name: &str) -> Self {
        prepare(&rig.endpoint(), name).await;
        Self::open(&rig.endpoint(), name, Some(1)).await
    }

    /// What it says of itself, or of somebody else.
    #[must_use]
    pub fn hello(&self, name: &str) -> Vec<u8> {
        let action = |name: &str, kind: wire::ActionKind| wire::Action {
            name: name.to_owned(),
            kind: kind.into(),
            ..Default::default()
        };
        let hello = wire::Hello {
            participant: name.to_owned(),
            instance: format!("puppet-of-{}", self.name),
            inbox_id: format!("inbox-of-{}", self.name),
            inbox_kind: wire::InboxKind::Transactional.into(),
            actions: vec![
                action("act", wire::ActionKind::Action),
                action("undo", wire::ActionKind::Compensation),
            ],
            capabilities: vec!["batch".to_owned()],
            ..Default::default()
        };
        hello.encode_to_vec()
    }

    /// Publishes a body.
    ///
    /// # Panics
    /// When the broker does not take it.
    pub async fn say(&self, exchange: &str, key: &str, kind: &str, body: &[u8]) {
        let properties = BasicProperties::default().with_type(kind.into());
        let options = BasicPublishOptions::default();
        let said =
            self.channel
                .basic_publish(exchange.into(), key.into(), options, body, properties);
        said.await.expect("said");
    }

    /// Says through an exchange that the first command succeeded.
    pub async fn succeed(&self, exchange: &str, asked: &Asked) {
        self.succeed_with(exchange, &asked.reply_to, &asked.commands[..1])
            .await;
    }

    /// Says that all commands of a message succeeded, and lets the broker forget it.
    pub async fn succeed_all(&self, asked: &Asked) {
        self.succeed_with(
            &format!("saga.reply.{}", self.name),
            &asked.reply_to,
            &asked.commands,
        )
        .await;
        asked.ack().await;
    }

    async fn succeed_with(&self, exchange: &str, reply_to: &str, commands: &[wire::Command]) {
        let reply = |command: &wire::Command| wire::Reply {
            saga_id: command.saga_id.clone(),
            step: command.step.clone(),
            round: command.round,
            op: command.op,
            attempt: command.attempt,
            outcome: wire::Outcome::Succeeded.into(),
            output: "{}".into(),
            error: None,
        };
        let batch = wire::ReplyBatch {
            replies: commands.iter().map(reply).collect(),
        };
        self.say(
            exchange,
            reply_to,
            "saga.v1.ReplyBatch",
            &batch.encode_to_vec(),
        )
        .await;
    }

    /// The next message with commands.
    ///
    /// # Panics
    /// When none comes in time, or it is none.
    pub async fn asked(&mut self) -> Asked {
        let delivery = loop {
            let delivery = within("a command", self.commands.next())
                .await
                .expect("open")
                .expect("a delivery");
            if !is_used_up(&delivery) {
                break delivery;
            }
            let options = BasicRejectOptions { requeue: false };
            assert!(delivery.reject(options).await.expect("rejected"));
        };
        let batch = wire::CommandBatch::decode(&*delivery.data).expect("commands");
        let reply_to = delivery
            .properties
            .reply_to()
            .as_ref()
            .expect("who asks")
            .to_string();
        Asked {
            commands: batch.commands,
            reply_to,
            delivery,
        }
    }
}

/// Was it delivered as often as it may be? Then it goes back unread, as the wire page says.
fn is_used_up(delivery: &Delivery) -> bool {
    let headers = delivery.properties.headers().as_ref();
    let number = |name| match headers?.inner().get(name)? {
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    };
    let delivered = number("x-delivery-count").unwrap_or(0);
    delivered > 0 && delivered >= number("saga-deliveries").unwrap_or(2)
}

impl Asked {
    /// Lets the broker forget the message.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn ack(&self) {
        assert!(
            self.delivery
                .ack(BasicAckOptions::default())
                .await
                .expect("acknowledged")
        );
    }

    /// Tells the broker that nobody can deal with the message.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn reject(&self) {
        let options = BasicRejectOptions { requeue: false };
        assert!(self.delivery.reject(options).await.expect("rejected"));
    }
}
