//! Operators: at random while faults last, and with sense once nothing else moves the saga.

use saga_core::{
    Input, Payload,
    event::IncidentKind,
    input::{Intervention, Order},
    state::{ActionState, StepState},
};
use saga_dsl::{definition::Kind, plan::StepIx};

use super::{
    checks,
    world::{Message, World},
};

/// So often an operator helps one saga; far more than any needs.
const HELP_MAX: u32 = 200;

impl World<'_> {
    /// Some sagas are left to their incidents, for what an incident leaves must hold, too.
    pub(super) fn is_left_alone(&mut self) -> bool {
        self.state.status.is_end()
            || !checks::is_parked(&self.state)
            || (self.helped == 0 && self.chance.percent(75))
    }

    /// Anything, anywhere.
    pub(super) fn intervene(&mut self) {
        let payload = Payload::from_value(serde_json::json!({"by": "ann"}));
        let orders = [
            Order::Retry { input: None },
            Order::Retry { input: Some(payload.clone()) },
            Order::Skip,
            Order::ResolveSucceeded { output: payload },
            Order::ResolveFailed,
            Order::Abandon,
        ];
        let order = match self.chance.below(40) {
            0 if self.chance.percent(20) => Order::Abandon,
            number => orders[usize::try_from(number % 5).expect("small")].clone(),
        };
        let any = self.likely();
        let step = if order == Order::Abandon || self.chance.percent(10) { None } else { Some(any) };
        let force = self.chance.percent(40);
        self.order(order, step, force);
    }

    /// A step, mostly one at which something is wrong.
    fn likely(&mut self) -> StepIx {
        let all = 0..u16::try_from(self.plan.steps.len()).expect("few");
        let called = |ix: u16| {
            let waits = |s: &StepState| s.attempts > 0 && matches!(s.action, ActionState::Waiting { .. });
            let failed = |s: &StepState| matches!(s.action, ActionState::Failed { .. });
            self.state.steps.get(usize::from(ix)).is_some_and(|s| waits(s) || failed(s))
                || self.state.incidents.iter().any(|open| open.incident.step == Some(StepIx(ix)))
        };
        let wrong: Vec<u16> = all.clone().filter(|ix| called(*ix)).collect();
        let some = if wrong.is_empty() || self.chance.percent(25) { all.collect() } else { wrong };
        StepIx(if some.is_empty() { 0 } else { *self.chance.pick(&some) })
    }

    fn order(&mut self, order: Order, step: Option<StepIx>, force: bool) {
        // Another payload for an undo that was sent is another command under its key, as ordered.
        let edits = matches!(order, Order::Retry { input: Some(_) });
        if edits && step.is_some_and(|ix| self.state.steps.get(ix.at()).is_some_and(|s| s.undo_attempts > 0))
        {
            return;
        }
        let (reason, by) = ("why not".to_owned(), "ann".to_owned());
        self.take(Input::Intervene(Intervention { order, step, reason, by, force }));
    }

    /// I13: whatever stops a saga, an operator can bring it to its end.
    pub(super) fn help(&mut self) {
        self.helped += 1;
        assert!(self.helped < HELP_MAX, "no operator can help: {:#?}", self.state);
        let before = self.journal.len();
        if self.chance.percent(20) {
            // Before anybody else is back.
            self.gate.participants.clear();
            self.after(200, Message::Heal);
            self.intervene();
        }
        let payload = Payload::from_value(serde_json::json!({}));
        for open in self.state.incidents.clone() {
            let Some(step) = open.incident.step else { continue };
            let planned = &self.plan.steps[step.at()];
            let skip = self.chance.percent(50);
            let order = match open.incident.kind {
                IncidentKind::UndoStuck if skip => Order::Skip,
                IncidentKind::UndoStuck if self.state.steps[step.at()].undo_attempts == 0 => {
                    Order::Retry { input: Some(payload.clone()) }
                }
                IncidentKind::RetriableExhausted if skip => Order::Retry { input: Some(payload.clone()) },
                IncidentKind::UndoStuck | IncidentKind::RetriableExhausted => Order::Retry { input: None },
                IncidentKind::RetriableRefused if skip => Order::Skip,
                IncidentKind::RetriableRefused => Order::Retry { input: None },
                IncidentKind::Expression if skip && planned.kind != Kind::Pivot => Order::Skip,
                IncidentKind::Expression if skip => Order::ResolveSucceeded { output: payload.clone() },
                IncidentKind::Expression => Order::Retry { input: Some(payload.clone()) },
                IncidentKind::PivotUnknown if skip => Order::ResolveFailed,
                IncidentKind::PivotUnknown => Order::ResolveSucceeded { output: payload.clone() },
                IncidentKind::Slow
                | IncidentKind::UndoSlow
                | IncidentKind::Deadline
                | IncidentKind::Contradiction
                | IncidentKind::Internal => continue,
            };
            let force = planned.at_least_once || self.chance.percent(20);
            self.order(order, Some(step), force);
        }
        let moved = self.journal.len() > before || !self.wire.is_empty();
        assert!(moved, "no order is taken: {:#?}", self.state);
    }
}
