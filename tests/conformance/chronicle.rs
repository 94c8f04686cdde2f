//! The journal in the order of its commits: the same from every engine.

use std::collections::BTreeSet;

use saga_core::{SagaId, Timestamp};
use saga_engine::store::{
    Store,
    chronicle::Chronicle,
    record::{Batch, JournalRow},
};
use saga_store_postgres::PostgresStore;
use saga_store_sqlite::SqliteStore;

use crate::cases::{TOKEN, batch, id, start};

fn row(n: u64, seq: u64) -> JournalRow {
    JournalRow {
        saga_id: id(n),
        seq,
        at: Timestamp(1),
        body: format!("{n}/{seq}").into_bytes(),
    }
}

/// Commits numbered with holes, as after failed ones, of so many rows each.
async fn fill(store: &impl Store, numbers: &[u64], rows: u64) -> Vec<(u64, SagaId)> {
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut all = Vec::new();
    for &number in numbers {
        let sagas = number * 100_000..number * 100_000 + rows;
        let filled = Batch {
            starts: sagas.clone().map(start).collect(),
            journal: sagas.clone().map(|n| row(n, 1)).collect(),
            ..batch(&claim, number)
        };
        store.commit(filled).await.expect("commit");
        all.extend(sagas.map(|n| (number, id(n))));
    }
    all
}

/// Reads page by page as an announcer does.
async fn read(store: &impl Chronicle, mut after: u64) -> Vec<(u64, SagaId)> {
    let mut all: Vec<(u64, SagaId)> = Vec::new();
    loop {
        let page = store.commits_after(after).await.expect("read");
        let Some(last) = page.last() else { return all };
        after = last.commit_no;
        all.extend(page.iter().map(|row| (row.commit_no, row.row.saga_id)));
    }
}

async fn commits_come_whole_in_their_order_and_once(store: impl Store + Chronicle) {
    assert_eq!(read(&store, 0).await, []);
    let mut filled = fill(
        &store,
        &[1, 2, 5, 6, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51],
        700,
    )
    .await;
    let mut all = read(&store, 0).await;
    assert!(
        all.windows(2).all(|pair| pair[0].0 <= pair[1].0),
        "not in the order of commits"
    );
    filled.sort_unstable();
    all.sort_unstable();
    assert!(all == filled, "{} rows of {}", all.len(), filled.len());
    for after in [0, 1, 3, 5, 39, 40, 50, 51, 99] {
        let numbers: BTreeSet<u64> = read(&store, after).await.iter().map(|row| row.0).collect();
        let expected: BTreeSet<u64> = filled
            .iter()
            .map(|row| row.0)
            .filter(|n| *n > after)
            .collect();
        assert_eq!(numbers, expected, "after {after}");
    }
    let ids = vec![id(100_001), id(7), id(200_002)];
    let found: BTreeSet<SagaId> = store
        .sagas(ids)
        .await
        .expect("read")
        .into_iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(found, BTreeSet::from([id(100_001), id(200_002)]));
}

async fn what_was_told_begins_where_the_journal_ends_and_never_goes_back(
    store: impl Store + Chronicle,
) {
    fill(&store, &[3], 1).await;
    assert_eq!(store.told_through().await.expect("read"), 3);
    fill(&store, &[4, 5, 6], 1).await;
    assert_eq!(
        store.told_through().await.expect("read"),
        3,
        "noted at the first call"
    );
    for (noted, expected) in [(5, 5), (4, 5), (6, 6)] {
        store.set_told_through(noted).await.expect("written");
        assert_eq!(store.told_through().await.expect("read"), expected);
    }
}

async fn sqlite() -> (SqliteStore, tempfile::TempDir) {
    crate::new_sqlite().await
}

async fn postgres() -> (PostgresStore, ()) {
    crate::new_postgres().await
}

macro_rules! suite {
    ($engine:ident: $($case:ident,)+) => {
        mod $engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let (store, _keep) = super::$engine().await;
                    super::$case(store).await;
                }
            )+
        }
    };
}

suite!(sqlite:
    commits_come_whole_in_their_order_and_once,
    what_was_told_begins_where_the_journal_ends_and_never_goes_back,
);
suite!(postgres:
    commits_come_whole_in_their_order_and_once,
    what_was_told_begins_where_the_journal_ends_and_never_goes_back,
);
