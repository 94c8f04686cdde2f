//! Looks after the objects on the broker while nothing else touches them, and counts who reads the participants' queues.
//!
//! An object that somebody deletes shows itself to nobody: an exchange that is gone swallows replies, a queue that is gone
//! has no consumer left that could say so. So everything is looked for again and again: what all participants share every
//! few seconds, the participants' own objects a few participants a second.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use lapin::Connection;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{
    declare::{Declarer, Noted},
    fault::Fault,
    supervisor::{REDECLARE_AFTER, named},
    topology,
};
use crate::Broker;
use saga_engine::{definitions::Definitions, directory::Directory};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at what all participants share. An instance is given up after fifteen seconds of silence, and is not
/// heard while `saga.reply` is missing.
const SHARED_EVERY: Duration = Duration::from_secs(5);
/// Looks that one round over all participants takes, if there are not too many of them.
const ROUND_LOOKS: usize = 10;
/// Participants in one look, at most: 1,500 take thirty seconds.
const LOOK_PARTICIPANTS_MAX: usize = 50;

/// Who needs objects on the broker.
pub(super) struct Needed<'a> {
    pub(super) broker: &'a Broker,
    pub(super) directory: &'a Directory,
    pub(super) definitions: &'a Definitions,
}

impl Needed<'_> {
    /// Everybody who is named by a definition, by the options, or was there before.
    pub(super) async fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.broker.participants.iter().cloned().collect();
        names.extend(self.directory.known().await.into_iter().map(|row| row.name));
        names.extend(named(self.definitions));
        names
    }
}

/// Looks after the objects over one connection.
pub(super) struct Upkeep<'a> {
    declarer: Declarer<'a>,
    connection: &'a Connection,
    needed: Needed<'a>,
    instance: &'a str,
    noted: Noted,
    /// The rest of the round.
    round: VecDeque<String>,
    look: usize,
    /// Participants whose readers are counted before anybody else's.
    counting: VecDeque<String>,
    /// When the shared objects are looked at next.
    shared_at: Instant,
}

impl<'a> Upkeep<'a> {
    /// On the connection that consumes: the broker stops reading the other one while it is short of memory.
    pub(super) fn new(
        connection: &'a Connection,
        needed: Needed<'a>,
        instance: &'a str,
        noted: &Noted,
    ) -> Self {
        Self {
            declarer: Declarer::new(connection, noted.clone()),
            connection,
            needed,
            instance,
            noted: noted.clone(),
            round: VecDeque::new(),
            look: 0,
            counting: VecDeque::new(),
            shared_at: Instant::now() + SHARED_EVERY,
        }
    }

    /// Runs until the connection fails, or something that all participants share is gone and the road must begin anew.
    pub(super) async fn run(mut self) -> Fault {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if !self.connection.status().connected() {
                return Fault::Ended {
                    what: "the connection that consumes",
                };
            }
            if self.shared_at <= Instant::now() {
                let looked = self.look_at_shared().await;
                if let Some(gone @ Fault::Gone { .. }) =
                    self.note("what participants share", looked)
                {
                    return gone;
                }
                self.shared_at = Instant::now() + SHARED_EVERY;
            }
            if self.round.is_empty() {
                self.round = self.needed.names().await.into_iter().collect();
                self.look = self
                    .round
                    .len()
                    .div_ceil(ROUND_LOOKS)
                    .min(LOOK_PARTICIPANTS_MAX);
            }
            let these: Vec<String> = self
                .round
                .drain(..self.look.min(self.round.len()))
                .collect();
            self.look_at(&these).await;
            self.count_readers().await;
        }
    }

    /// Nothing is declared here: the road that begins anew declares everything, with the bindings that went along.
    async fn look_at_shared(&mut self) -> Result<(), Fault> {
        for name in topology::SHARED_EXCHANGES {
            if !self.declarer.has_exchange(name).await? {
                return Err(Fault::Gone {
                    what: format!("exchange {name}"),
                });
            }
        }
        for name in topology::shared_queues(self.instance) {
            if self.declarer.readers(&name).await?.is_none() {
                return Err(Fault::Gone {
                    what: format!("queue {name}"),
                });
            }
        }
        topology::bind_shared(&mut self.declarer).await?;
        topology::bind_replies(&mut self.declarer, self.instance).await
    }

    async fn look_at(&mut self, participants: &[String]) {
        let mut gone = Vec::new();
        for participant in participants {
            match self.misses_queue(participant).await {
                Ok(true) => gone.push(participant),
                Ok(false) => {
                    let bound = topology::bind_participant(&mut self.declarer, participant).await;
                    self.note(participant, bound);
                }
                Err(fault) => drop(self.note(participant, Err(fault))),
            }
        }
        if gone.is_empty() {
            return;
        }
        tracing::warn!(participants = ?gone, "queues are gone and are declared again");
        sleep(REDECLARE_AFTER).await;
        for participant in gone {
            let declared = topology::declare_participant(&mut self.declarer, participant).await;
            self.note(participant, declared);
        }
    }

    async fn misses_queue(&mut self, participant: &str) -> Result<bool, Fault> {
        for queue in [
            topology::forward_queue(participant),
            topology::undo_queue(participant),
        ] {
            if self.declarer.readers(&queue).await?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Instances that died are silent, as live ones are between two registrations. The broker knows at once who reads.
    async fn count_readers(&mut self) {
        if self.counting.is_empty() {
            self.counting = self.needed.directory.at_the_broker().into_iter().collect();
        }
        let these = self.counting.len().min(LOOK_PARTICIPANTS_MAX);
        let these: Vec<String> = self.counting.drain(..these).collect();
        for participant in these {
            let counted = self
                .declarer
                .readers(&topology::forward_queue(&participant))
                .await;
            match counted {
                Ok(Some(readers)) => self.needed.directory.set_readers(&participant, readers),
                Ok(None) => {}
                Err(fault) => drop(self.note(&participant, Err(fault))),
            }
        }
    }

    /// What went wrong is logged once, until it is well again. It does not end the road: what all participants need may be
    /// in order while one queue is not.
    fn note(&self, what: &str, looked: Result<(), Fault>) -> Option<Fault> {
        let name = format!("upkeep of {what}");
        match looked {
            Ok(()) => self.noted.forget(&name),
            // Noticed at the next look.
            Err(_) if !self.connection.status().connected() => {}
            Err(gone @ Fault::Gone { .. }) => return Some(gone),
            Err(fault) if self.noted.first(&name) => {
                tracing::warn!(
                    "the objects of {what} on the broker cannot be looked after: {fault}"
                );
            }
            Err(_) => {}
        }
        None
    }
}
