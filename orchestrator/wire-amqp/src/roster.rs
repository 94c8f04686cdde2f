//! Who is there over the broker, and what the lane hears of it.
//!
//! An instance says who it is every five seconds; one that is silent for fifteen is gone. All instances of a participant
//! share its queues, so the lane has one link for all of them, which serves what every one of them serves. A link is
//! replaced when that changes, drained while the broker takes nothing, and ended with the last instance.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use saga_core::Wait;
use saga_proto::v1 as wire;
use tokio::sync::{mpsc, watch};

use super::{
    envelope::Word,
    fault::Fault,
    link::AmqpLink,
    parcel::Order,
    presence::{Note, Noted},
};
use saga_engine::{
    clock,
    directory::{Directory, Heard, InboxKind, Instance, Registration, Road},
    lane::{
        self,
        intake::{Intake, LostCommand},
    },
};
use saga_wire::hello;

/// Capability of an instance that reads commands which travel together.
const BATCH: &str = "batch";
/// Three registrations that did not come.
const SILENT_AFTER: Duration = Duration::from_secs(15);
/// The last answers of an instance that left in order are on their way.
const LEFT_AFTER: Duration = Duration::from_secs(2);

pub(super) struct Roster {
    lane: lane::Handle,
    directory: Arc<Directory>,
    orders: mpsc::UnboundedSender<Order>,
    participants: BTreeMap<Arc<str>, Present>,
    /// Instances that were refused, so that each is named once in the log.
    refused: BTreeSet<String>,
    /// Nothing travels over the broker now, and why.
    paused: Option<Wait>,
    /// Who is there, for the owner that comes next.
    notes: Arc<watch::Sender<Note>>,
}

/// A participant with instances.
#[derive(Default)]
struct Present {
    link: Option<Linked>,
    instances: BTreeMap<String, Seated>,
}

/// The link that the lane has.
struct Linked {
    number: u64,
    offer: Offer,
    /// The lane may send over it.
    open: bool,
    /// The lane was told that nothing travels over it.
    rests: bool,
}

/// What a link promises.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offer {
    actions: Vec<String>,
    transactional: bool,
    inbox: Option<Arc<str>>,
    /// Reads commands that travel together.
    batch: bool,
}

struct Seated {
    seat: u64,
    said: wire::Hello,
    offer: Offer,
    heard: Instant,
    /// The same for people.
    seen: Heard,
    draining: bool,
    left: bool,
}

impl Seated {
    /// It was heard.
    fn note(&mut self) {
        self.heard = Instant::now();
        self.seen.note(clock::now());
    }
}

impl Present {
    /// What every instance that takes commands serves; `None`: none takes any.
    fn offer(&self) -> Option<Offer> {
        let mut live = self
            .instances
            .values()
            .filter(|seated| !seated.draining)
            .map(|seated| &seated.offer);
        let first = live.next()?.clone();
        Some(live.fold(first, |common, next| {
            Offer {
                actions: common
                    .actions
                    .into_iter()
                    .filter(|action| next.actions.contains(action))
                    .collect(),
                transactional: common.transactional && next.transactional,
                batch: common.batch && next.batch,
                inbox: next.inbox.clone(),
            }
        }))
    }
}

impl Roster {
    pub(super) fn new(
        lane: lane::Handle,
        directory: Arc<Directory>,
        orders: mpsc::UnboundedSender<Order>,
        notes: Arc<watch::Sender<Note>>,
    ) -> Self {
        let (participants, refused) = (BTreeMap::new(), BTreeSet::new());
        Self {
            lane,
            directory,
            orders,
            participants,
            refused,
            paused: Some(Wait::BrokerAway),
            notes,
        }
    }

    /// Trusts instances that were there under the owner before: they count as heard when the road opens, and as gone
    /// when none of their registrations comes in time.
    pub(super) fn expect(&mut self, noted: &[Noted]) {
        for said in noted.iter().cloned().map(Noted::into_hello) {
            let Ok(registration) = hello::read(said.clone()) else {
                continue;
            };
            let participant: Arc<str> = registration.participant.as_str().into();
            tracing::info!(
                participant = &*participant,
                instance = registration.instance,
                "was there before, and is trusted to be there still"
            );
            // Not admitted anew: the register has it, with the schemas that the note lacks.
            self.seat(&participant, said, registration);
        }
    }

    /// Notes who is there now.
    fn note(&self) {
        let seated = self
            .participants
            .values()
            .flat_map(|present| present.instances.values());
        let live: Vec<Noted> = seated
            .filter(|seated| !seated.draining)
            .map(|seated| Noted::of(&seated.said))
            .collect();
        self.notes.send_if_modified(|note| {
            let is_new = note.live != live;
            note.live = live;
            is_new
        });
    }

