//! Sagas from start to end.

use saga_proto::v1 as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use uuid::Uuid;

use super::rig::{PING, Rig, TRIP, declining, silent, soon, start, text, trip, willing};

#[tokio::test]
async fn a_saga_is_started_watched_to_its_end_and_told() {
    let rig = Rig::start().await;
    assert!(rig.deploy(TRIP).await.accepted);
    rig.hotels(willing).await;
    let started = rig
        .sagas()
        .start_saga(trip("t-1"))
        .await
        .expect("started")
        .into_inner();
    assert!(started.created);
    let id = text(&started.saga_id);

    let request = wire::GetSagaRequest { saga: id.clone() };
    let mut watch = rig
        .sagas()
        .watch_saga(request)
        .await
        .expect("a stream")
        .into_inner();
    let mut last = None;
    while let Some(detail) = soon(watch.message()).await.expect("pictures") {
        last = Some(detail);
    }
    let detail = last.expect("at least one picture");
    let summary = detail.summary.as_ref().expect("a summary");
    assert_eq!(
        (summary.status.as_str(), summary.key.as_str()),
        ("completed", "t-1")
    );
    assert_eq!(
        summary.labels.get("team").map(String::as_str),
        Some("travel")
    );
    assert_eq!(&detail.output[..], br#"{"room":"12a"}"#);
    let steps: Vec<_> = detail
        .steps
        .iter()
        .map(|step| (step.id.as_str(), step.status.as_str()))
        .collect();
    assert_eq!(
        steps,
        [("reserve_hotel", "succeeded"), ("charge_card", "succeeded")]
    );
    assert!(
        detail.story[0].starts_with("It completed"),
        "{:?}",
        detail.story
    );

    // By the end of its id, and by its key, it is the same saga.
    assert_eq!(rig.get(&id[18..].to_lowercase()).await.seq, detail.seq);
    assert_eq!(rig.get("book_trip/t-1").await.seq, detail.seq);

    let request = wire::HistoryRequest {
        saga: id,
        after_seq: 0,
        page_size: 2,
        ..Default::default()
    };
    let first = rig
        .sagas()
        .history(request.clone())
        .await
        .expect("history")
        .into_inner();
    assert!(first.more && first.events[0].kind == "started");
    let after_seq = first.events.last().expect("events").seq;
    let rest = rig
        .sagas()
        .history(wire::HistoryRequest {
            after_seq,
            page_size: 0,
            ..request
        })
        .await
        .expect("history");
    assert_eq!(
        rest.into_inner().events.last().expect("events").kind,
        "completed"
    );
}

#[tokio::test]
async fn the_same_key_returns_the_first_saga_and_other_input_is_a_conflict() {
    let rig = Rig::start().await;
    rig.deploy(TRIP).await;
    rig.hotels(silent).await;
    let mut sagas = rig.sagas();
    let first = sagas
        .start_saga(trip("t-1"))
        .await
        .expect("started")
        .into_inner();
    // Another spelling of the same input.
    let spelled = start("book_trip", r#"{ "customer": "c-1", "trip": "t-1" }"#);
    let again = sagas
        .start_saga(spelled)
        .await
        .expect("the first")
        .into_inner();
    assert_eq!(
        (again.created, &again.saga_id, again.status.as_str()),
        (false, &first.saga_id, "running")
    );
    let other = start("book_trip", r#"{"customer":"c-2","trip":"t-1"}"#);
    let conflict = sagas.start_saga(other).await.expect_err("a conflict");
    assert_eq!(conflict.code(), Code::AlreadyExists);
    let message = conflict.message();
    assert!(
        message.starts_with("A0409 ") && message.contains(&text(&first.saga_id)),
        "{message}"
    );
}

#[tokio::test]
async fn a_request_id_makes_a_start_without_key_repeatable() {
    let rig = Rig::start().await;
    rig.deploy(PING).await;
    let request_id = Uuid::now_v7().as_bytes().to_vec().into();
    let request = wire::StartSagaRequest {
        request_id,
        ..start("ping", "")
    };
    let mut sagas = rig.sagas();
    let first = sagas
        .start_saga(request.clone())
        .await
        .expect("started")
        .into_inner();
    let second = sagas
        .start_saga(request)
        .await
        .expect("the first")
        .into_inner();
    assert_eq!((first.created, second.created), (true, false));
    assert_eq!(first.saga_id, second.saga_id);
    let third = sagas
        .start_saga(start("ping", "{}"))
        .await
        .expect("started")
        .into_inner();
    assert!(third.created && third.saga_id != first.saga_id);
}

#[tokio::test]
async fn what_is_wrong_with_a_start_is_said_at_once() {
    let rig = Rig::start().await;
    rig.deploy(TRIP).await;
    let refused = async |request| rig.sagas().start_saga(request).await.expect_err("refused");
    let unknown = refused(start("book_trp", "{}")).await;
    assert!(
        unknown.message().contains("did you mean `book_trip`?"),
        "{}",
        unknown.message()
    );
    let version = refused(wire::StartSagaRequest {
        version: 9,
        ..trip("t")
    })
    .await;
    assert!(
        version.message().contains("no version 9; registered: 1"),
        "{}",
        version.message()
    );
    let input = refused(start("book_trip", r#"{"trip":3,"custmer":"x"}"#)).await;
    assert_eq!(input.code(), Code::InvalidArgument);
    for part in ["A0422", "trip", "custmer", "customer"] {
        assert!(input.message().contains(part), "{}", input.message());
    }
    assert!(
        refused(start("book_trip", "[]"))
            .await
            .message()
            .contains("JSON object")
    );
    assert!(
        refused(start("book_trip", "{"))
            .await
            .message()
            .starts_with("A0400 input: not a JSON document")
    );
    let deep = format!("{{\"trip\":{}{}}}", "[".repeat(70), "]".repeat(70));
    assert!(
        refused(start("book_trip", &deep))
            .await
            .message()
            .starts_with("A0413")
    );
    let key = refused(wire::StartSagaRequest {
        key: "a\0".to_owned(),
        ..trip("t")
    })
    .await;
    assert_eq!(key.message(), "A0400 key: holds a NUL character");
    let labels = [("a".to_owned(), "x\0".to_owned())].into();
    assert!(
        refused(wire::StartSagaRequest {
            labels,
            ..trip("t")
        })
        .await
        .message()
        .contains("label")
    );
    let bad_id = vec![0; 16].into();
    assert!(
        refused(wire::StartSagaRequest {
            request_id: bad_id,
            ..trip("t")
        })
        .await
        .message()
        .contains("UUIDv7")
    );
}

/// Sends one message and collects every outcome, in the order of the tags.
async fn run(rig: &Rig, starts: Vec<wire::StartSagaRequest>) -> Vec<wire::RunOutcome> {
    let tags = (0..starts.len() as u64).collect();
    let (out, outbound) = mpsc::channel(4);
    out.send(wire::RunSagasRequest { starts, tags })
        .await
        .expect("room");
    drop(out);
    let mut inbound = rig
        .sagas()
        .run_sagas(ReceiverStream::new(outbound))
        .await
        .expect("a stream")
        .into_inner();
    let mut outcomes = Vec::new();
    while let Some(message) = soon(inbound.message()).await.expect("outcomes") {
        outcomes.extend(message.outcomes);
    }
    outcomes.sort_by_key(|outcome| outcome.tag);
    outcomes
}

#[tokio::test]
async fn a_stream_runs_many_sagas_and_reports_each_end() {
    let rig = Rig::start().await;
    rig.deploy(TRIP).await;
    rig.deploy(PING).await;
    rig.hotels(declining).await;
    let mut starts: Vec<_> = (0..3_000).map(|_| start("ping", "{}")).collect();
    starts.push(trip("t-1"));
    // The same key again, in the same message: it is followed to the same end.
    starts.push(trip("t-1"));
    starts.push(start("nobody", "{}"));
    starts.push(start("book_trip", r#"{"trip":"t-1","customer":"c-2"}"#));
    let outcomes = run(&rig, starts).await;
    assert_eq!(outcomes.len(), 3_004);
    let (pings, trips) = outcomes.split_at(3_000);
    assert!(
        pings
            .iter()
            .all(|o| o.status == "completed" && o.created && o.fault.is_none())
    );
    assert_eq!(
        pings
            .iter()
            .map(|o| &o.saga_id)
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        3_000
    );
    let fault = |at: usize| trips[at].fault.as_ref().expect("a fault");
    for at in [0, 1] {
        assert_eq!(
            (trips[at].status.as_str(), trips[at].created),
            ("compensated", at == 0)
        );
        assert_eq!(
            (fault(at).code.as_str(), fault(at).step.as_str()),
            ("card_declined", "charge_card")
        );
    }
    assert_eq!(trips[0].saga_id, trips[1].saga_id);
    assert_eq!(
        (trips[2].status.as_str(), fault(2).code.as_str()),
        ("", "A0405")
    );
    assert_eq!(
        (trips[3].status.as_str(), fault(3).code.as_str()),
        ("", "A0409")
    );

    // After the end, the same start reads it from the store.
    let again = run(&rig, vec![trip("t-1")]).await.remove(0);
    assert_eq!(
        (again.status.as_str(), again.created, &again.saga_id),
        ("compensated", false, &trips[0].saga_id)
    );
}

#[tokio::test]
async fn a_message_without_a_tag_for_each_start_breaks_the_stream() {
    let rig = Rig::start().await;
    let (out, outbound) = mpsc::channel(4);
    out.send(wire::RunSagasRequest {
        starts: vec![start("ping", "{}")],
        tags: vec![],
    })
    .await
    .expect("room");
    let mut inbound = rig
        .sagas()
        .run_sagas(ReceiverStream::new(outbound))
        .await
        .expect("a stream")
        .into_inner();
    let status = soon(inbound.message()).await.expect_err("broken");
    assert_eq!(status.message(), "A0400 tags: 0 for 1 starts; one for each");
}

#[tokio::test]
async fn a_stream_that_is_cut_by_a_shutdown_says_so() {
    let rig = Rig::start().await;
    rig.deploy(PING).await;
    rig.hotels(silent).await;
    let (out, outbound) = mpsc::channel(4);
    out.send(wire::RunSagasRequest {
        starts: vec![start("ping", "{}")],
        tags: vec![1],
    })
    .await
    .expect("room");
    let mut inbound = rig
        .sagas()
        .run_sagas(ReceiverStream::new(outbound))
        .await
        .expect("a stream")
        .into_inner();
    let dir = rig.stop().await;
    assert_eq!(
        soon(inbound.message()).await.expect_err("cut").code(),
        Code::Unavailable
    );

    // What was started is still there, and goes on.
    let rig = Rig::start_in(dir).await;
    rig.hotels(willing).await;
    let list = rig
        .sagas()
        .list_sagas(wire::ListSagasRequest::default())
        .await
        .expect("a list")
        .into_inner();
    let Some(saga) = list.sagas.first() else {
        return assert!(list.sagas.is_empty(), "the start was not taken");
    };
    let request = wire::GetSagaRequest {
        saga: saga.id.clone(),
    };
    let mut watch = rig
        .sagas()
        .watch_saga(request)
        .await
        .expect("a stream")
        .into_inner();
    let mut status = String::new();
    while let Some(detail) = soon(watch.message()).await.expect("pictures") {
        status = detail.summary.expect("a summary").status;
    }
    assert_eq!(status, "completed");
}

/// Answers with half a mebibyte.
fn talkative(command: &wire::Command) -> Option<wire::Reply> {
    let output = format!("{{\"room\":\"{}\"}}", "x".repeat(512 * 1024)).into();
    willing(command).map(|reply| wire::Reply { output, ..reply })
}

#[tokio::test]
async fn large_outputs_fit_into_messages() {
    let rig = Rig::start().await;
    rig.deploy(PING).await;
    let steps = (0..8).map(|n| {
        format!("  - {{step: s{n}, action: hotels/reserve, compensation: hotels/cancel}}\n")
    });
    let chain = format!(
        "saga: chain\nversion: 1\nsteps:\n{}output: {{}}\n",
        steps.collect::<String>()
    );
    assert!(rig.deploy(&chain).await.accepted);
    rig.hotels(talkative).await;
    let outcomes = run(&rig, (0..12).map(|_| start("ping", "{}")).collect()).await;
    assert_eq!(outcomes.len(), 12);
    assert!(
        outcomes.iter().all(|o| o.output.len() > 512 * 1024),
        "{outcomes:?}"
    );

    let chained = run(&rig, vec![start("chain", "{}")]).await.remove(0);
    assert_eq!(chained.status, "completed");
    let detail = rig.get(&text(&chained.saga_id)).await;
    assert!(!detail.steps[0].output.is_empty() && detail.steps[7].output.is_empty());
    assert!(
        detail
            .story
            .iter()
            .any(|sentence| sentence.contains("too large to be shown")),
        "{:?}",
        detail.story
    );
    let mut request = wire::HistoryRequest {
        saga: text(&chained.saga_id),
        after_seq: 0,
        page_size: 0,
        ..Default::default()
    };
    let mut kinds = Vec::new();
    loop {
        let page = rig
            .sagas()
            .history(request.clone())
            .await
            .expect("a page")
            .into_inner();
        request.after_seq = page.events.last().expect("events").seq;
        kinds.extend(page.events.into_iter().map(|event| event.kind));
        if !page.more {
            break;
        }
    }
    assert_eq!(
        kinds
            .iter()
            .filter(|kind| *kind == "step_succeeded")
            .count(),
        8
    );
}
