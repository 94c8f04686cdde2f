//! Keeps the road up: dials, declares, serves until something fails, and begins again.
//!
//! lapin's own recovery is not used: after it nobody can tell which deliveries came again, and it has been seen to hang.

use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt;
use lapin::{
    Channel, Connection, Consumer, Event,
    options::{BasicConsumeOptions, ConfirmSelectOptions},
};
use saga_core::{Op, Wait, command::addressee};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    consumer::{self, Contents},
    declare::{Declarer, Noted},
    dial::dial,
    envelope,
    fault::{Fault, soon},
    inherit,
    presence::{self, Note},
    publisher::{Publisher, Returned},
    roster::Roster,
    starts::{self, Door},
    topology,
    upkeep::{Needed, Upkeep},
};
use crate::Broker;
use saga_engine::{definitions::Definitions, directory::Directory, lane, store::Registers};

const REDIAL_DELAY_MIN: Duration = Duration::from_millis(200);
pub(super) const REDIAL_DELAY_MAX: Duration = Duration::from_secs(2);
/// Before a queue that was deleted is declared anew. RabbitMQ 3.10 ends the consumers of a deleted queue a moment later;
/// declared in that moment, the new queue keeps them and delivers to nobody.
pub(super) const REDECLARE_AFTER: Duration = Duration::from_secs(1);
/// Queues of earlier owners that are looked for; the broker removes the others after a day.
const QUEUES_NOTED: usize = 64;
/// Between two looks for participants that have fallen silent.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Supervisor {
    pub(super) publisher: Publisher,
    pub(super) roster: Roster,
    pub(super) store: Arc<dyn Registers>,
    pub(super) notes: Arc<watch::Sender<Note>>,
    /// The epoch of the claim, and the name that follows from it.
    pub(super) claim: u64,
    pub(super) instance: String,
    /// How often the broker was dialled under this claim.
    pub(super) dials: i64,
    pub(super) lane: lane::Handle,
    pub(super) directory: Arc<Directory>,
    pub(super) definitions: Arc<Definitions>,
    pub(super) door: Arc<dyn Door>,
    pub(super) broker: Broker,
    pub(super) noted: Noted,
}

/// Everything that is open to the broker.
struct Open {
    /// Two connections: a broker that is short of memory stops reading the one that publishes, and must go on reading
    /// the acknowledgements of the other.
    publishing: Connection,
    consuming: Connection,
    commands: Channel,
    replies: Consumer,
    dead: Consumer,
    registrations: Consumer,
    starts: Consumer,
    answers: Channel,
    declared: BTreeSet<String>,
    changes: watch::Receiver<u64>,
}

impl Supervisor {
    pub(super) async fn run(mut self, closing: CancellationToken) {
        let serve = async {
            let mut delays = delays();
            self.take_note().await;
            if self
                .roster
                .pause(Wait::BrokerAway, "not reached yet")
                .await
                .is_err()
            {
                return;
            }
            loop {
                let fault = match self.open().await {
                    Ok(open) => {
                        tracing::info!(broker = %self.broker, "the road over the broker is open");
                        delays = self::delays();
                        self.serve(open).await
                    }
                    Err(fault) => fault,
                };
                let paused = self
                    .roster
                    .pause(Wait::BrokerAway, &fault.to_string())
                    .await;
                if matches!(fault, Fault::LaneStopped | Fault::NotOwner) || paused.is_err() {
                    return;
                }
                let delay = delays.next().unwrap_or(REDIAL_DELAY_MAX);
                tracing::warn!(broker = %self.broker, ?delay, "no road over the broker, will dial again: {fault}");
                sleep(delay).await;
            }
        };
        tokio::select! {
            () = serve => {}
            () = closing.cancelled() => {}
        }
    }

    /// Reads what the last owner noted, and adds the own name before there is a queue of it.
    async fn take_note(&mut self) {
        let mut note = presence::read(&*self.store).await;
        note.queues.retain(|name| *name != self.instance);
        note.queues.push(self.instance.clone());
        let forgotten = note.queues.len().saturating_sub(QUEUES_NOTED);
        note.queues.drain(..forgotten);
        self.roster.expect(&note.live);
        self.notes.send_replace(note);
    }

    async fn open(&mut self) -> Result<Open, Fault> {
        if !self.lane.tenure().holds() {
            return Err(Fault::NotOwner);
        }
        self.dials += 1;
        let rank = consumer::rank(self.claim, self.dials);
        let publishing = dial(&self.broker, "saga orchestrator, publishing").await?;
        let consuming = dial(&self.broker, "saga orchestrator, consuming").await?;
        // On this connection, since the broker reads the other one no more while it is short of memory.
        let mut declarer = Declarer::new(&consuming, self.noted.clone());
        // Before the names are read: what is deployed from now on is seen as a change.
        let mut changes = self.definitions.changes();
        changes.mark_unchanged();
        topology::declare_shared(&mut declarer).await?;
        topology::declare_replies(&mut declarer, &self.instance).await?;
        let declared = self.needed().names().await;
        for participant in &declared {
            topology::declare_participant(&mut declarer, participant).await?;
        }
        let commands = channel(&publishing).await?;
        soon(
            "asking for confirms",
            commands.confirm_select(ConfirmSelectOptions::default()),
        )
        .await?;
        let queue = topology::reply_queue(&self.instance);
        let replies = consumer::consume(&channel(&consuming).await?, &queue, rank).await?;
        let dead = consumer::consume(&channel(&consuming).await?, topology::DEAD, rank).await?;
        // Not acknowledged: a registration that is lost is said again.
        let options = BasicConsumeOptions {
            no_ack: true,
            ..Default::default()
        };
        let registrations = channel(&consuming).await?;
        let registrations = registrations.basic_consume(
            topology::REGISTRATIONS.into(),
            "".into(),
            options,
            consumer::ranked(rank),
        );
        let registrations = soon("consuming registrations", registrations).await?;
        let starts = consumer::consume(&channel(&consuming).await?, topology::STARTS, rank).await?;
        let answers = channel(&publishing).await?;
        soon(
            "asking for confirms",
            answers.confirm_select(ConfirmSelectOptions::default()),
        )
        .await?;
        Ok(Open {
            publishing,
            consuming,
            commands,
            replies,
            dead,
            registrations,
            starts,
            answers,
            declared,
            changes,
        })
    }

