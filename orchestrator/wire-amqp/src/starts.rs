//! Sagas that services start by a message: from an outbox of their own, so that the start happens if and only if what it
//! belongs to was committed there.
//!
//! The routing key is the definition, the body is the input. A start needs a key, for a message may come twice. It is
//! acknowledged when the saga is committed and the answer, where one is wanted, is confirmed; if we die before, it comes
//! again and finds the saga that it began. What can never be a start is answered, logged and acknowledged.
//!
//! Answers go through an exchange of their own and not by the name of a queue: whoever starts a saga would otherwise make
//! us write into any queue of the virtual host, commands to participants among them.

use futures_util::{StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, Consumer, message::Delivery,
    options::BasicPublishOptions, types::AMQPValue,
};
use saga_core::SagaId;

use saga_proto::v1 as wire;
use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    consumer::Open,
    envelope::BODY_BYTES_MAX,
    fault::{Fault, patiently},
    topology,
};
use saga_engine::lane::{
    self,
    intake::{Intake, StartJob, Started},
};
use saga_wire::refusal::{Code, Refusal};

/// Header with the key of the start; without it the definition's `idempotency_key` is computed.
const KEY: &str = "saga-key";
/// Header with the version of the definition; without it the newest is started.
const VERSION: &str = "saga-version";
/// `type` of an answer.
const ANSWER: &str = "saga.start.answer";

/// Makes a request for a saga ready for the lane: the same for every way in.
pub trait Door: Send + Sync + 'static {
    /// Checks the request against the definition, and computes key and partition.
    ///
    /// # Errors
    /// What is wrong with it. [`Code::Unavailable`], [`Code::StandingBy`], [`Code::Unanswered`]: nothing, but this server
    /// goes down or does not own the store.
    fn prepare(&self, request: wire::StartSagaRequest) -> Result<StartJob, Refusal>;
}

/// What an answer says, as JSON.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Answer {
    /// `started`, `existing`, `conflict` or `refused`.
    result: &'static str,
    definition: String,
    /// The saga; absent from a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    saga_id: Option<String>,
    /// Where that saga stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Answer {
    fn of_saga(result: &'static str, definition: &str, id: SagaId) -> Self {
        let (definition, saga_id) = (definition.to_owned(), Some(id.to_string()));
        Self {
            result,
            definition,
            saga_id,
            status: None,
            code: None,
            message: None,
        }
    }

    fn refused(definition: &str, refusal: &Refusal) -> Self {
        Self {
            result: "refused",
            definition: definition.to_owned(),
            saga_id: None,
            status: None,
            code: Some(refusal.code.text()),
            message: Some(refusal.message.clone()),
        }
    }

    /// What the lane made of a start.
    fn of(started: &Started, definition: &str, id: SagaId) -> Self {
        match started {
            Started::Created => Self {
                status: Some("running"),
                ..Self::of_saga("started", definition, id)
            },
            Started::Existing { id, status } => Self {
                status: Some(status.word()),
                ..Self::of_saga("existing", definition, *id)
            },
            Started::KeyConflict { id } => Self {
                code: Some(Code::KeyConflict.text()),
                message: Some(format!(
                    "saga {id} was started with this key and other input"
                )),
                ..Self::of_saga("conflict", definition, *id)
            },
            Started::Unavailable => {
                let why = "the server could not take it, and its log says why; nothing was started";
                Self::refused(definition, &Refusal::new(Code::Internal, why))
            }
        }
    }
}

/// Where the answer goes, and what it answers.
struct Sender {
    definition: String,
    reply_to: Option<String>,
    correlation_id: Option<String>,
}

impl Sender {
    fn of(delivery: &Delivery) -> Self {
        let properties = &delivery.properties;
        let text =
            |text: &Option<lapin::types::ShortString>| text.as_ref().map(ToString::to_string);
        Self {
            definition: delivery.routing_key.to_string(),
            reply_to: text(properties.reply_to()).filter(|to| !to.is_empty()),
            correlation_id: text(properties.correlation_id())
                .or_else(|| text(properties.message_id())),
        }
    }
}

