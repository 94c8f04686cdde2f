//! Limits and breakers through the real server: who waits, what is said of it, and what an operator can do.

use saga_proto::v1::{
    BreakerState, ListAuditRequest, ListBreakersRequest, ResetBreakerRequest, TripBreakerRequest,
};
use saga_tests::{
    Gate, Rig, Say, Script,
    client::{status, step},
    eventually,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::files::{PAIR, SINGLE};

fn trip(action: &str) -> TripBreakerRequest {
    TripBreakerRequest {
        participant: "left".to_owned(),
        action: action.to_owned(),
        reason: "their release".to_owned(),
        by: "ann".to_owned(),
        ..TripBreakerRequest::default()
    }
}

fn reset(action: &str) -> ResetBreakerRequest {
    ResetBreakerRequest {
        participant: "left".to_owned(),
        action: action.to_owned(),
        reason: "they are back".to_owned(),
        by: "ann".to_owned(),
    }
}

#[tokio::test]
async fn no_more_are_outstanding_than_may_be_and_all_have_their_turn() {
    const SAGAS: usize = 30;
    let rig = Rig::start().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left").hang_until("act", &gate);
    // SQLite lets one handler write at a time.
    let _left = left.serve_from_memory(&rig).await;
    let file = SINGLE
        .replace(
            "version: 1\n",
            "version: 1\nparticipants: {left: {max_in_flight: 3}}\n",
        )
        .replace("left/undo}", "left/undo, at_least_once: true}");
    rig.clients.deploy(&file).await;
    let starts = (0..SAGAS).map(|n| rig.clients.begin("single", json!({"n": n, "tags": []})));
    let ids = futures_util::future::join_all(starts).await;
    gate.arrived(3).await;
    let mut waiting = 0;
    for id in &ids {
        let seen = rig.clients.get(id).await;
        let note = &step(&seen, "first").note;
        waiting += usize::from(note.contains("max_in_flight") && seen.steps[0].tries == 0);
    }
    assert_eq!((left.count("act"), waiting), (3, SAGAS - 3));
    gate.open();
    for id in &ids {
        let seen = rig.clients.ended(id).await;
        assert_eq!(
            (status(&seen), step(&seen, "first").tries),
            ("completed", 1)
        );
    }
    assert_eq!(left.count("act"), SAGAS);
}

#[tokio::test]
async fn a_breaker_that_an_operator_tripped_outlives_the_server_and_spends_no_attempt() {
    let mut rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    rig.clients.deploy(SINGLE).await;
    let open = rig
        .clients
        .operators()
        .trip_breaker(trip("act"))
        .await
        .expect("taken")
        .into_inner();
    assert_eq!(
        (open.state(), open.open_until_us, open.generation),
        (BreakerState::Open, 0, 2)
    );
    let misspelt = rig
        .clients
        .operators()
        .trip_breaker(trip("akt"))
        .await
        .expect_err("refused");
    assert_eq!(misspelt.code(), Code::NotFound);
    let id = rig
        .clients
        .begin("single", json!({"n": 1, "tags": []}))
        .await;
    let held = |seen: &saga_proto::v1::SagaDetail| step(seen, "first").status == "waiting";
    let seen = rig.clients.until(&id, "it to wait", held).await;
    assert!(
        step(&seen, "first")
            .note
            .starts_with("breaker left/act open until it is reset, by ann ("),
        "{:?}",
        seen.story
    );
    rig.restart().await;
    eventually("the participant to come back", || async {
        (!saga_tests::script::connected(&rig, "left").await.is_empty()).then_some(())
    })
    .await;
    // A participant that is trusted after the restart is listed before its saga has been looked at.
    let breaker = eventually("the saga to wait at the breaker", || async {
        let list = rig
            .clients
            .operators()
            .list_breakers(ListBreakersRequest::default())
            .await;
        let breaker = list.expect("a list").into_inner().breakers.remove(0);
        (breaker.waiting == 1).then_some(breaker)
    })
    .await;
    assert_eq!(
        (breaker.state(), breaker.reason.as_str()),
        (BreakerState::Open, "their release")
    );
    assert_eq!(left.count("act"), 0);
    rig.clients
        .operators()
        .reset_breaker(reset("act"))
        .await
        .expect("taken");
    let seen = rig.clients.ended(&id).await;
    assert_eq!(
        (status(&seen), step(&seen, "first").tries),
        ("completed", 1)
    );
    let again = rig
        .clients
        .operators()
        .reset_breaker(reset("act"))
        .await
        .expect_err("nothing to reset");
    assert_eq!(again.code(), Code::FailedPrecondition);
    let audit = rig
        .clients
        .operators()
        .list_audit(ListAuditRequest::default())
        .await
        .expect("a list");
    let acts: Vec<(String, String, bool)> = audit
        .into_inner()
        .entries
        .into_iter()
        .map(|act| (act.verb, act.step, act.saga_id.is_empty()))
        .collect();
    let act = |verb: &str| (verb.to_owned(), "left/act".to_owned(), true);
    assert_eq!(acts, [act("breaker_reset"), act("breaker_trip")]);
}

#[tokio::test]
async fn an_undo_is_delayed_by_its_breaker_and_not_dropped() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").refuse("act", "no");
    let _instances = [left.serve(&rig).await, right.serve(&rig).await];
    rig.clients.deploy(PAIR).await;
    rig.clients
        .operators()
        .trip_breaker(trip("undo"))
        .await
        .expect("taken");
    let id = rig.clients.begin("pair", json!({"n": 1})).await;
    let waits = |seen: &saga_proto::v1::SagaDetail| {
        step(seen, "first").note.contains("breaker left/undo open")
    };
    rig.clients.until(&id, "its undo to wait", waits).await;
    assert_eq!((left.count("act"), left.count("undo")), (1, 0));
    rig.clients
        .operators()
        .reset_breaker(reset("undo"))
        .await
        .expect("taken");
    assert_eq!(status(&rig.clients.ended(&id).await), "compensated");
    assert_eq!(left.deeds(), ["first", "-first"]);
}

