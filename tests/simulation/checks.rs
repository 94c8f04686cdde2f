//! What must hold: of every row that is committed, and of the ledger at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use saga_core::{
    Event, Op, SagaState, Status, Timestamp,
    command::outstanding,
    event::IncidentKind,
    state::{ActionState, StepState, UndoState},
};
use saga_dsl::{
    definition::Kind,
    plan::{Plan, StepIx},
};
use saga_participant::inbox::barrier::RowState;
use saga_server::story::{advice, fold::Picture};

use super::{
    participants::{Effects, Inboxes, Row},
    story::{Violation, ensure},
};

type Checked = Result<(), Violation>;

/// A committed decision, between the states before and after it.
pub fn decision(plan: &Plan, before: &SagaState, events: &[Event], after: &SagaState) -> Checked {
    ensure!(!events.is_empty(), "I14", "a row without events");
    // An operator may take note of what an end has left; that moves nothing.
    let notes = matches!(events, [Event::Intervened(_), Event::Acknowledged {}]);
    ensure!(
        !before.status.is_end() || (notes && before.status == after.status),
        "I11",
        "{events:?} moved an ended saga"
    );
    direction(plan, before, after)?;
    dispatches(plan, before, events, after)?;
    no_orphan(after)?;
    if after.status.is_end() {
        ensure!(
            after.next_due().is_none(),
            "I12",
            "an end with a timer: {after:#?}"
        );
        let undos = outstanding(plan, after)
            .into_iter()
            .filter(|c| c.op == Op::Compensation)
            .count();
        ensure!(
            undos == 0 || after.status == Status::Abandoned,
            "I5",
            "an end with {undos} undos in flight"
        );
    }
    if after.status == Status::Compensated {
        for (planned, step) in plan.steps.iter().zip(&after.steps) {
            let settled = matches!(step.action, ActionState::Refused(_) | ActionState::Sealed);
            let undone = matches!(step.undo, UndoState::Done { .. } | UndoState::Skipped);
            let undoable = planned.kind == Kind::Compensatable && planned.compensation.is_some();
            ensure!(
                !undoable || settled || undone || step.attempts == 0,
                "I9",
                "{} was sent and is neither refused nor undone: {step:?}",
                planned.id
            );
        }
    }
    Ok(())
}

/// An operator's word stands in it where a proof was not to be had.
pub fn is_by_word(event: &Event) -> bool {
    match event {
        Event::SkippedByWord(_)
        | Event::SucceededByWord(_)
        | Event::SealedByWord(_)
        | Event::UndoneByWord(_)
        | Event::Abandoned {} => true,
        Event::RoundOpened(opened) => opened.unproven,
        _ => false,
    }
}

/// I28: a promise that was broken shows until an operator has acknowledged it, whatever else becomes of the saga.
pub fn broken_promises(
    unacknowledged: &mut BTreeSet<Option<StepIx>>,
    events: &[Event],
    after: &SagaState,
) -> Checked {
    for event in events {
        match event {
            Event::IncidentRaised(raised) if raised.kind == IncidentKind::Contradiction => {
                unacknowledged.insert(raised.step);
            }
            Event::Acknowledged {} => unacknowledged.clear(),
            _ => {}
        }
    }
    for step in unacknowledged.iter() {
        let shown = after.incidents.iter().any(|open| {
            open.incident.kind == IncidentKind::Contradiction && open.incident.step == *step
        });
        ensure!(
            shown && after.exceptions,
            "I28",
            "a contradiction at {step:?} does not show: {after:#?}"
        );
    }
    Ok(())
}

/// I13: whatever an operator is called for, `saga describe` names a command that is accepted where the saga stands.
pub fn advice(plan: &Arc<Plan>, state: &SagaState, at: Timestamp) -> Checked {
    if state.status.is_end() || !is_parked(state) {
        return Ok(());
    }
    let picture = Picture {
        plan: Arc::clone(plan),
        state: state.clone(),
        troubles: Vec::new(),
        held: BTreeMap::new(),
        stalled: [].into(),
        turned_at: None,
    };
    // What stood in the way forward no longer stands in the way of a saga that goes back.
    let back = state.status == Status::Compensating;
    let stops = |kind| calls(kind) && (!back || kind == IncidentKind::UndoStuck);
    for open in state
        .incidents
        .iter()
        .filter(|open| stops(open.incident.kind))
    {
        let helps = !advice::remedies(&picture, open, at).is_empty();
        ensure!(
            helps,
            "I13",
            "no command is accepted for {open:?}: {state:#?}"
        );
    }
    Ok(())
}

