//! Who takes part: every participant ever registered, and the instances that are connected now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use saga_core::{Timestamp, Wait};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store::{self, Registers, record::ParticipantRow};

/// What survives a crash of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboxKind {
    /// Inbox row and business write share one transaction.
    Transactional,
    /// Intent is journaled before the effect.
    Journaled,
    /// Nothing: a memory inbox, new at each start of the process.
    None,
}

impl InboxKind {
    /// The word that the store keeps.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Journaled => "journaled",
            Self::None => "none",
        }
    }

    /// Reads [`InboxKind::word`]; anything else is read as the kind that promises nothing.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "transactional" => Self::Transactional,
            "journaled" => Self::Journaled,
            _ => Self::None,
        }
    }
}

/// An action as a participant registered it; kept in the store as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Name without the participant.
    pub name: String,
    /// True for a compensation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compensation: bool,
    /// JSON Schema of its input, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<String>,
    /// JSON Schema of its output, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<String>,
    /// The action that it undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<String>,
}

/// The actions of a stored participant; what cannot be read counts as none.
#[must_use]
pub fn stored_actions(row: &ParticipantRow) -> Vec<Action> {
    serde_json::from_str(&row.actions).unwrap_or_default()
}

/// A participant that asks to take part.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its name.
    pub participant: String,
    /// The process.
    pub instance: String,
    /// Id of the inbox, shared by all instances.
    pub inbox_id: String,
    /// What the inbox promises.
    pub inbox_kind: InboxKind,
    /// What it serves.
    pub actions: Vec<Action>,
    /// Language and version of the SDK.
    pub sdk: String,
}

/// How an instance is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// A stream of its own, which ends with the process.
    Stream,
    /// The broker, where an instance that died is only silent.
    Broker,
}

/// When an instance was last heard. Sessions note it with every message, so it takes no lock.
#[derive(Debug, Clone)]
pub struct Heard(Arc<AtomicI64>);

impl Heard {
    /// Heard just now.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }

    /// Heard again.
    pub fn note(&self, now: Timestamp) {
        self.0.fetch_max(now.0, Ordering::Relaxed);
    }

    /// When it was.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A connected instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its place on the list, never used twice in the life of a process.
    pub seat: u64,
    /// [`Link::number`](crate::link::Link::number) of the link that leads to it; instances may share one.
    pub link: u64,
    /// Name of the participant.
    pub participant: String,
    /// The process.
    pub instance: String,
    /// Language and version of the SDK.
    pub sdk: String,
    /// Its address, as far as it is known.
    pub peer: String,
    /// The way to it.
    pub road: Road,
    /// When it was admitted.
    pub connected_at: Timestamp,
    /// When it was last heard.
    pub heard: Heard,
    /// It has said that it wants no new commands.
    pub leaving: bool,
    /// What it serves.
    pub actions: Vec<String>,
    /// Ends its session.
    pub close: CancellationToken,
}

