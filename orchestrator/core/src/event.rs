//! What is recorded. Events are facts: [`crate::apply()`] folds them, and nothing is recomputed when they are read.
//!
//! One decision is one journal row: [`Record`], encoded as JSON. A changed meaning gets a new variant or
//! a new [`Record::VERSION`], never a reused name; old journals are read for ever.

use std::{collections::BTreeMap, sync::Arc};

use saga_dsl::plan::StepIx;
use serde::{Deserialize, Serialize};

use crate::{
    error::ErrorBody,
    ground::{Verb, Wait},
    ids::{ActId, Timestamp},
    payload::{self, Payload},
};

/// One decision as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of the encoding.
    pub v: u32,
    /// The events of the decision, in order.
    pub events: Vec<Event>,
}

impl Record {
    /// The version that this release writes.
    pub const VERSION: u32 = 1;
}

/// A fact about a saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The saga began.
    Started(Started),
    /// The step's condition was false.
    StepSkipped(AtStep),
    /// The step is ready but may not be sent now.
    StepWaiting(StepWaiting),
    /// An attempt was sent, or will be right after the commit.
    StepDispatched(StepDispatched),
    /// An attempt certainly never reached the wire; it does not count.
    StepUnsent(AtAttempt),
    /// The participant works on it outside its handler.
    StepAccepted(StepAccepted),
    /// The action took effect.
    StepSucceeded(StepSucceeded),
    /// A business no: the action has no effect and never will.
    StepRefused(StepErred),
    /// An attempt was rolled back.
    StepFailed(AttemptEnded),
    /// Nobody can say what became of an attempt.
    StepUnknown(AttemptEnded),
    /// A participant is asked what became of a step: of the pivot, or of a round that an operator closes.
    PivotAsked(PivotAsked),
    /// The question was not settled by the answer, or not answered.
    PivotUnclear(AttemptEnded),
    /// The pivot has not happened and never will.
    PivotSealed(AtStep),
    /// The saga shall go back, but the pivot must be settled first.
    PivotClosing(PivotClosing),
    /// The pivot turned out done: the saga goes forward after all.
    ClosingOvertaken(AtStep),
    /// There is no forward any more: the saga compensates.
    Failing(Failure),
    /// Undo is due but may not be sent now.
    UndoWaiting(UndoWaiting),
    /// Undo was sent, or will be right after the commit.
    UndoDispatched(UndoDispatched),
    /// Undo certainly never reached the wire; the attempt does not count.
    UndoUnsent(AtAttempt),
    /// The step is undone.
    UndoDone(UndoDone),
    /// Undo did not work this time.
    UndoFailed(AttemptEnded),
    /// Undo cannot be done by machine.
    UndoStuck(StepErred),
    /// An operator is needed.
    IncidentRaised(Incident),
    /// The deadline passed.
    DeadlinePassed {},
    /// Somebody asked for undo.
    CancelRequested {
        /// Why.
        reason: String,
        /// Who.
        by: String,
        /// The client's name for the act.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        act: Option<ActId>,
    },
    /// An answer came too late to matter, or contradicts what is known.
    LateReply(LateReply),
    /// An operator intervened; what follows from it are the events behind this one.
    Intervened(Intervened),
    /// The budget of attempts begins anew, and what called the operator is taken off.
    BudgetRenewed(BudgetRenewed),
    /// An operator replaced a payload; it holds for the attempts that follow.
    InputEdited(InputEdited),
    /// The step's key is sealed first, so that nothing of this round can happen any more.
    RoundClosing(RoundClosing),
    /// The action took effect before it could be sealed: the operator's wish is void.
    RoundOvertaken(AtStep),
    /// The step begins again under another key.
    RoundOpened(RoundOpened),
    /// Left out, on an operator's word.
    SkippedByWord(SkippedByWord),
    /// It took effect, on an operator's word.
    SucceededByWord(StepSucceeded),
    /// It has not happened and never will, on an operator's word.
    SealedByWord(AtStep),
    /// Nothing of it is left to undo, on an operator's word.
    UndoneByWord(AtStep),
    /// What the orchestrator stumbled over is to be tried again.
    TroubleSettled {},
    /// An operator has taken note of the incidents that nothing else settles. The saga may have ended before.
    Acknowledged {},
    /// Ended: every selected step took effect.
    Completed {
        /// The result, absent when its expressions failed.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "payload::present"
        )]
        output: Option<Payload>,
        /// Why the result is absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorBody>,
    },
    /// Ended: as if the saga had never happened.
    Compensated {},
    /// Ended on an operator's word: what was done stays, and what is under way is not waited for.
    Abandoned {},
}