#[tokio::test]
async fn a_breaker_opens_by_itself_and_whoever_waits_spends_nothing() {
    let rig = Rig::start().await;
    let ill = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let state = std::sync::Arc::clone(&ill);
    let left = Script::plain(&rig, "left").act("act", move |_| {
        if state.load(std::sync::atomic::Ordering::SeqCst) {
            Say::Fail("down")
        } else {
            Say::Succeed(Value::Null)
        }
    });
    let _left = left.serve(&rig).await;
    let breaker = "participants: {left: {circuit_breaker: {min_calls: 3, open_for: 10m, half_open_calls: 1}}}";
    rig.clients
        .deploy(&SINGLE.replace("version: 1\n", &format!("version: 1\n{breaker}\n")))
        .await;
    let first = rig
        .clients
        .begin("single", json!({"n": 1, "tags": []}))
        .await;
    let open = |seen: &saga_proto::v1::SagaDetail| {
        step(seen, "first")
            .note
            .starts_with("breaker left/act open, probe in 9m")
    };
    let seen = rig.clients.until(&first, "its breaker to open", open).await;
    assert_eq!((step(&seen, "first").tries, left.count("act")), (3, 3));
    let note = &step(&seen, "first").note;
    assert!(
        note.contains("last: down") && note.ends_with("(3×)"),
        "{note}"
    );
    let list = rig
        .clients
        .operators()
        .list_breakers(ListBreakersRequest::default())
        .await;
    let listed = list.expect("a list").into_inner().breakers.remove(0);
    let last = listed.last_error.map(|error| error.code);
    assert_eq!(
        (last.as_deref(), listed.last_error_times),
        (Some("down"), 3)
    );
    let second = rig
        .clients
        .begin("single", json!({"n": 2, "tags": []}))
        .await;
    rig.clients.until(&second, "it to wait", open).await;
    assert_eq!(left.count("act"), 3);
    ill.store(false, std::sync::atomic::Ordering::SeqCst);
    rig.clients
        .operators()
        .reset_breaker(reset("act"))
        .await
        .expect("taken");
    for (id, tries) in [(first, 4), (second, 1)] {
        let seen = rig.clients.ended(&id).await;
        assert_eq!(
            (status(&seen), step(&seen, "first").tries),
            ("completed", tries)
        );
    }
}

#[tokio::test]
async fn a_rate_limit_names_its_value_its_owner_and_the_place() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    let limit = "participants: {left: {rate_limit: 1/h}}";
    rig.clients
        .deploy(&SINGLE.replace("version: 1\n", &format!("version: 1\n{limit}\n")))
        .await;
    let input = || json!({"n": 1, "tags": []});
    let first = rig.clients.begin("single", input()).await;
    assert_eq!(status(&rig.clients.ended(&first).await), "completed");
    for place in [1, 2] {
        let id = rig.clients.begin("single", input()).await;
        let wanted = format!("rate_limit 1/h (single@1), place {place} of {place}, about ");
        let waits =
            |seen: &saga_proto::v1::SagaDetail| step(seen, "first").note.starts_with(&wanted);
        let seen = rig.clients.until(&id, "its place", waits).await;
        let next = seen.summary.expect("a summary").next;
        assert!(next.contains("rate_limit 1/h (single@1)"), "{next}");
    }
    let channel = rig.clients.channel.clone();
    let list =
        saga_proto::v1::participant_directory_client::ParticipantDirectoryClient::new(channel)
            .list_participants(saga_proto::v1::ListParticipantsRequest::default())
            .await;
    let limits = list
        .expect("a list")
        .into_inner()
        .participants
        .remove(0)
        .limits;
    let limits: Vec<_> = limits
        .iter()
        .map(|limit| {
            (
                limit.setting.as_str(),
                limit.value.as_str(),
                limit.owner.as_str(),
                limit.waiting,
            )
        })
        .collect();
    assert_eq!(limits, [("rate_limit", "1/h", "single@1", 2)]);
}
