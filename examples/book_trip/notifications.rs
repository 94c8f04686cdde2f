//! Writes to customers: the smallest participant, one action and nothing to undo. It comes after the pivot, so when it
//! says no, a person is needed.

use std::result::Result as StdResult;

use saga_participant::{Ctx, Participant, Reject, Result, Sqlite, SqliteInbox, inbox};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ledger::{Kind, note};

const SCHEMA: &str = "create table if not exists message (
    id integer primary key autoincrement,
    step_key text not null,
    customer_id text not null,
    text text not null
);";

/// What `notifications/send` is asked.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Send {
    customer_id: String,
    text: String,
}

/// What `notifications/send` answers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sent {
    message_id: String,
}

async fn send(ctx: Ctx<Sqlite>, ask: Send) -> Result<Sent> {
    if ask.customer_id == "customer-unreachable" {
        return Err(Reject::new("no_address", "nobody knows where the customer lives").into());
    }
    let mut tx = ctx.tx().await?;
    let id: i64 = sqlx::query_scalar(
        "insert into message (step_key, customer_id, text) values (?, ?, ?) returning id",
    )
    .bind(ctx.idempotency_key().to_string())
    .bind(ask.customer_id)
    .bind(ask.text)
    .fetch_one(&mut *tx)
    .await?;
    drop(tx);
    let message_id = format!("M-{id:04}");
    note(&ctx, Kind::Effect, &message_id).await?;
    Ok(Sent { message_id })
}

pub(super) async fn participant(
    inbox: SqliteInbox,
) -> StdResult<Participant<Sqlite>, inbox::Error> {
    inbox.migrate(SCHEMA).await?;
    Ok(Participant::new("notifications")
        .action("send", send)
        .inbox(inbox))
}
