//! A step's way forward: attempts, questions about them, and what their ends lead to.

use saga_dsl::{
    definition::Kind,
    expr::Budget,
    plan::{PlanStep, StepIx},
};

use crate::{
    command::{outstanding_at, timeout_ms},
    effect::Effect,
    error::ErrorBody,
    event::{
        AfterSeal, AtStep, AttemptEnded, Cause, Event, Failure, IncidentKind, PivotAsked,
        StepDispatched, StepErred, StepSucceeded, StepWaiting,
    },
    ground::{Op, Wait},
    ids::Timestamp,
    limits::{self, DOCUMENT_BYTES_MAX},
    payload::Payload,
    retry::{self, Ended},
    rules::Rule,
    scope::SagaScope,
    state::{ActionState, Ask, Status, StepState},
};

use super::{Draft, intervene};

/// How long a participant that says "in progress" is left alone at least, in milliseconds.
pub(super) const ASK_AGAIN_MS: u64 = 1_000;

/// The step's turn has come, for the first time or again: ask, send, or wait.
pub(super) fn begin_attempt(draft: &mut Draft<'_>, ix: StepIx) {
    let planned = draft.planned(ix);
    // An attempt of a pivot whose outcome is open may have charged the card: ask before trying again.
    let ask_first = draft.rules.keep(Rule::AskBeforeRetry);
    if planned.kind == Kind::Pivot && draft.step(ix).unclear && !planned.at_least_once && ask_first
    {
        ask(draft, ix, false);
    } else {
        send_attempt(draft, ix);
    }
}

/// Sends the next attempt if the gate lets it.
pub(super) fn send_attempt(draft: &mut Draft<'_>, ix: StepIx) {
    let planned = draft.planned(ix);
    let (participant, action) = (&planned.action.participant, &planned.action.action);
    if let Err(reason) = draft.may_send(participant, action, Op::Action, planned.at_least_once) {
        wait(draft, ix, reason);
        return;
    }
    if let Some(error) = too_late(draft, ix) {
        give_up(draft, ix, Event::StepFailed, error, Cause::Exhausted);
        return;
    }
    let input = match &draft.step(ix).input {
        None => match evaluate_input(draft, planned) {
            Ok(input) => Some(input),
            Err(error) => {
                draft.fail(Failure {
                    cause: Cause::Expression,
                    step: Some(ix),
                    error,
                });
                return;
            }
        },
        Some(stored) => {
            if let Some(error) = limits::unsendable(stored) {
                give_up(draft, ix, Event::StepFailed, error, Cause::Exhausted);
                return;
            }
            None
        }
    };
    let mortal = draft.step(ix).not_after.is_none();
    let latest = draft
        .gate
        .latest
        .map_or(draft.now, |latest| latest.max(draft.now));
    let event = StepDispatched {
        step: ix,
        attempt: draft.step(ix).attempts.saturating_add(1),
        input,
        due: draft.now.plus_ms(planned.action.timeout_ms),
        not_after: if mortal {
            planned.lifetime_ms.map(|ms| latest.plus_ms(ms))
        } else {
            None
        },
        escalate_at: escalate_at(draft, ix),
    };
    draft.record(Event::StepDispatched(event));
    draft.take_room(participant, action);
    emit(draft, ix);
}

/// Time that passes while a step waits for its participant counts, too.
fn too_late(draft: &Draft<'_>, ix: StepIx) -> Option<ErrorBody> {
    let step = draft.step(ix);
    let elapsed = draft.planned(ix).action.retry.max_elapsed_ms;
    let begun = step.budget.since.or(step.first_sent);
    let last = begun
        .zip(elapsed)
        .map(|(begun, elapsed_ms)| begun.plus_ms(elapsed_ms));
    if step.not_after.is_some_and(|limit| limit <= draft.now) {
        Some(ErrorBody::new(
            "expired",
            "the lifetime of the step's key has passed",
        ))
    } else if step.attempts > 0 && last.is_some_and(|last| last < draft.now) {
        Some(ErrorBody::new(
            "elapsed",
            "the time for attempts (`max_elapsed`) has passed",
        ))
    } else {
        None
    }
}

/// The query found no trace, so the next attempt is due; where the participant is there but may not be sent
/// the action, it is asked again later.
pub(super) fn absent(draft: &mut Draft<'_>, ix: StepIx) {
    let planned = draft.planned(ix);
    let (participant, action) = (&planned.action.participant, &planned.action.action);
    let admit = |op| draft.may_send(participant, action, op, planned.at_least_once);
    match (admit(Op::Action), admit(Op::Query)) {
        (Err(reason), Ok(())) => {
            ask_unclear(
                draft,
                ix,
                ErrorBody::new("waiting", reason.to_string()),
                ASK_AGAIN_MS,
            );
        }
        (Ok(()) | Err(_), _) => send_attempt(draft, ix),
    }
}

