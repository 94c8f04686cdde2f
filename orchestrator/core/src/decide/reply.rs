//! A participant answered, or will not.

use saga_dsl::plan::StepIx;

use crate::{
    command::{addressee, timeout_ms},
    effect::Effect,
    error::ErrorBody,
    event::{AtAttempt, Cause, Event, IncidentKind, LateReply, StepAccepted},
    ground::Op,
    input::{Lost, Outcome, Rejected, Reply},
    payload::Payload,
    rules::Rule,
    state::{ActionState, Status, UndoState},
};

use super::{Draft, forward, undo};

pub(super) fn reply(draft: &mut Draft<'_>, reply: &Reply) -> Result<(), Rejected> {
    let known = known_step(draft, reply.step, reply.round);
    let ix = match known {
        Ok(ix) => ix,
        Err(Rejected::Stale) if is_over(draft, reply) => reply.step,
        Err(rejected) => return Err(rejected),
    };
    let (expected, _) = addressee(draft.plan, ix, reply.op).ok_or(Rejected::Nonsense)?;
    if *reply.participant != *expected && draft.rules.keep(Rule::MatchParticipant) {
        let (from, expected) = (reply.participant.to_string(), expected.to_owned());
        return Err(Rejected::WrongParticipant { from, expected });
    }
    if draft.state.status.is_end() {
        return Err(Rejected::Stale);
    }
    if known.is_err() {
        return earlier_round(draft, ix, reply);
    }
    match reply.op {
        Op::Action => action(draft, ix, reply),
        Op::Compensation => compensation(draft, ix, reply),
        Op::Query | Op::Seal => question(draft, ix, reply),
    }
}

fn known_step(draft: &Draft<'_>, step: StepIx, round: u32) -> Result<StepIx, Rejected> {
    match draft.state.steps.get(step.at()) {
        Some(state) if state.round == round && draft.plan.step(step).is_some() => Ok(step),
        Some(state) if (1..=state.round).contains(&round) => Err(Rejected::Stale),
        Some(_) => Err(Rejected::NeverSent),
        None => Err(Rejected::NoSuchStep(step.0)),
    }
}

/// Was the attempt that the reply names ever sent? A step that an operator settled has forgotten its attempts.
fn was_sent(draft: &Draft<'_>, ix: StepIx, reply: &Reply, sent: u32) -> Result<(), Rejected> {
    match (1..=sent).contains(&reply.attempt) {
        true => Ok(()),
        false if draft.step(ix).by_word => Err(Rejected::Stale),
        false => Err(Rejected::NeverSent),
    }
}

/// Is the reply about a round that an operator closed?
fn is_over(draft: &Draft<'_>, reply: &Reply) -> bool {
    let open = draft
        .state
        .steps
        .get(reply.step.at())
        .map_or(0, |step| step.round);
    reply.round > 0 && reply.round < open
}

/// A round that is over had no effect, or an operator said so. Who says otherwise contradicts that.
fn earlier_round(draft: &mut Draft<'_>, ix: StepIx, reply: &Reply) -> Result<(), Rejected> {
    let happened = match &reply.outcome {
        Outcome::Succeeded(_) => reply.op == Op::Action,
        Outcome::Done(_) => matches!(reply.op, Op::Query | Op::Seal),
        Outcome::OutputNotTaken(_) => reply.op != Op::Compensation,
        Outcome::Refused(_)
        | Outcome::Failed(_)
        | Outcome::Accepted
        | Outcome::Running
        | Outcome::Blocked
        | Outcome::Conflict(_)
        | Outcome::Expired
        | Outcome::NeedsOperator(_)
        | Outcome::NothingToDo
        | Outcome::Compensated
        | Outcome::Absent
        | Outcome::Sealed => false,
    };
    let sent = (1..=draft.step(ix).past_sendings).contains(&reply.attempt);
    if !happened || !sent {
        return Err(Rejected::Stale);
    }
    if !draft.step(ix).late_reply {
        let (attempt, outcome) = (reply.attempt, "succeeded".to_owned());
        let round = Some(reply.round);
        draft.record(Event::LateReply(LateReply {
            step: ix,
            attempt,
            outcome,
            round,
        }));
        let error = ErrorBody::new(
            "contradiction",
            format!("round {} took effect after all", reply.round),
        );
        draft.raise(Some(ix), IncidentKind::Contradiction, error);
    }
    Ok(())
}

