//! When the next attempt is due: a pure function of policy, attempt and seed.
//!
//! Exponential backoff with full or equal jitter as described in "Exponential Backoff And Jitter"
//! (M. Brooker, AWS Architecture Blog, 2015); the chance comes from `splitmix64` over the saga's id, so the same saga
//! always draws the same delays.

use saga_dsl::{
    definition::{Backoff, Jitter},
    plan::{RetryPolicy, StepIx},
};

use crate::{
    error::ErrorBody,
    ids::{SagaId, Timestamp},
};

/// What is known when an attempt has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Attempts spent so far.
    pub attempts: u32,
    /// When the first one was sent.
    pub first_sent: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// Why the last one ended.
    pub error: &'a ErrorBody,
    /// No attempt may begin after this.
    pub not_after: Option<Timestamp>,
}

/// When the next attempt is due; `None`: there is none.
#[must_use]
pub fn next_attempt(policy: &RetryPolicy, ended: &Ended<'_>, seed: u64) -> Option<Timestamp> {
    if policy.non_retryable.contains(&ended.error.code) {
        return None;
    }
    if policy.max_attempts.is_some_and(|max| ended.attempts >= max) {
        return None;
    }
    let wanted = ended.error.retry_after_ms.unwrap_or(0);
    let due = ended
        .now
        .plus_ms(delay_ms(policy, ended.attempts, seed).max(wanted));
    let last = policy.max_elapsed_ms.map(|ms| ended.first_sent.plus_ms(ms));
    let too_late = last
        .into_iter()
        .chain(ended.not_after)
        .any(|limit| due > limit);
    (!too_late).then_some(due)
}

/// Milliseconds to wait after attempt number `attempt` (from 1). At least 1, at most the policy's `max_delay_ms`.
#[must_use]
pub fn delay_ms(policy: &RetryPolicy, attempt: u32, seed: u64) -> u64 {
    let initial = policy.initial_delay_ms as f64;
    let steps = f64::from(attempt.saturating_sub(1));
    let grown = match policy.backoff {
        Backoff::Fixed => initial,
        Backoff::Linear => initial * (steps + 1.0),
        // Past 2^1000 the cap decides anyway; the limit keeps the power finite.
        Backoff::Exponential => initial * policy.multiplier.powf(steps.min(1_000.0)),
    };
    let capped = grown.min(policy.max_delay_ms as f64);
    let chance = unit(seed ^ u64::from(attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let spread = match policy.jitter {
        Jitter::Full => capped * chance,
        Jitter::Equal => capped / 2.0 + capped / 2.0 * chance,
        Jitter::None => capped,
    };
    (spread.round() as u64).max(1)
}

/// The seed of a step's delays.
#[must_use]
pub fn seed(saga: SagaId, step: StepIx, undo: bool) -> u64 {
    let id = saga.as_u128();
    let folded = (id as u64) ^ ((id >> 64) as u64);
    splitmix64(folded ^ (u64::from(step.0) << 1) ^ u64::from(undo))
}

fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number in [0, 1) with 53 random bits.
fn unit(seed: u64) -> f64 {
    (splitmix64(seed) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: Some(5),
            backoff: Backoff::Exponential,
            initial_delay_ms: 200,
            max_delay_ms: 10_000,
            multiplier: 2.0,
            jitter: Jitter::None,
            max_elapsed_ms: None,
            non_retryable: vec!["gone".into()],
        }
    }

    #[test]
    fn delays_grow_to_the_cap() {
        let delays: Vec<u64> = (1..=8)
            .map(|attempt| delay_ms(&policy(), attempt, 0))
            .collect();
        assert_eq!(delays, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        let linear = RetryPolicy {
            backoff: Backoff::Linear,
            ..policy()
        };
        assert_eq!(delay_ms(&linear, 3, 0), 600);
        let fixed = RetryPolicy {
            backoff: Backoff::Fixed,
            ..policy()
        };
        assert_eq!(delay_ms(&fixed, 30, 0), 200);
    }

    #[test]
    fn attempts_end_by_number_time_code_and_lifetime() {
        let error = ErrorBody::new("busy", "");
        let base = Ended {
            attempts: 1,
            first_sent: Timestamp(0),
            now: Timestamp(1_000),
            error: &error,
            not_after: None,
        };
        assert_eq!(next_attempt(&policy(), &base, 0), Some(Timestamp(201_000)));
        assert_eq!(
            next_attempt(
                &policy(),
                &Ended {
                    attempts: 5,
                    ..base
                },
                0
            ),
            None
        );
        let gone = ErrorBody::new("gone", "");
        assert_eq!(
            next_attempt(
                &policy(),
                &Ended {
                    error: &gone,
                    ..base
                },
                0
            ),
            None
        );
        assert_eq!(
            next_attempt(
                &policy(),
                &Ended {
                    not_after: Some(Timestamp(200_999)),
                    ..base
                },
                0
            ),
            None
        );
        let short = RetryPolicy {
            max_elapsed_ms: Some(200),
            ..policy()
        };
        assert_eq!(next_attempt(&short, &base, 0), None);
        let patient = ErrorBody {
            retry_after_ms: Some(900),
            ..error.clone()
        };
        assert_eq!(
            next_attempt(
                &policy(),
                &Ended {
                    error: &patient,
                    ..base
                },
                0
            ),
            Some(Timestamp(901_000))
        );
    }

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(attempt in 1_u32.., seed: u64, multiplier in 1.01_f64..100.0,
                                          initial in 1_u64..100_000, max in 1_u64..10_000_000) {
            for jitter in [Jitter::Full, Jitter::Equal, Jitter::None] {
                let policy = RetryPolicy { jitter, multiplier, initial_delay_ms: initial, max_delay_ms: max, ..policy() };
                let delay = delay_ms(&policy, attempt, seed);
                prop_assert!(delay >= 1 && delay <= max.max(1));
                prop_assert_eq!(delay, delay_ms(&policy, attempt, seed));
            }
        }
    }
}
