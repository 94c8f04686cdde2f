//! The inbox's table and every statement on its rows.

use std::time::Duration;

use sqlx::{PgConnection, PgPool, Row as _};

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

pub(super) const SCHEMA: &str = "
create table if not exists saga_inbox (
    saga_id uuid not null,
    step text not null,
    round bigint not null,
    state text not null check (state in ('running', 'done', 'refused', 'tombstone', 'compensated')),
    fingerprint bigint not null,
    attempt bigint not null,
    output bytea,
    error_code text,
    error_message text,
    retain_until_us bigint not null,
    updated_at_us bigint not null,
    claim bigint not null default 0,
    alive_until_us bigint not null default 0,
    primary key (saga_id, step, round)
);
create index if not exists saga_inbox_retention on saga_inbox (retain_until_us);
create table if not exists saga_inbox_meta (name text primary key, value text not null);
-- What an earlier release made without. A table that has it is not locked for it.
do $$ begin
    if not exists (select from pg_attribute
            where attrelid = 'saga_inbox'::regclass and attname = 'alive_until_us' and not attisdropped) then
        alter table saga_inbox add column claim bigint not null default 0;
        alter table saga_inbox add column alive_until_us bigint not null default 0;
    end if;
    if to_regclass('saga_inbox_claim') is null then
        create index saga_inbox_claim on saga_inbox (claim) where state = 'running';
    end if;
end $$;";

/// Puts off the moments until which accepted work counts as alive, by the database's clock.
pub(super) async fn signs_of_life(pool: &PgPool, alive: &[(i64, Duration)]) -> Result<(), Error> {
    let (claims, leases): (Vec<i64>, Vec<i64>) = alive
        .iter()
        .map(|(claim, lease)| (*claim, micros(*lease)))
        .unzip();
    sqlx::query(
        "update saga_inbox i
         set alive_until_us = (extract(epoch from clock_timestamp()) * 1000000)::bigint + c.lease
         from unnest($1::bigint[], $2::bigint[]) as c (claim, lease)
         where i.claim = c.claim and i.state = 'running'",
    )
    .bind(claims)
    .bind(leases)
    .execute(pool)
    .await?;
    Ok(())
}

/// Inserts the key's row as being acted on; false when there is one. Waits for one that is not committed yet.
pub(super) async fn insert(connection: &mut PgConnection, ask: &Ask) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "insert into saga_inbox (saga_id, step, round, state, fingerprint, attempt, retain_until_us, updated_at_us)
         values ($1, $2, $3, 'running', $4, $5, $6, $7) on conflict do nothing",
    )
    .bind(ask.key.saga_id)
    .bind(&*ask.key.step)
    .bind(i64::from(ask.key.round))
    .bind(ask.fingerprint.cast_signed())
    .bind(i64::from(ask.attempt))
    .bind(ask.retain_until_us)
    .bind(unix_micros())
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Locks the key's row until the transaction ends.
pub(super) async fn lock(
    connection: &mut PgConnection,
    key: &StepKey,
) -> Result<Option<Row>, Error> {
    const READ: &str =
        "select state, fingerprint, attempt, output, error_code, error_message, claim,
        alive_until_us < (extract(epoch from clock_timestamp()) * 1000000)::bigint
        from saga_inbox where saga_id = $1 and step = $2 and round = $3 for update";
    let Some(row) = sqlx::query(READ)
        .bind(key.saga_id)
        .bind(&*key.step)
        .bind(i64::from(key.round))
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
        attempt: u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX),
        claim: row.try_get(6)?,
        lapsed: row.try_get(7)?,
        output: row
            .try_get::<Option<Vec<u8>>, _>(3)?
            .unwrap_or_default()
            .into(),
        fault,
    }))
}

pub(super) async fn write(
    connection: &mut PgConnection,
    ask: &Ask,
    stored: Stored,
) -> Result<(), Error> {
    const WRITE: &str = "update saga_inbox set state = $4,
            fingerprint = case when $5 = 0 then fingerprint else $5 end,
            attempt = $6, output = $7, error_code = $8, error_message = $9, updated_at_us = $11,
            claim = $12,
            alive_until_us = case when $12 = 0 then 0
                else (extract(epoch from clock_timestamp()) * 1000000)::bigint + $13 end,
            retain_until_us = greatest(retain_until_us, $10)
        where saga_id = $1 and step = $2 and round = $3";
    let (code, message) = stored
        .fault
        .map(|fault| (fault.code, fault.message))
        .unzip();
    sqlx::query(WRITE)
        .bind(ask.key.saga_id)
        .bind(&*ask.key.step)
        .bind(i64::from(ask.key.round))
        .bind(stored.state)
        .bind(stored.fingerprint.cast_signed())
        .bind(i64::from(ask.attempt))
        .bind(stored.output.as_deref())
        .bind(code.as_deref())
        .bind(message)
        .bind(ask.retain_until_us)
        .bind(unix_micros())
        .bind(stored.claim.map_or(0, |(number, _)| number))
        .bind(stored.claim.map_or(0, |(_, lease)| micros(lease)))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn update(
    connection: &mut PgConnection,
    key: &StepKey,
    stored: Stored,
) -> Result<(), Error> {
    const UPDATE: &str = "update saga_inbox set state = $4, output = $5, error_code = $6,
        error_message = $7, updated_at_us = $8 where saga_id = $1 and step = $2 and round = $3";
    let (code, message) = stored
        .fault
        .map(|fault| (fault.code, fault.message))
        .unzip();
    sqlx::query(UPDATE)
        .bind(key.saga_id)
        .bind(&*key.step)
        .bind(i64::from(key.round))
        .bind(stored.state)
        .bind(stored.output.as_deref())
        .bind(code.as_deref())
        .bind(message)
        .bind(unix_micros())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn bump_attempt(connection: &mut PgConnection, ask: &Ask) -> Result<(), Error> {
    sqlx::query(
        "update saga_inbox set attempt = $4 where saga_id = $1 and step = $2 and round = $3",
    )
    .bind(ask.key.saga_id)
    .bind(&*ask.key.step)
    .bind(i64::from(ask.key.round))
    .bind(i64::from(ask.attempt))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn delete(connection: &mut PgConnection, key: &StepKey) -> Result<(), Error> {
    sqlx::query("delete from saga_inbox where saga_id = $1 and step = $2 and round = $3")
        .bind(key.saga_id)
        .bind(&*key.step)
        .bind(i64::from(key.round))
        .execute(connection)
        .await?;
    Ok(())
}