/// Is this the answer to the attempt that is outstanding?
fn is_current(draft: &Draft<'_>, ix: StepIx, op: Op, attempt: u32) -> bool {
    let step = draft.step(ix);
    let current = match op {
        Op::Action => step.attempts,
        Op::Compensation => step.undo_attempts,
        Op::Query | Op::Seal => step.asks,
    };
    step.outstanding() == Some(op) && (current == attempt || !draft.rules.keep(Rule::MatchAttempt))
}

fn action(draft: &mut Draft<'_>, ix: StepIx, reply: &Reply) -> Result<(), Rejected> {
    was_sent(draft, ix, reply, draft.step(ix).attempts)?;
    let current = is_current(draft, ix, Op::Action, reply.attempt);
    match &reply.outcome {
        Outcome::Succeeded(output) => definite(draft, ix, reply.attempt, Ok(output)),
        Outcome::Refused(error) => definite(draft, ix, reply.attempt, Err(error)),
        Outcome::OutputNotTaken(error) => output_not_taken(draft, ix, reply, current, error),
        // A tombstone or a finished undo: without effect from here on, like a refusal.
        Outcome::Blocked => {
            let error = ErrorBody::new("blocked", "undone or sealed before it arrived");
            if draft.step(ix).undo == UndoState::None {
                definite(draft, ix, reply.attempt, Err(&error));
            }
        }
        Outcome::Failed(error) if current => forward::attempt_failed(draft, ix, error.clone()),
        Outcome::Expired if current => {
            let error = ErrorBody::new("expired", "the lifetime of the step's key has passed");
            forward::give_up(draft, ix, Event::StepFailed, error, Cause::Exhausted);
        }
        Outcome::Conflict(error) if current => {
            forward::give_up(
                draft,
                ix,
                Event::StepUnknown,
                error.clone(),
                Cause::Exhausted,
            );
            draft.raise(Some(ix), IncidentKind::Contradiction, error.clone());
        }
        Outcome::Accepted if current => {
            let due = draft.now.plus_ms(timeout_ms(draft.plan, ix, Op::Action));
            let accepted = matches!(
                draft.step(ix).action,
                ActionState::Sent { accepted: true, .. }
            );
            if accepted {
                draft.effects.push(Effect::Extend { step: ix, due });
            } else {
                draft.record(Event::StepAccepted(StepAccepted {
                    step: ix,
                    attempt: reply.attempt,
                    due,
                }));
            }
        }
        Outcome::Running if current => {
            let due = draft.now.plus_ms(timeout_ms(draft.plan, ix, Op::Action));
            draft.effects.push(Effect::Extend { step: ix, due });
        }
        // Counts only for the attempt it carries, and that one is over.
        Outcome::Failed(_)
        | Outcome::Expired
        | Outcome::Conflict(_)
        | Outcome::Accepted
        | Outcome::Running => {}
        Outcome::NeedsOperator(_)
        | Outcome::NothingToDo
        | Outcome::Compensated
        | Outcome::Absent
        | Outcome::Done(_)
        | Outcome::Sealed => return Err(Rejected::Nonsense),
    }
    Ok(())
}

/// An effect is an effect, whatever its output: what comes too late to settle the step is treated like any success.
fn output_not_taken(
    draft: &mut Draft<'_>,
    ix: StepIx,
    reply: &Reply,
    current: bool,
    error: &ErrorBody,
) {
    let step = draft.step(ix);
    let undoing = step.undo != UndoState::None && !matches!(step.undo, UndoState::Waiting { .. });
    if undoing || !forward::is_open(step) {
        definite(
            draft,
            ix,
            reply.attempt,
            Ok(&Payload::from_value(serde_json::Value::Null)),
        );
    } else {
        forward::output_not_taken(draft, ix, current, error.clone());
    }
}

