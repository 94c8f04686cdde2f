//! A PostgreSQL server that is there and does not do what it should: each refusal is named, the store goes on when it is
//! over, and an address of several servers leads to the one that takes writes.

use std::{fs, process::Command};

use saga_core::Timestamp;
use saga_engine::store::{
    Claim, CommitError, Error, Lanes, Reading, Store,
    record::{Batch, JournalRow},
    trouble::{Cause, Kind},
};
use saga_store_postgres::PostgresStore;
use saga_tests::{
    eventually,
    pgbouncer::Pgbouncer,
    postgres::{Postgres, database},
    within,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tempfile::TempDir;

use crate::cases::{TOKEN, batch, id, start};

async fn server() -> Postgres {
    tokio::task::spawn_blocking(Postgres::start)
        .await
        .expect("a server")
}

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(url, false).await.expect("open")
}

async fn refused(url: &str) -> Cause {
    match PostgresStore::open(url, false).await {
        Err(Error::Unavailable(cause)) => cause,
        other => panic!("{other:?}"),
    }
}

/// The first row of saga `n`, of `bytes` that no compression makes smaller.
fn first(claim: &Claim, n: u64, bytes: usize) -> Batch {
    let mut noise = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise.to_le_bytes()[0]
    };
    let mut batch = batch(claim, n);
    batch.starts = vec![start(n)];
    let body = (0..bytes).map(|_| next()).collect();
    batch.journal = vec![JournalRow {
        saga_id: id(n),
        seq: 1,
        at: Timestamp(1),
        body,
    }];
    batch
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a connection")
}

async fn sql(url: &str, statement: &str) {
    let mut conn = connect(url).await;
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut conn)
        .await
        .expect("done");
    conn.close().await.expect("closed");
}

