//! What must hold: after every decision, and at the end.

use saga_core::{
    Command, Decision, Effect, Event, SagaState, Status,
    command::outstanding,
    event::IncidentKind,
    input::Op,
    state::{ActionState, StepState, UndoState},
};
use saga_dsl::{
    definition::Kind,
    plan::{Plan, StepIx},
};

use super::participants::{Effects, Inboxes, Row};

/// A decision against the state before it.
pub fn decision(plan: &Plan, before: &SagaState, decision: &Decision) {
    let after = &decision.state;
    let grown = u64::from(!decision.events.is_empty());
    assert_eq!(after.seq, before.seq + grown, "I14: one decision, one row");
    if decision.events.is_empty() {
        assert_eq!(after, before, "what is not recorded does not change the state");
    }
    direction(plan, before, after);
    sends(plan, before, decision);
    for event in &decision.events {
        if let Event::UndoDispatched(undo) = event {
            undo_order(plan, after, undo.step);
        }
    }
    no_orphan(after);
    if after.status.is_end() {
        assert_eq!(after.next_due(), None);
        assert!(
            after.status == Status::Abandoned
                || outstanding(plan, after).iter().all(|c| c.op != Op::Compensation),
            "an end with an undo in flight"
        );
    }
}

/// I8, I11: forward, then backward, then the end; never backward over the pivot.
fn direction(plan: &Plan, before: &SagaState, after: &SagaState) {
    let allowed = match (before.status, after.status) {
        (Status::Running, _) => true,
        (Status::Compensating, to) => to != Status::Running && to != Status::Completed,
        (Status::Abandoned, to) => to == Status::Abandoned,
        (Status::Completed, to) => to == Status::Completed,
        (Status::Compensated, to) => to == Status::Compensated,
    };
    assert!(allowed, "I11: {:?} -> {:?}", before.status, after.status);
    if matches!(after.status, Status::Compensating | Status::Compensated) {
        assert_eq!(after.pivot_done(plan), None, "I8: back over the pivot");
        for (planned, step) in plan.steps.iter().zip(&after.steps) {
            if planned.kind == Kind::Pivot {
                assert!(!step.may_have_happened(), "I8: back from a pivot that may have happened");
            }
        }
    }
}

/// I18: what is sent is outstanding in the recorded state, and what became outstanding is sent.
fn sends(plan: &Plan, before: &SagaState, decision: &Decision) {
    let name = |c: &Command| (c.step, c.round, c.op, c.attempt);
    let now_out = outstanding(plan, &decision.state);
    let unsent = |step: StepIx| {
        decision.events.iter().any(|event| match event {
            Event::StepUnsent(e) | Event::UndoUnsent(e) => e.step == step,
            _ => false,
        })
    };
    let was_out: Vec<_> = outstanding(plan, before).iter().filter(|c| !unsent(c.step)).map(name).collect();
    let mut sent = Vec::new();
    for effect in &decision.effects {
        if let Effect::Send(command) = effect {
            assert!(now_out.contains(command), "I18: sent and not outstanding: {command:?}");
            let kind = plan.steps[command.step.at()].kind;
            match command.op {
                Op::Compensation => assert_eq!(kind, Kind::Compensatable, "I8: undo of {kind:?}"),
                Op::Query => assert_eq!(kind, Kind::Pivot, "only pivots are asked"),
                Op::Seal => {
                    let closing = decision.state.steps[command.step.at()].after_seal.is_some();
                    assert!(closing || kind == Kind::Pivot, "only pivots and closed rounds are sealed");
                }
                Op::Action => {
                    assert_eq!(decision.state.status, Status::Running, "nothing new on the way back");
                }
            }
            sent.push(name(command));
        }
    }
    for command in &now_out {
        let new = !was_out.contains(&name(command));
        assert_eq!(
            new,
            sent.contains(&name(command)),
            "new commands are sent, old ones are not: {command:?}"
        );
    }
}

/// I10: whatever depends on the step is settled before it is undone.
fn undo_order(plan: &Plan, state: &SagaState, of: StepIx) {
    let mut open: Vec<StepIx> = plan.steps[of.at()].before.clone();
    while let Some(ix) = open.pop() {
        let step = &state.steps[ix.at()];
        assert!(is_clear(plan, step, ix), "I10: step {} is undone before step {}", of.0, ix.0);
        open.extend(&plan.steps[ix.at()].before);
    }
}

