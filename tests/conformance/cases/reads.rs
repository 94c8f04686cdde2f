//! Lists, pages, searches and counts.

use saga_core::{Partition, SagaId, Status, Timestamp};
use saga_engine::store::{Store, record::ListFilter};

use super::{TOKEN, batch, begin, change, id, journal, start};

fn ids(range: impl IntoIterator<Item = u64>) -> Vec<SagaId> {
    range.into_iter().map(id).collect()
}

pub async fn open_sagas_come_in_pages_by_id(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 1..11).await;
    let mut batch = batch(&claim, 2);
    batch.changes = vec![
        change(3, Status::Completed),
        change(5, Status::Compensating),
        change(7, Status::Compensated),
        change(10, Status::Abandoned),
    ];
    store.commit(batch).await.expect("commit");
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.open_sagas(after, 3).await.expect("read");
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.iter().map(|row| row.id));
    }
    assert_eq!(seen, ids([1, 2, 4, 5, 6, 8, 9]));
    assert_eq!(store.open_sagas(None, 0).await.expect("read"), []);
}

pub async fn journals_come_in_the_order_asked_for(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 1..4).await;
    let mut more = batch(&claim, 2);
    more.journal = vec![journal(2, 2), journal(2, 3), journal(3, 2)];
    store.commit(more).await.expect("commit");
    let rows = store.journals(ids([3, 99, 1, 2, 1])).await.expect("read");
    let expected = [
        vec![journal(3, 1), journal(3, 2)],
        vec![],
        vec![journal(1, 1)],
        vec![journal(2, 1), journal(2, 2), journal(2, 3)],
        vec![journal(1, 1)],
    ];
    assert_eq!(rows, expected);
    let page = store.journal(id(2), 1, 1).await.expect("read");
    assert_eq!(page, [journal(2, 2)]);
    assert_eq!(
        store.journals(Vec::new()).await.expect("read"),
        Vec::<Vec<_>>::new()
    );
}

pub async fn lists_page_without_gaps_or_repeats(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    begin(&store, &claim, 0..9).await;
    for limit in [1, 2, 3, 4, 8, 9, 10, usize::MAX] {
        let mut seen = Vec::new();
        let mut before = None;
        let mut pages = 0;
        loop {
            let page = store
                .list(ListFilter::default(), before, limit)
                .await
                .expect("list");
            assert!(page.rows.len() <= limit);
            seen.extend(page.rows.iter().map(|row| row.id));
            pages += 1;
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, ids((0..9).rev()), "limit {limit}");
        assert_eq!(
            pages,
            9_usize.div_ceil(limit),
            "no empty page at the end, limit {limit}"
        );
    }
}

pub async fn lists_filter(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut first = batch(&claim, 1);
    first.starts = (0..6).map(start).collect();
    first.starts[1].row.name = "fulfil".to_owned();
    for n in [2, 3] {
        first.starts[n]
            .row
            .labels
            .insert("region".to_owned(), "north".to_owned());
    }
    first.starts[3]
        .row
        .labels
        .insert("tier".to_owned(), "1".to_owned());
    first.starts[4]
        .row
        .labels
        .insert("north".to_owned(), "region".to_owned());
    first.starts[4].row.face.incident = true;
    store.commit(first).await.expect("commit");
    let mut second = batch(&claim, 2);
    second.changes = vec![
        change(0, Status::Completed),
        change(2, Status::Compensating),
    ];
    store.commit(second).await.expect("commit");

    let all = ListFilter::default;
    let labels = |pairs: &[(&str, &str)]| ListFilter {
        labels: pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        ..all()
    };
    let statuses = |statuses: &[Status]| ListFilter {
        statuses: statuses.to_vec(),
        ..all()
    };
    let expected: [(ListFilter, &[u64]); 14] = [
        (all(), &[5, 4, 3, 2, 1, 0]),
        (statuses(&[Status::Completed]), &[0]),
        (statuses(&[Status::Compensating]), &[2]),
        (
            statuses(&[Status::Running, Status::Compensating]),
            &[5, 4, 3, 2, 1],
        ),
        (
            statuses(&[Status::Compensating, Status::Completed]),
            &[2, 0],
        ),
        (statuses(&[Status::Abandoned]), &[]),
        (
            ListFilter {
                name: Some("fulfil".to_owned()),
                ..all()
            },
            &[1],
        ),
        (
            ListFilter {
                name: Some("ful".to_owned()),
                ..all()
            },
            &[],
        ),
        (labels(&[("region", "north")]), &[3, 2]),
        (labels(&[("region", "north"), ("tier", "1")]), &[3]),
        (labels(&[("region", "1")]), &[]),
        (
            ListFilter {
                incident_only: true,
                ..all()
            },
            &[4],
        ),
        (
            ListFilter {
                incident_only: true,
                ..statuses(&[Status::Completed])
            },
            &[],
        ),
        (
            ListFilter {
                started_after: Some(Timestamp(2)),
                started_before: Some(Timestamp(4)),
                ..all()
            },
            &[3, 2],
        ),
    ];
    for (filter, wanted) in expected {
        let page = store.list(filter.clone(), None, 10).await.expect("list");
        let seen: Vec<SagaId> = page.rows.iter().map(|row| row.id).collect();
        assert_eq!(seen, ids(wanted.iter().copied()), "{filter:?}");
        assert_eq!(page.next, None);
    }
}

