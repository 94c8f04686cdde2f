//! When the lane wakes by itself: timers of sagas, and limits and breakers whose time has come.
//!
//! The loop sleeps until [`Worker::next_wake`] and then calls [`Worker::fire_timers`]. The first names only moments at
//! which the second finds something to do and does it, so the loop never spins: while the queue is full no timer fires
//! and none wakes the lane, and a saga whose `Due` waits in the queue has no entry among the timers.

use std::sync::Arc;

use saga_core::{Input, Timestamp};
use tokio::time::Instant;

use super::{batch::Job, clock::Look, worker::Worker};
use crate::store;

impl Worker {
    /// When there is something to do without a message.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        if self.stop {
            return None;
        }
        let mut next = self.timers.next().filter(|_| self.has_room());
        if !self.guards.posts.is_empty() {
            let due = self.guards.due(self.links.gate(), self.clock.now());
            next = next.into_iter().chain(due).min();
        }
        Some(self.clock.instant(next))
    }

    /// Queues a `Due` for each saga whose time has come, as far as the queue has room.
    pub(super) fn fire_timers(&mut self) {
        if self.stop {
            return;
        }
        self.look_at_clocks();
        let now = self.clock.now();
        if self
            .guards
            .due(self.links.gate(), now)
            .is_some_and(|due| due <= now)
        {
            self.guards.tick(self.links.gate_mut(), now);
            self.call_waiting();
        }
        while self.has_room() {
            let Some(id) = self.timers.pop(now) else {
                return;
            };
            let Some(slot) = self.sagas.get_mut(&id) else {
                continue;
            };
            slot.armed = None;
            let due = slot.due();
            if due.is_some_and(|due| due <= now) {
                slot.due_waits = true;
                self.queue.push_back(Job::Input {
                    id,
                    input: Input::Due,
                    answer: None,
                });
            } else {
                self.timers.arm(id, &mut slot.armed, due);
            }
        }
    }

    /// The store is asked for its time while the host's clock is ahead, and one question waits at a time.
    fn look_at_clocks(&mut self) {
        if self.clock.look() == Look::AskStore && self.asked.is_none() {
            let store = Arc::clone(&self.store);
            self.asked = Some(Box::pin(async move { store.clock().await }));
        }
    }

    /// A store that cannot be asked confirms nothing; it is asked again at the next look.
    pub(super) fn store_clock(&mut self, shown: Result<Option<Timestamp>, store::Error>) {
        self.asked = None;
        match shown {
            Ok(at) => self.clock.store_says(at),
            Err(error) => tracing::debug!(%error, "the store does not say what its clock shows"),
        }
    }
}
