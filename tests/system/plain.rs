//! Participants without our SDK, over a broker: one command a message, everything in properties and headers.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldArray, FieldTable},
};
use saga_proto::v1::ListParticipantsRequest;
use saga_tests::{
    Rig, Script,
    client::{status, step},
    eventually,
    plain::{Habit, Plain},
    rabbitmq,
};
use serde_json::{Value, json};

use crate::files::{PAIR, SINGLE};

async fn at_a_broker() -> Rig {
    Rig::start_at_a_broker(rabbitmq::vhost().await).await
}

/// [`SINGLE`] with an action that is given up soon.
fn impatient() -> String {
    let file = SINGLE
        .replace("timeout: 50s", "timeout: 300ms")
        .replace("max_attempts: 10", "max_attempts: 1");
    assert_ne!(file, SINGLE);
    file
}

#[tokio::test]
async fn it_completes_and_compensates() {
    let rig = at_a_broker().await;
    let left = Plain::serve(&rig, "left", Habit::Good).await;
    let right = Script::plain(&rig, "right");
    let _right = right.serve(&rig).await;
    rig.clients.deploy(PAIR).await;
    let id = rig.clients.begin("pair", json!({"n": 1})).await;
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
    assert_eq!(left.deeds(), ["first"]);
    let right = right.refuse("act", "no_room");
    let id = rig.clients.begin("pair", json!({"n": 2})).await;
    assert_eq!(status(&rig.clients.ended(&id).await), "compensated");
    assert_eq!(
        (left.deeds(), left.batches()),
        (vec!["first".into(), "first".into(), "-first".into()], 0)
    );
    assert_eq!(right.count("act"), 2);
}

#[tokio::test]
async fn what_it_refuses_is_refused_with_its_words() {
    let rig = at_a_broker().await;
    let left = Plain::serve(&rig, "left", Habit::Good).await;
    rig.clients.deploy(SINGLE).await;
    let id = rig
        .clients
        .begin("single", json!({"n": 0, "text": "refuse"}))
        .await;
    let seen = rig.clients.ended(&id).await;
    let first = step(&seen, "first");
    let code = first.error.as_ref().map(|error| error.code.as_str());
    assert_eq!(
        (status(&seen), &*first.status, code),
        ("compensated", "refused", Some("no_room"))
    );
    assert!(left.deeds().is_empty());
}

#[tokio::test]
async fn an_action_that_comes_after_its_undo_is_kept_out() {
    let rig = at_a_broker().await;
    let left = Plain::serve(&rig, "left", Habit::Good).await;
    rig.clients.deploy(&impatient()).await;
    let id = rig
        .clients
        .begin("single", json!({"n": 0, "text": "hold"}))
        .await;
    // Its outcome is unknown, so it is undone; the undo has another queue and overtakes it.
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), &*step(&seen, "first").status),
        ("compensated", "nothing_to_undo")
    );
    left.gate().open();
    let other = rig.clients.begin("single", json!({"n": 1})).await;
    assert_eq!(status(&rig.clients.ended(&other).await), "completed");
    assert_eq!(left.deeds(), ["first"], "only that of the other saga");
}

#[tokio::test]
async fn long_work_is_accepted_kept_alive_and_completed() {
    let rig = at_a_broker().await;
    let left = Plain::serve(&rig, "left", Habit::Good).await;
    rig.clients.deploy(SINGLE).await;
    let id = rig
        .clients
        .begin("single", json!({"n": 0, "text": "accept"}))
        .await;
    let accepted = |history: &[saga_proto::v1::HistoryEvent]| {
        history.iter().any(|e| e.kind == "step_accepted")
    };
    eventually("the work to be accepted", || async {
        accepted(&rig.clients.history(&id).await).then_some(())
    })
    .await;
    left.tell("running", b"").await;
    left.tell("succeeded", br#"{"made": true}"#).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("completed", 1)
    );
    assert_eq!(
        saga_tests::json(&step(&seen, "first").output),
        json!({"made": true})
    );
}

#[tokio::test]
async fn a_command_that_it_sends_back_is_sent_again() {
    let rig = at_a_broker().await;
    let left = Plain::serve(&rig, "left", Habit::Good).await;
    rig.clients.deploy(SINGLE).await;
    let id = rig
        .clients
        .begin("single", json!({"n": 0, "text": "reject"}))
        .await;
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
    assert_eq!(left.deeds(), ["first"]);
}

