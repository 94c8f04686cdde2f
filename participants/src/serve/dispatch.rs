//! From batches of commands to replies: admission, running, coalescing.
//!
//! Undo, query and seal have a budget of their own, so that a full forward road never delays them. The
//! commands of a batch are first polled in one task: with an inbox in memory and a handler that never waits
//! they are answered there, and all such answers of a batch leave in one message. Whatever waits becomes a
//! task of its own. No handler runs in the task that reads: one that blocks its thread must not stop it.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use saga_proto::v1;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout_at,
};
use tokio_util::task::TaskTracker;

use super::{Budgets, convert, outbound::Sink, pulse::Pulse};
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

/// The permits and the running handlers of the whole process, and how long they have in the end.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    forward: Arc<Semaphore>,
    undo: Arc<Semaphore>,
    pub(super) running: TaskTracker,
    pulse: Arc<Pulse>,
    drain: Duration,
    drained: Arc<OnceLock<tokio::time::Instant>>,
}

impl Workers {
    pub(super) fn new(budgets: &Budgets) -> Self {
        Self {
            forward: Arc::new(Semaphore::new(budgets.forward)),
            undo: Arc::new(Semaphore::new(budgets.undo)),
            running: TaskTracker::new(),
            pulse: Arc::default(),
            drain: budgets.drain,
            drained: Arc::default(),
        }
    }

    /// Begins the end, if it has not begun: until when handlers may run. Whoever waits for them shares this moment.
    pub(super) fn drained_at(&self) -> tokio::time::Instant {
        self.running.close();
        *self
            .drained
            .get_or_init(|| tokio::time::Instant::now() + self.drain)
    }

    /// Waits for handlers that run although no connection is up, so that they commit; how many are left.
    pub(super) async fn drain(&self) -> usize {
        let _ = timeout_at(self.drained_at(), self.running.wait()).await;
        self.running.len()
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
        Self {
            core,
            workers,
            forward: VecDeque::new(),
            undo: VecDeque::new(),
        }
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
    pub(super) fn take(&mut self, batch: v1::CommandBatch, sink: &Sink) {
        let mut answers = Vec::with_capacity(batch.commands.len());
        for command in batch.commands {
            match convert::ask(command) {
                Ok(ask) => {
                    let admitted = self.admit(ask, sink);
                    answers.extend(admitted.map(|(ask, permit)| self.answer(ask, sink, permit)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a command that cannot be read is dropped");
                    sink.silent();
                }
            }
        }
        if answers.is_empty() {
            return;
        }
        let (workers, sink) = (self.workers.clone(), sink.clone());
        self.workers.running.spawn(async move {
            let _beat = workers.pulse.begin();
            let mut answers = Some(answers);
            let replies = poll_fn(|cx| {
                let answers = answers.take().unwrap_or_default();
                Poll::Ready(poll_once(answers, &workers, &sink, cx))
            });
            sink.replies(replies.await);
        });
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
            spawn(&self.workers, answer, &sink);
        }
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

    fn answer(&self, ask: Ask, sink: &Sink, permit: OwnedSemaphorePermit) -> Answer {
        let (core, sink, ask) = (self.core.clone(), sink.clone(), Arc::new(ask));
        Box::pin(async move {
            let _permit = permit;
            let (attempt, answer) = core.execute(&ask, &sink).await?;
            Some(convert::reply(&ask.key, ask.op, attempt, answer))
        })
    }
}

/// What a command is answered; `None`: nothing.
type Answer = BoxFuture<Option<v1::Reply>>;

/// Looks once at each, for a while; the replies that were there. The others become tasks.
fn poll_once(
    answers: Vec<Answer>,
    workers: &Workers,
    sink: &Sink,
    cx: &mut Context<'_>,
) -> Vec<v1::Reply> {
    let began = Instant::now();
    let mut replies = Vec::with_capacity(answers.len());
    for mut answer in answers {
        if began.elapsed() > INLINE_LIMIT {
            spawn(workers, answer, sink);
            continue;
        }
        match answer.as_mut().poll(cx) {
            Poll::Ready(Some(reply)) => replies.push(reply),
            Poll::Ready(None) => sink.silent(),
            Poll::Pending => spawn(workers, answer, sink),
        }
    }
    replies
}

fn spawn(workers: &Workers, answer: Answer, sink: &Sink) {
    let (pulse, sink) = (workers.pulse.clone(), sink.clone());
    workers.running.spawn(async move {
        let _beat = pulse.begin();
        match answer.await {
            Some(reply) => sink.reply(reply),
            None => sink.silent(),
        }
    });
}
