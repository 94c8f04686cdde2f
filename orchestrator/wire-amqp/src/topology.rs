//! The objects on the broker: their names, how they are declared, and who may do what with them.
//!
//! Only the orchestrator declares. A participant reads its two queues and writes its one exchange; that it can write no
//! other is what makes the exchange a reply came through the proof of who sent it.

use std::time::Duration;

use lapin::{
    ExchangeKind,
    types::{AMQPValue, FieldTable},
};

use super::{declare::Declarer, fault::Fault};

/// Commands go out here; the routing key is the name of the queue.
pub(super) const COMMANDS: &str = "saga.cmd";
/// What participants say comes together here.
pub(super) const REPLIES: &str = "saga.reply";
/// Registrations wait here.
pub(super) const REGISTRATIONS: &str = "saga.register";
/// What nobody could deal with goes through here...
const DEAD_LETTERS: &str = "saga.dlx";
/// ...and waits here.
pub(super) const DEAD: &str = "saga.dead";
/// Services start sagas here; the routing key is the name of the definition. Also the queue behind it.
pub(super) const STARTS: &str = "saga.start";
/// Answers to starts go out here; the routing key is the start's `reply_to`.
pub(super) const STARTED: &str = "saga.started";
/// What becomes of sagas is told here, if it is told; the routing key is `<definition>.<type>`.
pub(super) const EVENTS: &str = "saga.events";
/// Where replies go whose orchestrator has no queue any more: to those that have one.
const UNROUTABLE: &str = "saga.unroutable";
/// Routing key of a reply for every orchestrator.
const EVERYONE: &str = "all";
/// Routing key of a registration.
const REGISTER: &str = "register";

/// How often a message is delivered to somebody who dies of it. A command that travels with others is then delivered once
/// more, alone, which makes three deliveries of an attempt at most.
pub(super) const DELIVERIES_MAX: u32 = 2;
/// The same for a command that is sent again, alone. The queue's own limit is the other one, so the participant counts.
pub(super) const DELIVERIES_ALONE_MAX: u32 = 1;
/// As the broker counts: deliveries beyond the first.
const REDELIVERIES_MAX: i32 = 1;
/// A start is never given up: it is the server that dies with it in hand, and not of it. Brokers from 4.0 on have a limit
/// where none is set.
const START_DELIVERIES_MAX: i32 = 1_000_000;
/// A registration is repeated every five seconds; an old one tells of somebody who may be gone.
const REGISTRATION_LIVES: Duration = Duration::from_secs(10);
/// The replies to an owner that neither comes back nor has a successor are nobody's.
const REPLIES_LIVE: Duration = Duration::from_secs(24 * 60 * 60);

/// The queue of a participant's actions.
pub(super) fn forward_queue(participant: &str) -> String {
    format!("saga.cmd.{participant}")
}

/// The queue of what must not wait behind actions: compensations, queries, seals.
pub(super) fn undo_queue(participant: &str) -> String {
    format!("saga.undo.{participant}")
}

/// The exchange that only this participant writes to.
pub(super) fn reply_exchange(participant: &str) -> String {
    format!("saga.reply.{participant}")
}

/// Whose exchange it is.
pub(super) fn participant_of(exchange: &str) -> Option<&str> {
    exchange.strip_prefix("saga.reply.")
}

/// The queue of replies to an owner, who is named by the number of its claim. Another claim, another queue: a former owner
/// that still lives takes nothing from the one that comes after it.
pub(super) fn reply_queue(instance: &str) -> String {
    format!("saga.reply.to.{instance}")
}

/// The name of every owner in releases that had one queue of replies for all.
pub(super) const MAIN: &str = "main";

/// The routing key of replies to an owner, which its commands carry as `reply_to`.
pub(super) fn reply_key(instance: &str) -> String {
    format!("to.{instance}")
}

/// Exchanges that all participants share.
pub(super) const SHARED_EXCHANGES: [&str; 7] = [
    COMMANDS,
    DEAD_LETTERS,
    UNROUTABLE,
    REPLIES,
    STARTS,
    STARTED,
    EVENTS,
];

