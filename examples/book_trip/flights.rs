//! Reserves seats and cancels them: an action, and the compensation that is typed by it.

use std::result::Result as StdResult;

use saga_participant::{Ctx, Participant, Reject, Result, Sqlite, SqliteInbox, Undo, inbox};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ledger::{Kind, note};

const SCHEMA: &str = "create table if not exists booking (
    id integer primary key autoincrement,
    step_key text not null,
    customer_id text not null,
    origin text not null,
    destination text not null,
    day text not null,
    cancelled integer not null default 0
);";

/// What `flights/reserve` is asked.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Reserve {
    customer_id: String,
    flight: Flight,
}

/// From where to where, and when.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Flight {
    from: String,
    to: String,
    date: String,
}

/// What `flights/reserve` answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reserved {
    confirmation: String,
}

async fn reserve(ctx: Ctx<Sqlite>, ask: Reserve) -> Result<Reserved> {
    let Flight { from, to, date } = ask.flight;
    if from == to {
        return Err(Reject::new(
            "no_such_flight",
            format!("nobody flies from {from} to {to}"),
        )
        .into());
    }
    let mut tx = ctx.tx().await?;
    let id: i64 = sqlx::query_scalar(
        "insert into booking (step_key, customer_id, origin, destination, day) values (?, ?, ?, ?, ?)
         returning id",
    )
    .bind(ctx.idempotency_key().to_string())
    .bind(ask.customer_id)
    .bind(from)
    .bind(to)
    .bind(date)
    .fetch_one(&mut *tx)
    .await?;
    drop(tx); // the ledger takes the same transaction next
    let confirmation = format!("F-{id:04}");
    note(&ctx, Kind::Effect, &confirmation).await?;
    Ok(Reserved { confirmation })
}

async fn cancel(ctx: Ctx<Sqlite>, undo: Undo<Reserve, Reserved>) -> Result<()> {
    let mut tx = ctx.tx().await?;
    sqlx::query("update booking set cancelled = 1 where step_key = ?")
        .bind(&undo.action_key)
        .execute(&mut *tx)
        .await?;
    drop(tx);
    let subject = undo
        .output
        .map_or(undo.action_key, |reserved| reserved.confirmation);
    note(&ctx, Kind::Compensation, &subject).await
}

pub(super) async fn participant(
    inbox: SqliteInbox,
) -> StdResult<Participant<Sqlite>, inbox::Error> {
    inbox.migrate(SCHEMA).await?;
    Ok(Participant::new("flights")
        .action("reserve", reserve)
        .compensation("cancel", cancel)
        .undoes("reserve")
        .inbox(inbox))
}
