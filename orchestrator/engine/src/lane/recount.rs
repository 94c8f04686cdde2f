//! Counts anew what limits and breakers go by, from the states of all sagas: after a start, after a batch that was taken
//! back, and when other limits hold.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::{
    Gate, Op, SagaId, SagaState, Timestamp,
    command::{addressee, held},
    state::{ActionState, UndoState},
};
use saga_dsl::plan::StepIx;

use super::{
    guards::Guards,
    slot::{Slot, Ticket},
};

impl Guards {
    /// A saga was taken back with what it had sent.
    pub(super) fn doubt(&mut self, id: SagaId, tickets: Vec<Ticket>) {
        if !tickets.is_empty() {
            self.doubted.insert(id, tickets);
        }
    }

    /// Counts everything anew from the states: after a batch was taken back, a reload, and other limits.
    pub(super) fn recount<'s>(
        &mut self,
        slots: impl Iterator<Item = &'s mut Slot>,
        gate: &mut Gate,
        now: Timestamp,
    ) {
        if self.posts.is_empty() {
            // No saga counts anywhere, so there is nothing to be gained from looking at each.
            return;
        }
        self.calls.clear();
        for post in self.posts.values_mut() {
            (post.in_flight, post.called) = (0, 0);
            for point in post.points.values_mut() {
                (point.queue, point.place, point.called) = (BTreeMap::new(), BTreeMap::new(), 0);
                point.aside.clear();
                point
                    .breaker
                    .iter_mut()
                    .for_each(|breaker| breaker.recount(0));
            }
        }
        gate.guards.clear();
        let mut out: BTreeMap<(String, String), u32> = BTreeMap::new();
        let mut slots: Vec<&mut Slot> = slots.collect();
        slots.sort_by_key(|slot| slot.state.id);
        for slot in &mut slots {
            slot.guarded = self.concern(&slot.plan);
            let mut known = std::mem::take(&mut slot.tickets);
            known.extend(slot.ended.iter().copied());
            known.extend(self.doubted.remove(&slot.state.id).unwrap_or_default());
            slot.held.clear();
            if slot.guarded {
                self.recount_sent(slot, &known, &mut out);
            }
        }
        for ((participant, action), out) in out {
            let point = self
                .posts
                .get_mut(&participant)
                .and_then(|post| post.points.get_mut(&action));
            if let Some(breaker) = point.and_then(|point| point.breaker.as_mut()) {
                breaker.recount(out);
            }
        }
        let mut waiting: Vec<&mut Slot> = slots
            .into_iter()
            .filter(|slot| slot.guarded && held(&slot.state).next().is_some())
            .collect();
        waiting.sort_by_key(|slot| (waits_since(&slot.state), slot.state.id));
        for slot in waiting {
            self.queue(slot, &mut BTreeSet::new());
        }
        for name in self.posts.keys().cloned().collect::<Vec<_>>() {
            self.pump(&name, gate, now);
        }
    }

    fn recount_sent(
        &mut self,
        slot: &mut Slot,
        known: &[Ticket],
        out: &mut BTreeMap<(String, String), u32>,
    ) {
        for ix in (0..).map(StepIx).take(slot.state.steps.len()) {
            let Some(op @ (Op::Action | Op::Compensation)) =
                slot.state.steps[ix.at()].outstanding()
            else {
                continue;
            };
            let Some((participant, action)) = addressee(&slot.plan, ix, op) else {
                continue;
            };
            let Some(post) = self.posts.get_mut(participant) else {
                continue;
            };
            let ticket = Ticket::of(&slot.state, ix, op, 0);
            let ticket = known
                .iter()
                .find(|t| t.same(ticket))
                .copied()
                .unwrap_or(ticket);
            let generation = ticket.generation;
            slot.tickets.push(ticket);
            post.in_flight += 1;
            let point = post.points.entry(action.to_owned()).or_default();
            let current = point
                .breaker
                .as_ref()
                .is_some_and(|breaker| breaker.generation() == generation);
            *out.entry((participant.to_owned(), action.to_owned()))
                .or_default() += u32::from(current);
        }
    }
}

/// Since when the saga has been waiting longest.
fn waits_since(state: &SagaState) -> Option<Timestamp> {
    let since = |(ix, op): (StepIx, Op)| {
        let step = state.steps.get(ix.at())?;
        match (op, &step.action, &step.undo) {
            (Op::Action, ActionState::Waiting { since, .. }, _)
            | (Op::Compensation, _, UndoState::Waiting { since, .. }) => Some(*since),
            (Op::Action | Op::Compensation | Op::Query | Op::Seal, _, _) => None,
        }
    };
    held(state).filter_map(since).min()
}
