//! What a handler knows of its command, and the transaction it writes through.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use sqlx::{PgConnection, SqliteConnection, Transaction};
use tokio::{
    sync::{MappedMutexGuard, MutexGuard},
    time::timeout,
};

use crate::{
    command::{Ask, Op, StepKey},
    execute::Core,
    inbox::{Claim, Memory, Postgres, Sqlite, Store},
    limit::Limit,
    participant::{Handle, Run},
    reply::Answer,
    serve::Sink,
};

/// How long [`Ctx::tx`] waits for its own guard.
const TX_WAIT: Duration = Duration::from_secs(5);

/// The command's context. `S` names what the inbox is kept in: [`Sqlite`] lends its transaction,
/// [`Memory`] has none.
pub struct Ctx<S: Store = Memory> {
    pub(crate) core: Arc<Core<S>>,
    pub(crate) ask: Arc<Ask>,
    pub(crate) unit: S::Unit,
    pub(crate) sink: Sink,
    /// How long this run may take; `None` where the attempt has no limit.
    pub(crate) limit: Option<Arc<Limit>>,
    /// The right to tell the end of the work, should the handler accept it.
    pub(crate) claim: Claim,
    pub(crate) resumed: bool,
}

impl<S: Store> Ctx<S> {
    /// The key of this step: `saga/step/round` when printed, the same for every attempt. Pass it on to
    /// remote services that deduplicate. A compensation has the key of its action.
    pub fn idempotency_key(&self) -> &StepKey {
        &self.ask.key
    }

    /// The saga.
    pub fn saga_id(&self) -> uuid::Uuid {
        self.ask.key.saga_id
    }

    /// Path of the step in the saga.
    pub fn step(&self) -> &str {
        &self.ask.key.step
    }

    /// Which sending this is, counted from one. Never part of a decision about effects.
    pub fn attempt(&self) -> u32 {
        self.ask.attempt
    }

    /// True for an action that was accepted before, when whoever worked on it is gone: the handler is called again for a
    /// later attempt, and what it committed then is there. Go on from that, or begin anew; from now on only this run, or the
    /// work that it accepts, can tell the end. Refuse only if nothing of the earlier work stays.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Name of the saga's definition.
    pub fn definition(&self) -> &str {
        &self.ask.definition
    }

    /// One attempt's limit, as the saga file sets it; `None` when it sets none. A handler that is still at work shortly
    /// before is ended there and rolled back; [`heartbeat`](Self::heartbeat) puts that off.
    pub fn timeout(&self) -> Option<Duration> {
        (!self.ask.timeout.is_zero()).then_some(self.ask.timeout)
    }

    /// W3C trace context of the saga, empty when there is none.
    pub fn traceparent(&self) -> &str {
        &self.ask.traceparent
    }

    /// Reports to the orchestrator that the work goes on: the limit of this attempt begins anew, there and here. Call
    /// it well within [`Ctx::timeout`], in an action as in a compensation.
    pub fn heartbeat(&self) {
        if let Some(limit) = &self.limit {
            limit.extend();
        }
        // For a compensation `running` means that its action is in progress, and to ask again.
        let sign = match self.ask.op {
            Op::Compensation => Answer::Accepted,
            Op::Action | Op::Query | Op::Seal | Op::Forget => Answer::Running,
        };
        self.sink.send(&self.ask, self.ask.attempt, sign);
    }

    /// For an action that answers [`Outcome::Accepted`](crate::Outcome::Accepted): what the work that
    /// goes on takes along, to tell its end. Completing waits until the acceptance is stored.
    ///
    /// Keep it for as long as the work goes on: once the handler has accepted, the work counts as gone when the last clone
    /// is dropped, and a later attempt is handed to a handler again ([`resumed`](Self::resumed)).
    pub fn handle(&self) -> Handle<S> {
        let run = Run {
            key: self.ask.key.clone(),
            limit: self.limit.clone(),
            claim: (self.ask.op == Op::Action).then(|| self.claim.clone()),
        };
        Handle::new(self.core.inbox.clone(), self.core.links.clone(), Some(run))
    }
}

impl Ctx<Sqlite> {
    /// The transaction that commits together with the inbox row and the reply. Do not commit or roll
    /// it back: the inbox does. The guard is exclusive; drop it before asking again.
    ///
    /// # Errors
    /// When the handler has returned already (a task that it left behind cannot write any more), or when
    /// the guard is held for longer than five seconds, most likely by the very caller.
    pub async fn tx(&self) -> Result<Tx<'_>, TxError> {
        let slot = timeout(TX_WAIT, self.unit.0.lock())
            .await
            .map_err(|_| TxError::Held)?;
        MutexGuard::try_map(slot, Option::as_mut)
            .map(Tx)
            .map_err(|_| TxError::Over)
    }
}

/// The inbox's open transaction, as the connection it lives on.
pub struct Tx<'a>(MappedMutexGuard<'a, crate::inbox::Lent>);

impl Deref for Tx<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.0.connection()
    }
}

impl DerefMut for Tx<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.0.connection_mut()
    }
}

impl Ctx<Postgres> {
    /// The transaction that commits together with the inbox row and the reply. Do not commit or roll
    /// it back: the inbox does. The guard is exclusive; drop it before asking again.
    ///
    /// # Errors
    /// When the handler has returned already (a task that it left behind cannot write any more), or when
    /// the guard is held for longer than five seconds, most likely by the very caller.
    pub async fn tx(&self) -> Result<PgTx<'_>, TxError> {
        let slot = timeout(TX_WAIT, self.unit.tx.lock())
            .await
            .map_err(|_| TxError::Held)?;
        MutexGuard::try_map(slot, Option::as_mut)
            .map(PgTx)
            .map_err(|_| TxError::Over)
    }
}

/// The inbox's open transaction in PostgreSQL, as the connection it lives on.
pub struct PgTx<'a>(MappedMutexGuard<'a, Transaction<'static, sqlx::Postgres>>);

impl Deref for PgTx<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for PgTx<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// Why a handler does not get its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    /// The handler has returned, its transaction with it.
    #[error("the handler has returned, its transaction is over")]
    Over,
    /// Waiting on would hold the only writer for ever.
    #[error("the transaction is in use; was its guard kept while it was asked for again?")]
    Held,
}
