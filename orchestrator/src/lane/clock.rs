//! The lane's clock: monotonic, and never behind what was committed before.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use saga_core::Timestamp;

/// Wall time sampled once, moved on by the monotonic clock, with a floor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    base: i64,
    started: Instant,
}

impl Clock {
    /// A clock that never shows an earlier moment than `floor`, which is the last one that was committed.
    pub(super) fn new(floor: Timestamp) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let base = i64::try_from(wall).unwrap_or(i64::MAX).max(floor.0);
        Self { base, started: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.base.saturating_add(elapsed))
    }

    /// The instant at which this clock shows `at`; the past is now.
    pub(super) fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        let micros = u64::try_from(at.0.saturating_sub(self.base)).unwrap_or(0);
        // A year ahead stands for everything later: the sleep is renewed at each input anyway.
        let capped = micros.min(365 * 24 * 3_600 * 1_000_000);
        (self.started + std::time::Duration::from_micros(capped)).into()
    }
}