/// See [`Event::Started`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// Name of the definition.
    pub name: Arc<str>,
    /// Its version.
    pub version: u32,
    /// Number of steps of its plan.
    pub steps: u16,
    /// The start payload.
    pub input: Payload,
    /// The key it was deduplicated by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Arc<str>>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When the saga's time is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtStep {
    /// The step.
    pub step: StepIx,
}

/// An attempt at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtAttempt {
    /// The step.
    pub step: StepIx,
    /// The attempt.
    pub attempt: u32,
}

/// See [`Event::StepWaiting`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepWaiting {
    /// The step.
    pub step: StepIx,
    /// Why.
    pub reason: Wait,
    /// When an incident is raised if the step is not settled by then; with the first event of the step only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_at: Option<Timestamp>,
}

/// See [`Event::StepDispatched`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepDispatched {
    /// The step.
    pub step: StepIx,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The payload, evaluated once; with the first attempt only.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "payload::present"
    )]
    pub input: Option<Payload>,
    /// Limit of this attempt.
    pub due: Timestamp,
    /// Lifetime of the key; with the first attempt only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// When an incident is raised if the step is not settled by then; with the first event of the step only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_at: Option<Timestamp>,
}

/// See [`Event::StepAccepted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepAccepted {
    /// The step.
    pub step: StepIx,
    /// The attempt.
    pub attempt: u32,
    /// Its new limit.
    pub due: Timestamp,
}

/// See [`Event::StepSucceeded`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSucceeded {
    /// The step.
    pub step: StepIx,
    /// The attempt that was answered.
    pub attempt: u32,
    /// What the action returned.
    pub output: Payload,
}

/// A step and a definite error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepErred {
    /// The step.
    pub step: StepIx,
    /// The attempt that was answered.
    pub attempt: u32,
    /// The error.
    pub error: ErrorBody,
}

/// An attempt ended without settling its step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnded {
    /// The step.
    pub step: StepIx,
    /// The attempt.
    pub attempt: u32,
    /// Why.
    pub error: ErrorBody,
    /// When the next attempt is due; absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// The attempt does not count: its step's budget begins anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncharged: bool,
}

/// See [`Event::PivotAsked`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PivotAsked {
    /// The step.
    pub step: StepIx,
    /// Number of the question, from 1.
    pub ask: u32,
    /// True: and if it has not happened, it never may.
    pub seal: bool,
    /// Limit for the answer.
    pub due: Timestamp,
}

/// See [`Event::PivotClosing`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PivotClosing {
    /// The pivot.
    pub step: StepIx,
    /// Why the saga shall go back.
    pub failure: Failure,
}

/// Why a saga goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of reason.
    pub cause: Cause,
    /// Where it arose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepIx>,
    /// The error behind it.
    pub error: ErrorBody,
}

/// The ways to the one path back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A step was refused.
    Refused,
    /// A step's retries are used up.
    Exhausted,
    /// An expression of the file failed on real values.
    Expression,
    /// The deadline passed.
    Deadline,
    /// Somebody asked for it.
    Cancel,
    /// An operator said that the step failed.
    Operator,
}

/// See [`Event::UndoWaiting`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoWaiting {
    /// The step.
    pub step: StepIx,
    /// Why.
    pub reason: Wait,
    /// When the wait ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When an incident is raised if the undo is not settled by then; with the first event of the undo only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_at: Option<Timestamp>,
}

/// See [`Event::UndoDispatched`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoDispatched {
    /// The step.
    pub step: StepIx,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The payload, evaluated once; with the first attempt only.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "payload::present"
    )]
    pub input: Option<Payload>,
    /// True when the action is known to have taken effect, as it was when the undo was first sent.
    pub known_done: bool,
    /// Limit of this attempt.
    pub due: Timestamp,
    /// When an incident is raised if the undo is not settled by then; with the first event of the undo only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_at: Option<Timestamp>,
}

/// See [`Event::UndoDone`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoDone {
    /// The step.
    pub step: StepIx,
    /// The attempt that was answered.
    pub attempt: u32,
    /// True when there was no effect to undo.
    pub nothing_to_do: bool,
}

/// An operator is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepIx>,
    /// What kind.
    pub kind: IncidentKind,
    /// The error behind it.
    pub error: ErrorBody,
    /// It stays, past the end of the saga, until an operator acknowledges it. Absent in journals of earlier releases, whose
    /// incidents all ended with their sagas.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lasting: bool,
}

/// Kinds of incidents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// A step takes longer than `escalate_after`; retries go on.
    Slow,
    /// An undo takes longer than `escalate_after`; retries go on.
    UndoSlow,
    /// An undo cannot be done by machine.
    UndoStuck,
    /// A step after the pivot was refused.
    RetriableRefused,
    /// A step after the pivot has used up the retries that its file allows.
    RetriableExhausted,
    /// An expression failed after the pivot.
    Expression,
    /// The deadline passed after the pivot; the saga goes on.
    Deadline,
    /// The pivot's outcome cannot be found out by machine.
    PivotUnknown,
    /// A step that cannot be undone took effect, and its output cannot be taken.
    OutputNotTaken,
    /// A participant contradicts what it answered before: a promise was broken.
    Contradiction,
    /// The orchestrator itself stumbled over this saga: a panic, or a row that the store refuses.
    Internal,
}

