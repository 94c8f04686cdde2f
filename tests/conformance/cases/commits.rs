//! Claims and commits.

use saga_core::{Partition, SagaId, Status, Timestamp};
use saga_engine::store::{
    CommitError, Store,
    record::{Batch, Fence, ListFilter},
};

use super::{TOKEN, batch, begin, change, everything, id, journal, start, start_with_key};

pub async fn claim_raises_epochs_and_sets_the_token(store: impl Store) {
    let first = store.claim(TOKEN).await.expect("claim");
    let second = store.claim(TOKEN + 1).await.expect("claim");
    assert_eq!(first.fences.len(), 32);
    for (number, (one, two)) in (0..).zip(first.fences.iter().zip(&second.fences)) {
        assert_eq!(
            (one.partition, two.partition),
            (Partition(number), Partition(number))
        );
        assert_eq!((one.token, two.token), (TOKEN, TOKEN + 1));
        assert!(two.epoch > one.epoch);
    }
}

pub async fn claim_knows_the_last_commit(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    assert_eq!(
        (claim.last_commit_no, claim.last_commit_at),
        (0, Timestamp(0))
    );
    let mut batch = batch(&claim, 7);
    batch.starts = vec![start(1), start(2)];
    batch.journal = vec![journal(2, 1), journal(1, 1)];
    store.commit(batch).await.expect("commit");
    let mut refused = super::batch(&claim, 8);
    refused.journal = vec![journal(9, 5)];
    store.commit(refused).await.expect_err("a gap");
    let claim = store.claim(TOKEN).await.expect("claim");
    assert_eq!(
        (claim.last_commit_no, claim.last_commit_at),
        (7, journal(2, 1).at)
    );
}

pub async fn a_batch_is_read_back_whole(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut first = start_with_key(1, "order-7");
    first.row.labels = [("region", "north"), ("tier", "1")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    let mut batch = batch(&claim, 1);
    batch.starts = vec![first.clone(), start(2)];
    batch.journal = vec![journal(1, 1), journal(2, 1), journal(1, 2)];
    store.commit(batch).await.expect("commit");
    assert_eq!(
        store.saga(id(1)).await.expect("read"),
        Some(first.row.clone())
    );
    assert_eq!(store.saga(id(3)).await.expect("read"), None);
    let rows = store.journal(id(1), 0, 10).await.expect("read");
    assert_eq!(rows, [journal(1, 1), journal(1, 2)]);

    let mut later = super::batch(&claim, 2);
    later.changes = vec![change(1, Status::Compensated)];
    later.changes[0].face.incident = true;
    let face = later.changes[0].face;
    store.commit(later).await.expect("commit");
    first.row.face = face;
    assert_eq!(store.saga(id(1)).await.expect("read"), Some(first.row));
}

/// What nothing settles but an operator stays on the list of incidents when its saga has ended.
pub async fn an_incident_may_outlive_its_saga(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 1..3).await;
    let mut end = batch(&claim, 2);
    end.changes = vec![change(1, Status::Completed), change(2, Status::Completed)];
    end.changes[0].face.incident = true;
    end.changes[0].face.exceptions = true;
    end.journal = vec![journal(1, 2), journal(2, 2)];
    store.commit(end.clone()).await.expect("commit");
    let incidents = || ListFilter {
        incident_only: true,
        ..ListFilter::default()
    };
    let listed = store.list(incidents(), None, 10).await.expect("list");
    assert_eq!(listed.rows.len(), 1);
    assert_eq!(
        (listed.rows[0].id, listed.rows[0].face),
        (id(1), end.changes[0].face)
    );
    assert_eq!(store.open_sagas(None, 10).await.expect("read"), []);
    let counts = store.counts().await.expect("counts");

    let mut noted = batch(&claim, 3);
    noted.changes = vec![end.changes[0]];
    noted.changes[0].face.incident = false;
    noted.journal = vec![journal(1, 3)];
    let face = noted.changes[0].face;
    store.commit(noted).await.expect("commit");
    assert_eq!(
        store.list(incidents(), None, 10).await.expect("list").rows,
        []
    );
    let row = store.saga(id(1)).await.expect("read").expect("there");
    assert_eq!(row.face, face);
    assert_eq!(store.open_sagas(None, 10).await.expect("read"), []);
    assert_eq!(store.counts().await.expect("counts"), counts);
}

