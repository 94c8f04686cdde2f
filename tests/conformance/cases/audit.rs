//! What operators did: written with the decision that it led to, and read back newest first.

use saga_core::Timestamp;
use saga_engine::store::{CommitError, Store, record::AuditRow};

use super::{TOKEN, batch, begin, id, journal};

fn act(n: u64, seq: u64, verb: &str) -> AuditRow {
    AuditRow {
        saga_id: id(n),
        seq,
        at: Timestamp(9),
        verb: verb.to_owned(),
        step: (seq == 2).then(|| "charge".to_owned()),
        who: "ann (127.0.0.1)".to_owned(),
        reason: "she called".to_owned(),
        forced: seq == 3,
    }
}

pub async fn what_operators_did_is_kept_with_the_decision_or_not_at_all(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 1..3).await;
    let mut good = batch(&claim, 2);
    good.journal = vec![journal(1, 2)];
    good.audit = vec![act(1, 2, "retry")];
    store.commit(good).await.expect("commit");
    let mut gap = batch(&claim, 3);
    gap.journal = vec![journal(1, 9)];
    gap.audit = vec![act(1, 9, "skip")];
    assert!(matches!(store.commit(gap).await, Err(CommitError::Data(_))));
    let mut bare = batch(&claim, 4);
    bare.fence
        .retain(|fence| fence.partition != id(2).partition());
    bare.audit = vec![act(2, 2, "skip")];
    assert!(
        matches!(store.commit(bare).await, Err(CommitError::Data(_))),
        "outside of the fence"
    );
    let all: Vec<AuditRow> = store
        .audit(None, None, 10)
        .await
        .expect("read")
        .into_iter()
        .map(|entry| entry.row)
        .collect();
    assert_eq!(all, [act(1, 2, "retry")]);
}

pub async fn the_audit_list_pages_from_the_newest(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 1..3).await;
    for seq in 2..7 {
        let mut batch = batch(&claim, seq);
        batch.journal = vec![journal(1, seq), journal(2, seq)];
        batch.audit = vec![act(1, seq, "retry"), act(2, seq, "skip")];
        store.commit(batch).await.expect("commit");
    }
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = store.audit(None, before, 3).await.expect("read");
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        before = Some(last.position);
        seen.extend(
            page.into_iter()
                .map(|entry| (entry.row.saga_id, entry.row.seq)),
        );
    }
    let expected: Vec<_> = (2..7)
        .rev()
        .flat_map(|seq| [(id(2), seq), (id(1), seq)])
        .collect();
    assert_eq!(seen, expected);
    let one = store.audit(Some(id(1)), None, 100).await.expect("read");
    assert_eq!(
        one.iter().map(|entry| entry.row.seq).collect::<Vec<_>>(),
        [6, 5, 4, 3, 2]
    );
    assert_eq!(store.audit(Some(id(7)), None, 100).await.expect("read"), []);
}

pub async fn what_was_done_to_no_saga_stands_in_the_audit_list_too(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 1..2).await;
    let test = AuditRow {
        saga_id: saga_core::SagaId::for_test(7),
        step: None,
        ..act(1, 0, "verify")
    };
    store.put_audit(test.clone()).await.expect("put");
    let mut later = batch(&claim, 2);
    later.journal = vec![journal(1, 2)];
    later.audit = vec![act(1, 2, "retry")];
    store.commit(later).await.expect("commit");
    let rows = async |saga| -> Vec<AuditRow> {
        store
            .audit(saga, None, 10)
            .await
            .expect("read")
            .into_iter()
            .map(|entry| entry.row)
            .collect()
    };
    assert_eq!(rows(None).await, [act(1, 2, "retry"), test.clone()]);
    assert_eq!(rows(Some(test.saga_id)).await, [test]);
}
