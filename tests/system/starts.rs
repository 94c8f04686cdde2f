//! What a start is, is not, and says.

use saga_proto::v1::{ListSagasRequest, StartSagaRequest};
use saga_tests::{
    Gate, Rig, Script,
    client::{code, id_of, json, start, status, step},
};
use serde_json::json;
use uuid::Uuid;

use crate::files::SINGLE;

#[tokio::test]
async fn a_key_starts_one_saga_and_refuses_another_input() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left").hang_until("act", &gate);
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let request = |n| StartSagaRequest {
        key: "K-1".to_owned(),
        ..start("single", json!({"n": n}))
    };
    let first = rig.clients.try_start(request(1)).await.expect("a start");
    assert!(first.created);
    for open in [true, false] {
        let again = rig
            .clients
            .try_start(request(1))
            .await
            .expect("the first one");
        assert_eq!((again.created, &again.saga_id), (false, &first.saga_id));
        let refusal = rig
            .clients
            .try_start(request(2))
            .await
            .expect_err("another input");
        assert_eq!(code(&refusal), "A0409");
        assert!(
            refusal.message().contains(&id_of(&first.saga_id)),
            "{refusal}"
        );
        if open {
            gate.open();
            rig.clients.ended("single/K-1").await;
        } else {
            assert_eq!(again.status, "completed");
        }
    }
    assert_eq!(left.deeds(), ["first"]);
}

#[tokio::test]
async fn a_repeated_request_is_the_same_saga() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left").hang_until("act", &gate);
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    rig.clients
        .deploy(&SINGLE.replace("saga: single", "saga: twin"))
        .await;
    let request_id = Uuid::now_v7().as_bytes().to_vec();
    let request = |n| StartSagaRequest {
        request_id: request_id.clone().into(),
        ..start("single", json!({"n": n}))
    };
    let first = rig.clients.try_start(request(1)).await.expect("a start");
    for open in [true, false] {
        let again = rig
            .clients
            .try_start(request(1))
            .await
            .expect("the first one");
        assert_eq!(
            (first.created, again.created, &again.saga_id),
            (true, false, &first.saga_id)
        );
        let refusal = rig
            .clients
            .try_start(request(2))
            .await
            .expect_err("another input");
        assert_eq!(code(&refusal), "A0409", "open: {open}");
        let other = StartSagaRequest {
            name: "twin".to_owned(),
            ..request(1)
        };
        let refusal = rig
            .clients
            .try_start(other)
            .await
            .expect_err("another definition");
        assert_eq!(code(&refusal), "A0409", "open: {open}");
        if open {
            gate.open();
            rig.clients.ended(&id_of(&first.saga_id)).await;
        }
    }
    let none = StartSagaRequest {
        request_id: vec![1; 16].into(),
        ..start("single", json!({"n": 0}))
    };
    assert_eq!(
        code(&rig.clients.try_start(none).await.expect_err("no UUIDv7")),
        "A0400"
    );
    assert_eq!(left.deeds(), ["first"]);
}

#[tokio::test]
async fn a_start_that_cannot_be_meant_is_refused_in_words_that_help() {
    let rig = Rig::start().await;
    let _left = Script::plain(&rig, "left").serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let refusal = async |request: StartSagaRequest| {
        let refusal = rig
            .clients
            .try_start(request)
            .await
            .expect_err("must be refused");
        (code(&refusal), refusal.message().to_owned())
    };

    let (code, message) = refusal(start(
        "single",
        json!({"n": "x", "text": 7, "tags": [1], "m": 1}),
    ))
    .await;
    assert_eq!(code, "A0422");
    for place in [
        "n: expected",
        "text: expected",
        "tags[0]: expected",
        "m: no such field",
    ] {
        assert!(message.contains(place), "{place} is named in: {message}");
    }
    let (code, message) = refusal(start("singel", json!({}))).await;
    assert!(
        code == "A0405" && message.contains("did you mean `single`?"),
        "{message}"
    );
    let version = StartSagaRequest {
        version: 9,
        ..start("single", json!({"n": 0}))
    };
    let (code, message) = refusal(version).await;
    assert!(
        code == "A0405" && message.contains("registered: 1"),
        "{message}"
    );
    assert_eq!(
        refusal(start(
            "single",
            json!({"n": 0, "text": "x".repeat(1 << 20)})
        ))
        .await
        .0,
        "A0413"
    );
    assert_eq!(refusal(start("single", json!([1]))).await.0, "A0400");
    let cut = StartSagaRequest {
        input: "{".into(),
        ..start("single", json!({"n": 0}))
    };
    assert_eq!(refusal(cut).await.0, "A0400");
    let deep = format!("{{\"text\": {}{}}}", "[".repeat(70), "]".repeat(70));
    let deep = StartSagaRequest {
        input: deep.into(),
        ..start("single", json!({"n": 0}))
    };
    assert_eq!(refusal(deep).await.0, "A0413");
    let key = StartSagaRequest {
        key: "a\0b".to_owned(),
        ..start("single", json!({"n": 0}))
    };
    assert_eq!(refusal(key).await.0, "A0400");
    let labels = [("a".to_owned(), "b\0".to_owned())].into();
    let label = StartSagaRequest {
        labels,
        ..start("single", json!({"n": 0}))
    };
    assert_eq!(refusal(label).await.0, "A0400");
    assert_eq!(refusal(start("sin\0gle", json!({}))).await.0, "A0405");

    let huge = rig
        .clients
        .try_start(start(
            "single",
            json!({"n": 0, "text": "x".repeat(5 << 20)}),
        ))
        .await;
    assert!(huge.is_err(), "past the largest message");
    assert!(
        rig.clients
            .list(ListSagasRequest::default())
            .await
            .sagas
            .is_empty(),
        "nothing was started"
    );
}

#[tokio::test]
async fn a_nul_in_a_text_arrives_as_it_was_sent() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left").act("act", |call| {
        saga_tests::Say::Succeed(json!({"got": call.input["text"]}))
    });
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let text = "a\0b\u{1}c\u{2028}d";
    let id = rig
        .clients
        .begin("single", json!({"n": 0, "text": text}))
        .await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    assert_eq!(json(&step(&seen, "first").output), json!({"got": text}));
}

#[tokio::test]
async fn a_saga_waits_for_its_participant_and_says_so() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    left.serve(&rig)
        .await
        .stop()
        .await
        .expect("an end in order");
    rig.clients.deploy(SINGLE).await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    let seen = rig
        .clients
        .until(&id, "waiting", |seen| {
            step(seen, "first").status == "waiting"
        })
        .await;
    let summary = seen.summary.as_ref().expect("a summary");
    assert_eq!((summary.mark.as_str(), summary.tries), ("waiting", 0));
    assert!(
        step(&seen, "first").note.contains("no live participant"),
        "{seen:?}"
    );
    assert!(
        seen.story
            .iter()
            .any(|line| line.contains("no live participant")),
        "{:?}",
        seen.story
    );
    let _left = left.serve(&rig).await;
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("completed", 1)
    );
}