/// A definite outcome settles the step, from whichever attempt it comes.
fn definite(
    draft: &mut Draft<'_>,
    ix: StepIx,
    attempt: u32,
    outcome: Result<&Payload, &ErrorBody>,
) {
    let step = draft.step(ix);
    if step.undo != UndoState::None && !matches!(step.undo, UndoState::Waiting { .. }) {
        // The undo was sent as of an unknown outcome and settles it either way.
        late(draft, ix, attempt, outcome);
        let hangs = matches!(
            draft.step(ix).undo,
            UndoState::Done {
                nothing_to_do: true
            }
        ) && outcome.is_ok();
        if hangs {
            let error = ErrorBody::new(
                "contradiction",
                "it took effect, and the undo had found nothing to undo",
            );
            draft.raise(Some(ix), IncidentKind::Contradiction, error);
        }
        return;
    }
    if !forward::is_open(step) {
        contradiction(draft, ix, attempt, outcome);
        return;
    }
    match outcome {
        Ok(output) => forward::succeeded(draft, ix, attempt, output.clone()),
        // Where the inbox shares no transaction with the effect, a no says nothing about an earlier attempt: it
        // counts, as unknown, for the attempt it carries.
        Err(error) if draft.planned(ix).at_least_once && draft.step(ix).unclear => {
            if is_current(draft, ix, Op::Action, attempt) {
                forward::give_up(draft, ix, Event::StepUnknown, error.clone(), Cause::Refused);
            }
        }
        Err(error) => forward::refused(draft, ix, attempt, error.clone()),
    }
}

/// A repeated answer is nothing new; another one than before is an incident.
fn contradiction(
    draft: &mut Draft<'_>,
    ix: StepIx,
    attempt: u32,
    outcome: Result<&Payload, &ErrorBody>,
) {
    let contradicts = match (&draft.step(ix).action, outcome) {
        (ActionState::Refused(_) | ActionState::Sealed, Ok(_))
        | (ActionState::Succeeded(_), Err(_)) => true,
        (ActionState::Skipped, Ok(_)) => draft.step(ix).by_word,
        (ActionState::Refused(_) | ActionState::Sealed, Err(_))
        | (ActionState::Succeeded(_), Ok(_)) => false,
        (
            ActionState::Pending
            | ActionState::Skipped
            | ActionState::Waiting { .. }
            | ActionState::Sent { .. }
            | ActionState::BackingOff { .. }
            | ActionState::Asking { .. }
            | ActionState::Failed { .. },
            _,
        ) => false,
    };
    if contradicts && !draft.step(ix).late_reply {
        late(draft, ix, attempt, outcome);
        let told = if draft.step(ix).by_word {
            "an operator had said otherwise"
        } else {
            "the participant had answered differently before"
        };
        let error = ErrorBody::new("contradiction", told);
        draft.raise(Some(ix), IncidentKind::Contradiction, error);
    }
}

fn late(draft: &mut Draft<'_>, ix: StepIx, attempt: u32, outcome: Result<&Payload, &ErrorBody>) {
    if !draft.step(ix).late_reply {
        let outcome = if outcome.is_ok() {
            "succeeded"
        } else {
            "refused"
        }
        .to_owned();
        draft.record(Event::LateReply(LateReply {
            step: ix,
            attempt,
            outcome,
            round: None,
        }));
    }
}

fn compensation(draft: &mut Draft<'_>, ix: StepIx, reply: &Reply) -> Result<(), Rejected> {
    was_sent(draft, ix, reply, draft.step(ix).undo_attempts)?;
    let current = is_current(draft, ix, Op::Compensation, reply.attempt);
    let open = match draft.step(ix).undo {
        UndoState::Sent { .. }
        | UndoState::BackingOff { .. }
        | UndoState::Waiting { .. }
        | UndoState::Stuck { .. } => true,
        UndoState::None | UndoState::Done { .. } | UndoState::Skipped => false,
    };
    match &reply.outcome {
        Outcome::Compensated if open => undo::done(draft, ix, reply.attempt, false),
        Outcome::NothingToDo if open => undo::done(draft, ix, reply.attempt, true),
        Outcome::Failed(error) if current => undo::attempt_ended(draft, ix, error.clone()),
        Outcome::Running if current => undo::in_progress(draft, ix),
        Outcome::Accepted if current => {
            let due = draft
                .now
                .plus_ms(timeout_ms(draft.plan, ix, Op::Compensation));
            draft.effects.push(Effect::Extend { step: ix, due });
        }
        Outcome::Refused(error) | Outcome::NeedsOperator(error) | Outcome::Conflict(error)
            if current =>
        {
            undo::stuck(draft, ix, reply.attempt, error.clone());
        }
        // Repeated, or about an attempt that is over.
        Outcome::Compensated
        | Outcome::NothingToDo
        | Outcome::Failed(_)
        | Outcome::Running
        | Outcome::Accepted
        | Outcome::Refused(_)
        | Outcome::NeedsOperator(_)
        | Outcome::Conflict(_) => {}
        Outcome::Succeeded(_)
        | Outcome::OutputNotTaken(_)
        | Outcome::Blocked
        | Outcome::Expired
        | Outcome::Absent
        | Outcome::Done(_)
        | Outcome::Sealed => return Err(Rejected::Nonsense),
    }
    Ok(())
}

