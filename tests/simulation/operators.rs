//! Operators: at random while faults last, and with sense once nothing else moves a saga.

use saga_core::{
    Payload, SagaId, SagaState,
    event::IncidentKind,
    input::Order,
    state::{ActionState, StepState},
};
use saga_dsl::{definition::Kind, plan::StepIx};
use saga_engine::lane::intake::{BreakerJob, BreakerOrder, Intake, InterveneJob};
use tokio::sync::oneshot;

use super::{
    checks,
    story::{Violation, ensure},
    world::{Shared, World},
};

/// So often operators help in one world; far more than any needs.
const HELP_MAX: u32 = 60;

/// An act before it is told to anybody.
struct Act {
    order: Order,
    step: Option<String>,
    force: bool,
}

fn payload() -> Payload {
    Payload::from_value(serde_json::json!({"by": "ann"}))
}

impl World {
    /// Anything, anywhere.
    pub fn intervene(&mut self, shared: &Shared, id: SagaId) {
        let Some(saga) = self.vault.sagas.get(&id) else {
            return;
        };
        let (plan, state) = (saga.plan.clone(), saga.state.clone());
        let orders = [
            Order::Retry { input: None },
            Order::Retry { input: None },
            Order::Retry {
                input: Some(payload()),
            },
            Order::Skip,
            Order::ResolveSucceeded { output: payload() },
            Order::ResolveFailed,
        ];
        let order = match self.chance.below(200) {
            0 => Order::Abandon,
            1..=20 => Order::Acknowledge,
            number => orders[usize::try_from(number % 6).unwrap_or(0)].clone(),
        };
        let pivot = plan.steps.iter().position(|step| step.kind == Kind::Pivot);
        // What is decided about a pivot while it is being settled is where the narrow cases are.
        let likely = match pivot {
            Some(at) if state.closing.is_some() && self.chance.percent(60) => Some(at),
            Some(_) | None => self.likely(&state),
        };
        let whole = matches!(order, Order::Abandon | Order::Acknowledge) || self.chance.percent(10);
        let step = likely
            .filter(|_| !whole)
            .and_then(|at| plan.steps.get(at))
            .map(|step| step.id.clone());
        let force = self.chance.percent(40);
        self.order(shared, id, Act { order, step, force });
    }

    /// A breaker is tripped for a while, or reset, whether or not that makes sense.
    pub fn steer_breaker(&mut self) {
        let Some(incarnation) = self.current() else {
            return;
        };
        let actions: Vec<(String, String)> = self
            .plans
            .iter()
            .flat_map(|plan| &plan.steps)
            .flat_map(|step| {
                let undo = step
                    .compensation
                    .as_ref()
                    .map(|c| (c.participant.clone(), c.action.clone()));
                undo.into_iter()
                    .chain([(step.action.participant.clone(), step.action.action.clone())])
            })
            .collect();
        if actions.is_empty() {
            return;
        }
        let (participant, action) = self.chance.pick(&actions).clone();
        let order = match self.chance.below(3) {
            0 => BreakerOrder::Reset,
            _ => BreakerOrder::Trip {
                for_ms: Some(self.chance.between(1, 5_000)),
            },
        };
        if order == BreakerOrder::Reset {
            let now = self.now();
            self.guards.reset(&participant, &action, now);
        }
        self.tell(format_args!(
            "an operator: {order:?} {participant}/{action}"
        ));
        let (by, reason) = ("ann".to_owned(), "why not".to_owned());
        let (answer, _) = oneshot::channel();
        self.hand(
            incarnation,
            Intake::SteerBreaker(BreakerJob {
                participant,
                action,
                order,
                by,
                reason,
                answer,
            }),
        );
    }

    /// A step, mostly one at which something is wrong.
    fn likely(&mut self, state: &SagaState) -> Option<usize> {
        let called = |at: usize| {
            state
                .incidents
                .iter()
                .any(|open| open.incident.step.map(StepIx::at) == Some(at))
        };
        let wrong = |at: usize, step: &StepState| {
            called(at)
                || matches!(step.action, ActionState::Failed { .. })
                || (step.attempts > 0 && matches!(step.action, ActionState::Waiting { .. }))
        };
        let at: Vec<usize> = state
            .steps
            .iter()
            .enumerate()
            .filter(|(at, step)| wrong(*at, step))
            .map(|(at, _)| at)
            .collect();
        let some = if at.is_empty() || self.chance.percent(25) {
            (0..state.steps.len()).collect()
        } else {
            at
        };
        if some.is_empty() {
            None
        } else {
            Some(*self.chance.pick(&some))
        }
    }