    /// An instance said something of itself.
    pub(super) async fn hear(&mut self, participant: Arc<str>, word: Word) -> Result<(), Fault> {
        match word {
            Word::Hello(said) => return self.hello(participant, said).await,
            Word::Draining { instance } => {
                let seated = self
                    .participants
                    .get_mut(&participant)
                    .and_then(|p| p.instances.get_mut(&instance));
                if let Some(seated) = seated {
                    seated.draining = true;
                    seated.note();
                    self.directory.leave(seated.seat);
                }
            }
            Word::Goodbye { instance } => {
                let seated = self
                    .participants
                    .get_mut(&participant)
                    .and_then(|p| p.instances.get_mut(&instance));
                if let Some(seated) = seated {
                    tracing::info!(participant = &*participant, instance, "says goodbye");
                    (seated.draining, seated.left) = (true, true);
                    // Its last answers come by another queue and may not have been taken yet.
                    seated.note();
                    self.directory.leave(seated.seat);
                }
            }
        }
        self.note();
        self.settle(&participant).await
    }

    async fn hello(&mut self, participant: Arc<str>, said: wire::Hello) -> Result<(), Fault> {
        let known = self
            .participants
            .get_mut(&participant)
            .and_then(|p| p.instances.get_mut(&said.instance));
        if let Some(seated) = known
            && seated.said == said
        {
            seated.note();
            return Ok(());
        }
        let registration = match hello::read(said.clone()) {
            Ok(registration) => registration,
            Err(malformed) => {
                self.refuse(&participant, &said.instance, &malformed);
                return Ok(());
            }
        };
        let now = clock::now();
        if let Err(error) = self.directory.admit(&registration, now).await {
            self.refuse(&participant, &said.instance, &error);
            return Ok(());
        }
        tracing::info!(
            participant = &*participant,
            instance = registration.instance,
            "connected over the broker"
        );
        self.seat(&participant, said, registration);
        self.note();
        self.settle(&participant).await
    }

    /// Lists an instance as there.
    fn seat(&mut self, participant: &Arc<str>, said: wire::Hello, registration: Registration) {
        let now = clock::now();
        let seat = self.directory.next_link();
        let present = self
            .participants
            .entry(Arc::clone(participant))
            .or_default();
        let offer = offer(&registration, &said.capabilities);
        let seen = Heard::new(now);
        let instance = Instance {
            seat,
            link: present.link.as_ref().map_or(0, |linked| linked.number),
            participant: registration.participant,
            instance: registration.instance.clone(),
            sdk: registration.sdk,
            peer: "by the broker".to_owned(),
            road: Road::Broker,
            connected_at: now,
            heard: seen.clone(),
            leaving: false,
            actions: offer.actions.clone(),
            // Whoever is registered twice says so again and again; there is no session to end.
            close: tokio_util::sync::CancellationToken::new(),
        };
        let seated = Seated {
            seat,
            said,
            offer,
            heard: Instant::now(),
            seen,
            draining: false,
            left: false,
        };
        if let Some(older) = present
            .instances
            .insert(registration.instance.clone(), seated)
        {
            self.directory.disconnect(older.seat);
        }
        self.directory.connect(instance);
    }

    /// There is nobody to tell but the log: an instance that is not admitted learns it from the first command, which
    /// names another inbox than its own.
    fn refuse(&mut self, participant: &str, instance: &str, why: &dyn std::error::Error) {
        if self.refused.insert(instance.to_owned()) {
            tracing::error!(participant, instance, "an instance is not admitted: {why}");
        }
    }

    /// Makes the lane's link what the instances are now.
    async fn settle(&mut self, participant: &Arc<str>) -> Result<(), Fault> {
        let Some(present) = self.participants.get_mut(participant) else {
            return Ok(());
        };
        if present.instances.is_empty() {
            if let Some(linked) = &present.link {
                tracing::info!(participant = &**participant, "no live instance any more");
                tell(
                    &self.lane,
                    Intake::Disconnected {
                        link: linked.number,
                    },
                )
                .await?;
            }
            self.participants.remove(participant);
            return Ok(());
        }
        let offer = present.offer().filter(|_| self.paused.is_none());
        match (offer, &mut present.link) {
            (None, None) => Ok(()),
            (None, Some(linked)) => {
                let link = linked.number;
                // One that was draining before rests all the same: its limits must not run.
                if self.paused.is_some() && !linked.rests {
                    tell(&self.lane, Intake::Suspended { link }).await?;
                    (linked.open, linked.rests) = (false, true);
                } else if linked.open {
                    tell(&self.lane, Intake::Draining { link }).await?;
                    linked.open = false;
                }
                Ok(())
            }
            (Some(offer), Some(linked)) if linked.open && linked.offer == offer => Ok(()),
            (Some(offer), link) => {
                let number = self.directory.next_link();
                let by = Arc::new(AmqpLink {
                    number,
                    participant: Arc::clone(participant),
                    actions: offer.actions.clone(),
                    transactional: offer.transactional,
                    inbox: offer.inbox.clone(),
                    batch: offer.batch,
                    orders: self.orders.clone(),
                });
                if !offer.batch && link.as_ref().is_none_or(|linked| linked.offer.batch) {
                    let participant = &**participant;
                    tracing::info!(
                        participant,
                        "commands go one a message: an instance takes no batches"
                    );
                }
                let old = link.as_ref().map_or(0, |linked| linked.number);
                let intake = match link {
                    Some(linked) => Intake::Replaced {
                        link: linked.number,
                        by,
                    },
                    None => Intake::Connected(by),
                };
                tell(&self.lane, intake).await?;
                *link = Some(Linked {
                    number,
                    offer,
                    open: true,
                    rests: false,
                });
                self.directory.relink(old, number);
                Ok(())
            }
        }
    }

