//! What can happen to a saga.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    error::ErrorBody,
    ground::{Op, Verb},
    ids::{ActId, Timestamp},
    payload::Payload,
};
use saga_dsl::plan::StepIx;

/// Something that happened to a saga and asks for a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Begin.
    Start(Start),
    /// A participant answered.
    Reply(Reply),
    /// A command is lost for certain or may be: nobody will answer it.
    Lost(Lost),
    /// The clock passed the saga's next due time, or the saga was just loaded.
    Due,
    /// The gate may have opened for a step that waits.
    Wake,
    /// Somebody wants the saga undone.
    Cancel(Cancel),
    /// An operator intervenes.
    Intervene(Intervention),
    /// The orchestrator itself stumbled over this saga: a decision panicked, or the store refuses its row.
    Trouble(ErrorBody),
}

/// The facts of a start.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Checked against the definition's types before.
    pub input: Payload,
    /// The key that the start was deduplicated by, if it had one.
    pub key: Option<Arc<str>>,
    /// Labels of the definition and of the start.
    pub labels: BTreeMap<String, String>,
}

/// The answer to one command.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Who answered, as the transport attests it.
    pub participant: Arc<str>,
    /// The step.
    pub step: StepIx,
    /// Round of the step's key.
    pub round: u32,
    /// What was asked.
    pub op: Op,
    /// Which sending is answered.
    pub attempt: u32,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a participant says.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Action: it took effect. Definite.
    Succeeded(Payload),
    /// A business no, without effect. Definite and sticky.
    Refused(ErrorBody),
    /// Rolled back; another attempt may do better.
    Failed(ErrorBody),
    /// Work goes on outside the handler; the outcome follows.
    Accepted,
    /// Heartbeat of an action, or: ask again, the action is in progress.
    Running,
    /// Action: undone or sealed before it arrived; it never takes effect.
    Blocked,
    /// The key was used with other content.
    Conflict(ErrorBody),
    /// Action: its time had passed, nothing was done.
    Expired,
    /// Compensation: no machine can do it.
    NeedsOperator(ErrorBody),
    /// Compensation: there was no effect and never will be.
    NothingToDo,
    /// Compensation: undone.
    Compensated,
    /// Query: no trace of the action, which may still arrive.
    Absent,
    /// Query or seal: it took effect.
    Done(Payload),
    /// Query or seal: it has not happened and never will.
    Sealed,
    /// Action, query or seal: it took effect, and its output cannot be taken (not JSON, or beyond a limit). Definite; a
    /// repetition brings the same answer, because the inbox stores it.
    OutputNotTaken(ErrorBody),
}

/// A command that will not be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// The step.
    pub step: StepIx,
    /// Round of the step's key.
    pub round: u32,
    /// What was asked.
    pub op: Op,
    /// Which sending.
    pub attempt: u32,
    /// True when the command certainly never reached the wire, in no sending of this attempt: then none was spent.
    /// After a restart nobody knows what was sent before it, so what was sent again is never unsent.
    pub unsent: bool,
    /// Why.
    pub error: ErrorBody,
}

/// A wish to undo the saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// Why, for the record.
    pub reason: String,
    /// Who, as far as it is known.
    pub by: String,
    /// The client's name for this act; the same when it is sent again.
    pub act: Option<ActId>,
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intervention {
    /// What.
    pub order: Order,
    /// Where; `None`: the whole saga.
    pub step: Option<StepIx>,
    /// Why, for the record.
    pub reason: String,
    /// Who, as far as it is known.
    pub by: String,
    /// Take the operator's word where a proof is not to be had. The saga is marked for good.
    pub force: bool,
    /// The client's name for this act; the same when it is sent again.
    pub act: Option<ActId>,
}

/// What operators can ask for, with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Try again now. A refused step begins another round, and so does one with another payload.
    Retry {
        /// The payload from here on.
        input: Option<Payload>,
    },
    /// Go on without the step, or without its undo.
    Skip,
    /// The step took effect.
    ResolveSucceeded {
        /// What it returned.
        output: Payload,
    },
    /// The step did not take effect.
    ResolveFailed,
    /// End the saga as it is.
    Abandon,
    /// Take note of the incidents that nothing else settles; also once the saga has ended.
    Acknowledge,
}

impl Order {
    /// What is asked for, without what it needs.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::Retry { input: None } => Verb::Retry,
            Self::Retry { input: Some(_) } => Verb::RetryEdited,
            Self::Skip => Verb::Skip,
            Self::ResolveSucceeded { .. } => Verb::ResolveSucceeded,
            Self::ResolveFailed => Verb::ResolveFailed,
            Self::Abandon => Verb::Abandon,
            Self::Acknowledge => Verb::Acknowledge,
        }
    }
}

