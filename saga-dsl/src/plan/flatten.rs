//! The step tree as a list of steps that know their predecessors.
//!
//! An item waits for the *exits* of the item before it: of a step itself, of a `parallel` the exits of all its
//! children, of a `sequence` those of its last child. Guards of groups are inherited by what is inside. A skipped
//! step counts as settled, so that the order holds without exceptions.

use crate::{
    definition::{
        Compensation, CompensationAction, CompensationBlock, Definition, Input, Kind, Node, Retry, Step, Verb,
    },
    expr::{Expr, Fault, ValueTemplate},
    plan::{
        GroupKind, PlanAction, PlanCompensation, PlanError, PlanStep, StepIx, pinned::PinnedTypes, resolve,
    },
};

/// What surrounds the item at hand.
#[derive(Clone, Default)]
struct Around {
    groups: Vec<GroupKind>,
    guards: Vec<Expr>,
}

/// Every step of a definition, in the order of the file.
pub(super) fn flatten(definition: &Definition) -> Result<Vec<PlanStep>, PlanError> {
    let mut flattening = Flattening { definition, types: PinnedTypes::of(definition), steps: Vec::new() };
    flattening.sequence(&definition.steps, Vec::new(), &Around::default())?;
    let mut steps = flattening.steps;
    for at in 0..steps.len() {
        let ix = steps[at].0;
        for before in steps[at].1.after.clone() {
            steps[before.at()].1.before.push(ix);
        }
    }
    Ok(steps.into_iter().map(|(_, step)| step).collect())
}

struct Flattening<'a> {
    definition: &'a Definition,
    types: PinnedTypes,
    steps: Vec<(StepIx, PlanStep)>,
}

impl Flattening<'_> {
    /// Items one after the other, the first after `entry`; answers the exits of the last.
    fn sequence(
        &mut self,
        items: &[Node],
        entry: Vec<StepIx>,
        around: &Around,
    ) -> Result<Vec<StepIx>, PlanError> {
        let mut exits = entry;
        for item in items {
            exits = self.item(item, exits, around)?;
        }
        Ok(exits)
    }

    fn item(&mut self, item: &Node, entry: Vec<StepIx>, around: &Around) -> Result<Vec<StepIx>, PlanError> {
        match item {
            Node::Step(step) => Ok(vec![self.step(step, entry, around)?]),
            Node::Sequence(group) => {
                let around = self.inside(around, GroupKind::Sequence, group.when.as_deref())?;
                self.sequence(&group.sequence, entry, &around)
            }
            Node::Parallel(group) => {
                let around = self.inside(around, GroupKind::Parallel, group.when.as_deref())?;
                if group.parallel.is_empty() {
                    return Ok(entry);
                }
                let mut exits = Vec::new();
                for child in &group.parallel {
                    exits.extend(self.item(child, entry.clone(), &around)?);
                }
                // An empty group inside hands its entry through; several may hand through the same.
                exits.sort_unstable();
                exits.dedup();
                Ok(exits)
            }
        }
    }

    fn inside(&self, around: &Around, kind: GroupKind, when: Option<&str>) -> Result<Around, PlanError> {
        let mut inside = around.clone();
        inside.groups.push(kind);
        if let Some(when) = when {
            inside.guards.push(self.guard(when, "a group's when")?);
        }
        Ok(inside)
    }

    fn guard(&self, when: &str, place: &str) -> Result<Expr, PlanError> {
        let expr = Expr::parse(when).map_err(|fault| error(place, &fault))?;
        Ok(expr.with_types(&self.types))
    }

    fn payload(&self, input: &Input, place: &str) -> Result<ValueTemplate, PlanError> {
        let template = match input {
            Input::Pick(names) => ValueTemplate::from_pick(names),
            Input::Value(fields) => ValueTemplate::from_value(&serde_json::Value::Object(fields.clone())),
        };
        Ok(template.map_err(|fault| error(place, &fault))?.with_types(&self.types))
    }

    fn step(&mut self, step: &Step, after: Vec<StepIx>, around: &Around) -> Result<StepIx, PlanError> {
        let place = format!("steps.{}", step.step);
        let ix = u16::try_from(self.steps.len()).map(StepIx).map_err(|_| PlanError {
            place: place.clone(),
            message: format!("a plan has at most {} steps", u16::MAX),
        })?;
        let defaults = &self.definition.defaults;
        let deadline_ms = self.definition.deadline.map(|deadline| deadline.ms);
        let kind = step.kind.unwrap_or(Kind::Compensatable);
        let timeout_ms = resolve::timeout_ms(step.timeout, defaults);
        let retry = resolve::action_retry(&step.retry, defaults, kind);
        let lifetime_ms = match kind {
            Kind::Compensatable => resolve::lifetime_ms(&retry, timeout_ms, deadline_ms),
            Kind::Pivot | Kind::Retriable => None,
        };
        let mut guards = around.guards.clone();
        if let Some(when) = &step.when {
            guards.push(self.guard(when, &format!("{place}.when"))?);
        }
        let Verb::Action { action, input } = &step.verb;
        let input = match input {
            Some(input) => self.payload(input, &format!("{place}.input"))?,
            None => ValueTemplate::Object(Vec::new()),
        };
        let plan_step = PlanStep {
            id: step.step.clone(),
            groups: around.groups.clone(),
            kind,
            action: PlanAction {
                participant: action.participant.clone(),
                action: action.action.clone(),
                input,
                timeout_ms,
                retry,
            },
            guards,
            compensation: self.compensation(step, &place)?,
            escalate_after_ms: resolve::escalate_after_ms(step.escalate_after),
            at_least_once: step.at_least_once,
            after,
            before: Vec::new(),
            lifetime_ms,
        };
        self.steps.push((ix, plan_step));
        Ok(ix)
    }

    fn compensation(&self, step: &Step, place: &str) -> Result<Option<PlanCompensation>, PlanError> {
        let defaults = &self.definition.defaults;
        let (action, block): (_, Option<&CompensationBlock>) = match &step.compensation {
            None | Some(Compensation::None(_)) => return Ok(None),
            Some(Compensation::Action(action)) => (action, None),
            Some(Compensation::Block(block)) => match &block.action {
                CompensationAction::None(_) => return Ok(None),
                CompensationAction::Action(action) => (action, Some(&**block)),
            },
        };
        let input = block.and_then(|block| block.input.as_ref());
        let input = input.map(|input| self.payload(input, &format!("{place}.compensation.input")));
        let silent = Retry::default();
        Ok(Some(PlanCompensation {
            participant: action.participant.clone(),
            action: action.action.clone(),
            input: input.transpose()?,
            timeout_ms: resolve::timeout_ms(block.and_then(|block| block.timeout), defaults),
            retry: resolve::compensation_retry(block.map_or(&silent, |block| &block.retry), defaults),
            escalate_after_ms: resolve::escalate_after_ms(block.and_then(|block| block.escalate_after)),
        }))
    }
}

pub(super) fn error(place: &str, fault: &Fault) -> PlanError {
    PlanError { place: format!("{place}{}", fault.place.replace('/', ".")), message: fault.message.clone() }
}
