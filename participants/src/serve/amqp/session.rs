//! One connection to the broker: hello, commands, answers, and the end of it.

use std::{
    pin::pin,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{Fuse, FusedFuture},
};
use lapin::{
    Channel, Connection, ConnectionProperties, Consumer, ErrorKind,
    message::Delivery,
    options::{
        BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
        BasicRejectOptions, ConfirmSelectOptions,
    },
    protocol::{AMQPErrorKind, AMQPSoftError},
    tcp::OwnedTLSConfig,
    types::{AMQPValue, FieldTable},
};
use prost::Message;
use saga_proto::v1;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{
        Instant, MissedTickBehavior, error::Elapsed, interval, sleep_until, timeout, timeout_at,
    },
};

use super::{
    Road, plain,
    post::{Letter, Post, REPLIES_MAX, Ticket, write},
    refusal,
    unacked::{From, Number, Unacked, acknowledge},
};
use crate::{
    inbox::{Inbox, Store},
    serve::{Sink, convert, dispatch::Dispatcher},
    unheard::Connectedness,
};

/// Messages that are taken in one go, before undo and acknowledgements get their turn again.
const TAKEN_MAX: usize = 64;
/// Finished messages that are looked at in one go.
const ACKS_MAX: usize = 1_024;
/// How long the broker may take to answer anything.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How long acknowledgements may be under way when the drain is over.
const LAST_ACKS_WITHIN: Duration = Duration::from_millis(500);
/// How long the last answers, their acknowledgements and the goodbye may take after the drain.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);
/// Seconds between two signs of life on a connection.
const HEARTBEAT_S: u16 = 10;
/// Between two registrations; the orchestrator gives up who misses three.
const HELLO_INTERVAL: Duration = Duration::from_secs(5);
/// Header with the id of the inbox that a command is for.
const INBOX: &str = "saga-inbox";
/// Header with the number of times that a message may be delivered...
const DELIVERIES: &str = "saga-deliveries";
/// ...and how many that is where the header is missing.
const DELIVERIES_MAX: i64 = 2;
/// Header in which the broker counts the deliveries before this one.
const DELIVERED: &str = "x-delivery-count";

/// How a connection ended.
pub(super) enum Ended {
    /// After the shutdown, in order.
    Drained,
    /// The orchestrator takes another inbox for this participant's.
    Refused(String),
    /// Everything else; dial again.
    Lost { why: String, served: bool },
}

impl Ended {
    fn lost(why: impl ToString) -> Self {
        Self::Lost {
            why: why.to_string(),
            served: false,
        }
    }
}

/// Two connections: a broker that is short of memory stops reading the one that publishes, and must go on reading the
/// acknowledgements of the other.
struct Open {
    publishing: Connection,
    consuming: Connection,
    replies: Channel,
    forward: Lane,
    undo: Lane,
}

/// A queue that is read.
struct Lane {
    channel: Channel,
    consumer: Consumer,
}

impl Lane {
    /// Reads no more, and gives back what was brought and not begun: others may be free for it.
    async fn release(&mut self) {
        let cancel = self
            .channel
            .basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        let _ = timeout(ANSWERS_WITHIN, cancel).await;
        while let Some(Some(Ok(delivery))) = self.consumer.next().now_or_never() {
            let back = BasicNackOptions {
                requeue: true,
                ..Default::default()
            };
            // The end of the channel gives back the rest.
            let _ = timeout(ANSWERS_WITHIN, delivery.nack(back)).await;
        }
    }
}

