//! A participant over the broker on nothing but an AMQP client: what somebody writes whose language has no SDK.
//!
//! It serves the action `act` and the compensation `undo`, and keeps its inbox in memory. What `act` does, the `text` of
//! its input says: nothing, it takes effect; `refuse`, `reject` (the message, once), `garble` (the answer, once),
//! `accept` (the test completes it), `hold` (it waits at the gate first), `return N` (an output of N bytes). It can be told to forget what an inbox is for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicRejectOptions,
        ConfirmSelectOptions,
    },
    types::{AMQPValue, FieldTable},
};
use serde_json::{Value, json};

use crate::{gate::Gate, instance::prepare, script::connected, server::Rig, wait::eventually};

/// What it does about its inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Everything that the protocol asks for.
    Good,
    /// It has no inbox: whatever comes is done, as often as it comes.
    Forgetful,
    /// It remembers what it did, and not what it must not do any more.
    WithoutTombstones,
}

/// A running participant. Dropping it ends it without a word.
pub struct Plain {
    inner: Arc<Inner>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Inner {
    name: String,
    inbox: String,
    habit: Habit,
    channel: Channel,
    gate: Gate,
    rows: Mutex<HashMap<String, Row>>,
    deeds: Mutex<Vec<String>>,
    /// Messages that were not in the plain form, and were sent back.
    batches: Mutex<usize>,
    /// Work that was accepted: what an answer to it echoes.
    accepted: Mutex<Vec<Echo>>,
    _connection: Connection,
}

#[derive(Clone)]
struct Row {
    state: &'static str,
    fingerprint: String,
    body: Vec<u8>,
}

/// What a reply says of the command that it answers.
#[derive(Clone)]
struct Echo {
    saga: String,
    headers: BTreeMap<&'static str, AMQPValue>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plain {
    /// Connects, registers and serves; returns when the server knows it.
    ///
    /// # Panics
    /// When the broker does not let it, or it is not known in time.
    pub async fn serve(rig: &Rig, name: &str, habit: Habit) -> Self {
        Self::serve_on(rig, name, habit, &format!("inbox-of-{name}")).await
    }

    /// The same, with the id of the inbox that it shares with others.
    ///
    /// # Panics
    /// As [`Plain::serve`].
    pub async fn serve_on(rig: &Rig, name: &str, habit: Habit, inbox: &str) -> Self {
        prepare(&rig.endpoint(), name).await;
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&rig.endpoint(), properties)
            .await
            .expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .expect("confirms");
        let mut queues = Vec::new();
        for lane in ["cmd", "undo"] {
            // Each has its own channel, as each has its own prefetch.
            let channel = connection.create_channel().await.expect("a channel");
            let queue = format!("saga.{lane}.{name}");
            let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumer = channel
                .basic_consume(queue.as_str().into(), "".into(), options, none)
                .await;
            queues.push((channel, consumer.expect("a consumer")));
        }
        let inner = Arc::new(Inner {
            name: name.to_owned(),
            inbox: inbox.to_owned(),
            habit,
            channel,
            gate: Gate::new(),
            rows: Mutex::default(),
            deeds: Mutex::default(),
            batches: Mutex::default(),
            accepted: Mutex::default(),
            _connection: connection,
        });
        let mut tasks = Vec::new();
        for (channel, mut commands) in queues {
            let inner = Arc::clone(&inner);
            tasks.push(tokio::spawn(async move {
                let _channel = channel;
                while let Some(Ok(delivery)) = commands.next().await {
                    tokio::spawn(Arc::clone(&inner).take(delivery));
                }
            }));
        }
        let registers = Arc::clone(&inner);
        tasks.push(tokio::spawn(async move {
            let mut again = tokio::time::interval(Duration::from_secs(5));
            loop {
                again.tick().await;
                registers.word("saga.v1.Hello").await;
            }
        }));
        let instance = inner.instance();
        let there = || async { connected(rig, name).await.contains(&instance).then_some(()) };
        eventually(&format!("{name} to connect"), there).await;
        Self { inner, tasks }
    }

    /// What it did: `<step>`, or `-<step>` for an undo.
    #[must_use]
    pub fn deeds(&self) -> Vec<String> {
        held(&self.inner.deeds).clone()
    }

