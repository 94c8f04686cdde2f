//! What must hold in every run, whatever a case expects: after each decision, and in the ledgers at the end.

use saga_core::{
    Decision, Effect, Event, Op, SagaState, Status,
    command::outstanding,
    state::{ActionState, StepState, UndoState},
};
use saga_dsl::{
    definition::Kind,
    plan::{Plan, StepIx},
};

use super::cast::Effects;

/// A decision against the state before it.
pub(super) fn decision(plan: &Plan, before: &SagaState, decision: &Decision) -> Vec<String> {
    let after = &decision.state;
    let mut faults = Vec::new();
    if before.status.is_end() && !(decision.events.is_empty() && decision.effects.is_empty()) {
        faults.push("the saga moved after its end (I11)".to_owned());
    }
    if matches!(after.status, Status::Compensating | Status::Compensated) {
        for (planned, step) in plan.steps.iter().zip(&after.steps) {
            if planned.kind == Kind::Pivot && step.may_have_happened() {
                faults.push(format!(
                    "`{}` is a pivot that may have happened, and the saga goes back (I8)",
                    planned.id
                ));
            }
        }
    }
    let out = outstanding(plan, after);
    for effect in &decision.effects {
        if let Effect::Send(command) = effect {
            let planned = &plan.steps[command.step.at()];
            if !out.contains(command) {
                faults.push(format!(
                    "`{}`: a command is sent that is not recorded (I18)",
                    planned.id
                ));
            }
            if command.op == Op::Compensation && planned.kind != Kind::Compensatable {
                faults.push(format!(
                    "`{}` is undone and is no compensatable step (I8)",
                    planned.id
                ));
            }
        }
    }
    for event in &decision.events {
        if let Event::UndoDispatched(undo) = event {
            faults.extend(undo_order(plan, after, undo.step));
        }
    }
    faults
}

/// I10: whatever depends on the step is settled before it is undone.
fn undo_order(plan: &Plan, state: &SagaState, of: StepIx) -> Option<String> {
    let mut open: Vec<StepIx> = plan.steps[of.at()].before.clone();
    while let Some(ix) = open.pop() {
        if !is_clear(plan, &state.steps[ix.at()], ix) {
            let (first, second) = (&plan.steps[of.at()].id, &plan.steps[ix.at()].id);
            return Some(format!(
                "`{first}` is undone before `{second}`, which depends on it (I10)"
            ));
        }
        open.extend(&plan.steps[ix.at()].before);
    }
    None
}

/// Written without a look at the core's own rule.
fn is_clear(plan: &Plan, step: &StepState, ix: StepIx) -> bool {
    if matches!(step.action, ActionState::Sent { .. }) {
        return false;
    }
    let harmless = matches!(step.action, ActionState::Refused(_) | ActionState::Sealed)
        || (step.attempts == 0 && !matches!(step.action, ActionState::Succeeded(_)));
    harmless
        || plan.steps[ix.at()].compensation.is_none()
        || matches!(step.undo, UndoState::Done { .. })
}

/// An operator was called for something that no machine mends.
pub(super) fn is_parked(state: &SagaState) -> bool {
    state
        .incidents
        .iter()
        .any(|open| open.incident.kind.needs_a_person())
}

/// What a ledger tells of a step at the end of its saga: faults, and whether something was left behind that nothing
/// undoes.
pub(super) fn ledger(
    plan: &Plan,
    state: &SagaState,
    at: StepIx,
    effects: Effects,
) -> (Vec<String>, bool) {
    let (planned, step) = (&plan.steps[at.at()], &state.steps[at.at()]);
    let id = &planned.id;
    let Effects { acted, undone } = effects;
    let mut faults = Vec::new();
    if acted > 1 && !planned.at_least_once {
        faults.push(format!("`{id}` took effect {acted} times (I1)"));
    }
    if undone > acted {
        faults.push(format!(
            "`{id}` was undone {undone} times and had taken effect {acted} times (I2)"
        ));
    }
    let undoes = planned.kind == Kind::Compensatable && planned.compensation.is_some();
    let mut left = false;
    match state.status {
        Status::Completed => {
            let kept = match step.action {
                ActionState::Skipped => acted == 0,
                ActionState::Succeeded(_) => acted > undone,
                _ => false,
            };
            if !kept {
                faults.push(format!(
                    "the saga is completed, and `{id}` took effect {acted} times and was undone {undone} times (I4)"
                ));
            }
        }
        Status::Compensated if acted > undone && undoes => {
            faults.push(format!(
                "the saga is compensated, and the effect of `{id}` is still there (I5)"
            ));
        }
        Status::Compensated if acted > undone && planned.kind != Kind::Compensatable => {
            faults.push(format!(
                "the saga is compensated, and `{id}`, a {}, took effect (I8)",
                kind(planned.kind)
            ));
        }
        Status::Compensated => left = acted > undone,
        // No operator takes part in trials, so none abandons a saga.
        Status::Running | Status::Compensating | Status::Abandoned => {}
    }
    faults.extend(sticky(step, effects).map(|what| format!("`{id}`: {what} (I7)")));
    (faults, left)
}

/// What the saga believes against what was really done.
fn sticky(step: &StepState, effects: Effects) -> Option<&'static str> {
    match step.action {
        ActionState::Succeeded(_) if effects.acted == 0 => {
            Some("it counts as done and never took effect")
        }
        ActionState::Refused(_) | ActionState::Sealed if effects.acted > 0 => {
            Some("it counts as not done and took effect")
        }
        _ => None,
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Compensatable => "compensatable step",
        Kind::Pivot => "pivot",
        Kind::Retriable => "retriable step",
    }
}