fn unavailable(answer: Result<(), CommitError>) -> Option<Cause> {
    match answer {
        Ok(()) => None,
        Err(CommitError::Unavailable(cause)) => Some(cause),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_became_read_only_is_named_and_taken_again() {
    let server = server().await;
    let url = server.url("postgres");
    let store = open(&url).await;
    let claim = store.claim(TOKEN).await.expect("claim");
    store.commit(first(&claim, 1, 8)).await.expect("commit");

    sql(&url, "ALTER SYSTEM SET default_transaction_read_only = on").await;
    sql(&url, "SELECT pg_reload_conf()").await;
    let mut next = 1;
    // The server's processes read the new setting one by one.
    let cause = loop {
        next += 1;
        if let Some(cause) = unavailable(store.commit(first(&claim, next, 8)).await) {
            break cause;
        }
    };
    assert!(
        cause.kind == Kind::ReadOnly && cause.words.contains("25006"),
        "{cause:?}"
    );
    // Now it is dialled anew, and refused before anything is written.
    let cause = unavailable(store.commit(first(&claim, next, 8)).await).expect("read-only");
    let named = cause.words.contains(&server.place())
        && cause.words.contains("default_transaction_read_only");
    assert!(cause.kind == Kind::ReadOnly && named, "{cause:?}");
    assert!(store.saga(id(1)).await.expect("reads go on").is_some());
    let fresh = refused(&url).await;
    assert_eq!(fresh.kind, Kind::ReadOnly, "{fresh:?}");

    let mut admin = connect(&url).await;
    for statement in [
        "SET default_transaction_read_only = off",
        "ALTER SYSTEM RESET default_transaction_read_only",
    ] {
        sqlx::raw_sql(statement)
            .execute(&mut admin)
            .await
            .expect("done");
    }
    sql(&url, "SELECT pg_reload_conf()").await;
    let written = || async { store.commit(first(&claim, next, 8)).await.ok() };
    eventually("a commit", written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_primary_is_found_among_several_servers() {
    let (mut primary, standby) = tokio::task::spawn_blocking(|| {
        let primary = Postgres::start();
        let standby = primary.standby();
        (primary, standby)
    })
    .await
    .expect("servers");
    let admin = primary.url("postgres");
    sql(&admin, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    sql(&admin, "SELECT pg_reload_conf()").await;
    let alone = refused(&standby.url("postgres")).await;
    assert!(
        alone.kind == Kind::ReadOnly && alone.words.contains("standby"),
        "{alone:?}"
    );

    let places = format!("127.0.0.1:1,{},{}", standby.place(), primary.place());
    let url = format!("postgres://postgres@{places}/postgres?target_session_attrs=read-write");
    let settled = || async { PostgresStore::open(&url, false).await.ok() };
    let store = eventually("the standby to count as one that confirms", settled).await;
    let claim = store.claim(TOKEN).await.expect("claim");
    store.commit(first(&claim, 1, 8)).await.expect("commit");
    assert!(store.saga(id(1)).await.expect("read").is_some());

    let failed_over = tokio::task::spawn_blocking(move || {
        primary.kill();
        standby.promote();
        (primary, standby)
    });
    let _servers = failed_over.await.expect("a failover");
    let claim = eventually("the new primary", || async {
        store.claim(TOKEN + 1).await.ok()
    })
    .await;
    assert_eq!(claim.last_commit_no, 1, "what was confirmed is there");
    store.commit(first(&claim, 2, 8)).await.expect("commit");
    let read = || async { store.saga(id(2)).await.ok().flatten() };
    eventually("readers to follow", read).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_connection_left_is_named() {
    let url = database().await;
    let role = format!("crowded_{}", url.rsplit('/').next().expect("a database"));
    sql(
        &url,
        &format!("CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1"),
    )
    .await;
    let (_, place) = url.split_once('@').expect("a user");
    let crowded = format!("postgres://{role}:x@{place}");
    let holder = connect(&crowded).await;
    let cause = refused(&crowded).await;
    assert!(
        cause.kind == Kind::NoConnection && cause.words.contains("53300"),
        "{cause:?}"
    );
    drop(holder);
}

/// The process of the store's commit that waits for a lock.
async fn waiting(conn: &mut PgConnection) -> Option<i32> {
    let found = sqlx::query(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'saga'
             AND wait_event_type = 'Lock' AND query LIKE '%saga_commit%'",
    );
    Some(found.fetch_optional(conn).await.ok()??.get(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_given_up_is_not_written_and_a_lost_session_is_unknown() {
    let url = database().await;
    let name = url.rsplit('/').next().expect("a database").to_owned();
    // The store's own limits win over those of role and database: with these, the first commit below would be given up
    // after one second, or wait for a lock for an hour.
    sql(
        &url,
        &format!("ALTER DATABASE {name} SET statement_timeout = '1s'"),
    )
    .await;
    sql(
        &url,
        &format!("ALTER DATABASE {name} SET lock_timeout = '1h'"),
    )
    .await;
    let store = open(&url).await;
    let mut claim = store.claim(TOKEN).await.expect("claim");
    let mut locker = connect(&url).await;
    let mut looker = connect(&url).await;
    sqlx::raw_sql("BEGIN; LOCK TABLE saga")
        .execute(&mut locker)
        .await
        .expect("a lock");
    let own = unavailable(store.commit(first(&claim, 1, 8)).await).expect("locked");
    assert!(
        own.kind == Kind::TimedOut && own.words.contains("55P03"),
        "{own:?}"
    );
    for (n, end) in [(2, "pg_cancel_backend"), (3, "pg_terminate_backend")] {
        let commit = store.commit(first(&claim, n, 8));
        let process = loop {
            if let Some(process) = waiting(&mut looker).await {
                break process;
            }
            tokio::task::yield_now().await;
        };
        let end = format!("SELECT {end}({process})");
        sqlx::raw_sql(AssertSqlSafe(end))
            .execute(&mut looker)
            .await
            .expect("ended");
        match (n, within("an answer", commit).await) {
            (2, Err(CommitError::Unavailable(cause))) => {
                assert!(
                    cause.kind == Kind::TimedOut && cause.words.contains("57014"),
                    "{cause:?}"
                );
            }
            (3, Err(CommitError::Unknown(cause))) => {
                assert!(
                    cause.kind == Kind::Ended && cause.words.contains("57P01"),
                    "{cause:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut locker)
        .await
        .expect("released");
    claim = eventually("the store again", || async {
        store
            .claim(TOKEN + u128::from(claim.last_commit_no) + 1)
            .await
            .ok()
    })
    .await;
    store.commit(first(&claim, 4, 8)).await.expect("commit");
    assert!(store.saga(id(2)).await.expect("read").is_none());
}

/// A mounted tmpfs; unmounted on drop.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = TempDir::new().expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mount
            .is_ok_and(|status| status.success())
            .then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status()
            .ok();
    }
}

/// Needs the right to mount a small tmpfs; without it the test says so and passes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_room_is_named_and_takes_the_batch_later() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("no right to mount a tmpfs: not tested here");
        return;
    };
    let server = server().await;
    let tables = disk.0.path().join("tables");
    fs::create_dir(&tables).expect("a folder");
    server.give(disk.0.path());
    server.give(&tables);
    let admin = server.url("postgres");
    sql(
        &admin,
        &format!("CREATE TABLESPACE small LOCATION '{}'", tables.display()),
    )
    .await;
    sql(&admin, "CREATE DATABASE sagas TABLESPACE small").await;
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 6 << 20]).expect("ballast");
    let store = open(&server.url("sagas")).await;
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut next = 0;
    let cause = loop {
        next += 1;
        assert!(next < 200, "the disk does not fill up");
        if let Some(cause) = unavailable(store.commit(first(&claim, next, 400_000)).await) {
            break cause;
        }
    };
    assert!(
        cause.kind == Kind::DiskFull && cause.words.contains("53100"),
        "{cause:?}"
    );
    assert!(store.saga(id(1)).await.expect("reads go on").is_some());
    fs::remove_file(&ballast).expect("room");
    store
        .commit(first(&claim, next, 400_000))
        .await
        .expect("there is room again");
    store.close().await.expect("close");
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_lacks_characters_is_refused() {
    let url = database().await;
    let (server, name) = url.rsplit_once('/').expect("a database");
    let latin = format!("{name}_latin1");
    sql(
        &url,
        &format!("CREATE DATABASE {latin} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"),
    )
    .await;
    let cause = refused(&format!("{server}/{latin}")).await;
    assert!(
        cause.kind == Kind::Unfit && cause.words.contains("LATIN1"),
        "{cause:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_is_refused_by_name() {
    let url = database().await;
    let name = url.rsplit('/').next().expect("a database").to_owned();
    for mode in ["transaction", "statement"] {
        let server = url.clone();
        let pooler = tokio::task::spawn_blocking(move || Pgbouncer::before(&server, mode))
            .await
            .expect("a pooler");
        // The first of them finds a pooler that has no session yet.
        for _ in 0..3 {
            let cause = refused(&pooler.url(&name)).await;
            assert!(
                cause.kind == Kind::Unfit && cause.words.contains("pool_mode = session"),
                "{cause:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_session_mode_carries_a_store_with_its_limits() {
    let url = database().await;
    let name = url.rsplit('/').next().expect("a database").to_owned();
    let server = url.clone();
    let pooler = tokio::task::spawn_blocking(move || Pgbouncer::before(&server, "session"))
        .await
        .expect("a pooler");
    for round in 0..3 {
        let store = open(&pooler.url(&name)).await;
        let claim = within("the lease", store.claim(TOKEN + round))
            .await
            .expect("claim");
        for n in 1..=20 {
            let n = u64::try_from(round).expect("small") * 100 + n;
            store.commit(first(&claim, n, 8)).await.expect("commit");
            assert!(store.saga(id(n)).await.expect("read").is_some());
        }
        // A limit that is not set would let this wait for the whole limit of the client.
        let mut locker = connect(&url).await;
        sqlx::raw_sql("BEGIN; LOCK TABLE saga")
            .execute(&mut locker)
            .await
            .expect("a lock");
        let locked = unavailable(store.commit(first(&claim, 99, 8)).await).expect("locked");
        assert!(locked.words.contains("55P03"), "{locked:?}");
        locker.close().await.expect("closed");
        store.close().await.expect("close");
    }
}
