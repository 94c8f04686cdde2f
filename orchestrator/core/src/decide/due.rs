//! The clock passed a due time: limits of attempts, ends of backoffs, escalations, the deadline.
//!
//! Looks at everything that is due rather than at one timer, so a timer that fires twice or late does no harm.

use saga_dsl::{definition::Kind, plan::StepIx};

use crate::{
    error::ErrorBody,
    event::{Cause, Event, Failure, Incident, IncidentKind},
    ids::Timestamp,
    state::{ActionState, Ask, Status, UndoState},
};

use super::{Draft, forward, undo};

pub(super) fn due(draft: &mut Draft<'_>) {
    if draft.state.status.is_end() {
        return;
    }
    // First of all, so that nothing is sent that would have to be undone at once.
    deadline(draft);
    for ix in draft.indices() {
        action(draft, ix);
        undoing(draft, ix);
        escalate(draft, ix);
    }
}

fn passed(draft: &Draft<'_>, due: Option<Timestamp>) -> bool {
    due.is_some_and(|due| due <= draft.now)
}

fn action(draft: &mut Draft<'_>, ix: StepIx) {
    match &draft.step(ix).action {
        ActionState::Sent { due, .. } if passed(draft, *due) => {
            let error = ErrorBody::new("timeout", "no answer within the attempt's limit");
            forward::attempt_unknown(draft, ix, error);
        }
        ActionState::Asking {
            ask: Ask::Sent { due },
            ..
        } if passed(draft, *due) => {
            let error = ErrorBody::new("timeout", "no answer to the question what became of it");
            forward::ask_unclear(draft, ix, error, 0);
        }
        ActionState::Asking {
            seal,
            ask: Ask::Again { due, .. },
        } if passed(draft, Some(*due)) => {
            let seal = *seal;
            forward::ask(draft, ix, seal);
        }
        // Backoffs that ran out while compensating lead nowhere; the step is at rest.
        ActionState::BackingOff { due, .. }
            if draft.state.status == Status::Running && passed(draft, Some(*due)) =>
        {
            forward::begin_attempt(draft, ix);
        }
        ActionState::Pending
        | ActionState::Skipped
        | ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Asking { .. }
        | ActionState::Succeeded(_)
        | ActionState::Refused(_)
        | ActionState::Failed { .. }
        | ActionState::Sealed => {}
    }
}

fn undoing(draft: &mut Draft<'_>, ix: StepIx) {
    match &draft.step(ix).undo {
        UndoState::Sent { due } if passed(draft, *due) => {
            let error = ErrorBody::new("timeout", "no answer within the attempt's limit");
            undo::attempt_ended(draft, ix, error);
        }
        UndoState::BackingOff { due, .. } if passed(draft, Some(*due)) => undo::send(draft, ix),
        // A wait that ends by itself is looked at again by `advance`.
        UndoState::None
        | UndoState::Waiting { .. }
        | UndoState::Sent { .. }
        | UndoState::BackingOff { .. }
        | UndoState::Done { .. }
        | UndoState::Skipped
        | UndoState::Stuck { .. } => {}
    }
}

fn escalate(draft: &mut Draft<'_>, ix: StepIx) {
    if !passed(draft, draft.step(ix).escalate_at) {
        return;
    }
    let compensating = draft.state.status == Status::Compensating;
    let step = draft.step(ix);
    let (kind, error) = if compensating {
        let last = match &step.undo {
            UndoState::BackingOff { error, .. } | UndoState::Stuck { error } => Some(error),
            UndoState::None
            | UndoState::Waiting { .. }
            | UndoState::Sent { .. }
            | UndoState::Done { .. }
            | UndoState::Skipped => None,
        };
        (IncidentKind::UndoSlow, last.map(|e| (**e).clone()))
    } else {
        let kind = match step.action {
            // The saga shall go back and nobody answers: the outcome of the pivot is what the operator must find out.
            ActionState::Asking { seal: true, .. } if draft.planned(ix).kind == Kind::Pivot => {
                IncidentKind::PivotUnknown
            }
            ActionState::Asking { .. }
            | ActionState::Pending
            | ActionState::Skipped
            | ActionState::Waiting { .. }
            | ActionState::Sent { .. }
            | ActionState::BackingOff { .. }
            | ActionState::Succeeded(_)
            | ActionState::Refused(_)
            | ActionState::Failed { .. }
            | ActionState::Sealed => IncidentKind::Slow,
        };
        (kind, crate::scope::error(step).cloned())
    };
    let error =
        error.unwrap_or_else(|| ErrorBody::new("slow", "not settled within `escalate_after`"));
    // Recorded even if such an incident stands: the event is what stops this alarm.
    draft.record(Event::IncidentRaised(Incident {
        step: Some(ix),
        kind,
        error,
        lasting: kind.outlives_its_saga(),
    }));
}

fn deadline(draft: &mut Draft<'_>) {
    if draft.state.status != Status::Running || !passed(draft, draft.state.deadline) {
        return;
    }
    draft.record(Event::DeadlinePassed {});
    let error = ErrorBody::new("deadline", "the saga's deadline passed");
    draft.fail(Failure {
        cause: Cause::Deadline,
        step: None,
        error,
    });
}
