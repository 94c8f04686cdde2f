//! The run of one handler, with an end to it: one that returns, panics, runs into its limit, or blocks its thread.
//!
//! A handler with a transaction has a task of its own, so that somebody is there to notice when it blocks the thread it runs
//! on. Such a handler cannot be ended; its transaction can, and the thread is lost until the handler returns. A handler
//! without a transaction runs where its command is answered: nothing could be said of its effect anyway.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Answered, Core};
use crate::{
    command::{Ask, Op},
    context::Ctx,
    inbox::{Abandoned, Inbox, Kind, Store},
    limit::Limit,
    reply::{Answer, Failure, HandlerError, Outcome, Stop},
    unheard::unheard,
};

/// Code of the failure that answers for a handler which was ended at its limit.
const HANDLER_TIMEOUT: &str = "handler_timeout";

/// A handler that is told to end and has not after so long blocks its thread.
const ENDS_WITHIN: Duration = Duration::from_millis(100);

/// How long a handler that blocks the whole inbox is waited for before the participant gives up.
pub(crate) const STUCK_PATIENCE: Duration = Duration::from_secs(10);

type Called = Result<Outcome<Bytes>, HandlerError>;

/// A handler ran into its limit.
pub(super) struct Overran {
    after: Duration,
    /// It could not be ended.
    blocks: bool,
}

/// The task of a handler. Dropping it ends the handler.
struct Task(JoinHandle<Called>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<S: Store> Core<S> {
    /// Calls the handler of a command, for as long as its limit allows.
    pub(super) async fn call(
        self: &Arc<Self>,
        ctx: Ctx<S>,
        output: Option<Bytes>,
        limit: Option<&Limit>,
    ) -> Result<Called, Overran> {
        let handlers = if ctx.ask.op == Op::Compensation {
            &self.compensations
        } else {
            &self.actions
        };
        let Some(handler) = handlers.get(&ctx.ask.action) else {
            let message = format!("participant {} serves no `{}`", self.name, ctx.ask.action);
            return Ok(Err(HandlerError(Stop::Failed(Failure::new(
                "unknown_action",
                message,
            )))));
        };
        let run = handler.run.clone();
        // The call itself, too, may panic or block.
        let call = AssertUnwindSafe(async move { run(ctx, output).await }).catch_unwind();
        let call = call.map(|ended| ended.unwrap_or_else(|panic| Err(panicked(&*panic))));
        let Some(limit) = limit else {
            return Ok(call.await);
        };
        match self.inbox.kind() {
            // Polled first: a handler that never waits costs no timer.
            Kind::None => tokio::select! {
                biased;
                called = call => Ok(called),
                () = limit.over() => Err(Overran { after: limit.length(), blocks: false }),
            },
            Kind::Transactional => self.call_apart(call, limit).await,
        }
    }

    async fn call_apart(
        &self,
        call: impl Future<Output = Called> + Send + 'static,
        limit: &Limit,
    ) -> Result<Called, Overran> {
        let blocked = Blocked::default();
        let mark = blocked.clone();
        let mut task = Task(tokio::spawn(async move {
            let _mark = mark;
            call.await
        }));
        let ended = tokio::select! {
            biased;
            ended = &mut task.0 => ended,
            () = limit.over() => {
                task.0.abort();
                match timeout(ENDS_WITHIN, &mut task.0).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        blocked.count(&self.blocked);
                        return Err(Overran { after: limit.length(), blocks: true });
                    }
                }
            }
        };
        match ended {
            Ok(called) => Ok(called),
            // Panics are caught inside; it was ended by us, or the runtime goes down.
            Err(_) => Err(Overran {
                after: limit.length(),
                blocks: false,
            }),
        }
    }

    /// Answers for a handler that ran into its limit, if it is certain that nothing of it takes effect.
    pub(super) async fn overran(
        self: &Arc<Self>,
        ask: &Arc<Ask>,
        unit: S::Unit,
        overran: Overran,
    ) -> Option<Answered> {
        let Overran { after, blocks } = overran;
        let how = if blocks {
            "it blocks its thread and cannot be ended"
        } else {
            "it was ended"
        };
        let (name, action, key) = (&self.name, &ask.action, &ask.key);
        let abandoned = match self.inbox.abandon(ask, unit).await {
            Ok(abandoned) => abandoned,
            Err(error) => {
                tracing::error!(%error, %key, "the transaction of a handler could not be ended");
                Abandoned::Unknown
            }
        };
        let fate = match abandoned {
            Abandoned::RolledBack => "rolled back",
            Abandoned::Stuck => {
                "it can never commit, but the inbox takes nothing until the handler returns"
            }
            Abandoned::Unknown => "unknown",
        };
        tracing::error!(%key, op = ?ask.op, action, attempt = ask.attempt, ?after, transaction = fate,
            "the handler ran into its attempt's limit, {how}");
        unheard(format_args!(
            "{name}: {action} of {key} ran into its attempt's limit after {after:.1?}, {how}; its transaction: {fate}"
        ));
        match abandoned {
            Abandoned::Unknown => return None,
            Abandoned::RolledBack => {}
            Abandoned::Stuck => self.give_up_later(),
        }
        let message =
            format!("the handler ran into its attempt's limit ({after:.1?}), {how}; rolled back");
        Some((
            ask.attempt,
            Answer::Failed(Failure::new(HANDLER_TIMEOUT, message)),
        ))
    }

    /// Ends the participant if the inbox stays blocked: another process may go on where this one cannot.
    pub(super) fn give_up_later(self: &Arc<Self>) {
        let core = self.clone();
        tokio::spawn(async move {
            sleep(STUCK_PATIENCE).await;
            if core.inbox.is_stuck() {
                let name = &core.name;
                tracing::error!(
                    participant = name,
                    "a handler blocks its thread and the inbox, serving ends"
                );
                unheard(format_args!(
                    "{name}: a handler blocks its thread and the inbox's only writer; serving ends"
                ));
                core.stuck.cancel();
            }
        });
    }
}

/// Counts a handler that could not be ended, until it returns.
#[derive(Clone, Default)]
struct Blocked(Arc<std::sync::OnceLock<Counted>>);

struct Counted(Arc<AtomicUsize>);

impl Blocked {
    fn count(&self, counter: &Arc<AtomicUsize>) {
        self.0.get_or_init(|| {
            counter.fetch_add(1, Ordering::Relaxed);
            Counted(counter.clone())
        });
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn panicked(panic: &(dyn Any + Send)) -> HandlerError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the handler panicked".to_owned());
    HandlerError(Stop::Failed(Failure::new("panic", text)))
}