/// Dials, registers and serves until the connection ends.
pub(super) async fn run<S: Store>(road: &Road<S>, way: &mut Connectedness) -> Ended {
    let open = tokio::select! {
        () = road.stop.cancelled() => return Ended::Drained,
        open = open(road) => match open {
            Ok(open) => open,
            Err(why) => return Ended::lost(why),
        },
    };
    way.connected();
    let Open {
        publishing,
        consuming,
        replies,
        forward,
        undo,
    } = open;
    let (letters, to_write) = unbounded_channel();
    let exchange = format!("saga.reply.{}", road.core.name);
    let replies_max = if road.budgets.together {
        REPLIES_MAX
    } else {
        1
    };
    let mut writing = pin!(write(
        &exchange,
        replies_max,
        &publishing,
        &replies,
        to_write
    ));
    let everyone = Sink::post(Post {
        letters: letters.clone(),
        to: "all".into(),
        ticket: None,
    });
    let _link = road.core.links.add("", &everyone);
    let (done, finished) = unbounded_channel();
    let mut commands = Commands {
        road,
        dispatcher: Dispatcher::new(road.core.clone(), road.workers.clone()),
        letters,
        done,
        unacked: Unacked::new(road.budgets.forward, road.budgets.undo),
    };
    let served = tokio::select! {
        biased;
        // Ends only by an error while somebody may still write.
        written = &mut writing => Err(Ended::Lost { why: written.err().unwrap_or_default(), served: true }),
        served = commands.serve(forward, undo, finished) => served,
    };
    let mut finished = match served {
        Ok(finished) => finished,
        Err(ended) => return ended,
    };
    commands.word("saga.v1.Goodbye");
    let _ = commands.letters.send(Letter::End);
    let leave = async {
        let _ = writing.await;
        finished.close();
        while let Some(number) = finished.recv().await {
            commands.unacked.finish(number);
        }
        let _ = acknowledge(commands.unacked.rest()).await;
        for connection in [&consuming, &publishing] {
            let _ = connection.close(200, "drained".into()).await;
        }
    };
    // What is not confirmed or acknowledged by then comes again, to another instance.
    let _ = timeout(LEAVES_WITHIN, leave).await;
    Ended::Drained
}

async fn open<S: Store>(road: &Road<S>) -> Result<Open, String> {
    let name = &road.core.name;
    let publishing = dial(road, &format!("{name}, publishing")).await?;
    let consuming = dial(road, &format!("{name}, consuming")).await?;
    let replies = soon("opening a channel", publishing.create_channel()).await?;
    soon(
        "asking for confirms",
        replies.confirm_select(ConfirmSelectOptions::default()),
    )
    .await?;
    let forward = consume(&consuming, name, "cmd", road.budgets.forward).await?;
    let undo = consume(&consuming, name, "undo", road.budgets.undo).await?;
    Ok(Open {
        publishing,
        consuming,
        replies,
        forward,
        undo,
    })
}

async fn dial<S: Store>(road: &Road<S>, name: &str) -> Result<Connection, String> {
    let mut uri = road.uri.clone();
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    uri.query
        .connection_timeout
        .get_or_insert(u64::try_from(ANSWERS_WITHIN.as_millis()).unwrap_or(u64::MAX));
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    // Read at each dial, so that a secret may be renewed while we run.
    if let Some(path) = &road.password_file {
        read(path)?
            .trim_end_matches(['\r', '\n'])
            .clone_into(&mut uri.authority.userinfo.password);
    }
    let mut tls = OwnedTLSConfig::default();
    if let Some(path) = &road.ca_file {
        tls.cert_chain = Some(read(path)?);
    }
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime().map_err(|error| error.to_string())?;
    let place = (uri.authority.host.clone(), uri.vhost.clone());
    let connected = soon(
        "connecting",
        Connection::connect_uri_with_config(uri, properties, tls, runtime),
    )
    .await;
    connected.map_err(|told| refusal::explained(&place.0, &place.1, told))
}

async fn consume(
    connection: &Connection,
    name: &str,
    lane: &str,
    prefetch: usize,
) -> Result<Lane, String> {
    let channel = soon("opening a channel", connection.create_channel()).await?;
    let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
    soon(
        "setting the prefetch",
        channel.basic_qos(prefetch, BasicQosOptions::default()),
    )
    .await?;
    let queue = format!("saga.{lane}.{name}");
    let consumer = channel.basic_consume(
        queue.as_str().into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    match timeout(ANSWERS_WITHIN, consumer).await {
        Ok(Ok(consumer)) => Ok(Lane { channel, consumer }),
        Ok(Err(error)) if is_missing(&error) => Err(format!(
            "the broker has no queue `{queue}` yet; `saga serve --broker` declares it when a definition that names \
             `{name}` is deployed, or at once with --participants {name}"
        )),
        Ok(Err(error)) => Err(format!("consuming {queue}: {error}")),
        Err(_) => Err(format!(
            "consuming {queue}: no answer within {ANSWERS_WITHIN:?}"
        )),
    }
}

fn is_missing(error: &lapin::Error) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(error) => {
            *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)
        }
        _ => false,
    }
}

