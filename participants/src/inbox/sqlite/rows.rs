//! The inbox's table and every statement on its rows.

use std::time::Duration;

use sqlx::{Row as _, SqliteConnection};

use super::super::{
    Error,
    barrier::RowState,
    claims::micros,
    rows::{Row, Stored},
    unix_micros,
};
use crate::{
    command::{Ask, StepKey},
    reply::Fault,
};

const SCHEMA: &str = "
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
    claim integer not null default 0,
    alive_until_us integer not null default 0,
    primary key (saga_id, step, round)
);
create index if not exists saga_inbox_retention on saga_inbox (retain_until_us);
create table if not exists saga_inbox_meta (name text primary key, value text not null);";

/// What an earlier release made without: who holds accepted work, and until when the worker counts as alive.
const CLAIMS: &str = "
alter table saga_inbox add column claim integer not null default 0;
alter table saga_inbox add column alive_until_us integer not null default 0;";

const CLAIMS_INDEX: &str =
    "create index if not exists saga_inbox_claim on saga_inbox (claim) where state = 'running'";

/// Makes the tables, or brings them up to this release.
pub(super) async fn make(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SCHEMA).execute(&mut *connection).await?;
    if !has_claims(connection).await? {
        // Another process may do the same: the second look is under the lock. Dropped on an error, the connection rolls back.
        sqlx::raw_sql("begin immediate")
            .execute(&mut *connection)
            .await?;
        if !has_claims(connection).await? {
            sqlx::raw_sql(CLAIMS).execute(&mut *connection).await?;
        }
        sqlx::raw_sql("commit").execute(&mut *connection).await?;
    }
    sqlx::raw_sql(CLAIMS_INDEX).execute(connection).await?;
    Ok(())
}

async fn has_claims(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    const LOOK: &str =
        "select count(*) > 0 from pragma_table_info('saga_inbox') where name = 'alive_until_us'";
    sqlx::query_scalar(LOOK).fetch_one(connection).await
}

/// Puts off the moment until which accepted work counts as alive.
pub(super) async fn sign_of_life(
    connection: &mut SqliteConnection,
    claim: i64,
    lease: Duration,
) -> Result<(), Error> {
    sqlx::query("update saga_inbox set alive_until_us = ? where claim = ? and state = 'running'")
        .bind(unix_micros().saturating_add(micros(lease)))
        .bind(claim)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn read(
    connection: &mut SqliteConnection,
    key: &StepKey,
) -> Result<Option<Row>, Error> {
    const READ: &str = "select state, fingerprint, attempt, output, error_code, error_message,
        claim, alive_until_us from saga_inbox where saga_id = ? and step = ? and round = ?";
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
        claim: row.try_get(6)?,
        lapsed: row.try_get::<i64, _>(7)? < unix_micros(),
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
            output, error_code, error_message, retain_until_us, updated_at_us, claim, alive_until_us)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        on conflict (saga_id, step, round) do update set state = excluded.state,
            fingerprint = iif(excluded.fingerprint = 0, fingerprint, excluded.fingerprint),
            attempt = excluded.attempt, output = excluded.output, error_code = excluded.error_code,
            error_message = excluded.error_message, updated_at_us = excluded.updated_at_us,
            claim = excluded.claim, alive_until_us = excluded.alive_until_us,
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
        .bind(stored.claim.map_or(0, |(number, _)| number))
        .bind(
            stored
                .claim
                .map_or(0, |(_, lease)| unix_micros().saturating_add(micros(lease))),
        )
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
