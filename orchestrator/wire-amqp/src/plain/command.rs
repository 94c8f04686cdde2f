//! A command in the plain form: out to the participant, and back when it is a dead letter.

use std::sync::Arc;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use saga_core::SagaId;
use saga_proto::v1 as wire;

use super::{
    super::{
        envelope::limit_deliveries,
        parcel::{Form, Order, Parcel, Sent, queue_for},
    },
    JSON, OPS, Unreadable, WIRE,
    headers::{Headers, one_of, saga_id},
    word,
};
use saga_engine::clock;
use saga_wire::convert;

/// The commands of an order, one message each.
pub(in super::super) fn parcels(order: Order, reply_to: &Arc<str>) -> impl Iterator<Item = Parcel> {
    let Order {
        participant,
        inbox,
        commands,
        plain: _,
    } = order;
    let now_s = u64::try_from(clock::now().0 / 1_000_000).unwrap_or(0);
    commands.into_iter().map(move |outgoing| {
        let command = convert::command(&outgoing);
        Parcel {
            queue: queue_for(&participant, outgoing.command.op),
            participant: Arc::clone(&participant),
            inbox: inbox.clone(),
            reply_to: Arc::clone(reply_to),
            repeatable: Parcel::may_repeat(&outgoing),
            commands: vec![Sent::of(&outgoing)],
            body: command.input.clone(),
            form: Form::Plain(Box::new(command), now_s),
            deliveries: Parcel::deliveries(&outgoing),
        }
    })
}

/// Everything about a command that is not its payload.
pub(in super::super) fn properties(
    command: &wire::Command,
    reply_to: &str,
    inbox: Option<&str>,
    now_s: u64,
    deliveries: u32,
) -> BasicProperties {
    let saga = SagaId::from_bytes(&command.saga_id)
        .map(|id| id.to_string())
        .unwrap_or_default();
    let op = word(&OPS, command.op());
    let known = match command.known() {
        wire::Known::Done => Some("done"),
        wire::Known::Unknown => Some("unknown"),
        wire::Known::Unspecified => None,
    };
    let text = |text: &str| AMQPValue::LongString(text.into());
    let number = |number: u32| AMQPValue::LongLongInt(number.into());
    let mut headers = FieldTable::default();
    let mut put = |name: &str, value| {
        headers.insert(name.into(), value);
    };
    put("saga-wire", number(WIRE));
    put("saga-definition", text(&command.definition));
    put("saga-step", text(&command.step));
    put("saga-round", number(command.round));
    put("saga-op", text(op));
    put("saga-attempt", number(command.attempt));
    // As text, since a header has no unsigned number of 64 bits.
    put(
        "saga-fingerprint",
        text(&format!("{:016x}", command.fingerprint)),
    );
    put(
        "saga-timeout-ms",
        AMQPValue::LongLongInt(i64::try_from(command.timeout_ms).unwrap_or(i64::MAX)),
    );
    put(
        "saga-retain-until",
        AMQPValue::LongLongInt(command.retain_until_us),
    );
    if command.not_after_us != 0 {
        put(
            "saga-not-after",
            AMQPValue::LongLongInt(command.not_after_us),
        );
    }
    if let Some(known) = known {
        put("saga-known", text(known));
    }
    if let Some(inbox) = inbox {
        put("saga-inbox", text(inbox));
    }
    limit_deliveries(&mut headers, deliveries);
    let id = format!("{saga}/{}/{}/{op}", command.step, command.round);
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type(JSON.into())
        .with_type(short(&command.action))
        .with_message_id(short(&id))
        .with_correlation_id(short(&saga))
        .with_reply_to(short(reply_to))
        .with_timestamp(now_s)
        .with_app_id("saga".into())
        .with_headers(headers)
}

/// A property; one that does not fit is left empty, since headers hold all that is needed.
fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}

/// Which command a message in the plain form holds; its payload is not looked at.
pub(in super::super) fn command(properties: &BasicProperties) -> Result<wire::Command, Unreadable> {
    let headers = Headers::of(properties)?;
    let op = one_of(&headers, "header saga-op", &OPS, "an op of a command")?;
    Ok(wire::Command {
        saga_id: saga_id(properties)?.to_bytes().to_vec().into(),
        step: headers.text("header saga-step")?.to_owned(),
        round: headers.count("header saga-round")?,
        op: op.into(),
        attempt: headers.count("header saga-attempt")?,
        ..wire::Command::default()
    })
}