async fn soon<T>(what: &str, answer: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    match timeout(ANSWERS_WITHIN, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer within {ANSWERS_WITHIN:?}")),
    }
}

/// Commands of one connection on their way through the handlers.
struct Commands<'a, S: Store> {
    road: &'a Road<S>,
    dispatcher: Dispatcher<S>,
    letters: UnboundedSender<Letter>,
    done: UnboundedSender<Number>,
    unacked: Unacked,
}

impl<S: Store> Commands<'_, S> {
    /// Serves until the connection is lost, or the shutdown is over.
    async fn serve(
        &mut self,
        mut forward: Lane,
        mut undo: Lane,
        mut finished: UnboundedReceiver<Number>,
    ) -> Result<UnboundedReceiver<Number>, Ended> {
        let running = self.road.workers.running.clone();
        let mut deadline = None;
        let (mut acks, mut numbers) = (pin!(Fuse::terminated()), Vec::new());
        let mut hello = interval(HELLO_INTERVAL);
        hello.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if acks.is_terminated() {
                let due = self.unacked.due();
                if !due.is_empty() {
                    acks.set(timeout(ANSWERS_WITHIN, acknowledge(due)).fuse());
                }
            }
            let reads = deadline.is_none() && self.dispatcher.has_room();
            tokio::select! {
                biased;
                () = self.road.stop.cancelled(), if deadline.is_none() => {
                    self.word("saga.v1.Draining");
                    let until = self.road.workers.drained_at();
                    deadline = Some(until);
                    let _ = timeout_at(until, async { tokio::join!(forward.release(), undo.release()) }).await;
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    tracing::warn!(running = running.len(), "the drain took too long, closing");
                    break;
                }
                // Never closed, since `done` lives here.
                _ = finished.recv_many(&mut numbers, ACKS_MAX) => {
                    numbers.drain(..).for_each(|number| self.unacked.finish(number));
                }
                acked = &mut acks, if !acks.is_terminated() => acknowledged(acked)?,
                () = running.wait(), if deadline.is_some() && self.dispatcher.is_empty() => break,
                () = self.dispatcher.start_waiting(), if !self.dispatcher.is_empty() => {}
                _ = hello.tick(), if deadline.is_none() => self.word("saga.v1.Hello"),
                delivery = undo.consumer.next(), if reads => self.take_all(From::Undo, delivery, &mut undo.consumer).await?,
                delivery = forward.consumer.next(), if reads => self.take_all(From::Forward, delivery, &mut forward.consumer).await?,
            }
        }
        // Those that come after must not overtake it.
        if !acks.is_terminated() {
            acknowledged(
                timeout(LAST_ACKS_WITHIN, acks)
                    .await
                    .and_then(|acked| acked),
            )?;
        }
        Ok(finished)
    }

    /// Takes what has come, and what has come with it: one look at everything else for many messages.
    async fn take_all(
        &mut self,
        from: From,
        first: Option<lapin::Result<Delivery>>,
        consumer: &mut Consumer,
    ) -> Result<(), Ended> {
        self.take(from, first).await?;
        for _ in 1..TAKEN_MAX {
            if !self.dispatcher.has_room() {
                break;
            }
            let Some(next) = consumer.next().now_or_never() else {
                break;
            };
            self.take(from, next).await?;
        }
        Ok(())
    }

    async fn take(
        &mut self,
        from: From,
        delivery: Option<lapin::Result<Delivery>>,
    ) -> Result<(), Ended> {
        let delivery = match delivery {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => return Err(lost(error)),
            None => {
                return Err(lost(
                    "the broker ended the consumer; its queue may have been deleted",
                ));
            }
        };
        self.check_inbox(&delivery)?;
        if is_used_up(&delivery) {
            return send_back(delivery).await;
        }
        let number = self.unacked.add(from, delivery.acker);
        let batch = match delivery.properties.kind() {
            Some(kind) if kind.as_str() == "saga.v1.CommandBatch" => {
                v1::CommandBatch::decode(&*delivery.data).map_err(|error| error.to_string())
            }
            // An instance without this kit serves beside us.
            Some(_) | None => plain::command(&delivery.properties, delivery.data)
                .map(|command| v1::CommandBatch {
                    commands: vec![command],
                })
                .map_err(|error| error.to_string()),
        };
        let (batch, to) = match (batch, delivery.properties.reply_to()) {
            (Ok(batch), Some(to)) if !batch.commands.is_empty() => (batch, Arc::from(to.as_str())),
            (Ok(_), _) => {
                return self.drop_message(number, "it has no commands, or says not who asks");
            }
            (Err(error), _) => return self.drop_message(number, error),
        };
        let left = AtomicUsize::new(batch.commands.len());
        let ticket = Some(Arc::new(Ticket {
            number,
            left,
            done: self.done.clone(),
        }));
        let sink = Sink::post(Post {
            letters: self.letters.clone(),
            to,
            ticket,
        });
        self.dispatcher.take(batch, &sink);
        Ok(())
    }

    /// Commands for another inbox are not ours: what this one has not seen may well have happened.
    fn check_inbox(&self, delivery: &Delivery) -> Result<(), Ended> {
        let headers = delivery.properties.headers().as_ref();
        let Some(AMQPValue::LongString(meant)) =
            headers.and_then(|headers| headers.inner().get(INBOX))
        else {
            return Ok(());
        };
        let own = self.road.core.inbox.id();
        if meant.as_bytes() == own.as_bytes() {
            return Ok(());
        }
        Err(Ended::Refused(format!(
            "it is registered with inbox {}, this instance has inbox {own}: all instances of a participant share one \
             inbox, so point this one at the same database, or give the service another participant name",
            String::from_utf8_lossy(meant.as_bytes()),
        )))
    }

    /// What cannot be read now cannot be read the next time.
    fn drop_message(&self, number: Number, why: impl ToString) -> Result<(), Ended> {
        tracing::warn!(
            why = why.to_string(),
            "a message that cannot be read is dropped"
        );
        let _ = self.done.send(number);
        Ok(())
    }

    fn word(&self, kind: &'static str) {
        let mut hello = convert::hello(&self.road.core, &self.road.instance);
        if !self.road.budgets.together {
            hello.capabilities.clear();
        }
        // Fails when the writer has ended, which is noticed elsewhere.
        let _ = self.letters.send(Letter::Word { kind, hello });
    }
}

