//! A guarded participant and its actions: what is outstanding there, who waits, and how much room there is.

use std::collections::BTreeMap;

use saga_core::{ErrorBody, SagaId, Timestamp, gate::Pace};
use saga_dsl::limits::Limits;

use super::intake::{LastFailure, PostReport};
use crate::breaker::Breaker;

/// After a pause so many microseconds' worth of commands go at once, so that a clock of milliseconds loses none.
const BURST_US: u64 = 100_000;

/// A guarded participant.
pub(super) struct Post {
    pub(super) limits: Limits,
    pub(super) in_flight: u32,
    /// Sagas for which room is kept.
    pub(super) called: u32,
    /// When the next command would go if all were evenly spread.
    pub(super) next: Timestamp,
    pub(super) points: BTreeMap<String, Point>,
}

/// One of its actions.
#[derive(Default)]
pub(super) struct Point {
    pub(super) breaker: Option<Breaker>,
    pub(super) queue: BTreeMap<(bool, u64), SagaId>,
    pub(super) place: BTreeMap<SagaId, (bool, u64)>,
    /// Sagas that were called and sent nothing: their place in the queue, and when they take it again.
    pub(super) aside: BTreeMap<SagaId, ((bool, u64), Timestamp)>,
    pub(super) called: u32,
    /// How the last call failed that did.
    pub(super) last: Option<LastFailure>,
}

impl Post {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            in_flight: 0,
            called: 0,
            next: Timestamp(i64::MIN),
            points: BTreeMap::new(),
        }
    }

    pub(super) fn room(&self) -> Option<u32> {
        self.limits
            .max_in_flight
            .map(|most| most.saturating_sub(self.in_flight.saturating_add(self.called)))
    }

    pub(super) fn pace(&self, now: Timestamp) -> Option<Pace> {
        let interval_us = self.limits.rate_limit?.interval_us();
        let kept =
            i64::try_from(interval_us.saturating_mul(u64::from(self.called))).unwrap_or(i64::MAX);
        let next = Timestamp(self.next.0.max(now.0).saturating_add(kept));
        Some(Pace {
            next,
            interval_us,
            ahead_us: BURST_US.saturating_sub(interval_us),
        })
    }

    /// Who waits here, and where a saga stands among them.
    pub(super) fn report(
        &self,
        participant: &str,
        saga: Option<SagaId>,
        now: Timestamp,
    ) -> PostReport {
        let key = saga.and_then(|id| {
            let places = |point: &Point| {
                let aside = point.aside.get(&id).map(|(key, _)| *key);
                point.place.get(&id).copied().or(aside)
            };
            self.points.values().filter_map(places).min()
        });
        // Those for whom room is kept have left the queue and go first.
        let kept = usize::try_from(self.called).unwrap_or(usize::MAX);
        let place = key.map(|key| {
            let before = |point: &Point| point.queue.range(..key).count();
            kept + self.points.values().map(before).sum::<usize>() + 1
        });
        PostReport {
            participant: participant.to_owned(),
            limits: self.limits,
            in_flight: self.in_flight,
            waiting: self.points.values().map(Point::waiting).sum(),
            place,
            next: self.next,
            now,
        }
    }

    /// The action that somebody waits for longest, of those that let anybody through.
    pub(super) fn first_waiting(&self) -> Option<String> {
        let open = self
            .points
            .iter()
            .filter(|(_, point)| point.room() != Some(0));
        let first =
            open.filter_map(|(action, point)| Some((*point.queue.first_key_value()?.0, action)));
        first.min().map(|(_, action)| action.clone())
    }
}

impl Point {
    /// Another call has failed.
    pub(super) fn failed(&mut self, error: &ErrorBody) {
        match &mut self.last {
            Some(last) if last.error == *error => last.times = last.times.saturating_add(1),
            last => {
                *last = Some(LastFailure {
                    error: error.clone(),
                    times: 1,
                });
            }
        }
    }

    pub(super) fn room(&self) -> Option<u32> {
        Some(
            self.breaker
                .as_ref()?
                .valve()?
                .room
                .saturating_sub(self.called),
        )
    }

    pub(super) fn push(&mut self, id: SagaId, undo: bool, arrival: u64) {
        if self.aside.contains_key(&id) {
            return;
        }
        self.place.entry(id).or_insert_with(|| {
            self.queue.insert((!undo, arrival), id);
            (!undo, arrival)
        });
    }

    pub(super) fn remove(&mut self, id: SagaId) {
        self.aside.remove(&id);
        if let Some(place) = self.place.remove(&id) {
            self.queue.remove(&place);
        }
    }

    pub(super) fn pop(&mut self) -> Option<SagaId> {
        let (_, id) = self.queue.pop_first()?;
        self.place.remove(&id);
        Some(id)
    }

    /// A saga that waits is not called before `until`.
    pub(super) fn set_aside(&mut self, id: SagaId, until: Timestamp) {
        if let Some(place) = self.place.remove(&id) {
            self.queue.remove(&place);
            self.aside.insert(id, (place, until));
        }
    }

    /// A saga that was set aside may be called again.
    pub(super) fn recall(&mut self, id: SagaId) {
        if let Some((place, _)) = self.aside.remove(&id) {
            self.place.insert(id, place);
            self.queue.insert(place, id);
        }
    }

    /// Recalls the sagas whose time aside is over. True if there are any.
    pub(super) fn recall_until(&mut self, now: Timestamp) -> bool {
        let over = self.aside.iter().filter(|(_, (_, until))| *until <= now);
        let over: Vec<SagaId> = over.map(|(id, _)| *id).collect();
        over.iter().for_each(|id| self.recall(*id));
        !over.is_empty()
    }

    /// When the first of the sagas that were set aside is recalled.
    pub(super) fn aside_until(&self) -> Option<Timestamp> {
        self.aside.values().map(|(_, until)| *until).min()
    }

    /// Sagas that wait, those for whom room is kept already among them.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len() + self.aside.len() + usize::try_from(self.called).unwrap_or(0)
    }
}
