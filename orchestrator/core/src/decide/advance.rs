//! What follows from where the saga stands, whatever the input was: the next steps, the next undos, the end.

use std::collections::BTreeMap;

use saga_dsl::{
    expr::Budget,
    plan::{Plan, StepIx},
};

use crate::{
    compensation,
    effect::Effect,
    error::ErrorBody,
    event::{AtStep, Cause, Event, Failure},
    limits::{self, DOCUMENT_BYTES_MAX},
    payload::{self, Payload},
    scope::SagaScope,
    state::{ActionState, Ask, SagaState, Status, UndoState},
};

use super::{Draft, forward, undo};

pub(super) fn advance(draft: &mut Draft<'_>) {
    if draft.state.birth.is_none() {
        return;
    }
    if draft.state.status == Status::Running {
        run(draft);
    }
    if draft.state.status == Status::Compensating {
        compensate(draft);
    }
}

fn run(draft: &mut Draft<'_>) {
    let closing = draft.state.closing.is_some();
    pass(draft);
    // A pivot whose time ran out while it waited is given up in the pass itself, and now has to be settled.
    if !closing && draft.state.closing.is_some() {
        pass(draft);
    }
    if draft.state.status == Status::Running
        && draft
            .state
            .steps
            .iter()
            .all(|s| is_forward_settled(&s.action))
    {
        complete(draft);
    }
}

/// Steps stand in an order that respects their dependencies, so one pass reaches everything that became ready.
fn pass(draft: &mut Draft<'_>) {
    for ix in draft.indices() {
        if draft.state.status != Status::Running {
            return;
        }
        match draft.step(ix).action {
            ActionState::Pending if draft.state.may_begin(ix) && is_ready(draft, ix) => {
                begin(draft, ix)
            }
            ActionState::Waiting { .. } if draft.state.may_begin(ix) => {
                forward::begin_attempt(draft, ix)
            }
            ActionState::Asking {
                seal,
                ask: Ask::Waiting,
            } => forward::ask(draft, ix, seal),
            ActionState::Pending
            | ActionState::Skipped
            | ActionState::Waiting { .. }
            | ActionState::Sent { .. }
            | ActionState::BackingOff { .. }
            | ActionState::Asking { .. }
            | ActionState::Succeeded(_)
            | ActionState::Refused(_)
            | ActionState::Failed { .. }
            | ActionState::Sealed => {}
        }
    }
}

fn is_ready(draft: &Draft<'_>, ix: StepIx) -> bool {
    draft
        .planned(ix)
        .after
        .iter()
        .all(|before| is_forward_settled(&draft.step(*before).action))
}

fn is_forward_settled(action: &ActionState) -> bool {
    match action {
        ActionState::Succeeded(_) | ActionState::Skipped => true,
        ActionState::Pending
        | ActionState::Waiting { .. }
        | ActionState::Sent { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Asking { .. }
        | ActionState::Refused(_)
        | ActionState::Failed { .. }
        | ActionState::Sealed => false,
    }
}

fn begin(draft: &mut Draft<'_>, ix: StepIx) {
    let planned = draft.planned(ix);
    // Decided once: a further round repeats a step that was selected, and an operator who gave its input wants it.
    let step = draft.step(ix);
    if step.round > 1 || step.input.is_some() {
        forward::begin_attempt(draft, ix);
        return;
    }
    let scope = SagaScope {
        plan: draft.plan,
        state: &draft.state,
        own: None,
    };
    let mut budget = Budget::default();
    let selected = planned.guards.iter().try_fold(true, |all, guard| {
        // An outer condition that is false shields the inner ones from being looked at.
        if all {
            guard.eval_bool(&scope, &mut budget)
        } else {
            Ok(false)
        }
    });
    match selected {
        Ok(true) => forward::begin_attempt(draft, ix),
        Ok(false) => draft.record(Event::StepSkipped(AtStep { step: ix })),
        Err(error) => {
            let error = ErrorBody::new(
                "expression",
                format!("condition of `{}`: {error}", planned.id),
            );
            draft.fail(Failure {
                cause: Cause::Expression,
                step: Some(ix),
                error,
            });
        }
    }
}

fn complete(draft: &mut Draft<'_>) {
    let (output, error) = match output(draft) {
        Ok(output) => (Some(output), None),
        // Every effect stands; only the summary is missing, and it says why.
        Err(error) => (None, Some(error)),
    };
    draft.record(Event::Completed { output, error });
    draft.effects.push(Effect::Announce);
}

fn output(draft: &Draft<'_>) -> Result<Payload, ErrorBody> {
    let scope = SagaScope {
        plan: draft.plan,
        state: &draft.state,
        own: None,
    };
    let Some(template) = &draft.plan.output else {
        return default_output(draft.plan, &draft.state);
    };
    let output = template
        .eval(&scope, &mut Budget::default())
        .map_err(|error| ErrorBody::new("expression", format!("output: {error}")))?;
    limits::check(
        || "output".to_owned(),
        output.text().len(),
        DOCUMENT_BYTES_MAX,
    )?;
    Ok(output)
}

/// The outputs of the steps that stand in no group, by id, each as its participant wrote it.
fn default_output(plan: &Plan, state: &SagaState) -> Result<Payload, ErrorBody> {
    let mut outputs: BTreeMap<&str, &Payload> = BTreeMap::new();
    for (planned, step) in plan.steps.iter().zip(&state.steps) {
        if let (true, ActionState::Succeeded(output)) = (planned.groups.is_empty(), &step.action) {
            outputs.insert(planned.id.as_str(), output);
        }
    }
    let what = || {
        "the outputs of all steps together, which are the saga's output where its file has no `output:`"
            .to_owned()
    };
    // Looked at before it is put together: 200 steps may have returned a document each.
    let bytes = outputs.values().map(|output| output.text().len()).sum();
    limits::check(what, bytes, DOCUMENT_BYTES_MAX)?;
    let output = serde_json::to_string(&outputs)
        .map_err(payload::NotJson::from)
        .and_then(Payload::from_text)
        .map_err(|error| ErrorBody::new("expression", format!("output: {error}")))?;
    limits::check(what, output.text().len(), DOCUMENT_BYTES_MAX)?;
    Ok(output)
}

fn compensate(draft: &mut Draft<'_>) {
    // Undo that waits is tried again; it may be due, or the gate may have opened.
    for ix in compensation::due(draft.rules, draft.plan, &draft.state) {
        match draft.step(ix).undo {
            UndoState::None | UndoState::Waiting { .. } => undo::send(draft, ix),
            UndoState::Sent { .. }
            | UndoState::BackingOff { .. }
            | UndoState::Done { .. }
            | UndoState::Skipped
            | UndoState::Stuck { .. } => {}
        }
    }
    if compensation::is_over(draft.rules, draft.plan, &draft.state) {
        draft.record(Event::Compensated {});
        draft.effects.push(Effect::Announce);
    }
}