fn question(draft: &mut Draft<'_>, ix: StepIx, reply: &Reply) -> Result<(), Rejected> {
    was_sent(draft, ix, reply, draft.step(ix).asks)?;
    let current = is_current(draft, ix, reply.op, reply.attempt);
    let open = forward::is_open(draft.step(ix)) && draft.state.status == Status::Running;
    match &reply.outcome {
        Outcome::Done(output) if open => {
            let attempts = draft.step(ix).attempts;
            forward::succeeded(draft, ix, attempts, output.clone());
        }
        Outcome::OutputNotTaken(error) if open => {
            forward::output_not_taken(draft, ix, current, error.clone())
        }
        Outcome::Refused(error) if open => {
            let attempts = draft.step(ix).attempts;
            forward::refused(draft, ix, attempts, error.clone());
        }
        Outcome::Sealed | Outcome::Compensated if open => forward::sealed(draft, ix),
        // No trace of it: the next attempt. Never the conclusion that it was not done.
        Outcome::Absent if current && reply.op == Op::Query => {
            if draft.state.closing.is_some() && !draft.rules.keep(Rule::SealPivot) {
                forward::sealed(draft, ix);
            } else {
                forward::absent(draft, ix);
            }
        }
        Outcome::Running if current => {
            let error = ErrorBody::new("running", "the action is still in progress");
            forward::ask_unclear(draft, ix, error, forward::ASK_AGAIN_MS);
        }
        Outcome::Failed(error) | Outcome::NeedsOperator(error) | Outcome::Conflict(error)
            if current =>
        {
            forward::ask_unclear(draft, ix, error.clone(), 0);
        }
        Outcome::Done(_)
        | Outcome::OutputNotTaken(_)
        | Outcome::Refused(_)
        | Outcome::Sealed
        | Outcome::Compensated
        | Outcome::Absent
        | Outcome::Running
        | Outcome::Failed(_)
        | Outcome::NeedsOperator(_)
        | Outcome::Conflict(_) => {}
        Outcome::Succeeded(_)
        | Outcome::Accepted
        | Outcome::Blocked
        | Outcome::Expired
        | Outcome::NothingToDo => return Err(Rejected::Nonsense),
    }
    Ok(())
}

/// A command will not be answered: the connection that carried it is gone.
pub(super) fn lost(draft: &mut Draft<'_>, lost: &Lost) -> Result<(), Rejected> {
    let ix = known_step(draft, lost.step, lost.round).map_err(|_| Rejected::Stale)?;
    if draft.state.status.is_end() || !is_current(draft, ix, lost.op, lost.attempt) {
        return Err(Rejected::Stale);
    }
    let attempt = AtAttempt {
        step: ix,
        attempt: lost.attempt,
    };
    match (lost.op, lost.unsent) {
        (Op::Action, true) => draft.record(Event::StepUnsent(attempt)),
        (Op::Action, false) if !draft.rules.keep(Rule::LostIsUnknown) => {
            draft.record(Event::StepUnsent(attempt));
        }
        // The participant works on it and will answer over another connection.
        (Op::Action, false)
            if matches!(
                draft.step(ix).action,
                ActionState::Sent { accepted: true, .. }
            ) => {}
        (Op::Action, false) => forward::attempt_unknown(draft, ix, lost.error.clone()),
        (Op::Compensation, true) => draft.record(Event::UndoUnsent(attempt)),
        (Op::Compensation, false) => undo::attempt_ended(draft, ix, lost.error.clone()),
        (Op::Query | Op::Seal, _) => forward::ask_unclear(draft, ix, lost.error.clone(), 0),
    }
    Ok(())
}
