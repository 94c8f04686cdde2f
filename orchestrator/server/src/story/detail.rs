//! Each step of a saga as screens show it.

use saga_core::{
    ErrorBody, Payload, Status, Timestamp,
    state::{ActionState, Ask, StepState, UndoState},
};
use saga_dsl::{definition::Kind, plan::StepIx};

use super::{
    fold::{LastError, Picture, Trouble},
    words,
};

/// A step as screens show it; the plan knows its names.
#[derive(Debug, Clone, PartialEq)]
pub struct StepView {
    /// Position in the plan.
    pub ix: StepIx,
    /// The word of `StepDetail.status`.
    pub status: &'static str,
    /// Why it waits, or its last error.
    pub note: String,
    /// When something happens by itself.
    pub next_due: Option<Timestamp>,
    /// The last error of the side that matters: undo where it has begun, else the action.
    pub error: Option<ErrorBody>,
    /// What the action returned.
    pub output: Option<Payload>,
}

/// Every step, in the order of the plan.
#[must_use]
pub fn steps(picture: &Picture) -> Vec<StepView> {
    let none = Trouble::default();
    (0_u16..)
        .zip(&picture.state.steps)
        .map(|(at, step)| {
            let trouble = picture.troubles.get(usize::from(at)).unwrap_or(&none);
            view(picture, StepIx(at), step, trouble)
        })
        .collect()
}

/// The word for a kind.
#[must_use]
pub fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Compensatable => "compensatable",
        Kind::Pivot => "pivot",
        Kind::Retriable => "retriable",
    }
}

fn view(picture: &Picture, ix: StepIx, step: &StepState, trouble: &Trouble) -> StepView {
    let going_back = going_back(picture);
    let undo_begun = !matches!(step.undo, UndoState::None);
    let error = if undo_begun {
        &trouble.undo
    } else {
        &trouble.action
    };
    StepView {
        ix,
        status: status(picture, ix, step),
        note: held(picture, ix, step, going_back)
            .unwrap_or_else(|| note(step, trouble, going_back)),
        next_due: next_due(step, going_back),
        error: error
            .as_ref()
            .or(trouble.action.as_ref())
            .map(|last| last.error.clone()),
        output: match &step.action {
            ActionState::Succeeded(output) => Some(output.clone()),
            ActionState::Pending
            | ActionState::Skipped
            | ActionState::Waiting { .. }
            | ActionState::Sent { .. }
            | ActionState::BackingOff { .. }
            | ActionState::Asking { .. }
            | ActionState::Refused(_)
            | ActionState::Failed { .. }
            | ActionState::Sealed => None,
        },
    }
}

fn going_back(picture: &Picture) -> bool {
    match picture.state.status {
        Status::Compensating | Status::Compensated => true,
        // What was abandoned stays as it was.
        Status::Running | Status::Completed | Status::Abandoned => false,
    }
}

fn status(picture: &Picture, ix: StepIx, step: &StepState) -> &'static str {
    match &step.undo {
        UndoState::Waiting { .. } => return "undo_waiting",
        UndoState::Sent { .. } => return "undoing",
        UndoState::BackingOff { .. } => return "undo_backing_off",
        UndoState::Done {
            nothing_to_do: false,
        } => return "compensated",
        UndoState::Done {
            nothing_to_do: true,
        } => return "nothing_to_undo",
        UndoState::Stuck { .. } => return "not_undone",
        UndoState::Skipped => return "undo_skipped",
        UndoState::None => {}
    }
    let in_flight = matches!(
        step.action,
        ActionState::Sent { .. }
            | ActionState::Asking {
                ask: Ask::Sent { .. },
                ..
            }
    );
    let has_undo = picture
        .plan
        .step(ix)
        .is_some_and(|planned| planned.compensation.is_some());
    match picture.state.status {
        Status::Compensating if !in_flight && step.may_have_happened() => {
            return if has_undo {
                "undo_pending"
            } else {
                "nothing_to_undo"
            };
        }
        Status::Compensated if step.may_have_happened() => return "nothing_to_undo",
        Status::Running
        | Status::Compensating
        | Status::Completed
        | Status::Compensated
        | Status::Abandoned => {}
    }
    match &step.action {
        // What waited and was never sent is not waited for any more.
        ActionState::Waiting { .. } if going_back(picture) => "pending",
        ActionState::Pending => "pending",
        ActionState::Skipped => "skipped",
        ActionState::Waiting { .. } => "waiting",
        ActionState::Sent { .. } => "running",
        ActionState::BackingOff { .. } => "backing_off",
        ActionState::Asking { seal: false, .. } => "querying",
        ActionState::Asking { seal: true, .. } => "sealing",
        ActionState::Succeeded(_) => "succeeded",
        ActionState::Refused(_) => "refused",
        ActionState::Failed { .. } if step.unclear => "unknown",
        ActionState::Failed { .. } => "failed",
        ActionState::Sealed => "sealed",
    }
}

