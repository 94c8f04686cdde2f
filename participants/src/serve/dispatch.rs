//! From batches of commands to replies: admission, running, coalescing.
//!
//! Undo, query and seal have a budget of their own, so that a full forward road never delays them. A
//! command is first polled where it was read: with an inbox in memory and a handler that never waits it
//! is answered there, without a task, and all such answers of a batch leave in one message. Whatever
//! waits becomes a task.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use saga_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::{Budgets, convert, outbound::Sink};
use crate::{
    command::{Ask, Op},
    execute::Core,
    handler::BoxFuture,
    inbox::Store,
};

/// How long one batch may be worked on in place before the rest of it becomes tasks.
const INLINE_LIMIT: Duration = Duration::from_millis(1);

/// Commands that wait for a permit, per stream and road, before reading stops.
const WAITING_MAX: usize = 16_384;

/// The permits and the running handlers of the whole process.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    forward: Arc<Semaphore>,
    undo: Arc<Semaphore>,
    pub(super) running: TaskTracker,
}

impl Workers {
    pub(super) fn new(budgets: &Budgets) -> Self {
        Self {
            forward: Arc::new(Semaphore::new(budgets.forward)),
            undo: Arc::new(Semaphore::new(budgets.undo)),
            running: TaskTracker::new(),
        }
    }
}

/// The commands of one stream, or of one connection to a broker.
pub(super) struct Dispatcher<S: Store> {
    core: Arc<Core<S>>,
    workers: Workers,
    forward: VecDeque<(Ask, Sink)>,
    undo: VecDeque<(Ask, Sink)>,
}

impl<S: Store> Dispatcher<S> {
    pub(super) fn new(core: Arc<Core<S>>, workers: Workers) -> Self {
        Self { core, workers, forward: VecDeque::new(), undo: VecDeque::new() }
    }

    /// Nothing waits for a permit.
    pub(super) fn is_empty(&self) -> bool {
        self.forward.is_empty() && self.undo.is_empty()
    }

    /// More commands may be read.
    pub(super) fn has_room(&self) -> bool {
        self.forward.len() < WAITING_MAX && self.undo.len() < WAITING_MAX
    }

    /// Starts what there is a permit for and queues the rest. Every command ends with one word to `sink`.
    pub(super) async fn take(&mut self, batch: v1::CommandBatch, sink: &Sink) {
        let mut commands = Some(batch.commands);
        let replies = poll_fn(|cx| {
            Poll::Ready(
                commands.take().map(|commands| self.start_batch(commands, sink, cx)).unwrap_or_default(),
            )
        });
        let replies = replies.await;
        sink.replies(replies);
    }

    /// Waits for a permit for the next queued command and starts it. Pends for ever when none waits.
    pub(super) async fn start_waiting(&mut self) {
        let (undo, forward) = (self.workers.undo.clone(), self.workers.forward.clone());
        let (waited, permit) = tokio::select! {
            biased;
            Ok(permit) = undo.acquire_owned(), if !self.undo.is_empty() => (self.undo.pop_front(), permit),
            Ok(permit) = forward.acquire_owned(), if !self.forward.is_empty() => {
                (self.forward.pop_front(), permit)
            }
            else => std::future::pending().await,
        };
        if let Some((ask, sink)) = waited {
            let answer = self.answer(ask, &sink, permit);
            self.spawn(answer, &sink);
        }
    }

    fn start_batch(
        &mut self,
        commands: Vec<v1::Command>,
        sink: &Sink,
        cx: &mut Context<'_>,
    ) -> Vec<v1::Reply> {
        let began = Instant::now();
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            let ask = match convert::ask(command) {
                Ok(ask) => ask,
                Err(error) => {
                    tracing::warn!(%error, "a command that cannot be read is dropped");
                    sink.silent();
                    continue;
                }
            };
            let Some((ask, permit)) = self.admit(ask, sink) else { continue };
            let mut answer = self.answer(ask, sink, permit);
            if began.elapsed() > INLINE_LIMIT {
                self.spawn(answer, sink);
                continue;
            }
            match answer.as_mut().poll(cx) {
                Poll::Ready(Some(reply)) => replies.push(reply),
                Poll::Ready(None) => sink.silent(),
                Poll::Pending => self.spawn(answer, sink),
            }
        }
        replies
    }

    fn admit(&mut self, ask: Ask, sink: &Sink) -> Option<(Ask, OwnedSemaphorePermit)> {
        let (permits, waiting) = match ask.op {
            Op::Action | Op::Forget => (&self.workers.forward, &mut self.forward),
            Op::Compensation | Op::Query | Op::Seal => (&self.workers.undo, &mut self.undo),
        };
        if waiting.is_empty()
            && let Ok(permit) = permits.clone().try_acquire_owned()
        {
            return Some((ask, permit));
        }
        waiting.push_back((ask, sink.clone()));
        None
    }

    fn answer(&self, ask: Ask, sink: &Sink, permit: OwnedSemaphorePermit) -> BoxFuture<Option<v1::Reply>> {
        let (core, sink, ask) = (self.core.clone(), sink.clone(), Arc::new(ask));
        Box::pin(async move {
            let _permit = permit;
            let (attempt, answer) = core.execute(&ask, &sink).await?;
            Some(convert::reply(&ask.key, ask.op, attempt, answer))
        })
    }

    fn spawn(&self, answer: BoxFuture<Option<v1::Reply>>, sink: &Sink) {
        let sink = sink.clone();
        self.workers.running.spawn(async move {
            match answer.await {
                Some(reply) => sink.reply(reply),
                None => sink.silent(),
            }
        });
    }
}
