//! Tables, and the migrations that make them. Several instances may start at once: one migrates, the others wait.
//!
//! A migration is applied once, in a transaction of its own, and never edited after a release.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use super::fault::read_error;
use saga_engine::store::Error;

/// All migrations; the number of the first is 1.
const MIGRATIONS: [&str; 3] = [
    include_str!("schema.sql"),
    include_str!("breaker.sql"),
    include_str!("suffix.sql"),
];

/// The newest schema this release knows.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// "saga" in ASCII: the advisory lock under which schemas are changed.
const LOCK: i64 = 0x7361_6761;

/// Brings the database up to [`KNOWN`]; `partitions` counts only for a new one.
///
/// # Errors
/// [`Error::TooNew`]; [`Error::Corrupt`] for a schema that holds other tables of these names; [`Error::Unavailable`].
pub(super) async fn migrate(conn: &mut PgConnection, partitions: u16) -> Result<(), Error> {
    let mut tx = conn.begin().await.map_err(read_error)?;
    // Held until the transaction ends, whichever way.
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *tx)
        .await
        .map_err(read_error)?;
    let found = version(&mut tx).await?;
    if found > KNOWN {
        return Err(Error::TooNew {
            found,
            known: KNOWN,
        });
    }
    for (number, script) in (1..).zip(MIGRATIONS).filter(|&(number, _)| number > found) {
        apply(&mut tx, number, script, partitions)
            .await
            .map_err(read_error)?;
    }
    tx.commit().await.map_err(read_error)
}

/// The newest applied migration, 0 where there is none.
async fn version(conn: &mut PgConnection) -> Result<i64, Error> {
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS saga_schema_migration (number bigint PRIMARY KEY, applied_at timestamptz NOT NULL)",
    )
    .execute(&mut *conn)
    .await
    .map_err(read_error)?;
    let row = sqlx::query("SELECT coalesce(max(number), 0) FROM saga_schema_migration")
        .fetch_one(conn)
        .await;
    row.and_then(|row| row.try_get(0)).map_err(read_error)
}

async fn apply(
    conn: &mut PgConnection,
    number: i64,
    script: &'static str,
    partitions: u16,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(&mut *conn)
        .await?;
    if number == 1 {
        let last = i32::from(partitions) - 1;
        for table in ["partition (id, epoch) SELECT n, 0", "lease (id) SELECT n"] {
            let fill = format!("INSERT INTO {table} FROM generate_series(0, $1) AS n");
            sqlx::query(AssertSqlSafe(fill))
                .bind(last)
                .execute(&mut *conn)
                .await?;
        }
        sqlx::query("INSERT INTO meta VALUES ('identity', gen_random_uuid()::text)")
            .execute(&mut *conn)
            .await?;
    }
    sqlx::query("INSERT INTO saga_schema_migration VALUES ($1, clock_timestamp())")
        .bind(number)
        .execute(conn)
        .await?;
    Ok(())
}
