//! One command from arrival to answer: barrier, handler, local commit, reply. No transport here.

mod run;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicUsize},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    command::{Ask, Op, StepKey},
    context::Ctx,
    handler::{BoxFuture, Registered},
    inbox::{self, Claim, End, Entry, Inbox, Store},
    limit::Limit,
    reply::{Answer, Failure, HandlerError, Outcome, Stop, with_causes},
    serve::{Links, Sink},
};

/// Called after a local commit, before the reply is handed to the writer.
pub(crate) type AfterCommit = Arc<dyn Fn(StepKey, Op) -> BoxFuture<()> + Send + Sync>;

/// A participant made ready: what every connection and harness shares.
pub(crate) struct Core<S: Store> {
    pub(crate) name: String,
    pub(crate) inbox: S::Inbox,
    pub(crate) actions: HashMap<String, Registered<S>>,
    pub(crate) compensations: HashMap<String, Registered<S>>,
    /// For a compensation: the action it undoes, where the participant says so.
    pub(crate) undoes: HashMap<String, String>,
    pub(crate) after_commit: Option<AfterCommit>,
    pub(crate) links: Links,
    /// Cancelled when a handler blocks the inbox for good, so that this process can serve nothing any more.
    pub(crate) stuck: CancellationToken,
    /// Handlers that could not be ended, and are still there.
    pub(crate) blocked: Arc<AtomicUsize>,
}

/// An answer and the attempt it is for.
pub(crate) type Answered = (u32, Answer);

impl<S: Store> Core<S> {
    /// Answers one command; `None` where nobody waits for an answer, or nobody knows it.
    pub(crate) async fn execute(self: &Arc<Self>, ask: &Arc<Ask>, sink: &Sink) -> Option<Answered> {
        match self.inbox.enter(ask).await {
            Ok(Entry::Answered { answer, wrote }) => {
                if wrote {
                    self.committed(ask).await;
                }
                Some((ask.attempt, answer))
            }
            Ok(Entry::Silent) => None,
            Ok(Entry::Run {
                unit,
                output,
                resumed,
            }) => self.run(ask, sink, unit, (output, resumed)).await,
            Err(error) => answer_inbox_error(ask, error),
        }
    }

    async fn run(
        self: &Arc<Self>,
        ask: &Arc<Ask>,
        sink: &Sink,
        unit: S::Unit,
        (output, resumed): (Option<Bytes>, bool),
    ) -> Option<Answered> {
        let claim = Claim::default();
        let limit = Limit::new(ask.timeout).map(Arc::new);
        let ctx = Ctx {
            core: self.clone(),
            ask: ask.clone(),
            unit: unit.clone(),
            sink: sink.clone(),
            limit: limit.clone(),
            claim: claim.clone(),
            resumed,
        };
        let called = match self.call(ctx, output, limit.as_deref()).await {
            Ok(called) => called,
            Err(overran) => return self.overran(ask, unit, overran).await,
        };
        let (end, answer) = match (ask.op, called) {
            (Op::Compensation, Ok(_)) => (End::Compensated, Answer::Compensated),
            (_, Ok(Outcome::Done(output))) => {
                (End::Done(output.clone()), Answer::Succeeded(output))
            }
            (_, Ok(Outcome::Accepted)) => (End::Accepted(claim), Answer::Accepted),
            (op, Err(HandlerError(stop))) => stopped(op, stop),
        };
        log_failure(ask, &answer);
        let commits = end != End::RolledBack;
        match self.inbox.settle(ask, unit, end).await {
            Ok(attempt) => {
                if commits {
                    self.committed(ask).await;
                }
                Some((attempt, answer))
            }
            Err(error) => {
                if let inbox::Error::TransactionHeld = error {
                    self.give_up_later();
                }
                Some((ask.attempt, inbox_failure(ask, error)))
            }
        }
    }

    async fn committed(&self, ask: &Ask) {
        if let Some(hook) = &self.after_commit {
            hook(ask.key.clone(), ask.op).await;
        }
    }
}

fn stopped(op: Op, stop: Stop) -> (End, Answer) {
    match (stop, op) {
        (Stop::Failed(failure), _) => (End::RolledBack, Answer::Failed(failure)),
        (Stop::Refused(fault) | Stop::NeedsOperator(fault), Op::Compensation) => {
            // A compensation may not refuse: what was done would stay done. A person decides.
            (End::RolledBack, Answer::NeedsOperator(fault))
        }
        (Stop::Refused(fault), _) => (End::Refused(fault.clone()), Answer::Refused(fault)),
        (Stop::NeedsOperator(fault), _) => (
            End::RolledBack,
            Answer::Failed(Failure {
                fault,
                retry_after: None,
            }),
        ),
    }
}

/// The orchestrator hears of it anyway; this line is for those who run the service.
fn log_failure(ask: &Ask, answer: &Answer) {
    if let Answer::Failed(Failure { fault, .. }) | Answer::NeedsOperator(fault) = answer {
        tracing::warn!(key = %ask.key, op = ?ask.op, action = ask.action, attempt = ask.attempt,
            %fault, "handler failed, rolled back");
    }
}

fn answer_inbox_error(ask: &Ask, error: inbox::Error) -> Option<Answered> {
    let failure = inbox_failure(ask, error);
    (ask.op != Op::Forget).then_some((ask.attempt, failure))
}

fn inbox_failure(ask: &Ask, error: inbox::Error) -> Answer {
    let message = with_causes(&error);
    tracing::error!(key = %ask.key, op = ?ask.op, error = message, "inbox failed, the command will come again");
    Answer::Failed(Failure::new("inbox_unavailable", message))
}
