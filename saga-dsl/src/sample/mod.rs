//! Made-up values that fit a plan: start payloads from its declared types, outputs from what its expressions read.
//!
//! `saga test` runs sagas with them, and `saga dev --mock` answers with them. A field is named in its text
//! (`"confirmation-1"`), so that a screen tells a made-up value from a real one.
//!
//! Conditions are the reason why one sample is not enough: [`scenario`] looks for values under which a step runs,
//! and for some under which it is left out.

mod levers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use self::levers::{Scenario, scenario};
use crate::{
    expr::{Demand, Root, Scope, Way},
    payload::Payload,
    plan::Plan,
    types::Type,
};

/// A value of a type. `name` is what texts in it speak of.
#[must_use]
pub fn of_type(ty: &Type, name: &str) -> Value {
    match ty {
        Type::String | Type::Any => Value::from(format!("{name}-1")),
        Type::Int => Value::from(1),
        Type::Double => Value::from(1.5),
        Type::Bool => Value::from(true),
        Type::Bytes => Value::from("AA=="),
        Type::Timestamp => Value::from("2030-01-01T09:00:00Z"),
        Type::Duration => Value::from("1h"),
        Type::Null => Value::Null,
        Type::List(item) => Value::Array(vec![of_type(item, name)]),
        Type::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, ty)| (name.clone(), of_type(ty, name)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Type::Optional(inner) => of_type(inner, name),
    }
}

/// A start payload that fits the plan's declared input.
#[must_use]
pub fn input(plan: &Plan) -> Value {
    of_type(&Type::Object(plan.definition.input.clone()), "input")
}

/// The type of a step's output, as far as the plan's expressions tell by reading it. An output that nobody reads is
/// an object without fields.
#[must_use]
pub fn output_types(plan: &Plan) -> BTreeMap<String, Type> {
    let mut types = BTreeMap::new();
    for demand in demands(plan) {
        if let Root::StepOutput(id) = &demand.root {
            put(
                types.entry(id.clone()).or_default(),
                &demand.path,
                &demand.ty,
            );
        }
    }
    for (step, ty) in plan.steps.iter().flat_map(|step| own_demands(plan, step)) {
        put(types.entry(step).or_default(), &ty.path, &ty.ty);
    }
    types
}

/// A sample output for each step, by id.
#[must_use]
pub fn outputs(plan: &Plan) -> BTreeMap<String, Value> {
    let types = output_types(plan);
    let of = |id: &str| match types.get(id) {
        Some(ty) if *ty != Type::Any => of_type(ty, id),
        Some(_) | None => Value::Object(Map::new()),
    };
    plan.steps
        .iter()
        .map(|step| (step.id.clone(), of(&step.id)))
        .collect()
}

/// Every read of every expression of the plan, those of compensations' own payloads without `self`.
pub(crate) fn demands(plan: &Plan) -> Vec<Demand> {
    let input = Type::Object(plan.definition.input.clone());
    let mut found = Vec::new();
    for step in &plan.steps {
        for guard in &step.guards {
            found.extend(guard.demands(&Type::Bool, &input));
        }
        let own = step
            .compensation
            .as_ref()
            .and_then(|undo| undo.input.as_ref());
        for payload in [Some(&step.action.input), own].into_iter().flatten() {
            for (_, template) in payload.templates() {
                found.extend(template.demands(&input));
            }
        }
    }
    for (_, template) in plan.output.iter().flat_map(|output| output.templates()) {
        found.extend(template.demands(&input));
    }
    found
}

/// What a compensation's own payload reads of its action's output.
fn own_demands(plan: &Plan, step: &crate::plan::PlanStep) -> Vec<(String, Demand)> {
    let input = Type::Object(plan.definition.input.clone());
    let own = step
        .compensation
        .as_ref()
        .and_then(|undo| undo.input.as_ref());
    let read = own.into_iter().flat_map(|payload| payload.templates());
    read.flat_map(|(_, template)| template.demands(&input))
        .filter(|demand| demand.root == Root::Own("output".to_owned()))
        .map(|demand| (step.id.clone(), demand))
        .collect()
}

/// Refines `ty` so that there is something of type `asked` at `path`. What was told first stays.
fn put(ty: &mut Type, path: &[Way], asked: &Type) {
    match path.split_first() {
        None => match (&mut *ty, asked) {
            (Type::Any, asked) => *ty = asked.clone(),
            // `size(x)` is of lists and texts alike; an item that is better known refines the list.
            (Type::List(item), Type::List(asked)) => put(item, &[], asked),
            (_, _) => {}
        },
        Some((Way::Field(name), rest)) => {
            if *ty == Type::Any {
                *ty = Type::Object(BTreeMap::new());
            }
            if let Type::Object(fields) = ty {
                put(fields.entry(name.clone()).or_default(), rest, asked);
            }
        }
        Some((Way::Item, rest)) => {
            if *ty == Type::Any {
                *ty = Type::List(Box::default());
            }
            if let Type::List(item) = ty {
                put(item, rest, asked);
            }
        }
    }
}

/// A scope of samples: what a condition would see once the steps before it have succeeded.
struct Sampled<'a> {
    input: &'a Value,
    outputs: &'a BTreeMap<String, Value>,
}

impl Scope for Sampled<'_> {
    fn value(&self, root: &Root) -> Option<Payload> {
        let found = match root {
            Root::Input => self.input.clone(),
            Root::StepOutput(id) => self.outputs.get(id)?.clone(),
            Root::StepStatus(id) => self.outputs.get(id).map(|_| Value::from("succeeded"))?,
            Root::Saga(name) => match name.as_str() {
                "started_at" => Value::from("2030-01-01T09:00:00Z"),
                "version" => Value::from(1),
                "id" | "name" => Value::from("sample"),
                _ => return None,
            },
            Root::StepError(_) | Root::Own(_) | Root::Local(_) => return None,
        };
        Some(Payload::from_value(found))
    }
}
