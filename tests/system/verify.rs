//! `VerifyParticipant`: a participant that keeps the rules passes, one that breaks them is found out, and sagas see
//! nothing of it.

use saga_proto::v1::{HazardVerdict, ListAuditRequest, ListSagasRequest, VerifyParticipantRequest};
use saga_tests::{
    Rig, Script,
    client::{self, status},
    id_of,
    plain::{Habit, Plain},
    rabbitmq,
};
use serde_json::json;
use tonic::Status;

use crate::files::SINGLE;

fn request(participant: &str, compensation: &str) -> VerifyParticipantRequest {
    VerifyParticipantRequest {
        participant: participant.to_owned(),
        action: "act".to_owned(),
        compensation: compensation.to_owned(),
        input: json!({"n": 1}).to_string().into(),
        effects_are_real: true,
        wait_ms: 5_000,
        reason: "as the test says".to_owned(),
        by: "ann".to_owned(),
    }
}

async fn verify(
    rig: &Rig,
    request: VerifyParticipantRequest,
) -> Result<Vec<HazardVerdict>, Status> {
    let mut stream = rig
        .clients
        .operators()
        .verify_participant(request)
        .await?
        .into_inner();
    let mut verdicts = Vec::new();
    while let Some(verdict) = stream.message().await? {
        assert!(id_of(&verdict.test_id).starts_with("7TEST0SAGA"));
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// Names of the hazards with this verdict.
fn with<'a>(verdicts: &'a [HazardVerdict], word: &str) -> Vec<&'a str> {
    verdicts
        .iter()
        .filter(|verdict| verdict.verdict == word)
        .map(|verdict| verdict.hazard.as_str())
        .collect()
}

fn passes(verdicts: &[HazardVerdict]) {
    assert_eq!(verdicts.len(), 13);
    for verdict in verdicts {
        assert_eq!(
            (&*verdict.verdict, &*verdict.note),
            ("pass", ""),
            "{verdict:?}"
        );
    }
}

#[tokio::test]
async fn a_participant_on_the_sdk_passes_and_no_saga_comes_of_it() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    passes(
        &verify(&rig, request("left", "undo"))
            .await
            .expect("verdicts"),
    );
    // What was done was undone, saga by saga.
    saga_tests::ledger::assert_sane(&left.ledger());
    let sum: i32 = left
        .ledger()
        .iter()
        .map(|e| {
            if e.kind == saga_tests::Kind::Done {
                1
            } else {
                -1
            }
        })
        .sum();
    assert_eq!(sum, 0, "{:?}", left.deeds());
    let list = rig.clients.list(ListSagasRequest::default()).await;
    assert!(list.sagas.is_empty());
    let audit = rig
        .clients
        .operators()
        .list_audit(ListAuditRequest::default())
        .await
        .expect("a list");
    let entry = &audit.into_inner().entries[0];
    assert_eq!(
        (&*entry.verb, &*entry.step, &*entry.reason),
        ("verify", "left/act", "as the test says")
    );
    assert!(entry.by.starts_with("ann") && id_of(&entry.saga_id).starts_with("7TEST0SAGA"));
    rig.clients.deploy(SINGLE).await;
    let id = rig.clients.begin("single", json!({"n": 0})).await;
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
}

#[tokio::test]
async fn instances_that_share_an_inbox_pass_together() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let _left = [left.serve(&rig).await, left.serve(&rig).await];
    passes(
        &verify(&rig, request("left", "undo"))
            .await
            .expect("verdicts"),
    );
}

#[tokio::test]
async fn an_inbox_in_memory_passes_while_it_lives() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve_from_memory(&rig).await;
    passes(
        &verify(&rig, request("left", "undo"))
            .await
            .expect("verdicts"),
    );
}

#[tokio::test]
async fn without_a_compensation_its_hazards_do_not_apply() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    let verdicts = verify(&rig, request("left", "")).await.expect("verdicts");
    assert!(with(&verdicts, "fail").is_empty(), "{verdicts:?}");
    let left_out = with(&verdicts, "not_applicable");
    assert_eq!(left_out.len(), 6, "{left_out:?}");
    assert!(left_out.contains(&"late_action") && left_out.contains(&"duplicate_undo"));
}

