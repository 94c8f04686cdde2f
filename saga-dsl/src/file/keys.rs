//! The keys that a file may have, object by object: what the walk accepts and what the editors' schema offers.

use crate::near_miss::near_miss;

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

/// Keys that take a map. Where nothing stands behind one, the keys below it were probably not indented.
pub(crate) const MAPS: &[&str] = &[
    "labels",
    "input",
    "output",
    "participants",
    "defaults",
    "retry",
    "compensation",
    "compensation_retry",
    "circuit_breaker",
    "expect",
    "answers",
];

/// The keys of the map behind a key; `None`: it takes any.
pub(crate) fn of_map(key: &str) -> Option<&'static [&'static str]> {
    match key {
        "defaults" => Some(DEFAULTS),
        "retry" | "compensation_retry" => Some(RETRY),
        "compensation" => Some(COMPENSATION),
        "circuit_breaker" => Some(CIRCUIT_BREAKER),
        "expect" => Some(EXPECT),
        _ => None,
    }
}

/// What other tools call things, and the keys that are meant.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("name", "saga"),
    ("name", "step"),
    ("name", "case"),
    ("id", "step"),
    ("id", "saga"),
    ("workflow", "saga"),
    ("tasks", "steps"),
    ("call", "action"),
    ("run", "action"),
    ("uses", "action"),
    ("undo", "compensation"),
    ("rollback", "compensation"),
    ("compensate", "compensation"),
    ("args", "input"),
    ("params", "input"),
    ("with", "input"),
    ("if", "when"),
    ("condition", "when"),
    ("type", "kind"),
    ("retries", "retry"),
    ("attempts", "max_attempts"),
    ("max_retries", "max_attempts"),
    ("delay", "initial_delay"),
];

/// The key among `known` that was probably meant: another tool's word for it, or a slip of the pen.
pub(crate) fn meant<'k>(
    key: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    let named: Vec<&str> = OTHER_WORDS
        .iter()
        .filter(|(word, _)| *word == key)
        .map(|(_, named)| *named)
        .collect();
    known
        .clone()
        .find(|known| named.contains(known))
        .or_else(|| near_miss(key, known))
}

/// Whose key it is, if not that of the map with these `known` keys, and how it must be indented to be it. Names the
/// map's own key as `owner`.
pub(crate) fn belongs_elsewhere(key: &str, known: &[&str], owner: &str) -> Option<String> {
    let outwards = |holder: &str| {
        format!("`{key}` is a key of {holder}: indent it like `{owner}`, not below it")
    };
    let has = |keys: &[&str]| keys.contains(&key);
    if known == FILE && has(STEP) {
        return Some(format!(
            "`{key}` is a key of a step: indent it below its step"
        ));
    }
    if known == STEP && has(RETRY) {
        return Some(format!(
            "`{key}` is a key of `retry`: indent it below `retry:`"
        ));
    }
    if known == STEP && key != "saga" && has(FILE) {
        return Some(format!("`{key}` is a key of the file: do not indent it"));
    }
    if (known == RETRY || known == COMPENSATION) && has(STEP) {
        return Some(outwards("the step"));
    }
    if (known == DEFAULTS || known == PARTICIPANT) && has(FILE) {
        return Some(format!("`{key}` is a key of the file: do not indent it"));
    }
    (known == CIRCUIT_BREAKER && has(PARTICIPANT)).then(|| outwards("the participant"))
}

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
