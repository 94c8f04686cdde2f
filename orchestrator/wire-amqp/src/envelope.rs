//! Between messages of the broker and those of the contract.

use std::sync::Arc;

use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable},
};
use prost::Message;
use saga_core::{ErrorBody, Op, SagaId};
use saga_proto::v1 as wire;

use super::{plain, topology};
use saga_engine::lane::intake::{GivenUp, Incoming, LostCommand};
use saga_wire::convert;

/// Largest body that is looked at, in bytes.
pub(super) const BODY_BYTES_MAX: usize = saga_proto::limits::MESSAGE_BYTES_MAX;

/// `type` of a message with commands that travel together.
const COMMANDS: &str = "saga.v1.CommandBatch";
/// `type` of one with replies that do.
const REPLIES: &str = "saga.v1.ReplyBatch";
/// `type` of a message that says who is there.
const HELLO: &str = "saga.v1.Hello";
/// `type` of one that says who wants no new commands.
const DRAINING: &str = "saga.v1.Draining";
/// `type` of one that says who has gone.
const GOODBYE: &str = "saga.v1.Goodbye";
/// Header with the id of the inbox that a command is for.
const INBOX: &str = "saga-inbox";

/// Header with the number of deliveries after which whoever gets the message sends it back.
const DELIVERIES: &str = "saga-deliveries";

/// Says how often a message may be delivered, where that is not as often as most.
pub(super) fn limit_deliveries(headers: &mut FieldTable, deliveries: u32) {
    if deliveries != topology::DELIVERIES_MAX {
        headers.insert(
            DELIVERIES.into(),
            AMQPValue::LongLongInt(i64::from(deliveries)),
        );
    }
}

/// Properties of a message with commands.
pub(super) fn properties(
    reply_to: &str,
    inbox: Option<&str>,
    message_id: &str,
    deliveries: u32,
) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("saga-wire".into(), AMQPValue::LongInt(1));
    limit_deliveries(&mut headers, deliveries);
    if let Some(inbox) = inbox {
        headers.insert(INBOX.into(), AMQPValue::LongString(inbox.into()));
    }
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/x-protobuf".into())
        .with_type(COMMANDS.into())
        .with_message_id(message_id.into())
        .with_reply_to(reply_to.into())
        .with_app_id("saga".into())
        .with_headers(headers)
}

/// What makes no sense of a message. It is dropped: it would make no more sense the next time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Nonsense {
    #[error("it did not come through a participant's exchange but through `{0}`")]
    Origin(String),
    #[error("{0} bytes are more than {BODY_BYTES_MAX}")]
    TooLarge(usize),
    #[error("it cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error(
        "its type is `{0}`; one that registers is of the type `{HELLO}`, `{DRAINING}` or `{GOODBYE}`"
    )]
    Type(String),
    #[error("it says it is `{said}` and came through the exchange of `{came}`")]
    Forged { said: String, came: String },
    #[error("{0}")]
    Reply(#[from] convert::Nonsense),
    #[error("{0}")]
    Plain(#[from] plain::Unreadable),
}

/// What a message says it is.
fn kind(delivery: &Delivery) -> &str {
    delivery
        .properties
        .kind()
        .as_ref()
        .map_or("", |kind| kind.as_str())
}

/// The participant whose exchange a message came through, which the broker vouches for.
pub(super) fn origin(delivery: &Delivery) -> Result<Arc<str>, Nonsense> {
    let exchange = delivery.exchange.as_str();
    topology::participant_of(exchange)
        .map(Arc::from)
        .ok_or_else(|| Nonsense::Origin(exchange.to_owned()))
}

/// The replies in a message, and those that make no sense.
pub(super) fn replies(delivery: &Delivery) -> Result<(Vec<Incoming>, Vec<Nonsense>), Nonsense> {
    let participant = origin(delivery)?;
    if kind(delivery) != REPLIES {
        let reply = plain::reply(&delivery.properties, bounded(&delivery.data)?)?;
        return Ok((vec![convert::reply(&participant, reply)?], Vec::new()));
    }
    let batch = decode::<wire::ReplyBatch>(&delivery.data)?;
    let (mut taken, mut dropped) = (Vec::with_capacity(batch.replies.len()), Vec::new());
    for reply in batch.replies {
        match convert::reply(&participant, reply) {
            Ok(incoming) => taken.push(incoming),
            Err(nonsense) => dropped.push(nonsense.into()),
        }
    }
    Ok((taken, dropped))
}

/// What a participant's instance says of itself.
pub(super) enum Word {
    /// It is there, still.
    Hello(wire::Hello),
    /// It wants no new commands.
    Draining { instance: String },
    /// It has gone.
    Goodbye { instance: String },
}

/// What an instance says of itself.
pub(super) fn word(delivery: &Delivery) -> Result<(Arc<str>, Word), Nonsense> {
    let participant = origin(delivery)?;
    let kind = kind(delivery);
    let hello = match plain::is_json(&delivery.properties, &delivery.data) {
        true => plain::hello(bounded(&delivery.data)?, kind == HELLO)?,
        false => decode::<wire::Hello>(&delivery.data)?,
    };
    if hello.participant != *participant {
        return Err(Nonsense::Forged {
            said: hello.participant,
            came: participant.to_string(),
        });
    }
    let word = match kind {
        HELLO => Word::Hello(hello),
        DRAINING => Word::Draining {
            instance: hello.instance,
        },
        GOODBYE => Word::Goodbye {
            instance: hello.instance,
        },
        other => return Err(Nonsense::Type(other.to_owned())),
    };
    Ok((participant, word))
}

/// The commands in a dead letter, and what the broker says of it.
pub(super) fn dead(delivery: &Delivery) -> Result<(Vec<LostCommand>, GivenUp), Nonsense> {
    let (batch, packed) = match kind(delivery) {
        COMMANDS => (decode::<wire::CommandBatch>(&delivery.data)?, true),
        _ => (
            wire::CommandBatch {
                commands: vec![plain::command(&delivery.properties)?],
            },
            false,
        ),
    };
    let given_up = GivenUp {
        packed,
        deliveries: used_up(delivery).then_some(topology::DELIVERIES_MAX),
    };
    let lost = batch.commands.into_iter().filter_map(|command| {
        let op = match command.op() {
            wire::Op::Action => Op::Action,
            wire::Op::Compensation => Op::Compensation,
            wire::Op::Query => Op::Query,
            wire::Op::Seal => Op::Seal,
            wire::Op::Unspecified | wire::Op::Forget => return None,
        };
        Some(LostCommand {
            saga_id: SagaId::from_bytes(&command.saga_id)?,
            step: command.step,
            round: command.round,
            op,
            attempt: command.attempt,
            unsent: false,
            error: ErrorBody::new(
                "dead_letter",
                "the broker gave the command up: those who took it died of it, or sent it back",
            ),
        })
    });
    Ok((lost.collect(), given_up))
}

/// Was the message delivered as often as its queue allows? Otherwise somebody sent it back.
fn used_up(delivery: &Delivery) -> bool {
    let headers = delivery.properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get("x-first-death-reason")) {
        Some(AMQPValue::LongString(reason)) => reason.as_bytes() == b"delivery_limit",
        Some(AMQPValue::ShortString(reason)) => reason.as_str() == "delivery_limit",
        Some(_) | None => false,
    }
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Nonsense> {
    Ok(M::decode(bounded(body)?)?)
}

fn bounded(body: &[u8]) -> Result<&[u8], Nonsense> {
    if body.len() > BODY_BYTES_MAX {
        Err(Nonsense::TooLarge(body.len()))
    } else {
        Ok(body)
    }
}