    fn order(&mut self, shared: &Shared, id: SagaId, act: Act) {
        let Some(incarnation) = self.current() else {
            return;
        };
        let (answer, answered) = oneshot::channel();
        let Act { order, step, force } = act;
        self.tell(format_args!(
            "an operator of {id}: {order:?} {step:?}, by force: {force}"
        ));
        let (reason, by) = ("why not".to_owned(), "ann".to_owned());
        let before = self.vault.sagas.get(&id).map_or(0, |saga| saga.acts);
        let job = InterveneJob {
            id,
            step,
            order,
            reason,
            by,
            force,
            act: None,
            answer,
        };
        self.hand(incarnation, Intake::Intervene(job));
        let shared = shared.clone();
        tokio::spawn(async move {
            if let Ok(answer) = answered.await {
                let mut world = shared.lock();
                if world.boundary(incarnation) && answer.is_ok() {
                    let checked = world.check_ordered(id, before);
                    world.check(checked);
                }
                shared.wake();
            }
        });
    }

    /// I18, I28: who is told that it was done finds it written, and on the list of what operators did.
    fn check_ordered(&self, id: SagaId, before: u64) -> Result<(), Violation> {
        let acts = self.vault.sagas.get(&id).map_or(0, |saga| saga.acts);
        ensure!(
            acts > before,
            "I28",
            "an act on {id} is answered and not written"
        );
        Ok(())
    }

    /// I13: whatever stops a saga, operators can bring it to its end. True when they do something about it.
    pub fn help(&mut self, shared: &Shared) -> bool {
        let stuck: Vec<(SagaId, SagaState)> = self
            .vault
            .sagas
            .iter()
            .filter(|(_, saga)| !saga.state.status.is_end() && checks::is_parked(&saga.state))
            .map(|(id, saga)| (*id, saga.state.clone()))
            .collect();
        // Most are left to their incidents: what an incident leaves must hold, too.
        if stuck.is_empty() || (self.helped == 0 && self.chance.percent(75)) {
            return false;
        }
        self.helped += 1;
        if self.helped > HELP_MAX {
            let seen = format!("no operator can help: {stuck:#?}");
            self.violation
                .get_or_insert(Violation { check: "I13", seen });
            return false;
        }
        for (id, state) in stuck {
            self.settle(shared, id, &state);
        }
        true
    }

    fn settle(&mut self, shared: &Shared, id: SagaId, state: &SagaState) {
        let Some(plan) = self.vault.sagas.get(&id).map(|saga| saga.plan.clone()) else {
            return;
        };
        for open in &state.incidents {
            let Some(planned) = open.incident.step.and_then(|ix| plan.step(ix)) else {
                continue;
            };
            let never_undone = open
                .incident
                .step
                .is_some_and(|ix| state.steps[ix.at()].undo_attempts == 0);
            let leave = self.chance.percent(50);
            let order = match open.incident.kind {
                IncidentKind::UndoStuck | IncidentKind::RetriableRefused if leave => Order::Skip,
                IncidentKind::UndoStuck if never_undone => Order::Retry {
                    input: Some(payload()),
                },
                IncidentKind::RetriableExhausted if leave => Order::Retry {
                    input: Some(payload()),
                },
                IncidentKind::UndoStuck
                | IncidentKind::RetriableRefused
                | IncidentKind::RetriableExhausted => Order::Retry { input: None },
                IncidentKind::Expression
                    if leave && (planned.kind == Kind::Pivot || self.chance.percent(30)) =>
                {
                    Order::ResolveSucceeded { output: payload() }
                }
                IncidentKind::Expression if leave => Order::Skip,
                IncidentKind::Expression => Order::Retry {
                    input: Some(payload()),
                },
                IncidentKind::PivotUnknown if leave => Order::ResolveFailed,
                IncidentKind::PivotUnknown | IncidentKind::OutputNotTaken => {
                    Order::ResolveSucceeded { output: payload() }
                }
                IncidentKind::Slow
                | IncidentKind::UndoSlow
                | IncidentKind::Deadline
                | IncidentKind::Contradiction
                | IncidentKind::Internal => continue,
            };
            let force = planned.at_least_once || self.chance.percent(15);
            self.order(
                shared,
                id,
                Act {
                    order,
                    step: Some(planned.id.clone()),
                    force,
                },
            );
        }
    }
}
