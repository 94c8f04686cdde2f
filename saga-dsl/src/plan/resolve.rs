//! Defaults resolved: what a step says wins over the file's defaults, and those over the built-in ones.

use crate::{
    definition::{Backoff, Defaults, Duration, Jitter, Kind, MaxAttempts, Retry},
    plan::RetryPolicy,
};

/// Limit of one attempt where nothing is said, in milliseconds.
pub const TIMEOUT_MS: u64 = 30_000;
/// Time until an incident is raised where nothing is said, in milliseconds.
pub const ESCALATE_AFTER_MS: u64 = 15 * 60_000;
/// Attempts of a compensatable action where nothing is said.
pub const MAX_ATTEMPTS: u32 = 5;
/// Delay before the second attempt where nothing is said, in milliseconds.
pub const INITIAL_DELAY_MS: u64 = 200;
/// Longest delay where nothing is said, in milliseconds.
pub const MAX_DELAY_MS: u64 = 30_000;
/// Growth of exponential backoff where nothing is said.
pub const MULTIPLIER: f64 = 2.0;

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;

/// Limit of one attempt: the step's, else the file's, else the built-in one.
#[must_use]
pub fn timeout_ms(written: Option<Duration>, defaults: &Defaults) -> u64 {
    written
        .or(defaults.timeout)
        .map_or(TIMEOUT_MS, |timeout| timeout.ms)
}

/// Time until an incident is raised while retries go on.
#[must_use]
pub fn escalate_after_ms(written: Option<Duration>) -> u64 {
    written.map_or(ESCALATE_AFTER_MS, |after| after.ms)
}

/// The retry policy of an action. Only a compensatable one takes its number of attempts from the defaults:
/// a pivot and what follows it go on for ever unless the step itself says otherwise.
#[must_use]
pub fn action_retry(written: &Retry, defaults: &Defaults, kind: Kind) -> RetryPolicy {
    let max_attempts = match kind {
        Kind::Compensatable => match written.max_attempts.or(defaults.retry.max_attempts) {
            Some(attempts) => limit(attempts),
            None => Some(MAX_ATTEMPTS),
        },
        Kind::Pivot | Kind::Retriable => written.max_attempts.and_then(limit),
    };
    merge(written, &defaults.retry, max_attempts)
}

/// The retry policy of a compensation: unlimited unless the file says otherwise.
#[must_use]
pub fn compensation_retry(written: &Retry, defaults: &Defaults) -> RetryPolicy {
    let max_attempts = written
        .max_attempts
        .or(defaults.compensation_retry.max_attempts)
        .and_then(limit);
    merge(written, &defaults.compensation_retry, max_attempts)
}

fn limit(attempts: MaxAttempts) -> Option<u32> {
    match attempts {
        MaxAttempts::Times(times) => Some(times),
        MaxAttempts::Unlimited(_) => None,
    }
}

fn merge(written: &Retry, defaults: &Retry, max_attempts: Option<u32>) -> RetryPolicy {
    let (initial_delay_ms, max_delay_ms) = delays(written, defaults);
    let codes = if written.non_retryable.is_empty() {
        defaults
    } else {
        written
    };
    RetryPolicy {
        max_attempts,
        backoff: written
            .backoff
            .or(defaults.backoff)
            .unwrap_or(Backoff::Exponential),
        initial_delay_ms,
        max_delay_ms,
        multiplier: written
            .multiplier
            .or(defaults.multiplier)
            .unwrap_or(MULTIPLIER),
        jitter: written.jitter.or(defaults.jitter).unwrap_or(Jitter::Full),
        max_elapsed_ms: written
            .max_elapsed
            .or(defaults.max_elapsed)
            .map(|elapsed| elapsed.ms),
        non_retryable: codes.non_retryable.clone(),
    }
}

