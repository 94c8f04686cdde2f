//! A journal folded into a picture: the state as the core sees it, and what only the way there tells.

use std::{collections::BTreeMap, sync::Arc};

use saga_core::{
    ErrorBody, Event, Record, SagaId, SagaState, Timestamp, Wait, apply_record, event::AttemptEnded,
};
use saga_dsl::plan::{Plan, StepIx};

use saga_engine::store::record::JournalRow;

/// A saga as its committed journal leaves it.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Its plan.
    pub plan: Arc<Plan>,
    /// The fold of the journal.
    pub state: SagaState,
    /// Per step, the last trouble; the state forgets it when the next attempt begins.
    pub troubles: Vec<Trouble>,
    /// What holds steps back, in words, where more is known than the journal says.
    pub held: BTreeMap<StepIx, String>,
    /// Steps whose command or answer cannot travel now, and why.
    pub stalled: BTreeMap<StepIx, String>,
    /// When the saga turned back.
    pub turned_at: Option<Timestamp>,
}

/// The last errors of a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trouble {
    /// Of the way forward.
    pub action: Option<LastError>,
    /// Of the way back.
    pub undo: Option<LastError>,
}

/// An error and how long it has been the same.
#[derive(Debug, Clone, PartialEq)]
pub struct LastError {
    /// The error.
    pub error: ErrorBody,
    /// The attempt that it ended.
    pub attempt: u32,
    /// When it last happened.
    pub at: Timestamp,
    /// Since when every attempt has ended with this code.
    pub since: Timestamp,
}

/// A journal that cannot be read; the store or its encoding is damaged.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A row is not a record.
    #[error("decision {seq} cannot be read: {source}")]
    Row {
        /// Its number.
        seq: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// A row was written by a later release.
    #[error(
        "decision {seq} has encoding {found}, this release reads {}",
        Record::VERSION
    )]
    Newer {
        /// Its number.
        seq: u64,
        /// Its encoding.
        found: u32,
    },
    /// The journal does not belong to the plan.
    #[error("the journal speaks of {journal} steps, the plan has {plan}")]
    OtherPlan {
        /// Steps of the journal.
        journal: usize,
        /// Steps of the plan.
        plan: usize,
    },
}

/// Reads one journal row.
///
/// # Errors
/// [`Unreadable`] when it is damaged or from a later release.
pub fn record(row: &JournalRow) -> Result<Record, Unreadable> {
    let record: Record = serde_json::from_slice(&row.body).map_err(|source| Unreadable::Row {
        seq: row.seq,
        source,
    })?;
    if record.v > Record::VERSION {
        return Err(Unreadable::Newer {
            seq: row.seq,
            found: record.v,
        });
    }
    Ok(record)
}

impl Picture {
    /// Folds a whole journal.
    ///
    /// # Errors
    /// [`Unreadable`] when the journal is damaged or belongs to another plan.
    pub fn fold(plan: Arc<Plan>, id: SagaId, journal: &[JournalRow]) -> Result<Self, Unreadable> {
        let troubles = vec![Trouble::default(); plan.steps.len()];
        let (held, stalled, turned_at) = (BTreeMap::new(), BTreeMap::new(), None);
        let mut picture = Self {
            plan,
            state: SagaState::unborn(id),
            troubles,
            held,
            stalled,
            turned_at,
        };
        for row in journal {
            let record = record(row)?;
            picture.take(&record, row.at);
        }
        let (journal, plan) = (picture.state.steps.len(), picture.plan.steps.len());
        if picture.state.birth.is_some() && journal != plan {
            return Err(Unreadable::OtherPlan { journal, plan });
        }
        Ok(picture)
    }

    /// Why a step is held back, in as many words as there are.
    #[must_use]
    pub fn why_held(&self, ix: StepIx, reason: Wait) -> String {
        self.held
            .get(&ix)
            .cloned()
            .unwrap_or_else(|| reason.to_string())
    }

    /// Takes one further decision.
    pub fn take(&mut self, record: &Record, at: Timestamp) {
        for event in &record.events {
            self.note(event, at);
        }
        let state = std::mem::replace(&mut self.state, SagaState::unborn(SagaId::from_u128(0)));
        self.state = apply_record(state, record, at);
    }

    fn note(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::StepFailed(ended) | Event::StepUnknown(ended) | Event::PivotUnclear(ended) => {
                let AttemptEnded {
                    step,
                    attempt,
                    error,
                    ..
                } = ended;
                self.trouble(*step, |trouble| &mut trouble.action, *attempt, error, at);
            }
            Event::StepRefused(erred) => {
                self.trouble(
                    erred.step,
                    |trouble| &mut trouble.action,
                    erred.attempt,
                    &erred.error,
                    at,
                );
            }
            Event::UndoFailed(ended) => {
                let AttemptEnded {
                    step,
                    attempt,
                    error,
                    ..
                } = ended;
                self.trouble(*step, |trouble| &mut trouble.undo, *attempt, error, at);
            }
            Event::UndoStuck(erred) => {
                self.trouble(
                    erred.step,
                    |trouble| &mut trouble.undo,
                    erred.attempt,
                    &erred.error,
                    at,
                );
            }
            Event::Failing(_) => self.turned_at = Some(at),
            Event::Started(_)
            | Event::StepSkipped(_)
            | Event::StepWaiting(_)
            | Event::StepDispatched(_)
            | Event::StepUnsent(_)
            | Event::StepAccepted(_)
            | Event::StepSucceeded(_)
            | Event::PivotAsked(_)
            | Event::PivotSealed(_)
            | Event::PivotClosing(_)
            | Event::ClosingOvertaken(_)
            | Event::UndoWaiting(_)
            | Event::UndoDispatched(_)
            | Event::UndoUnsent(_)
            | Event::UndoDone(_)
            | Event::IncidentRaised(_)
            | Event::DeadlinePassed {}
            | Event::CancelRequested { .. }
            | Event::LateReply(_)
            | Event::Intervened(_)
            | Event::TroubleSettled {}
            | Event::Acknowledged {}
            | Event::BudgetRenewed(_)
            | Event::InputEdited(_)
            | Event::RoundClosing(_)
            | Event::RoundOvertaken(_)
            | Event::RoundOpened(_)
            | Event::SkippedByWord(_)
            | Event::SucceededByWord(_)
            | Event::SealedByWord(_)
            | Event::UndoneByWord(_)
            | Event::Completed { .. }
            | Event::Compensated {}
            | Event::Abandoned {} => {}
        }
    }

    fn trouble(
        &mut self,
        step: StepIx,
        side: fn(&mut Trouble) -> &mut Option<LastError>,
        attempt: u32,
        error: &ErrorBody,
        at: Timestamp,
    ) {
        let Some(trouble) = self.troubles.get_mut(step.at()) else {
            return;
        };
        let last = side(trouble);
        let since = last
            .as_ref()
            .filter(|l| l.error.code == error.code)
            .map_or(at, |l| l.since);
        *last = Some(LastError {
            error: error.clone(),
            attempt,
            at,
            since,
        });
    }
}
