//! What goes out: answers that are ready travel together, and each is confirmed before its command is let go.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};
use prost::Message;
use saga_proto::v1;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time::{MissedTickBehavior, interval},
};

use super::unacked::Number;

/// Replies in one message at most.
pub(super) const REPLIES_MAX: usize = 512;
/// Bytes after which a message is closed, so that it fits the broker's frames; the last reply may exceed it.
const BYTES_MAX: usize = 100 * 1024;
/// A broker that takes messages confirms them long before.
const CONFIRMS_WITHIN: Duration = Duration::from_secs(15);

/// A message with commands, until the last of them is answered.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) number: Number,
    pub(super) left: AtomicUsize,
    pub(super) done: UnboundedSender<Number>,
}

impl Ticket {
    fn part_done(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Fails when the connection is gone, and the broker brings the message again.
            let _ = self.done.send(self.number);
        }
    }
}

/// Something to be said.
#[derive(Debug)]
pub(super) enum Letter {
    Reply {
        /// Routing key of the orchestrator that asked.
        to: Arc<str>,
        reply: v1::Reply,
        /// The message that holds the command, if this ends it.
        ticket: Option<Arc<Ticket>>,
    },
    /// Of the instance itself.
    Word {
        kind: &'static str,
        hello: v1::Hello,
    },
    /// Nothing comes after it.
    End,
}

/// Where the answers to the commands of one message go. Unbounded, because the prefetch bounds what is in flight.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(super) letters: UnboundedSender<Letter>,
    pub(super) to: Arc<str>,
    pub(super) ticket: Option<Arc<Ticket>>,
}

impl Post {
    /// The answer to a command of the message.
    pub(crate) fn answer(&self, reply: v1::Reply) {
        self.put(Letter::Reply {
            to: self.to.clone(),
            reply,
            ticket: self.ticket.clone(),
        });
    }

    /// Anything else about a command.
    pub(crate) fn tell(&self, reply: v1::Reply) {
        self.put(Letter::Reply {
            to: self.to.clone(),
            reply,
            ticket: None,
        });
    }

    /// A command of the message has no answer.
    pub(crate) fn silent(&self) {
        if let Some(ticket) = &self.ticket {
            ticket.part_done();
        }
    }

    fn put(&self, letter: Letter) {
        // Fails when the connection is gone; the command comes again and the inbox answers.
        let _ = self.letters.send(letter);
    }
}

type Confirming =
    Pin<Box<dyn Future<Output = (Vec<Arc<Ticket>>, lapin::Result<Confirmation>)> + Send>>;

/// Writes letters until the last is confirmed. One task on one channel: else confirms are taken for one another's.
pub(super) async fn write(
    exchange: &str,
    replies_max: usize,
    connection: &Connection,
    channel: &Channel,
    mut letters: UnboundedReceiver<Letter>,
) -> Result<(), String> {
    let mut confirms: FuturesUnordered<Confirming> = FuturesUnordered::new();
    let mut taken = Vec::new();
    let mut ended = false;
    let mut since = Instant::now();
    let mut look = interval(Duration::from_secs(1));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !(ended && confirms.is_empty()) {
        tokio::select! {
            Some((tickets, confirmation)) = confirms.next(), if !confirms.is_empty() => {
                since = Instant::now();
                match confirmation {
                    Ok(Confirmation::Ack(_) | Confirmation::NotRequested) => {}
                    Ok(Confirmation::Nack(_)) => return Err("the broker did not take an answer".to_owned()),
                    Err(error) => return Err(error.to_string()),
                }
                tickets.iter().for_each(|ticket| ticket.part_done());
            }
            count = letters.recv_many(&mut taken, REPLIES_MAX), if !ended => {
                if confirms.is_empty() {
                    since = Instant::now();
                }
                ended = count == 0;
                for message in pack(taken.drain(..), replies_max, &mut ended) {
                    confirms.push(publish(channel, exchange, message));
                }
            }
            _ = look.tick() => {
                let status = connection.status();
                if !status.connected() {
                    return Err("the connection that publishes ended".to_owned());
                }
                if status.blocked() || confirms.is_empty() {
                    since = Instant::now();
                } else if since.elapsed() > CONFIRMS_WITHIN {
                    return Err(format!("no confirm from the broker for {CONFIRMS_WITHIN:?}"));
                }
            }
        }
    }
    Ok(())
}

/// A message to be published.
struct Outgoing {
    key: Arc<str>,
    kind: &'static str,
    body: Vec<u8>,
    tickets: Vec<Arc<Ticket>>,
}

