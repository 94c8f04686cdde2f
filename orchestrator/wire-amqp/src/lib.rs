//! The AMQP wire: commands go out through RabbitMQ's queues and replies come back through its exchanges.
//!
//! ```text
//! lane ──► link ──► publisher ──► saga.cmd ──► saga.cmd.<p>, saga.undo.<p> ──► any instance of the participant
//! lane ◄── consumer ◄── saga.reply.to.<claim> ◄── saga.reply ◄── saga.reply.<p> ◄── its answers
//!          roster ◄── saga.register ◄─────────┘                                  its registrations
//! lane ◄── starts ◄── saga.start ◄── services that start sagas;  answers ──► saga.started ──► their queues
//! ```
//!
//! In reading order: `topology.rs` (the objects on the broker), `envelope.rs` and `parcel.rs` (messages), `plain/` (those
//! of participants without our SDK), `link.rs` (the lane's end), `publisher.rs` (out), `consumer.rs` (in), `roster.rs` (who
//! is there), `presence.rs` (who was there before), `inherit.rs` (replies to earlier owners), `starts.rs` (sagas that services
//! start by a message), `declare.rs` and `upkeep.rs` (objects that are missing are made again), `supervisor.rs` (keeps it up);
//! beside all that, `events.rs` (what becomes of sagas).
//! Why it is so: `docs/decisions/0014-amqp.md`.

mod broker;
pub mod cloud_events;
mod consumer;
mod declare;
mod dial;
mod envelope;
mod events;
mod fault;
mod inherit;
mod link;
mod parcel;
mod plain;
mod presence;
mod publisher;
mod roster;
mod starts;
mod supervisor;
pub mod topology;
mod upkeep;

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::starts::Door;
use self::{
    declare::{Declarer, Noted},
    events::Announcer,
    presence::Note,
    publisher::Publisher,
    roster::Roster,
    supervisor::Supervisor,
};
pub use broker::{Broker, Fault as BrokerFault};
use saga_engine::directory::Directory;
use saga_engine::{
    definitions::Definitions,
    lane,
    store::{Registers, chronicle::Chronicle},
};

/// What the road needs of the server. Only an owner has a road: it is opened after a claim, under its number, and closed
/// when the claim ends.
pub struct Parts {
    /// Takes what comes.
    pub lane: lane::Handle,
    /// The epoch of the claim.
    pub claim: u64,
    /// Remembers who could be reached.
    pub store: Arc<dyn Registers>,
    /// Lists who is there.
    pub directory: Arc<Directory>,
    /// Names those who are needed.
    pub definitions: Arc<Definitions>,
    /// What was committed, for events.
    pub chronicle: Arc<dyn Chronicle>,
    /// Takes the starts that come by a message.
    pub door: Arc<dyn Door>,
    /// Cancelled when the server goes down.
    pub closing: CancellationToken,
}

/// Opens the road and keeps it up until the server goes down. A broker that cannot be reached is tried again for as long
/// as it takes; sagas wait meanwhile.
pub fn spawn(broker: Broker, parts: Parts, tasks: &TaskTracker) {
    if broker.events {
        let (chronicle, definitions) = (parts.chronicle, Arc::clone(&parts.definitions));
        let announcer = Announcer {
            chronicle,
            definitions,
            broker: broker.clone(),
        };
        tasks.spawn(announcer.run(parts.closing.clone()));
    }
    let (orders, ordered) = mpsc::unbounded_channel();
    let instance = parts.claim.to_string();
    let notes = Arc::new(watch::Sender::new(Note::default()));
    tasks.spawn(presence::keep(
        Arc::clone(&parts.store),
        notes.subscribe(),
        parts.closing.clone(),
    ));
    let supervisor = Supervisor {
        publisher: Publisher::new(
            ordered,
            topology::reply_key(&instance),
            parts.lane.tenure().clone(),
        ),
        roster: Roster::new(
            parts.lane.clone(),
            Arc::clone(&parts.directory),
            orders,
            Arc::clone(&notes),
        ),
        store: parts.store,
        notes,
        claim: parts.claim,
        instance,
        dials: 0,
        lane: parts.lane,
        directory: parts.directory,
        definitions: parts.definitions,
        door: parts.door,
        broker,
        noted: Noted::default(),
    };
    let closing = parts.closing;
    tasks.spawn(supervisor.run(closing));
}

/// Declares what participants need, without a server: for whoever prepares a broker.
///
/// # Errors
/// In words, when the broker cannot be reached or refuses.
pub async fn prepare(broker: &Broker, participants: &BTreeSet<String>) -> Result<(), String> {
    let declare = async {
        let connection = dial::dial(broker, "saga topology").await?;
        let mut declarer = Declarer::new(&connection, Noted::default());
        topology::declare_shared(&mut declarer).await?;
        for participant in participants {
            topology::declare_participant(&mut declarer, participant).await?;
        }
        fault::soon("closing", connection.close(200, "done".into())).await
    };
    declare
        .await
        .map_err(|fault: fault::Fault| fault.to_string())
}
