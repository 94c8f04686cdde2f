//! State and event in, state out. Live runs, recovery and replay all fold through here.
//!
//! Applying never fails and never evaluates an expression. An event that names a step the state does not have
//! changes nothing; the shell checks the plan's size when it loads a journal.

use std::sync::Arc;

use saga_dsl::plan::StepIx;

use crate::{
    error::ErrorBody,
    event::{AttemptEnded, Event, IncidentKind, Record, Started},
    ids::Timestamp,
    state::{
        ActionState, Ask, Birth, Budget, OpenIncident, SagaState, Status, StepState, UndoState,
    },
};

/// The state after an event that was recorded at `at`.
#[must_use]
pub fn apply(mut state: SagaState, event: &Event, at: Timestamp) -> SagaState {
    apply_in_place(&mut state, event, at);
    state
}

/// The state after a whole decision.
#[must_use]
pub fn apply_record(mut state: SagaState, record: &Record, at: Timestamp) -> SagaState {
    for event in &record.events {
        apply_in_place(&mut state, event, at);
    }
    state.seq += 1;
    state
}

/// One match over every event, so that a new event cannot be forgotten; longer than a screen for that reason.
pub(crate) fn apply_in_place(state: &mut SagaState, event: &Event, at: Timestamp) {
    match event {
        Event::Started(started) => begin(state, started, at),
        Event::Failing(failure) => {
            state.status = Status::Compensating;
            state.failure = Some(Arc::new(failure.clone()));
            state.closing = None;
            // The way back has alarms of its own.
            state
                .incidents
                .retain(|open| open.incident.kind != IncidentKind::Slow);
            for step in &mut state.steps {
                step.escalate_at = None;
                leave_open(step);
            }
        }
        Event::DeadlinePassed {} => state.deadline = None,
        Event::CancelRequested { reason, act, .. } => {
            state.cancel = Some(reason.as_str().into());
            state.note_act(*act);
        }
        Event::IncidentRaised(incident) => {
            // The step took effect, so whatever was said of its attempts before is settled.
            if let (Some(step), IncidentKind::OutputNotTaken) = (incident.step, incident.kind) {
                clear_incidents(state, step);
            }
            state.exceptions |= incident.lasting;
            state.broken_promise |= incident.lasting;
            state.incidents.push(OpenIncident {
                incident: Arc::new(incident.clone()),
                since: at,
            });
            if let (Some(step), true) = (incident.step, ends_alarm(incident.kind)) {
                with(state, step, |s| s.escalate_at = None);
            }
        }
        Event::ClosingOvertaken(_) => state.closing = None,
        Event::Completed { output, error } => {
            end(state, Status::Completed, at);
            state.output.clone_from(output);
            state.output_error = error.clone().map(Arc::new);
        }
        Event::Compensated {} => end(state, Status::Compensated, at),
        Event::Abandoned {} => {
            end(state, Status::Abandoned, at);
            state.exceptions = true;
        }

        Event::StepSkipped(e) => with(state, e.step, |s| s.action = ActionState::Skipped),
        Event::StepWaiting(e) => with(state, e.step, |s| {
            s.action = ActionState::Waiting {
                reason: e.reason,
                since: at,
            };
            s.escalate_at = e.escalate_at.or(s.escalate_at);
        }),
        Event::StepDispatched(e) => with(state, e.step, |s| {
            s.action = ActionState::Sent {
                due: Some(e.due),
                accepted: false,
            };
            s.attempts = e.attempt;
            if s.first_sent.is_none() {
                s.first_sent = Some(at);
            }
            if e.input.is_some() {
                s.input.clone_from(&e.input);
            }
            s.not_after = e.not_after.or(s.not_after);
            s.escalate_at = e.escalate_at.or(s.escalate_at);
        }),
        Event::StepUnsent(e) => with(state, e.step, |s| {
            s.attempts = e.attempt.saturating_sub(1);
            s.action = ActionState::Waiting {
                reason: crate::ground::Wait::NoParticipant,
                since: at,
            };
        }),
        Event::StepAccepted(e) => {
            with(state, e.step, |s| {
                s.action = ActionState::Sent {
                    due: Some(e.due),
                    accepted: true,
                }
            });
        }
        Event::StepSucceeded(e) => {
            settle(state, e.step, at, ActionState::Succeeded(e.output.clone()));
        }
        Event::StepRefused(e) => {
            settle(
                state,
                e.step,
                at,
                ActionState::Refused(Arc::new(e.error.clone())),
            );
            // An undo that was never sent has nothing to undo any more.
            with(state, e.step, |s| {
                if matches!(s.undo, UndoState::Waiting { .. }) && s.undo_attempts == 0 {
                    s.undo = UndoState::None;
                }
            });
        }
        Event::PivotSealed(e) => settle(state, e.step, at, ActionState::Sealed),
        Event::StepFailed(e) => with(state, e.step, |s| s.action = after_attempt(e)),
        Event::StepUnknown(e) => with(state, e.step, |s| {
            s.action = after_attempt(e);
            s.unclear = true;
        }),
        Event::PivotAsked(e) => with(state, e.step, |s| {
            s.action = ActionState::Asking {
                seal: e.seal,
                ask: Ask::Sent { due: Some(e.due) },
            };
            s.asks = e.ask;
        }),
        Event::PivotUnclear(e) => with(state, e.step, |s| {
            if let ActionState::Asking { ask, .. } = &mut s.action {
                let error = Arc::new(e.error.clone());
                *ask = e
                    .retry_at
                    .map_or(Ask::Waiting, |due| Ask::Again { due, error });
            }
        }),
        Event::PivotClosing(e) => {
            state.closing = Some(Arc::new(e.failure.clone()));
            with(state, e.step, |s| {
                // Whatever was outstanding may still answer; what counts from here on is the seal.
                s.action = ActionState::Asking {
                    seal: true,
                    ask: Ask::Waiting,
                };
                s.after_seal = None;
                s.unclear = true;
            });
        }

        Event::UndoWaiting(e) => with(state, e.step, |s| {
            s.undo = UndoState::Waiting {
                reason: e.reason,
                since: at,
                until: e.until,
            };
            s.escalate_at = e.escalate_at.or(s.escalate_at);
        }),
        Event::UndoDispatched(e) => with(state, e.step, |s| {
            s.undo = UndoState::Sent { due: Some(e.due) };
            s.undo_attempts = e.attempt;
            s.undo_known = e.known_done;
            if s.undo_first_sent.is_none() {
                s.undo_first_sent = Some(at);
            }
            if e.input.is_some() {
                s.undo_input.clone_from(&e.input);
            }
            s.escalate_at = e.escalate_at.or(s.escalate_at);
        }),
        Event::UndoUnsent(e) => with(state, e.step, |s| {
            s.undo_attempts = e.attempt.saturating_sub(1);
            s.undo = UndoState::Waiting {
                reason: crate::ground::Wait::NoParticipant,
                since: at,
                until: None,
            };
        }),
        Event::UndoDone(e) => {
            with(state, e.step, |s| {
                s.undo = UndoState::Done {
                    nothing_to_do: e.nothing_to_do,
                };
                s.undo_settled_at = Some(at);
                s.escalate_at = None;
            });
            clear_incidents(state, e.step);
        }
        Event::UndoFailed(e) => with(state, e.step, |s| {
            let error = Arc::new(e.error.clone());
            s.undo = match e.retry_at {
                Some(due) => UndoState::BackingOff { due, error },
                None => UndoState::Stuck { error },
            };
            if e.uncharged {
                s.undo_budget = Budget {
                    from: s.undo_attempts,
                    since: Some(at),
                };
            }
        }),
        Event::UndoStuck(e) => with(state, e.step, |s| {
            s.undo = UndoState::Stuck {
                error: Arc::new(e.error.clone()),
            };
            s.escalate_at = None;
        }),
        Event::LateReply(e) => with(state, e.step, |s| s.late_reply = true),

        // The events behind it say what changes.
        Event::Intervened(e) => state.note_act(e.act),
        Event::TroubleSettled {} => {
            state
                .incidents
                .retain(|open| open.incident.kind != IncidentKind::Internal);
        }
        Event::Acknowledged {} => {
            state
                .incidents
                .retain(|open| !open.incident.kind.is_for_acknowledging());
        }
        Event::BudgetRenewed(e) => {
            clear_incidents(state, e.step);
            with(state, e.step, |s| {
                s.escalate_at = None;
                if e.undo {
                    s.undo_budget = Budget {
                        from: s.undo_attempts,
                        since: Some(at),
                    };
                } else {
                    s.budget = Budget {
                        from: s.attempts,
                        since: Some(at),
                    };
                }
            });
        }
        Event::InputEdited(e) => with(state, e.step, |s| {
            *(if e.undo {
                &mut s.undo_input
            } else {
                &mut s.input
            }) = Some(e.input.clone());
        }),
        Event::RoundClosing(e) => with(state, e.step, |s| {
            s.unclear |= !matches!(s.action, ActionState::Refused(_));
            s.action = ActionState::Asking {
                seal: true,
                ask: Ask::Waiting,
            };
            s.after_seal = Some(e.then.clone());
        }),
        Event::RoundOvertaken(e) => with(state, e.step, |s| s.after_seal = None),
        Event::RoundOpened(e) => {
            clear_incidents(state, e.step);
            state.exceptions |= e.unproven;
            with(state, e.step, |s| {
                let input = e.input.clone().or_else(|| s.input.take());
                let past_sendings = s.past_sendings.max(s.attempts).max(s.asks);
                *s = StepState {
                    round: e.round,
                    past_sendings,
                    input,
                    ..StepState::NEW
                };
            });
        }
        Event::SkippedByWord(e) => {
            state.exceptions = true;
            settle(state, e.step, at, ActionState::Skipped);
            with(state, e.step, |s| {
                s.by_word = true;
                // Attempts tell whether there may be something to undo.
                s.attempts = if e.unproven { s.attempts } else { 0 };
            });
        }
        Event::SucceededByWord(e) => {
            state.exceptions = true;
            with(state, e.step, |s| {
                s.by_word = true;
                // The operator knew of the refusal; that it comes again contradicts nothing.
                s.late_reply |= matches!(s.action, ActionState::Refused(_));
            });
            settle(state, e.step, at, ActionState::Succeeded(e.output.clone()));
        }
        Event::SealedByWord(e) => {
            state.exceptions = true;
            with(state, e.step, |s| s.by_word = true);
            settle(state, e.step, at, ActionState::Sealed);
        }
        Event::UndoneByWord(e) => {
            state.exceptions = true;
            with(state, e.step, |s| {
                s.undo = UndoState::Skipped;
                s.undo_settled_at = Some(at);
                s.escalate_at = None;
            });
            clear_incidents(state, e.step);
        }
    }
}