/// Initial and longest delay. Where the two come from different places and contradict each other, the one
/// that was said closer to the step holds and the other gives way.
fn delays(written: &Retry, defaults: &Retry) -> (u64, u64) {
    let pick =
        |own: Option<Duration>, default: Option<Duration>, built_in: u64| match (own, default) {
            (Some(own), _) => (own.ms, 2),
            (None, Some(default)) => (default.ms, 1),
            (None, None) => (built_in, 0),
        };
    let (initial, initial_rank) = pick(
        written.initial_delay,
        defaults.initial_delay,
        INITIAL_DELAY_MS,
    );
    let (max, max_rank) = pick(written.max_delay, defaults.max_delay, MAX_DELAY_MS);
    if initial <= max {
        (initial, max)
    } else if max_rank > initial_rank {
        (max, max)
    } else {
        (initial, initial)
    }
}

/// Time from the first dispatch in which every permitted attempt of a compensatable action lies, with room
/// for waiting between them. `None`: there is no such time.
///
/// With `at_least_once` the room is small: there the undo of an action whose outcome is unknown waits until the
/// lifetime has passed, and a participant that stays away costs attempts instead.
#[must_use]
pub fn lifetime_ms(
    retry: &RetryPolicy,
    timeout_ms: u64,
    deadline_ms: Option<u64>,
    at_least_once: bool,
) -> Option<u64> {
    let attempts = retry
        .max_attempts
        .map(|attempts| attempts_ms(retry, attempts, timeout_ms));
    let elapsed = retry
        .max_elapsed_ms
        .map(|elapsed| elapsed.saturating_add(timeout_ms));
    let spent = match (attempts, elapsed) {
        (Some(attempts), Some(elapsed)) => attempts.min(elapsed),
        (Some(bound), None) | (None, Some(bound)) => bound,
        // The deadline ends the attempts too; the last one may begin just before it.
        (None, None) => deadline_ms?.saturating_add(timeout_ms),
    };
    if at_least_once {
        return Some(spent.saturating_add(MINUTE_MS));
    }
    let floor = deadline_ms.unwrap_or(7 * DAY_MS);
    Some(spent.saturating_mul(2).max(floor).saturating_add(HOUR_MS))
}

