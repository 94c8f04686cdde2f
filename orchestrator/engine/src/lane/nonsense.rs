//! What participants say that makes no sense: a line in the log for each, and not too many of them.

use std::{sync::Arc, time::Duration};

use saga_core::{SagaId, Timestamp};
use tokio::sync::mpsc;

use crate::store::Journals;

/// Lines in one second at most. A participant that repeats its nonsense must not fill a disk.
const LINES_A_SECOND: u32 = 10;
/// Answers for sagas that are not open, to be looked up; further ones are passed over.
const STRAYS_MAX: usize = 64;
/// Pause between two looks into the store. Late copies of answers are common, and must not keep it busy.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Keeps count of lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    second: i64,
    written: u32,
    left_out: u64,
}

impl Lines {
    /// The number of lines left out before, if another one may be written now.
    pub(super) fn may_write(&mut self, now: Timestamp) -> Option<u64> {
        let second = now.0.div_euclid(1_000_000);
        if second != self.second {
            self.second = second;
            self.written = 0;
        }
        if self.written >= LINES_A_SECOND {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// An answer for a saga that is not open.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) saga_id: SagaId,
    pub(super) step: String,
    pub(super) participant: Arc<str>,
    pub(super) at: Timestamp,
}

/// Where such answers are looked up: most are late copies for a saga that has ended; the others are for one that never was.
pub(super) fn look_up(store: Arc<dyn Journals>) -> mpsc::Sender<Stray> {
    let (strays, mut come) = mpsc::channel::<Stray>(STRAYS_MAX);
    tokio::spawn(async move {
        let mut lines = Lines::default();
        while let Some(stray) = come.recv().await {
            let first = store.journal(stray.saga_id, 0, 1).await;
            // What cannot be read is not called nonsense.
            if first.is_ok_and(|rows| rows.is_empty())
                && let Some(left_out) = lines.may_write(stray.at)
            {
                tracing::warn!(
                    saga_id = %stray.saga_id, step = stray.step, participant = &*stray.participant, left_out,
                    "a reply for a saga that never was is dropped"
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    strays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_few_and_say_how_many_were_left_out() {
        let mut lines = Lines::default();
        let at = |ms: i64| Timestamp(ms * 1_000);
        let written = (0..100)
            .filter(|_| lines.may_write(at(5)).is_some())
            .count();
        assert_eq!(written, 10);
        assert_eq!(lines.may_write(at(1_000)), Some(90));
        assert_eq!(lines.may_write(at(1_001)), Some(0));
    }
}