/// What is settled without its participant's word.
const BY_WORD: &str = "on an operator's word";

/// Why the step waits, if it does.
fn held(picture: &Picture, ix: StepIx, step: &StepState, going_back: bool) -> Option<String> {
    match (&step.undo, &step.action) {
        (UndoState::Waiting { reason, .. }, _) => Some(picture.why_held(ix, *reason)),
        (UndoState::None, ActionState::Waiting { reason, .. }) if !going_back => {
            Some(picture.why_held(ix, *reason))
        }
        (_, _) => None,
    }
}

fn note(step: &StepState, trouble: &Trouble, going_back: bool) -> String {
    let last = |last: &Option<LastError>| {
        last.as_ref()
            .map(|l| words::error(&l.error))
            .unwrap_or_default()
    };
    match &step.undo {
        UndoState::Waiting { reason, .. } => return reason.to_string(),
        UndoState::Stuck { error } | UndoState::BackingOff { error, .. } => {
            return words::error(error);
        }
        UndoState::Sent { .. } => return last(&trouble.undo),
        UndoState::Skipped => return BY_WORD.to_owned(),
        UndoState::Done { .. } | UndoState::None => {}
    }
    match &step.action {
        ActionState::Skipped | ActionState::Succeeded(_) | ActionState::Sealed if step.by_word => {
            BY_WORD.to_owned()
        }
        ActionState::Waiting { .. } if going_back => last(&trouble.action),
        ActionState::Waiting { reason, .. } => reason.to_string(),
        ActionState::Refused(error)
        | ActionState::Failed { error }
        | ActionState::BackingOff { error, .. } => words::error(error),
        ActionState::Sent { accepted: true, .. } => "the participant works on it".to_owned(),
        ActionState::Sent {
            accepted: false, ..
        }
        | ActionState::Asking { .. } => last(&trouble.action),
        ActionState::Pending
        | ActionState::Skipped
        | ActionState::Succeeded(_)
        | ActionState::Sealed => String::new(),
    }
}

/// When this step's timer fires, if one is armed.
fn next_due(step: &StepState, going_back: bool) -> Option<Timestamp> {
    match &step.undo {
        UndoState::Sent { due } => return *due,
        UndoState::BackingOff { due, .. } => return Some(*due),
        UndoState::Waiting { until, .. } => return *until,
        UndoState::Done { .. } | UndoState::Skipped | UndoState::Stuck { .. } => return None,
        UndoState::None => {}
    }
    match &step.action {
        ActionState::Sent { due, .. }
        | ActionState::Asking {
            ask: Ask::Sent { due },
            ..
        } => *due,
        ActionState::Asking {
            ask: Ask::Again { due, .. },
            ..
        } => Some(*due),
        ActionState::BackingOff { due, .. } => (!going_back).then_some(*due),
        ActionState::Pending
        | ActionState::Skipped
        | ActionState::Waiting { .. }
        | ActionState::Asking {
            ask: Ask::Waiting, ..
        }
        | ActionState::Succeeded(_)
        | ActionState::Refused(_)
        | ActionState::Failed { .. }
        | ActionState::Sealed => None,
    }
}