pub async fn stale_fences_are_named_and_nothing_is_written(store: impl Store) {
    let old = store.claim(TOKEN).await.expect("claim");
    let claim = store.claim(TOKEN + 1).await.expect("claim");
    let before = everything(&store).await;
    let good = claim.fences[1];
    let old_epoch = old.fences[2];
    let other_token = Fence {
        token: TOKEN,
        ..claim.fences[3]
    };
    let future_epoch = Fence {
        epoch: claim.fences[4].epoch + 1,
        ..claim.fences[4]
    };
    let no_partition = Fence {
        partition: Partition(4_000),
        ..good
    };
    let lost = [old_epoch, other_token, future_epoch, no_partition];
    let mut fence = vec![good];
    fence.extend(lost);
    let stale = Batch {
        commit_no: 1,
        fence,
        starts: vec![start(1)],
        journal: vec![journal(1, 1)],
        ..Batch::default()
    };
    match store.commit(stale).await {
        Err(CommitError::Fenced(mut partitions)) => {
            partitions.sort();
            assert_eq!(partitions, lost.map(|fence| fence.partition));
        }
        other => panic!("expected fenced, got {other:?}"),
    }
    assert_eq!(everything(&store).await, before);
    begin(&store, &claim, 1..2).await;
}

pub async fn rows_outside_of_the_fence_are_refused(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 1..3).await;
    let before = everything(&store).await;
    let only_first = || Batch {
        commit_no: 2,
        fence: vec![claim.fences[1]],
        ..Batch::default()
    };
    for outside in [
        Batch {
            journal: vec![journal(1, 2), journal(2, 2)],
            ..only_first()
        },
        Batch {
            starts: vec![start(5)],
            ..only_first()
        },
        Batch {
            changes: vec![change(2, Status::Completed)],
            ..only_first()
        },
    ] {
        let answer = store.commit(outside).await;
        assert!(matches!(answer, Err(CommitError::Data(_))), "{answer:?}");
    }
    assert_eq!(everything(&store).await, before);
}

pub async fn all_conflicts_of_a_batch_are_listed(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut first = batch(&claim, 1);
    first.starts = vec![start_with_key(1, "a"), start_with_key(2, "b"), start(3)];
    store.commit(first).await.expect("commit");
    let mut ended = batch(&claim, 2);
    ended.changes = vec![change(2, Status::Abandoned)];
    store.commit(ended).await.expect("commit");
    let before = everything(&store).await;

    let mut again = batch(&claim, 3);
    let mut newer = start_with_key(12, "b");
    newer.row.version = 9;
    again.starts = vec![
        start_with_key(10, "new"),
        start_with_key(11, "a"),
        start(3),
        newer,
        start(14),
    ];
    again.journal = (10..15).map(|n| journal(n, 1)).collect();
    let Err(CommitError::StartsExist(conflicts)) = store.commit(again).await else {
        panic!("expected conflicts");
    };
    let seen: Vec<_> = conflicts
        .iter()
        .map(|c| {
            (
                c.index,
                c.existing,
                c.input_hash,
                c.definition.clone(),
                c.status,
            )
        })
        .collect();
    let book = ("book".to_owned(), 1);
    assert_eq!(
        seen,
        [
            (1, id(1), [1; 32], book.clone(), Status::Running),
            (2, id(3), [3; 32], book.clone(), Status::Running),
            (3, id(2), [2; 32], book, Status::Abandoned),
        ]
    );
    assert_eq!(everything(&store).await, before);
    let key = store
        .find_by_key("book".to_owned(), "new".to_owned())
        .await
        .expect("read");
    assert_eq!(key, None, "the key of a refused batch stays free");
}

