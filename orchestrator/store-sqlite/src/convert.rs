//! Rows to columns and back.
//!
//! Numbers in the `status` column are for ever: open ones stay below [`FIRST_ENDED`], because the partial index of
//! open sagas is defined by it.

use std::collections::BTreeMap;

use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use saga_core::{SagaId, Status, Timestamp};

use saga_engine::store::record::{
    AuditEntry, AuditRow, BreakerFace, BreakerRow, DefinitionRow, Face, JournalRow, ParticipantRow,
    SagaRow,
};

/// The smallest status number of an ended saga.
pub(super) const FIRST_ENDED: i64 = 10;

/// The columns that [`saga_row`] reads, in its order.
pub(super) const SAGA_COLUMNS: &str =
    "id, name, version, hash, key, labels, started_at, status, incident, ended_at, exceptions";

/// The number of a status.
pub(super) fn status_number(status: Status) -> i64 {
    match status {
        Status::Running => 1,
        Status::Compensating => 2,
        Status::Completed => 11,
        Status::Compensated => 12,
        Status::Abandoned => 13,
    }
}

/// A [`SagaId`] as a column of sixteen bytes.
pub(super) struct Id(pub SagaId);

/// A [`Status`] as a column.
pub(super) struct StatusColumn(pub Status);

/// Labels as a JSON object.
struct Labels(BTreeMap<String, String>);

impl ToSql for Id {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(self.0.to_bytes().to_vec().into()))
    }
}

impl FromSql for Id {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        SagaId::from_bytes(bytes)
            .map(Self)
            .ok_or(FromSqlError::InvalidBlobSize {
                expected_size: 16,
                blob_size: bytes.len(),
            })
    }
}

impl ToSql for StatusColumn {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(status_number(self.0).into())
    }
}

impl FromSql for StatusColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        Status::ALL
            .into_iter()
            .find(|&status| status_number(status) == number)
            .map(Self)
            .ok_or(FromSqlError::OutOfRange(number))
    }
}

impl FromSql for Labels {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?)
            .map(Self)
            .map_err(FromSqlError::other)
    }
}

/// Labels as they are stored; the filter of lists reads this text with SQLite's JSON functions.
pub(super) fn labels_text(labels: &BTreeMap<String, String>) -> Result<String, serde_json::Error> {
    if labels.is_empty() {
        return Ok("{}".to_owned());
    }
    serde_json::to_string(labels)
}

/// Reads [`SAGA_COLUMNS`].
pub(super) fn saga_row(row: &Row<'_>) -> rusqlite::Result<SagaRow> {
    Ok(SagaRow {
        id: row.get::<_, Id>(0)?.0,
        name: row.get(1)?,
        version: row.get(2)?,
        hash: row.get(3)?,
        key: row.get(4)?,
        labels: row.get::<_, Labels>(5)?.0,
        started_at: Timestamp(row.get(6)?),
        face: Face {
            status: row.get::<_, StatusColumn>(7)?.0,
            incident: row.get(8)?,
            ended_at: row.get::<_, Option<i64>>(9)?.map(Timestamp),
            exceptions: row.get(10)?,
        },
    })
}

/// Reads `seq, at, body` of a saga's journal.
pub(super) fn journal_row(saga_id: SagaId, row: &Row<'_>) -> rusqlite::Result<JournalRow> {
    Ok(JournalRow {
        saga_id,
        seq: unsigned(row, 0)?,
        at: Timestamp(row.get(1)?),
        body: row.get(2)?,
    })
}

/// Reads `position, saga_id, seq, at, verb, step, who, reason, forced`.
pub(super) fn audit_entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        position: unsigned(row, 0)?,
        row: AuditRow {
            saga_id: row.get::<_, Id>(1)?.0,
            seq: unsigned(row, 2)?,
            at: Timestamp(row.get(3)?),
            verb: row.get(4)?,
            step: row.get(5)?,
            who: row.get(6)?,
            reason: row.get(7)?,
            forced: row.get(8)?,
        },
    })
}

/// Reads `name, version, hash, canonical, deployed_at`.
pub(super) fn definition_row(row: &Row<'_>) -> rusqlite::Result<DefinitionRow> {
    Ok(DefinitionRow {
        name: row.get(0)?,
        version: row.get(1)?,
        hash: row.get(2)?,
        canonical: row.get(3)?,
        deployed_at: Timestamp(row.get(4)?),
    })
}

/// Reads `name, inbox_id, inbox_kind, actions, last_seen`.
pub(super) fn participant_row(row: &Row<'_>) -> rusqlite::Result<ParticipantRow> {
    Ok(ParticipantRow {
        name: row.get(0)?,
        inbox_id: row.get(1)?,
        inbox_kind: row.get(2)?,
        actions: row.get(3)?,
        last_seen: Timestamp(row.get(4)?),
    })
}

/// Reads `participant, action, open, generation, open_until, since, by_whom, reason`.
pub(super) fn breaker_row(row: &Row<'_>) -> rusqlite::Result<BreakerRow> {
    Ok(BreakerRow {
        participant: row.get(0)?,
        action: row.get(1)?,
        face: BreakerFace {
            open: row.get(2)?,
            generation: unsigned(row, 3)?,
            open_until: row.get::<_, Option<i64>>(4)?.map(Timestamp),
            since: Timestamp(row.get(5)?),
            by: row.get(6)?,
            reason: row.get(7)?,
        },
    })
}

/// Reads a number that is never negative; SQLite's integers are signed.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// A count or position as SQLite can compare it: beyond its range nothing is stored, so the end of the range serves.
pub(super) fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A limit of rows.
pub(super) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