/// I8, I11: forward, then backward, then the end; never backward over the pivot.
fn direction(plan: &Plan, before: &SagaState, after: &SagaState) -> Checked {
    let allowed = match (before.status, after.status) {
        (Status::Running, _) => true,
        (Status::Compensating, to) => to != Status::Running && to != Status::Completed,
        (Status::Completed, to) => to == Status::Completed,
        (Status::Compensated, to) => to == Status::Compensated,
        (Status::Abandoned, to) => to == Status::Abandoned,
    };
    ensure!(allowed, "I11", "{:?} -> {:?}", before.status, after.status);
    if matches!(after.status, Status::Compensating | Status::Compensated) {
        ensure!(
            after.pivot_done(plan).is_none(),
            "I8",
            "back over the pivot {:?}",
            after.pivot_done(plan)
        );
        for (planned, step) in plan.steps.iter().zip(&after.steps) {
            let open = planned.kind == Kind::Pivot && step.may_have_happened();
            ensure!(
                !open,
                "I8",
                "back from the pivot {} that may have happened: {step:?}",
                planned.id
            );
        }
    }
    Ok(())
}

/// I8, I10, I11: what may be sent, and when.
fn dispatches(plan: &Plan, before: &SagaState, events: &[Event], after: &SagaState) -> Checked {
    for event in events {
        match event {
            Event::UndoDispatched(undo) => {
                let planned = &plan.steps[undo.step.at()];
                ensure!(
                    planned.kind == Kind::Compensatable,
                    "I8",
                    "undo of {}",
                    planned.id
                );
                let own = &after.steps[undo.step.at()];
                let in_flight = matches!(own.action, ActionState::Sent { .. });
                ensure!(
                    !in_flight,
                    "I10",
                    "{} is undone while its action is in flight",
                    planned.id
                );
                undo_order(plan, after, undo.step)?;
            }
            Event::PivotAsked(asked) => {
                let planned = &plan.steps[asked.step.at()];
                // The same decision may turn the saga back, and then no round is closed any more.
                let closes = |state: &SagaState| {
                    state
                        .steps
                        .get(asked.step.at())
                        .is_some_and(|step| step.after_seal.is_some())
                };
                let closing = asked.seal && (closes(after) || closes(before));
                let may = closing || planned.kind == Kind::Pivot;
                ensure!(
                    may,
                    "I8",
                    "{} is asked, and is no pivot and no round is closed",
                    planned.id
                );
            }
            Event::StepDispatched(sent) => {
                let (planned, was) = (
                    &plan.steps[sent.step.at()],
                    before.steps.get(sent.step.at()),
                );
                let unasked = was.is_some_and(|was| {
                    planned.kind == Kind::Pivot
                        && !planned.at_least_once
                        && was.unclear
                        && was.round == after.steps[sent.step.at()].round
                        && !matches!(was.action, ActionState::Asking { .. })
                });
                ensure!(
                    !unasked,
                    "I8",
                    "{} of unknown outcome is tried again unasked",
                    planned.id
                );
            }
            _ => {}
        }
    }
    if after.status == Status::Compensating {
        for ((planned, was), is) in plan.steps.iter().zip(&before.steps).zip(&after.steps) {
            let new = is.attempts > was.attempts
                && is.round == was.round
                && matches!(is.action, ActionState::Sent { .. });
            ensure!(!new, "I11", "{} begins on the way back", planned.id);
        }
    }
    Ok(())
}

/// I10: whatever depends on the step is settled before it is undone.
fn undo_order(plan: &Plan, state: &SagaState, of: StepIx) -> Checked {
    let mut open: Vec<StepIx> = plan.steps[of.at()].before.clone();
    while let Some(ix) = open.pop() {
        let step = &state.steps[ix.at()];
        ensure!(
            is_clear(plan, step, ix),
            "I10",
            "step {} is undone before step {}",
            of.0,
            ix.0
        );
        open.extend(&plan.steps[ix.at()].before);
    }
    Ok(())
}

/// Written without a look at `compensation.rs`.
fn is_clear(plan: &Plan, step: &StepState, ix: StepIx) -> bool {
    if matches!(step.action, ActionState::Sent { .. }) {
        return false;
    }
    let harmless = matches!(step.action, ActionState::Refused(_) | ActionState::Sealed)
        || step.undo == UndoState::Skipped
        || (step.attempts == 0 && !matches!(step.action, ActionState::Succeeded(_)));
    let planned = &plan.steps[ix.at()];
    harmless || planned.compensation.is_none() || matches!(step.undo, UndoState::Done { .. })
}

