//! When to look at which saga next: one entry a saga, at the earliest moment that may matter.
//!
//! Nearly every limit is overtaken by the reply it waits for, so an entry only ever moves to an earlier moment. One that
//! fires before its saga's next due time is put back, which costs less than moving it at every reply.

use std::collections::BTreeSet;

use saga_core::{SagaId, Timestamp};

#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: BTreeSet<(Timestamp, SagaId)>,
}

impl Timers {
    /// Makes sure that the saga is looked at no later than `due`; `armed` is the saga's entry.
    pub(super) fn arm(
        &mut self,
        id: SagaId,
        armed: &mut Option<Timestamp>,
        due: Option<Timestamp>,
    ) {
        let Some(due) = due else { return };
        if let Some(at) = *armed {
            if at <= due {
                return;
            }
            self.entries.remove(&(at, id));
        }
        self.entries.insert((due, id));
        *armed = Some(due);
    }

    /// Takes a saga's entry out.
    pub(super) fn disarm(&mut self, id: SagaId, armed: &mut Option<Timestamp>) {
        if let Some(at) = armed.take() {
            self.entries.remove(&(at, id));
        }
    }

    /// The earliest entry.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// Takes out one entry that is due.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<SagaId> {
        let (at, id) = *self.entries.first()?;
        if at > now {
            return None;
        }
        self.entries.pop_first();
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use saga_core::Partition;

    use super::*;

    #[test]
    fn an_entry_moves_forward_only() {
        let id = SagaId::new(1, Partition(0), 1);
        let (mut timers, mut armed) = (Timers::default(), None);
        timers.arm(id, &mut armed, Some(Timestamp(10)));
        timers.arm(id, &mut armed, Some(Timestamp(20)));
        assert_eq!(timers.next(), Some(Timestamp(10)));
        timers.arm(id, &mut armed, Some(Timestamp(5)));
        assert_eq!(timers.next(), Some(Timestamp(5)));
        assert_eq!(timers.pop(Timestamp(4)), None);
        assert_eq!(timers.pop(Timestamp(5)), Some(id));
        assert_eq!(timers.pop(Timestamp(50)), None);
        armed = None;
        timers.arm(id, &mut armed, Some(Timestamp(7)));
        timers.disarm(id, &mut armed);
        assert_eq!(timers.next(), None);
    }
}
