//! The writing half of a stream: replies that are ready travel together.
//!
//! The transport polls this stream whenever it can take a message; whatever has been said by then goes
//! out as one batch. Under load batches grow by themselves, alone a reply waits for nothing.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use saga_proto::{limits, v1};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, error::SendError, unbounded_channel};
use tokio_stream::Stream;

use super::{amqp::Post, convert};
use crate::{
    command::{Ask, Op, StepKey},
    reply::Answer,
};

/// Replies in one batch at most.
const BATCH_REPLIES_MAX: usize = limits::BATCH_COUNT_MAX;

/// Bytes of outputs and messages after which a batch is closed; the last one may exceed it.
const BATCH_BYTES: usize = limits::BATCH_BYTES_MAX;

/// What is to be written.
#[derive(Debug)]
enum Out {
    Reply(v1::Reply),
    Replies(Vec<v1::Reply>),
    Draining,
    End,
}

/// Where the replies of one stream go. Unbounded, because the commands in flight bound it. Once the
/// stream is gone they go over the others: after a takeover the new owner waits for the same answers.
/// Where there is no other, they are dropped: the orchestrator asks again, the inbox answers.
#[derive(Debug, Clone)]
pub(crate) struct Sink(Way);

#[derive(Debug, Clone)]
enum Way {
    /// For callers without a stream.
    Nowhere,
    Stream(UnboundedSender<Out>, Links),
    /// Over a broker, which brings a command again until its answer is safe.
    Post(Post),
}

impl Sink {
    /// For callers without a stream.
    pub(crate) fn nowhere() -> Self {
        Self(Way::Nowhere)
    }

    pub(super) fn post(post: Post) -> Self {
        Self(Way::Post(post))
    }

    /// A sign of life: the command is not answered by it.
    pub(crate) fn send(&self, ask: &Ask, attempt: u32, answer: Answer) {
        self.tell(convert::reply(&ask.key, ask.op, attempt, answer));
    }

    /// A reply that ends no command which came over this way.
    fn tell(&self, reply: v1::Reply) {
        match &self.0 {
            Way::Nowhere | Way::Stream(..) => self.say(Out::Reply(reply)),
            Way::Post(post) => post.tell(reply),
        }
    }

    /// The answer to a command.
    pub(super) fn reply(&self, reply: v1::Reply) {
        match &self.0 {
            Way::Nowhere | Way::Stream(..) => self.say(Out::Reply(reply)),
            Way::Post(post) => post.answer(reply),
        }
    }

    /// The answers to commands.
    pub(super) fn replies(&self, replies: Vec<v1::Reply>) {
        match &self.0 {
            Way::Nowhere | Way::Stream(..) if replies.is_empty() => {}
            Way::Nowhere | Way::Stream(..) => self.say(Out::Replies(replies)),
            Way::Post(post) => replies.into_iter().for_each(|reply| post.answer(reply)),
        }
    }

    /// A command has no answer.
    pub(super) fn silent(&self) {
        match &self.0 {
            Way::Nowhere | Way::Stream(..) => {}
            Way::Post(post) => post.silent(),
        }
    }

    pub(super) fn draining(&self) {
        self.say(Out::Draining);
    }

    /// Closes the writing half once everything before it is written.
    pub(super) fn end(&self) {
        self.say(Out::End);
    }

    fn say(&self, out: Out) {
        let Way::Stream(sender, links) = &self.0 else {
            return;
        };
        match sender.send(out) {
            Ok(()) | Err(SendError(Out::Draining | Out::End)) => {}
            Err(SendError(Out::Reply(reply))) => links.broadcast(&reply),
            Err(SendError(Out::Replies(replies))) => {
                for reply in &replies {
                    links.broadcast(reply);
                }
            }
        }
    }
}

/// The stream of messages that the transport writes.
#[derive(Debug)]
pub(super) struct Outbound {
    hello: Option<v1::Hello>,
    said: UnboundedReceiver<Out>,
    taken: Vec<Out>,
    queue: VecDeque<Item>,
    ended: bool,
}

#[derive(Debug)]
enum Item {
    Reply(v1::Reply),
    Draining,
    End,
}

/// A stream that begins with `hello`, and the sink that feeds it.
pub(super) fn outbound(hello: v1::Hello, links: &Links) -> (Sink, Outbound) {
    let (sender, said) = unbounded_channel();
    let outbound = Outbound {
        hello: Some(hello),
        said,
        taken: Vec::new(),
        queue: VecDeque::new(),
        ended: false,
    };
    (Sink(Way::Stream(sender, links.clone())), outbound)
}

impl Stream for Outbound {
    type Item = v1::FromParticipant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        use v1::from_participant::Message;
        let this = &mut *self;
        if let Some(hello) = this.hello.take() {
            return Poll::Ready(Some(message(Message::Hello(hello))));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        if this.queue.is_empty() {
            let count = ready!(
                this.said
                    .poll_recv_many(cx, &mut this.taken, BATCH_REPLIES_MAX)
            );
            this.ended = count == 0;
            for out in this.taken.drain(..) {
                match out {
                    Out::Reply(reply) => this.queue.push_back(Item::Reply(reply)),
                    Out::Replies(replies) => {
                        this.queue.extend(replies.into_iter().map(Item::Reply))
                    }
                    Out::Draining => this.queue.push_back(Item::Draining),
                    Out::End => this.queue.push_back(Item::End),
                }
            }
        }
        Poll::Ready(match this.queue.front() {
            Some(Item::Reply(_)) => Some(message(Message::Replies(this.next_batch()))),
            Some(Item::Draining) => {
                this.queue.pop_front();
                Some(message(Message::Draining(v1::Draining {})))
            }
            Some(Item::End) | None => {
                this.ended = true;
                None
            }
        })
    }
}

