//! The order of keys: what a reader looks for first stands first.
//!
//! Only maps whose keys are words of the language are sorted. Fields of inputs, outputs and labels stay as they were
//! written, and a key that nobody knows stays behind those that somebody does.

/// A map by the keys that it may have; a list has the shape of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A saga file.
    File,
    /// A step or a group.
    Step,
    /// A compensation in block form.
    Compensation,
    /// A retry policy.
    Retry,
    /// `defaults`.
    Defaults,
    /// `participants`, whose keys are names.
    Participants,
    /// What is set for a participant.
    Participant,
    /// `circuit_breaker`.
    CircuitBreaker,
    /// A file of tests.
    Tests,
    /// A case of a test.
    Case,
    /// What a case expects.
    Expect,
    /// The author's own keys.
    Free,
}

pub(super) const FILE: &[&str] = &[
    "saga",
    "version",
    "format",
    "description",
    "labels",
    "idempotency_key",
    "deadline",
    "input",
    "redact",
    "participants",
    "defaults",
    "locks",
    "steps",
    "output",
];

pub(super) const STEP: &[&str] = &[
    "step",
    "description",
    "kind",
    "when",
    "otherwise",
    "after",
    "action",
    "signal",
    "timer",
    "saga",
    "for_each",
    "as",
    "max_parallel",
    "do",
    "choose",
    "parallel",
    "sequence",
    "input",
    "payload",
    "accept",
    "timeout",
    "on_timeout",
    "heartbeat",
    "retry",
    "at_least_once",
    "escalate_after",
    "compensation",
    "on_failure",
];

impl Shape {
    /// What a file holds, by its outermost keys.
    pub(super) fn of_file<'a>(mut keys: impl Iterator<Item = &'a str>) -> Self {
        if keys.any(|key| key == "cases") {
            Self::Tests
        } else {
            Self::File
        }
    }

    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::File => FILE,
            Self::Step => STEP,
            Self::Compensation => super::super::keys::COMPENSATION,
            Self::Retry => super::super::keys::RETRY,
            Self::Defaults => super::super::keys::DEFAULTS,
            Self::Participant => super::super::keys::PARTICIPANT,
            Self::CircuitBreaker => super::super::keys::CIRCUIT_BREAKER,
            Self::Tests => &["saga", "cases"],
            Self::Case => &["case", "input", "answers", "expect"],
            Self::Expect => &["status", "step", "code", "compensated", "output", "calls"],
            Self::Participants | Self::Free => &[],
        }
    }

    /// The shape of the value after a key.
    pub(super) fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::File, "steps")
            | (Self::Step, "parallel" | "sequence" | "do" | "choose" | "otherwise") => Self::Step,
            (Self::File, "defaults") => Self::Defaults,
            (Self::File, "participants") => Self::Participants,
            (Self::Participants, _) => Self::Participant,
            (Self::Participant, "circuit_breaker") => Self::CircuitBreaker,
            (Self::Step, "compensation") => Self::Compensation,
            (Self::Defaults, "compensation_retry")
            | (Self::Step | Self::Defaults | Self::Compensation, "retry") => Self::Retry,
            (Self::Tests, "cases") => Self::Case,
            (Self::Case, "expect") => Self::Expect,
            (_, _) => Self::Free,
        }
    }

    /// Where a key stands among the others.
    pub(super) fn rank(self, key: &str) -> usize {
        let keys = self.keys();
        keys.iter()
            .position(|known| *known == key)
            .unwrap_or(keys.len())
    }
}
