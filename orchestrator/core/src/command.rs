//! Commands, built from the state alone: sent after a commit and sent again after a crash, they are the same.

use saga_dsl::plan::{Plan, StepIx};

use crate::{
    effect::{Command, Known},
    ground::Op,
    ids::Timestamp,
    payload::Payload,
    state::{ActionState, SagaState, Status, UndoState},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The key of a step's commands as text: `<saga>/<step>/<round>`.
#[must_use]
pub fn step_key(plan: &Plan, state: &SagaState, step: StepIx) -> String {
    let id = plan.step(step).map_or("", |s| s.id.as_str());
    let round = state.steps.get(step.at()).map_or(1, |s| s.round);
    format!("{}/{id}/{round}", state.id)
}

/// What is outstanding at a step, as the command that has been or must be on the wire.
#[must_use]
pub fn outstanding_at(plan: &Plan, state: &SagaState, step: StepIx) -> Option<Command> {
    let at = state.steps.get(step.at())?;
    let op = at.outstanding()?;
    Some(command(plan, state, step, op))
}

/// Everything outstanding: undo first, then in the order of the steps.
#[must_use]
pub fn outstanding(plan: &Plan, state: &SagaState) -> Vec<Command> {
    let mut commands: Vec<Command> = (0..state.steps.len())
        .filter_map(|i| outstanding_at(plan, state, StepIx(u16::try_from(i).ok()?)))
        .collect();
    commands.sort_by_key(|command| command.op == Op::Action);
    commands
}

/// The steps that a limit or a breaker holds back and that would go if it let them, each with what it would send.
pub fn held(state: &SagaState) -> impl Iterator<Item = (StepIx, Op)> {
    (0..)
        .map(StepIx)
        .zip(&state.steps)
        .filter_map(|(ix, step)| {
            let op = match (state.status, &step.action, &step.undo) {
                (Status::Running, ActionState::Waiting { reason, .. }, _)
                    if reason.is_guarded() =>
                {
                    Op::Action
                }
                (Status::Compensating, _, UndoState::Waiting { reason, .. })
                    if reason.is_guarded() =>
                {
                    Op::Compensation
                }
                (
                    Status::Running
                    | Status::Compensating
                    | Status::Completed
                    | Status::Compensated
                    | Status::Abandoned,
                    _,
                    _,
                ) => return None,
            };
            (op == Op::Compensation || state.may_begin(ix)).then_some((ix, op))
        })
}

/// May an outstanding command go out again after a restart?
///
/// Not an action that accepts to happen more than once: no inbox would catch the second sending. It is given its
/// limit as if it had been sent, and counts as unknown when that passes.
#[must_use]
pub fn may_repeat(plan: &Plan, step: StepIx, op: Op) -> bool {
    match op {
        Op::Action => plan.step(step).is_none_or(|step| !step.at_least_once),
        Op::Compensation | Op::Query | Op::Seal => true,
    }
}

/// The participant and the action that an operation at a step is addressed to.
///
/// A query or a seal goes to the action whose outcome it asks for. `None` when the step has nothing to undo.
#[must_use]
pub fn addressee(plan: &Plan, step: StepIx, op: Op) -> Option<(&str, &str)> {
    let step = plan.step(step)?;
    match op {
        Op::Action | Op::Query | Op::Seal => Some((&step.action.participant, &step.action.action)),
        Op::Compensation => step
            .compensation
            .as_ref()
            .map(|c| (c.participant.as_str(), c.action.as_str())),
    }
}

/// The limit of one attempt, in milliseconds.
#[must_use]
pub fn timeout_ms(plan: &Plan, step: StepIx, op: Op) -> u64 {
    let Some(step) = plan.step(step) else {
        return 0;
    };
    match op {
        Op::Action | Op::Query | Op::Seal => step.action.timeout_ms,
        Op::Compensation => step
            .compensation
            .as_ref()
            .map_or(step.action.timeout_ms, |c| c.timeout_ms),
    }
}

fn command(plan: &Plan, state: &SagaState, step: StepIx, op: Op) -> Command {
    let at = &state.steps[step.at()];
    let null = || Payload::from_value(serde_json::Value::Null);
    let (input, attempt, known) = match op {
        Op::Action => (at.input.clone().unwrap_or_else(null), at.attempts, None),
        Op::Compensation => {
            let known = if at.undo_known {
                Known::Done
            } else {
                Known::Unknown
            };
            (
                at.undo_input.clone().unwrap_or_else(null),
                at.undo_attempts,
                Some(known),
            )
        }
        Op::Query | Op::Seal => (null(), at.asks, None),
    };
    let action = addressee(plan, step, op).map_or("", |(_, action)| action);
    let fingerprint = fingerprint(op, action, input.text());
    Command {
        saga_id: state.id,
        step,
        round: at.round,
        op,
        attempt,
        known,
        not_after: if op == Op::Action { at.not_after } else { None },
        retain_until: retain_until(state),
        fingerprint,
        timeout_ms: timeout_ms(plan, step, op),
        input,
    }
}

/// Inbox rows stay until thirty days after the saga's deadline, or after a week where it has none.
fn retain_until(state: &SagaState) -> Timestamp {
    let Some(birth) = &state.birth else {
        return Timestamp(0);
    };
    birth
        .deadline
        .unwrap_or_else(|| birth.at.plus_ms(7 * DAY_MS))
        .plus_ms(30 * DAY_MS)
}

/// FNV-1a (64 bits) over op, action and input: stable across releases, so a re-sent command has the same one.
fn fingerprint(op: Op, action: &str, input: &str) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    let tag: u8 = match op {
        Op::Action => b'a',
        Op::Compensation => b'c',
        Op::Query => b'q',
        Op::Seal => b's',
    };
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    eat(tag);
    action.bytes().for_each(&mut eat);
    eat(0);
    input.bytes().for_each(&mut eat);
    hash
}
