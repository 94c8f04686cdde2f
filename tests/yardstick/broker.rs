//! Commands and replies through RabbitMQ without an engine: one command a message, one reply a message.
//!
//! Queue type, arguments, bodies, properties, headers, confirms and acknowledgements are those of saga's road; what is
//! missing is everything that saga does in between, and its exchanges: both queues are written directly.

use std::{
    pin::Pin,
    process::Stdio,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use lapin::{
    Acker, BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use prost::Message;
use saga_proto::v1 as wire;

use crate::journal::median_ms;

const COMMANDS: &str = "bare.cmd";
const REPLIES: &str = "bare.reply";
/// As many messages may be taken and not acknowledged.
const PREFETCH: u16 = 2_000;
/// Not counted, while connections and queues get going.
const WARM_UP: Duration = Duration::from_millis(500);

/// A driver, and a peer in a process of its own.
pub(crate) struct Echo {
    url: String,
    _peer: tokio::process::Child,
}

/// How a command looks on the wire.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// As the SDK gets them, but for one command a message.
    Packed,
    /// As participants without the SDK get them: JSON, and a header for everything else.
    Plain,
}

/// What came of a run.
pub(crate) struct Echoed {
    /// Round trips a second.
    pub(crate) rate: f64,
    /// One round trip in milliseconds: the median.
    pub(crate) p50_ms: f64,
}

impl Echo {
    /// Declares the queues on the virtual host behind `url` and starts the peer.
    pub(crate) async fn open(url: &str) -> Self {
        let connection = connect(url).await;
        let channel = connection.create_channel().await.expect("a channel");
        let quorum = [
            ("x-queue-type", AMQPValue::LongString("quorum".into())),
            ("x-delivery-limit", AMQPValue::LongInt(20)),
            (
                "x-dead-letter-exchange",
                AMQPValue::LongString("bare.dlx".into()),
            ),
            (
                "x-dead-letter-strategy",
                AMQPValue::LongString("at-least-once".into()),
            ),
            ("x-overflow", AMQPValue::LongString("reject-publish".into())),
        ];
        for (queue, arguments) in [(COMMANDS, &quorum[..]), (REPLIES, &[])] {
            let mut table = FieldTable::default();
            for (name, value) in arguments {
                table.insert((*name).into(), value.clone());
            }
            let options = QueueDeclareOptions {
                durable: true,
                ..Default::default()
            };
            channel
                .queue_declare(queue.into(), options, table)
                .await
                .expect("a queue");
        }
        connection
            .close(200, "declared".into())
            .await
            .expect("closed");
        let peer = tokio::process::Command::new(
            std::env::current_exe().expect("a program knows where it is"),
        )
        .args(["--peer", url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn();
        Self {
            url: url.to_owned(),
            _peer: peer.expect("the peer starts"),
        }
    }

    /// Keeps `depth` commands in flight for `time`.
    pub(crate) async fn run(&self, form: Form, depth: usize, time: Duration) -> Echoed {
        let (publishing, consuming) = (connect(&self.url).await, connect(&self.url).await);
        let (channel, mut replies) = (
            confirming(&publishing).await,
            consume(&consuming, REPLIES).await,
        );
        let (properties, body) = match form {
            Form::Packed => (command_properties(), command()),
            Form::Plain => (plain_properties(), wire_command().input.to_vec()),
        };
        let mut writer = Writer {
            channel,
            queue: COMMANDS,
            properties,
            body,
        };
        let mut confirms = FuturesOrdered::new();
        for _ in 0..depth {
            confirms.push_back(writer.publish(()));
        }
        let (began, mut counting, mut count) = (Instant::now(), None, 0_u64);
        let mut sent = Instant::now();
        let mut times = Vec::new();
        loop {
            tokio::select! {
                Some(()) = confirms.next(), if !confirms.is_empty() => {}
                delivery = replies.next() => {
                    let (last, number) = drain(&mut replies, delivery);
                    times.push(sent.elapsed());
                    sent = Instant::now();
                    count += number;
                    for _ in 0..number {
                        confirms.push_back(writer.publish(()));
                    }
                    acknowledge(&last).await;
                    match counting {
                        None if began.elapsed() > WARM_UP => {
                            counting = Some(Instant::now());
                            count = 0;
                            times.clear();
                        }
                        Some(since) if since.elapsed() > time => {
                            let rate = count as f64 / since.elapsed().as_secs_f64();
                            self.settle(&mut replies, depth).await;
                            return Echoed { rate, p50_ms: median_ms(times) };
                        }
                        None | Some(_) => {}
                    }
                }
            }
        }
    }

    /// Takes the replies that are still to come, so that the next run begins with empty queues.
    async fn settle(&self, replies: &mut Consumer, depth: usize) {
        let mut left = depth as u64;
        while left > 0 {
            let delivery = replies.next().await;
            let (last, number) = drain(replies, delivery);
            acknowledge(&last).await;
            left = left.saturating_sub(number);
        }
    }
}

/// The other end: answers every command with a message, and acknowledges it when that is confirmed.
pub(crate) async fn peer(url: &str) {
    let (publishing, consuming) = (connect(url).await, connect(url).await);
    let (channel, mut commands) = (
        confirming(&publishing).await,
        consume(&consuming, COMMANDS).await,
    );
    let mut writer = Writer {
        channel,
        queue: REPLIES,
        properties: reply_properties(),
        body: reply(),
    };
    let mut confirms: FuturesOrdered<Confirming<Acker>> = FuturesOrdered::new();
    loop {
        tokio::select! {
            Some(mut acker) = confirms.next(), if !confirms.is_empty() => {
                while let Some(Some(later)) = confirms.next().now_or_never() {
                    acker = later;
                }
                acknowledge(&acker).await;
            }
            delivery = commands.next() => {
                let mut next = Some(delivery);
                while let Some(delivery) = next {
                    // The end of the connection is the end of the measurement.
                    let Some(Ok(delivery)) = delivery else { return };
                    confirms.push_back(writer.publish(delivery.acker));
                    next = commands.next().now_or_never();
                }
            }
        }
    }
}

type Confirming<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Writer {
    channel: Channel,
    queue: &'static str,
    properties: BasicProperties,
    body: Vec<u8>,
}

impl Writer {
    /// Queues the message's frames; gives back `then` when the broker has confirmed it.
    fn publish<T: Send + 'static>(&mut self, then: T) -> Confirming<T> {
        let (channel, queue, properties) =
            (self.channel.clone(), self.queue, self.properties.clone());
        let body = self.body.clone();
        let mut confirming: Confirming<T> = Box::pin(async move {
            let options = BasicPublishOptions {
                mandatory: true,
                ..Default::default()
            };
            let published = channel
                .basic_publish("".into(), queue.into(), options, &body, properties)
                .await;
            published.expect("published").await.expect("confirmed");
            then
        });
        match (&mut confirming).now_or_never() {
            Some(then) => Box::pin(std::future::ready(then)),
            None => confirming,
        }
    }
}

/// Takes everything that is there: the last one's acker, and how many.
fn drain(consumer: &mut Consumer, first: Option<lapin::Result<Delivery>>) -> (Acker, u64) {
    let mut last = first
        .expect("the consumer goes on")
        .expect("a delivery")
        .acker;
    let mut number = 1;
    while let Some(Some(delivery)) = consumer.next().now_or_never() {
        last = delivery.expect("a delivery").acker;
        number += 1;
    }
    (last, number)
}

async fn acknowledge(last: &Acker) {
    last.ack(BasicAckOptions { multiple: true })
        .await
        .expect("acknowledged");
}

async fn connect(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default())
        .await
        .expect("a connection")
}

async fn confirming(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.expect("a channel");
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirms");
    channel
}

async fn consume(connection: &Connection, queue: &str) -> Consumer {
    let channel = connection.create_channel().await.expect("a channel");
    channel
        .basic_qos(PREFETCH, BasicQosOptions::default())
        .await
        .expect("a prefetch");
    let options = BasicConsumeOptions::default();
    channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await
        .expect("a consumer")
}

fn properties(kind: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("saga-wire".into(), AMQPValue::LongInt(1));
    headers.insert(
        "saga-inbox".into(),
        AMQPValue::LongString("0192f0c0-0000-7000-8000-000000000000".into()),
    );
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/x-protobuf".into())
        .with_type(kind.into())
        .with_headers(headers)
}

fn command_properties() -> BasicProperties {
    properties("saga.v1.CommandBatch")
        .with_message_id("0192f0c0-0000-7000-8000-000000000000/step_1/1/Action/1".into())
        .with_reply_to("to.main".into())
        .with_app_id("saga".into())
}

fn plain_properties() -> BasicProperties {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("saga-wire", AMQPValue::LongLongInt(1)),
        ("saga-definition", text("bench_4")),
        ("saga-step", text("step_1")),
        ("saga-round", AMQPValue::LongLongInt(1)),
        ("saga-op", text("action")),
        ("saga-attempt", AMQPValue::LongLongInt(1)),
        ("saga-fingerprint", text("5555555555555555")),
        ("saga-timeout-ms", AMQPValue::LongLongInt(30_000)),
        (
            "saga-retain-until",
            AMQPValue::LongLongInt(1_800_000_000_000_000),
        ),
        (
            "saga-not-after",
            AMQPValue::LongLongInt(1_800_000_000_000_000),
        ),
        ("saga-inbox", text("0192f0c0-0000-7000-8000-000000000000")),
    ] {
        headers.insert(name.into(), value);
    }
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_type("work".into())
        .with_message_id("01M87KJ6EVE02RAMA1M88EBT7J/step_1/1/action".into())
        .with_correlation_id("01M87KJ6EVE02RAMA1M88EBT7J".into())
        .with_reply_to("to.main".into())
        .with_timestamp(1_800_000_000)
        .with_app_id("saga".into())
        .with_headers(headers)
}