/// Queues that all participants share, and the reply queue of an orchestrator instance.
pub(super) fn shared_queues(instance: &str) -> [String; 4] {
    [
        DEAD.to_owned(),
        REGISTRATIONS.to_owned(),
        STARTS.to_owned(),
        reply_queue(instance),
    ]
}

/// Declares what all participants share.
pub(super) async fn declare_shared(to: &mut Declarer<'_>) -> Result<(), Fault> {
    to.exchange(COMMANDS, ExchangeKind::Direct, FieldTable::default())
        .await?;
    to.exchange(DEAD_LETTERS, ExchangeKind::Fanout, FieldTable::default())
        .await?;
    to.exchange(UNROUTABLE, ExchangeKind::Fanout, FieldTable::default())
        .await?;
    let elsewhere = table([("alternate-exchange", text(UNROUTABLE))]);
    to.exchange(REPLIES, ExchangeKind::Direct, elsewhere)
        .await?;
    // A topic exchange, since a broker can then say which service may start what.
    to.exchange(STARTS, ExchangeKind::Topic, FieldTable::default())
        .await?;
    to.exchange(STARTED, ExchangeKind::Direct, FieldTable::default())
        .await?;
    declare_events(to).await?;

    to.queue(DEAD, table([("x-queue-type", text("quorum"))]))
        .await?;
    let lives = table([
        ("x-message-ttl", millis(REGISTRATION_LIVES)),
        ("x-max-length", AMQPValue::LongInt(10_000)),
    ]);
    to.queue(REGISTRATIONS, lives).await?;
    let limit = ("x-delivery-limit", AMQPValue::LongInt(START_DELIVERIES_MAX));
    to.queue(STARTS, table([("x-queue-type", text("quorum")), limit]))
        .await?;
    bind_shared(to).await
}

/// Declares the exchange of events.
pub(super) async fn declare_events(to: &mut Declarer<'_>) -> Result<(), Fault> {
    to.exchange(EVENTS, ExchangeKind::Topic, FieldTable::default())
        .await
}

/// Binds what all participants share. Said again, it changes nothing.
pub(super) async fn bind_shared(to: &mut Declarer<'_>) -> Result<(), Fault> {
    to.bind(DEAD, DEAD_LETTERS, "").await?;
    to.bind(REGISTRATIONS, REPLIES, REGISTER).await?;
    to.bind(STARTS, STARTS, "#").await
}

/// The arguments of a queue of replies.
pub(super) fn of_replies() -> FieldTable {
    table([("x-expires", millis(REPLIES_LIVE))])
}

/// Declares the reply queue of an owner.
pub(super) async fn declare_replies(to: &mut Declarer<'_>, instance: &str) -> Result<(), Fault> {
    to.queue(&reply_queue(instance), of_replies()).await?;
    bind_replies(to, instance).await
}

/// Binds the reply queue of an owner. Replies to an earlier claim whose queue is gone come here, too.
pub(super) async fn bind_replies(to: &mut Declarer<'_>, instance: &str) -> Result<(), Fault> {
    let replies = reply_queue(instance);
    to.bind(&replies, REPLIES, &reply_key(instance)).await?;
    to.bind(&replies, REPLIES, EVERYONE).await?;
    to.bind(&replies, UNROUTABLE, "").await
}

/// Declares what one participant needs. Said again, it changes nothing. A participant that waits for its queues publishes as
/// soon as they are there, so its exchange comes first: without it the broker would close the channel that publishes.
pub(super) async fn declare_participant(
    to: &mut Declarer<'_>,
    participant: &str,
) -> Result<(), Fault> {
    declare_reply_exchange(to, participant).await?;
    for name in [forward_queue(participant), undo_queue(participant)] {
        let arguments = table([
            ("x-queue-type", text("quorum")),
            ("x-delivery-limit", AMQPValue::LongInt(REDELIVERIES_MAX)),
            ("x-dead-letter-exchange", text(DEAD_LETTERS)),
            ("x-dead-letter-strategy", text("at-least-once")),
            // Which the strategy asks for.
            ("x-overflow", text("reject-publish")),
        ]);
        to.queue(&name, arguments).await?;
    }
    bind_participant(to, participant).await
}

