//! How long a claim holds, by this process's own clock.
//!
//! A store that several processes may claim lends itself for a time, and the lender renews. Whoever acts as the owner
//! asks [`Tenure::holds`] before each act that another owner would notice, and gives everything up at [`Tenure::ended`].
//! The fence protects the data; this protects whatever else only an owner does.

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

/// Time since the machine started, suspension included. A process that was stopped, or whose machine slept, sees here
/// how long it was away.
#[must_use]
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// A claim in force, or one that was. Clones share it.
#[derive(Debug, Clone)]
pub struct Tenure {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// [`since_boot`] in milliseconds when the claim runs out unless it is extended.
    until_ms: AtomicU64,
    ended: CancellationToken,
    why: OnceLock<String>,
}

impl Tenure {
    /// A claim that nothing but [`Tenure::end`] ends, on a store that belongs to one process anyway.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::to(u64::MAX)
    }

    /// A claim that runs out at this time of [`since_boot`].
    #[must_use]
    pub fn until(moment: Duration) -> Self {
        Self::to(millis(moment))
    }

    fn to(until_ms: u64) -> Self {
        let (ended, why) = (CancellationToken::new(), OnceLock::new());
        Self {
            shared: Arc::new(Shared {
                until_ms: AtomicU64::new(until_ms),
                ended,
                why,
            }),
        }
    }

    /// Extends the claim; never shortens it.
    pub fn extend(&self, moment: Duration) {
        self.shared
            .until_ms
            .fetch_max(millis(moment), Ordering::AcqRel);
    }

    /// Ends the claim. Only the first reason counts.
    pub fn end(&self, why: impl Into<String>) {
        // Set before: whoever sees the end finds the reason.
        self.shared.why.get_or_init(|| why.into());
        self.shared.ended.cancel();
    }

    /// True while the claim is in force. Reads the clock, since a process that was stopped learns nothing else in time.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.shared.ended.is_cancelled() && !self.left().is_zero()
    }

    /// True once somebody has ended the claim. A claim that has run out is ended a moment later.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.ended.is_cancelled()
    }

    /// Time until the claim runs out.
    #[must_use]
    pub fn left(&self) -> Duration {
        let until_ms = self.shared.until_ms.load(Ordering::Acquire);
        if until_ms == u64::MAX {
            return Duration::MAX;
        }
        Duration::from_millis(until_ms.saturating_sub(millis(since_boot())))
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    /// Why the claim ended; empty while nobody has ended it.
    #[must_use]
    pub fn why(&self) -> &str {
        self.shared.why.get().map_or("", String::as_str)
    }

    /// The claim as the one who renews it keeps it: a claim that nobody else holds is renewed no more.
    #[must_use]
    pub fn downgrade(&self) -> WeakTenure {
        WeakTenure {
            shared: Arc::downgrade(&self.shared),
        }
    }
}

/// A [`Tenure`] that does not count as held.
#[derive(Debug, Clone, Default)]
pub struct WeakTenure {
    shared: Weak<Shared>,
}

impl WeakTenure {
    /// The claim, if anybody still holds it.
    #[must_use]
    pub fn upgrade(&self) -> Option<Tenure> {
        self.shared.upgrade().map(|shared| Tenure { shared })
    }
}

fn millis(moment: Duration) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_is_not_extended_runs_out_without_anybody_ending_it() {
        let late = since_boot().saturating_sub(Duration::from_millis(1));
        assert!(!Tenure::until(late).holds());
        let tenure = Tenure::until(since_boot() + Duration::from_secs(60));
        tenure.extend(late);
        assert!(tenure.holds(), "extending does not shorten");
        assert!(Tenure::unlimited().holds());
    }

    #[tokio::test]
    async fn the_first_reason_for_an_end_counts() {
        let tenure = Tenure::unlimited();
        tenure.end("first");
        tenure.end("second");
        tenure.ended().await;
        assert_eq!((tenure.holds(), tenure.why()), (false, "first"));
    }

    #[test]
    fn who_renews_a_claim_does_not_hold_it() {
        let tenure = Tenure::unlimited();
        let weak = tenure.downgrade();
        assert!(weak.upgrade().is_some());
        drop(tenure);
        assert!(weak.upgrade().is_none());
    }
}