impl Outbound {
    fn next_batch(&mut self) -> v1::ReplyBatch {
        let mut replies = Vec::with_capacity(self.queue.len().min(BATCH_REPLIES_MAX));
        let mut bytes = 0;
        while replies.len() < BATCH_REPLIES_MAX && bytes < BATCH_BYTES {
            match self.queue.pop_front() {
                Some(Item::Reply(reply)) => {
                    bytes += reply.output.len()
                        + reply.error.as_ref().map_or(0, |error| error.message.len());
                    replies.push(reply);
                }
                Some(other @ (Item::Draining | Item::End)) => {
                    self.queue.push_front(other);
                    break;
                }
                None => break,
            }
        }
        v1::ReplyBatch { replies }
    }
}

fn message(message: v1::from_participant::Message) -> v1::FromParticipant {
    v1::FromParticipant {
        message: Some(message),
    }
}

/// The streams that are open now, for replies that belong to none of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    open: Arc<Mutex<Vec<Link>>>,
    next_id: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Link {
    id: u64,
    orchestrator: String,
    sink: Sink,
}

/// Keeps a stream among the [`Links`]; dropping it takes the stream out.
#[derive(Debug)]
pub(super) struct LinkGuard {
    links: Links,
    id: u64,
}

impl Links {
    /// Sends an action's answer over every open stream.
    pub(crate) fn tell(&self, key: &StepKey, attempt: u32, answer: Answer) {
        self.broadcast(&convert::reply(key, Op::Action, attempt, answer));
    }

    /// One of the streams reaches the reply's saga, the others know no such command and drop it; that
    /// is simpler and safer than remembering who asked.
    fn broadcast(&self, reply: &v1::Reply) {
        for link in &*self.lock() {
            match &link.sink.0 {
                Way::Nowhere => {}
                // A stream that ends right now is no better than one that has ended, and must not come back here.
                Way::Stream(sender, _) => drop(sender.send(Out::Reply(reply.clone()))),
                Way::Post(post) => post.tell(reply.clone()),
            }
        }
    }

    /// Adds the stream that `sink` feeds; `None` when there is one to that orchestrator already.
    pub(super) fn add(&self, orchestrator: &str, sink: &Sink) -> Option<LinkGuard> {
        let mut open = self.lock();
        if !orchestrator.is_empty() && open.iter().any(|link| link.orchestrator == orchestrator) {
            return None;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        open.push(Link {
            id,
            orchestrator: orchestrator.to_owned(),
            sink: sink.clone(),
        });
        Some(LinkGuard {
            links: self.clone(),
            id,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        self.links.lock().retain(|link| link.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    fn with_output(bytes: usize) -> v1::Reply {
        v1::Reply {
            output: vec![b' '; bytes].into(),
            ..v1::Reply::default()
        }
    }

    async fn batch_sizes(outbound: &mut Outbound) -> Vec<usize> {
        let mut sizes = Vec::new();
        while let Some(message) = outbound.next().await {
            if let Some(v1::from_participant::Message::Replies(batch)) = message.message {
                sizes.push(batch.replies.len());
            }
        }
        sizes
    }

    #[tokio::test]
    async fn what_is_ready_travels_together_up_to_the_cap() {
        let (sink, mut outbound) = outbound(v1::Hello::default(), &Links::default());
        for _ in 0..500 {
            sink.reply(with_output(10));
        }
        sink.replies((0..30).map(|_| with_output(10)).collect());
        sink.end();
        assert_eq!(batch_sizes(&mut outbound).await, [512, 18]);
    }

    #[tokio::test]
    async fn large_outputs_close_a_batch_early() {
        let (sink, mut outbound) = outbound(v1::Hello::default(), &Links::default());
        for _ in 0..4 {
            sink.reply(with_output(BATCH_BYTES / 2));
        }
        sink.end();
        assert_eq!(batch_sizes(&mut outbound).await, [2, 2]);
    }

    #[tokio::test]
    async fn what_is_said_after_the_end_is_dropped() {
        let (sink, mut outbound) = outbound(v1::Hello::default(), &Links::default());
        sink.reply(with_output(1));
        sink.end();
        sink.reply(with_output(1));
        assert_eq!(batch_sizes(&mut outbound).await, [1]);
        assert!(outbound.next().await.is_none());
    }

    #[tokio::test]
    async fn replies_for_a_stream_that_is_gone_go_over_the_others() {
        let links = Links::default();
        let (lost, gone) = outbound(v1::Hello::default(), &links);
        drop(gone);
        let (open, mut outbound) = outbound(v1::Hello::default(), &links);
        let _link = links.add("b", &open).expect("the first of its name");
        lost.replies(vec![with_output(1), with_output(1)]);
        lost.draining();
        open.end();
        assert_eq!(batch_sizes(&mut outbound).await, [2]);
        assert!(
            links.add("b", &open).is_none(),
            "one stream to each orchestrator"
        );
    }
}
