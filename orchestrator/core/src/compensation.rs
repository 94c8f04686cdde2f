//! Which undo comes next: reverse dependency order, parallel branches in parallel.

use saga_dsl::{
    definition::Kind,
    plan::{Plan, StepIx},
};

use crate::{
    rules::{Rule, Rules},
    state::{ActionState, Ask, SagaState, StepState, UndoState},
};

/// How far a step is on the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing of it is left, or nothing ever was.
    Clear,
    /// To be undone, or being undone.
    Undo,
    /// An attempt of its action is outstanding; it settles first.
    InFlight,
}

fn way(rules: Rules, plan: &Plan, step: &StepState, ix: usize) -> Way {
    match step.undo {
        UndoState::Done { .. } | UndoState::Skipped => return Way::Clear,
        UndoState::Waiting { .. }
        | UndoState::Sent { .. }
        | UndoState::BackingOff { .. }
        | UndoState::Stuck { .. } => return Way::Undo,
        UndoState::None => {}
    }
    match step.action {
        ActionState::Sent { .. }
        | ActionState::Asking {
            ask: Ask::Sent { .. },
            ..
        } if rules.keep(Rule::SettleInFlight) => Way::InFlight,
        ActionState::Pending
        | ActionState::Skipped
        | ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Asking { .. }
        | ActionState::Succeeded(_)
        | ActionState::Refused(_)
        | ActionState::Failed { .. }
        | ActionState::Sealed => {
            // Whatever its file says: a pivot and what follows it are never undone.
            let undoable = plan.steps.get(ix).is_some_and(|planned| {
                planned.kind == Kind::Compensatable && planned.compensation.is_some()
            });
            let happened = if rules.keep(Rule::UndoUnknown) {
                step.may_have_happened()
            } else {
                matches!(step.action, ActionState::Succeeded(_))
            };
            if undoable && happened {
                Way::Undo
            } else {
                Way::Clear
            }
        }
    }
}

/// The steps whose undo may proceed now: everything that depends on them is clear.
#[must_use]
pub fn due(rules: Rules, plan: &Plan, state: &SagaState) -> Vec<StepIx> {
    let mut due = Vec::new();
    // Whether a step or anything that depends on it is not clear yet. Dependents stand later, so one pass from the end.
    let mut blocks = vec![false; state.steps.len()];
    for (ix, step) in state.steps.iter().enumerate().rev() {
        let after_it = plan
            .steps
            .get(ix)
            .map_or(&[][..], |planned| &planned.before);
        let held = rules.keep(Rule::ReverseOrder)
            && after_it
                .iter()
                .any(|later| blocks.get(later.at()).copied().unwrap_or(false));
        let way = way(rules, plan, step, ix);
        if way == Way::Undo && !held {
            due.push(StepIx(u16::try_from(ix).unwrap_or(u16::MAX)));
        }
        blocks[ix] = held || way != Way::Clear;
    }
    due
}

/// True when nothing is left to undo or to wait for.
#[must_use]
pub fn is_over(rules: Rules, plan: &Plan, state: &SagaState) -> bool {
    state
        .steps
        .iter()
        .enumerate()
        .all(|(ix, step)| way(rules, plan, step, ix) == Way::Clear)
}