fn evaluate_input(draft: &Draft<'_>, planned: &PlanStep) -> Result<Payload, ErrorBody> {
    let scope = SagaScope {
        plan: draft.plan,
        state: &draft.state,
        own: None,
    };
    let what = || format!("input of `{}`", planned.id);
    let input = planned.action.input.eval(&scope, &mut Budget::default());
    let input =
        input.map_err(|error| ErrorBody::new("expression", format!("{}: {error}", what())))?;
    limits::check(what, input.text().len(), DOCUMENT_BYTES_MAX)?;
    Ok(input)
}

/// The command that has just become outstanding.
pub(super) fn emit(draft: &mut Draft<'_>, ix: StepIx) {
    if let Some(command) = outstanding_at(draft.plan, &draft.state, ix) {
        draft.effects.push(Effect::Send(command));
    }
}

/// When the alarm rings, said once: by the first event of a step, unless an operator was called already.
fn escalate_at(draft: &Draft<'_>, ix: StepIx) -> Option<Timestamp> {
    let told = draft
        .state
        .incidents
        .iter()
        .any(|open| open.incident.step == Some(ix));
    let armed = draft.step(ix).escalate_at.is_some() || told;
    (!armed).then(|| draft.now.plus_ms(draft.planned(ix).escalate_after_ms))
}

fn wait(draft: &mut Draft<'_>, ix: StepIx, reason: Wait) {
    let planned = draft.planned(ix);
    let stands =
        matches!(&draft.step(ix).action, ActionState::Waiting { reason: r, .. } if *r == reason);
    if !stands {
        let escalate_at = escalate_at(draft, ix);
        draft.record(Event::StepWaiting(StepWaiting {
            step: ix,
            reason,
            escalate_at,
        }));
    }
    if !reason.is_guarded() {
        draft.effects.push(Effect::Await {
            participant: planned.action.participant.clone(),
        });
    }
}

/// Asks what became of the pivot; with `seal`, makes sure that it never happens if it has not.
pub(super) fn ask(draft: &mut Draft<'_>, ix: StepIx, seal: bool) {
    let planned = draft.planned(ix);
    let (participant, action) = (&planned.action.participant, &planned.action.action);
    let op = if seal { Op::Seal } else { Op::Query };
    if let Err(reason) = draft.may_send(participant, action, op, planned.at_least_once) {
        // A seal that cannot be sent stays a seal; a query that cannot be sent waits as the attempt would.
        if !seal {
            wait(draft, ix, reason);
            return;
        }
        if !matches!(
            draft.step(ix).action,
            ActionState::Asking {
                seal: true,
                ask: Ask::Waiting
            }
        ) {
            let error = ErrorBody::new("unreachable", reason.to_string());
            let ended = AttemptEnded {
                step: ix,
                attempt: draft.step(ix).asks,
                error,
                retry_at: None,
                uncharged: false,
            };
            draft.record(Event::PivotUnclear(ended));
        }
        draft.effects.push(Effect::Await {
            participant: participant.clone(),
        });
        return;
    }
    let due = draft.now.plus_ms(timeout_ms(draft.plan, ix, op));
    let seal = seal && draft.rules.keep(Rule::SealPivot);
    let asked = PivotAsked {
        step: ix,
        ask: draft.step(ix).asks.saturating_add(1),
        seal,
        due,
    };
    draft.record(Event::PivotAsked(asked));
    emit(draft, ix);
}

/// A question brought nothing: ask again later.
pub(super) fn ask_unclear(draft: &mut Draft<'_>, ix: StepIx, error: ErrorBody, delay_ms_min: u64) {
    let policy = &draft.planned(ix).action.retry;
    let asks = draft.step(ix).asks;
    let delay_ms = retry::delay_ms(policy, asks, retry::seed(draft.state.id, ix, false));
    let wanted_ms = error.retry_after_ms.unwrap_or(0).max(delay_ms_min);
    let retry_at = Some(draft.now.plus_ms(delay_ms.max(wanted_ms)));
    draft.record(Event::PivotUnclear(AttemptEnded {
        step: ix,
        attempt: asks,
        error,
        retry_at,
        uncharged: false,
    }));
}

/// An attempt was rolled back.
pub(super) fn attempt_failed(draft: &mut Draft<'_>, ix: StepIx, error: ErrorBody) {
    attempt_ended(draft, ix, Event::StepFailed, error);
}

/// Nobody can say what became of an attempt.
pub(super) fn attempt_unknown(draft: &mut Draft<'_>, ix: StepIx, error: ErrorBody) {
    attempt_ended(draft, ix, Event::StepUnknown, error);
}

