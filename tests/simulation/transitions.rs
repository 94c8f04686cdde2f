//! The list of transitions at the top of `state.rs`, read from there: what happens and is not on it is a fault.

use std::collections::BTreeSet;

use saga_core::{
    SagaState, Status,
    state::{ActionState, StepState, UndoState},
};

/// Section, from, to.
pub type Transition = (&'static str, &'static str, &'static str);

/// The list.
pub fn listed() -> BTreeSet<Transition> {
    let text = include_str!("../../orchestrator/core/src/state.rs");
    let mut section = "";
    let mut list = BTreeSet::new();
    for line in text.lines().take_while(|line| line.starts_with("//!")) {
        let Some((left, right)) = line.trim_start_matches("//!").split_once("->") else {
            continue;
        };
        let mut from: Vec<&str> = left
            .split(['|', ' '])
            .filter(|word| !word.is_empty())
            .collect();
        if let Some(first) = from
            .first()
            .filter(|word| ["saga", "action", "undo"].contains(*word))
        {
            section = *first;
            from.remove(0);
        }
        // Two spaces end the states; a remark may follow.
        let to = right.trim_start().split("  ").next().unwrap_or_default();
        for from in from {
            list.extend(to.split('|').map(|to| (section, from, to.trim())));
        }
    }
    list
}

/// What one event changed.
pub fn between(before: &SagaState, after: &SagaState) -> Vec<Transition> {
    let mut seen = Vec::new();
    if before.status != after.status {
        seen.push(("saga", saga(before.status), saga(after.status)));
    }
    for (from, to) in before.steps.iter().zip(&after.steps) {
        // To be sent again, or asked again, is a transition of its own; the rest is a state that stays.
        if action(from) != action(to) || asked_again(from, to) {
            seen.push(("action", action(from), action(to)));
        }
        if undo(from) != undo(to) {
            seen.push(("undo", undo(from), undo(to)));
        }
    }
    seen
}

fn asked_again(from: &StepState, to: &StepState) -> bool {
    matches!(
        (&from.action, &to.action),
        (ActionState::Asking { .. }, ActionState::Asking { .. })
    ) && from != to
}

fn saga(status: Status) -> &'static str {
    match status {
        Status::Running => "running",
        Status::Compensating => "compensating",
        Status::Completed => "completed",
        Status::Compensated => "compensated",
        Status::Abandoned => "abandoned",
    }
}

fn action(step: &StepState) -> &'static str {
    match step.action {
        ActionState::Pending => "pending",
        ActionState::Skipped => "skipped",
        ActionState::Waiting { .. } => "waiting",
        ActionState::Sent { .. } => "sent",
        ActionState::BackingOff { .. } => "backing_off",
        ActionState::Asking { .. } => "asking",
        ActionState::Succeeded(_) => "succeeded",
        ActionState::Refused(_) => "refused",
        ActionState::Failed { .. } => "failed",
        ActionState::Sealed => "sealed",
    }
}

fn undo(step: &StepState) -> &'static str {
    match step.undo {
        UndoState::None => "none",
        UndoState::Waiting { .. } => "waiting",
        UndoState::Sent { .. } => "sent",
        UndoState::BackingOff { .. } => "backing_off",
        UndoState::Done { .. } => "done",
        UndoState::Stuck { .. } => "stuck",
        UndoState::Skipped => "skipped",
    }
}