#[tokio::test]
async fn an_answer_that_is_no_json_fails_the_attempt_and_says_why() {
    let rig = at_a_broker().await;
    let left = Plain::serve(&rig, "left", Habit::Good).await;
    rig.clients.deploy(SINGLE).await;
    let id = rig
        .clients
        .begin("single", json!({"n": 0, "text": "garble"}))
        .await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("completed", 2)
    );
    let history = rig.clients.history(&id).await;
    assert!(
        history
            .iter()
            .any(|event| event.text.contains("bad_output")),
        "{history:?}"
    );
    assert_eq!(left.deeds(), ["first"]);
}

/// Both take from the same queues: the instance with the SDK gets the plain form, too.
#[tokio::test]
async fn instances_with_and_without_the_sdk_serve_side_by_side() {
    let rig = at_a_broker().await;
    let script = Script::plain(&rig, "left");
    let with_sdk = script.serve(&rig).await;
    let list = rig
        .clients
        .directory
        .clone()
        .list_participants(ListParticipantsRequest::default())
        .await;
    let inbox = list.expect("a list").into_inner().participants[0]
        .inbox_id
        .clone();
    let without = Plain::serve_on(&rig, "left", Habit::Good, &inbox).await;
    rig.clients.deploy(SINGLE).await;
    let run = async |from: i32| {
        let mut ids = Vec::new();
        for n in from..from + 40 {
            ids.push(rig.clients.begin("single", json!({"n": n})).await);
        }
        for id in &ids {
            assert_eq!(status(&rig.clients.ended(id).await), "completed");
        }
    };
    run(0).await;
    let (by_sdk, by_hand) = (script.ledger().len(), without.deeds().len());
    assert_eq!((by_sdk + by_hand, without.batches()), (40, 0));
    assert!(by_sdk > 0 && by_hand > 0, "{by_sdk} and {by_hand}");
    // When the last of those without has left, commands travel together again.
    without.leave().await;
    run(40).await;
    assert!(
        script.ledger().len() >= by_sdk + 20,
        "{}",
        script.ledger().len()
    );
    drop(with_sdk);
}

/// What makes no sense does no harm, and what comes after it in the same queue is dealt with.
#[tokio::test]
async fn nonsense_in_the_plain_form_is_dropped() {
    let rig = at_a_broker().await;
    let left = Plain::serve(&rig, "left", Habit::Good).await;
    rig.clients.deploy(SINGLE).await;
    let vectors: Value =
        serde_json::from_str(include_str!("../../proto/vectors/messages.json")).expect("vectors");
    for kind in ["unreadable_replies", "unreadable_commands"] {
        for vector in vectors[kind].as_array().expect("a list") {
            let properties =
                BasicProperties::default().with_headers(table(&vector["plain"]["headers"]));
            let saga = vector["plain"]["properties"]["correlation_id"]
                .as_str()
                .unwrap_or_default();
            let properties = properties.with_correlation_id(saga.into());
            let body = vector["plain"]["body"].as_str().expect("a body");
            for key in ["to.main", "register", "all"] {
                left.say(key, properties.clone(), body.as_bytes()).await;
            }
        }
    }
    for vector in vectors["unreadable_registrations"]
        .as_array()
        .expect("a list")
    {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type("saga.v1.Hello".into());
        left.say(
            "register",
            properties,
            vector["json"].as_str().expect("text").as_bytes(),
        )
        .await;
    }
    // Of another saga than there is, of a step that it has not, and larger than is looked at.
    let reply = &vectors["replies"][0]["plain"];
    let properties = BasicProperties::default().with_headers(table(&reply["headers"]));
    let properties = properties.with_correlation_id(
        reply["properties"]["correlation_id"]
            .as_str()
            .expect("a saga")
            .into(),
    );
    left.say("to.main", properties.clone(), b"{}").await;
    left.say("to.main", properties, &vec![b'1'; 5 * 1024 * 1024])
        .await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
    assert_eq!(left.deeds(), ["first"]);
}

fn table(value: &Value) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in value.as_object().expect("a table") {
        table.insert(name.as_str().into(), header(value));
    }
    table
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
