//! A circuit breaker: the state machine of `failsafe` with what it lacks.
//!
//! `failsafe` says when a breaker opens: its machine asks a policy after each failure. The rest is here. Half open it
//! would let everybody through and close at the first success; here one probe goes at a time, and `half_open_calls` of
//! them in a row must succeed. It takes any answer for an answer to its last probe; here each command carries the
//! *generation* in which it was sent, which grows whenever the breaker opens, and an answer of an earlier one counts for
//! nothing. It reads the machine's clock; here every moment is an argument, so that a simulated lane has simulated
//! breakers: the policy is fed the time, and whether the machine would let a call through is never asked. And it cannot
//! be stored; a [`Face`] can.
//!
//! ```text
//! closed      -> open         too many calls failed, or an operator trips it
//! open        -> half_open    its time is over
//! half_open   -> open         the probe failed
//! half_open   -> recovering   so many probes in a row succeeded
//! recovering  -> closed       nobody waits any more
//! recovering  -> open         too many calls failed
//! open | half_open -> recovering   an operator resets it
//! open        -> recovering   tripped by an operator for a while where no policy says how to probe: the while is over
//! any         -> open         an operator trips it
//! ```
//! *Recovering* is what keeps a recovery from being a storm: of those who waited, as many are let through as there were
//! successful probes, and twice as many each time all of them were answered well.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use failsafe::{FailurePolicy, Instrument, StateMachine};
use saga_core::{Rules, Timestamp, Wait, gate::Valve, rules::Rule};
use saga_dsl::limits::BreakerPolicy;

pub use crate::store::record::BreakerFace as Face;

/// The window is kept in so many parts, and forgets one at a time.
const PARTS: i64 = 10;
/// Commands let through at once after a reset, when no policy says more.
const COHORT: u32 = 3;

/// What an answer says of the participant's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answered; a refusal is an answer, too.
    Well,
    /// It failed, or did not answer in time.
    Ill,
    /// The command was never sent, or nobody asks for its answer any more.
    Unsaid,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Everything goes.
    Closed,
    /// Nothing goes.
    Open {
        /// Until then; `None`: until an operator resets it.
        until: Option<Timestamp>,
    },
    /// One probe goes at a time.
    HalfOpen {
        /// So many have succeeded.
        succeeded: u32,
    },
    /// Who waited is let through in growing cohorts.
    Recovering {
        /// So many may be outstanding at once.
        cohort: u32,
        /// So many of this cohort were answered well.
        answered: u32,
    },
}

impl Phase {
    /// The word for it, as screens and the API have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
            Self::Recovering { .. } => "recovering",
        }
    }
}

/// A breaker of one action.
pub struct Breaker {
    policy: Option<BreakerPolicy>,
    machine: StateMachine<Window, Trip>,
    feed: Arc<Feed>,
    phase: Phase,
    /// Outstanding commands that were sent in this generation.
    out: u32,
    face: Face,
    rules: Rules,
}

impl Breaker {
    /// A closed breaker. Without a policy only operators open it.
    #[must_use]
    pub fn new(policy: Option<BreakerPolicy>, rules: Rules, now: Timestamp) -> Self {
        let feed = Arc::new(Feed::default());
        let window = Window::new(policy.unwrap_or_default(), Arc::clone(&feed));
        let machine = StateMachine::new(window, Trip(Arc::clone(&feed)));
        let face = Face {
            open: false,
            generation: 1,
            open_until: None,
            since: now,
            by: String::new(),
            reason: String::new(),
        };
        Self {
            policy,
            machine,
            feed,
            phase: Phase::Closed,
            out: 0,
            face,
            rules,
        }
    }

    /// A breaker as it was left by a process that is gone.
    #[must_use]
    pub fn restore(
        policy: Option<BreakerPolicy>,
        rules: Rules,
        face: Face,
        now: Timestamp,
    ) -> Self {
        let mut breaker = Self::new(policy, rules, now);
        if face.open {
            breaker.phase = Phase::Open {
                until: face.open_until,
            };
        }
        breaker.face = face;
        breaker
    }

    /// What it goes by, if anything.
    #[must_use]
    pub fn policy(&self) -> Option<BreakerPolicy> {
        self.policy
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What is shown of it and what survives.
    #[must_use]
    pub fn face(&self) -> &Face {
        &self.face
    }

    /// How often it has opened; a command carries the number that it was sent under.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.face.generation
    }

    /// Calls in the window when the last one was counted, and how many of them failed.
    #[must_use]
    pub fn calls(&self) -> (u32, u32) {
        (
            self.feed.total.load(Ordering::Relaxed),
            self.feed.failed.load(Ordering::Relaxed),
        )
    }