/// All attempts run to their timeout, with the longest delays in between.
fn attempts_ms(retry: &RetryPolicy, attempts: u32, timeout_ms: u64) -> u64 {
    let mut total = timeout_ms.saturating_mul(u64::from(attempts));
    let mut delay = retry.initial_delay_ms;
    let mut left = u64::from(attempts.saturating_sub(1));
    while left > 0 && delay < retry.max_delay_ms {
        total = total.saturating_add(delay);
        left -= 1;
        let next = match retry.backoff {
            Backoff::Exponential => grow(delay, retry.multiplier),
            Backoff::Linear => delay.saturating_add(retry.initial_delay_ms),
            Backoff::Fixed => delay,
        };
        if next <= delay {
            // The delay stands still: the rest is a product.
            return total.saturating_add(delay.saturating_mul(left));
        }
        delay = next.min(retry.max_delay_ms);
    }
    total.saturating_add(delay.min(retry.max_delay_ms).saturating_mul(left))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
fn grow(delay_ms: u64, multiplier: f64) -> u64 {
    // A cast from a float saturates, and the sum of a lifetime is an upper bound, not a schedule.
    (delay_ms as f64 * multiplier).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Unlimited;

    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration { ms })
    }

    #[test]
    fn built_in_defaults() {
        let policy = action_retry(&Retry::default(), &Defaults::default(), Kind::Compensatable);
        let expected = RetryPolicy {
            max_attempts: Some(5),
            backoff: Backoff::Exponential,
            initial_delay_ms: 200,
            max_delay_ms: 30_000,
            multiplier: 2.0,
            jitter: Jitter::Full,
            max_elapsed_ms: None,
            non_retryable: vec![],
        };
        assert_eq!(policy, expected);
        assert_eq!(timeout_ms(None, &Defaults::default()), 30_000);
        assert_eq!(escalate_after_ms(None), 900_000);
    }

    #[test]
    fn default_attempts_bind_compensatable_actions_only() {
        let retry = Retry {
            max_attempts: Some(MaxAttempts::Times(3)),
            ..Retry::default()
        };
        let defaults = Defaults {
            retry: retry.clone(),
            ..Defaults::default()
        };
        let none = Retry::default();
        assert_eq!(
            action_retry(&none, &defaults, Kind::Compensatable).max_attempts,
            Some(3)
        );
        assert_eq!(
            action_retry(&none, &defaults, Kind::Pivot).max_attempts,
            None
        );
        assert_eq!(
            action_retry(&none, &defaults, Kind::Retriable).max_attempts,
            None
        );
        assert_eq!(
            action_retry(&retry, &defaults, Kind::Pivot).max_attempts,
            Some(3)
        );
        assert_eq!(compensation_retry(&none, &defaults).max_attempts, None);
        let unlimited = Retry {
            max_attempts: Some(MaxAttempts::Unlimited(Unlimited::Unlimited)),
            ..Retry::default()
        };
        assert_eq!(
            action_retry(&unlimited, &defaults, Kind::Compensatable).max_attempts,
            None
        );
    }

    #[test]
    fn the_delay_said_closer_to_the_step_holds() {
        let defaults = Retry {
            initial_delay: ms(200),
            max_delay: ms(10_000),
            ..Retry::default()
        };
        let long_start = Retry {
            initial_delay: ms(300_000),
            ..Retry::default()
        };
        assert_eq!(delays(&long_start, &defaults), (300_000, 300_000));
        let short_end = Retry {
            max_delay: ms(100),
            ..Retry::default()
        };
        assert_eq!(delays(&short_end, &defaults), (100, 100));
        assert_eq!(delays(&long_start, &Retry::default()), (300_000, 300_000));
        assert_eq!(delays(&Retry::default(), &defaults), (200, 10_000));
    }

    #[test]
    fn lifetimes_cover_every_attempt() {
        let base = action_retry(&Retry::default(), &Defaults::default(), Kind::Compensatable);
        // 5 x 10 s + 200 + 400 + 800 + 1600 ms, doubled, is less than the deadline.
        assert_eq!(attempts_ms(&base, 5, 10_000), 53_000);
        assert_eq!(
            lifetime_ms(&base, 10_000, Some(900_000), false),
            Some(900_000 + HOUR_MS)
        );
        assert_eq!(
            lifetime_ms(&base, 10_000, None, false),
            Some(7 * DAY_MS + HOUR_MS)
        );
        assert_eq!(
            lifetime_ms(&base, 10_000, None, true),
            Some(53_000 + MINUTE_MS)
        );
        assert_eq!(
            lifetime_ms(&base, 10_000, Some(60_000), false),
            Some(106_000 + HOUR_MS)
        );
        let capped = RetryPolicy {
            max_delay_ms: 300,
            ..base.clone()
        };
        assert_eq!(attempts_ms(&capped, 5, 0), 200 + 3 * 300);
        let linear = RetryPolicy {
            backoff: Backoff::Linear,
            ..base.clone()
        };
        assert_eq!(attempts_ms(&linear, 4, 0), 200 + 400 + 600);
        let fixed = RetryPolicy {
            backoff: Backoff::Fixed,
            ..base.clone()
        };
        assert_eq!(
            attempts_ms(&fixed, u32::MAX, 0),
            200 * u64::from(u32::MAX - 1)
        );
        let endless = RetryPolicy {
            max_attempts: None,
            ..base.clone()
        };
        assert_eq!(lifetime_ms(&endless, 10_000, None, false), None);
        assert_eq!(
            lifetime_ms(&endless, 10_000, Some(DAY_MS), false),
            Some(2 * (DAY_MS + 10_000) + HOUR_MS)
        );
        let elapsed = RetryPolicy {
            max_elapsed_ms: Some(60_000),
            ..endless
        };
        assert_eq!(
            lifetime_ms(&elapsed, 10_000, Some(1), false),
            Some(140_000 + HOUR_MS)
        );
    }
}
