//! Go on without a step, or without its undo.

use saga_dsl::{definition::Kind, plan::StepIx};

use crate::{
    event::{AfterSeal, AtStep, Event, SkippedByWord},
    input::Unfit,
    state::{ActionState, Status, UndoState},
};

use super::{super::Draft, close_round, is_unmended, name, nothing_to_undo, settled};

pub(super) fn skip(draft: &mut Draft<'_>, ix: StepIx, force: bool) -> Result<(), Unfit> {
    if draft.state.status == Status::Compensating {
        undoing(draft, ix, force)
    } else {
        action(draft, ix, force)
    }
}

/// There is no seal for an undo: what is on its way may still arrive, so that takes force.
fn undoing(draft: &mut Draft<'_>, ix: StepIx, force: bool) -> Result<(), Unfit> {
    match &draft.step(ix).undo {
        UndoState::Sent { .. } if !force => {
            return Err(Unfit::OutstandingUnlessForced {
                step: name(draft, ix),
            });
        }
        UndoState::Sent { .. }
        | UndoState::Stuck { .. }
        | UndoState::BackingOff { .. }
        | UndoState::Waiting { .. } => {}
        UndoState::None if draft.step(ix).may_have_happened() => {
            return Err(Unfit::NotReached {
                step: name(draft, ix),
            });
        }
        UndoState::None => return Err(nothing_to_undo(draft, ix)),
        UndoState::Done { .. } | UndoState::Skipped => return Err(settled(draft, ix)),
    }
    draft.record(Event::UndoneByWord(AtStep { step: ix }));
    Ok(())
}

fn action(draft: &mut Draft<'_>, ix: StepIx, force: bool) -> Result<(), Unfit> {
    if draft.planned(ix).kind == Kind::Pivot {
        return Err(Unfit::PivotStays {
            step: name(draft, ix),
        });
    }
    if draft.state.closing.is_some() {
        return Err(Unfit::Closing);
    }
    let sent = draft.step(ix).attempts > 0;
    match &draft.step(ix).action {
        ActionState::Pending if !is_unmended(draft, ix) => {
            return Err(Unfit::NotReached {
                step: name(draft, ix),
            });
        }
        ActionState::Pending | ActionState::Waiting { .. } if !sent => pass(draft, ix, false),
        // Its participant said for good that it has no effect.
        ActionState::Refused(_) if draft.planned(ix).kind == Kind::Retriable => {
            pass(draft, ix, false)
        }
        ActionState::Pending
        | ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Asking { .. }
        | ActionState::Failed { .. } => {
            if !force {
                return close_round(draft, ix, AfterSeal::Skip);
            }
            pass(draft, ix, true);
        }
        ActionState::Refused(_)
        | ActionState::Skipped
        | ActionState::Succeeded(_)
        | ActionState::Sealed => {
            return Err(settled(draft, ix));
        }
    }
    Ok(())
}

fn pass(draft: &mut Draft<'_>, ix: StepIx, unproven: bool) {
    draft.record(Event::SkippedByWord(SkippedByWord { step: ix, unproven }));
}