fn attempt_ended(
    draft: &mut Draft<'_>,
    ix: StepIx,
    event: fn(AttemptEnded) -> Event,
    error: ErrorBody,
) {
    let planned = draft.planned(ix);
    let step = draft.step(ix);
    let ended = Ended {
        attempts: step.attempts - step.budget.from.min(step.attempts),
        first_sent: step.budget.since.or(step.first_sent).unwrap_or(draft.now),
        now: draft.now,
        error: &error,
        not_after: step.not_after,
    };
    let seed = retry::seed(draft.state.id, ix, false);
    let retry_at = match draft.state.status {
        Status::Running => retry::next_attempt(&planned.action.retry, &ended, seed),
        Status::Compensating | Status::Completed | Status::Compensated | Status::Abandoned => None,
    };
    match retry_at {
        Some(_) => {
            let attempt = step.attempts;
            draft.record(event(AttemptEnded {
                step: ix,
                attempt,
                error,
                retry_at,
                uncharged: false,
            }));
        }
        None => give_up(draft, ix, event, error, Cause::Exhausted),
    }
}

/// There is no further attempt: the step is at rest, and the saga goes back if it was going forward.
pub(super) fn give_up(
    draft: &mut Draft<'_>,
    ix: StepIx,
    event: fn(AttemptEnded) -> Event,
    error: ErrorBody,
    cause: Cause,
) {
    let attempt = draft.step(ix).attempts;
    draft.record(event(AttemptEnded {
        step: ix,
        attempt,
        error: error.clone(),
        retry_at: None,
        uncharged: false,
    }));
    draft.fail(Failure {
        cause,
        step: Some(ix),
        error,
    });
}

/// The action took effect.
pub(super) fn succeeded(draft: &mut Draft<'_>, ix: StepIx, attempt: u32, output: Payload) {
    if draft.step(ix).after_seal.is_some() {
        draft.record(Event::RoundOvertaken(AtStep { step: ix }));
    }
    draft.record(Event::StepSucceeded(StepSucceeded {
        step: ix,
        attempt,
        output,
    }));
    draft.settle_closing(ix);
}

/// The action took effect, and its output cannot be taken. A step with an undo is tried again and in the end undone, as
/// one of unknown outcome is. Without a way back an operator has to give the output: the inbox stores the answer, so a
/// further attempt or question would bring the same one.
pub(super) fn output_not_taken(draft: &mut Draft<'_>, ix: StepIx, current: bool, error: ErrorBody) {
    let kind = draft.planned(ix).kind;
    if kind == Kind::Compensatable && !current {
        return;
    }
    if draft.step(ix).after_seal.is_some() {
        draft.record(Event::RoundOvertaken(AtStep { step: ix }));
    }
    match kind {
        Kind::Compensatable => attempt_unknown(draft, ix, error),
        Kind::Pivot | Kind::Retriable => {
            let attempt = draft.step(ix).attempts;
            let ended = AttemptEnded {
                step: ix,
                attempt,
                error: error.clone(),
                retry_at: None,
                uncharged: false,
            };
            draft.record(Event::StepUnknown(ended));
            draft.raise(Some(ix), IncidentKind::OutputNotTaken, error);
            draft.settle_closing(ix);
        }
    }
}

/// A business no.
pub(super) fn refused(draft: &mut Draft<'_>, ix: StepIx, attempt: u32, error: ErrorBody) {
    match draft.step(ix).after_seal.clone() {
        Some(then @ (AfterSeal::NewRound { .. } | AfterSeal::Skip)) => {
            intervene::round_is_over(draft, ix, then);
            return;
        }
        // The operator said that it failed, and so it did.
        Some(AfterSeal::Fail) | None => {}
    }
    draft.record(Event::StepRefused(StepErred {
        step: ix,
        attempt,
        error: error.clone(),
    }));
    draft.settle_closing(ix);
    draft.fail(Failure {
        cause: Cause::Refused,
        step: Some(ix),
        error,
    });
}

/// The step has not happened and never will.
pub(super) fn sealed(draft: &mut Draft<'_>, ix: StepIx) {
    if let Some(then) = draft.step(ix).after_seal.clone() {
        intervene::round_is_over(draft, ix, then);
        return;
    }
    draft.record(Event::PivotSealed(AtStep { step: ix }));
    draft.settle_closing(ix);
    let error = ErrorBody::new("sealed", "the pivot was sealed before it took effect");
    draft.fail(Failure {
        cause: Cause::Exhausted,
        step: Some(ix),
        error,
    });
}

/// May `step` still be settled by an answer to an earlier attempt?
pub(super) fn is_open(step: &StepState) -> bool {
    match step.action {
        ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Waiting { .. }
        | ActionState::Asking { .. }
        | ActionState::Failed { .. } => step.attempts > 0,
        ActionState::Pending
        | ActionState::Skipped
        | ActionState::Succeeded(_)
        | ActionState::Refused(_)
        | ActionState::Sealed => false,
    }
}