    /// What it lets through beside what is outstanding; `None`: everything.
    #[must_use]
    pub fn valve(&self) -> Option<Valve> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open { .. } => Some(Valve {
                room: 0,
                reason: Wait::BreakerOpen,
            }),
            Phase::HalfOpen { .. } => {
                let probes = if self.rules.keep(Rule::OneProbe) {
                    1
                } else {
                    u32::MAX
                };
                Some(Valve {
                    room: probes.saturating_sub(self.out),
                    reason: Wait::BreakerOpen,
                })
            }
            Phase::Recovering { cohort, .. } => Some(Valve {
                room: cohort.saturating_sub(self.out),
                reason: Wait::BreakerRecovering,
            }),
        }
    }

    /// When it changes by itself.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Open { until } => until,
            Phase::Closed | Phase::HalfOpen { .. } | Phase::Recovering { .. } => None,
        }
    }

    /// A command was sent; the answer is the generation that it carries.
    pub fn sent(&mut self) -> u64 {
        self.out += 1;
        self.face.generation
    }

    /// Counts anew what is outstanding, after the lane has doubted its memory.
    pub fn recount(&mut self, out: u32) {
        self.out = out;
    }

    /// A command of that generation is not outstanding any more. True when the breaker opened because of it.
    pub fn answered(&mut self, generation: u64, health: Health, now: Timestamp) -> bool {
        let current = generation == self.face.generation;
        if current {
            self.out = self.out.saturating_sub(1);
        }
        if !current && self.rules.keep(Rule::MatchGeneration) {
            return false;
        }
        match (self.phase, health) {
            (_, Health::Unsaid) | (Phase::Open { .. }, _) => false,
            (Phase::Closed, health) => self.judge(health, now),
            (Phase::HalfOpen { .. }, Health::Ill) => {
                self.open(now, "the probe failed");
                true
            }
            (Phase::HalfOpen { succeeded }, Health::Well) => {
                let succeeded = succeeded + 1;
                let probes = self.policy.unwrap_or_default().half_open_calls;
                self.phase = if succeeded >= probes {
                    self.machine.reset();
                    Phase::Recovering {
                        cohort: probes.max(1),
                        answered: 0,
                    }
                } else {
                    Phase::HalfOpen { succeeded }
                };
                false
            }
            (Phase::Recovering { cohort, answered }, Health::Well) => {
                let answered = answered + 1;
                self.phase = if answered >= cohort {
                    Phase::Recovering {
                        cohort: cohort.saturating_mul(2),
                        answered: 0,
                    }
                } else {
                    Phase::Recovering { cohort, answered }
                };
                self.judge(health, now)
            }
            (Phase::Recovering { .. }, Health::Ill) => {
                let cohort = self
                    .policy
                    .map_or(COHORT, |policy| policy.half_open_calls)
                    .max(1);
                self.phase = Phase::Recovering {
                    cohort,
                    answered: 0,
                };
                self.judge(health, now)
            }
        }
    }

    /// Nobody waits any more: a recovery is over. True when that is to be remembered; after an operator's reset it is already.
    pub fn nobody_waits(&mut self, now: Timestamp) -> bool {
        if !matches!(self.phase, Phase::Recovering { .. }) {
            return false;
        }
        self.phase = Phase::Closed;
        let told = self.face.open;
        if told {
            self.turned(now, false, None, "", "recovered");
        }
        told
    }

    /// The clock moved on. True when its time of being open is over.
    pub fn tick(&mut self, now: Timestamp) -> bool {
        let Phase::Open { until: Some(until) } = self.phase else {
            return false;
        };
        if until > now {
            return false;
        }
        self.phase = match self.policy {
            Some(_) => Phase::HalfOpen { succeeded: 0 },
            None => {
                self.machine.reset();
                Phase::Recovering {
                    cohort: COHORT,
                    answered: 0,
                }
            }
        };
        true
    }

    /// An operator opens it, until then or until it is reset.
    pub fn trip(&mut self, until: Option<Timestamp>, by: &str, reason: &str, now: Timestamp) {
        self.face.generation += 1;
        self.out = 0;
        self.phase = Phase::Open { until };
        self.turned(now, true, until, by, reason);
    }

    /// An operator closes it; who waits is let through in cohorts. False when it is closed.
    pub fn reset(&mut self, by: &str, reason: &str, now: Timestamp) -> bool {
        if matches!(self.phase, Phase::Closed | Phase::Recovering { .. }) {
            return false;
        }
        self.machine.reset();
        // What was sent before says nothing about a participant that somebody has mended.
        self.face.generation += 1;
        self.out = 0;
        let cohort = self
            .policy
            .map_or(COHORT, |policy| policy.half_open_calls)
            .max(1);
        self.phase = Phase::Recovering {
            cohort,
            answered: 0,
        };
        self.turned(now, false, None, by, reason);
        true
    }

    /// Tells the machine; true when it opened.
    fn judge(&mut self, health: Health, now: Timestamp) -> bool {
        if self.policy.is_none() {
            return false;
        }
        self.feed.now.store(now.0, Ordering::Relaxed);
        match health {
            Health::Well => self.machine.on_success(),
            Health::Ill => self.machine.on_error(),
            Health::Unsaid => {}
        }
        let tripped = self.feed.tripped.swap(false, Ordering::Relaxed);
        if tripped {
            let (calls, failed) = self.calls();
            let seconds =
                Duration::from_millis(self.policy.unwrap_or_default().window_ms).as_secs_f64();
            self.open(
                now,
                &format!("{failed} of {calls} calls failed within {seconds}s"),
            );
        }
        tripped
    }

    fn open(&mut self, now: Timestamp, reason: &str) {
        let until = Some(now.plus_ms(self.policy.unwrap_or_default().open_for_ms));
        self.trip(until, "", reason, now);
    }

    fn turned(
        &mut self,
        now: Timestamp,
        open: bool,
        open_until: Option<Timestamp>,
        by: &str,
        reason: &str,
    ) {
        let generation = self.face.generation;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.face = Face {
            open,
            generation,
            open_until,
            since: now,
            by,
            reason,
        };
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("phase", &self.phase)
            .field("out", &self.out)
            .field("face", &self.face)
            .finish_non_exhaustive()
    }
}

