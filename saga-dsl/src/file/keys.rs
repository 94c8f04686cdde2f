//! The keys that a file may have, object by object: what the walk accepts and what the editors' schema offers.

/// Of the file itself.
pub(crate) const FILE: &[&str] = &[
    "saga",
    "version",
    "format",
    "description",
    "labels",
    "idempotency_key",
    "deadline",
    "input",
    "output",
    "participants",
    "defaults",
    "steps",
];

/// Of `defaults`.
pub(crate) const DEFAULTS: &[&str] = &["timeout", "retry", "compensation_retry"];

/// Of a participant under `participants`.
pub(crate) const PARTICIPANT: &[&str] = &["max_in_flight", "rate_limit", "circuit_breaker"];

/// Of `circuit_breaker`.
pub(crate) const CIRCUIT_BREAKER: &[&str] = &[
    "failure_rate",
    "window",
    "min_calls",
    "open_for",
    "half_open_calls",
];

/// Of a server's file of limits.
pub(crate) const LIMITS_FILE: &[&str] = &["participants"];

/// Of `retry` and `compensation_retry`.
pub(crate) const RETRY: &[&str] = &[
    "max_attempts",
    "backoff",
    "initial_delay",
    "max_delay",
    "multiplier",
    "jitter",
    "max_elapsed",
    "non_retryable",
];

/// Of a step.
pub(crate) const STEP: &[&str] = &[
    "step",
    "description",
    "kind",
    "when",
    "action",
    "input",
    "compensation",
    "timeout",
    "retry",
    "escalate_after",
    "at_least_once",
];

/// Of a compensation in block form.
pub(crate) const COMPENSATION: &[&str] = &[
    "action",
    "reason",
    "input",
    "timeout",
    "retry",
    "escalate_after",
];

/// Of a group, beside its verb.
pub(crate) const GROUP: &[&str] = &["when"];

/// Words of the expression language, which are no ids.
pub(crate) const RESERVED: &[&str] = &["true", "false", "null", "in"];

/// Of a test file.
pub(crate) const TEST_FILE: &[&str] = &["saga", "cases"];

/// Of a case in a test file.
pub(crate) const CASE: &[&str] = &["case", "input", "answers", "expect"];

/// Of an answer in a test file: exactly one of them.
pub(crate) const ANSWER: &[&str] = &["succeed", "refuse", "fail", "silent", "needs_operator"];

/// Of an error in a test file.
pub(crate) const WORDS: &[&str] = &["code", "message"];

/// Of a failure in a test file.
pub(crate) const FAIL: &[&str] = &["code", "message", "retry_after"];

/// Of what a case expects.
pub(crate) const EXPECT: &[&str] = &["status", "step", "code", "compensated", "output", "calls"];
