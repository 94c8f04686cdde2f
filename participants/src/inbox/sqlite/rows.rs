//! The inbox's table and every statement on its rows.

use sqlx::{Row as _, SqliteConnection};

use super::super::{
    Error,
    barrier::RowState,
    rows::{Row, Stored},
    unix_micros,
};
use crate::{
    command::{Ask, StepKey},
    reply::Fault,
};

pub(super) const SCHEMA: &str = "
create table if not exists saga_inbox (
    saga_id blob not null,
    step text not null,
    round integer not null,
    state text not null check (state in ('running', 'done', 'refused', 'tombstone', 'compensated')),
    fingerprint integer not null,
    attempt integer not null,
    output blob,
    error_code text,
    error_message text,
    retain_until_us integer not null,
    updated_at_us integer not null,
    primary key (saga_id, step, round)
);
create index if not exists saga_inbox_retention on saga_inbox (retain_until_us);
create table if not exists saga_inbox_meta (name text primary key, value text not null);";

pub(super) async fn read(
    connection: &mut SqliteConnection,
    key: &StepKey,
) -> Result<Option<Row>, Error> {
    const READ: &str = "select state, fingerprint, attempt, output, error_code, error_message
        from saga_inbox where saga_id = ? and step = ? and round = ?";
    let Some(row) = sqlx::query(READ)
        .bind(&key.saga_id.as_bytes()[..])
        .bind(&*key.step)
        .bind(key.round)
        .fetch_optional(connection)
        .await?
    else {
        return Ok(None);
    };
    let state = match row.try_get::<&str, _>(0)? {
        "running" => RowState::Running,
        "done" => RowState::Done,
        "refused" => RowState::Refused,
        "tombstone" => RowState::Tombstone,
        "compensated" => RowState::Compensated,
        other => {
            return Err(Error::UnknownState {
                key: key.clone(),
                state: other.to_owned(),
            });
        }
    };
    let fault = row
        .try_get::<Option<String>, _>(4)?
        .map(|code| {
            row.try_get(5)
                .map(|message: String| Fault::new(code, message))
        })
        .transpose()?;
    Ok(Some(Row {
        state,
        fingerprint: row.try_get::<i64, _>(1)?.cast_unsigned(),
        attempt: row.try_get(2)?,
        output: row
            .try_get::<Option<Vec<u8>>, _>(3)?
            .unwrap_or_default()
            .into(),
        fault,
    }))
}

pub(super) async fn write(
    connection: &mut SqliteConnection,
    ask: &Ask,
    stored: Stored,
) -> Result<(), Error> {
    const WRITE: &str = "insert into saga_inbox (saga_id, step, round, state, fingerprint, attempt,
            output, error_code, error_message, retain_until_us, updated_at_us)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        on conflict (saga_id, step, round) do update set state = excluded.state,
            fingerprint = iif(excluded.fingerprint = 0, fingerprint, excluded.fingerprint),
            attempt = excluded.attempt, output = excluded.output, error_code = excluded.error_code,
            error_message = excluded.error_message, updated_at_us = excluded.updated_at_us,
            retain_until_us = max(retain_until_us, excluded.retain_until_us)";
    let (code, message) = stored
        .fault
        .map(|fault| (fault.code, fault.message))
        .unzip();
    sqlx::query(WRITE)
        .bind(&ask.key.saga_id.as_bytes()[..])
        .bind(&*ask.key.step)
        .bind(ask.key.round)
        .bind(stored.state)
        .bind(stored.fingerprint.cast_signed())
        .bind(ask.attempt)
        .bind(stored.output.as_deref())
        .bind(code.as_deref())
        .bind(message)
        .bind(ask.retain_until_us)
        .bind(unix_micros())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn update(
    connection: &mut SqliteConnection,
    key: &StepKey,
    stored: Stored,
) -> Result<(), Error> {
    const UPDATE: &str = "update saga_inbox set state = ?, output = ?, error_code = ?,
        error_message = ?, updated_at_us = ? where saga_id = ? and step = ? and round = ?";
    let (code, message) = stored
        .fault
        .map(|fault| (fault.code, fault.message))
        .unzip();
    sqlx::query(UPDATE)
        .bind(stored.state)
        .bind(stored.output.as_deref())
        .bind(code.as_deref())
        .bind(message)
        .bind(unix_micros())
        .bind(&key.saga_id.as_bytes()[..])
        .bind(&*key.step)
        .bind(key.round)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn bump_attempt(
    connection: &mut SqliteConnection,
    ask: &Ask,
) -> Result<(), Error> {
    sqlx::query("update saga_inbox set attempt = ? where saga_id = ? and step = ? and round = ?")
        .bind(ask.attempt)
        .bind(&ask.key.saga_id.as_bytes()[..])
        .bind(&*ask.key.step)
        .bind(ask.key.round)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn delete(connection: &mut SqliteConnection, key: &StepKey) -> Result<(), Error> {
    sqlx::query("delete from saga_inbox where saga_id = ? and step = ? and round = ?")
        .bind(&key.saga_id.as_bytes()[..])
        .bind(&*key.step)
        .bind(key.round)
        .execute(connection)
        .await?;
    Ok(())
}
