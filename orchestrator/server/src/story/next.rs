//! The step that matters most now, and what happens next, in one line.

use saga_core::{
    SagaState, Status, Timestamp,
    state::{ActionState, Ask, OpenIncident, StepState, UndoState},
};
use saga_dsl::plan::StepIx;

use super::{fold::Picture, words};

/// How much a step asks for attention; later variants more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Settled,
    OnItsWay,
    BackingOff,
    Waiting,
    PivotUnsettled,
    Undoing,
    UndoHeld,
    Incident,
}

/// The step that matters most now; `None` when the saga has ended or nothing has begun.
pub(super) fn focus(state: &SagaState) -> Option<StepIx> {
    if state.status.is_end() {
        return None;
    }
    let weighed = state.steps.iter().enumerate().map(|(at, step)| {
        let ix = StepIx(u16::try_from(at).unwrap_or(u16::MAX));
        (weigh(state, ix, step), ix)
    });
    // `max_by_key` prefers the last of equals; going from the end makes that the first in the file.
    weighed
        .filter(|(weight, _)| *weight > Weight::Settled)
        .rev()
        .max_by_key(|(weight, _)| *weight)
        .map(|(_, ix)| ix)
}

fn weigh(state: &SagaState, ix: StepIx, step: &StepState) -> Weight {
    if state
        .incidents
        .iter()
        .any(|open| open.incident.step == Some(ix))
    {
        return Weight::Incident;
    }
    match &step.undo {
        UndoState::Stuck { .. } => return Weight::Incident,
        UndoState::Waiting { .. } | UndoState::BackingOff { .. } => return Weight::UndoHeld,
        UndoState::Sent { .. } => return Weight::Undoing,
        UndoState::Done { .. } | UndoState::Skipped => return Weight::Settled,
        UndoState::None => {}
    }
    match &step.action {
        ActionState::Asking { .. } => Weight::PivotUnsettled,
        // Once the saga goes back, nothing new is begun: these are at rest.
        ActionState::Waiting { .. } | ActionState::BackingOff { .. }
            if state.status != Status::Running =>
        {
            Weight::Settled
        }
        ActionState::Waiting { .. } => Weight::Waiting,
        ActionState::BackingOff { .. } => Weight::BackingOff,
        ActionState::Sent { .. } => Weight::OnItsWay,
        ActionState::Pending
        | ActionState::Skipped
        | ActionState::Succeeded(_)
        | ActionState::Refused(_)
        | ActionState::Failed { .. }
        | ActionState::Sealed => Weight::Settled,
    }
}

/// Attempts of the side of a step that matters now.
pub(super) fn tries(step: &StepState) -> u32 {
    match step.undo {
        UndoState::None => step.attempts,
        UndoState::Waiting { .. }
        | UndoState::Sent { .. }
        | UndoState::BackingOff { .. }
        | UndoState::Done { .. }
        | UndoState::Skipped
        | UndoState::Stuck { .. } => step.undo_attempts,
    }
}

/// What happens next at a step, in one line.
pub(super) fn line(picture: &Picture, ix: StepIx, now: Timestamp) -> String {
    let Some(step) = picture.state.steps.get(ix.at()) else {
        return String::new();
    };
    if let Some(why) = picture.stalled.get(&ix) {
        let undo = matches!(step.undo, UndoState::Sent { .. });
        let (what, with) = match undo {
            true => ("undo", words::compensation(&picture.plan, ix)),
            false => ("answer", words::action(&picture.plan, ix)),
        };
        return format!("{what} of {with} waits: {why}");
    }
    let line =
        undo_line(picture, ix, step, now).unwrap_or_else(|| action_line(picture, ix, step, now));
    let open: Vec<&OpenIncident> = picture
        .state
        .incidents
        .iter()
        .filter(|open| open.incident.step == Some(ix))
        .collect();
    let Some(newest) = open.last() else {
        return line;
    };
    // The step goes on by itself; a person is told, not waited for.
    if !open.iter().any(|open| open.incident.kind.needs_a_person()) {
        return format!("slow: {line}");
    }
    match line.as_str() {
        // Nothing of the step is under way, so the incident is all there is to say.
        "" => format!(
            "operator: {} {}",
            words::action(&picture.plan, ix),
            newest.incident.error.code
        ),
        line if line.starts_with("operator") => line.to_owned(),
        line => format!("operator: {line}"),
    }
}

/// What is left to do about a saga that has ended: incidents that nobody has acknowledged.
pub(super) fn after_the_end(picture: &Picture) -> String {
    let state = &picture.state;
    let Some(newest) = state.incidents.last().filter(|_| state.status.is_end()) else {
        return String::new();
    };
    let place = newest.incident.step.map_or_else(String::new, |ix| {
        format!("{} ", words::step(&picture.plan, ix))
    });
    let code = super::why::incident_code(newest.incident.kind);
    format!("operator: acknowledge {place}{code}")
}

fn undo_line(picture: &Picture, ix: StepIx, step: &StepState, now: Timestamp) -> Option<String> {
    let undo = words::compensation(&picture.plan, ix);
    match &step.undo {
        UndoState::Waiting { reason, until, .. } => Some(match until {
            Some(until) => format!("undo {} with {undo}: {reason}", words::until(now, *until)),
            None => format!(
                "waits to undo with {undo}: {}",
                picture.why_held(ix, *reason)
            ),
        }),
        UndoState::Sent { due } => Some(answer("undo", &undo, *due, now)),
        UndoState::BackingOff { due, error } => Some(format!(
            "retry {}: {undo} {}",
            words::until(now, *due),
            error.code
        )),
        UndoState::Stuck { error } => Some(format!("operator: {undo} {}", error.code)),
        UndoState::None | UndoState::Done { .. } | UndoState::Skipped => None,
    }
}

fn action_line(picture: &Picture, ix: StepIx, step: &StepState, now: Timestamp) -> String {
    let action = words::action(&picture.plan, ix);
    match &step.action {
        ActionState::Waiting { reason, .. } => {
            format!("waits for {action}: {}", picture.why_held(ix, *reason))
        }
        ActionState::Sent {
            due,
            accepted: false,
        } => answer("answer", &action, *due, now),
        ActionState::Sent {
            due,
            accepted: true,
        } => answer("outcome", &action, *due, now),
        ActionState::BackingOff { due, error } => {
            format!("retry {}: {action} {}", words::until(now, *due), error.code)
        }
        ActionState::Asking { seal, ask } => {
            let question = if *seal { "seal" } else { "query" };
            match ask {
                Ask::Sent { due } => answer(question, &action, *due, now),
                Ask::Again { due, error } => {
                    format!(
                        "{question} {}: {action} {}",
                        words::until(now, *due),
                        error.code
                    )
                }
                Ask::Waiting => format!("{question} waits for participant of {action}"),
            }
        }
        ActionState::Failed { error } | ActionState::Refused(error) => {
            format!("{action} {}", error.code)
        }
        ActionState::Pending
        | ActionState::Skipped
        | ActionState::Succeeded(_)
        | ActionState::Sealed => String::new(),
    }
}

fn answer(what: &str, who: &str, due: Option<Timestamp>, now: Timestamp) -> String {
    match due {
        Some(due) if due > now => format!("{what} of {who}, {} left", words::span(now, due)),
        Some(_) => format!("{what} of {who}"),
        None => format!("{what} of {who}, sent again when it connects"),
    }
}
