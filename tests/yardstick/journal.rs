//! Journal rows without an engine: the same columns, one statement and one commit a batch, one connection.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

/// Bytes of a journal row of such sagas, on average.
const BODY_BYTES: usize = 180;
const BATCH: usize = 1_000;

/// What a database does with nothing in front of it.
pub(crate) struct Rows {
    /// A commit of one row, in milliseconds: the median.
    pub(crate) commit_ms: f64,
    /// Rows a second, 1,000 a commit.
    pub(crate) batch_rate: f64,
}

/// Makes a database on the server behind `url`.
pub(crate) async fn create_database(url: &str, name: &str) {
    let mut server = PgConnection::connect(url).await.expect("a server");
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create)
        .execute(&mut server)
        .await
        .expect("a database");
    server.close().await.expect("closed");
}

const CREATE: &str = "CREATE TABLE saga_event (saga_id uuid NOT NULL, seq bigint NOT NULL, commit_no bigint NOT NULL, \
     at bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY (saga_id, seq))";
const INSERT: &str = "INSERT INTO saga_event (saga_id, seq, commit_no, at, body) \
     SELECT e.id, e.seq, $1, e.at, e.body FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bytea[]) \
     AS e (id, seq, at, body)";

/// Half of `time` with one row a commit, half with 1,000.
pub(crate) async fn in_postgres(url: &str, time: Duration) -> Rows {
    let mut conn = PgConnection::connect(url).await.expect("a database");
    sqlx::query(CREATE)
        .execute(&mut conn)
        .await
        .expect("a table");
    let body = vec![b'x'; BODY_BYTES];
    let mut commit_no = 0_i64;
    let mut insert = async |rows: usize| {
        commit_no += 1;
        let began = Instant::now();
        sqlx::query(INSERT)
            .bind(commit_no)
            .bind((0..rows).map(|_| Uuid::now_v7()).collect::<Vec<_>>())
            .bind(vec![1_i64; rows])
            .bind(vec![commit_no; rows])
            .bind(vec![body.as_slice(); rows])
            .execute(&mut conn)
            .await
            .expect("inserted");
        began.elapsed()
    };
    let mut alone = Vec::new();
    let began = Instant::now();
    while began.elapsed() < time / 2 {
        alone.push(insert(1).await);
    }
    let (began, mut rows) = (Instant::now(), 0_usize);
    while began.elapsed() < time / 2 {
        insert(BATCH).await;
        rows += BATCH;
    }
    Rows {
        commit_ms: median_ms(alone),
        batch_rate: rows as f64 / began.elapsed().as_secs_f64(),
    }
}

/// The same in an SQLite file that flushes every commit; with each row of the journal goes one of its saga, since an
/// engine without it would know of no saga.
pub(crate) fn in_sqlite(time: Duration) -> Rows {
    let folder = tempfile::tempdir().expect("a folder");
    let mut conn = rusqlite::Connection::open(folder.path().join("bare.db")).expect("a file");
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
         CREATE TABLE saga_event (position INTEGER PRIMARY KEY, saga_id BLOB NOT NULL, seq INTEGER NOT NULL,
             commit_no INTEGER NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL);
         CREATE UNIQUE INDEX saga_event_saga ON saga_event (saga_id, seq);
         CREATE TABLE saga (id BLOB PRIMARY KEY, status INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;",
    )
    .expect("a table");
    let body = vec![b'x'; BODY_BYTES];
    let mut commit_no = 0_i64;
    let mut insert = |rows: usize| {
        commit_no += 1;
        let began = Instant::now();
        let tx = conn.transaction().expect("a transaction");
        for _ in 0..rows {
            let id = Uuid::now_v7();
            tx.prepare_cached(
                "INSERT INTO saga_event (saga_id, seq, commit_no, at, body) VALUES (?, 1, ?, ?, ?)",
            )
            .and_then(|mut row| row.execute((id.as_bytes(), commit_no, commit_no, &body)))
            .expect("inserted");
            tx.prepare_cached(
                "INSERT INTO saga (id, status, at) VALUES (?, 1, ?) \
                 ON CONFLICT (id) DO UPDATE SET status = excluded.status, at = excluded.at",
            )
            .and_then(|mut row| row.execute((id.as_bytes(), commit_no)))
            .expect("inserted");
        }
        tx.commit().expect("committed");
        began.elapsed()
    };
    let mut alone = Vec::new();
    let began = Instant::now();
    while began.elapsed() < time / 2 {
        alone.push(insert(1));
    }
    let (began, mut rows) = (Instant::now(), 0_usize);
    while began.elapsed() < time / 2 {
        insert(BATCH);
        rows += BATCH;
    }
    Rows {
        commit_ms: median_ms(alone),
        batch_rate: rows as f64 / began.elapsed().as_secs_f64(),
    }
}

/// The median of some times, in milliseconds.
pub(crate) fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times
        .get(times.len() / 2)
        .map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}