    fn needed(&self) -> Needed<'_> {
        Needed {
            broker: &self.broker,
            directory: &self.directory,
            definitions: &self.definitions,
        }
    }

    async fn serve(&mut self, open: Open) -> Fault {
        let Self {
            publisher,
            roster,
            lane,
            directory,
            definitions,
            door,
            broker,
            noted,
            instance,
            notes,
            ..
        } = self;
        let (returned, back) = mpsc::unbounded_channel();
        let attend = Attend {
            roster,
            definitions,
            publishing: &open.publishing,
            admin: Declarer::new(&open.consuming, noted.clone()),
            declared: open.declared,
            changes: open.changes,
        };
        let needed = Needed {
            broker,
            directory,
            definitions,
        };
        let upkeep = Upkeep::new(&open.consuming, needed, instance, noted);
        tokio::select! {
            fault = upkeep.run() => fault,
            fault = publisher.run(&open.publishing, &open.commands, &returned) => fault,
            fault = consumer::run(open.replies, Contents::Replies, lane) => fault,
            fault = consumer::run(open.dead, Contents::DeadLetters, lane) => fault,
            fault = inherit::run(&open.consuming, instance, notes, lane) => fault,
            fault = starts::run(open.starts, &open.publishing, &open.answers, lane, &**door) => fault,
            attended = attend.run(open.registrations, back) => match attended {
                Ok(never) => match never {},
                Err(fault) => fault,
            },
        }
    }
}

/// What goes on beside commands and replies.
struct Attend<'a> {
    roster: &'a mut Roster,
    definitions: &'a Definitions,
    publishing: &'a Connection,
    admin: Declarer<'a>,
    declared: BTreeSet<String>,
    changes: watch::Receiver<u64>,
}

impl Attend<'_> {
    async fn run(
        mut self,
        mut registrations: Consumer,
        mut back: mpsc::UnboundedReceiver<Returned>,
    ) -> Result<std::convert::Infallible, Fault> {
        let mut events = pin!(self.publishing.events_listener());
        if self.publishing.status().blocked() {
            self.roster
                .pause(Wait::BrokerBlocked, "blocked from the beginning")
                .await?;
        } else {
            self.roster.resume().await?;
        }
        let mut expire = interval(EXPIRE_EVERY);
        expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Who has spoken is heard before silence is counted.
                biased;
                delivery = registrations.next() => match delivery {
                    Some(Ok(delivery)) => match envelope::word(&delivery) {
                        Ok((participant, word)) => self.roster.hear(participant, word).await?,
                        Err(nonsense) => consumer::note(&delivery, &nonsense),
                    },
                    Some(Err(source)) => return Err(Fault::Broker { what: "registrations".to_owned(), source }),
                    None => return Err(Fault::Ended { what: "the consumer of registrations" }),
                },
                Some(event) = events.next() => self.event(event).await?,
                Some(returned) = back.recv() => self.returned(returned).await?,
                Ok(()) = self.changes.changed() => self.declare_new().await?,
                _ = expire.tick() => self.roster.expire().await?,
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(%reason, "the broker takes no messages: dispatch rests, steps wait");
                self.roster
                    .pause(Wait::BrokerBlocked, reason.as_str())
                    .await
            }
            Event::ConnectionUnblocked => {
                tracing::info!("the broker takes messages again");
                self.roster.resume().await
            }
            Event::Error(source) => Err(Fault::Broker {
                what: "the connection".to_owned(),
                source,
            }),
            // Of no use here, and lapin may come to know more.
            _ => Ok(()),
        }
    }

    async fn returned(&mut self, returned: Returned) -> Result<(), Fault> {
        match returned {
            Returned::Unroutable { participant, lost } => {
                tracing::warn!(
                    participant = &*participant,
                    commands = lost.len(),
                    "commands came back: their queue is gone and is declared again"
                );
                self.roster.unroutable(&participant, lost).await?;
                sleep(REDECLARE_AFTER).await;
                topology::declare_participant(&mut self.admin, &participant).await?;
                self.roster.reopen(&participant).await
            }
            Returned::NotTaken { lost } => {
                tracing::warn!(commands = lost.len(), "the broker did not take commands");
                self.roster.not_taken(lost).await
            }
        }
    }

    async fn declare_new(&mut self) -> Result<(), Fault> {
        for participant in named(self.definitions) {
            if self.declared.insert(participant.clone()) {
                topology::declare_participant(&mut self.admin, &participant).await?;
            }
        }
        Ok(())
    }
}

/// The participants that definitions name.
pub(super) fn named(definitions: &Definitions) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for plan in definitions.all() {
        for ix in plan.by_id.values() {
            let to = [Op::Action, Op::Compensation].map(|op| addressee(&plan, *ix, op));
            names.extend(
                to.into_iter()
                    .flatten()
                    .map(|(participant, _)| participant.to_owned()),
            );
        }
    }
    names
}

async fn channel(connection: &Connection) -> Result<Channel, Fault> {
    soon("opening a channel", connection.create_channel()).await
}

pub(super) fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(REDIAL_DELAY_MIN)
        .with_max_delay(REDIAL_DELAY_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}
