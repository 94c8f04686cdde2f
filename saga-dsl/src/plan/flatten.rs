//! The outline of a definition as steps that are ready to run: expressions parsed, defaults resolved.

use crate::{
    definition::{
        Compensation, CompensationAction, CompensationBlock, Definition, Input, Kind, Retry, Step,
        Verb,
    },
    expr::{Expr, Fault, ValueTemplate},
    outline::{Outline, OutlineStep},
    place::Place,
    plan::{
        PlanAction, PlanCompensation, PlanError, PlanStep, StepIx, pinned::PinnedTypes, resolve,
    },
};

/// Every step of a definition, in the order of the file.
pub(super) fn flatten(definition: &Definition) -> Result<Vec<PlanStep>, PlanError> {
    let outline = Outline::of(definition);
    if outline.steps.len() > usize::from(u16::MAX) {
        let message = format!("a plan has at most {} steps", u16::MAX);
        return Err(PlanError {
            place: "steps".to_owned(),
            message,
        });
    }
    let flattening = Flattening {
        definition,
        types: PinnedTypes::of(definition),
    };
    let mut steps = outline
        .steps
        .iter()
        .map(|step| flattening.step(step))
        .collect::<Result<Vec<_>, _>>()?;
    for at in 0..steps.len() {
        for before in steps[at].after.clone() {
            steps[before.at()].before.push(ix(at));
        }
    }
    Ok(steps)
}

/// The number of steps was compared with the range above.
fn ix(at: usize) -> StepIx {
    StepIx(u16::try_from(at).unwrap_or(u16::MAX))
}

struct Flattening<'a> {
    definition: &'a Definition,
    types: PinnedTypes,
}

impl Flattening<'_> {
    fn step(&self, outlined: &OutlineStep<'_>) -> Result<PlanStep, PlanError> {
        let step = outlined.step;
        let place = &outlined.place;
        let defaults = &self.definition.defaults;
        let deadline_ms = self.definition.deadline.map(|deadline| deadline.ms);
        let kind = step.kind.unwrap_or(Kind::Compensatable);
        let timeout_ms = resolve::timeout_ms(step.timeout, defaults);
        let retry = resolve::action_retry(&step.retry, defaults, kind);
        let lifetime_ms = match kind {
            Kind::Compensatable => {
                resolve::lifetime_ms(&retry, timeout_ms, deadline_ms, step.at_least_once)
            }
            Kind::Pivot | Kind::Retriable => None,
        };
        let guards = outlined.guards.iter().map(|guard| {
            let expr = Expr::parse(guard.when).map_err(|fault| error(&guard.place, &fault))?;
            Ok::<_, PlanError>(expr.with_types(&self.types))
        });
        let Verb::Action { action, input } = &step.verb;
        let input = match input {
            Some(input) => self.payload(input, &place.key("input"))?,
            None => ValueTemplate::Object(Vec::new()),
        };
        Ok(PlanStep {
            id: step.step.clone(),
            groups: outlined.groups.iter().map(|(kind, _)| *kind).collect(),
            kind,
            action: PlanAction {
                participant: action.participant.clone(),
                action: action.action.clone(),
                input,
                timeout_ms,
                retry,
            },
            guards: guards.collect::<Result<_, _>>()?,
            compensation: self.compensation(step, place)?,
            escalate_after_ms: resolve::escalate_after_ms(step.escalate_after),
            at_least_once: step.at_least_once,
            after: outlined.after.iter().map(|at| ix(*at)).collect(),
            before: Vec::new(),
            lifetime_ms,
        })
    }

    fn payload(&self, input: &Input, place: &Place) -> Result<ValueTemplate, PlanError> {
        let template = match input {
            Input::Pick(names) => ValueTemplate::from_pick(names),
            Input::Value(fields) => {
                ValueTemplate::from_value(&serde_json::Value::Object(fields.clone()))
            }
        };
        Ok(template
            .map_err(|fault| error(place, &fault))?
            .with_types(&self.types))
    }

    fn compensation(
        &self,
        step: &Step,
        place: &Place,
    ) -> Result<Option<PlanCompensation>, PlanError> {
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
        let input = input.map(|input| self.payload(input, &place.key("compensation").key("input")));
        let silent = Retry::default();
        Ok(Some(PlanCompensation {
            participant: action.participant.clone(),
            action: action.action.clone(),
            input: input.transpose()?,
            timeout_ms: resolve::timeout_ms(block.and_then(|block| block.timeout), defaults),
            retry: resolve::compensation_retry(
                block.map_or(&silent, |block| &block.retry),
                defaults,
            ),
            escalate_after_ms: resolve::escalate_after_ms(
                block.and_then(|block| block.escalate_after),
            ),
        }))
    }
}

pub(super) fn error(place: &Place, fault: &Fault) -> PlanError {
    PlanError {
        place: place.pointer(&fault.place).to_string(),
        message: fault.message.clone(),
    }
}
