//! When to wait for more before the next batch goes to the store.
//!
//! A batch costs a remote store the same whether it holds ten decisions or fifty. Decisions that pile up while a batch is
//! being written show that answers come one by one and not in step with the commits; then a little patience halves the
//! number of commits. Where sagas move in step, nothing piles up, and nothing waits. PostgreSQL's `commit_delay` goes by
//! the same idea, with other signs.

use std::{ops::Range, time::Duration};

use tokio::time::Instant;

/// So many decisions, made while a batch was being written, are worth waiting for more; so many are enough.
const DECISIONS: Range<usize> = 16..64;
/// A store that writes faster gains nothing.
const WRITE_MIN: Duration = Duration::from_millis(1);
/// The wait ends when that multiple of the write's time has passed since the last batch went out.
const WRITES: u32 = 6;
/// Or when this has passed since then.
const WAIT_MAX: Duration = Duration::from_millis(9);

/// The last batch, and the wait for the next one.
pub(super) struct Gather {
    submitted: Instant,
    until: Option<Instant>,
}

impl Gather {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            submitted: now,
            until: None,
        }
    }

    /// A batch goes to the store.
    pub(super) fn submitted(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// It is written, and meanwhile so many decisions were made.
    pub(super) fn written(&mut self, decisions: usize, now: Instant) {
        let took = now - self.submitted;
        let until = self.submitted + (took * WRITES).min(WAIT_MAX);
        let worth_it = DECISIONS.contains(&decisions) && took >= WRITE_MIN && until > now;
        self.until = worth_it.then_some(until);
    }

    /// Whether a batch of so many decisions is to wait.
    pub(super) fn holds(&self, decisions: usize) -> bool {
        self.until.is_some() && decisions < DECISIONS.end
    }

    /// When the wait is over.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// It is over.
    pub(super) fn end(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_a_write_of(ms: u64, decisions: usize) -> (Instant, Gather) {
        let began = Instant::now();
        let mut gather = Gather::new(began);
        gather.written(decisions, began + Duration::from_millis(ms));
        (began, gather)
    }

    #[test]
    fn a_stream_of_decisions_is_gathered_for_a_few_writes_time() {
        let (began, mut gather) = after_a_write_of(1, 16);
        assert_eq!(gather.until(), Some(began + Duration::from_millis(6)));
        assert!(gather.holds(63) && !gather.holds(64));
        gather.end();
        assert!(!gather.holds(16));
        let (began, gather) = after_a_write_of(4, 16);
        assert_eq!(gather.until(), Some(began + WAIT_MAX));
    }

    #[test]
    fn who_moves_in_step_or_has_a_fast_or_a_slow_store_waits_for_nothing() {
        for (ms, decisions) in [(2, 0), (2, 15), (2, 64), (0, 20), (9, 20), (500, 20)] {
            let (_, gather) = after_a_write_of(ms, decisions);
            assert_eq!(
                (gather.until(), gather.holds(1)),
                (None, false),
                "{ms} ms, {decisions}"
            );
        }
    }

    #[test]
    fn what_goes_out_ends_the_wait() {
        let (began, mut gather) = after_a_write_of(2, 20);
        gather.submitted(began + Duration::from_millis(3));
        assert!(!gather.holds(1));
    }
}
