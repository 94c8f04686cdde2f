//! Services that start sagas by a message, as from an outbox of their own: often twice, and sometimes with nonsense.

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
        QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use saga_proto::limits::DOCUMENT_BYTES_MAX;
use saga_tests::{
    Gate, Rig, Script,
    client::{code, start, status, step},
    eventually,
    instance::prepare,
    rabbitmq,
    raw_amqp::RawAmqp,
    served::Served,
    within,
};
use saga_wire_amqp::topology::starter_permissions;
use serde_json::{Value, json};

use crate::files::SINGLE;

/// A definition that computes its key.
const KEYED: &str = r#"
saga: keyed
version: 1
idempotency_key: ${input.order}
input: {order: string, note: optional string}
defaults: {timeout: 50s}
steps:
  - {step: first, action: left/act, input: [order], compensation: left/undo}
"#;

/// A service with a queue for answers.
struct Service {
    channel: Channel,
    _connection: Connection,
    answers: Consumer,
    asked: u32,
}

impl Service {
    /// Connects as a user to a broker where the server has been.
    async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default())
            .await
            .expect("connected");
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .expect("confirms");
        let none = FieldTable::default();
        let declared =
            channel.queue_declare("shop.answers".into(), QueueDeclareOptions::default(), none);
        declared.await.expect("a queue");
        let none = FieldTable::default();
        let bound = channel.queue_bind(
            "shop.answers".into(),
            "saga.started".into(),
            "shop".into(),
            QueueBindOptions::default(),
            none,
        );
        bound.await.expect("bound");
        let none = FieldTable::default();
        let answers = channel.basic_consume(
            "shop.answers".into(),
            "".into(),
            BasicConsumeOptions::default(),
            none,
        );
        let answers = answers.await.expect("a consumer");
        Self {
            channel,
            _connection: connection,
            answers,
            asked: 0,
        }
    }

    /// Asks for a saga; the number of the question.
    async fn ask(&mut self, definition: &str, key: Option<&str>, body: &[u8]) -> u32 {
        let mut headers = FieldTable::default();
        if let Some(key) = key {
            headers.insert("saga-key".into(), AMQPValue::LongString(key.into()));
        }
        self.asked += 1;
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_reply_to("shop".into())
            .with_correlation_id(self.asked.to_string().into());
        self.publish(definition, properties, body).await;
        self.asked
    }

    async fn publish(&self, definition: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let said = self.channel.basic_publish(
            "saga.start".into(),
            definition.into(),
            options,
            body,
            properties,
        );
        let confirmed = said.await.expect("said").await.expect("confirmed");
        assert!(
            matches!(confirmed, lapin::Confirmation::Ack(None)),
            "{definition}: {confirmed:?}"
        );
    }

    /// The next answer, which must be to this question.
    async fn answer(&mut self, asked: u32) -> Value {
        let (number, answer) = self.next().await;
        assert_eq!(number, asked.to_string(), "{answer}");
        answer
    }

    async fn next(&mut self) -> (String, Value) {
        let delivery = within("an answer", self.answers.next())
            .await
            .expect("open")
            .expect("a delivery");
        delivery
            .ack(BasicAckOptions::default())
            .await
            .expect("acknowledged");
        let properties = &delivery.properties;
        assert_eq!(
            properties.content_type().as_ref().map(|kind| kind.as_str()),
            Some("application/json")
        );
        let number = properties
            .correlation_id()
            .as_ref()
            .expect("what it answers")
            .to_string();
        (
            number,
            serde_json::from_slice(&delivery.data).expect("JSON"),
        )
    }
}