/// A saga that goes back closes no round any more: its undo settles the step, whatever became of it.
fn leave_open(step: &mut StepState) {
    if step.after_seal.take().is_some() {
        let error = ErrorBody::new(
            "overtaken",
            "the saga went back while the round was being closed",
        );
        step.action = ActionState::Failed {
            error: Arc::new(error),
        };
        step.unclear = true;
    }
}

fn begin(state: &mut SagaState, started: &Started, at: Timestamp) {
    state.birth = Some(Arc::new(Birth {
        name: Arc::clone(&started.name),
        version: started.version,
        input: started.input.clone(),
        key: started.key.clone(),
        labels: started.labels.clone(),
        at,
        deadline: started.deadline,
    }));
    state.deadline = started.deadline;
    state.steps = vec![StepState::NEW; usize::from(started.steps)];
}

fn end(state: &mut SagaState, status: Status, at: Timestamp) {
    state.status = status;
    state.ended_at = Some(at);
    state.incidents.retain(|open| open.incident.lasting);
    for step in &mut state.steps {
        step.escalate_at = None;
    }
}

fn with(state: &mut SagaState, step: StepIx, change: impl FnOnce(&mut StepState)) {
    if let Some(step) = state.steps.get_mut(step.at()) {
        change(step);
    }
}

