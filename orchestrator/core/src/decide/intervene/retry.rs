//! Try again now: the same round where nothing definite was said, another one after a refusal or with other data.

use saga_dsl::{definition::Kind, plan::StepIx};

use crate::{
    event::{AfterSeal, Event, IncidentKind, InputEdited},
    input::Unfit,
    payload::Payload,
    state::{ActionState, Ask, Status, UndoState},
};

use super::{
    super::{Draft, forward, undo},
    close_round, is_unmended, name, nothing_to_undo, open_round, renew_budget, settled,
};

/// Everything that failed, is backing off or is stuck, each as [`step`] would, but nothing by force.
pub(super) fn all(draft: &mut Draft<'_>) -> Result<(), Unfit> {
    let mut moved = false;
    if draft
        .state
        .incidents
        .iter()
        .any(|open| open.incident.kind == IncidentKind::Internal)
    {
        draft.record(Event::TroubleSettled {});
        moved = true;
    }
    for ix in draft.indices() {
        moved |= step(draft, ix, false).is_ok();
    }
    if moved {
        Ok(())
    } else {
        Err(Unfit::NothingFailed)
    }
}

/// One step, on the side that the saga is at.
pub(super) fn step(draft: &mut Draft<'_>, ix: StepIx, force: bool) -> Result<(), Unfit> {
    if draft.state.status == Status::Compensating {
        undoing(draft, ix)
    } else {
        action(draft, ix, force)
    }
}

fn action(draft: &mut Draft<'_>, ix: StepIx, force: bool) -> Result<(), Unfit> {
    let closing = draft.state.closing.is_some();
    match &draft.step(ix).action {
        // The question is what is open, also while the pivot is being settled.
        ActionState::Asking {
            seal,
            ask: Ask::Again { .. },
        } => {
            let seal = *seal;
            renew_budget(draft, ix, false);
            forward::ask(draft, ix, seal);
        }
        ActionState::BackingOff { .. } | ActionState::Failed { .. } | ActionState::Refused(_)
            if closing =>
        {
            return Err(Unfit::Closing);
        }
        ActionState::BackingOff { .. } | ActionState::Failed { .. } => {
            renew_budget(draft, ix, false);
            forward::begin_attempt(draft, ix);
        }
        ActionState::Refused(_) if draft.planned(ix).kind == Kind::Retriable => {
            another_round(draft, ix, None, force)?;
        }
        ActionState::Pending | ActionState::Waiting { .. } if is_unmended(draft, ix) => {
            renew_budget(draft, ix, false);
        }
        ActionState::Pending => {
            return Err(Unfit::NotReached {
                step: name(draft, ix),
            });
        }
        ActionState::Waiting { reason, .. } => {
            return Err(Unfit::Waits {
                step: name(draft, ix),
                reason: reason.to_string(),
            });
        }
        ActionState::Asking {
            ask: Ask::Waiting, ..
        } => {
            let reason = "its participant cannot be reached".to_owned();
            return Err(Unfit::Waits {
                step: name(draft, ix),
                reason,
            });
        }
        ActionState::Sent { .. }
        | ActionState::Asking {
            ask: Ask::Sent { .. },
            ..
        } => {
            return Err(Unfit::Outstanding {
                step: name(draft, ix),
            });
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

fn undoing(draft: &mut Draft<'_>, ix: StepIx) -> Result<(), Unfit> {
    match &draft.step(ix).undo {
        UndoState::BackingOff { .. } | UndoState::Stuck { .. } => {
            renew_budget(draft, ix, true);
            undo::send(draft, ix);
            Ok(())
        }
        UndoState::Sent { .. } => Err(Unfit::Outstanding {
            step: name(draft, ix),
        }),
        UndoState::Waiting { reason, .. } => Err(Unfit::Waits {
            step: name(draft, ix),
            reason: reason.to_string(),
        }),
        UndoState::None if draft.step(ix).may_have_happened() => Err(Unfit::NotReached {
            step: name(draft, ix),
        }),
        UndoState::None => Err(nothing_to_undo(draft, ix)),
        UndoState::Done { .. } | UndoState::Skipped => Err(settled(draft, ix)),
    }
}

/// With another payload. What was never sent keeps its round; an undo keeps it too, for its key is the action's.
pub(super) fn edited(
    draft: &mut Draft<'_>,
    ix: StepIx,
    input: &Payload,
    force: bool,
) -> Result<(), Unfit> {
    if draft.state.status == Status::Compensating {
        let held = matches!(draft.step(ix).undo, UndoState::Waiting { .. });
        if held
            || matches!(
                draft.step(ix).undo,
                UndoState::BackingOff { .. } | UndoState::Stuck { .. }
            )
        {
            draft.record(edit(ix, true, input));
        }
        return if held { Ok(()) } else { undoing(draft, ix) };
    }
    if draft.state.closing.is_some() {
        return Err(Unfit::Closing);
    }
    match &draft.step(ix).action {
        ActionState::Pending if !is_unmended(draft, ix) => Err(Unfit::NotReached {
            step: name(draft, ix),
        }),
        ActionState::Pending | ActionState::Waiting { .. } if draft.step(ix).attempts == 0 => {
            draft.record(edit(ix, false, input));
            renew_budget(draft, ix, false);
            Ok(())
        }
        ActionState::Pending
        | ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Asking { .. }
        | ActionState::Failed { .. }
        | ActionState::Refused(_) => another_round(draft, ix, Some(input.clone()), force),
        ActionState::Skipped | ActionState::Succeeded(_) | ActionState::Sealed => {
            Err(settled(draft, ix))
        }
    }
}

fn edit(step: StepIx, undo: bool, input: &Payload) -> Event {
    Event::InputEdited(InputEdited {
        step,
        undo,
        input: input.clone(),
    })
}

fn another_round(
    draft: &mut Draft<'_>,
    ix: StepIx,
    input: Option<Payload>,
    force: bool,
) -> Result<(), Unfit> {
    if force {
        open_round(draft, ix, input, true);
        return Ok(());
    }
    close_round(draft, ix, AfterSeal::NewRound { input })
}