#[tokio::test]
async fn an_action_that_does_not_succeed_proves_nothing() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left").refuse("act", "no_room");
    let _left = left.serve(&rig).await;
    let verdicts = verify(&rig, request("left", "undo"))
        .await
        .expect("verdicts");
    assert!(with(&verdicts, "not_applicable").contains(&"duplicate_action"));
    let first = &verdicts[0];
    assert!(
        first.note.contains("refused no_room") && first.note.contains("give an input"),
        "{}",
        first.note
    );
    assert!(with(&verdicts, "fail").is_empty(), "{verdicts:?}");
}

#[tokio::test]
async fn what_cannot_be_verified_is_refused() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let _left = left.serve(&rig).await;
    let code = async |request| client::code(&verify(&rig, request).await.expect_err("refused"));
    assert_eq!(code(request("right", "undo")).await, "A0415");
    assert_eq!(code(request("left", "act")).await, "A0400");
    let other = VerifyParticipantRequest {
        action: "undo".to_owned(),
        ..request("left", "undo")
    };
    assert_eq!(code(other).await, "A0400");
    let unknowing = VerifyParticipantRequest {
        effects_are_real: false,
        ..request("left", "undo")
    };
    assert_eq!(code(unknowing).await, "A0400");
    let slow = VerifyParticipantRequest {
        wait_ms: 60_001,
        ..request("left", "undo")
    };
    assert_eq!(code(slow).await, "A0400");
    assert!(left.calls().is_empty());
    let audit = rig
        .clients
        .operators()
        .list_audit(ListAuditRequest::default())
        .await
        .expect("a list");
    assert!(audit.into_inner().entries.is_empty());
}

async fn at_a_broker() -> Rig {
    Rig::start_at_a_broker(rabbitmq::vhost().await).await
}

#[tokio::test]
async fn a_participant_without_the_sdk_passes() {
    let rig = at_a_broker().await;
    let left = Plain::serve(&rig, "left", Habit::Good).await;
    passes(
        &verify(&rig, request("left", "undo"))
            .await
            .expect("verdicts"),
    );
    let undone = left
        .deeds()
        .iter()
        .filter(|deed| deed.starts_with('-'))
        .count();
    assert_eq!(undone * 2, left.deeds().len(), "{:?}", left.deeds());
}

#[tokio::test]
async fn a_participant_without_an_inbox_is_found_out() {
    let rig = at_a_broker().await;
    let left = Plain::serve(&rig, "left", Habit::Forgetful).await;
    let request = VerifyParticipantRequest {
        wait_ms: 1_000,
        ..request("left", "undo")
    };
    let verdicts = verify(&rig, request).await.expect("verdicts");
    let failed = with(&verdicts, "fail");
    for hazard in [
        "duplicate_action",
        "other_input",
        "late_action",
        "seal_before_action",
    ] {
        assert!(failed.contains(&hazard), "{hazard} is not among {failed:?}");
    }
    let twice = &verdicts[0];
    assert_eq!(twice.hazard, "duplicate_action");
    let exchange = &twice.exchanges[1];
    assert!(
        exchange.came.contains(r#""number":2"#) && !exchange.ok,
        "{exchange:?}"
    );
    assert!(!left.deeds().is_empty());
}

#[tokio::test]
async fn a_participant_that_says_nothing_fails() {
    let rig = at_a_broker().await;
    let left = Plain::serve(&rig, "left", Habit::Good).await;
    let input = json!({"text": "hold"}).to_string().into();
    let request = VerifyParticipantRequest {
        input,
        wait_ms: 200,
        ..request("left", "undo")
    };
    let verdicts = verify(&rig, request).await.expect("verdicts");
    let first = &verdicts[0];
    assert_eq!(
        (&*first.hazard, &*first.verdict),
        ("duplicate_action", "fail")
    );
    assert!(
        first.note.contains("nothing within 200ms") && first.note.contains("log"),
        "{}",
        first.note
    );
    assert!(left.deeds().is_empty());
}

#[tokio::test]
async fn a_participant_without_tombstones_is_found_out() {
    let rig = at_a_broker().await;
    let _left = Plain::serve(&rig, "left", Habit::WithoutTombstones).await;
    let verdicts = verify(&rig, request("left", "undo"))
        .await
        .expect("verdicts");
    assert_eq!(
        with(&verdicts, "fail"),
        ["seal_before_action", "undo_before_action"]
    );
    let late = verdicts
        .iter()
        .find(|verdict| verdict.hazard == "undo_before_action")
        .expect("tried");
    let exchange = &late.exchanges[1];
    assert!(
        exchange.came.starts_with("succeeded") && exchange.expected == "blocked",
        "{exchange:?}"
    );
}