/// What goes into the machine beside answers, and what comes out of it.
#[derive(Debug, Default)]
struct Feed {
    now: AtomicI64,
    tripped: AtomicBool,
    total: std::sync::atomic::AtomicU32,
    failed: std::sync::atomic::AtomicU32,
}

/// Notes that the machine opened.
#[derive(Debug)]
struct Trip(Arc<Feed>);

impl Instrument for Trip {
    fn on_call_rejected(&self) {}
    fn on_open(&self) {
        self.0.tripped.store(true, Ordering::Relaxed);
    }
    fn on_half_open(&self) {}
    fn on_closed(&self) {}
}

/// Calls and failures of the last while, in parts.
#[derive(Debug)]
struct Window {
    policy: BreakerPolicy,
    feed: Arc<Feed>,
    parts: VecDeque<Part>,
}

#[derive(Debug)]
struct Part {
    number: i64,
    calls: u32,
    failed: u32,
}

impl Window {
    fn new(policy: BreakerPolicy, feed: Arc<Feed>) -> Self {
        Self {
            policy,
            feed,
            parts: VecDeque::new(),
        }
    }

    /// Counts a call, and forgets what is too old.
    fn count(&mut self, failed: bool) -> (u32, u32) {
        let window_us =
            i64::try_from(self.policy.window_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let part_us = (window_us / PARTS).max(1);
        let number = self.feed.now.load(Ordering::Relaxed) / part_us;
        while self
            .parts
            .front()
            .is_some_and(|part| part.number <= number - PARTS)
        {
            self.parts.pop_front();
        }
        if self.parts.back().is_none_or(|part| part.number != number) {
            self.parts.push_back(Part {
                number,
                calls: 0,
                failed: 0,
            });
        }
        if let Some(part) = self.parts.back_mut() {
            part.calls += 1;
            part.failed += u32::from(failed);
        }
        let sum = self.parts.iter().fold((0, 0), |(calls, failed), part| {
            (calls + part.calls, failed + part.failed)
        });
        self.feed.total.store(sum.0, Ordering::Relaxed);
        self.feed.failed.store(sum.1, Ordering::Relaxed);
        sum
    }
}

impl FailurePolicy for Window {
    fn record_success(&mut self) {
        self.count(false);
    }

    /// The time that the machine would stay open is never asked for.
    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        let (calls, failed) = self.count(true);
        let share =
            u64::from(failed) * 100 >= u64::from(calls) * u64::from(self.policy.failure_percent);
        (calls >= self.policy.min_calls && share).then_some(Duration::ZERO)
    }

    fn revived(&mut self) {
        self.parts.clear();
        self.feed.total.store(0, Ordering::Relaxed);
        self.feed.failed.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
