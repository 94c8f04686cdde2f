//! The vectors of `proto/vectors/messages.json`, held against what we take and what we answer.

use std::time::Duration;

use lapin::types::{FieldArray, FieldTable};
use prost::Message;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::{
    command::{Op, StepKey},
    reply::{Answer, Failure, Fault},
    serve::convert,
};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../../proto/vectors/messages.json"))
        .expect("vectors are JSON")
}

fn list<'a>(vectors: &'a Value, of: &str) -> &'a [Value] {
    let list = vectors[of].as_array().expect("a list");
    assert!(!list.is_empty(), "no {of}");
    list
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number<N: TryFrom<i64>>(value: &Value) -> N {
    N::try_from(value.as_i64().unwrap_or(0)).unwrap_or_else(|_| panic!("{value} does not fit"))
}

fn hex(value: &Value) -> Vec<u8> {
    let byte =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
    text(value).as_bytes().chunks(2).map(byte).collect()
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

fn read(plain: &Value) -> Result<v1::Command, Unreadable> {
    let mut properties = BasicProperties::default().with_headers(table(&plain["headers"]));
    if let Some(kind) = plain["properties"]["type"].as_str() {
        properties = properties.with_type(kind.into());
    }
    if let Some(saga) = plain["properties"]["correlation_id"].as_str() {
        properties = properties.with_correlation_id(saga.into());
    }
    command(&properties, text(&plain["body"]).into())
}

#[test]
fn both_forms_of_a_command_are_read_as_the_same() {
    for vector in list(&vectors(), "commands") {
        let (name, meaning) = (&vector["name"], &vector["meaning"]);
        let plain = read(&vector["plain"]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let batch = v1::CommandBatch::decode(&*hex(&vector["protobuf"])).expect("a batch");
        let plain = convert::ask(plain).expect("readable");
        let batched = convert::ask(batch.commands[0].clone()).expect("readable");
        assert_eq!(format!("{plain:?}"), format!("{batched:?}"), "{name}");
        assert_eq!(plain.input, text(&meaning["input"]).as_bytes(), "{name}");
        assert_eq!(
            (&*plain.key.step, &*plain.action),
            (text(&meaning["step"]), text(&meaning["action"])),
            "{name}"
        );
        assert_eq!(
            (plain.key.round, plain.attempt),
            (number(&meaning["round"]), number(&meaning["attempt"]))
        );
        assert_eq!(
            format!("{:016x}", plain.fingerprint),
            text(&meaning["fingerprint"]),
            "{name}"
        );
        assert_eq!(
            plain.not_after_us,
            number::<i64>(&meaning["not_after_us"]),
            "{name}"
        );
        assert_eq!(
            format!("{:?}", plain.op).to_lowercase(),
            text(&meaning["op"]),
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    for vector in list(&vectors(), "unreadable_commands") {
        let fault = read(&vector["plain"])
            .expect_err(text(&vector["name"]))
            .to_string();
        assert!(
            fault.contains(text(&vector["names"])),
            "{}: {fault}",
            vector["name"]
        );
    }
}

fn answer(meaning: &Value) -> Answer {
    let fault = || {
        let text = |key: &str| text(&meaning["error"][key]).to_owned();
        Fault {
            code: text("code").into(),
            message: text("message"),
        }
    };
    let output = || Bytes::copy_from_slice(text(&meaning["output"]).as_bytes());
    match text(&meaning["outcome"]) {
        "succeeded" => Answer::Succeeded(output()),
        "refused" => Answer::Refused(fault()),
        "failed" => {
            let delay: u64 = number(&meaning["error"]["retry_after_ms"]);
            Answer::Failed(Failure {
                fault: fault(),
                retry_after: (delay > 0).then(|| Duration::from_millis(delay)),
            })
        }
        "accepted" => Answer::Accepted,
        "running" => Answer::Running,
        "blocked" => Answer::Blocked,
        "conflict" => Answer::Conflict,
        "expired" => Answer::Expired,
        "needs_operator" => Answer::NeedsOperator(fault()),
        "nothing_to_do" => Answer::NothingToDo,
        "compensated" => Answer::Compensated,
        "absent" => Answer::Absent,
        "done" => Answer::Done(output()),
        "sealed" => Answer::Sealed,
        other => panic!("no outcome {other}"),
    }
}

#[test]
fn answers_are_written_as_the_vectors_say() {
    for vector in list(&vectors(), "replies") {
        let (name, meaning) = (&vector["name"], &vector["meaning"]);
        // This kit sends none that would be taken for something else, and of a conflict nothing but the word.
        if vector["understood"].is_object() || meaning["outcome"] == "conflict" {
            continue;
        }
        let id = saga_id(text(&meaning["saga"])).expect("an id");
        let step = text(&meaning["step"]).into();
        let key = StepKey {
            saga_id: Uuid::from_u128(id),
            step,
            round: number(&meaning["round"]),
        };
        let op = Op::ALL
            .into_iter()
            .find(|op| format!("{op:?}").to_lowercase() == text(&meaning["op"]));
        let reply = convert::reply(
            &key,
            op.expect("an op"),
            number(&meaning["attempt"]),
            answer(meaning),
        );
        let batch = v1::ReplyBatch {
            replies: vec![reply],
        };
        assert_eq!(batch.encode_to_vec(), hex(&vector["protobuf"]), "{name}");
    }
}
