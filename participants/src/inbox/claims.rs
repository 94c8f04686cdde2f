//! Who is at work on accepted actions, and how anybody can tell that the worker is gone.
//!
//! Each acceptance has a claim: a random number in the row, and a moment until which the worker certainly counts as alive.
//! The process that accepted puts that moment off for as long as the work is there, and knows of its own claims without
//! asking the row. A claim that nobody puts off any more is left: its process has died, or is stopped. A later attempt of the
//! action is then handed to a handler again, under a new claim, and the end of the work under the old one is refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};
use uuid::Uuid;

use super::Inbox;

/// How long accepted work counts as alive after its last sign of life, at most. An attempt with a shorter limit has that.
pub(super) const LEASE_MAX: Duration = Duration::from_secs(30);

/// Signs of life within one lease.
const SIGNS_IN_LEASE: u32 = 3;

/// The least time between two signs of life of one process.
const SIGNS_APART: Duration = Duration::from_millis(50);

/// The right to tell the end of accepted work. Clones are the same claim.
#[derive(Debug, Clone, Default)]
pub struct Claim(Arc<OnceLock<i64>>);

impl PartialEq for Claim {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Claim {}

impl Claim {
    /// Its number in the row; never zero, which stands for a row of an earlier release.
    pub(crate) fn number(&self) -> i64 {
        *self.0.get_or_init(random)
    }
}

fn random() -> i64 {
    // The low 62 bits of such an id are random.
    let bits = Uuid::now_v7().as_u128() & u128::from(u64::MAX >> 1);
    i64::try_from(bits).unwrap_or(i64::MAX).max(1)
}

/// How long work that was accepted in an attempt with this limit counts as alive after a sign of life.
pub(super) fn lease(timeout: Duration) -> Duration {
    if timeout.is_zero() {
        LEASE_MAX
    } else {
        timeout.min(LEASE_MAX)
    }
}

/// A duration in whole microseconds.
pub(super) fn micros(of: Duration) -> i64 {
    i64::try_from(of.as_micros()).unwrap_or(i64::MAX)
}

/// The claims of this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    held: Mutex<HashMap<i64, Held>>,
    /// Rings when a claim comes.
    came: Notify,
}

#[derive(Debug)]
struct Held {
    lease: Duration,
    worker: Worker,
}

#[derive(Debug)]
enum Worker {
    /// Somebody took a handle along; when the last one is dropped, the work is gone.
    Handles(Weak<OnceLock<i64>>),
    /// Nobody did: it may be anywhere, and ends with the process.
    Process,
}

impl Held {
    fn is_alive(&self) -> bool {
        match &self.worker {
            Worker::Handles(handles) => handles.strong_count() > 0,
            Worker::Process => true,
        }
    }
}

impl Claims {
    fn held(&self) -> MutexGuard<'_, HashMap<i64, Held>> {
        // No user code runs under the lock.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The work of a handler that has returned goes on. `claim` is the handler's own, so what shares it is the work.
    pub(super) fn hold(&self, claim: &Claim, lease: Duration) -> i64 {
        let worker = if Arc::strong_count(&claim.0) > 1 {
            Worker::Handles(Arc::downgrade(&claim.0))
        } else {
            Worker::Process
        };
        self.held().insert(claim.number(), Held { lease, worker });
        self.0.came.notify_one();
        claim.number()
    }

    /// The work has ended, or was never stored.
    pub(super) fn release(&self, number: i64) {
        self.held().remove(&number);
    }

    /// Is the worker gone that holds a row's claim? `lapsed`: no sign of life has come in time.
    pub(super) fn is_left(&self, number: i64, lapsed: bool) -> bool {
        match self.held().get(&number) {
            Some(held) => !held.is_alive(),
            None => number != 0 && lapsed,
        }
    }

    /// The claims to give a sign of life for, each with its lease. Those whose workers are gone leave the list.
    pub(super) fn alive(&self) -> Vec<(i64, Duration)> {
        let mut held = self.held();
        held.retain(|_, held| held.is_alive());
        held.iter()
            .map(|(number, held)| (*number, held.lease))
            .collect()
    }

    /// Waits until signs of life are due.
    async fn due(&self) {
        loop {
            let came = self.0.came.notified();
            let shortest = self.held().values().map(|held| held.lease).min();
            let Some(shortest) = shortest else {
                came.await;
                continue;
            };
            tokio::select! {
                () = sleep((shortest / SIGNS_IN_LEASE).max(SIGNS_APART)) => return,
                // It may have a shorter lease.
                () = came => {}
            }
        }
    }
}

/// Gives signs of life for the accepted work of this process, for as long as it is polled.
pub(super) async fn keep<I: Inbox>(inbox: &I, claims: &Claims) {
    loop {
        claims.due().await;
        if let Err(error) = inbox.give_signs_of_life().await {
            tracing::warn!(%error, "no sign of life for accepted work could be written, will try again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_left_when_its_last_handle_is_dropped() {
        let (claims, claim) = (Claims::default(), Claim::default());
        let handle = claim.clone();
        let number = claims.hold(&claim, LEASE_MAX);
        drop(claim);
        assert!(!claims.is_left(number, true), "the handle is there");
        assert_eq!(claims.alive(), [(number, LEASE_MAX)]);
        drop(handle);
        assert!(claims.is_left(number, false));
        assert_eq!(claims.alive(), []);
    }

    #[test]
    fn work_without_a_handle_lasts_as_long_as_its_process() {
        let (claims, claim) = (Claims::default(), Claim::default());
        let number = claims.hold(&claim, LEASE_MAX);
        drop(claim);
        assert!(!claims.is_left(number, true));
        claims.release(number);
        assert!(claims.is_left(number, true));
    }

    #[test]
    fn a_claim_of_another_process_is_left_once_it_has_lapsed() {
        let claims = Claims::default();
        assert!(claims.is_left(7, true));
        assert!(!claims.is_left(7, false));
        assert!(
            !claims.is_left(0, true),
            "an earlier release gives no signs of life"
        );
    }

    #[test]
    fn a_lease_is_never_longer_than_an_attempt() {
        assert_eq!(lease(Duration::ZERO), LEASE_MAX);
        assert_eq!(lease(Duration::from_secs(2)), Duration::from_secs(2));
        assert_eq!(lease(Duration::from_secs(600)), LEASE_MAX);
    }
}