pub async fn suffixes_find_open_sagas_first(store: impl Store) {
    let claim = store.claim(TOKEN).await.expect("claim");
    // The same random bits at four times: the same last letters.
    let twin = |ms| SagaId::new(ms, Partition(1), 0xABCDE);
    let mut first = batch(&claim, 1);
    for ms in [1, 2, 3, 4] {
        let mut start = start(ms);
        start.row.id = twin(ms);
        first.starts.push(start);
    }
    first.starts.push(start(9));
    store.commit(first).await.expect("commit");
    let mut second = batch(&claim, 2);
    second.changes = vec![change(1, Status::Completed), change(4, Status::Compensated)];
    (second.changes[0].id, second.changes[1].id) = (twin(1), twin(4));
    store.commit(second).await.expect("commit");

    let find = |text: String, limit| store.find_by_suffix(text, limit);
    let short = twin(1).short();
    let found = find(short.clone(), 10).await.expect("find");
    assert_eq!(found, [twin(3), twin(2), twin(4), twin(1)]);
    assert_eq!(
        find(short.to_lowercase(), 3).await.expect("find"),
        [twin(3), twin(2), twin(4)]
    );
    assert_eq!(
        find(twin(4).to_string(), 10).await.expect("find"),
        [twin(4)]
    );
    assert_eq!(find(short, 0).await.expect("find"), []);
    for nothing in [
        "",
        "U",
        "not an id",
        "ZZZZZZZZ",
        "00000000000000000000000000",
    ] {
        assert_eq!(
            find(nothing.to_owned(), 10).await.expect("find"),
            [],
            "{nothing:?}"
        );
    }
}

/// More sagas than an engine sorts at once: what was started first, last and in between is found alike.
pub async fn a_suffix_finds_the_oldest_of_many_sagas(store: impl Store) {
    const SAGAS: u64 = 9_000;
    // Spread as chance would.
    let spread = |n: u64| SagaId::new(n, Partition(1), n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let claim = store.claim(TOKEN).await.expect("claim");
    for (commit_no, first) in (1..).zip((0..SAGAS).step_by(1_000)) {
        let mut batch = batch(&claim, commit_no);
        for n in first..first + 1_000 {
            let mut start = start(n);
            start.row.id = spread(n);
            if n % 2 == 0 {
                start.row.face.status = Status::Completed;
                start.row.face.ended_at = Some(Timestamp(7));
            }
            batch.starts.push(start);
        }
        store.commit(batch).await.expect("commit");
    }
    for n in [0, 1, 4_095, 4_096, 4_999, 5_000, 8_191, 8_192, SAGAS - 1] {
        let id = spread(n);
        for letters in [8, 9, 12, 13, 20, 25] {
            let text = id.to_string().split_off(26 - letters);
            let found = store.find_by_suffix(text.clone(), 10).await;
            assert_eq!(found.expect("find"), [id], "saga {n} by {text}");
        }
        // Few letters fit others, too; of those the open ones come first.
        let text = id.to_string().split_off(24);
        let found = store.find_by_suffix(text, 1_000).await.expect("find");
        assert!(found.contains(&id) && found.len() > 1, "saga {n}");
        let fits = |id: &SagaId| id.as_u128() & 0x3FF == spread(n).as_u128() & 0x3FF;
        assert!(found.iter().all(fits), "saga {n}");
    }
}

pub async fn counts_follow_every_change(store: impl Store) {
    use Status::{Abandoned, Compensated, Compensating, Completed, Running};
    let zero = Status::ALL.map(|status| (status, 0));
    assert_eq!(store.counts().await.expect("counts"), zero);
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut first = batch(&claim, 1);
    first.starts = (0..6).map(start).collect();
    first.starts[1].row.version = 2;
    first.starts[2].row.name = "a".to_owned();
    store.commit(first).await.expect("commit");
    let open = store.open_per_definition().await.expect("open");
    assert_eq!(
        open,
        [
            ("a".to_owned(), 1, 1),
            ("book".to_owned(), 1, 4),
            ("book".to_owned(), 2, 1)
        ]
    );

    let mut second = batch(&claim, 2);
    second.changes = vec![
        change(0, Completed),
        change(1, Abandoned),
        change(3, Compensating),
        change(4, Running),
    ];
    store.commit(second).await.expect("commit");
    let mut third = batch(&claim, 3);
    third.changes = vec![change(3, Compensated)];
    store.commit(third).await.expect("commit");
    let counts = store.counts().await.expect("counts");
    assert_eq!(
        counts,
        [
            (Running, 3),
            (Compensating, 0),
            (Completed, 1),
            (Compensated, 1),
            (Abandoned, 1)
        ]
    );
    let open = store.open_per_definition().await.expect("open");
    assert_eq!(open, [("a".to_owned(), 1, 1), ("book".to_owned(), 1, 2)]);
}
