//! The vectors of `proto/vectors/messages.json`, held against what we send and what we take.

use std::sync::Arc;

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldArray, FieldTable},
};
use proptest::prelude::*;
use prost::Message;
use saga_core::{SagaId, input::Outcome};
use saga_proto::v1 as wire;
use serde_json::Value;

use super::super::topology::DELIVERIES_MAX;
use super::{OPS, OUTCOMES, command, command::properties, hello, is_json, named, reply, word};
use saga_wire::{convert, hello::read};

fn vectors() -> Value {
    let text = include_str!("../../../../proto/vectors/messages.json");
    serde_json::from_str(text).expect("vectors are JSON")
}

fn list<'a>(vectors: &'a Value, of: &str) -> &'a [Value] {
    let list = vectors[of].as_array().expect("a list");
    assert!(!list.is_empty(), "no {of}");
    list
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn bytes(value: &Value) -> Bytes {
    Bytes::copy_from_slice(text(value).as_bytes())
}

fn number<N: TryFrom<i64>>(value: &Value) -> N {
    N::try_from(value.as_i64().unwrap_or(0)).unwrap_or_else(|_| panic!("{value} does not fit"))
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = text(value).as_bytes();
    let byte =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

fn saga(meaning: &Value) -> Bytes {
    let id: SagaId = text(&meaning["saga"]).parse().expect("an id");
    Bytes::copy_from_slice(&id.to_bytes())
}

fn header(value: &Value) -> AMQPValue {
    match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(truth) => AMQPValue::Boolean(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => AMQPValue::LongLongInt(whole),
            None => AMQPValue::Double(number.as_f64().expect("a number")),
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(items) => AMQPValue::FieldArray(FieldArray::from(
            items.iter().map(header).collect::<Vec<_>>(),
        )),
        Value::Object(_) => AMQPValue::FieldTable(table(value)),
    }
}

fn table(value: &Value) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in value.as_object().expect("a table") {
        table.insert(name.as_str().into(), header(value));
    }
    table
}

fn message(plain: &Value) -> (BasicProperties, &[u8]) {
    let mut properties = BasicProperties::default().with_headers(table(&plain["headers"]));
    for (name, value) in plain["properties"].as_object().expect("properties") {
        let text = || text(value).into();
        properties = match name.as_str() {
            "content_type" => properties.with_content_type(text()),
            "type" => properties.with_type(text()),
            "message_id" => properties.with_message_id(text()),
            "correlation_id" => properties.with_correlation_id(text()),
            "reply_to" => properties.with_reply_to(text()),
            "app_id" => properties.with_app_id(text()),
            "delivery_mode" => properties.with_delivery_mode(number(value)),
            "timestamp" => properties.with_timestamp(number(value)),
            other => panic!("no property {other}"),
        };
    }
    (properties, text(&plain["body"]).as_bytes())
}

fn command_meant(meaning: &Value) -> wire::Command {
    let known = match text(&meaning["known"]) {
        "done" => wire::Known::Done,
        "unknown" => wire::Known::Unknown,
        _ => wire::Known::Unspecified,
    };
    wire::Command {
        saga_id: saga(meaning),
        step: text(&meaning["step"]).to_owned(),
        round: number(&meaning["round"]),
        op: named(&OPS, text(&meaning["op"])).expect("an op").into(),
        attempt: number(&meaning["attempt"]),
        action: text(&meaning["action"]).to_owned(),
        input: bytes(&meaning["input"]),
        known: known.into(),
        not_after_us: number(&meaning["not_after_us"]),
        retain_until_us: number(&meaning["retain_until_us"]),
        fingerprint: u64::from_str_radix(text(&meaning["fingerprint"]), 16).expect("hex"),
        definition: text(&meaning["definition"]).to_owned(),
        timeout_ms: number(&meaning["timeout_ms"]),
        ..wire::Command::default()
    }
}

fn reply_meant(meaning: &Value) -> wire::Reply {
    let error = meaning["error"].is_object().then(|| wire::ErrorBody {
        code: text(&meaning["error"]["code"]).to_owned(),
        message: text(&meaning["error"]["message"]).to_owned(),
        retry_after_ms: number(&meaning["error"]["retry_after_ms"]),
    });
    wire::Reply {
        saga_id: saga(meaning),
        step: text(&meaning["step"]).to_owned(),
        round: number(&meaning["round"]),
        op: named(&OPS, text(&meaning["op"])).expect("an op").into(),
        attempt: number(&meaning["attempt"]),
        outcome: named(&OUTCOMES, text(&meaning["outcome"]))
            .expect("an outcome")
            .into(),
        output: bytes(&meaning["output"]),
        error,
    }
}

#[test]
fn commands_go_out_as_the_vectors_say_in_either_form() {
    for vector in list(&vectors(), "commands") {
        let command = command_meant(&vector["meaning"]);
        let (expected, body) = message(&vector["plain"]);
        let inbox = vector["inbox"].as_str();
        let to = text(&vector["plain"]["properties"]["reply_to"]);
        let at = expected.timestamp().unwrap_or(0);
        let made = properties(&command, to, inbox, at, DELIVERIES_MAX);
        assert_eq!(
            (made, &command.input[..]),
            (expected, body),
            "{}",
            vector["name"]
        );
        let batch = wire::CommandBatch {
            commands: vec![command],
        };
        assert_eq!(
            batch.encode_to_vec(),
            hex(&vector["protobuf"]),
            "{}",
            vector["name"]
        );
    }
}

