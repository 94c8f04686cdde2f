//! Say what became of a step.

use saga_dsl::{definition::Kind, plan::StepIx};

use crate::{
    error::ErrorBody,
    event::{AfterSeal, AtStep, Cause, Event, StepSucceeded},
    input::{Intervention, Unfit},
    payload::Payload,
    state::{ActionState, Ask, Status},
};

use super::{
    super::{Draft, forward},
    close_round, is_unmended, name, settled, turn,
};

/// It took effect: nothing of the round needs to be sealed, for a further sending of it would find it done.
pub(super) fn succeeded(
    draft: &mut Draft<'_>,
    ix: StepIx,
    output: &Payload,
    force: bool,
) -> Result<(), Unfit> {
    if draft.state.status == Status::Compensating {
        return Err(Unfit::GoesBack {
            step: name(draft, ix),
        });
    }
    match &draft.step(ix).action {
        ActionState::Pending if !is_unmended(draft, ix) => {
            return Err(Unfit::NotReached {
                step: name(draft, ix),
            });
        }
        ActionState::Sent { .. } if !force => {
            return Err(Unfit::OutstandingUnlessForced {
                step: name(draft, ix),
            });
        }
        ActionState::Refused(_) if draft.planned(ix).kind != Kind::Retriable => {
            return Err(settled(draft, ix));
        }
        ActionState::Pending
        | ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Asking { .. }
        | ActionState::Failed { .. }
        | ActionState::Refused(_) => {}
        ActionState::Skipped | ActionState::Succeeded(_) | ActionState::Sealed => {
            return Err(settled(draft, ix));
        }
    }
    let attempt = draft.step(ix).attempts;
    draft.record(Event::SucceededByWord(StepSucceeded {
        step: ix,
        attempt,
        output: output.clone(),
    }));
    draft.settle_closing(ix);
    Ok(())
}

/// It did not take effect, so the saga goes back. A step with an undo is undone as unknown, which proves it; a pivot is
/// sealed first.
pub(super) fn failed(
    draft: &mut Draft<'_>,
    ix: StepIx,
    wanted: &Intervention,
) -> Result<(), Unfit> {
    if draft.state.status == Status::Compensating {
        return Err(Unfit::GoesBack {
            step: name(draft, ix),
        });
    }
    match &draft.step(ix).action {
        ActionState::Skipped
        | ActionState::Succeeded(_)
        | ActionState::Sealed
        | ActionState::Refused(_) => {
            return Err(settled(draft, ix));
        }
        ActionState::Pending => {
            return Err(Unfit::NotReached {
                step: name(draft, ix),
            });
        }
        ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Asking { .. }
        | ActionState::Failed { .. } => {}
    }
    match draft.planned(ix).kind {
        Kind::Retriable => {
            return Err(Unfit::MustSucceed {
                step: name(draft, ix),
            });
        }
        Kind::Compensatable | Kind::Pivot if draft.step(ix).attempts == 0 => {
            return Err(Unfit::NeverSent {
                step: name(draft, ix),
            });
        }
        Kind::Compensatable if draft.state.closing.is_some() => return Err(Unfit::Closing),
        Kind::Compensatable => {
            let error = ErrorBody::new("resolved", wanted.reason.clone());
            forward::give_up(draft, ix, Event::StepUnknown, error, Cause::Operator);
        }
        Kind::Pivot if wanted.force => {
            draft.record(Event::SealedByWord(AtStep { step: ix }));
            turn(draft, ix);
        }
        Kind::Pivot => pivot(draft, ix)?,
    }
    Ok(())
}

fn pivot(draft: &mut Draft<'_>, ix: StepIx) -> Result<(), Unfit> {
    // While the saga shall go back it is being sealed already.
    if draft.state.closing.is_some() {
        return match &draft.step(ix).action {
            ActionState::Asking {
                ask: Ask::Again { .. },
                ..
            } => {
                forward::ask(draft, ix, true);
                Ok(())
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
            | ActionState::Sealed => Err(Unfit::OutstandingUnlessForced {
                step: name(draft, ix),
            }),
        };
    }
    close_round(draft, ix, AfterSeal::Fail)
}
