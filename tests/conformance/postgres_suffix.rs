//! A database of an earlier release gets the index that suffixes are found by.

use saga_core::SagaId;
use saga_engine::store::{Lanes, Reading};
use saga_store_postgres::PostgresStore;
use saga_tests::postgres::database;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

use crate::cases::{TOKEN, batch, start};

/// More finished sagas than were ever searched by reading them.
const SAGAS: u32 = 100_050;

/// The tables before that index, with sagas that have ended.
async fn earlier(url: &str) -> PgConnection {
    let mut conn = PgConnection::connect(url).await.expect("a connection");
    let tables = [
        "CREATE TABLE saga_schema_migration (number bigint PRIMARY KEY, applied_at timestamptz NOT NULL)",
        include_str!("../../orchestrator/store-postgres/src/schema.sql"),
        include_str!("../../orchestrator/store-postgres/src/breaker.sql"),
        "INSERT INTO saga_schema_migration SELECT n, now() FROM generate_series(1, 2) AS n",
        "INSERT INTO partition (id, epoch) SELECT n, 0 FROM generate_series(0, 31) AS n",
        "INSERT INTO lease (id) SELECT n FROM generate_series(0, 31) AS n",
        "INSERT INTO meta VALUES ('identity', gen_random_uuid()::text)",
    ];
    for statement in tables {
        raw_sql(AssertSqlSafe(statement))
            .execute(&mut conn)
            .await
            .expect("done");
    }
    let fill = format!(
        "INSERT INTO saga
         SELECT (lpad(to_hex(n), 12, '0') || '7001' || left(md5(n::text), 16))::uuid, 'book', 1, '\\x01', NULL, '\\x01',
             '{{}}', n, 11, false, false, n
         FROM generate_series(1, {SAGAS}) AS n"
    );
    raw_sql(AssertSqlSafe(fill))
        .execute(&mut conn)
        .await
        .expect("filled");
    conn
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_saga_of_an_earlier_release_is_found_by_its_suffix() {
    let url = database().await;
    let mut conn = earlier(&url).await;
    let row = sqlx::query("SELECT id FROM saga ORDER BY id LIMIT 1")
        .fetch_one(&mut conn)
        .await
        .expect("a saga");
    let oldest = SagaId::from_u128(row.get::<uuid::Uuid, _>("id").as_u128());
    let store = PostgresStore::open(&url, false).await.expect("open");
    let found = store.find_by_suffix(oldest.short(), 10).await;
    assert_eq!(found.expect("find"), [oldest]);
    let claim = store.claim(TOKEN).await.expect("claim");
    let mut new = batch(&claim, 1);
    let mut begun = start(200_000);
    begun.row.id = SagaId::from_u128(oldest.as_u128() | 0xFF << 90);
    new.starts = vec![begun];
    store.commit(new).await.expect("commit");
    let found = store
        .find_by_suffix(oldest.short(), 10)
        .await
        .expect("find");
    assert_eq!(
        found,
        [SagaId::from_u128(oldest.as_u128() | 0xFF << 90), oldest],
        "the new one is open, and beside the old one"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_by_suffix_reads_the_index_and_not_the_table() {
    let url = database().await;
    let mut conn = earlier(&url).await;
    let _store = PostgresStore::open(&url, false).await.expect("open");
    let runs: i64 = sqlx::query("SELECT count(DISTINCT run) FROM saga")
        .fetch_one(&mut conn)
        .await
        .expect("a count")
        .get(0);
    assert_eq!(runs, 1, "sagas of before are one run");
    let statement = saga_store_postgres::find_by_suffix_sql();
    let literal = statement
        .replace("$1", "'a1b2c3'")
        .replace("$2", "'a1b2c3g'")
        .replace("$3", "repeat('0', 128)")
        .replace("$4", "repeat('0', 128)")
        .replace("$5", "10");
    let plan = raw_sql(AssertSqlSafe(format!("EXPLAIN {literal}")))
        .fetch_all(&mut conn)
        .await
        .expect("a plan");
    let lines: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = lines.join("\n");
    assert!(plan.contains("saga_suffix"), "{plan}");
    assert!(!plan.contains("Seq Scan on saga"), "{plan}");
}
