//! Charges cards. There is no way back from it, so nothing here undoes; the bank may say no.

use std::result::Result as StdResult;

use saga_participant::{Ctx, Participant, Reject, Result, Sqlite, SqliteInbox, inbox};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ledger::{Kind, note};

const SCHEMA: &str = "create table if not exists charge (
    id integer primary key autoincrement,
    step_key text not null,
    customer_id text not null,
    amount_cents integer not null
);";

/// What `payments/charge` is asked.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Charge {
    customer_id: String,
    amount_cents: i64,
}

/// What `payments/charge` answers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Charged {
    receipt: String,
}

async fn charge(ctx: Ctx<Sqlite>, ask: Charge) -> Result<Charged> {
    if ask.amount_cents <= 0 {
        return Err(Reject::new("invalid_amount", "only a positive amount can be charged").into());
    }
    if ask.customer_id == "customer-broke" {
        return Err(Reject::new("card_declined", "the bank declined the card").into());
    }
    let mut tx = ctx.tx().await?;
    let id: i64 = sqlx::query_scalar(
        "insert into charge (step_key, customer_id, amount_cents) values (?, ?, ?) returning id",
    )
    .bind(ctx.idempotency_key().to_string())
    .bind(ask.customer_id)
    .bind(ask.amount_cents)
    .fetch_one(&mut *tx)
    .await?;
    drop(tx);
    let receipt = format!("R-{id:04}");
    note(&ctx, Kind::Effect, &receipt).await?;
    Ok(Charged { receipt })
}

pub(super) async fn participant(
    inbox: SqliteInbox,
) -> StdResult<Participant<Sqlite>, inbox::Error> {
    inbox.migrate(SCHEMA).await?;
    Ok(Participant::new("payments")
        .action("charge", charge)
        .inbox(inbox))
}
