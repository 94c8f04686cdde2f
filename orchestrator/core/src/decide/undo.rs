//! A step's way back.

use saga_dsl::{expr::Budget, plan::StepIx};
use serde_json::value::RawValue;

use crate::{
    command::step_key,
    effect::Effect,
    error::ErrorBody,
    event::{AttemptEnded, Event, IncidentKind, StepErred, UndoDispatched, UndoDone, UndoWaiting},
    ground::{Op, Wait},
    ids::Timestamp,
    limits::{self, UNDO_BYTES_MAX},
    payload::Payload,
    retry::{self, Ended},
    rules::Rule,
    scope::SagaScope,
    state::{ActionState, OpenIncident, UndoState},
};

use super::{
    Draft,
    forward::{ASK_AGAIN_MS, emit},
};

/// Sends the undo of a step if the gate lets it.
pub(super) fn send(draft: &mut Draft<'_>, ix: StepIx) {
    let planned = draft.planned(ix);
    let Some(compensation) = &planned.compensation else {
        return;
    };
    let step = draft.step(ix);
    let known_done = matches!(step.action, ActionState::Succeeded(_)) && !step.by_word;
    // No inbox would catch an earlier attempt that arrives after the undo.
    let may_arrive = step
        .not_after
        .filter(|limit| planned.at_least_once && step.unclear && *limit > draft.now);
    if may_arrive.is_some() && draft.rules.keep(Rule::UndoAfterLifetime) {
        wait(draft, ix, Wait::ActionMayArrive, may_arrive);
        return;
    }
    let (participant, action) = (&compensation.participant, &compensation.action);
    if let Err(reason) =
        draft.may_send(participant, action, Op::Compensation, planned.at_least_once)
    {
        wait(draft, ix, reason, None);
        if !reason.is_guarded() {
            draft.effects.push(Effect::Await {
                participant: participant.clone(),
            });
        }
        return;
    }
    let stored = step
        .undo_input
        .as_ref()
        .filter(|_| draft.rules.keep(Rule::EvaluateOnce));
    let first = stored.is_none();
    let input = match stored {
        None => payload(draft, ix).map(Some),
        Some(stored) => limits::unsendable(stored).map_or(Ok(None), Err),
    };
    let input = match input {
        Ok(input) => input,
        Err(error) => {
            stuck(draft, ix, 0, error);
            return;
        }
    };
    let event = UndoDispatched {
        step: ix,
        attempt: draft.step(ix).undo_attempts.saturating_add(1),
        input,
        // Fixed with the first sending, so that every sending is the same command.
        known_done: if first {
            known_done
        } else {
            draft.step(ix).undo_known
        },
        due: draft.now.plus_ms(compensation.timeout_ms),
        escalate_at: escalate_at(draft, ix),
    };
    draft.record(Event::UndoDispatched(event));
    draft.take_room(participant, action);
    emit(draft, ix);
}

/// The file's own payload, or `{input, output?, action_key}`.
fn payload(draft: &Draft<'_>, ix: StepIx) -> Result<Payload, ErrorBody> {
    #[derive(serde::Serialize)]
    struct Default<'a> {
        input: Option<&'a Payload>,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<&'a Payload>,
        action_key: String,
    }
    let planned = draft.planned(ix);
    let what = || format!("payload of the compensation of `{}`", planned.id);
    let wrong = |why: String| {
        ErrorBody::new(
            "expression",
            format!("compensation of `{}`: {why}", planned.id),
        )
    };
    if let Some(template) = planned.compensation.as_ref().and_then(|c| c.input.as_ref()) {
        let scope = SagaScope {
            plan: draft.plan,
            state: &draft.state,
            own: Some(ix),
        };
        let payload = template.eval(&scope, &mut Budget::default());
        let payload = payload.map_err(|error| wrong(error.to_string()))?;
        limits::check(what, payload.text().len(), UNDO_BYTES_MAX)?;
        return Ok(payload);
    }
    let step = draft.step(ix);
    let output = match &step.action {
        ActionState::Succeeded(output) => Some(output),
        ActionState::Pending
        | ActionState::Skipped
        | ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Asking { .. }
        | ActionState::Refused(_)
        | ActionState::Failed { .. }
        | ActionState::Sealed => None,
    };
    let body = Default {
        input: step.input.as_ref(),
        output,
        action_key: step_key(draft.plan, &draft.state, ix),
    };
    let text: Box<RawValue> =
        serde_json::value::to_raw_value(&body).map_err(|error| wrong(error.to_string()))?;
    limits::check(what, text.get().len(), UNDO_BYTES_MAX)?;
    Payload::from_bytes(text.get().as_bytes()).map_err(|error| wrong(error.to_string()))
}