fn pack(
    letters: impl Iterator<Item = Letter>,
    replies_max: usize,
    ended: &mut bool,
) -> Vec<Outgoing> {
    let mut messages = Vec::new();
    let mut batches: BTreeMap<Arc<str>, Batch> = BTreeMap::new();
    for letter in letters {
        match letter {
            Letter::Reply { to, reply, ticket } => {
                let batch = batches.entry(to.clone()).or_default();
                batch.bytes += reply.encoded_len();
                batch.replies.push(reply);
                batch.tickets.extend(ticket);
                if (batch.bytes > BYTES_MAX || batch.replies.len() >= replies_max)
                    && let Some(batch) = batches.remove(&to)
                {
                    messages.push(batch.close(to));
                }
            }
            Letter::Word { kind, hello } => {
                let (key, body) = (Arc::from("register"), hello.encode_to_vec());
                messages.push(Outgoing {
                    key,
                    kind,
                    body,
                    tickets: Vec::new(),
                });
            }
            Letter::End => *ended = true,
        }
    }
    messages.extend(batches.into_iter().map(|(to, batch)| batch.close(to)));
    messages
}

/// Replies that will travel together.
#[derive(Default)]
struct Batch {
    replies: Vec<v1::Reply>,
    tickets: Vec<Arc<Ticket>>,
    bytes: usize,
}

impl Batch {
    fn close(self, key: Arc<str>) -> Outgoing {
        let body = v1::ReplyBatch {
            replies: self.replies,
        }
        .encode_to_vec();
        Outgoing {
            key,
            kind: "saga.v1.ReplyBatch",
            body,
            tickets: self.tickets,
        }
    }
}

/// Begins to publish; the first poll, which queues the frames in their order, is done here.
fn publish(channel: &Channel, exchange: &str, message: Outgoing) -> Confirming {
    let (channel, exchange) = (channel.clone(), exchange.to_owned());
    let mut confirming: Confirming = Box::pin(async move {
        let mut headers = FieldTable::default();
        headers.insert("saga-wire".into(), AMQPValue::LongInt(1));
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/x-protobuf".into())
            .with_type(message.kind.into())
            .with_headers(headers);
        let Outgoing {
            key, body, tickets, ..
        } = message;
        let options = BasicPublishOptions::default();
        let published = channel
            .basic_publish(
                exchange.as_str().into(),
                (&*key).into(),
                options,
                &body,
                properties,
            )
            .await;
        match published {
            Ok(confirm) => (tickets, confirm.await),
            Err(error) => (tickets, Err(error)),
        }
    });
    match (&mut confirming).now_or_never() {
        Some(done) => Box::pin(std::future::ready(done)),
        None => confirming,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::{super::unacked::From, *};

    fn letter(to: &str, bytes: usize) -> Letter {
        let reply = v1::Reply {
            output: vec![b' '; bytes].into(),
            ..v1::Reply::default()
        };
        Letter::Reply {
            to: to.into(),
            reply,
            ticket: None,
        }
    }

    fn sizes(messages: &[Outgoing]) -> Vec<(&str, usize)> {
        let count = |body: &[u8]| v1::ReplyBatch::decode(body).expect("a batch").replies.len();
        messages
            .iter()
            .map(|message| (&*message.key, count(&message.body)))
            .collect()
    }

    #[test]
    fn answers_travel_together_by_who_asked_and_large_ones_close_a_message() {
        let mut ended = false;
        let letters = [
            letter("to.a", 10),
            letter("to.b", 10),
            letter("to.a", BYTES_MAX),
            letter("to.a", 1),
        ];
        let messages = pack(letters.into_iter(), REPLIES_MAX, &mut ended);
        assert_eq!(sizes(&messages), [("to.a", 2), ("to.a", 1), ("to.b", 1)]);
        assert!(!ended);
        assert!(pack([Letter::End].into_iter(), REPLIES_MAX, &mut ended).is_empty() && ended);
        let messages = pack(
            [letter("to.a", 10), letter("to.a", 10)].into_iter(),
            1,
            &mut ended,
        );
        assert_eq!(sizes(&messages), [("to.a", 1), ("to.a", 1)]);
    }

    #[test]
    fn a_message_is_done_with_its_last_command() {
        let (done, mut finished) = unbounded_channel();
        let (letters, _kept) = unbounded_channel();
        let ticket = Arc::new(Ticket {
            number: (From::Undo, 7),
            left: AtomicUsize::new(2),
            done,
        });
        let post = Post {
            letters,
            to: "to.a".into(),
            ticket: Some(ticket.clone()),
        };
        post.silent();
        post.tell(v1::Reply::default());
        assert!(finished.try_recv().is_err(), "one command is open");
        ticket.part_done();
        assert_eq!(finished.try_recv(), Ok((From::Undo, 7)));
    }
}
