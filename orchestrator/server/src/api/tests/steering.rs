//! Lists, cancels, definitions, participants, and the server itself.

use bytes::Bytes;
use saga_proto::v1 as wire;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::rig::{PING, Rig, TRIP, config, reply, silent, soon, start, text, trip, willing};
use crate::running::{Error, Server};

#[tokio::test]
async fn lists_page_filter_and_say_what_is_next() {
    let rig = Rig::start().await;
    rig.deploy(PING).await;
    let mut sagas = rig.sagas();
    let mut ids = Vec::new();
    for n in 0..5 {
        let labels = [("n".to_owned(), (n % 2).to_string())].into();
        let request = wire::StartSagaRequest {
            labels,
            ..start("ping", "{}")
        };
        ids.push(text(
            &sagas
                .start_saga(request)
                .await
                .expect("started")
                .into_inner()
                .saga_id,
        ));
    }
    ids.sort();
    ids.reverse();
    let mut request = wire::ListSagasRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = sagas
            .list_sagas(request.clone())
            .await
            .expect("a page")
            .into_inner();
        assert_eq!((page.open_total, page.finished_total), (5, 0));
        for saga in &page.sagas {
            assert_eq!(
                (saga.status.as_str(), saga.mark.as_str(), saga.step.as_str()),
                ("running", "waiting", "touch")
            );
            assert_eq!(saga.next, "waits for hotels/reserve: no live participant");
        }
        seen.extend(page.sagas.into_iter().map(|saga| saga.id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, ids);

    let count = async |request: wire::ListSagasRequest| {
        let page = rig.sagas().list_sagas(request).await.expect("a page");
        page.into_inner().sagas.len()
    };
    let labels = [("n".to_owned(), "1".to_owned())].into();
    assert_eq!(
        count(wire::ListSagasRequest {
            labels,
            ..Default::default()
        })
        .await,
        2
    );
    let open = wire::ListSagasRequest {
        open_only: true,
        ..Default::default()
    };
    assert_eq!(count(open).await, 5);
    let ended = wire::ListSagasRequest {
        statuses: vec!["completed".to_owned()],
        ..Default::default()
    };
    assert_eq!(count(ended).await, 0);
    let bad = wire::ListSagasRequest {
        statuses: vec!["done".to_owned()],
        ..Default::default()
    };
    let refused = sagas.list_sagas(bad).await.expect_err("refused");
    assert!(
        refused.message().contains("`done` is none of running"),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn names_that_mean_nothing_or_too_much_are_refused() {
    let rig = Rig::start().await;
    let refused = async |saga: &str| {
        let request = wire::GetSagaRequest {
            saga: saga.to_owned(),
        };
        rig.sagas().get_saga(request).await.expect_err("refused")
    };
    assert_eq!(
        refused("01JD8W3K5T01JD8W3K5T01JD8W").await.code(),
        Code::NotFound
    );
    assert_eq!(refused("ABCDEFGH").await.code(), Code::NotFound);
    assert_eq!(refused("book_trip/none").await.code(), Code::NotFound);
    assert_eq!(refused("ABC").await.code(), Code::InvalidArgument);
    assert_eq!(refused("ABCU").await.code(), Code::InvalidArgument);
    assert_eq!(refused("").await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_cancel_undoes_and_a_second_one_finds_nothing_left() {
    let rig = Rig::start().await;
    rig.deploy(PING).await;
    rig.hotels(|command| match command.op() {
        wire::Op::Compensation => Some(reply(command, wire::Outcome::NothingToDo)),
        // Refused, so that the way back is free as soon as the cancel came.
        _ => None,
    })
    .await;
    let started = rig
        .sagas()
        .start_saga(start("ping", "{}"))
        .await
        .expect("started")
        .into_inner();
    let saga = text(&started.saga_id);
    let cancel = wire::CancelSagaRequest {
        saga: saga.clone(),
        reason: "wrong customer".to_owned(),
        by: "ann".to_owned(),
        ..wire::CancelSagaRequest::default()
    };
    let answer = rig
        .sagas()
        .cancel_saga(cancel.clone())
        .await
        .expect("taken")
        .into_inner();
    assert_eq!(
        (answer.disposition.as_str(), answer.status.as_str()),
        ("compensating", "compensating")
    );
    let detail = rig.get(&saga).await;
    assert_eq!(detail.cancel_reason, "wrong customer");
    assert!(
        detail
            .story
            .iter()
            .any(|s| s.contains("it was cancelled: wrong customer")),
        "{:?}",
        detail.story
    );
    let again = rig
        .sagas()
        .cancel_saga(cancel)
        .await
        .expect("taken")
        .into_inner();
    assert_eq!(again.disposition, "already");
    let nobody = wire::CancelSagaRequest {
        saga: "01JD8W3K5T01JD8W3K5T01JD8W".to_owned(),
        ..wire::CancelSagaRequest::default()
    };
    assert_eq!(
        rig.sagas()
            .cancel_saga(nobody)
            .await
            .expect_err("unknown")
            .code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn an_ended_saga_is_not_cancelled() {
    let rig = Rig::start().await;
    rig.deploy(TRIP).await;
    rig.hotels(willing).await;
    let started = rig
        .sagas()
        .start_saga(trip("t-1"))
        .await
        .expect("started")
        .into_inner();
    let saga = text(&started.saga_id);
    let request = wire::GetSagaRequest { saga: saga.clone() };
    let mut watch = rig
        .sagas()
        .watch_saga(request)
        .await
        .expect("a stream")
        .into_inner();
    while soon(watch.message()).await.expect("pictures").is_some() {}
    let cancel = wire::CancelSagaRequest {
        saga,
        reason: "late".to_owned(),
        ..wire::CancelSagaRequest::default()
    };
    let refused = rig.sagas().cancel_saga(cancel).await.expect_err("ended");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("A0410") && refused.message().contains("(completed)"));
}

#[tokio::test]
async fn files_are_registered_all_or_none() {
    let rig = Rig::start().await;
    let file = |path: &str, text: &str| wire::SagaFile {
        path: path.to_owned(),
        content: Bytes::from(text.to_owned()),
    };
    let deploy = async |files: Vec<wire::SagaFile>, dry_run: bool| {
        rig.definitions()
            .deploy(wire::DeployRequest { files, dry_run })
            .await
            .expect("an answer")
            .into_inner()
    };
    let broken = deploy(
        vec![file("a", PING), file("b", "saga: b\nversion: x\n")],
        false,
    )
    .await;
    assert!(!broken.accepted && broken.deployed.is_empty());
    let fault = broken
        .diagnostics
        .iter()
        .find(|d| d.severity == "error")
        .expect("a fault");
    assert!(
        fault.path == "b" && fault.line > 0 && fault.rendered.contains(&fault.code),
        "{fault:?}"
    );
    let dry = deploy(vec![file("a", PING)], true).await;
    assert!(dry.accepted && dry.deployed[0].created);
    let list = async || {
        rig.definitions()
            .list_definitions(wire::ListDefinitionsRequest::default())
            .await
            .expect("a list")
            .into_inner()
    };
    assert!(
        list().await.definitions.is_empty(),
        "nothing was registered so far"
    );

    let first = deploy(vec![file("a", PING), file("b", TRIP)], false).await;
    assert!(
        first.accepted && first.deployed.iter().all(|d| d.created),
        "{:?}",
        first.diagnostics
    );
    assert!(!deploy(vec![file("a", PING)], false).await.deployed[0].created);
    let changed = PING.replace("touch", "poke");
    let taken = deploy(vec![file("c", &changed)], false).await;
    let fault = taken
        .diagnostics
        .iter()
        .find(|d| d.code == "S0501")
        .expect("S0501");
    assert!(
        !taken.accepted && fault.line == 3 && fault.help.contains("raise `version`"),
        "{fault:?}"
    );
    rig.sagas()
        .start_saga(start("ping", "{}"))
        .await
        .expect("started");
    let definitions = list().await.definitions;
    let shown: Vec<_> = definitions
        .iter()
        .map(|d| (d.name.as_str(), d.version, d.open_sagas, d.steps))
        .collect();
    assert_eq!(shown, [("book_trip", 1, 0, 2), ("ping", 1, 1, 1)]);

    // What is registered is still there after a restart.
    let rig = Rig::start_in(rig.stop().await).await;
    assert!(
        rig.sagas()
            .start_saga(trip("t-1"))
            .await
            .expect("started")
            .into_inner()
            .created
    );
}

#[tokio::test]
async fn participants_are_listed_with_their_instances_and_with_who_is_missed() {
    let rig = Rig::start().await;
    rig.deploy(PING).await;
    let list = async || {
        let request = wire::ListParticipantsRequest::default();
        rig.participants()
            .list_participants(request)
            .await
            .expect("a list")
            .into_inner()
            .participants
    };
    rig.sagas()
        .start_saga(start("ping", "{}"))
        .await
        .expect("started");
    let missed = list().await;
    assert_eq!(
        (
            missed[0].name.as_str(),
            missed[0].waiting,
            missed[0].instances.len()
        ),
        ("hotels", 1, 0)
    );
    rig.hotels(silent).await;
    let mut shown = list().await;
    assert_eq!(shown.len(), 1);
    let hotels = shown.remove(0);
    assert_eq!(
        (hotels.inbox_id.as_str(), hotels.inbox_kind()),
        ("inbox-1", wire::InboxKind::Transactional)
    );
    assert_eq!(hotels.actions, ["reserve", "cancel", "charge"]);
    let instance = &hotels.instances[0];
    assert_eq!(
        (instance.instance.as_str(), instance.sdk.as_str()),
        ("hotels-1", "test/0")
    );
    assert!(instance.peer.starts_with("127.0.0.1:") && instance.connected_at_us > 0);
}

#[tokio::test]
async fn health_says_when_the_server_serves() {
    let rig = Rig::start().await;
    let mut health = HealthClient::new(rig.channel.clone());
    for service in ["", "saga.v1.SagaService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let status = health
            .check(request)
            .await
            .expect("an answer")
            .into_inner()
            .status;
        assert_eq!(status, 1, "{service} must be SERVING");
    }
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let mut watch = health.watch(request).await.expect("a stream").into_inner();
    assert_eq!(
        soon(watch.message())
            .await
            .expect("first")
            .expect("first")
            .status,
        1
    );
    rig.server.shutdown().cancel();
    assert_eq!(
        soon(watch.message())
            .await
            .expect("next")
            .expect("next")
            .status,
        2,
        "NOT_SERVING while draining"
    );
    drop((watch, health));
    rig.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_named_and_the_store_is_let_go() {
    let rig = Rig::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let taken = crate::config::Config {
        listen: rig.server.address(),
        ..config(dir.path())
    };
    let error = Server::start(taken).await.err().expect("in use");
    assert!(
        matches!(error, Error::AddressInUse { .. }) && error.to_string().contains("--listen"),
        "{error}"
    );
    let second = Server::start(config(dir.path()))
        .await
        .expect("the store is free");
    second.shutdown().cancel();
    soon(second.join()).await.expect("down in order");
    let held = Server::start(config(rig.dir.path()))
        .await
        .err()
        .expect("held");
    assert!(matches!(held, Error::Store { .. }), "{held}");
}

#[tokio::test]
async fn a_deploy_knows_what_participants_registered() {
    let rig = Rig::start().await;
    let unseen = rig.deploy(PING).await;
    assert!(unseen.accepted, "{:?}", unseen.diagnostics);
    let note = unseen
        .diagnostics
        .iter()
        .find(|d| d.severity == "note")
        .expect("a note");
    assert!(
        note.message.contains("nothing is known here of hotels"),
        "{note:?}"
    );
    rig.hotels(silent).await;
    let wrong = rig
        .deploy(&TRIP.replace("hotels/charge", "hotels/chrage"))
        .await;
    let fault = wrong
        .diagnostics
        .iter()
        .find(|d| d.code == "S0401")
        .expect("S0401");
    assert!(
        !wrong.accepted && fault.severity == "error" && fault.line > 0,
        "{fault:?}"
    );
    assert!(
        rig.deploy(TRIP)
            .await
            .diagnostics
            .iter()
            .all(|d| d.severity != "error")
    );
}