pub async fn a_start_conflicts_with_one_of_the_same_batch(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut twice = batch(&claim, 1);
    twice.starts = vec![
        start_with_key(1, "a"),
        start_with_key(2, "a"),
        start(1),
        start(4),
    ];
    let Err(CommitError::StartsExist(conflicts)) = store.commit(twice).await else {
        panic!("expected conflicts");
    };
    let seen: Vec<_> = conflicts
        .iter()
        .map(|conflict| (conflict.index, conflict.existing))
        .collect();
    assert_eq!(seen, [(1, id(1)), (2, id(1))]);
    assert_eq!(store.saga(id(1)).await.expect("read"), None);

    begin(&store, &claim, 1..2).await;
    let mut refused_first = batch(&claim, 2);
    refused_first.starts = vec![start_with_key(1, "z"), start_with_key(5, "z")];
    let Err(CommitError::StartsExist(conflicts)) = store.commit(refused_first).await else {
        panic!("expected conflicts");
    };
    let seen: Vec<_> = conflicts
        .iter()
        .map(|conflict| (conflict.index, conflict.existing))
        .collect();
    assert_eq!(seen, [(0, id(1))], "a refused start claims no key");
}

pub async fn a_key_is_shared_by_versions_and_not_by_names(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut first = batch(&claim, 1);
    let mut other = start_with_key(2, "a");
    other.row.name = "fulfil".to_owned();
    first.starts = vec![start_with_key(1, "a"), other];
    store.commit(first).await.expect("two names");
    for (name, saga) in [
        ("book", Some(id(1))),
        ("fulfil", Some(id(2))),
        ("lab", None),
    ] {
        assert_eq!(
            store
                .find_by_key(name.to_owned(), "a".to_owned())
                .await
                .expect("read"),
            saga
        );
    }
    assert_eq!(
        store
            .find_by_key("book".to_owned(), "A".to_owned())
            .await
            .expect("read"),
        None
    );
    let mut version = start_with_key(3, "a");
    version.row.version = 2;
    let mut second = batch(&claim, 2);
    second.starts = vec![version];
    let answer = store.commit(second).await;
    assert!(
        matches!(answer, Err(CommitError::StartsExist(_))),
        "{answer:?}"
    );
}

pub async fn journal_gaps_and_repeats_are_named(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 1..3).await;
    let before = everything(&store).await;
    for (rows, culprit) in [
        (vec![journal(1, 2), journal(2, 3)], 3),
        (vec![journal(1, 2), journal(2, 1)], 1),
        (vec![journal(2, 2), journal(2, 2)], 2),
        (vec![journal(2, 2), journal(2, 4)], 4),
        (vec![journal(2, 0)], 0),
    ] {
        let mut wrong = batch(&claim, 2);
        wrong.journal = rows;
        match store.commit(wrong).await {
            Err(CommitError::Data(text)) => {
                let named =
                    text.contains(&id(2).to_string()) && text.contains(&format!("seq {culprit}"));
                assert!(named, "{text}");
            }
            other => panic!("expected a data error, got {other:?}"),
        }
    }
    assert_eq!(everything(&store).await, before);
}

pub async fn journal_rows_may_come_in_any_order(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 1..3).await;
    let mut mixed = batch(&claim, 2);
    mixed.journal = vec![journal(2, 3), journal(1, 2), journal(2, 2)];
    store.commit(mixed).await.expect("commit");
    let rows = store.journal(id(2), 1, 10).await.expect("read");
    assert_eq!(rows, [journal(2, 2), journal(2, 3)]);
}

pub async fn a_change_of_an_unknown_saga_is_refused(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut wrong = batch(&claim, 1);
    wrong.changes = vec![change(1, Status::Completed)];
    let answer = store.commit(wrong).await;
    assert!(
        matches!(&answer, Err(CommitError::Data(text)) if text.contains(&id(1).to_string())),
        "{answer:?}"
    );
}