#[test]
fn a_dead_letter_in_the_plain_form_names_its_command() {
    for vector in list(&vectors(), "commands") {
        let meant = command_meant(&vector["meaning"]);
        let (properties, _) = message(&vector["plain"]);
        let known = wire::Command {
            saga_id: meant.saga_id,
            step: meant.step,
            round: meant.round,
            op: meant.op,
            attempt: meant.attempt,
            ..wire::Command::default()
        };
        assert_eq!(command(&properties), Ok(known), "{}", vector["name"]);
    }
}

/// What the lane is told, in the words of the vectors.
fn understood(reply: wire::Reply) -> (String, Option<String>, Option<String>) {
    let op = reply.op();
    let incoming = convert::reply(&Arc::from("hotels"), reply).expect("a reply");
    let body = |error: saga_core::ErrorBody| (None, Some(error.code));
    let (outcome, (output, code)) = match incoming.outcome {
        Outcome::Succeeded(output) => ("succeeded", (Some(output.text().to_owned()), None)),
        Outcome::Done(output) => ("done", (Some(output.text().to_owned()), None)),
        Outcome::Refused(error) => ("refused", body(error)),
        Outcome::Failed(error) => ("failed", body(error)),
        Outcome::Conflict(error) => ("conflict", body(error)),
        Outcome::NeedsOperator(error) => ("needs_operator", body(error)),
        Outcome::OutputNotTaken(error) => ("output_not_taken", body(error)),
        Outcome::Accepted => ("accepted", (None, None)),
        Outcome::Running => ("running", (None, None)),
        Outcome::Blocked => ("blocked", (None, None)),
        Outcome::Expired => ("expired", (None, None)),
        Outcome::NothingToDo => ("nothing_to_do", (None, None)),
        Outcome::Compensated => ("compensated", (None, None)),
        Outcome::Absent => ("absent", (None, None)),
        Outcome::Sealed => ("sealed", (None, None)),
    };
    assert_eq!(word(&OPS, op), format!("{:?}", incoming.op).to_lowercase());
    (outcome.to_owned(), output, code)
}

#[test]
fn replies_are_taken_as_the_vectors_say_in_either_form() {
    for vector in list(&vectors(), "replies") {
        let name = &vector["name"];
        let (properties, body) = message(&vector["plain"]);
        let taken = reply(&properties, body).unwrap_or_else(|error| panic!("{name}: {error}"));
        let meant = reply_meant(&vector["meaning"]);
        if vector["protobuf"].is_string() {
            let batch = wire::ReplyBatch::decode(&*hex(&vector["protobuf"])).expect("a batch");
            assert_eq!(
                (&taken, &batch.replies[..]),
                (&meant, &[meant.clone()][..]),
                "{name}"
            );
        }
        let differs = &vector["understood"];
        let (outcome, output, code) = understood(taken);
        let expected = |key: &str| differs[key].as_str().or(vector["meaning"][key].as_str());
        assert_eq!(Some(&*outcome), expected("outcome"), "{name}");
        if differs.is_null() {
            assert_eq!(
                output.as_deref(),
                vector["meaning"]["output"].as_str(),
                "{name}"
            );
            assert_eq!(
                code.as_deref(),
                vector["meaning"]["error"]["code"].as_str(),
                "{name}"
            );
        } else {
            let told = (output.as_deref(), code.as_deref());
            assert_eq!(
                told,
                (differs["output"].as_str(), differs["code"].as_str()),
                "{name}"
            );
        }
    }
}

#[test]
fn batches_hold_what_travels_together() {
    let vectors = vectors();
    let meant = |kind: &str| -> Vec<Value> {
        let of = vectors["batches"][kind]["of"].as_array().expect("names");
        let one = |name| {
            list(&vectors, kind)
                .iter()
                .find(|vector| &vector["name"] == name)
                .expect("a vector")
        };
        of.iter().map(|name| one(name)["meaning"].clone()).collect()
    };
    let commands = wire::CommandBatch {
        commands: meant("commands").iter().map(command_meant).collect(),
    };
    assert_eq!(
        commands.encode_to_vec(),
        hex(&vectors["batches"]["commands"]["protobuf"])
    );
    let replies = wire::ReplyBatch::decode(&*hex(&vectors["batches"]["replies"]["protobuf"]))
        .expect("a batch");
    assert_eq!(
        replies.replies,
        meant("replies").iter().map(reply_meant).collect::<Vec<_>>()
    );
}