/// Why a participant is not admitted.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// All instances of a participant share one inbox; this one has another.
    #[error(
        "participant `{participant}` is registered with inbox {known} ({kind}), this instance has inbox {offered}: all \
         instances of a participant share one inbox, so point this one at the same database, or give the service \
         another participant name"
    )]
    OtherInbox {
        /// The participant.
        participant: String,
        /// Id that is registered.
        known: String,
        /// What the registered inbox promises.
        kind: &'static str,
        /// Id that this instance brought.
        offered: String,
    },
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why nobody can be heard by way of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerTrouble {
    /// What steps that wait say.
    pub unheard: Wait,
    /// In the words of the broker or of the network.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// Every participant ever registered, and the instances that are connected now.
pub struct Directory {
    store: Arc<dyn Registers>,
    /// Held across the store's answer, so that of two instances with different inboxes one is first.
    known: tokio::sync::Mutex<BTreeMap<String, ParticipantRow>>,
    /// Never held across an await.
    connected: Mutex<BTreeMap<u64, Instance>>,
    /// When instances that are gone were last heard, by participant; never held across an await.
    gone: Mutex<BTreeMap<String, Timestamp>>,
    /// How many processes read a participant's queue, once there was one; never held across an await.
    readers: Mutex<BTreeMap<String, u32>>,
    links: AtomicU64,
    broker: watch::Sender<Option<BrokerTrouble>>,
}

impl Directory {
    /// Reads the participants that the store knows.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn load(store: Arc<dyn Registers>) -> Result<Self, store::Error> {
        let known = store
            .participants()
            .await?
            .into_iter()
            .map(|row| (row.name.clone(), row))
            .collect();
        Ok(Self {
            store,
            known: tokio::sync::Mutex::new(known),
            connected: Mutex::default(),
            gone: Mutex::default(),
            readers: Mutex::default(),
            links: AtomicU64::new(0),
            broker: watch::Sender::default(),
        })
    }

    /// Admits a participant's instance, or says why not, and writes down what is new about it.
    ///
    /// # Errors
    /// See [`NotAdmitted`].
    pub async fn admit(
        &self,
        registration: &Registration,
        now: Timestamp,
    ) -> Result<(), NotAdmitted> {
        let mut known = self.known.lock().await;
        if let Some(row) = known.get(&registration.participant) {
            // A memory inbox gets a new id at each start of its process; nothing is lost with the old one that
            // was not lost already.
            let replaceable = InboxKind::from_word(&row.inbox_kind) == InboxKind::None;
            if row.inbox_id != registration.inbox_id && !replaceable {
                return Err(NotAdmitted::OtherInbox {
                    participant: registration.participant.clone(),
                    known: row.inbox_id.clone(),
                    kind: InboxKind::from_word(&row.inbox_kind).word(),
                    offered: registration.inbox_id.clone(),
                });
            }
        }
        let row = ParticipantRow {
            name: registration.participant.clone(),
            inbox_id: registration.inbox_id.clone(),
            inbox_kind: registration.inbox_kind.word().to_owned(),
            // A list of plain structs with text keys always serialises.
            actions: serde_json::to_string(&registration.actions).unwrap_or_default(),
            last_seen: now,
        };
        self.store.put_participant(row.clone()).await?;
        known.insert(row.name.clone(), row);
        Ok(())
    }

    /// Notes how it stands with the broker; trouble of the same kind began when it began.
    pub fn set_broker(&self, trouble: Option<(Wait, &str)>, now: Timestamp) {
        self.broker.send_modify(|broker| {
            *broker = trouble.map(|(unheard, why)| {
                let same = broker.as_ref().filter(|older| older.unheard == unheard);
                BrokerTrouble {
                    unheard,
                    why: why.to_owned(),
                    since: same.map_or(now, |older| older.since),
                }
            });
        });
    }

    /// How it stands with the broker, followed; `None`: all is well, or there is none.
    #[must_use]
    pub fn broker(&self) -> watch::Receiver<Option<BrokerTrouble>> {
        self.broker.subscribe()
    }

    /// A number for a new link or a new place on the list.
    #[must_use]
    pub fn next_link(&self) -> u64 {
        self.links.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lists an instance as connected. An older session of the same process is ended: a process that connects
    /// again has given that one up, even if its end was not seen here yet.
    pub fn connect(&self, instance: Instance) {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for older in connected.values() {
            if older.participant == instance.participant && older.instance == instance.instance {
                tracing::info!(
                    participant = older.participant,
                    instance = older.instance,
                    "connected again, the older session ends"
                );
                older.close.cancel();
            }
        }
        connected.insert(instance.seat, instance);
    }

    /// Takes an instance off the list.
    pub fn disconnect(&self, seat: u64) {
        let removed = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&seat);
        if let Some(Instance {
            participant, heard, ..
        }) = removed
        {
            let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
            let last = gone.entry(participant).or_insert(heard.at());
            *last = heard.at().max(*last);
        }
    }

    /// An instance wants no new commands.
    pub fn leave(&self, seat: u64) {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = connected.get_mut(&seat) {
            instance.leaving = true;
        }
    }

    /// The participants with instances that are reached by way of the broker.
    pub fn at_the_broker(&self) -> BTreeSet<String> {
        let connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let there = connected
            .values()
            .filter(|instance| instance.road == Road::Broker);
        there.map(|instance| instance.participant.clone()).collect()
    }

    /// Notes how many processes read a participant's queue. Whoever polls the queue is no reader that the broker counts,
    /// so nothing is noted before the first one.
    pub fn set_readers(&self, participant: &str, count: u32) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = readers.get_mut(participant) {
            *known = count;
        } else if count > 0 {
            readers.insert(participant.to_owned(), count);
        }
    }

    /// How many processes read a participant's queue, if the broker counts them.
    pub fn readers(&self, participant: &str) -> Option<u32> {
        self.readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(participant)
            .copied()
    }

    /// When an instance that is gone was last heard.
    pub fn last_heard_gone(&self, participant: &str) -> Option<Timestamp> {
        self.gone
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(participant)
            .copied()
    }

    /// Instances that were reached over one link are reached over another.
    pub fn relink(&self, old: u64, new: u64) {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for instance in connected
            .values_mut()
            .filter(|instance| instance.link == old)
        {
            instance.link = new;
        }
    }

    /// The instances that are connected now, oldest first.
    #[must_use]
    pub fn connected(&self) -> Vec<Instance> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Whether an instance of the participant is connected.
    pub fn is_connected(&self, participant: &str) -> bool {
        let connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connected
            .values()
            .any(|instance| instance.participant == participant)
    }

    /// Every participant ever registered, by name.
    pub async fn known(&self) -> Vec<ParticipantRow> {
        self.known.lock().await.values().cloned().collect()
    }
}
