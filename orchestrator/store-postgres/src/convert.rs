//! Rows to columns and back.
//!
//! Numbers in the `status` column are for ever, and the same in every engine: those of open sagas stay below
//! [`FIRST_ENDED`], which `saga_commit` knows by that number.

use std::collections::BTreeMap;

use saga_core::{SagaId, Status, Timestamp};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use saga_engine::store::record::{
    AuditEntry, AuditRow, BreakerFace, BreakerRow, DefinitionRow, Face, JournalRow, ParticipantRow,
    SagaRow,
};

/// The smallest status number of an ended saga.
pub(super) const FIRST_ENDED: i16 = 10;

/// The columns that [`saga_row`] reads.
pub(super) const SAGA_COLUMNS: &str = "s.id, s.name, s.version, s.hash, s.key, s.labels::text AS labels, \
     s.started_at, s.status, s.incident, s.exceptions, s.ended_at";

/// The number of a status.
pub(super) fn status_number(status: Status) -> i16 {
    match status {
        Status::Running => 1,
        Status::Compensating => 2,
        Status::Completed => 11,
        Status::Compensated => 12,
        Status::Abandoned => 13,
    }
}

/// Reads [`status_number`].
pub(super) fn status(number: i16) -> Result<Status, sqlx::Error> {
    Status::ALL
        .into_iter()
        .find(|&status| status_number(status) == number)
        .ok_or_else(|| damaged(format!("no status has the number {number}")))
}

/// What stands in the database makes no sense.
fn damaged(what: String) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

/// A saga's id as a column.
pub(super) fn uuid(id: SagaId) -> Uuid {
    Uuid::from_u128(id.as_u128())
}

pub(super) fn saga_id(row: &PgRow, column: &str) -> Result<SagaId, sqlx::Error> {
    Ok(SagaId::from_u128(row.try_get::<Uuid, _>(column)?.as_u128()))
}

pub(super) fn hash(row: &PgRow, column: &str) -> Result<[u8; 32], sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes
        .try_into()
        .map_err(|_| damaged(format!("{column} has not 32 bytes")))
}

/// Reads a number that is never negative; PostgreSQL's integers are signed.
pub(super) fn unsigned(row: &PgRow, column: &str) -> Result<u64, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|_| damaged(format!("{column} is negative")))
}

pub(super) fn version(row: &PgRow, column: &str) -> Result<u32, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    u32::try_from(number).map_err(|_| damaged(format!("{column} is no version")))
}

fn at(row: &PgRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    row.try_get(column).map(Timestamp)
}

/// Reads [`SAGA_COLUMNS`].
pub(super) fn saga_row(row: &PgRow) -> Result<SagaRow, sqlx::Error> {
    let labels: String = row.try_get("labels")?;
    let labels: BTreeMap<String, String> =
        serde_json::from_str(&labels).map_err(|error| damaged(format!("labels: {error}")))?;
    Ok(SagaRow {
        id: saga_id(row, "id")?,
        name: row.try_get("name")?,
        version: version(row, "version")?,
        hash: hash(row, "hash")?,
        key: row.try_get("key")?,
        labels,
        started_at: at(row, "started_at")?,
        face: Face {
            status: status(row.try_get("status")?)?,
            incident: row.try_get("incident")?,
            exceptions: row.try_get("exceptions")?,
            ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(Timestamp),
        },
    })
}

pub(super) fn journal_row(row: &PgRow) -> Result<JournalRow, sqlx::Error> {
    Ok(JournalRow {
        saga_id: saga_id(row, "saga_id")?,
        seq: unsigned(row, "seq")?,
        at: at(row, "at")?,
        body: row.try_get("body")?,
    })
}

pub(super) fn definition_row(row: &PgRow) -> Result<DefinitionRow, sqlx::Error> {
    Ok(DefinitionRow {
        name: row.try_get("name")?,
        version: version(row, "version")?,
        hash: hash(row, "hash")?,
        canonical: row.try_get("canonical")?,
        deployed_at: at(row, "deployed_at")?,
    })
}

pub(super) fn participant_row(row: &PgRow) -> Result<ParticipantRow, sqlx::Error> {
    Ok(ParticipantRow {
        name: row.try_get("name")?,
        inbox_id: row.try_get("inbox_id")?,
        inbox_kind: row.try_get("inbox_kind")?,
        actions: row.try_get("actions")?,
        last_seen: at(row, "last_seen")?,
    })
}

pub(super) fn audit_entry(row: &PgRow) -> Result<AuditEntry, sqlx::Error> {
    Ok(AuditEntry {
        position: unsigned(row, "position")?,
        row: AuditRow {
            saga_id: saga_id(row, "saga_id")?,
            seq: unsigned(row, "seq")?,
            at: at(row, "at")?,
            verb: row.try_get("verb")?,
            step: row.try_get("step")?,
            who: row.try_get("who")?,
            reason: row.try_get("reason")?,
            forced: row.try_get("forced")?,
        },
    })
}

pub(super) fn breaker_row(row: &PgRow) -> Result<BreakerRow, sqlx::Error> {
    Ok(BreakerRow {
        participant: row.try_get("participant")?,
        action: row.try_get("action")?,
        face: BreakerFace {
            open: row.try_get("open")?,
            generation: unsigned(row, "generation")?,
            open_until: row.try_get::<Option<i64>, _>("open_until")?.map(Timestamp),
            since: at(row, "since")?,
            by: row.try_get("by_whom")?,
            reason: row.try_get("reason")?,
        },
    })
}

/// A count or position as PostgreSQL can compare it: beyond its range nothing is stored, so its end serves.
pub(super) fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A limit of rows.
pub(super) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