#[test]
fn what_is_wrong_with_a_message_is_said_by_its_name() {
    let vectors = vectors();
    for vector in list(&vectors, "unreadable_replies") {
        let (properties, body) = message(&vector["plain"]);
        let fault = reply(&properties, body)
            .expect_err(text(&vector["name"]))
            .to_string();
        assert!(
            fault.contains(text(&vector["names"])),
            "{}: {fault}",
            vector["name"]
        );
    }
    // A dead letter's payload, limits and action are nobody's business any more.
    let key = [
        "correlation_id",
        "saga-step",
        "saga-round",
        "saga-op",
        "saga-attempt",
        "saga-wire",
    ];
    for vector in list(&vectors, "unreadable_commands") {
        let names = text(&vector["names"]);
        let (properties, _) = message(&vector["plain"]);
        let read = command(&properties).map_err(|fault| fault.to_string());
        match read {
            Ok(_) => assert!(!key.contains(&names), "{}", vector["name"]),
            Err(fault) => assert!(fault.contains(names), "{}: {fault}", vector["name"]),
        }
    }
}

#[test]
fn registrations_are_read_and_refused_by_the_field() {
    let vectors = vectors();
    for vector in list(&vectors, "registrations") {
        let said = hello(text(&vector["json"]).as_bytes(), true).expect("a registration");
        let meant = wire::Hello::decode(&*hex(&vector["protobuf"])).expect("a registration");
        assert_eq!(said, meant, "{}", vector["name"]);
        read(said).expect("is admitted");
    }
    for vector in list(&vectors, "unreadable_registrations") {
        let fault = match hello(text(&vector["json"]).as_bytes(), true) {
            Ok(said) => read(said).expect_err(text(&vector["name"])).to_string(),
            Err(fault) => fault.to_string(),
        };
        assert!(
            fault.contains(text(&vector["names"])),
            "{}: {fault}",
            vector["name"]
        );
    }
    let gone = hello(br#"{"participant": "hotels", "instance": "1"}"#, false)
        .expect("who leaves says no more");
    assert_eq!((&*gone.participant, &*gone.instance), ("hotels", "1"));
}

#[test]
fn a_message_that_does_not_say_its_form_is_taken_by_its_looks() {
    let none = BasicProperties::default();
    assert!(is_json(&none, b" \n{\"participant\": 1}"));
    assert!(!is_json(&none, b"\n\x06hotels"));
    assert!(is_json(
        &BasicProperties::default().with_content_type("application/json; charset=utf-8".into()),
        b""
    ));
    assert!(!is_json(
        &BasicProperties::default().with_content_type("application/x-protobuf".into()),
        b"{"
    ));
}

/// A header of any type; about half of them could be right.
fn any_header() -> impl Strategy<Value = AMQPValue> {
    prop_oneof![
        "[a-z_]{0,12}".prop_map(|text| AMQPValue::LongString(text.into())),
        proptest::sample::select(OPS.map(|(_, word)| word).to_vec())
            .prop_map(|op| AMQPValue::LongString(op.into())),
        proptest::sample::select(OUTCOMES.map(|(_, word)| word).to_vec())
            .prop_map(|outcome| AMQPValue::LongString(outcome.into())),
        proptest::collection::vec(any::<u8>(), 0..300)
            .prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        (0..3_u32).prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<f64>().prop_map(AMQPValue::Double),
        any::<bool>().prop_map(AMQPValue::Boolean),
        Just(AMQPValue::Void),
    ]
}

const NAMES: [&str; 6] = [
    "saga-wire",
    "saga-op",
    "saga-step",
    "saga-round",
    "saga-attempt",
    "saga-outcome",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever comes is read or named, and what is read makes a reply.
    #[test]
    fn nothing_that_comes_in_is_too_strange(
        headers in proptest::collection::vec(proptest::option::of(any_header()), NAMES.len()),
        // Half of the time the outcome and the op are right, so that the body is looked at.
        right in any::<bool>(),
        saga in proptest::option::of("[0-9A-HJKMNP-TV-Z]{26}|.{0,60}"),
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[\\{\\[\"a-z:,0-9\\]\\}]{0,80}".prop_map(String::into_bytes),
        ],
    ) {
        let mut table = FieldTable::default();
        for (name, value) in NAMES.iter().zip(headers) {
            if let Some(value) = value {
                table.insert((*name).into(), value);
            }
        }
        if right {
            table.insert("saga-wire".into(), AMQPValue::LongInt(1));
            for name in ["saga-round", "saga-attempt"] {
                table.insert(name.into(), AMQPValue::LongInt(1));
            }
            table.insert("saga-op".into(), AMQPValue::LongString("action".into()));
            table.insert("saga-step".into(), AMQPValue::LongString("step".into()));
        }
        let mut properties = BasicProperties::default().with_headers(table);
        if let Some(saga) = saga {
            properties = properties.with_correlation_id(saga.chars().take(60).collect::<String>().into());
        }
        if let Ok(reply) = reply(&properties, &body) {
            let op = reply.op();
            let taken = convert::reply(&Arc::from("hotels"), reply);
            prop_assert!(taken.is_ok() || op == wire::Op::Forget, "{:?}", taken);
        }
        command(&properties).ok();
        if let Ok(hello) = hello(&body, right) {
            read(hello).ok();
        }
    }
}