    /// Nothing travels over the broker now: steps wait at the gate and say why, limits rest, and what is on its way stays
    /// where it is. Who hears of it first is who waits already, so that nobody waits for a participant in between.
    pub(super) async fn pause(&mut self, unheard: Wait, why: &str) -> Result<(), Fault> {
        self.directory
            .set_broker(Some((unheard, why)), clock::now());
        tell(&self.lane, Intake::Broker(Some(unheard))).await?;
        self.paused = Some(unheard);
        self.settle_all().await
    }

    /// It takes messages again. Nobody could be heard meanwhile, so silence is counted anew. Links come first: whoever
    /// still waits after them waits for somebody else than the broker.
    pub(super) async fn resume(&mut self) -> Result<(), Fault> {
        self.paused = None;
        let instances = self
            .participants
            .values_mut()
            .flat_map(|present| present.instances.values_mut());
        instances.for_each(|seated| seated.heard = Instant::now());
        self.settle_all().await?;
        tell(&self.lane, Intake::Broker(None)).await?;
        self.directory.set_broker(None, clock::now());
        Ok(())
    }

    /// Ends those that have been silent for too long.
    pub(super) async fn expire(&mut self) -> Result<(), Fault> {
        if self.paused.is_some() {
            return Ok(());
        }
        let mut is_changed = false;
        for (participant, present) in &mut self.participants {
            present.instances.retain(|instance, seated| {
                let patience = if seated.left {
                    LEFT_AFTER
                } else {
                    SILENT_AFTER
                };
                let lives = seated.heard.elapsed() < patience;
                if !lives {
                    tracing::info!(participant = &**participant, instance, ?patience, "gone");
                    self.directory.disconnect(seated.seat);
                    is_changed = true;
                }
                lives
            });
        }
        if is_changed {
            self.note();
        }
        self.settle_all().await
    }

    /// Commands came back because there is no queue: nothing more is sent there until [`Roster::reopen`].
    pub(super) async fn unroutable(
        &mut self,
        participant: &Arc<str>,
        lost: Vec<LostCommand>,
    ) -> Result<(), Fault> {
        let link = self
            .participants
            .get_mut(participant)
            .and_then(|present| present.link.as_mut());
        if let Some(linked) = link.filter(|linked| linked.open) {
            tell(
                &self.lane,
                Intake::Draining {
                    link: linked.number,
                },
            )
            .await?;
            linked.open = false;
        }
        tell(
            &self.lane,
            Intake::Lost {
                lost,
                receipt: None,
            },
        )
        .await
    }

    /// There is a queue again.
    pub(super) async fn reopen(&mut self, participant: &Arc<str>) -> Result<(), Fault> {
        self.settle(participant).await
    }

    /// Commands that the broker did not take.
    pub(super) async fn not_taken(&mut self, lost: Vec<LostCommand>) -> Result<(), Fault> {
        tell(
            &self.lane,
            Intake::Lost {
                lost,
                receipt: None,
            },
        )
        .await
    }

    async fn settle_all(&mut self) -> Result<(), Fault> {
        let names: Vec<Arc<str>> = self.participants.keys().cloned().collect();
        for name in names {
            self.settle(&name).await?;
        }
        Ok(())
    }
}

/// A message to the lane. Whoever calls notes what the message says only after this, since it may be cancelled here.
async fn tell(lane: &lane::Handle, intake: Intake) -> Result<(), Fault> {
    lane.send(intake).await.map_err(|_| Fault::LaneStopped)
}

fn offer(registration: &Registration, capabilities: &[String]) -> Offer {
    let remembers = registration.inbox_kind != InboxKind::None;
    Offer {
        actions: registration
            .actions
            .iter()
            .map(|action| action.name.clone())
            .collect(),
        transactional: registration.inbox_kind == InboxKind::Transactional,
        batch: capabilities.iter().any(|capability| capability == BATCH),
        // A memory inbox is new with every process, and nobody else's commands are mistaken for its own.
        inbox: remembers.then(|| registration.inbox_id.as_str().into()),
    }
}
