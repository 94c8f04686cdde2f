//! A definition made ready: what may run next, what undoes what, with every default resolved.
//!
//! The step tree is flattened to a list of steps that know their predecessors; a step's number in that list
//! is its [`StepIx`], which is what the journal speaks of. The same canonical definition always gives
//! the same plan.

mod flatten;
mod pinned;
pub mod resolve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    canonical::CanonicalError,
    definition::{Backoff, Definition, Jitter, Kind},
    expr::{Expr, Template, ValueTemplate},
    place::Place,
};

/// Position of a step in [`Plan::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIx(pub u16);

impl StepIx {
    /// The position as an index.
    #[must_use]
    pub fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// A definition made ready.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the author wrote.
    pub definition: Definition,
    /// SHA-256 of the canonical JSON.
    pub hash: [u8; 32],
    /// Every step, in the order of the file.
    pub steps: Vec<PlanStep>,
    /// Where each step id stands.
    pub by_id: BTreeMap<String, StepIx>,
    /// Milliseconds from the start of the saga.
    pub deadline_ms: Option<u64>,
    /// The key of a start, over `input`.
    pub idempotency_key: Option<Template>,
    /// The result of the saga; `None`: the outputs of its succeeded top-level steps by id.
    pub output: Option<ValueTemplate>,
}

/// A step made ready.
#[derive(Debug, Clone)]
pub struct PlanStep {
    /// Id, unique in the file; also the step path on the wire.
    pub id: String,
    /// Groups around it, from the outside in.
    pub groups: Vec<GroupKind>,
    /// Where it stands to the point of no return.
    pub kind: Kind,
    /// What it asks for.
    pub action: PlanAction,
    /// All must hold. Those of groups come first, from the outside in, its own `when` last; the first false one ends
    /// the evaluation, because an inner one may read what only an outer one makes sure is there.
    pub guards: Vec<Expr>,
    /// Undo, if there is anything to undo.
    pub compensation: Option<PlanCompensation>,
    /// Milliseconds after becoming ready until an incident is raised while retries go on.
    pub escalate_after_ms: u64,
    /// The author accepts that the action may take effect more than once.
    pub at_least_once: bool,
    /// Steps that must be settled before this one is ready: the nearest ones, not all.
    pub after: Vec<StepIx>,
    /// The reverse of `after`.
    pub before: Vec<StepIx>,
    /// Milliseconds from the first dispatch in which every permitted attempt lies; `None`: no limit (pivot, retriable).
    pub lifetime_ms: Option<u64>,
}

/// A group around a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// `parallel`.
    Parallel,
    /// `sequence`.
    Sequence,
}

/// A command to a participant, made ready.
#[derive(Debug, Clone)]
pub struct PlanAction {
    /// Before the slash.
    pub participant: String,
    /// After the slash.
    pub action: String,
    /// Its payload.
    pub input: ValueTemplate,
    /// Limit of one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// Retry policy, complete.
    pub retry: RetryPolicy,
}

/// An undo made ready.
#[derive(Debug, Clone)]
pub struct PlanCompensation {
    /// Before the slash.
    pub participant: String,
    /// After the slash.
    pub action: String,
    /// The file's own payload; `None`: `{input, output, action_key}`.
    pub input: Option<ValueTemplate>,
    /// Limit of one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// Retry policy, complete.
    pub retry: RetryPolicy,
    /// Milliseconds after the first need until an incident is raised while retries go on.
    pub escalate_after_ms: u64,
}

/// A retry policy with every field resolved. Delays in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all; `None`: unlimited.
    pub max_attempts: Option<u32>,
    /// How delays grow.
    pub backoff: Backoff,
    /// Before the second attempt.
    pub initial_delay_ms: u64,
    /// Delays never exceed it.
    pub max_delay_ms: u64,
    /// Growth of exponential backoff.
    pub multiplier: f64,
    /// How delays are spread.
    pub jitter: Jitter,
    /// No attempt begins later than this after the first one.
    pub max_elapsed_ms: Option<u64>,
    /// Error codes that end the retries.
    pub non_retryable: Vec<String>,
}

/// The definition cannot be made ready. A definition that passed the checks never fails here.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct PlanError {
    /// Where: `steps.reserve_flight.input`.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl From<CanonicalError> for PlanError {
    fn from(error: CanonicalError) -> Self {
        Self {
            place: "definition".to_owned(),
            message: error.to_string(),
        }
    }
}

impl Plan {
    /// Makes a definition ready. The checks are not run here: what runs already must go on loading, also when
    /// a later release finds fault with it.
    ///
    /// # Errors
    /// A format that is newer than this release, an expression that does not parse, an id that stands twice, more
    /// steps than a plan can count.
    pub fn from_definition(definition: Definition) -> Result<Self, PlanError> {
        if definition.format != 1 {
            let message = format!("format {} is unknown to this release", definition.format);
            return Err(PlanError {
                place: "format".to_owned(),
                message,
            });
        }
        let types = pinned::PinnedTypes::of(&definition);
        let steps = flatten::flatten(&definition)?;
        let mut by_id = BTreeMap::new();
        for (at, step) in (0_u16..).zip(&steps) {
            if by_id.insert(step.id.clone(), StepIx(at)).is_some() {
                let message = "this id stands twice".to_owned();
                return Err(PlanError {
                    place: format!("steps.{}", step.id),
                    message,
                });
            }
        }
        let idempotency_key = match &definition.idempotency_key {
            Some(text) => Some(
                Template::parse(text)
                    .map_err(|fault| {
                        flatten::error(&Place::default().key("idempotency_key"), &fault)
                    })?
                    .with_types(&types),
            ),
            None => None,
        };
        let output = match &definition.output {
            Some(value) => Some(
                ValueTemplate::from_value(value)
                    .map_err(|fault| flatten::error(&Place::default().key("output"), &fault))?
                    .with_types(&types),
            ),
            None => None,
        };
        Ok(Self {
            hash: definition.content_hash(),
            steps,
            by_id,
            deadline_ms: definition.deadline.map(|deadline| deadline.ms),
            idempotency_key,
            output,
            definition,
        })
    }

    /// Makes a stored definition ready: exactly what [`Definition::canonical_json`] wrote.
    ///
    /// # Errors
    /// As [`Plan::from_definition`]; a text that is not a canonical form.
    pub fn from_canonical(json: &str) -> Result<Self, PlanError> {
        Self::from_definition(Definition::from_canonical_json(json)?)
    }

    /// The step with this id.
    #[must_use]
    pub fn step_ix(&self, id: &str) -> Option<StepIx> {
        self.by_id.get(id).copied()
    }

    /// The step at a position.
    #[must_use]
    pub fn step(&self, ix: StepIx) -> Option<&PlanStep> {
        self.steps.get(ix.at())
    }
}
