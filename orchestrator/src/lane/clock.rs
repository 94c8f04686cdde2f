//! The lane's clock: monotonic, and never behind what was committed before.
//!
//! Both its parts can be replaced: the wall clock is a setting, and the monotonic one is the runtime's, which a
//! simulation moves by hand.

use std::time::{SystemTime, UNIX_EPOCH};

use saga_core::Timestamp;
use tokio::time::Instant;

/// Says what the time is.
pub type Wall = fn() -> Timestamp;

/// The wall clock of this machine.
#[must_use]
pub fn system() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    Timestamp(i64::try_from(since).unwrap_or(i64::MAX))
}

/// Wall time sampled once, moved on by the monotonic clock, with a floor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    base: i64,
    started: Instant,
}

impl Clock {
    /// A clock that never shows an earlier moment than `floor`, which is the last one that was committed.
    pub(super) fn new(wall: Wall, floor: Timestamp) -> Self {
        Self { base: wall().0.max(floor.0), started: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.base.saturating_add(elapsed))
    }

    /// The instant at which this clock shows `at`; the past is now.
    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        let micros = u64::try_from(at.0.saturating_sub(self.base)).unwrap_or(0);
        // A year ahead stands for everything later: the sleep is renewed at each input anyway.
        let capped = micros.min(365 * 24 * 3_600 * 1_000_000);
        self.started + std::time::Duration::from_micros(capped)
    }
}