/// The request in a message.
fn request(delivery: &Delivery) -> Result<wire::StartSagaRequest, Refusal> {
    if delivery.data.len() > BODY_BYTES_MAX {
        let what = format!(
            "{} bytes are more than {BODY_BYTES_MAX}",
            delivery.data.len()
        );
        return Err(Refusal::new(Code::TooLarge, what));
    }
    let malformed = |header: &str, rule: &str| {
        Err(Refusal::new(
            Code::Malformed,
            format!("header {header}: {rule}"),
        ))
    };
    let headers = delivery
        .properties
        .headers()
        .as_ref()
        .map(|headers| headers.inner());
    let header = |name: &str| headers.and_then(|headers| headers.get(name));
    let key = match header(KEY) {
        None => String::new(),
        Some(AMQPValue::LongString(key)) => match std::str::from_utf8(key.as_bytes()) {
            Ok("") => return malformed(KEY, "is empty"),
            Ok(key) => key.to_owned(),
            Err(_) => return malformed(KEY, "is not UTF-8"),
        },
        Some(_) => return malformed(KEY, "is no text"),
    };
    let version = match header(VERSION) {
        None => 0,
        Some(value) => match whole(value).and_then(|version| u32::try_from(version).ok()) {
            Some(version) => version,
            None => return malformed(VERSION, "is no version"),
        },
    };
    let name = delivery.routing_key.to_string();
    Ok(wire::StartSagaRequest {
        name,
        version,
        key,
        input: delivery.data.clone().into(),
        ..Default::default()
    })
}

/// A whole number in any of the sizes that clients send.
fn whole(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(n) => Some((*n).into()),
        AMQPValue::ShortShortUInt(n) => Some((*n).into()),
        AMQPValue::ShortInt(n) => Some((*n).into()),
        AMQPValue::ShortUInt(n) => Some((*n).into()),
        AMQPValue::LongInt(n) => Some((*n).into()),
        AMQPValue::LongUInt(n) => Some((*n).into()),
        AMQPValue::LongLongInt(n) => Some(*n),
        _ => None,
    }
}

/// A request ready for the lane; one without a key is none, for the message may come twice.
fn ready(door: &dyn Door, delivery: &Delivery) -> Result<StartJob, Refusal> {
    let job = door.prepare(request(delivery)?)?;
    if job.start.key.is_none() {
        let why = format!(
            "a start by a message needs a key: send the header `{KEY}`, or give the definition an `idempotency_key`"
        );
        return Err(Refusal::new(Code::Key, why));
    }
    Ok(job)
}

/// Takes starts off their queue until the connection fails.
pub(super) async fn run(
    mut consumer: Consumer,
    publishing: &Connection,
    answers: &Channel,
    lane: &lane::Handle,
    door: &dyn Door,
) -> Fault {
    let mut open = Open::under(lane.tenure());
    let mut settling = FuturesUnordered::new();
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                let delivery = match delivery {
                    Some(Ok(delivery)) => delivery,
                    Some(Err(source)) => return Fault::Broker { what: "consuming starts".to_owned(), source },
                    None => return Fault::Ended { what: "the consumer of starts" },
                };
                let number = open.add(delivery.acker.clone());
                let sender = Sender::of(&delivery);
                let asked = match ready(door, &delivery) {
                    // It stays in the queue, for the owner that comes after this one.
                    Err(Refusal { code: Code::Unavailable | Code::StandingBy | Code::Unanswered, .. }) => continue,
                    Err(refusal) => {
                        tracing::warn!(
                            definition = sender.definition, code = refusal.code.text(), redelivered = delivery.redelivered,
                            "a start by a message is refused: {}", refusal.message
                        );
                        Asked::Refused(refusal)
                    }
                    Ok(mut job) => {
                        let (started, answer) = oneshot::channel();
                        job.started = Some(started);
                        let id = job.id;
                        // Waits while the lane is full; the prefetch then holds the broker back.
                        if lane.send(Intake::Starts(vec![job])).await.is_err() {
                            return Fault::LaneStopped;
                        }
                        Asked::Started { id, answer }
                    }
                };
                settling.push(settle(number, sender, asked, publishing, answers));
            }
            Some(settled) = settling.next(), if !settling.is_empty() => {
                match settled {
                    Ok(number) => open.finish(number),
                    Err(fault) => return fault,
                }
                if let Err(fault) = open.acknowledge().await {
                    return fault;
                }
            }
        }
    }
}