#[tokio::test]
async fn a_start_that_comes_twice_is_one_saga_and_other_input_is_a_conflict() {
    let url = rabbitmq::vhost().await;
    let rig = Rig::start_at_a_broker(url.clone()).await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    rig.clients.deploy(KEYED).await;
    let mut shop = Service::connect(&url).await;
    let asked = shop.ask("single", Some("order-1"), br#"{"n": 1}"#).await;
    let first = shop.answer(asked).await;
    assert_eq!(
        (&first["result"], &first["definition"]),
        (&json!("started"), &json!("single"))
    );
    let id = first["saga_id"].as_str().expect("a saga").to_owned();
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
    // The same again, spelt in another way.
    let asked = shop.ask("single", Some("order-1"), br#"{ "n" : 1 }"#).await;
    let again = shop.answer(asked).await;
    assert_eq!(
        (&again["result"], &again["saga_id"]),
        (&json!("existing"), &json!(id))
    );
    assert_eq!(again["status"], "completed");
    let asked = shop.ask("single", Some("order-1"), br#"{"n": 2}"#).await;
    let other = shop.answer(asked).await;
    assert_eq!(
        (&other["result"], &other["code"]),
        (&json!("conflict"), &json!("A0409"))
    );
    assert_eq!(other["saga_id"], json!(id));
    // A key that the file computes; and over the API it is the same key.
    let asked = shop.ask("keyed", None, br#"{"order": "o-7"}"#).await;
    let keyed = shop.answer(asked).await;
    assert_eq!(keyed["result"], "started");
    let id = keyed["saga_id"].as_str().expect("a saga").to_owned();
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
    let same = rig
        .clients
        .try_start(start("keyed", json!({"order": "o-7"})))
        .await
        .expect("a start");
    assert!(!same.created);
    let refused = rig
        .clients
        .try_start(start("keyed", json!({"order": "o-7", "note": "x"})))
        .await;
    assert_eq!(code(&refused.expect_err("other input")), "A0409");
    assert_eq!(left.count("act"), 2);
}

#[tokio::test]
async fn the_largest_input_starts_a_saga_and_a_larger_one_is_answered() {
    let url = rabbitmq::vhost().await;
    let rig = Rig::start_at_a_broker(url.clone()).await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let mut shop = Service::connect(&url).await;
    let body = |bytes: usize| {
        let of = |text: usize| json!({"n": 1, "tags": [], "text": "x".repeat(text)}).to_string();
        of(bytes - of(0).len())
    };
    let asked = shop
        .ask(
            "single",
            Some("larger"),
            body(DOCUMENT_BYTES_MAX + 1).as_bytes(),
        )
        .await;
    let answer = shop.answer(asked).await;
    assert_eq!(
        (&answer["result"], &answer["code"]),
        (&json!("refused"), &json!("A0413")),
        "{answer}"
    );
    // A list that is left out is filled in, and counts.
    let text = "x".repeat(DOCUMENT_BYTES_MAX - json!({"n": 1, "text": ""}).to_string().len());
    let asked = shop
        .ask(
            "single",
            Some("larger"),
            json!({"n": 1, "text": text}).to_string().as_bytes(),
        )
        .await;
    assert_eq!(shop.answer(asked).await["code"], "A0413");
    let asked = shop
        .ask(
            "single",
            Some("largest"),
            body(DOCUMENT_BYTES_MAX).as_bytes(),
        )
        .await;
    let answer = shop.answer(asked).await;
    assert_eq!(answer["result"], "started", "{answer}");
    let id = answer["saga_id"].as_str().expect("a saga").to_owned();
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), seen.input.len()),
        ("completed", DOCUMENT_BYTES_MAX)
    );
}

#[tokio::test]
async fn what_can_never_be_a_start_is_answered_and_does_not_come_again() {
    let url = rabbitmq::vhost().await;
    let rig = Rig::start_at_a_broker(url.clone()).await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let mut shop = Service::connect(&url).await;
    let large = format!(r#"{{"n": 1, "text": "{}"}}"#, "x".repeat(1024 * 1024));
    let huge = vec![b' '; 5 * 1024 * 1024];
    // Definition, key, body; code, and words of the message.
    type Nonsense<'a> = (&'a str, Option<&'a str>, &'a [u8], &'a str, &'a str);
    let nonsense: [Nonsense<'_>; 8] = [
        ("single", None, br#"{"n": 1}"#, "A0423", "saga-key"),
        ("single", Some(""), br#"{"n": 1}"#, "A0400", "saga-key"),
        ("single", Some("k"), b"no json", "A0400", ""),
        ("single", Some("k"), br#"{"n": "text"}"#, "A0422", "n"),
        ("single", Some("k"), large.as_bytes(), "A0413", ""),
        ("single", Some("k"), &huge, "A0413", ""),
        (
            "singel",
            Some("k"),
            br#"{"n": 1}"#,
            "A0405",
            "did you mean `single`",
        ),
        ("", Some("k"), b"", "A0405", ""),
    ];
    for (definition, key, body, code, words) in nonsense {
        let asked = shop.ask(definition, key, body).await;
        let answer = shop.answer(asked).await;
        assert_eq!(
            (&answer["result"], &answer["code"]),
            (&json!("refused"), &json!(code)),
            "{answer}"
        );
        assert!(
            answer["message"]
                .as_str()
                .is_some_and(|message| message.contains(words)),
            "{answer}"
        );
    }
    // Without an address nobody is answered, and with a strange one nobody hears it; both are dealt with.
    shop.publish("single", BasicProperties::default(), b"no json")
        .await;
    let nowhere = BasicProperties::default().with_reply_to("saga.cmd.left".into());
    shop.publish("single", nowhere, b"no json").await;
    let mut version = FieldTable::default();
    version.insert("saga-key".into(), AMQPValue::LongString("v".into()));
    version.insert("saga-version".into(), AMQPValue::LongInt(7));
    let seventh = BasicProperties::default()
        .with_headers(version)
        .with_reply_to("shop".into());
    shop.publish(
        "single",
        seventh.with_message_id("seventh".into()),
        br#"{"n": 1}"#,
    )
    .await;
    let (asked, answer) = shop.next().await;
    assert_eq!(
        (asked.as_str(), &answer["code"]),
        ("seventh", &json!("A0405")),
        "{answer}"
    );
    let asked = shop.ask("single", Some("k"), br#"{"n": 1}"#).await;
    assert_eq!(shop.answer(asked).await["result"], "started");
    // Nothing was kept, and nothing went to whoever was named as the address.
    let empty = || async {
        let mut waiting = Vec::new();
        for queue in ["saga.start", "saga.cmd.left"] {
            let options = QueueDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let seen = shop
                .channel
                .queue_declare(queue.into(), options, FieldTable::default())
                .await;
            waiting.push(seen.expect("a queue").message_count());
        }
        (waiting == [0, 0]).then_some(())
    };
    eventually("empty queues", empty).await;
}

/// With a real process, for what overflows a stack ends all of it; and one that is killed between taking a start and
/// answering it.
#[tokio::test]
async fn starts_survive_the_server_and_the_server_survives_starts() {
    let url = rabbitmq::vhost().await;
    let mut served = Served::start(&["--broker", &url, "--participants", "left"]).await;
    served.clients.deploy(SINGLE).await;
    prepare(&url, "left").await;
    let nested = url.clone();
    let sent = tokio::task::spawn_blocking(move || {
        let mut raw = RawAmqp::open(&nested);
        raw.publish_nested("saga.start", "single", 18_000);
        raw.close();
    });
    sent.await.expect("sent");
    let mut shop = Service::connect(&url).await;
    let mut numbers = Vec::new();
    for n in 0..200 {
        let body = format!(r#"{{"n": {n}}}"#);
        numbers.push(
            shop.ask("single", Some(&format!("order-{n}")), body.as_bytes())
                .await
                .to_string(),
        );
        if n % 50 == 25 {
            served.program.kill().await;
            served.revive().await;
        }
    }
    let mut answered = std::collections::BTreeMap::new();
    while answered.len() < numbers.len() {
        let (number, answer) = shop.next().await;
        assert!(
            ["started", "existing"].contains(&answer["result"].as_str().expect("a result")),
            "{answer}"
        );
        let saga = answer["saga_id"].as_str().expect("a saga").to_owned();
        // Whoever is answered twice is told the same.
        let before = answered.insert(number, saga.clone());
        assert!(before.is_none_or(|before| before == saga));
    }
    let sagas: std::collections::BTreeSet<_> = answered.values().collect();
    assert_eq!(sagas.len(), numbers.len(), "a saga for each key");
    for id in sagas {
        let seen = served.clients.get(id).await;
        assert_eq!(step(&seen, "first").status, "waiting");
    }
}

#[tokio::test]
async fn a_service_needs_no_more_than_the_permissions_that_are_printed() {
    let url = rabbitmq::vhost().await;
    url.causes("access_refused");
    // Looked for before the server has made it.
    url.causes("no exchange");
    let rig = Rig::start_at_a_broker(url.clone()).await;
    rig.clients.deploy(SINGLE).await;
    let (server, vhost) = url.rsplit_once('/').expect("a virtual host");
    let (user, vhost) = (format!("shop_of_{vhost}"), vhost.to_owned());
    let own = format!(
        "{}/{vhost}",
        server.replace("guest:guest", &format!("{user}:secret"))
    );
    // The queue is named after the service, not after the user.
    let [configure, write, read] = starter_permissions("shop");
    let prepared = tokio::task::spawn_blocking(move || {
        rabbitmq::ctl(&["add_user", &user, "secret"]);
        rabbitmq::ctl(&[
            "set_permissions",
            "-p",
            &vhost,
            &user,
            &configure,
            &write,
            &read,
        ]);
    });
    prepared.await.expect("a user");
    // Declared when the server is there, not before.
    eventually("the server's exchanges", || async {
        let connection = Connection::connect(&own, ConnectionProperties::default())
            .await
            .ok()?;
        let channel = connection.create_channel().await.ok()?;
        let options = lapin::options::ExchangeDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let kind = lapin::ExchangeKind::Topic;
        channel
            .exchange_declare("saga.start".into(), kind, options, FieldTable::default())
            .await
            .ok()
    })
    .await;
    let mut shop = Service::connect(&own).await;
    let asked = shop.ask("single", Some("k"), br#"{"n": 1}"#).await;
    assert_eq!(shop.answer(asked).await["result"], "started");
    for exchange in [
        "saga.started",
        "saga.events",
        "saga.cmd",
        "saga.reply.left",
        "",
    ] {
        let channel = shop._connection.create_channel().await.expect("a channel");
        channel
            .confirm_select(Default::default())
            .await
            .expect("confirms");
        let (options, properties) = (Default::default(), Default::default());
        let said = channel.basic_publish(
            exchange.into(),
            "saga.cmd.left".into(),
            options,
            b"",
            properties,
        );
        let refused = said.await.expect("written").await.expect_err("refused");
        assert!(
            refused.to_string().contains("ACCESS_REFUSED"),
            "{exchange}: {refused}"
        );
    }
}

/// What the lane holds up is not acknowledged: it comes to the next server.
#[tokio::test]
async fn a_start_is_forgotten_only_when_it_is_committed() {
    let url = rabbitmq::vhost().await;
    let mut rig = Rig::start_at_a_broker(url.clone()).await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left").hang_until("act", &gate);
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let mut shop = Service::connect(&url).await;
    rig.kill();
    let asked = shop
        .ask("single", Some("while nobody was there"), br#"{"n": 1}"#)
        .await;
    rig.revive().await;
    let answer = shop.answer(asked).await;
    assert_eq!(answer["result"], "started");
    gate.open();
    let id = answer["saga_id"].as_str().expect("a saga").to_owned();
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
}