    /// Messages that were not in the plain form.
    #[must_use]
    pub fn batches(&self) -> usize {
        *held(&self.inner.batches)
    }

    /// Where `hold` waits.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    /// How many commands were accepted and are not completed.
    #[must_use]
    pub fn accepted(&self) -> usize {
        held(&self.inner.accepted).len()
    }

    /// Says of accepted work that it goes on, or how it ended.
    pub async fn tell(&self, outcome: &str, body: &[u8]) {
        let accepted = held(&self.inner.accepted).clone();
        for echo in accepted {
            // Whoever asked may have died since: `all` reaches every orchestrator.
            self.inner.answer(&echo, "all", outcome, body).await;
        }
    }

    /// Publishes to its own exchange whatever a test makes up.
    pub async fn say(&self, key: &str, properties: BasicProperties, body: &[u8]) {
        self.inner.publish(key, properties, body).await;
    }

    /// Leaves in order.
    pub async fn leave(self) {
        self.inner.word("saga.v1.Draining").await;
        self.inner.word("saga.v1.Goodbye").await;
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Inner {
    fn instance(&self) -> String {
        format!("{}-without-sdk", self.name)
    }

    async fn word(&self, kind: &str) {
        let hello = json!({
            "participant": self.name,
            "instance": self.instance(),
            "inbox_id": self.inbox,
            "inbox_kind": "transactional",
            "actions": [
                {"name": "act", "input_schema": {"type": "object"}},
                {"name": "undo", "kind": "compensation", "undoes": "act"},
            ],
        });
        let properties = BasicProperties::default()
            .with_type(kind.into())
            .with_content_type("application/json".into());
        self.publish("register", properties, hello.to_string().as_bytes())
            .await;
    }

    /// Returns when the broker has it; only then may the command be let go.
    async fn publish(&self, key: &str, properties: BasicProperties, body: &[u8]) {
        let exchange = format!("saga.reply.{}", self.name);
        let options = BasicPublishOptions::default();
        let said =
            self.channel
                .basic_publish(exchange.into(), key.into(), options, body, properties);
        // Fails when the test is over.
        if let Ok(confirm) = said.await {
            confirm.await.ok();
        }
    }

    async fn answer(&self, echo: &Echo, to: &str, outcome: &str, body: &[u8]) {
        let mut headers = FieldTable::default();
        for (name, value) in &echo.headers {
            headers.insert((*name).into(), value.clone());
        }
        headers.insert("saga-outcome".into(), AMQPValue::LongString(outcome.into()));
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_correlation_id(echo.saga.as_str().into())
            .with_delivery_mode(2)
            .with_headers(headers);
        self.publish(to, properties, body).await;
    }

    async fn take(self: Arc<Self>, delivery: Delivery) {
        let properties = &delivery.properties;
        let kind = properties.kind().as_ref().map_or("", |kind| kind.as_str());
        let refuse = BasicRejectOptions { requeue: false };
        if kind == "saga.v1.CommandBatch" {
            // Sent before it was known that we are here; the orchestrator gets it back as a dead letter.
            *held(&self.batches) += 1;
            delivery.reject(refuse).await.ok();
            return;
        }
        let headers = properties.headers().as_ref().expect("headers").inner();
        let text = |name: &str| match headers.get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("{name}: {other:?}"),
        };
        let echoed = ["saga-step", "saga-round", "saga-op", "saga-attempt"];
        let echo = Echo {
            saga: properties
                .correlation_id()
                .as_ref()
                .expect("a saga")
                .to_string(),
            headers: echoed
                .into_iter()
                .map(|name| (name, headers[name].clone()))
                .collect(),
        };
        assert_eq!(
            text("saga-inbox"),
            self.inbox,
            "commands for another inbox are not ours"
        );
        let input: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        let first = headers["saga-attempt"] == AMQPValue::LongLongInt(1);
        let asks = input["text"].as_str().unwrap_or_default();
        if asks == "hold" {
            self.gate.pass().await;
        }
        let to = properties.reply_to().as_ref().expect("who asks").as_str();
        let command = Asked {
            key: format!(
                "{}/{}/{:?}",
                echo.saga,
                text("saga-step"),
                headers["saga-round"]
            ),
            step: text("saga-step"),
            op: text("saga-op"),
            name: kind.to_owned(),
            fingerprint: text("saga-fingerprint"),
            late: matches!(headers.get("saga-not-after"), Some(AMQPValue::LongLongInt(at)) if *at < now_us()),
            known: headers
                .get("saga-known")
                .is_some_and(|known| *known == AMQPValue::LongString("done".into())),
            asks: asks.to_owned(),
        };
        match asks {
            "reject" if first => {
                delivery.reject(refuse).await.ok();
                return;
            }
            "garble" if first => self.answer(&echo, to, "succeeded", b"<html>").await,
            "accept" if command.op == "action" => {
                held(&self.accepted).push(echo.clone());
                self.answer(&echo, to, "accepted", b"").await;
            }
            _ => {
                let (outcome, body) = self.barrier(&command);
                self.answer(&echo, to, outcome, &body).await;
            }
        }
        delivery.ack(BasicAckOptions::default()).await.ok();
    }

    /// The table of the protocol. There is no await in it: row and effect change together.
    fn barrier(&self, command: &Asked) -> (&'static str, Vec<u8>) {
        let mut rows = held(&self.rows);
        let row = rows
            .get(&command.key)
            .cloned()
            .filter(|_| self.habit != Habit::Forgetful);
        let state = row.as_ref().map_or("", |row| row.state);
        let stored = || row.as_ref().map(|row| row.body.clone()).unwrap_or_default();
        let mut put = |state, body: &[u8]| {
            let (fingerprint, body) = (command.fingerprint.clone(), body.to_vec());
            rows.insert(
                command.key.clone(),
                Row {
                    state,
                    fingerprint,
                    body,
                },
            );
        };
        let error = |code: &str| {
            json!({"code": code, "message": "as the test says"})
                .to_string()
                .into_bytes()
        };
        let same = row
            .as_ref()
            .is_none_or(|row| row.fingerprint == command.fingerprint);
        match (&*command.op, state) {
            ("action", "tombstone" | "compensated") => ("blocked", Vec::new()),
            ("action", "done" | "refused") if !same => ("conflict", error("conflict")),
            ("action", "done") => ("succeeded", stored()),
            ("action", "refused") => ("refused", stored()),
            ("action", _) if command.late => ("expired", Vec::new()),
            ("action", _) if command.name != "act" => ("failed", error("unknown_action")),
            ("action", _) if command.asks == "refuse" => {
                put("refused", &error("no_room"));
                ("refused", error("no_room"))
            }
            ("action", _) => {
                let mut deeds = held(&self.deeds);
                deeds.push(command.step.clone());
                let output = match command
                    .asks
                    .strip_prefix("return ")
                    .map(str::parse::<usize>)
                {
                    Some(bytes) => Value::from("x".repeat(bytes.expect("a number") - 2)),
                    None => json!({"number": deeds.len()}),
                };
                let output = output.to_string().into_bytes();
                put("done", &output);
                ("succeeded", output)
            }
            ("compensation", "" | "refused" | "tombstone") if command.known => {
                ("needs_operator", error("inbox_lost"))
            }
            ("compensation", "done") => {
                held(&self.deeds).push(format!("-{}", command.step));
                put("compensated", b"");
                ("compensated", Vec::new())
            }
            ("compensation", "compensated") => ("compensated", Vec::new()),
            ("compensation", "") if self.habit == Habit::Forgetful => {
                held(&self.deeds).push(format!("-{}", command.step));
                ("compensated", Vec::new())
            }
            ("compensation", _) => {
                if self.habit == Habit::Good {
                    put("tombstone", b"");
                }
                ("nothing_to_do", Vec::new())
            }
            ("query" | "seal", "done") => ("done", stored()),
            ("query" | "seal", "refused") => ("refused", stored()),
            ("query" | "seal", "compensated") => ("compensated", Vec::new()),
            ("query" | "seal", "tombstone") => ("sealed", Vec::new()),
            ("query", _) => ("absent", Vec::new()),
            ("seal", _) => {
                if self.habit == Habit::Good {
                    put("tombstone", b"");
                }
                ("sealed", Vec::new())
            }
            (other, _) => panic!("no op {other}"),
        }
    }
}

struct Asked {
    key: String,
    step: String,
    op: String,
    name: String,
    fingerprint: String,
    late: bool,
    known: bool,
    asks: String,
}

fn now_us() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_micros()).expect("before the end of time")
}
