//! Definitions: offered, refused, registered, followed by newer ones.

use saga_proto::v1::{DefinitionInfo, InboxKind, ListDefinitionsRequest, ListParticipantsRequest};
use saga_tests::{
    Gate, Rig, Script,
    client::{code, start, status},
};
use serde_json::json;

use crate::files::{SINGLE, WHOLE};

async fn definitions(rig: &Rig) -> Vec<DefinitionInfo> {
    let mut client = rig.clients.definitions.clone();
    client
        .list_definitions(ListDefinitionsRequest::default())
        .await
        .expect("a list")
        .into_inner()
        .definitions
}

#[tokio::test]
async fn all_faults_of_all_files_are_told_at_once_and_nothing_is_registered() {
    let rig = Rig::start().await;
    let _left = Script::plain(&rig, "left").serve(&rig).await;
    let faulty = "
saga: faulty
version: 0
steps:
  - {step: a, action: left/act}
  - {step: a, action: left/atc, compensation: left/undo}
  - {step: b, kind: retriable, action: nobody/act, when: input.x}
";
    let answer = rig
        .clients
        .offer(&[SINGLE, faulty, "saga: [\n"], false)
        .await;
    assert!(!answer.accepted && answer.deployed.is_empty());
    let mut codes: Vec<_> = answer
        .diagnostics
        .iter()
        .filter(|found| found.severity == "error")
        .map(|found| (found.path.as_str(), found.code.as_str()))
        .collect();
    codes.sort_unstable();
    codes.dedup();
    assert!(
        codes
            .iter()
            .filter(|(path, _)| *path == "1.saga.yaml")
            .count()
            >= 4,
        "{codes:?}"
    );
    assert!(
        codes.contains(&("1.saga.yaml", "S0401")) && codes.contains(&("2.saga.yaml", "S0003")),
        "{codes:?}"
    );
    assert!(
        answer
            .diagnostics
            .iter()
            .all(|found| !found.rendered.is_empty() && found.path != "0.saga.yaml")
    );
    assert_eq!(definitions(&rig).await, []);
    let refusal = rig
        .clients
        .try_start(start("single", json!({"n": 0})))
        .await
        .expect_err("not there");
    assert_eq!(code(&refusal), "A0405");

    let dry = rig.clients.offer(&[SINGLE], true).await;
    assert!(dry.accepted && dry.deployed[0].created);
    assert_eq!(definitions(&rig).await, []);
}

#[tokio::test]
async fn a_version_never_changes_and_a_new_one_is_for_new_sagas() {
    let mut rig = Rig::start().await;
    let gate = Gate::new();
    let left = Script::plain(&rig, "left").hang_until("act", &gate);
    let right = Script::plain(&rig, "right");
    let (_left, _right) = (left.serve(&rig).await, right.serve(&rig).await);
    let first = rig.clients.offer(&[SINGLE], false).await;
    assert!(first.accepted && first.deployed[0].created);
    let again = rig.clients.offer(&[SINGLE], false).await;
    assert!(again.accepted && !again.deployed[0].created);
    assert_eq!(first.deployed[0].hash, again.deployed[0].hash);
    let old = rig.clients.begin("single", json!({"n": 0})).await;

    let changed = SINGLE.replace("left/", "right/");
    let refused = rig.clients.offer(&[&changed, WHOLE], false).await;
    assert!(!refused.accepted && refused.deployed.is_empty());
    assert!(
        refused
            .diagnostics
            .iter()
            .any(|d| d.message.contains("registered with other content"))
    );
    assert_eq!(
        definitions(&rig).await.len(),
        1,
        "its neighbour was not registered either"
    );

    rig.clients
        .deploy(&changed.replace("version: 1", "version: 2"))
        .await;
    let new = rig.clients.begin("single", json!({"n": 0})).await;
    let seen = rig.clients.ended(&new).await;
    assert_eq!(
        (
            status(&seen),
            seen.summary.as_ref().expect("a summary").version
        ),
        ("completed", 2)
    );
    let pinned = saga_proto::v1::StartSagaRequest {
        version: 1,
        ..start("single", json!({"n": 0}))
    };
    let pinned = saga_tests::id_of(
        &rig.clients
            .try_start(pinned)
            .await
            .expect("a start")
            .saga_id,
    );
    let open = |rows: Vec<DefinitionInfo>| {
        rows.into_iter()
            .map(|row| (row.name, row.version, row.open_sagas, row.steps))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        open(definitions(&rig).await),
        [
            ("single".to_owned(), 1, 2, 1),
            ("single".to_owned(), 2, 0, 1)
        ]
    );

    rig.restart().await;
    gate.open();
    for id in [&old, &pinned] {
        let seen = rig.clients.ended(id).await;
        assert_eq!(
            (
                status(&seen),
                seen.summary.as_ref().expect("a summary").version
            ),
            ("completed", 1)
        );
    }
    assert_eq!((left.ledger().len(), right.ledger().len()), (2, 1));
    assert!(
        definitions(&rig)
            .await
            .iter()
            .all(|row| row.open_sagas == 0)
    );
}

#[tokio::test]
async fn participants_are_listed_with_what_they_serve_and_who_is_there() {
    let rig = Rig::start().await;
    let left = Script::plain(&rig, "left");
    let (first, _second) = (left.serve(&rig).await, left.serve(&rig).await);
    let right = Script::plain(&rig, "right");
    right
        .serve_from_memory(&rig)
        .await
        .stop()
        .await
        .expect("an end in order");
    first.stop().await.expect("an end in order");
    let mut directory = rig.clients.directory.clone();
    saga_tests::eventually("both to be seen to go", || async {
        let count = |n| saga_tests::script::connected(&rig, n);
        (count("left").await.len() == 1 && count("right").await.is_empty()).then_some(())
    })
    .await;
    let list = directory
        .list_participants(ListParticipantsRequest::default())
        .await
        .expect("a list")
        .into_inner();
    let [left, right] = list.participants.as_slice() else {
        panic!("{list:?}")
    };
    assert_eq!(
        (left.name.as_str(), left.inbox_kind()),
        ("left", InboxKind::Transactional)
    );
    assert_eq!(
        (right.name.as_str(), right.inbox_kind()),
        ("right", InboxKind::None)
    );
    assert_eq!(left.actions, ["act", "undo"]);
    assert!(left.instances[0].sdk.starts_with("rust/") && !left.instances[0].peer.is_empty());
    assert!(left.last_seen_us > 0 && left.outstanding == 0 && left.waiting == 0);
}
