//! Reserves rooms and cancels them. In the town of Flaky its first two attempts fail.

use std::result::Result as StdResult;

use saga_participant::{Ctx, Participant, Reject, Result, Retry, Sqlite, SqliteInbox, Undo, inbox};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ledger::{Kind, note};

const SCHEMA: &str = "create table if not exists stay (
    id integer primary key autoincrement,
    step_key text not null,
    customer_id text not null,
    city text not null,
    nights integer not null,
    cancelled integer not null default 0
);";

/// What `hotels/reserve` is asked.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Reserve {
    customer_id: String,
    hotel: Hotel,
}

/// Where, and for how long.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Hotel {
    city: String,
    nights: i64,
}

/// What `hotels/reserve` answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reserved {
    confirmation: String,
}

async fn reserve(ctx: Ctx<Sqlite>, ask: Reserve) -> Result<Reserved> {
    let Hotel { city, nights } = ask.hotel;
    if nights < 1 {
        return Err(Reject::new("no_nights", "a stay has at least one night").into());
    }
    let mut tx = ctx.tx().await?;
    let id: i64 = sqlx::query_scalar(
        "insert into stay (step_key, customer_id, city, nights) values (?, ?, ?, ?) returning id",
    )
    .bind(ctx.idempotency_key().to_string())
    .bind(ask.customer_id)
    .bind(&city)
    .bind(nights)
    .fetch_one(&mut *tx)
    .await?;
    drop(tx);
    let confirmation = format!("H-{id:04}");
    note(&ctx, Kind::Effect, &confirmation).await?;
    if city == "Flaky" && ctx.attempt() <= 2 {
        // What was written above is rolled back with this failure: stay, ledger and inbox row.
        return Err(Retry::new("hotel_busy", "503: the booking system is overloaded").into());
    }
    Ok(Reserved { confirmation })
}

async fn cancel(ctx: Ctx<Sqlite>, undo: Undo<Reserve, Reserved>) -> Result<()> {
    let mut tx = ctx.tx().await?;
    sqlx::query("update stay set cancelled = 1 where step_key = ?")
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
    Ok(Participant::new("hotels")
        .action("reserve", reserve)
        .compensation("cancel", cancel)
        .undoes("reserve")
        .inbox(inbox))
}