/// Written without a look at `compensation.rs`.
fn is_clear(plan: &Plan, step: &StepState, ix: StepIx) -> bool {
    if matches!(step.action, ActionState::Sent { .. }) {
        return false;
    }
    let harmless = matches!(step.action, ActionState::Refused(_) | ActionState::Sealed)
        || matches!(step.undo, UndoState::Skipped)
        || (step.attempts == 0 && !matches!(step.action, ActionState::Succeeded(_)));
    let planned = &plan.steps[ix.at()];
    harmless || planned.compensation.is_none() || matches!(step.undo, UndoState::Done { .. })
}

/// I12: an open saga waits for something that comes.
fn no_orphan(state: &SagaState) {
    if state.status.is_end() || state.birth.is_none() {
        return;
    }
    let waits = state.steps.iter().any(|s| {
        matches!(s.undo, UndoState::Waiting { .. } | UndoState::Sent { .. })
            || matches!(
                s.action,
                ActionState::Waiting { .. } | ActionState::Sent { .. } | ActionState::Asking { .. }
            )
    });
    assert!(waits || state.next_due().is_some() || is_parked(state), "I12: nothing moves it: {state:#?}");
}

/// An operator was called for something that no machine mends.
pub fn is_parked(state: &SagaState) -> bool {
    state.incidents.iter().any(|open| match open.incident.kind {
        IncidentKind::UndoStuck
        | IncidentKind::RetriableRefused
        | IncidentKind::RetriableExhausted
        | IncidentKind::Expression
        | IncidentKind::PivotUnknown => true,
        IncidentKind::Slow
        | IncidentKind::UndoSlow
        | IncidentKind::Deadline
        | IncidentKind::Contradiction
        | IncidentKind::Internal => false,
    })
}

/// I1, I2, I4, I5, I7, I9: the ledger against what the saga says of itself.
pub fn ledger(plan: &Plan, state: &SagaState, inboxes: &Inboxes) {
    assert_eq!(inboxes.alarms, 0, "the orchestrator knew of an effect that was not there");
    for (at, (planned, step)) in plan.steps.iter().zip(&state.steps).enumerate() {
        let key = u16::try_from(at).expect("few steps");
        let id = &planned.id;
        for round in 1..=step.round {
            let effects = inboxes.ledger.get(&(key, round)).copied().unwrap_or_default();
            if !planned.at_least_once {
                assert!(effects.acted <= 1, "I1: {id}: {effects:?}");
                assert!(effects.undone <= effects.acted, "I2: {id}: {effects:?}");
            }
            let over = round < step.round;
            assert!(
                !over || state.exceptions || !effects.present,
                "{id}: a round that was closed has an effect"
            );
        }
        // What an operator said is his to answer for.
        if step.by_word || step.undo == UndoState::Skipped || (state.exceptions && step.round > 1) {
            assert!(state.exceptions, "{id}: a word that left no mark");
            continue;
        }
        let effects = inboxes.ledger.get(&(key, step.round)).copied().unwrap_or_default();
        if !planned.at_least_once {
            sticky(step, inboxes.rows.get(&(key, step.round)));
        }
        match state.status {
            Status::Completed => {
                assert!(completed(step, effects, planned.at_least_once), "I4: {id}: {effects:?}")
            }
            Status::Compensated => {
                let sent = step.attempts > 0;
                let settled = matches!(step.action, ActionState::Refused(_) | ActionState::Sealed);
                if planned.kind == Kind::Compensatable && planned.compensation.is_some() {
                    let undone = matches!(step.undo, UndoState::Done { .. });
                    assert!(
                        !sent || settled || undone,
                        "I9: {id} was sent and is neither refused nor undone"
                    );
                    assert!(!effects.present, "I5: {id}: {effects:?}");
                } else if planned.kind != Kind::Compensatable {
                    assert!(!effects.present, "I8: {id} took effect in a saga that went back");
                }
            }
            Status::Running | Status::Compensating | Status::Abandoned => {}
        }
    }
}

fn completed(step: &StepState, effects: Effects, at_least_once: bool) -> bool {
    match step.action {
        ActionState::Skipped => effects == Effects::default(),
        ActionState::Succeeded(_) if at_least_once => effects.present,
        ActionState::Succeeded(_) => (effects.acted, effects.undone) == (1, 0),
        _ => false,
    }
}

/// I7: what the saga believes is what the inbox says.
fn sticky(step: &StepState, row: Option<&Row>) {
    let agrees = match &step.action {
        ActionState::Succeeded(_) => matches!(row, Some(Row::Done(_) | Row::Compensated)),
        ActionState::Refused(_) => matches!(row, Some(Row::Refused(_) | Row::Tombstone)),
        ActionState::Sealed => matches!(row, Some(Row::Tombstone)),
        _ => true,
    };
    assert!(agrees, "I7: {:?} against {row:?}", step.action);
}
