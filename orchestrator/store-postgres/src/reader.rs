//! Reads, on a small pool of connections. What is shown is what the primary has committed.

use saga_core::{SagaId, Status, Timestamp};
use sqlx::{AssertSqlSafe, PgPool, Postgres, QueryBuilder, Row};

use super::convert::{
    FIRST_ENDED, SAGA_COLUMNS, audit_entry, breaker_row, clamped, definition_row, journal_row,
    participant_row, row_limit, saga_id, saga_row, status, status_number, unsigned, uuid, version,
};
use saga_engine::store::{
    DefinitionCount,
    record::{
        AuditEntry, BreakerRow, DefinitionRow, JournalRow, ListFilter, Page, ParticipantRow,
        SagaRow,
    },
};

type Answer<T> = Result<T, sqlx::Error>;

pub(super) async fn open_sagas(
    pool: &PgPool,
    after: Option<SagaId>,
    limit: usize,
) -> Answer<Vec<SagaRow>> {
    let sql = format!(
        "SELECT {SAGA_COLUMNS} FROM open_saga o JOIN saga s ON s.id = o.id
         WHERE $1::uuid IS NULL OR o.id > $1 ORDER BY o.id LIMIT $2"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(after.map(uuid))
        .bind(row_limit(limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(saga_row).collect()
}

pub(super) async fn saga(pool: &PgPool, id: SagaId) -> Answer<Option<SagaRow>> {
    let sql = format!("SELECT {SAGA_COLUMNS} FROM saga s WHERE s.id = $1");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(uuid(id))
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(saga_row).transpose()
}

pub(super) async fn journal(
    pool: &PgPool,
    id: SagaId,
    after: u64,
    limit: usize,
) -> Answer<Vec<JournalRow>> {
    let rows = sqlx::query(
        "SELECT saga_id, seq, at, body FROM saga_event WHERE saga_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
    )
    .bind(uuid(id))
    .bind(clamped(after))
    .bind(row_limit(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(journal_row).collect()
}

pub(super) async fn journals(pool: &PgPool, ids: &[SagaId]) -> Answer<Vec<Vec<JournalRow>>> {
    let wanted: Vec<_> = ids.iter().map(|id| uuid(*id)).collect();
    let rows = sqlx::query(
        "SELECT saga_id, seq, at, body FROM saga_event WHERE saga_id = ANY ($1) ORDER BY saga_id, seq",
    )
    .bind(wanted)
    .fetch_all(pool)
    .await?;
    let mut found: std::collections::BTreeMap<SagaId, Vec<JournalRow>> =
        std::collections::BTreeMap::new();
    for row in &rows {
        let row = journal_row(row)?;
        found.entry(row.saga_id).or_default().push(row);
    }
    Ok(ids
        .iter()
        .map(|id| found.get(id).cloned().unwrap_or_default())
        .collect())
}

pub(super) async fn find_by_key(pool: &PgPool, name: &str, key: &str) -> Answer<Option<SagaId>> {
    // No row has such a text, and the server would refuse the question.
    if name.contains('\0') || key.contains('\0') {
        return Ok(None);
    }
    let row = sqlx::query("SELECT saga_id FROM start_key WHERE name = $1 AND key = $2")
        .bind(name)
        .bind(key)
        .fetch_optional(pool)
        .await?;
    row.map(|row| saga_id(&row, "saga_id")).transpose()
}

/// A page, newest first. One row more than asked for is read, to know whether there is another page.
pub(super) async fn list(
    pool: &PgPool,
    filter: &ListFilter,
    before: Option<SagaId>,
    limit: usize,
) -> Answer<Page> {
    if limit == 0 {
        return Ok(Page {
            rows: Vec::new(),
            next: None,
        });
    }
    let Some(mut query) = list_query(filter, before, limit.saturating_add(1)) else {
        return Ok(Page {
            rows: Vec::new(),
            next: None,
        });
    };
    let rows = query.build().fetch_all(pool).await?;
    let mut rows = rows.iter().map(saga_row).collect::<Answer<Vec<_>>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more {
        rows.last().map(|row| row.id)
    } else {
        None
    };
    Ok(Page { rows, next })
}

/// The statement of a list; `None` for a filter that no row can meet.
fn list_query(
    filter: &ListFilter,
    before: Option<SagaId>,
    limit: usize,
) -> Option<QueryBuilder<Postgres>> {
    let texts = filter
        .name
        .iter()
        .chain(filter.labels.keys())
        .chain(filter.labels.values());
    if texts.into_iter().any(|text| text.contains('\0')) {
        return None;
    }
    let open_only =
        !filter.statuses.is_empty() && filter.statuses.iter().all(|status| status.is_open());
    let from = match (filter.incident_only, open_only) {
        (true, _) => "incident_saga i JOIN saga s ON s.id = i.id",
        (false, true) => "open_saga o JOIN saga s ON s.id = o.id",
        (false, false) => "saga s",
    };
    let mut query = QueryBuilder::new(format!("SELECT {SAGA_COLUMNS} FROM {from} WHERE true"));
    if !filter.statuses.is_empty() {
        let numbers: Vec<i16> = filter
            .statuses
            .iter()
            .map(|&status| status_number(status))
            .collect();
        query
            .push(" AND s.status = ANY (")
            .push_bind(numbers)
            .push(")");
    }
    let id = match (filter.incident_only, open_only) {
        (true, _) => "i.id",
        (false, true) => "o.id",
        (false, false) => "s.id",
    };
    if let Some(before) = before {
        query.push(format!(" AND {id} < ")).push_bind(uuid(before));
    }
    if let Some(name) = &filter.name {
        query.push(" AND s.name = ").push_bind(name.clone());
    }
    if let Some(after) = filter.started_after {
        query.push(" AND s.started_at >= ").push_bind(after.0);
    }
    if let Some(before) = filter.started_before {
        query.push(" AND s.started_at < ").push_bind(before.0);
    }
    for (key, value) in &filter.labels {
        query
            .push(" AND s.labels ->> ")
            .push_bind(key.clone())
            .push(" = ")
            .push_bind(value.clone());
    }
    query
        .push(format!(" ORDER BY {id} DESC LIMIT "))
        .push_bind(row_limit(limit));
    Some(query)
}

pub(super) async fn audit(
    pool: &PgPool,
    saga: Option<SagaId>,
    before: Option<u64>,
    limit: usize,
) -> Answer<Vec<AuditEntry>> {
    let before = before.map_or(i64::MAX, clamped);
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT position, saga_id, seq, at, verb, step, who, reason, forced FROM audit WHERE position < ",
    );
    query.push_bind(before);
    if let Some(id) = saga {
        query.push(" AND saga_id = ").push_bind(uuid(id));
    }
    query
        .push(" ORDER BY position DESC LIMIT ")
        .push_bind(row_limit(limit));
    query
        .build()
        .fetch_all(pool)
        .await?
        .iter()
        .map(audit_entry)
        .collect()
}

/// Every status with its number of sagas, zero too.
pub(super) async fn clock(pool: &PgPool) -> Answer<Option<Timestamp>> {
    let row = sqlx::query("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS at");
    Ok(Some(Timestamp(row.fetch_one(pool).await?.try_get("at")?)))
}

pub(super) async fn counts(pool: &PgPool) -> Answer<Vec<(Status, u64)>> {
    let mut counts: Vec<(Status, u64)> =
        Status::ALL.into_iter().map(|status| (status, 0)).collect();
    let rows = sqlx::query("SELECT status, sum(n)::bigint AS n FROM counter GROUP BY status")
        .fetch_all(pool)
        .await?;
    for row in &rows {
        let (found, n) = (status(row.try_get("status")?)?, unsigned(row, "n")?);
        for count in counts.iter_mut().filter(|count| count.0 == found) {
            count.1 = n;
        }
    }
    Ok(counts)
}

pub(super) async fn open_per_definition(pool: &PgPool) -> Answer<Vec<DefinitionCount>> {
    let sql = format!(
        "SELECT name, version, sum(n)::bigint AS n FROM counter WHERE status < {FIRST_ENDED}
         GROUP BY name, version HAVING sum(n) > 0 ORDER BY name COLLATE \"C\", version"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            Ok((
                row.try_get("name")?,
                version(row, "version")?,
                unsigned(row, "n")?,
            ))
        })
        .collect()
}

pub(super) async fn definitions(pool: &PgPool) -> Answer<Vec<DefinitionRow>> {
    let rows = sqlx::query(
        "SELECT name, version, hash, canonical, deployed_at FROM definition ORDER BY name COLLATE \"C\", version",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(definition_row).collect()
}

pub(super) async fn participants(pool: &PgPool) -> Answer<Vec<ParticipantRow>> {
    let rows = sqlx::query(
        "SELECT name, inbox_id, inbox_kind, actions, last_seen FROM participant ORDER BY name COLLATE \"C\"",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(participant_row).collect()
}

pub(super) async fn breakers(pool: &PgPool) -> Answer<Vec<BreakerRow>> {
    let rows = sqlx::query(
        "SELECT participant, action, open, generation, open_until, since, by_whom, reason FROM breaker
         ORDER BY participant COLLATE \"C\", action COLLATE \"C\"",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(breaker_row).collect()
}

pub(super) async fn presence(pool: &PgPool) -> Answer<Option<String>> {
    let row = sqlx::query("SELECT value FROM meta WHERE name = 'presence'")
        .fetch_optional(pool)
        .await?;
    row.map(|row| row.try_get("value")).transpose()
}
