//! When the lane wakes by itself: timers of sagas, and limits and breakers whose time has come.
//!
//! The loop sleeps until [`Worker::next_wake`] and then calls [`Worker::fire_timers`]. The first names only moments at
//! which the second finds something to do and does it, so the loop never spins: while the queue is full no timer fires
//! and none wakes the lane, and a saga whose `Due` waits in the queue has no entry among the timers.

use saga_core::Input;
use tokio::time::Instant;

use super::{batch::Job, worker::Worker};

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
        next.map(|at| self.clock.instant(at))
    }

    /// Queues a `Due` for each saga whose time has come, as far as the queue has room.
    pub(super) fn fire_timers(&mut self) {
        if self.stop {
            return;
        }
        let now = self.clock.now();
        if self.guards.due(self.links.gate(), now).is_some_and(|due| due <= now) {
            self.guards.tick(self.links.gate_mut(), now);
            self.call_waiting();
        }
        while self.has_room() {
            let Some(id) = self.timers.pop(now) else { return };
            let Some(slot) = self.sagas.get_mut(&id) else { continue };
            slot.armed = None;
            let due = slot.due();
            if due.is_some_and(|due| due <= now) {
                slot.due_waits = true;
                self.queue.push_back(Job::Input { id, input: Input::Due, answer: None });
            } else {
                self.timers.arm(id, &mut slot.armed, due);
            }
        }
    }
}
