//! Values under which a condition holds, or does not: found by trying what the condition itself names.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Sampled, input, of_type, outputs};
use crate::{
    expr::{Budget, Expr, Root, Way},
    plan::{Plan, StepIx},
    types::Type,
};

/// Levers that are pulled together; every further one doubles the tries and is hardly ever needed.
const LEVERS_MAX: usize = 6;
/// Combinations that are tried for one condition.
const TRIES_MAX: usize = 2_000;

/// A start payload, and outputs by step id.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The start payload.
    pub input: Value,
    /// What each step answers when it succeeds.
    pub outputs: BTreeMap<String, Value>,
}

impl Scenario {
    /// The plain samples.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            input: input(plan),
            outputs: outputs(plan),
        }
    }

    /// Whether the step would run; an error of its condition counts as no.
    #[must_use]
    pub fn selects(&self, plan: &Plan, step: StepIx) -> bool {
        let scope = Sampled {
            input: &self.input,
            outputs: &self.outputs,
        };
        plan.step(step).is_some_and(|step| {
            step.guards
                .iter()
                .all(|guard| guard.eval_bool(&scope, &mut Budget::default()) == Ok(true))
        })
    }
}

/// Values near `base` under which the step runs (`run`), or is left out because of its own or its groups' condition
/// (`!run`). `None`: none were found, or the step has no condition.
#[must_use]
pub fn scenario(plan: &Plan, base: &Scenario, step: StepIx, run: bool) -> Option<Scenario> {
    let guards = &plan.step(step)?.guards;
    if base.selects(plan, step) == run {
        return Some(base.clone());
    }
    let levers = levers(plan, guards);
    let mut turns = vec![0_usize; levers.len()];
    for _ in 0..TRIES_MAX {
        // Counts through all combinations; position 0 of a lever leaves it as it is.
        let mut at = 0;
        while let Some(turn) = turns.get_mut(at) {
            *turn += 1;
            if *turn <= levers[at].values.len() {
                break;
            }
            *turn = 0;
            at += 1;
        }
        if at == turns.len() {
            return None;
        }
        let mut tried = base.clone();
        for (lever, turn) in levers.iter().zip(&turns) {
            if let Some(value) = turn.checked_sub(1).and_then(|at| lever.values.get(at)) {
                lever.pull(&mut tried, value.clone());
            }
        }
        let clean = Type::Object(plan.definition.input.clone())
            .check_value(&tried.input)
            .is_empty();
        if clean && tried.selects(plan, step) == run {
            return Some(tried);
        }
    }
    None
}

/// A value that conditions look at, and what to try there; `None` takes it away.
struct Lever {
    root: Root,
    path: Vec<Way>,
    values: Vec<Option<Value>>,
}

impl Lever {
    fn pull(&self, scenario: &mut Scenario, value: Option<Value>) {
        let target = match &self.root {
            Root::Input => &mut scenario.input,
            Root::StepOutput(id) => scenario
                .outputs
                .entry(id.clone())
                .or_insert_with(|| Value::Object(Map::new())),
            Root::StepStatus(_)
            | Root::StepError(_)
            | Root::Saga(_)
            | Root::Own(_)
            | Root::Local(_) => {
                return;
            }
        };
        set(target, &self.path, value);
    }
}

fn levers(plan: &Plan, guards: &[Expr]) -> Vec<Lever> {
    let input = Type::Object(plan.definition.input.clone());
    let mut levers: Vec<Lever> = Vec::new();
    for demand in guards
        .iter()
        .flat_map(|guard| guard.demands(&Type::Bool, &input))
    {
        let values = values(
            &input,
            &demand.root,
            &demand.path,
            &demand.ty,
            demand.literal.as_ref(),
        );
        let known = levers
            .iter()
            .position(|lever| lever.root == demand.root && lever.path == demand.path);
        match known {
            Some(at) => {
                let lever = &mut levers[at];
                let new: Vec<_> = values
                    .into_iter()
                    .filter(|value| !lever.values.contains(value))
                    .collect();
                lever.values.extend(new);
            }
            None if levers.len() < LEVERS_MAX => {
                levers.push(Lever {
                    root: demand.root,
                    path: demand.path,
                    values,
                });
            }
            None => {}
        }
    }
    levers
}

fn values(
    input: &Type,
    root: &Root,
    path: &[Way],
    asked: &Type,
    literal: Option<&Value>,
) -> Vec<Option<Value>> {
    let mut values = Vec::new();
    match literal {
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => {
                let near = [whole.saturating_add(1), whole, whole.saturating_sub(1)];
                values.extend(near.map(|n| Some(Value::from(n))));
            }
            (None, Some(number)) => {
                values.extend([number + 1.0, number, number - 1.0].map(|n| Some(Value::from(n))));
            }
            (None, None) => {}
        },
        Some(Value::String(text)) => values.extend([
            Some(Value::from(text.as_str())),
            Some(Value::from("another")),
        ]),
        Some(other) => values.push(Some(other.clone())),
        None => {}
    }
    let name = match path.last() {
        Some(Way::Field(name)) => name.as_str(),
        Some(Way::Item) | None => "value",
    };
    match asked {
        Type::Bool => values.extend([true, false].map(|flag| Some(Value::from(flag)))),
        Type::List(item) => {
            let item = of_type(item, name);
            let lists = [0, 1, 3, 12].map(|count| Some(Value::Array(vec![item.clone(); count])));
            values.extend(lists);
        }
        Type::Timestamp => {
            let moments = ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"];
            values.extend(moments.map(|at| Some(Value::from(at))));
        }
        Type::Duration => values.extend(["1ms", "100h"].map(|span| Some(Value::from(span)))),
        Type::Int if literal.is_none() => {
            values.extend([0, 1_000_000].map(|n| Some(Value::from(n))))
        }
        Type::String
        | Type::Int
        | Type::Double
        | Type::Bytes
        | Type::Any
        | Type::Null
        | Type::Object(_)
        | Type::Optional(_) => {}
    }
    if *root == Root::Input && is_optional(input, path) {
        values.push(None);
    }
    values
}

fn is_optional(input: &Type, path: &[Way]) -> bool {
    let mut ty = input;
    for way in path {
        ty = match (ty, way) {
            (Type::Object(fields), Way::Field(name)) => match fields.get(name) {
                Some(field) => field,
                None => return false,
            },
            (Type::List(item), Way::Item) => item,
            (Type::Optional(inner), _) => return is_optional(inner, path),
            (_, _) => return false,
        };
    }
    matches!(ty, Type::Optional(_))
}

fn set(target: &mut Value, path: &[Way], value: Option<Value>) {
    match path.split_first() {
        None => *target = value.unwrap_or(Value::Null),
        Some((Way::Field(name), rest)) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            let Value::Object(fields) = target else {
                return;
            };
            match (rest.is_empty(), value) {
                (true, None) => drop(fields.remove(name)),
                (_, value) => set(
                    fields.entry(name.clone()).or_insert(Value::Null),
                    rest,
                    value,
                ),
            }
        }
        Some((Way::Item, rest)) => {
            if !target.is_array() {
                *target = Value::Array(vec![Value::Null]);
            }
            for item in target.as_array_mut().into_iter().flatten() {
                set(item, rest, value.clone());
            }
        }
    }
}
