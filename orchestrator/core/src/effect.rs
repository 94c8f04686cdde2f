//! What a decision asks the shell to do, once it is committed.

use saga_dsl::plan::StepIx;

use crate::{
    ground::Op,
    ids::{SagaId, Timestamp},
    payload::Payload,
};

/// Something for the shell to do after the commit, and never before.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send a command.
    Send(Command),
    /// A step waits for this participant: wake the saga when the gate for it may have opened.
    Await {
        /// Name of the participant.
        participant: String,
    },
    /// A sign of life arrived: the limit of what is outstanding at the step runs anew. Held in memory only, for
    /// a restart begins it anew too: [`SagaState::set_limit`](crate::SagaState::set_limit).
    Extend {
        /// The step.
        step: StepIx,
        /// The new limit.
        due: Timestamp,
    },
    /// The saga has ended: tell who waits for it.
    Announce,
}

/// What the orchestrator knows of the action that a compensation undoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It took effect.
    Done,
    /// Nobody can say.
    Unknown,
}

/// A command to a participant, the same at every sending of its key but for the attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The saga.
    pub saga_id: SagaId,
    /// The step; its id is the step path on the wire.
    pub step: StepIx,
    /// Round of the step's key.
    pub round: u32,
    /// What is asked.
    pub op: Op,
    /// Which sending this is.
    pub attempt: u32,
    /// The payload.
    pub input: Payload,
    /// For compensations.
    pub known: Option<Known>,
    /// Past it the action may not begin.
    pub not_after: Option<Timestamp>,
    /// The inbox row must stay at least until then.
    pub retain_until: Timestamp,
    /// Hash of op, action and input.
    pub fingerprint: u64,
    /// Limit of the attempt, in milliseconds.
    pub timeout_ms: u64,
}