fn reply_properties() -> BasicProperties {
    properties("saga.v1.ReplyBatch")
}

/// What a saga of `saga bench` asks.
pub(crate) fn wire_command() -> wire::Command {
    wire::Command {
        saga_id: vec![7; 16].into(),
        step: "step_1".to_owned(),
        round: 1,
        op: wire::Op::Action.into(),
        attempt: 1,
        action: "work".to_owned(),
        input: br#"{"n":1}"#.to_vec().into(),
        known: wire::Known::Unspecified.into(),
        not_after_us: 1_800_000_000_000_000,
        retain_until_us: 1_800_000_000_000_000,
        fingerprint: u64::MAX / 3,
        definition: "bench_4".to_owned(),
        timeout_ms: 30_000,
        ..wire::Command::default()
    }
}

/// What is answered.
pub(crate) fn wire_reply() -> wire::Reply {
    wire::Reply {
        saga_id: vec![7; 16].into(),
        step: "step_1".to_owned(),
        round: 1,
        op: wire::Op::Action.into(),
        attempt: 1,
        outcome: wire::Outcome::Succeeded.into(),
        output: br#"{"n":1}"#.to_vec().into(),
        error: None,
    }
}

fn command() -> Vec<u8> {
    wire::CommandBatch {
        commands: vec![wire_command()],
    }
    .encode_to_vec()
}

fn reply() -> Vec<u8> {
    wire::ReplyBatch {
        replies: vec![wire_reply()],
    }
    .encode_to_vec()
}