/// Why an intervention makes no sense where the saga stands. The words say what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Retry of a whole saga.
    #[error("nothing has failed: no step is backing off, refused or stuck")]
    NothingFailed,
    /// This order is about one step.
    #[error("it needs a step")]
    StepNeeded,
    /// This order is about the whole saga.
    #[error("it is about the whole saga and takes no step")]
    NoStepTaken,
    /// No incident is open that an operator could take note of.
    #[error(
        "there is nothing to acknowledge: no contradiction is open, and no deadline that passed"
    )]
    NothingToAcknowledge,
    /// The step's turn has not come.
    #[error("the turn of `{step}` has not come")]
    NotReached {
        /// Id of the step.
        step: String,
    },
    /// An answer may come any moment.
    #[error("`{step}` is outstanding at its participant; wait for the answer or for its limit")]
    Outstanding {
        /// Id of the step.
        step: String,
    },
    /// An answer may come any moment, and an operator's word can stand for it.
    #[error(
        "`{step}` is outstanding at its participant; wait for the answer or for its limit, or add `--force`"
    )]
    OutstandingUnlessForced {
        /// Id of the step.
        step: String,
    },
    /// It was never sent, and the saga goes back: nothing of it is undone.
    #[error("`{step}` was never sent, so nothing of it is undone")]
    NothingToUndo {
        /// Id of the step.
        step: String,
    },
    /// It waits and goes on by itself.
    #[error("`{step}` waits ({reason}) and goes on by itself when that is over")]
    Waits {
        /// Id of the step.
        step: String,
        /// For what.
        reason: String,
    },
    /// Nothing is open at the step.
    #[error("`{step}` is settled ({status})")]
    Settled {
        /// Id of the step.
        step: String,
        /// Its status in a word.
        status: String,
    },
    /// Nothing begins while the pivot is being settled.
    #[error(
        "the saga shall go back and its pivot is being settled first; nothing else begins until then"
    )]
    Closing,
    /// What may have happened is undone anyway.
    #[error(
        "the saga goes back: whatever of `{step}` may have happened is undone; `skip` ends an undo that cannot be done"
    )]
    GoesBack {
        /// Id of the step.
        step: String,
    },
    /// The pivot decides the direction, so it cannot be left out.
    #[error(
        "`{step}` is the pivot and cannot be left out: resolve it as what it was, or cancel the saga"
    )]
    PivotStays {
        /// Id of the step.
        step: String,
    },
    /// There is no way back after the pivot.
    #[error(
        "`{step}` comes after the pivot and must succeed: retry it, resolve it as succeeded, or skip it"
    )]
    MustSucceed {
        /// Id of the step.
        step: String,
    },
    /// It cannot have failed.
    #[error("`{step}` was never sent: skip it, or cancel the saga")]
    NeverSent {
        /// Id of the step.
        step: String,
    },
    /// No proof is to be had.
    #[error(
        "`{step}` has no inbox that shares a transaction with its effects, so nobody can prove that an earlier sending of \
         it never takes effect; find out yourself, and say so with `--force`"
    )]
    NeedsForce {
        /// Id of the step.
        step: String,
    },
}

/// Why an input was not taken. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The saga has not begun.
    #[error("the saga has not begun")]
    NotBegun,
    /// The saga began before.
    #[error("the saga has begun already")]
    Begun,
    /// The saga has ended.
    #[error("the saga ended at {at:?}")]
    Ended {
        /// When.
        at: Timestamp,
    },
    /// There is no way back any more.
    #[error("the pivot `{pivot}` has taken effect, there is no way back")]
    AfterPivot {
        /// Id of the pivot step, or of the retriable step that was begun where the pivot was skipped.
        pivot: String,
    },
    /// The intervention makes no sense where the saga stands.
    #[error("{0}")]
    Unfit(#[from] Unfit),
    /// The reply does not answer an outstanding command.
    #[error("no such command is outstanding")]
    Stale,
    /// The reply answers a round or an attempt that was never sent.
    #[error("no such round or attempt was ever sent")]
    NeverSent,
    /// The reply came from somebody else than the participant that was asked.
    #[error("`{from}` answered for `{expected}`")]
    WrongParticipant {
        /// Who answered.
        from: String,
        /// Who was asked.
        expected: String,
    },
    /// The answer makes no sense for what was asked.
    #[error("the outcome makes no sense for this command")]
    Nonsense,
    /// The saga's journal names a step that its plan does not have.
    #[error("the plan has no step {0}")]
    NoSuchStep(u16),
}
