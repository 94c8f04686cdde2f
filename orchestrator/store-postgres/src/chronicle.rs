//! The journal in the order of its commits, by an index that is made the first time somebody asks for it: who never does
//! pays nothing.

use futures_util::future::BoxFuture;
use saga_core::SagaId;
use sqlx::{AssertSqlSafe, PgPool, Row};

use super::{
    PostgresStore,
    convert::{SAGA_COLUMNS, clamped, journal_row, saga_row, unsigned, uuid},
};
use saga_engine::store::{
    Error,
    chronicle::{Chronicle, CommittedRow},
    record::SagaRow,
};

/// Commit numbers that are read at once; a commit has some thousand rows at most.
const COMMITS: i64 = 8;

type Answer<T> = Result<T, sqlx::Error>;

impl Chronicle for PostgresStore {
    fn told_through(&self) -> BoxFuture<'_, Result<u64, Error>> {
        self.read(told_through(&self.readers))
    }

    fn commits_after(&self, after: u64) -> BoxFuture<'_, Result<Vec<CommittedRow>, Error>> {
        self.read(commits_after(&self.readers, after))
    }

    fn sagas(&self, ids: Vec<SagaId>) -> BoxFuture<'_, Result<Vec<SagaRow>, Error>> {
        self.read(async move { sagas(&self.readers, &ids).await })
    }

    fn set_told_through(&self, commit_no: u64) -> BoxFuture<'_, Result<(), Error>> {
        self.read(set_told(&self.readers, commit_no))
    }
}

async fn told_through(pool: &PgPool) -> Answer<u64> {
    let mut tx = pool.begin().await?;
    // Looked for first: making it locks out writers, even where it turns out to be there.
    let found = sqlx::query("SELECT to_regclass('saga_event_commit') IS NULL AS missing")
        .fetch_one(&mut *tx)
        .await?;
    if found.try_get::<bool, _>("missing")? {
        // A long journal takes its time, once.
        sqlx::query("SET LOCAL statement_timeout = 0")
            .execute(&mut *tx)
            .await?;
        sqlx::query("CREATE INDEX saga_event_commit ON saga_event (commit_no)")
            .execute(&mut *tx)
            .await?;
    }
    sqlx::query(
        "INSERT INTO meta (name, value) SELECT 'told_through', commit_no::text FROM progress ON CONFLICT DO NOTHING",
    )
    .execute(&mut *tx)
    .await?;
    let told = sqlx::query("SELECT value::bigint AS told FROM meta WHERE name = 'told_through'")
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    unsigned(&told, "told")
}

async fn commits_after(pool: &PgPool, after: u64) -> Answer<Vec<CommittedRow>> {
    // A number between two commits may be missing, so the first one that is there is looked for.
    let rows = sqlx::query(
        "SELECT commit_no, saga_id, seq, at, body FROM saga_event
         WHERE commit_no > $1
             AND commit_no < (SELECT commit_no FROM saga_event WHERE commit_no > $1 ORDER BY commit_no LIMIT 1) + $2
         ORDER BY commit_no, saga_id, seq",
    )
    .bind(clamped(after))
    .bind(COMMITS)
    .fetch_all(pool)
    .await?;
    let committed = |row| {
        Ok(CommittedRow {
            commit_no: unsigned(row, "commit_no")?,
            row: journal_row(row)?,
        })
    };
    rows.iter().map(committed).collect()
}

async fn sagas(pool: &PgPool, ids: &[SagaId]) -> Answer<Vec<SagaRow>> {
    let wanted: Vec<_> = ids.iter().map(|id| uuid(*id)).collect();
    let sql = format!("SELECT {SAGA_COLUMNS} FROM saga s WHERE s.id = ANY ($1)");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(wanted)
        .fetch_all(pool)
        .await?;
    rows.iter().map(saga_row).collect()
}

async fn set_told(pool: &PgPool, commit_no: u64) -> Answer<()> {
    sqlx::query(
        "UPDATE meta SET value = $1::text WHERE name = 'told_through' AND value::bigint < $1",
    )
    .bind(clamped(commit_no))
    .execute(pool)
    .await
    .map(drop)
}
