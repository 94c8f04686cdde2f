//! Tells others of the lives of sagas, at least once, behind everything else.
//!
//! It reads the journal in the order of the commits, publishes what is worth telling, and when the broker has confirmed
//! all of it notes the number of the commit. Whatever dies in between, the commits after that number are told again, by
//! the same ids. The lanes know nothing of it: who does not want events pays nothing for them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    declare::{Declarer, Noted},
    dial::dial,
    fault::{Fault, patiently, soon},
    supervisor::{REDIAL_DELAY_MAX, delays},
    topology,
};
use crate::Broker;
use crate::cloud_events::{self, Told, Turn};
use saga_engine::{
    definitions::Definitions,
    store::{
        self,
        chronicle::{Chronicle, CommittedRow},
    },
};

/// Between two looks for commits when the last look found none.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two notes of how far we are; so much is told again after a crash.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Before what failed is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Announcer {
    pub(super) chronicle: Arc<dyn Chronicle>,
    pub(super) definitions: Arc<Definitions>,
    pub(super) broker: Broker,
}

/// How far we are.
struct Progress {
    told: u64,
    noted: u64,
    noted_at: Instant,
}

impl Announcer {
    /// Tells until the server goes down.
    pub(super) async fn run(self, closing: CancellationToken) {
        let mut progress = tokio::select! {
            progress = self.begin() => progress,
            () = closing.cancelled() => return,
        };
        let tell = async {
            let mut delays = delays();
            loop {
                let before = progress.told;
                let fault = self.tell(&mut progress).await;
                if progress.told > before {
                    delays = self::delays();
                }
                let delay = delays.next().unwrap_or(REDIAL_DELAY_MAX);
                tracing::warn!(broker = %self.broker, ?delay, "events wait, will dial again: {fault}");
                sleep(delay).await;
            }
        };
        tokio::select! {
            () = tell => {}
            () = closing.cancelled() => {}
        }
        self.note(&mut progress).await;
    }

    /// Where we stopped; the first time ever, where the journal ends.
    async fn begin(&self) -> Progress {
        let told = loop {
            match self.chronicle.told_through().await {
                Ok(told) => break told,
                Err(error) => unread(&error).await,
            }
        };
        Progress {
            told,
            noted: told,
            noted_at: Instant::now(),
        }
    }

    /// Tells until the connection fails.
    async fn tell(&self, progress: &mut Progress) -> Fault {
        let (connection, channel) = match self.open().await {
            Ok(open) => open,
            Err(fault) => return fault,
        };
        tracing::info!(broker = %self.broker, after = progress.told, "events go out");
        loop {
            let rows = match self.chronicle.commits_after(progress.told).await {
                Ok(rows) => rows,
                Err(error) => {
                    unread(&error).await;
                    continue;
                }
            };
            let Some(last) = rows.last().map(|row| row.commit_no) else {
                if !connection.status().connected() {
                    return Fault::Ended {
                        what: "the connection for events",
                    };
                }
                if progress.noted_at.elapsed() >= NOTE_EVERY {
                    self.note(progress).await;
                }
                sleep(LOOK_EVERY).await;
                continue;
            };
            let events = match self.events(&rows).await {
                Ok(events) => events,
                Err(error) => {
                    unread(&error).await;
                    continue;
                }
            };
            if let Err(fault) = publish(&connection, &channel, events).await {
                return fault;
            }
            progress.told = last;
            if progress.noted_at.elapsed() >= NOTE_EVERY {
                self.note(progress).await;
            }
        }
    }

    async fn open(&self) -> Result<(Connection, Channel), Fault> {
        let connection = dial(&self.broker, "saga orchestrator, events").await?;
        let channel = soon("opening a channel", connection.create_channel()).await?;
        topology::declare_events(&mut Declarer::new(&connection, Noted::default())).await?;
        soon(
            "asking for confirms",
            channel.confirm_select(ConfirmSelectOptions::default()),
        )
        .await?;
        Ok((connection, channel))
    }

    /// What is worth telling of some rows, in their order.
    async fn events(&self, rows: &[CommittedRow]) -> Result<Vec<Told>, store::Error> {
        let mut turns: Vec<Turn> = Vec::new();
        for CommittedRow { row, .. } in rows {
            match cloud_events::turns(row) {
                Ok(found) => turns.extend(found),
                // The saga itself cannot be loaded either, and that is an incident of its own.
                Err(error) => {
                    tracing::error!(saga_id = %row.saga_id, seq = row.seq, %error, "a row tells nothing")
                }
            }
        }
        if turns.is_empty() {
            return Ok(Vec::new());
        }
        let ids: BTreeSet<_> = turns.iter().map(Turn::saga_id).collect();
        let sagas = self.chronicle.sagas(ids.into_iter().collect()).await?;
        let sagas: HashMap<_, _> = sagas.into_iter().map(|row| (row.id, row)).collect();
        let tell = |turn: &Turn| {
            let row = sagas.get(&turn.saga_id())?;
            Some(turn.tell(row, self.definitions.get(&row.name, row.version).as_deref()))
        };
        Ok(turns.iter().filter_map(tell).collect())
    }

    /// Notes how far we are; what is not noted is told again one day.
    async fn note(&self, progress: &mut Progress) {
        progress.noted_at = Instant::now();
        if progress.noted == progress.told {
            return;
        }
        match self.chronicle.set_told_through(progress.told).await {
            Ok(()) => progress.noted = progress.told,
            Err(error) => tracing::warn!(%error, "how far events are told cannot be noted now"),
        }
    }
}

/// The store does not answer: it is asked again later.
async fn unread(error: &store::Error) {
    tracing::warn!(%error, "events wait for the store");
    sleep(TRY_AGAIN_AFTER).await;
}

/// Publishes all, and returns when all are confirmed. What a queue refuses, being full, is said again until it has room:
/// the events behind it wait.
async fn publish(
    connection: &Connection,
    channel: &Channel,
    mut events: Vec<Told>,
) -> Result<(), Fault> {
    while !events.is_empty() {
        let mut confirms = Vec::with_capacity(events.len());
        for told in &events {
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_content_type(cloud_events::CONTENT_TYPE.into())
                .with_message_id(told.id.as_str().into())
                .with_app_id("saga".into());
            let (exchange, key) = (topology::EVENTS.into(), told.routing_key.as_str().into());
            let options = BasicPublishOptions::default();
            let said = channel.basic_publish(exchange, key, options, &told.body, properties);
            confirms.push(patiently(connection, "publishing events", said).await?);
        }
        let confirmed =
            join_all(confirms.into_iter().map(|confirm| async {
                patiently(connection, "publishing events", confirm).await
            }));
        let mut refused = Vec::new();
        for (told, confirmation) in events.into_iter().zip(confirmed.await) {
            match confirmation? {
                Confirmation::Ack(_) | Confirmation::NotRequested => {}
                Confirmation::Nack(_) => refused.push(told),
            }
        }
        events = refused;
        if !events.is_empty() {
            tracing::warn!(
                events = events.len(),
                "a queue bound to `{}` is full, events wait",
                topology::EVENTS
            );
            sleep(TRY_AGAIN_AFTER).await;
        }
    }
    Ok(())
}