fn acknowledged(acked: Result<lapin::Result<bool>, Elapsed>) -> Result<(), Ended> {
    match acked {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(lost("the channel that consumes ended")),
        Ok(Err(error)) => Err(lost(error)),
        Err(_) => Err(lost("acknowledging: no answer in time")),
    }
}

/// Was the message delivered as often as it may be? Whoever took it before is gone, and its commands may be why. A queue
/// that an older orchestrator declared would deliver it many times more.
fn is_used_up(delivery: &Delivery) -> bool {
    let headers = delivery.properties.headers().as_ref();
    let number = |name| match headers?.inner().get(name)? {
        AMQPValue::LongLongInt(number) => Some(*number),
        AMQPValue::LongInt(number) => Some(i64::from(*number)),
        AMQPValue::LongUInt(number) => Some(i64::from(*number)),
        _ => None,
    };
    let delivered = number(DELIVERED).unwrap_or(0);
    delivered > 0 && delivered >= number(DELIVERIES).unwrap_or(DELIVERIES_MAX)
}

/// Gives a message to the dead letters before any handler sees it; the orchestrator decides what follows.
async fn send_back(delivery: Delivery) -> Result<(), Ended> {
    tracing::warn!(
        key = %delivery.routing_key,
        "a message is sent back: those who took it before were gone before they answered, so it may have killed them"
    );
    let reject = BasicRejectOptions { requeue: false };
    match timeout(ANSWERS_WITHIN, delivery.reject(reject)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(lost("the channel that consumes ended")),
        Ok(Err(error)) => Err(lost(error)),
        Err(_) => Err(lost("sending a message back: no answer in time")),
    }
}

fn lost(why: impl ToString) -> Ended {
    Ended::Lost {
        why: why.to_string(),
        served: true,
    }
}
