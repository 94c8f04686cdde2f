//! From an input to a decision: one file per input, and `advance.rs` for what follows from any of them.

mod advance;
mod cancel;
mod due;
mod forward;
mod intervene;
mod reply;
mod start;
mod undo;

use saga_dsl::{
    definition::Kind,
    plan::{Plan, PlanStep, StepIx},
};

use crate::{
    apply::apply_in_place,
    effect::{Command, Effect},
    error::ErrorBody,
    event::{AtAttempt, AtStep, Cause, Event, Failure, Incident, IncidentKind, PivotClosing},
    gate::{Admitted, Gate},
    ground::{Op, Wait},
    ids::Timestamp,
    input::{Input, Rejected},
    rules::{Rule, Rules},
    state::{ActionState, SagaState, Status, StepState},
};

/// What follows from an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// To be journaled, as one row; empty: nothing happened that needs remembering.
    pub events: Vec<Event>,
    /// To be carried out once the events are committed.
    pub effects: Vec<Effect>,
    /// The state with the events applied, which spares the shell a second fold.
    pub state: SagaState,
}

/// Decides what follows from an input.
///
/// Pure: the same arguments give the same decision. The state is left as it is, so the caller still has it when the
/// commit fails.
///
/// # Errors
/// [`Rejected`] when the input makes no sense where the saga stands; nothing follows then. A repeated input is
/// not an error but an empty decision.
pub fn decide(
    plan: &Plan,
    state: &SagaState,
    input: &Input,
    gate: &Gate,
    now: Timestamp,
) -> Result<Decision, Rejected> {
    decide_under(Rules::ALL, plan, state, input, gate, now)
}

/// As [`decide()`], with the rules that are kept; for mutants.
///
/// # Errors
/// As [`decide()`].
pub fn decide_under(
    rules: Rules,
    plan: &Plan,
    state: &SagaState,
    input: &Input,
    gate: &Gate,
    now: Timestamp,
) -> Result<Decision, Rejected> {
    let (events, effects) = (Vec::new(), Vec::new());
    let admitted = Vec::new();
    let mut draft = Draft {
        rules,
        plan,
        state: state.clone(),
        gate,
        now,
        events,
        effects,
        admitted,
    };
    match input {
        Input::Start(start) => start::start(&mut draft, start)?,
        Input::Reply(reply) => reply::reply(&mut draft, reply)?,
        Input::Lost(lost) => reply::lost(&mut draft, lost)?,
        Input::Due => due::due(&mut draft),
        Input::Wake => {}
        Input::Cancel(cancel) => cancel::cancel(&mut draft, cancel)?,
        Input::Intervene(intervention) => intervene::intervene(&mut draft, intervention)?,
        Input::Trouble(error) => trouble(&mut draft, error)?,
    }
    // What made the trouble may be the very thing that would follow now.
    if !matches!(input, Input::Trouble(_)) {
        advance::advance(&mut draft);
    }
    let Draft {
        mut state,
        events,
        effects,
        ..
    } = draft;
    if !events.is_empty() {
        state.seq += 1;
    }
    Ok(Decision {
        events,
        effects,
        state,
    })
}

fn trouble(draft: &mut Draft<'_>, error: &ErrorBody) -> Result<(), Rejected> {
    if draft.state.birth.is_none() {
        return Err(Rejected::NotBegun);
    }
    if let (true, Some(at)) = (draft.state.status.is_end(), draft.state.ended_at) {
        return Err(Rejected::Ended { at });
    }
    draft.raise(None, IncidentKind::Internal, error.clone());
    Ok(())
}

/// A decision in the making: the state moves along as events are recorded.
struct Draft<'a> {
    rules: Rules,
    plan: &'a Plan,
    state: SagaState,
    gate: &'a Gate,
    now: Timestamp,
    events: Vec<Event>,
    effects: Vec<Effect>,
    /// What this decision has sent to participants with limits or breakers.
    admitted: Vec<Admitted<'a>>,
}

impl<'a> Draft<'a> {
    /// May a command go out now?
    fn may_send(
        &self,
        participant: &str,
        action: &str,
        op: Op,
        at_least_once: bool,
    ) -> Result<(), Wait> {
        self.gate.admit(participant, action, op, at_least_once)?;
        if !self.rules.keep(Rule::HeldByGuards) {
            return Ok(());
        }
        let counts = self.rules.keep(Rule::CountOwnSendings);
        let admitted = if counts { &self.admitted[..] } else { &[] };
        self.gate.guard(participant, action, op, self.now, admitted)
    }

    /// Takes room for a command that may be sent, and is.
    fn take_room(&mut self, participant: &'a str, action: &'a str) {
        if self.gate.guards.contains_key(participant) {
            self.admitted.push(Admitted {
                participant,
                action,
            });
        }
    }

    fn record(&mut self, event: Event) {
        apply_in_place(&mut self.state, &event, self.now);
        self.events.push(event);
    }

    fn step(&self, ix: StepIx) -> &StepState {
        &self.state.steps[ix.at()]
    }

