//! Who is connected, who waits for whom, and what the gate says because of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use saga_core::{Gate, Op, SagaId, Wait, gate::Live};

use crate::link::{Link, Outgoing};

#[derive(Default)]
pub(super) struct Links {
    entries: Vec<Entry>,
    next: usize,
    /// Sagas with a step that waits for a participant.
    waiting: HashMap<String, BTreeSet<SagaId>>,
    /// Sagas with an outstanding command that is on no wire, since the process that sent it is gone.
    unsent: HashMap<String, BTreeSet<SagaId>>,
    gate: Gate,
    connects: u64,
}

pub(super) struct Entry {
    pub(super) link: Arc<dyn Link>,
    pub(super) takes: Takes,
}

/// Whether a link takes commands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// It does.
    Commands,
    /// The participant wants no new ones.
    NoneDraining,
    /// Nothing travels over it, and the participant has no part in that.
    NoneHeld,
}

impl Links {
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn gate_mut(&mut self) -> &mut Gate {
        &mut self.gate
    }

    /// How many links have come so far: whoever has seen another number has not seen the newest.
    pub(super) fn connects(&self) -> u64 {
        self.connects
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn connect(&mut self, link: Arc<dyn Link>) {
        self.connects += 1;
        self.entries.push(Entry {
            link,
            takes: Takes::Commands,
        });
        self.rebuild_gate();
    }

    pub(super) fn drain(&mut self, number: u64) {
        self.set_takes(number, Takes::NoneDraining);
    }

    pub(super) fn hold(&mut self, number: u64) {
        self.set_takes(number, Takes::NoneHeld);
    }

    fn set_takes(&mut self, number: u64, takes: Takes) {
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| entry.link.number() == number)
        {
            entry.takes = takes;
        }
        self.rebuild_gate();
    }

    pub(super) fn disconnect(&mut self, number: u64) {
        self.entries.retain(|entry| entry.link.number() != number);
        self.rebuild_gate();
    }

    /// The ways to a participant that may be taken now.
    pub(super) fn reach(&self, participant: &str) -> Vec<Arc<dyn Link>> {
        let open = self
            .entries
            .iter()
            .filter(|e| e.takes == Takes::Commands && e.link.participant() == participant);
        open.map(|entry| Arc::clone(&entry.link)).collect()
    }

    /// Whether those who come by way of the broker can be heard. True when that is news: who waits must look again, as
    /// after a connect.
    pub(super) fn set_unheard(&mut self, why: Option<Wait>) -> bool {
        let news = self.gate.unheard != why;
        if news {
            self.gate.unheard = why;
            self.connects += 1;
        }
        news
    }

    fn rebuild_gate(&mut self) {
        let mut participants: BTreeMap<String, Live> = BTreeMap::new();
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.takes == Takes::Commands)
        {
            let live = participants
                .entry(entry.link.participant().to_owned())
                .or_insert_with(|| Live {
                    actions: BTreeSet::new(),
                    transactional: true,
                });
            live.actions.extend(entry.link.actions().iter().cloned());
            live.transactional &= entry.link.transactional();
        }
        self.gate.participants = participants;
    }

    pub(super) fn await_participant(&mut self, participant: String, id: SagaId) {
        self.waiting.entry(participant).or_default().insert(id);
    }

    pub(super) fn await_resend(&mut self, participant: &str, id: SagaId) {
        self.unsent
            .entry(participant.to_owned())
            .or_default()
            .insert(id);
    }

    /// The sagas that wait for a participant; they say so again if they still must.
    pub(super) fn take_waiting(&mut self, participant: &str) -> BTreeSet<SagaId> {
        self.waiting.remove(participant).unwrap_or_default()
    }

    /// All sagas that wait for anybody, in the order of their ids: the same run, the same journal.
    pub(super) fn take_all_waiting(&mut self) -> BTreeSet<SagaId> {
        self.waiting.drain().flat_map(|(_, ids)| ids).collect()
    }

    pub(super) fn take_unsent(&mut self, participant: &str) -> BTreeSet<SagaId> {
        self.unsent.remove(participant).unwrap_or_default()
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = (&String, &BTreeSet<SagaId>)> {
        self.waiting.iter()
    }

    pub(super) fn forget_sagas(&mut self) {
        self.waiting.clear();
        self.unsent.clear();
    }

    /// An instance that takes the command; instances take turns.
    pub(super) fn pick(
        &mut self,
        participant: &str,
        action: &str,
        op: Op,
    ) -> Option<Arc<dyn Link>> {
        let count = self.entries.len();
        for offset in 0..count {
            let at = (self.next + offset) % count;
            let entry = &self.entries[at];
            let serves = match op {
                Op::Action | Op::Compensation => entry.link.actions().iter().any(|a| a == action),
                Op::Query | Op::Seal => true,
            };
            if entry.takes == Takes::Commands && serves && entry.link.participant() == participant {
                self.next = at + 1;
                return Some(Arc::clone(&entry.link));
            }
        }
        None
    }
}

/// Commands on their way out, gathered by link so that they travel together.
#[derive(Default)]
pub(super) struct Outbox {
    links: Vec<(Arc<dyn Link>, Vec<Outgoing>)>,
}

impl Outbox {
    pub(super) fn push(&mut self, link: &Arc<dyn Link>, outgoing: Outgoing) {
        match self
            .links
            .iter_mut()
            .find(|(known, _)| known.number() == link.number())
        {
            Some((_, commands)) => commands.push(outgoing),
            None => self.links.push((Arc::clone(link), vec![outgoing])),
        }
    }

    pub(super) fn send(&mut self) {
        for (link, commands) in self.links.drain(..) {
            link.send(commands);
        }
    }
}