fn settle(state: &mut SagaState, step: StepIx, at: Timestamp, action: ActionState) {
    with(state, step, |s| {
        s.action = action;
        s.settled_at = Some(at);
        s.escalate_at = None;
        s.after_seal = None;
    });
    clear_incidents(state, step);
}

/// Does the incident tell what the step's alarm would tell?
fn ends_alarm(kind: IncidentKind) -> bool {
    match kind {
        IncidentKind::Slow
        | IncidentKind::UndoSlow
        | IncidentKind::UndoStuck
        | IncidentKind::RetriableRefused
        | IncidentKind::RetriableExhausted
        | IncidentKind::Expression
        | IncidentKind::OutputNotTaken
        | IncidentKind::PivotUnknown => true,
        IncidentKind::Deadline | IncidentKind::Contradiction | IncidentKind::Internal => false,
    }
}

fn clear_incidents(state: &mut SagaState, step: StepIx) {
    state
        .incidents
        .retain(|open| open.incident.step != Some(step) || open.incident.lasting);
}

fn after_attempt(ended: &AttemptEnded) -> ActionState {
    let error = Arc::new(ended.error.clone());
    match ended.retry_at {
        Some(due) => ActionState::BackingOff { due, error },
        None => ActionState::Failed { error },
    }
}