/// I12: an open saga waits for something that comes.
fn no_orphan(state: &SagaState) -> Checked {
    if state.status.is_end() || state.birth.is_none() {
        return Ok(());
    }
    let waits = state.steps.iter().any(|s| {
        matches!(s.undo, UndoState::Waiting { .. } | UndoState::Sent { .. })
            || matches!(
                s.action,
                ActionState::Waiting { .. } | ActionState::Sent { .. } | ActionState::Asking { .. }
            )
    });
    ensure!(
        waits || state.next_due().is_some() || is_parked(state),
        "I12",
        "nothing moves it: {state:#?}"
    );
    Ok(())
}

/// An operator was called for something that no machine mends.
pub fn is_parked(state: &SagaState) -> bool {
    state.incidents.iter().any(|open| calls(open.incident.kind))
}

fn calls(kind: IncidentKind) -> bool {
    match kind {
        IncidentKind::UndoStuck
        | IncidentKind::RetriableRefused
        | IncidentKind::RetriableExhausted
        | IncidentKind::Expression
        | IncidentKind::OutputNotTaken
        | IncidentKind::PivotUnknown => true,
        IncidentKind::Slow
        | IncidentKind::UndoSlow
        | IncidentKind::Deadline
        | IncidentKind::Contradiction
        | IncidentKind::Internal => false,
    }
}

/// I1, I2, I4, I5, I7, I9: the ledger against what the saga says of itself.
pub fn ledger(
    plan: &Plan,
    state: &SagaState,
    by_word: bool,
    inboxes: &Inboxes,
    on_wire: &BTreeSet<(u16, u32)>,
) -> Checked {
    for (at, (planned, step)) in (0_u16..).zip(plan.steps.iter().zip(&state.steps)) {
        let key = (state.id, at, step.round);
        let effects = inboxes.ledger.get(&key).copied().unwrap_or_default();
        let id = &planned.id;
        rounds((id, planned.at_least_once), state, at, by_word, inboxes)?;
        // What an operator said is his to answer for; that it was said must show.
        if step.by_word || step.undo == UndoState::Skipped {
            ensure!(
                state.exceptions,
                "I28",
                "{id}: a word that left no mark: {step:?}"
            );
            continue;
        }
        if !planned.at_least_once {
            sticky(id, step, inboxes.rows.get(&key))?;
        }
        match state.status {
            Status::Completed => {
                let whole = completed(step, effects, planned.at_least_once);
                ensure!(
                    whole,
                    "I4",
                    "{id} of saga {}: {effects:?}, {step:?}",
                    state.id
                );
            }
            Status::Compensated => {
                let settled = matches!(step.action, ActionState::Refused(_) | ActionState::Sealed);
                if planned.kind == Kind::Compensatable && planned.compensation.is_some() {
                    ensure!(
                        !effects.present,
                        "I5",
                        "{id} of saga {}: {effects:?}, {step:?}",
                        state.id
                    );
                    let undone = matches!(step.undo, UndoState::Done { .. });
                    let sent = on_wire.contains(&(at, step.round));
                    ensure!(
                        !sent || settled || undone,
                        "I9",
                        "{id} was on the wire: {step:?}"
                    );
                } else if planned.kind != Kind::Compensatable {
                    ensure!(
                        !effects.present,
                        "I8",
                        "{id} took effect in a saga that went back: {step:?}"
                    );
                }
            }
            Status::Running | Status::Compensating | Status::Abandoned => {}
        }
    }
    Ok(())
}

/// I1, I2 for every round of a step; and a round that was closed has no effect, unless somebody's word was taken for it.
fn rounds(
    (id, at_least_once): (&str, bool),
    state: &SagaState,
    at: u16,
    by_word: bool,
    inboxes: &Inboxes,
) -> Checked {
    let last = state
        .steps
        .get(usize::from(at))
        .map_or(1, |step| step.round);
    for round in 1..=last {
        let effects = inboxes
            .ledger
            .get(&(state.id, at, round))
            .copied()
            .unwrap_or_default();
        if !at_least_once {
            ensure!(effects.acted <= 1, "I1", "{id}: {effects:?}");
            ensure!(effects.undone <= effects.acted, "I2", "{id}: {effects:?}");
        }
        let over = round < last && !by_word;
        ensure!(
            !over || effects.acted == 0,
            "I3",
            "{id}: round {round} was closed and took effect: {effects:?}"
        );
    }
    Ok(())
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
fn sticky(id: &str, step: &StepState, row: Option<&Row>) -> Checked {
    let row = row.map(|row| row.state);
    let agrees = match &step.action {
        ActionState::Succeeded(_) => matches!(row, Some(RowState::Done | RowState::Compensated)),
        ActionState::Refused(_) => matches!(row, Some(RowState::Refused | RowState::Tombstone)),
        ActionState::Sealed => matches!(row, Some(RowState::Tombstone)),
        _ => true,
    };
    ensure!(agrees, "I7", "{id}: {:?} against {row:?}", step.action);
    Ok(())
}