    fn planned(&self, ix: StepIx) -> &'a PlanStep {
        &self.plan.steps[ix.at()]
    }

    /// The steps that both plan and state have, in order.
    fn indices(&self) -> impl DoubleEndedIterator<Item = StepIx> + use<> {
        let count = self.plan.steps.len().min(self.state.steps.len());
        (0..count).map(|i| StepIx(u16::try_from(i).unwrap_or(u16::MAX)))
    }

    fn raise(&mut self, step: Option<StepIx>, kind: IncidentKind, error: ErrorBody) {
        let known = self
            .state
            .incidents
            .iter()
            .any(|o| o.incident.step == step && o.incident.kind == kind);
        if !known {
            let lasting = kind.outlives_its_saga();
            self.record(Event::IncidentRaised(Incident {
                step,
                kind,
                error,
                lasting,
            }));
        }
    }

    /// There is no forward: the one path back, whatever the reason.
    ///
    /// Before the pivot the saga compensates. While the pivot is in flight it is settled first. After it there is no
    /// way back, so an operator is called.
    fn fail(&mut self, failure: Failure) {
        if self.state.status != Status::Running || self.state.closing.is_some() {
            return;
        }
        if self.state.pivot_done(self.plan).is_some() {
            let kind = match failure.cause {
                Cause::Refused => IncidentKind::RetriableRefused,
                Cause::Exhausted | Cause::Operator => IncidentKind::RetriableExhausted,
                Cause::Expression => IncidentKind::Expression,
                // A cancel after the pivot is refused before it gets here.
                Cause::Deadline | Cause::Cancel => IncidentKind::Deadline,
            };
            self.raise(failure.step, kind, failure.error);
            return;
        }
        if let Some(pivot) = self
            .pivot_in_flight()
            .filter(|pivot| self.planned(*pivot).at_least_once)
        {
            // Without a transactional inbox neither a query nor a seal proves anything.
            self.raise(Some(pivot), IncidentKind::PivotUnknown, failure.error);
            return;
        }
        self.turn(failure);
    }

    /// The saga turns back: at once, or when the pivot that is in flight is settled.
    fn turn(&mut self, failure: Failure) {
        let settled = self.takes_pivot_for_settled();
        if self.rules.keep(Rule::NothingNewOnTheWayBack) {
            self.retract();
        }
        match self.pivot_in_flight().filter(|_| !settled) {
            Some(step) => self.record(Event::PivotClosing(PivotClosing { step, failure })),
            None => self.record(Event::Failing(failure)),
        }
    }

    /// False, unless a rule is left out.
    fn takes_pivot_for_settled(&self) -> bool {
        let failed = matches!(self.events.last(), Some(Event::StepFailed(end)) if self.planned(end.step).kind == Kind::Pivot);
        !self.rules.keep(Rule::SettlePivot)
            || (failed && !self.rules.keep(Rule::FailedIsOneAttempt))
    }

    /// An attempt that this very decision began has not left the house, and now it never will.
    fn retract(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Send(Command {
                    op: Op::Action,
                    step,
                    attempt,
                    ..
                }) => {
                    self.record(Event::StepUnsent(AtAttempt { step, attempt }));
                }
                Effect::Send(_)
                | Effect::Await { .. }
                | Effect::Extend { .. }
                | Effect::Announce => {
                    self.effects.push(effect);
                }
            }
        }
    }

    /// A pivot that was sent at least once and is not settled.
    fn pivot_in_flight(&self) -> Option<StepIx> {
        self.indices().find(|&ix| {
            let step = self.step(ix);
            self.planned(ix).kind == Kind::Pivot
                && match step.action {
                    ActionState::Waiting { .. }
                    | ActionState::Sent { .. }
                    | ActionState::BackingOff { .. }
                    | ActionState::Asking { .. }
                    | ActionState::Failed { .. } => step.attempts > 0,
                    ActionState::Pending
                    | ActionState::Skipped
                    | ActionState::Succeeded(_)
                    | ActionState::Refused(_)
                    | ActionState::Sealed => false,
                }
        })
    }

    /// The pivot was settled while the saga wanted to go back: now the direction is known.
    fn settle_closing(&mut self, settled: StepIx) {
        let Some(failure) = self.state.closing.clone() else {
            return;
        };
        if self.planned(settled).kind != Kind::Pivot {
            return;
        }
        if self.state.pivot_done(self.plan).is_some() {
            self.overtake(settled);
        } else {
            self.turn((*failure).clone());
        }
    }

    /// The saga goes forward after all; what does not go forward with it is for an operator.
    fn overtake(&mut self, pivot: StepIx) {
        self.record(Event::ClosingOvertaken(AtStep { step: pivot }));
        if self.state.deadline.is_none() && self.plan.deadline_ms.is_some() {
            let error = ErrorBody::new("deadline", "the saga's deadline passed");
            self.raise(None, IncidentKind::Deadline, error);
        }
        for ix in self.indices() {
            if self.state.lacks_output(ix.at()) {
                continue;
            }
            let (cause, error) = match &self.step(ix).action {
                ActionState::Refused(error) => (Cause::Refused, error),
                ActionState::Failed { error } => (Cause::Exhausted, error),
                ActionState::Pending
                | ActionState::Skipped
                | ActionState::Waiting { .. }
                | ActionState::Sent { .. }
                | ActionState::BackingOff { .. }
                | ActionState::Asking { .. }
                | ActionState::Succeeded(_)
                | ActionState::Sealed => continue,
            };
            let error = (**error).clone();
            self.fail(Failure {
                cause,
                step: Some(ix),
                error,
            });
        }
    }
}

#[cfg(test)]
mod tests;