fn wait(draft: &mut Draft<'_>, ix: StepIx, reason: Wait, until: Option<Timestamp>) {
    let stands =
        matches!(&draft.step(ix).undo, UndoState::Waiting { reason: r, .. } if *r == reason);
    if stands {
        return;
    }
    // A planned wait is no cause for alarm; the alarm is set when it is over.
    let escalate_at = if until.is_some() {
        None
    } else {
        escalate_at(draft, ix)
    };
    draft.record(Event::UndoWaiting(UndoWaiting {
        step: ix,
        reason,
        until,
        escalate_at,
    }));
}

/// When the alarm of the undo rings, said once: by its first event, unless it rang before.
fn escalate_at(draft: &Draft<'_>, ix: StepIx) -> Option<Timestamp> {
    let after_ms = draft.planned(ix).compensation.as_ref()?.escalate_after_ms;
    let told = |open: &OpenIncident| {
        open.incident.step == Some(ix)
            && matches!(
                open.incident.kind,
                IncidentKind::UndoSlow | IncidentKind::UndoStuck
            )
    };
    let armed = draft.step(ix).escalate_at.is_some() || draft.state.incidents.iter().any(told);
    (!armed).then(|| draft.now.plus_ms(after_ms))
}

/// An attempt to undo ended without undoing, or nobody can say.
pub(super) fn attempt_ended(draft: &mut Draft<'_>, ix: StepIx, error: ErrorBody) {
    let Some(compensation) = &draft.planned(ix).compensation else {
        return;
    };
    let step = draft.step(ix);
    let attempt = step.undo_attempts;
    let ended = Ended {
        attempts: attempt - step.undo_budget.from.min(attempt),
        first_sent: step
            .undo_budget
            .since
            .or(step.undo_first_sent)
            .unwrap_or(draft.now),
        now: draft.now,
        error: &error,
        not_after: None,
    };
    match retry::next_attempt(
        &compensation.retry,
        &ended,
        retry::seed(draft.state.id, ix, true),
    ) {
        Some(due) => {
            let ended = AttemptEnded {
                step: ix,
                attempt,
                error,
                retry_at: Some(due),
                uncharged: false,
            };
            draft.record(Event::UndoFailed(ended));
        }
        None => stuck(draft, ix, attempt, error),
    }
}

/// The action is still in progress, so it cannot be undone yet. That is not the undo's failure: no budget ends it, and
/// the attempts that follow have the whole budget.
pub(super) fn in_progress(draft: &mut Draft<'_>, ix: StepIx) {
    let Some(compensation) = &draft.planned(ix).compensation else {
        return;
    };
    let attempt = draft.step(ix).undo_attempts;
    let delay = retry::delay_ms(
        &compensation.retry,
        attempt,
        retry::seed(draft.state.id, ix, true),
    );
    let retry_at = Some(draft.now.plus_ms(delay.max(ASK_AGAIN_MS)));
    let error = ErrorBody::new("running", "the action is still in progress");
    draft.record(Event::UndoFailed(AttemptEnded {
        step: ix,
        attempt,
        error,
        retry_at,
        uncharged: true,
    }));
}

/// No machine can undo it.
pub(super) fn stuck(draft: &mut Draft<'_>, ix: StepIx, attempt: u32, error: ErrorBody) {
    draft.record(Event::UndoStuck(StepErred {
        step: ix,
        attempt,
        error: error.clone(),
    }));
    draft.raise(Some(ix), IncidentKind::UndoStuck, error);
}

/// Undone, or there was nothing to undo.
pub(super) fn done(draft: &mut Draft<'_>, ix: StepIx, attempt: u32, nothing_to_do: bool) {
    draft.record(Event::UndoDone(UndoDone {
        step: ix,
        attempt,
        nothing_to_do,
    }));
}
