//! How long a handler may run: its attempt's limit, which its signs of life put off.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// A handler is ended this part of its attempt's limit before the limit, so that the answer is there before the
/// orchestrator gives the attempt up …
const MARGIN_PART: u32 = 10;
/// … and at most so long before.
const MARGIN_MAX: Duration = Duration::from_secs(1);

/// Longer limits count as this one: a hundred years, which the clock can still be asked for.
const LENGTH_MAX: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);

/// The limit of one run of a handler.
#[derive(Debug)]
pub(crate) struct Limit {
    began: Instant,
    length: Duration,
    /// Milliseconds from `began` to the last sign of life.
    alive_ms: AtomicU64,
}

impl Limit {
    /// The limit of a run that begins now; `None` where the attempt has none.
    pub(crate) fn new(timeout: Duration) -> Option<Self> {
        let length = timeout.min(LENGTH_MAX);
        let length = length - (length / MARGIN_PART).min(MARGIN_MAX);
        let limit = Self {
            began: Instant::now(),
            length,
            alive_ms: AtomicU64::new(0),
        };
        (!timeout.is_zero()).then_some(limit)
    }

    /// How long a handler may run after its last sign of life.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// A sign of life: the time begins anew.
    pub(crate) fn extend(&self) {
        let alive = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.alive_ms.fetch_max(alive, Ordering::Relaxed);
    }

    /// Completes when the time is over.
    pub(crate) async fn over(&self) {
        loop {
            let alive = Duration::from_millis(self.alive_ms.load(Ordering::Relaxed));
            let ends = self.began + alive + self.length;
            if Instant::now() >= ends {
                return;
            }
            sleep_until(ends).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_over_shortly_before_the_attempt_and_signs_of_life_put_it_off() {
        let began = Instant::now();
        let limit = Limit::new(Duration::from_secs(30)).expect("a limit");
        let (over, alive) = (limit.over(), async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            limit.extend();
        });
        tokio::join!(over, alive);
        assert_eq!(began.elapsed().as_secs(), 49);
        assert_eq!(
            Limit::new(Duration::from_millis(300)).map(|limit| limit.length().as_millis()),
            Some(270)
        );
    }

    #[test]
    fn an_attempt_without_a_limit_has_none_and_an_endless_one_overflows_nothing() {
        assert!(Limit::new(Duration::ZERO).is_none());
        let endless = Limit::new(Duration::from_millis(u64::MAX)).expect("a limit");
        assert!(endless.length() < LENGTH_MAX);
        endless.extend();
        drop(endless.over());
    }
}
