//! What a Rust service needs to take part in sagas.
//!
//! A participant serves actions and what undoes them. The kit owns what every saga guide leaves to
//! the reader: a repeated command answers again without acting again, an undo that overtakes its
//! action succeeds and keeps the late action out, and handler, inbox row and reply commit together.
//!
//! ```no_run
//! use saga_participant::{Ctx, Participant, Reject, Result, Sqlite, SqliteInbox, Undo};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Reserve { customer_id: String, flight: String }
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! struct Reserved { confirmation: String }
//!
//! async fn reserve(ctx: Ctx<Sqlite>, ask: Reserve) -> Result<Reserved> {
//!     if ask.flight.is_empty() {
//!         return Err(Reject::new("no_such_flight", "the flight has no number").into());
//!     }
//!     let mut tx = ctx.tx().await?; // any error through `?` rolls back and is retried
//!     sqlx::query("insert into seat (key, customer) values (?, ?)")
//!         .bind(ctx.idempotency_key().to_string())
//!         .bind(&ask.customer_id)
//!         .execute(&mut *tx)
//!         .await?;
//!     Ok(Reserved { confirmation: format!("F-{}", ask.flight) })
//! }
//!
//! async fn cancel(ctx: Ctx<Sqlite>, undo: Undo<Reserve, Reserved>) -> Result<()> {
//!     let mut tx = ctx.tx().await?;
//!     sqlx::query("delete from seat where key = ?").bind(&undo.action_key).execute(&mut *tx).await?;
//!     Ok(())
//! }
//!
//! # async fn run() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! Participant::new("flights")
//!     .action("reserve", reserve)
//!     .compensation("cancel", cancel)
//!     .inbox(SqliteInbox::open("flights.db").await?)
//!     .serve_from_env() // SAGA_ENDPOINT; drains on SIGTERM
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! Reading order: [`participant`](Participant) (what a service writes), `handler` and `context` (what
//! its functions see), `reply` (what they answer), `inbox` (the barrier), `execute` (one command from
//! arrival to answer), `serve` (the wire), [`testing`].

mod command;
mod context;
mod execute;
mod handler;
pub mod inbox;
mod limit;
mod participant;
mod reply;
pub mod serve;
pub mod testing;
mod unheard;

pub use command::{Known, Op, StepKey};
pub use context::{Ctx, PgTx, Tx, TxError};
pub use handler::{ActionHandler, ActionOutput, CompensationHandler, Undo};
pub use inbox::{Memory, MemoryInbox, PgInbox, Postgres, Sqlite, SqliteInbox, Store};
pub use participant::{CompleteError, Handle, Participant};
pub use reply::{
    Answer, Failure, Fault, HandlerError, NeedsOperator, Outcome, Reject, Result, Retry,
};
pub use serve::Error;

/// Longest output of an action, in bytes; a longer one fails with the code `output_too_large`.
pub const OUTPUT_BYTES_MAX: usize = saga_proto::limits::DOCUMENT_BYTES_MAX;