impl IncidentKind {
    /// Whether incidents of this kind stay until somebody acts.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        match self {
            Self::Slow | Self::UndoSlow | Self::Deadline => false,
            Self::UndoStuck
            | Self::RetriableRefused
            | Self::RetriableExhausted
            | Self::Expression
            | Self::PivotUnknown
            | Self::OutputNotTaken
            | Self::Contradiction
            | Self::Internal => true,
        }
    }

    /// Whether incidents of this kind stay when the saga ends, because neither its end nor anything else settles them.
    #[must_use]
    pub fn outlives_its_saga(self) -> bool {
        match self {
            Self::Contradiction => true,
            Self::Slow
            | Self::UndoSlow
            | Self::UndoStuck
            | Self::RetriableRefused
            | Self::RetriableExhausted
            | Self::Expression
            | Self::Deadline
            | Self::PivotUnknown
            | Self::OutputNotTaken
            | Self::Internal => false,
        }
    }

    /// Whether all that is left to do about incidents of this kind is to take note of them.
    #[must_use]
    pub fn is_for_acknowledging(self) -> bool {
        match self {
            Self::Contradiction | Self::Deadline => true,
            Self::Slow
            | Self::UndoSlow
            | Self::UndoStuck
            | Self::RetriableRefused
            | Self::RetriableExhausted
            | Self::Expression
            | Self::PivotUnknown
            | Self::OutputNotTaken
            | Self::Internal => false,
        }
    }
}

/// See [`Event::LateReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateReply {
    /// The step.
    pub step: StepIx,
    /// The attempt that was answered.
    pub attempt: u32,
    /// The outcome in a word: `succeeded`, `refused`.
    pub outcome: String,
    /// The round that was answered, where it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
}

/// See [`Event::Intervened`]. Who did what, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervened {
    /// What was asked for.
    pub verb: Verb,
    /// Where; absent: the whole saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepIx>,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who, as far as it is known.
    pub by: String,
    /// The operator's word stands where a proof was not to be had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// The client's name for the act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<ActId>,
}

/// See [`Event::BudgetRenewed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRenewed {
    /// The step.
    pub step: StepIx,
    /// True: the budget of its undo.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo: bool,
}

/// See [`Event::InputEdited`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputEdited {
    /// The step.
    pub step: StepIx,
    /// True: the payload of its undo.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo: bool,
    /// The payload from here on.
    pub input: Payload,
}

/// See [`Event::RoundClosing`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundClosing {
    /// The step.
    pub step: StepIx,
    /// What follows once it is sealed.
    pub then: AfterSeal,
}

/// What an operator wants of a step once nothing of its round can happen any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterSeal {
    /// Another round, with another payload where one is given.
    NewRound {
        /// The payload.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "payload::present"
        )]
        input: Option<Payload>,
    },
    /// Go on without the step.
    Skip,
    /// The step counts as failed.
    Fail,
}

/// See [`Event::RoundOpened`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundOpened {
    /// The step.
    pub step: StepIx,
    /// Number of the round that begins.
    pub round: u32,
    /// Another payload, where one was given.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "payload::present"
    )]
    pub input: Option<Payload>,
    /// The round before was not sealed: something of it may still happen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
}

/// See [`Event::SkippedByWord`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedByWord {
    /// The step.
    pub step: StepIx,
    /// It was sent, and nobody proved that it has no effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_is_named_as_it_is_written() {
        let all = [
            Verb::Retry,
            Verb::RetryEdited,
            Verb::Skip,
            Verb::ResolveSucceeded,
            Verb::ResolveFailed,
            Verb::Abandon,
            Verb::Acknowledge,
        ];
        for verb in all {
            assert_eq!(serde_json::to_value(verb).expect("JSON"), verb.name());
        }
    }

    #[test]
    fn a_result_that_is_null_is_not_an_absent_one() {
        let null = Payload::from_value(serde_json::Value::Null);
        for (output, text) in [
            (Some(null), r#"{"completed":{"output":null}}"#),
            (None, r#"{"completed":{}}"#),
        ] {
            let event = Event::Completed {
                output,
                error: None,
            };
            assert_eq!(serde_json::to_string(&event).expect("JSON"), text);
            assert_eq!(
                serde_json::from_str::<Event>(text).expect("an event"),
                event
            );
        }
    }
}
