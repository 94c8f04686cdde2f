//! An operator intervenes: one file a verb.
//!
//! No verb leaves an old round alive. Whatever could still take effect under the step's key is sealed before the step
//! goes on without it or begins another round; where nobody can prove that, it takes force, and the saga is marked for
//! good. What the operator asked for is recorded first, then what follows from it.

mod resolve;
mod retry;
mod skip;

use saga_dsl::plan::StepIx;

use crate::{
    effect::Effect,
    error::ErrorBody,
    event::{
        AfterSeal, AtStep, BudgetRenewed, Cause, Event, Failure, IncidentKind, Intervened,
        RoundClosing, RoundOpened, SkippedByWord,
    },
    input::{Intervention, Order, Rejected, Unfit},
    payload::Payload,
    rules::Rule,
    scope::status_word,
    state::{ActionState, OpenIncident},
};

use super::Draft;

pub(super) fn intervene(draft: &mut Draft<'_>, wanted: &Intervention) -> Result<(), Rejected> {
    if draft.state.birth.is_none() {
        return Err(Rejected::NotBegun);
    }
    // The client missed the answer and asks again.
    if draft.state.has_acted(wanted.act) {
        return Ok(());
    }
    // The only thing that is left to do about a saga that has ended.
    let notes_only = wanted.order == Order::Acknowledge;
    if draft.state.status.is_end() && !notes_only {
        return Err(Rejected::Ended {
            at: draft.state.ended_at.unwrap_or(draft.now),
        });
    }
    if let Some(step) = wanted.step
        && (draft.state.steps.get(step.at()).is_none() || draft.plan.step(step).is_none())
    {
        return Err(Rejected::NoSuchStep(step.0));
    }
    draft.record(Event::Intervened(Intervened {
        verb: wanted.order.verb(),
        step: wanted.step,
        reason: wanted.reason.clone(),
        by: wanted.by.clone(),
        forced: wanted.force,
        act: wanted.act,
    }));
    match (&wanted.order, wanted.step) {
        (Order::Retry { input: None }, None) => retry::all(draft)?,
        (Order::Retry { input: None }, Some(step)) => retry::step(draft, step, wanted.force)?,
        (Order::Retry { input: Some(input) }, Some(step)) => {
            retry::edited(draft, step, input, wanted.force)?
        }
        (Order::Skip, Some(step)) => skip::skip(draft, step, wanted.force)?,
        (Order::ResolveSucceeded { output }, Some(step)) => {
            resolve::succeeded(draft, step, output, wanted.force)?;
        }
        (Order::ResolveFailed, Some(step)) => resolve::failed(draft, step, wanted)?,
        (Order::Abandon, None) => {
            draft.record(Event::Abandoned {});
            draft.effects.push(Effect::Announce);
        }
        (Order::Acknowledge, None) => acknowledge(draft)?,
        (
            Order::Retry { input: Some(_) }
            | Order::Skip
            | Order::ResolveSucceeded { .. }
            | Order::ResolveFailed,
            None,
        ) => return Err(Unfit::StepNeeded.into()),
        (Order::Abandon | Order::Acknowledge, Some(_)) => return Err(Unfit::NoStepTaken.into()),
    }
    Ok(())
}

/// An operator takes note of what nothing else settles.
fn acknowledge(draft: &mut Draft<'_>) -> Result<(), Unfit> {
    let noted = |open: &OpenIncident| open.incident.kind.is_for_acknowledging();
    if !draft.state.incidents.iter().any(noted) {
        return Err(Unfit::NothingToAcknowledge);
    }
    draft.record(Event::Acknowledged {});
    Ok(())
}

/// The participant has proved that nothing of the round can happen any more.
pub(super) fn round_is_over(draft: &mut Draft<'_>, ix: StepIx, then: AfterSeal) {
    match then {
        AfterSeal::NewRound { input } => open_round(draft, ix, input, false),
        AfterSeal::Skip => {
            draft.record(Event::SkippedByWord(SkippedByWord {
                step: ix,
                unproven: false,
            }));
        }
        AfterSeal::Fail => {
            draft.record(Event::PivotSealed(AtStep { step: ix }));
            turn(draft, ix);
        }
    }
}

/// The saga goes back because an operator said that the step failed.
fn turn(draft: &mut Draft<'_>, ix: StepIx) {
    draft.settle_closing(ix);
    let error = ErrorBody::new("resolved", "an operator resolved the step as failed");
    draft.fail(Failure {
        cause: Cause::Operator,
        step: Some(ix),
        error,
    });
}

/// The step begins again under another key; `advance` sends it.
fn open_round(draft: &mut Draft<'_>, ix: StepIx, input: Option<Payload>, unproven: bool) {
    let round = draft.step(ix).round.saturating_add(1);
    draft.record(Event::RoundOpened(RoundOpened {
        step: ix,
        round,
        input,
        unproven,
    }));
}

/// Seals the round that may still be alive, and says what follows.
fn close_round(draft: &mut Draft<'_>, ix: StepIx, then: AfterSeal) -> Result<(), Unfit> {
    if draft.planned(ix).at_least_once {
        return Err(Unfit::NeedsForce {
            step: name(draft, ix),
        });
    }
    if draft.rules.keep(Rule::SealRound) {
        draft.record(Event::RoundClosing(RoundClosing { step: ix, then }));
    } else {
        round_is_over(draft, ix, then);
    }
    Ok(())
}

fn renew_budget(draft: &mut Draft<'_>, ix: StepIx, undo: bool) {
    draft.record(Event::BudgetRenewed(BudgetRenewed { step: ix, undo }));
}

fn name(draft: &Draft<'_>, ix: StepIx) -> String {
    draft.planned(ix).id.clone()
}

fn settled(draft: &Draft<'_>, ix: StepIx) -> Unfit {
    Unfit::Settled {
        step: name(draft, ix),
        status: status_word(draft.step(ix)).to_owned(),
    }
}

/// A step that the saga does not have to undo: never sent, or settled without effect.
fn nothing_to_undo(draft: &Draft<'_>, ix: StepIx) -> Unfit {
    let step = draft.step(ix);
    match step.action {
        ActionState::Pending
        | ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Asking { .. }
        | ActionState::Failed { .. } => Unfit::NothingToUndo {
            step: name(draft, ix),
        },
        ActionState::Skipped
        | ActionState::Succeeded(_)
        | ActionState::Refused(_)
        | ActionState::Sealed => settled(draft, ix),
    }
}

/// Does the data of the step's expressions need mending?
fn is_unmended(draft: &Draft<'_>, ix: StepIx) -> bool {
    draft.state.incidents.iter().any(|open| {
        open.incident.step == Some(ix) && open.incident.kind == IncidentKind::Expression
    })
}
