//! What only PostgreSQL has: a server that dies, a connection that breaks after the commit, other processes.

use std::net::SocketAddr;

use saga_core::Timestamp;
use saga_engine::store::{
    Claim, CommitError, Error, Lanes, Reading, Store,
    record::{Batch, JournalRow},
};
use saga_store_postgres::PostgresStore;
use saga_tests::{
    eventually,
    postgres::{Postgres, database},
    proxy::Proxy,
    within,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::cases::{TOKEN, batch, id, start};

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(url, false).await.expect("open")
}

/// The first row of saga `n`.
fn first(claim: &Claim, n: u64) -> Batch {
    let mut batch = batch(claim, n);
    batch.starts = vec![start(n)];
    batch.journal = vec![JournalRow {
        saga_id: id(n),
        seq: 1,
        at: Timestamp(1),
        body: vec![1],
    }];
    batch
}

async fn sql(url: &str, statement: &str) {
    let mut conn = PgConnection::connect(url).await.expect("a connection");
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(&mut conn)
        .await
        .expect("done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_may_make_the_tables_at_once() {
    let url = database().await;
    let opened =
        futures_util::future::join_all((0..6).map(|_| PostgresStore::open(&url, false))).await;
    for store in opened {
        store.expect("open").close().await.expect("close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_stands_by_and_takes_over() {
    let url = database().await;
    let (one, two) = (open(&url).await, open(&url).await);
    let claim = one.claim(TOKEN).await.expect("claim");
    one.commit(first(&claim, 1)).await.expect("commit");
    let refused = two.claim(TOKEN + 1).await;
    assert!(matches!(refused, Err(Error::Owned)), "{refused:?}");
    // The first one still lives, only its lease has run out: as after a pause of the whole machine.
    let newer = eventually("the takeover", || async {
        sql(
            &url,
            "UPDATE lease SET lease_until = clock_timestamp() - interval '1 second'",
        )
        .await;
        two.claim(TOKEN + 1).await.ok()
    })
    .await;
    within("the end of the first tenure", claim.tenure.ended()).await;
    assert_eq!(claim.tenure.why(), "another process took the store over");
    assert!(newer.fences[0].epoch > claim.fences[0].epoch);
    assert_eq!(newer.last_commit_no, 1);
    let stale = one.commit(first(&claim, 2)).await;
    assert!(matches!(stale, Err(CommitError::Fenced(_))), "{stale:?}");
    two.commit(first(&newer, 3))
        .await
        .expect("the new owner writes");
    // Given up in order, the lease is free at once.
    two.close().await.expect("close");
    assert!(!newer.tenure.holds());
    let three = open(&url).await;
    three.claim(TOKEN + 2).await.expect("claim");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_may_lose_commits_is_refused() {
    let url = database().await;
    let name = url.rsplit('/').next().expect("a database").to_owned();
    sql(
        &url,
        &format!("ALTER DATABASE {name} SET synchronous_commit = off"),
    )
    .await;
    let refused = PostgresStore::open(&url, false).await;
    let Err(Error::Unavailable(why)) = refused else {
        panic!("it was taken")
    };
    assert!(
        why.words.contains("synchronous_commit is off") && why.words.contains("--unsafe-store"),
        "{why}"
    );
    PostgresStore::open(&url, true)
        .await
        .expect("taken at the operator's risk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_somebody_else_are_left_alone() {
    let url = database().await;
    sql(&url, "CREATE TABLE saga (invoice int)").await;
    let refused = PostgresStore::open(&url, false).await;
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
    let mut conn = PgConnection::connect(&url).await.expect("a connection");
    let tables = sqlx::query("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
    let tables: i64 = tables.fetch_one(&mut conn).await.expect("a count").get(0);
    assert_eq!(tables, 1, "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_unknown_and_stands() {
    let url = database().await;
    let (before, place) = url.split_once('@').expect("a user");
    let (server, database) = place.split_once('/').expect("a database");
    let server: SocketAddr = server.parse().expect("an address");
    let proxy = Proxy::before(server).await;
    let store = open(&format!("{before}@{}/{database}", proxy.address())).await;
    let claim = store.claim(TOKEN).await.expect("claim");
    store.commit(first(&claim, 1)).await.expect("commit");
    proxy.swallow_answers();
    let doubtful = within("an answer", store.commit(first(&claim, 2))).await;
    assert!(
        matches!(doubtful, Err(CommitError::Unknown(_))),
        "{doubtful:?}"
    );
    proxy.pass_on();
    // A new claim settles it: what it reads is what there is.
    let newer = eventually("the store again", || async {
        store.claim(TOKEN + 1).await.ok()
    })
    .await;
    assert_eq!(newer.last_commit_no, 2);
    assert!(store.saga(id(2)).await.expect("read").is_some());
    let stale = store.commit(first(&claim, 3)).await;
    assert!(matches!(stale, Err(CommitError::Fenced(_))), "{stale:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_survives_the_servers_death() {
    let mut server = tokio::task::spawn_blocking(Postgres::start)
        .await
        .expect("a server");
    let store = open(&server.url("postgres")).await;
    let mut claim = store.claim(TOKEN).await.expect("claim");
    let (mut confirmed, mut next) = (Vec::new(), 1);
    for round in 0..3 {
        let mut goes_on = true;
        let mut kill = Some(server);
        let mut killing = None;
        while goes_on {
            if confirmed.len() >= (round + 1) * 50
                && let Some(mut server) = kill.take()
            {
                killing = Some(tokio::task::spawn_blocking(move || {
                    server.kill();
                    server.revive();
                    server
                }));
            }
            match store.commit(first(&claim, next)).await {
                Ok(()) => confirmed.push(next),
                Err(CommitError::Unknown(_) | CommitError::Unavailable(_)) => goes_on = false,
                Err(other) => panic!("{other}"),
            }
            next += 1;
        }
        server = killing.expect("it was killed").await.expect("revived");
        claim = eventually("the store again", || async {
            store.claim(TOKEN + next as u128).await.ok()
        })
        .await;
        for n in &confirmed {
            let there = eventually("a read", || async { store.saga(id(*n)).await.ok() }).await;
            assert!(there.is_some(), "saga {n} was confirmed and is gone");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_of_saga_rows_touch_no_index() {
    let url = database().await;
    let store = open(&url).await;
    let claim = store.claim(TOKEN).await.expect("claim");
    for n in 1..=200 {
        store.commit(first(&claim, n)).await.expect("commit");
        let mut end = batch(&claim, n);
        end.changes = vec![crate::cases::change(n, saga_core::Status::Completed)];
        store.commit(end).await.expect("commit");
    }
    let mut conn = PgConnection::connect(&url).await.expect("a connection");
    // The server counts with a delay, unless it is told to.
    let counted = eventually("the server's counters", || async {
        let mut conn = PgConnection::connect(&url).await.ok()?;
        let row = sqlx::query(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'saga' AND n_tup_upd >= 200",
        )
        .fetch_optional(&mut conn)
        .await
        .ok()??;
        Some((row.get::<i64, _>(0), row.get::<i64, _>(1)))
    })
    .await;
    assert!(
        counted.1 * 10 >= counted.0 * 9,
        "{counted:?}: updates, and those that touch no index"
    );
    for (what, statement) in [
        (
            "recovery",
            "SELECT s.id FROM open_saga o JOIN saga s ON s.id = o.id ORDER BY o.id LIMIT 500",
        ),
        (
            "list",
            "SELECT s.id FROM saga s ORDER BY s.id DESC LIMIT 100",
        ),
        (
            "incidents",
            "SELECT s.id FROM incident_saga i JOIN saga s ON s.id = i.id ORDER BY i.id DESC LIMIT 100",
        ),
    ] {
        sqlx::query("SET enable_seqscan = off")
            .execute(&mut conn)
            .await
            .expect("set");
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN {statement}")))
            .fetch_all(&mut conn)
            .await;
        let plan: Vec<String> = plan.expect("a plan").iter().map(|row| row.get(0)).collect();
        assert!(
            !plan.iter().any(|line| line.contains("Seq Scan")),
            "{what}: {plan:#?}"
        );
    }
}

/// Commits of one change each, over a store that grew while it was being written: they read rows by their index, whatever
/// was planned when the tables were empty, and also where nobody gathers statistics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_grows_is_not_read_whole_by_every_commit() {
    const COMMITS: u64 = 100;
    const SAGAS: u64 = 100 * COMMITS;
    let url = database().await;
    let store = open(&url).await;
    sql(&url, "ALTER TABLE saga SET (autovacuum_enabled = false)").await;
    let claim = store.claim(TOKEN).await.expect("claim");
    for n in 0..COMMITS {
        let sagas = n * 100 + 1..=n * 100 + 100;
        let mut begin = batch(&claim, n + 1);
        begin.starts = sagas.clone().map(start).collect();
        begin.journal = sagas
            .clone()
            .map(|n| first(&claim, n).journal.remove(0))
            .collect();
        store.commit(begin).await.expect("commit");
        let mut end = batch(&claim, n + 1);
        end.changes = sagas
            .take(10)
            .map(|n| crate::cases::change(n, saga_core::Status::Completed))
            .collect();
        store.commit(end).await.expect("commit");
    }
    let read = eventually("the server's counters", || async {
        let mut conn = PgConnection::connect(&url).await.ok()?;
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'saga' AND n_tup_ins >= {SAGAS} \
             AND n_tup_upd >= {}",
            10 * COMMITS
        )))
        .fetch_optional(&mut conn)
        .await
        .ok()??;
        Some(row.get::<i64, _>(0))
    })
    .await;
    // Read whole by every commit, it would be a hundred times as much as the table holds; what is read is from the
    // beginning, when the table is a page or two.
    let most = i64::try_from(20 * SAGAS).expect("small");
    assert!(read < most, "{read} rows of `saga` were read in passing");
}