enum Asked {
    Refused(Refusal),
    Started {
        id: SagaId,
        answer: oneshot::Receiver<Started>,
    },
}

/// Waits until the start is committed and its answer is confirmed; the number of its message, which may be forgotten.
async fn settle(
    number: u64,
    sender: Sender,
    asked: Asked,
    publishing: &Connection,
    answers: &Channel,
) -> Result<u64, Fault> {
    let answer = match asked {
        Asked::Refused(refusal) => Answer::refused(&sender.definition, &refusal),
        Asked::Started { id, answer } => match answer.await {
            Ok(started) => Answer::of(&started, &sender.definition, id),
            // Nobody knows whether it was taken: it comes again and finds out.
            Err(_) => return Err(Fault::LaneStopped),
        },
    };
    let Some(to) = &sender.reply_to else {
        return Ok(number);
    };
    // Plain words and texts always serialise.
    let body = serde_json::to_vec(&answer).unwrap_or_default();
    let mut properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_type(ANSWER.into())
        .with_app_id("saga".into());
    if let Some(id) = &sender.correlation_id {
        properties = properties.with_correlation_id(id.as_str().into());
    }
    let said = async {
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let (exchange, key) = (topology::STARTED.into(), to.as_str().into());
        answers
            .basic_publish(exchange, key, options, &body, properties)
            .await?
            .await
    };
    match patiently(publishing, "answering a start", said).await? {
        Confirmation::Ack(None) | Confirmation::NotRequested => {}
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => tracing::warn!(
            reply_to = to,
            definition = sender.definition,
            "nobody takes the answer to a start: bind a queue to `{}` with this key",
            topology::STARTED
        ),
        Confirmation::Nack(None) => {
            tracing::warn!(
                reply_to = to,
                definition = sender.definition,
                "the answer to a start was not taken"
            );
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(answer: &Answer) -> serde_json::Value {
        serde_json::to_value(answer).expect("JSON")
    }

    #[test]
    fn answers_say_what_became_of_the_start() {
        let (mine, first) = (SagaId::from_u128(1), SagaId::from_u128(2));
        let started = told(&Answer::of(&Started::Created, "trip", mine));
        assert_eq!(started["result"], "started");
        assert_eq!(
            (&started["saga_id"], &started["status"]),
            (&mine.to_string().into(), &"running".into())
        );
        let existing = Started::Existing {
            id: first,
            status: saga_core::Status::Completed,
        };
        let existing = told(&Answer::of(&existing, "trip", mine));
        assert_eq!(
            (&existing["result"], &existing["status"]),
            (&"existing".into(), &"completed".into())
        );
        assert_eq!(existing["saga_id"], first.to_string());
        let conflict = told(&Answer::of(
            &Started::KeyConflict { id: first },
            "trip",
            mine,
        ));
        assert_eq!(
            (&conflict["result"], &conflict["code"]),
            (&"conflict".into(), &"A0409".into())
        );
        let refused = told(&Answer::of(&Started::Unavailable, "trip", mine));
        assert_eq!(
            (&refused["result"], refused.get("saga_id")),
            (&"refused".into(), None)
        );
    }

    #[test]
    fn versions_come_in_every_size() {
        for value in [
            AMQPValue::ShortShortInt(7),
            AMQPValue::LongInt(7),
            AMQPValue::LongLongInt(7),
        ] {
            assert_eq!(whole(&value), Some(7));
        }
        assert_eq!(whole(&AMQPValue::Boolean(true)), None);
    }
}
