//! What the author wrote, as data: the model behind every front end.
//!
//! Its serde form is the canonical JSON that is stored and hashed: what was written, without defaults.
//! Expressions and durations stay texts here; [`crate::plan`] makes them ready.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{limits::Participant, types::Type};

/// A saga as its author declared it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Name: `[a-z][a-z0-9_]*`, at most 63 characters.
    pub saga: String,
    /// Version, from 1; with the name and the content hash it is what a saga pins at its start.
    pub version: u32,
    /// Version of the file's grammar and of the meaning of its expressions.
    #[serde(default = "first_format", skip_serializing_if = "is_first_format")]
    pub format: u32,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Copied to each saga, for filtering.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Text with `${…}` over `input`: a second start with the same result returns the first saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Before the pivot its passing compensates; after it, it raises an incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// Types of the start payload.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub input: BTreeMap<String, Type>,
    /// The result; absent: the outputs of the succeeded top-level steps by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// How much participants may be asked, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub participants: BTreeMap<String, Participant>,
    /// For every step that does not say.
    #[serde(default, skip_serializing_if = "Defaults::is_empty")]
    pub defaults: Defaults,
    /// In order.
    pub steps: Vec<Node>,
}

fn first_format() -> u32 {
    1
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_first_format(format: &u32) -> bool {
    *format == 1
}

/// A span of time in whole milliseconds, written `200ms`, `15m`, `1h30m`, `3d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    /// Milliseconds.
    pub ms: u64,
}

/// What steps take over when they do not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Limit of one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Retry of actions; `max_attempts` binds compensatable actions only.
    #[serde(default, skip_serializing_if = "Retry::is_empty")]
    pub retry: Retry,
    /// Retry of compensations.
    #[serde(default, skip_serializing_if = "Retry::is_empty")]
    pub compensation_retry: Retry,
}

impl Defaults {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A retry policy as far as it was written; merged over the defaults field by field.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<MaxAttempts>,
    /// How delays grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Before the second attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<Duration>,
    /// Delays never exceed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Duration>,
    /// Growth of exponential backoff, above 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<f64>,
    /// How delays are spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// No attempt begins later than this after the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_elapsed: Option<Duration>,
    /// Error codes that end the retries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_retryable: Vec<String>,
}

impl Retry {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A number of attempts, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MaxAttempts {
    /// At least 1.
    Times(u32),
    /// Written `unlimited`.
    Unlimited(Unlimited),
}

/// The word `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlimited {
    /// No limit.
    Unlimited,
}

/// How delays grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Multiplied each time.
    Exponential,
    /// The initial delay added each time.
    Linear,
    /// Always the initial delay.
    Fixed,
}

/// How delays are spread, so that many sagas do not retry at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Anywhere between nothing and the delay.
    Full,
    /// Half of the delay, and anywhere up to the other half.
    Equal,
    /// Exactly the delay.
    None,
}

/// An item of a list of steps.
///
/// One variant per construct; a further construct is a further variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Node {
    /// Children all at once.
    Parallel(Parallel),
    /// Children one after the other, as one branch of a `parallel`.
    Sequence(Sequence),
    /// A step.
    Step(Box<Step>),
}

/// Children that run together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parallel {
    /// CEL; false skips all children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The children.
    pub parallel: Vec<Node>,
}

/// Children that run one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// CEL; false skips all children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The children.
    pub sequence: Vec<Node>,
}

/// A step: one verb, and what undoes it.
///
/// serde cannot deny unknown fields beside a flattened one; [`Definition::from_canonical_json`] catches them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Id, unique in the file.
    pub step: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where it stands to the point of no return; absent: compensatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// CEL; false skips the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What it does.
    #[serde(flatten)]
    pub verb: Verb,
    /// What undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Compensation>,
    /// Limit of one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Retry policy.
    #[serde(default, skip_serializing_if = "Retry::is_empty")]
    pub retry: Retry,
    /// Raises an incident while retries go on; absent: 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_after: Option<Duration>,
    /// The author accepts that the action may take effect more than once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least_once: bool,
}

/// What a step does; a further verb is a further variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Verb {
    /// A command to a participant.
    Action {
        /// `participant/action`.
        action: ActionName,
        /// Its payload.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Input>,
    },
}

/// `participant/action`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActionName {
    /// Before the slash.
    pub participant: String,
    /// After the slash.
    pub action: String,
}

/// The payload of a command: names picked from the scope, or a value with `${…}` in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// `[customer_id, steps.reserve.output.seat]`: fields named by the last segment.
    Pick(Vec<String>),
    /// An object whose texts may hold `${…}`.
    Value(serde_json::Map<String, Value>),
}

/// Where a step stands to the point of no return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Before the pivot; can be undone.
    Compensatable,
    /// The point of no return.
    Pivot,
    /// After the pivot; retried until it succeeds.
    Retriable,
}

/// What undoes a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Compensation {
    /// `none`: nothing needs undoing.
    None(NoCompensation),
    /// `participant/action`.
    Action(ActionName),
    /// Block form.
    Block(Box<CompensationBlock>),
}

/// The word `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoCompensation {
    /// Nothing needs undoing.
    None,
}

/// A compensation in block form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompensationBlock {
    /// `participant/action`, or `none`.
    pub action: CompensationAction,
    /// Why nothing needs undoing; only with `action: none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its payload; absent: `{input, output, action_key}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Input>,
    /// Limit of one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Retry policy.
    #[serde(default, skip_serializing_if = "Retry::is_empty")]
    pub retry: Retry,
    /// Raises an incident while retries go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_after: Option<Duration>,
}

/// What a compensation block calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CompensationAction {
    /// Nothing.
    None(NoCompensation),
    /// A command to a participant.
    Action(ActionName),
}