pub async fn odd_text_survives_or_is_refused(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    let texts = [
        "a\0b",
        "\0",
        "",
        "'; DROP TABLE saga; --",
        "\u{FFFF}\u{1F600}",
        "a\u{301}",
        "\"\\{}",
        "1",
        "null",
    ];
    for (n, text) in (1..).zip(texts) {
        let mut odd = start_with_key(n, text);
        odd.row.name = text.to_owned();
        odd.row.labels.insert(text.to_owned(), text.to_owned());
        odd.row.labels.insert("x".to_owned(), text.to_owned());
        let mut batch = batch(&claim, n);
        batch.starts = vec![odd.clone()];
        match store.commit(batch).await {
            Ok(()) => {
                assert_eq!(
                    store.saga(id(n)).await.expect("read").as_ref(),
                    Some(&odd.row)
                );
                let by_key = store
                    .find_by_key(text.to_owned(), text.to_owned())
                    .await
                    .expect("read");
                assert_eq!(by_key, Some(id(n)));
                for labels in [
                    [(text.to_owned(), text.to_owned())],
                    [("x".to_owned(), text.to_owned())],
                ] {
                    let filter = ListFilter {
                        name: Some(text.to_owned()),
                        labels: labels.into(),
                        ..Default::default()
                    };
                    let page = store.list(filter, None, 10).await.expect("list");
                    assert_eq!(page.rows, [odd.row.clone()], "{text:?}");
                }
            }
            Err(CommitError::Data(_)) => {
                assert!(text.contains('\0'), "only NUL may be refused, not {text:?}");
                assert_eq!(store.saga(id(n)).await.expect("read"), None);
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

pub async fn large_bodies_survive(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut large = batch(&claim, 1);
    large.starts = vec![start(1)];
    large.journal = vec![journal(1, 1), journal(1, 2)];
    large.journal[0].body = (0..=255).cycle().take(3 << 20).collect();
    large.journal[1].body = Vec::new();
    let rows = large.journal.clone();
    store.commit(large).await.expect("commit");
    assert!(
        store.journal(id(1), 0, 10).await.expect("read") == rows,
        "the bodies differ"
    );
}

pub async fn numbers_at_the_edge_survive_or_are_refused(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut edge = start(1);
    edge.row.version = u32::MAX;
    edge.row.started_at = Timestamp(i64::MIN);
    let mut good = batch(&claim, 1);
    good.starts = vec![edge.clone()];
    good.journal = vec![journal(1, 1)];
    store.commit(good).await.expect("commit");
    assert_eq!(store.saga(id(1)).await.expect("read"), Some(edge.row));
    let rows = store
        .journal(id(1), u64::MAX, usize::MAX)
        .await
        .expect("read");
    assert_eq!(rows, []);
    let mut far = batch(&claim, 2);
    far.journal = vec![journal(1, 2)];
    far.journal[0].seq = u64::MAX;
    let answer = store.commit(far).await;
    assert!(matches!(answer, Err(CommitError::Data(_))), "{answer:?}");
}

pub async fn writes_are_done_in_the_order_of_the_calls(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 1..2).await;
    let commits: Vec<_> = (2..=20)
        .map(|seq| {
            let mut batch = batch(&claim, seq);
            batch.journal = vec![journal(1, seq)];
            store.commit(batch)
        })
        .collect();
    // Awaited backwards: the calls count, not who is asked first.
    for commit in commits.into_iter().rev() {
        commit.await.expect("commit");
    }
    assert_eq!(store.journal(id(1), 0, 100).await.expect("read").len(), 20);
}

pub async fn reads_see_answered_commits_from_any_task(store: impl Store) {
    let store = std::sync::Arc::new(store);
    let claim = store.claim(TOKEN).await.expect("claim");
    for n in 1..=50 {
        begin(&*store, &claim, n..n + 1).await;
        let reads: Vec<_> = (0..8)
            .map(|_| {
                let store = std::sync::Arc::clone(&store);
                tokio::spawn(async move { store.saga(id(n)).await.map(|row| row.is_some()) })
            })
            .collect();
        for read in reads {
            assert!(
                read.await.expect("task").expect("read"),
                "saga {n} is not seen"
            );
        }
    }
    let all = store
        .open_sagas(Some(SagaId::from_u128(0)), 100)
        .await
        .expect("read");
    assert_eq!(all.len(), 50);
}
