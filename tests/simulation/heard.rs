//! What participants said, kept apart from what the journal says they said (I21).
//!
//! Every fact in the journal that quotes an answer must have been answered: by the participant that was asked, for that
//! step, and, unless it is definite, for that attempt.

use std::collections::BTreeSet;

use saga_core::{ErrorBody, Event, Op, SagaId, input::Outcome};
use saga_dsl::plan::StepIx;
use saga_engine::lane::intake::Incoming;

use super::story::{Violation, ensure};

/// An outcome without what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Succeeded,
    Refused,
    Failed,
    Accepted,
    Running,
    Blocked,
    Conflict,
    Expired,
    NeedsOperator,
    NothingToDo,
    Compensated,
    Absent,
    Done,
    Sealed,
    OutputNotTaken,
}

#[derive(Default)]
pub struct Heard {
    said: BTreeSet<(SagaId, u16, Op, Word, u32)>,
}

impl Heard {
    /// Remembers what is handed to a lane as the word of the participant that was asked.
    pub fn note(&mut self, step: StepIx, incoming: &Incoming) {
        self.said.insert((
            incoming.saga_id,
            step.0,
            incoming.op,
            word(&incoming.outcome),
            incoming.attempt,
        ));
    }

    fn any(
        &self,
        saga: SagaId,
        step: StepIx,
        ops: &[Op],
        words: &[Word],
        attempt: Option<u32>,
    ) -> bool {
        ops.iter().any(|&op| {
            words.iter().any(|&word| match attempt {
                Some(attempt) => self.said.contains(&(saga, step.0, op, word, attempt)),
                None => {
                    let (low, high) = (
                        (saga, step.0, op, word, 0),
                        (saga, step.0, op, word, u32::MAX),
                    );
                    self.said.range(low..=high).next().is_some()
                }
            })
        })
    }

    /// Was there an answer behind this event?
    pub fn stands_behind(&self, saga: SagaId, event: &Event) -> Result<(), Violation> {
        use Word::{
            Absent, Accepted, Blocked, Compensated, Conflict, Done, Failed, NeedsOperator,
            NothingToDo, OutputNotTaken, Refused, Running, Sealed, Succeeded,
        };
        let ask = [Op::Query, Op::Seal];
        let heard = match event {
            Event::StepSucceeded(e) => {
                self.any(saga, e.step, &[Op::Action], &[Succeeded], Some(e.attempt))
                    || self.any(saga, e.step, &ask, &[Done], None)
            }
            Event::StepRefused(e) => {
                self.any(
                    saga,
                    e.step,
                    &[Op::Action],
                    &[Refused, Blocked],
                    Some(e.attempt),
                ) || self.any(saga, e.step, &ask, &[Refused], None)
            }
            Event::StepFailed(e) => {
                is_own(&e.error)
                    || self.any(saga, e.step, &[Op::Action], &[Failed], Some(e.attempt))
            }
            Event::StepUnknown(e) => {
                is_own(&e.error)
                    || self.any(
                        saga,
                        e.step,
                        &[Op::Action],
                        &[Conflict, Refused, Blocked],
                        Some(e.attempt),
                    )
                    || self.any(
                        saga,
                        e.step,
                        &[Op::Action, Op::Query, Op::Seal],
                        &[OutputNotTaken],
                        None,
                    )
            }
            Event::StepAccepted(e) => {
                self.any(saga, e.step, &[Op::Action], &[Accepted], Some(e.attempt))
            }
            Event::PivotSealed(e) => self.any(saga, e.step, &ask, &[Sealed, Compensated], None),
            Event::PivotUnclear(e) => {
                let words = [Failed, NeedsOperator, Conflict, Running, Absent];
                is_own(&e.error) || self.any(saga, e.step, &ask, &words, Some(e.attempt))
            }
            Event::UndoDone(e) => {
                let words = [Compensated, NothingToDo];
                self.any(saga, e.step, &[Op::Compensation], &words, Some(e.attempt))
            }
            Event::UndoFailed(e) => {
                let words = [Failed, Running];
                is_own(&e.error)
                    || self.any(saga, e.step, &[Op::Compensation], &words, Some(e.attempt))
            }
            Event::UndoStuck(e) => {
                let words = [Failed, Refused, NeedsOperator, Conflict];
                is_own(&e.error)
                    || self.any(saga, e.step, &[Op::Compensation], &words, Some(e.attempt))
            }
            Event::LateReply(e) => {
                let words = [Succeeded, OutputNotTaken, Refused, Blocked];
                self.any(saga, e.step, &[Op::Action], &words, Some(e.attempt))
                    || (e.round.is_some()
                        && self.any(saga, e.step, &ask, &[Done, OutputNotTaken], None))
            }
            // The round before is proved to be over, unless the operator's word was taken for it.
            Event::RoundOpened(e) => {
                e.unproven
                    || self.any(saga, e.step, &ask, &[Sealed, Refused, Compensated], None)
                    || self.any(saga, e.step, &[Op::Action], &[Refused, Blocked], None)
            }
            Event::Started(_)
            | Event::StepSkipped(_)
            | Event::StepWaiting(_)
            | Event::StepDispatched(_)
            | Event::StepUnsent(_)
            | Event::PivotAsked(_)
            | Event::PivotClosing(_)
            | Event::ClosingOvertaken(_)
            | Event::Failing(_)
            | Event::UndoWaiting(_)
            | Event::UndoDispatched(_)
            | Event::UndoUnsent(_)
            | Event::IncidentRaised(_)
            | Event::DeadlinePassed {}
            | Event::CancelRequested { .. }
            | Event::Intervened(_)
            | Event::TroubleSettled {}
            | Event::Acknowledged {}
            | Event::BudgetRenewed(_)
            | Event::InputEdited(_)
            | Event::RoundClosing(_)
            | Event::RoundOvertaken(_)
            | Event::SkippedByWord(_)
            | Event::SucceededByWord(_)
            | Event::SealedByWord(_)
            | Event::UndoneByWord(_)
            | Event::Abandoned {}
            | Event::Completed { .. }
            | Event::Compensated {} => true,
        };
        ensure!(
            heard,
            "I21",
            "nobody said what saga {saga} quotes: {event:?}"
        );
        Ok(())
    }
}

/// Errors that the orchestrator puts into its own mouth.
fn is_own(error: &ErrorBody) -> bool {
    let own = [
        "timeout",
        "connection_lost",
        "instances_lost",
        "dead_letter",
        "no_participant",
        "expired",
        "elapsed",
        "waiting",
        "unreachable",
        "expression",
        "resolved",
        "overtaken",
    ];
    own.contains(&error.code.as_str())
}

fn word(outcome: &Outcome) -> Word {
    match outcome {
        Outcome::Succeeded(_) => Word::Succeeded,
        Outcome::Refused(_) => Word::Refused,
        Outcome::Failed(_) => Word::Failed,
        Outcome::Accepted => Word::Accepted,
        Outcome::Running => Word::Running,
        Outcome::Blocked => Word::Blocked,
        Outcome::Conflict(_) => Word::Conflict,
        Outcome::Expired => Word::Expired,
        Outcome::NeedsOperator(_) => Word::NeedsOperator,
        Outcome::NothingToDo => Word::NothingToDo,
        Outcome::Compensated => Word::Compensated,
        Outcome::Absent => Word::Absent,
        Outcome::Done(_) => Word::Done,
        Outcome::Sealed => Word::Sealed,
        Outcome::OutputNotTaken(_) => Word::OutputNotTaken,
    }
}
