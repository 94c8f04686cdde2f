//! How the server comes up, what it tells about itself, and how it goes down.

use std::time::{Duration, Instant};

use futures_util::stream;
use saga_proto::v1::{GetSagaRequest, RunSagasRequest};
use saga_server::{Error, config::Config};
use saga_tests::{
    Gate, Rig, Script,
    client::{code, start, status},
    server::launch,
    within,
};
use serde_json::json;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::files::SINGLE;

#[tokio::test]
async fn health_and_reflection_tell_what_is_served() {
    let rig = Rig::start().await;
    let mut health = HealthClient::new(rig.clients.channel.clone());
    for service in ["", "saga.v1.SagaService", "saga.v1.ParticipantService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.expect("an answer").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let mut reflection = ServerReflectionClient::new(rig.clients.channel.clone());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = reflection
        .server_reflection_info(stream::iter([request]))
        .await
        .expect("an answer");
    let answer = answers
        .into_inner()
        .message()
        .await
        .expect("an answer")
        .expect("an answer");
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = services
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for name in [
        "SagaService",
        "DefinitionService",
        "ParticipantDirectory",
        "ParticipantService",
    ] {
        assert!(names.contains(&format!("saga.v1.{name}")), "{names:?}");
    }
}

#[tokio::test]
async fn a_server_ends_soon_although_streams_are_open_and_sagas_run() {
    let mut rig = Rig::start().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left").hang_until("act", &gate);
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    gate.arrived(1).await;
    let request = GetSagaRequest { saga: id.clone() };
    let mut watch = rig
        .clients
        .sagas
        .clone()
        .watch_saga(request)
        .await
        .expect("a watch")
        .into_inner();
    let first = within("a picture", watch.message())
        .await
        .expect("a picture")
        .expect("a picture");
    assert_eq!(status(&first), "running");
    let starts = vec![start("single", json!({"n": 1}))];
    let requests = stream::iter([RunSagasRequest {
        starts,
        tags: vec![1],
    }]);
    let requests = futures_util::StreamExt::chain(requests, stream::pending());
    let mut run = rig
        .clients
        .sagas
        .clone()
        .run_sagas(requests)
        .await
        .expect("a stream")
        .into_inner();
    let mut health = HealthClient::new(rig.clients.channel.clone());
    let watched = health
        .watch(HealthCheckRequest::default())
        .await
        .expect("a watch");
    let mut watched = watched.into_inner();
    let now = within("health", watched.message())
        .await
        .expect("health")
        .expect("health");
    assert_eq!(now.status(), ServingStatus::Serving);

    let began = Instant::now();
    let (running, host) = rig.begin_stop();
    let then = within("health", watched.message())
        .await
        .expect("health")
        .expect("health");
    assert_eq!(then.status(), ServingStatus::NotServing);
    let end = loop {
        match within("the end of the watch", watch.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the saga has not ended"),
            Err(status) => break status,
        }
    };
    assert_eq!(code(&end), "A0503");
    let end = within("the end of the stream", run.message())
        .await
        .expect_err("nothing has ended");
    assert_eq!(code(&end), "A0503");
    drop((watch, run, watched));
    within("the end of the server", running.join())
        .await
        .expect("an end in order");
    // Its own limit for clients that hold on is five seconds.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "took {:?}",
        began.elapsed()
    );
    drop(host);

    rig.revive().await;
    gate.open();
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let mut rig = Rig::start_on_a_file().await;
    let other = rig.folder().join("other.db");
    let config = |store: &std::path::Path, listen| Config {
        listen,
        store: store.to_owned().into(),
        broker: None,
        limits: [].into(),
    };
    let taken = launch(config(&other, rig.address())).await;
    let Err(error @ Error::AddressInUse { .. }) = taken.map(drop) else {
        panic!("the port is taken")
    };
    assert!(
        error.to_string().contains(&rig.address().to_string()),
        "{error}"
    );
    let free = "127.0.0.1:0".parse().expect("an address");
    let held = launch(config(rig.store(), free)).await;
    let Err(error @ Error::Store { .. }) = held.map(drop) else {
        panic!("the store is held")
    };
    assert!(error.to_string().contains("saga.db"), "{error}");
    // Neither left anything behind.
    rig.restart().await;
    let (running, _host) = launch(config(&other, free))
        .await
        .expect("the store is free");
    running.shutdown().cancel();
    within("the end of the server", running.join())
        .await
        .expect("an end in order");
}

#[tokio::test]
async fn a_damaged_definition_stops_its_own_sagas_and_no_others() {
    let mut rig = Rig::start_on_a_file().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left").hang_until("act", &gate);
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    rig.clients
        .deploy(&SINGLE.replace("version: 1", "version: 2"))
        .await;
    let pinned = |version| saga_proto::v1::StartSagaRequest {
        version,
        ..start("single", json!({"n": 0}))
    };
    let mut ids = Vec::new();
    for version in [1, 2] {
        let answer = rig
            .clients
            .try_start(pinned(version))
            .await
            .expect("a start");
        ids.push(saga_tests::id_of(&answer.saga_id));
    }
    gate.arrived(1).await;
    rig.stop().await;
    {
        let store = rusqlite::Connection::open(rig.store()).expect("the store opens");
        let damaged = store.execute(
            "update definition set canonical = '{' where version = 1",
            [],
        );
        assert_eq!(damaged.expect("a row"), 1);
    }
    rig.revive().await;
    gate.open();
    assert_eq!(status(&rig.clients.ended(&ids[1]).await), "completed");
    let seen = rig.clients.get(&ids[0]).await;
    let summary = seen.summary.as_ref().expect("a summary");
    assert_eq!(
        (summary.status.as_str(), summary.mark.as_str()),
        ("running", "incident")
    );
    assert!(
        seen.story.iter().any(|line| line.contains("not loaded")),
        "{:?}",
        seen.story
    );
    let refusal = rig
        .clients
        .cancel(&ids[0])
        .await
        .expect_err("nothing runs it");
    assert_eq!(code(&refusal), "A0505");
    let refusal = rig
        .clients
        .try_start(pinned(1))
        .await
        .expect_err("not loaded");
    assert_eq!(code(&refusal), "A0405");
}

#[tokio::test]
async fn a_server_ends_although_a_client_neither_reads_nor_lets_go() {
    let mut rig = Rig::start().await;
    let left = Script::plain(&rig, "left").act("act", |_| saga_tests::Say::Fail("busy"));
    let _left = left.serve(&rig).await;
    let file = SINGLE.replace(
        "max_delay: 100ms, max_attempts: 10",
        "max_delay: 20ms, max_attempts: 9999",
    );
    rig.clients.deploy(&file).await;
    // Pictures of 200 KB and more: the stream is soon full.
    let input = json!({"n": 0, "text": "x".repeat(200_000)});
    let id = rig.clients.begin("single", input).await;
    let request = GetSagaRequest { saga: id.clone() };
    let unread = rig
        .clients
        .sagas
        .clone()
        .watch_saga(request)
        .await
        .expect("a watch")
        .into_inner();
    let tries =
        |more: usize| move |seen: &saga_proto::v1::SagaDetail| seen.steps[0].tries as usize > more;
    rig.clients.until(&id, "some changes", tries(20)).await;
    rig.stop().await;
    rig.revive().await;
    let seen = rig
        .clients
        .until(&id, "the server to answer", |_| true)
        .await;
    rig.clients
        .until(&id, "further changes", tries(seen.steps[0].tries as usize))
        .await;
    drop(unread);
}
