//! Definitions, participants, and the end.

use saga_core::{SagaId, Timestamp};
use saga_engine::store::{
    CommitError, Error, Store,
    record::{AuditRow, BreakerFace, BreakerRow, DefinitionRow, ParticipantRow},
};

use super::{TOKEN, batch, id, start};

fn definition(name: &str, version: u32, hash: u8) -> DefinitionRow {
    DefinitionRow {
        name: name.to_owned(),
        version,
        hash: [hash; 32],
        canonical: format!("{{\"h\":{hash}}}"),
        deployed_at: Timestamp(5),
    }
}

fn participant(name: &str, last_seen: i64) -> ParticipantRow {
    ParticipantRow {
        name: name.to_owned(),
        inbox_id: format!("inbox-{last_seen}"),
        inbox_kind: "transactional".to_owned(),
        actions: "[{\"name\":\"charge\"}]".to_owned(),
        last_seen: Timestamp(last_seen),
    }
}

pub async fn definitions_go_in_all_or_none(store: impl Store) {
    let new = store
        .put_definitions(vec![
            definition("b", 1, 1),
            definition("a", 10, 2),
            definition("a", 9, 3),
        ])
        .await
        .expect("put");
    assert_eq!(new, [true; 3]);
    let mut repeated = definition("b", 1, 1);
    repeated.deployed_at = Timestamp(99);
    let new = store
        .put_definitions(vec![repeated, definition("b", 2, 1)])
        .await
        .expect("put");
    assert_eq!(new, [false, true]);
    let conflict = store
        .put_definitions(vec![definition("c", 1, 1), definition("a", 9, 4)])
        .await;
    match conflict {
        Err(Error::DefinitionConflict { name, version }) => {
            assert_eq!((name.as_str(), version), ("a", 9))
        }
        other => panic!("expected a conflict, got {other:?}"),
    }
    let twice = store
        .put_definitions(vec![definition("d", 1, 1), definition("d", 1, 2)])
        .await;
    assert!(
        matches!(twice, Err(Error::DefinitionConflict { .. })),
        "{twice:?}"
    );
    let all = store.definitions().await.expect("read");
    let expected = [
        definition("a", 9, 3),
        definition("a", 10, 2),
        definition("b", 1, 1),
        definition("b", 2, 1),
    ];
    assert_eq!(all, expected);
    assert_eq!(
        store.put_definitions(Vec::new()).await.expect("put"),
        Vec::<bool>::new()
    );
}

pub async fn participants_are_replaced_by_name(store: impl Store) {
    for row in [
        participant("payments", 1),
        participant("hotels", 2),
        participant("payments", 3),
    ] {
        store.put_participant(row).await.expect("put");
    }
    let all = store.participants().await.expect("read");
    assert_eq!(all, [participant("hotels", 2), participant("payments", 3)]);
}

fn breaker(action: &str, open: bool, generation: u64) -> BreakerRow {
    let face = BreakerFace {
        open,
        generation,
        open_until: open.then_some(Timestamp(7)),
        since: Timestamp(5),
        by: String::new(),
        reason: "half of the calls failed".to_owned(),
    };
    BreakerRow {
        participant: "payments".to_owned(),
        action: action.to_owned(),
        face,
    }
}

pub async fn breakers_are_kept_as_of_their_last_opening(store: impl Store) {
    let rows = [
        breaker("refund", true, 2),
        breaker("charge", true, 2),
        breaker("charge", false, 2),
        breaker("charge", true, 3),
        // A process that is behind.
        breaker("charge", false, 2),
    ];
    for row in rows {
        store.put_breaker(row, None).await.expect("put");
    }
    let all = store.breakers().await.expect("read");
    assert_eq!(
        all,
        [breaker("charge", true, 3), breaker("refund", true, 2)]
    );
    let act = AuditRow {
        saga_id: SagaId::NONE,
        seq: 0,
        at: Timestamp(9),
        verb: "breaker_trip".to_owned(),
        step: Some("payments/charge".to_owned()),
        who: "ann".to_owned(),
        reason: "the bank says so".to_owned(),
        forced: false,
    };
    store
        .put_breaker(breaker("charge", true, 4), Some(act.clone()))
        .await
        .expect("put");
    let listed: Vec<AuditRow> = store
        .audit(None, None, 10)
        .await
        .expect("read")
        .into_iter()
        .map(|entry| entry.row)
        .collect();
    assert_eq!(listed, [act]);
}

pub async fn a_closed_store_says_so(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut last = batch(&claim, 1);
    last.starts = vec![start(1)];
    let commit = store.commit(last);
    store.close().await.expect("close");
    commit
        .await
        .expect("what was called before the close is written");
    assert!(matches!(store.saga(id(1)).await, Err(Error::Closed)));
    assert!(matches!(store.claim(TOKEN).await, Err(Error::Closed)));
    assert!(matches!(
        store.put_participant(participant("p", 1)).await,
        Err(Error::Closed)
    ));
    assert!(matches!(
        store.put_breaker(breaker("a", true, 1), None).await,
        Err(Error::Closed)
    ));
    assert!(matches!(
        store.put_definitions(Vec::new()).await,
        Err(Error::Closed)
    ));
    assert!(matches!(store.close().await, Err(Error::Closed)));
    let answer = store.commit(batch(&claim, 2)).await;
    assert!(
        matches!(answer, Err(CommitError::Unavailable(_))),
        "{answer:?}"
    );
}
