//! The participant of the saga `my_saga`: what each action does, and what undoes it.
//!
//! A handler writes through `ctx.tx()`. That transaction also holds the inbox row and the answer, so a command that is
//! sent twice takes effect once. A `Reject` is a business no and turns the saga back; any other error is tried again.

use std::error::Error;

use saga_participant::{Ctx, Participant, Reject, Result, Sqlite, SqliteInbox, Undo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const TABLES: &str = "
    create table if not exists reserved (id integer primary key, item text, count integer);
    create table if not exists invoice (id integer primary key, order_id text, customer text, cents integer,
        void integer not null default 0);
    create table if not exists charged (id integer primary key, customer text, cents integer);
    create table if not exists mail (id integer primary key, customer text, text text);";

/// Cards may not be charged more at once.
const LIMIT_CENTS: i64 = 100_000;

#[derive(Deserialize, JsonSchema)]
struct Reserve {
    item: String,
    count: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Reserved {
    reservation: i64,
}

async fn reserve(ctx: Ctx<Sqlite>, ask: Reserve) -> Result<Reserved> {
    if ask.count < 1 {
        return Err(Reject::new("nothing_to_reserve", "an order has one piece at least").into());
    }
    let mut tx = ctx.tx().await?;
    let reservation =
        sqlx::query_scalar("insert into reserved (item, count) values (?, ?) returning id")
            .bind(&ask.item)
            .bind(ask.count)
            .fetch_one(&mut *tx)
            .await?;
    println!("reserved {} x {}", ask.count, ask.item);
    Ok(Reserved { reservation })
}

async fn release(ctx: Ctx<Sqlite>, undo: Undo<Reserve, Reserved>) -> Result<()> {
    // Without an output the action never took effect here: the inbox knows.
    let Some(done) = undo.output else {
        return Ok(());
    };
    let mut tx = ctx.tx().await?;
    sqlx::query("delete from reserved where id = ?")
        .bind(done.reservation)
        .execute(&mut *tx)
        .await?;
    println!("released {} x {}", undo.input.count, undo.input.item);
    Ok(())
}

#[derive(Deserialize, JsonSchema)]
struct WriteInvoice {
    order_id: String,
    customer: String,
    cents: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Invoice {
    invoice: i64,
}

async fn write_invoice(ctx: Ctx<Sqlite>, ask: WriteInvoice) -> Result<Invoice> {
    let mut tx = ctx.tx().await?;
    let invoice = sqlx::query_scalar(
        "insert into invoice (order_id, customer, cents) values (?, ?, ?) returning id",
    )
    .bind(&ask.order_id)
    .bind(&ask.customer)
    .bind(ask.cents)
    .fetch_one(&mut *tx)
    .await?;
    println!("invoice {invoice} for {}", ask.order_id);
    Ok(Invoice { invoice })
}

async fn void_invoice(ctx: Ctx<Sqlite>, undo: Undo<WriteInvoice, Invoice>) -> Result<()> {
    let Some(done) = undo.output else {
        return Ok(());
    };
    let mut tx = ctx.tx().await?;
    sqlx::query("update invoice set void = 1 where id = ?")
        .bind(done.invoice)
        .execute(&mut *tx)
        .await?;
    println!("invoice {} is void", done.invoice);
    Ok(())
}

#[derive(Deserialize, JsonSchema)]
struct Charge {
    customer: String,
    cents: i64,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Charged {
    receipt: String,
}

async fn charge(ctx: Ctx<Sqlite>, ask: Charge) -> Result<Charged> {
    if ask.cents > LIMIT_CENTS {
        let no = format!("{} may not spend {} cents at once", ask.customer, ask.cents);
        return Err(Reject::new("limit_exceeded", no).into());
    }
    let mut tx = ctx.tx().await?;
    let id: i64 =
        sqlx::query_scalar("insert into charged (customer, cents) values (?, ?) returning id")
            .bind(&ask.customer)
            .bind(ask.cents)
            .fetch_one(&mut *tx)
            .await?;
    println!("charged {} {} cents", ask.customer, ask.cents);
    Ok(Charged {
        receipt: format!("R-{id}"),
    })
}

#[derive(Deserialize, JsonSchema)]
struct SayThanks {
    customer: String,
    text: String,
}

async fn say_thanks(ctx: Ctx<Sqlite>, ask: SayThanks) -> Result<()> {
    let mut tx = ctx.tx().await?;
    sqlx::query("insert into mail (customer, text) values (?, ?)")
        .bind(&ask.customer)
        .bind(&ask.text)
        .execute(&mut *tx)
        .await?;
    println!("to {}: {}", ask.customer, ask.text);
    Ok(())
}

pub(crate) async fn participant(
    path: &str,
) -> std::result::Result<Participant<Sqlite>, Box<dyn Error>> {
    let inbox = SqliteInbox::open(path).await?;
    inbox.migrate(TABLES).await?;
    Ok(Participant::new("my_saga")
        .action("reserve", reserve)
        .compensation("release", release)
        .undoes("reserve")
        .action("write_invoice", write_invoice)
        .compensation("void_invoice", void_invoice)
        .undoes("write_invoice")
        .action("charge", charge)
        .action("say_thanks", say_thanks)
        .inbox(inbox))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let participant = participant("my_saga.db").await?;
    println!("my_saga runs as process {}", std::process::id());
    participant.serve_from_env().await?; // at SAGA_ENDPOINT, or grpc://127.0.0.1:7420; ends on SIGTERM
    Ok(())
}