/// Declares the exchange of a participant whose queues are there, and binds all three.
pub(super) async fn bind_participant(
    to: &mut Declarer<'_>,
    participant: &str,
) -> Result<(), Fault> {
    for name in [forward_queue(participant), undo_queue(participant)] {
        to.bind(&name, COMMANDS, &name).await?;
    }
    declare_reply_exchange(to, participant).await
}

async fn declare_reply_exchange(to: &mut Declarer<'_>, participant: &str) -> Result<(), Fault> {
    let own = reply_exchange(participant);
    to.exchange(&own, ExchangeKind::Fanout, FieldTable::default())
        .await?;
    to.bind_exchange(REPLIES, &own).await
}

/// Permissions of a participant's user, as `rabbitmqctl set_permissions` takes them: configure, write, read.
#[must_use]
pub fn participant_permissions(participant: &str) -> [String; 3] {
    [
        "^$".to_owned(),
        format!(r"^saga\.reply\.{participant}$"),
        format!(r"^saga\.(cmd|undo)\.{participant}$"),
    ]
}

/// Permissions of a service that starts sagas by a message and reads the answers in queues of its own, whose names begin
/// with its own: configure, write, read.
#[must_use]
pub fn starter_permissions(service: &str) -> [String; 3] {
    let own = format!(r"^{service}\.");
    [
        own,
        format!(r"^(saga\.start$|{service}\.)"),
        format!(r"^(saga\.started$|{service}\.)"),
    ]
}

/// Permissions of a service that reads events in queues of its own, whose names begin with its own: configure, write, read.
#[must_use]
pub fn reader_permissions(service: &str) -> [String; 3] {
    let own = format!(r"^{service}\.");
    [own.clone(), own, format!(r"^(saga\.events$|{service}\.)")]
}

/// Permissions of the orchestrator's user: configure, write, read.
#[must_use]
pub fn orchestrator_permissions() -> [String; 3] {
    [(); 3].map(|()| r"^saga\.".to_owned())
}

/// What is declared, as lines of a table: object, kind, settings.
#[must_use]
pub fn objects(participants: &[String]) -> Vec<[String; 3]> {
    let line =
        |name: &str, kind: &str, what: &str| [name.to_owned(), kind.to_owned(), what.to_owned()];
    let mut lines = vec![
        line(
            COMMANDS,
            "direct exchange",
            "commands, by the name of their queue",
        ),
        line(
            REPLIES,
            "direct exchange",
            "what participants say; the rest goes to saga.unroutable",
        ),
        line(
            UNROUTABLE,
            "fanout exchange",
            "replies to an orchestrator that is gone",
        ),
        line(
            DEAD_LETTERS,
            "fanout exchange",
            "commands that nobody could deal with",
        ),
        line(
            DEAD,
            "quorum queue",
            "the same, waiting; read by the orchestrator",
        ),
        line(
            REGISTRATIONS,
            "queue",
            "registrations; each lives ten seconds",
        ),
        line(
            STARTS,
            "topic exchange",
            "services start sagas here; the key is the definition",
        ),
        line(
            STARTS,
            "quorum queue",
            "the same, waiting; read by the orchestrator",
        ),
        line(
            STARTED,
            "direct exchange",
            "answers to starts; the key is the start's reply_to",
        ),
        line(
            EVENTS,
            "topic exchange",
            "what becomes of sagas, told with `saga serve --events`",
        ),
        line(
            "saga.reply.to.N",
            "queue",
            "replies to the owner under claim N; gone after the next claim",
        ),
    ];
    for participant in participants {
        let limit =
            format!("at most {DELIVERIES_MAX} deliveries of a message, then {DEAD_LETTERS}");
        lines.push(line(&forward_queue(participant), "quorum queue", &limit));
        lines.push(line(&undo_queue(participant), "quorum queue", &limit));
        let own = reply_exchange(participant);
        lines.push(line(
            &own,
            "fanout exchange",
            "bound to saga.reply; only this participant writes there",
        ));
    }
    lines
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn millis(duration: Duration) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
