//! Lists of sagas: a filter becomes one statement.

use std::fmt::Write as _;

use rusqlite::{Connection, params_from_iter, types::Value};
use saga_core::SagaId;

use super::convert::{FIRST_ENDED, SAGA_COLUMNS, row_limit, saga_row, status_number};
use saga_engine::store::record::{ListFilter, Page};

/// A page, newest first. One row more than asked for is read, to know whether there is another page.
pub(super) fn list(
    conn: &Connection,
    filter: &ListFilter,
    before: Option<SagaId>,
    limit: usize,
) -> rusqlite::Result<Page> {
    if limit == 0 {
        return Ok(Page {
            rows: Vec::new(),
            next: None,
        });
    }
    let (sql, values) = statement(filter, before, limit.saturating_add(1));
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement
        .query_map(params_from_iter(values), saga_row)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more {
        rows.last().map(|row| row.id)
    } else {
        None
    };
    Ok(Page { rows, next })
}

/// The statement and its parameters. Only numbers of our own making are written into the text.
pub(super) fn statement(
    filter: &ListFilter,
    before: Option<SagaId>,
    limit: usize,
) -> (String, Vec<Value>) {
    let open_only =
        !filter.statuses.is_empty() && filter.statuses.iter().all(|status| status.is_open());
    let mut sql = format!("SELECT {SAGA_COLUMNS} FROM saga");
    if filter.incident_only {
        sql.push_str(" INDEXED BY saga_incident WHERE incident = 1");
    } else if open_only {
        sql.push_str(" INDEXED BY saga_open WHERE 1");
    } else {
        sql.push_str(" WHERE 1");
    }
    if open_only {
        write!(sql, " AND status < {FIRST_ENDED}").ok();
    }
    if !filter.statuses.is_empty() {
        let numbers: Vec<String> = filter
            .statuses
            .iter()
            .map(|&status| status_number(status).to_string())
            .collect();
        // The unary plus keeps the planner's eyes on the index that gives the order.
        write!(sql, " AND +status IN ({})", numbers.join(", ")).ok();
    }
    let mut values: Vec<Value> = Vec::new();
    if let Some(before) = before {
        sql.push_str(" AND id < ?");
        values.push(before.to_bytes().to_vec().into());
    }
    if let Some(name) = &filter.name {
        sql.push_str(" AND name = ?");
        values.push(name.clone().into());
    }
    if let Some(after) = filter.started_after {
        sql.push_str(" AND started_at >= ?");
        values.push(after.0.into());
    }
    if let Some(before) = filter.started_before {
        sql.push_str(" AND started_at < ?");
        values.push(before.0.into());
    }
    for (key, value) in &filter.labels {
        sql.push_str(
            " AND EXISTS (SELECT 1 FROM json_each(saga.labels) AS l WHERE l.key = ? AND l.value = ?)",
        );
        values.push(key.clone().into());
        values.push(value.clone().into());
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    values.push(row_limit(limit).into());
    (sql, values)
}
