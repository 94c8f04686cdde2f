//! Ids: their form, their uniqueness, their number.

use std::collections::BTreeMap;

use super::Check;
use crate::{
    codes::Code,
    definition::{Definition, Node},
    finding::Finding,
    names,
    place::{Part, Place},
    types::Type,
};

/// Deepest nesting of groups.
pub(crate) const GROUPS_MAX: usize = 32;

/// Most fields of the declared input, nested ones included.
pub(super) const FIELDS_MAX: usize = 256;

/// Most steps of a definition.
pub(super) const STEPS_MAX: usize = 200;

/// Files were read with this rule already; it holds for definitions that a program built.
pub(super) fn ids_are_names(check: &Check<'_>, findings: &mut Vec<Finding>) {
    let file = (check.definition.saga.as_str(), Place::default().key("saga"));
    let steps = check
        .outline
        .steps
        .iter()
        .map(|step| (step.step.step.as_str(), step.place.key("step")));
    for (id, place) in std::iter::once(file)
        .chain(steps)
        .filter(|(id, _)| !id.is_empty())
    {
        if let Err(error) = names::check_id(id) {
            findings.push(Finding::new(Code::S0103, &place, error.to_string()));
        }
    }
}

/// As [`ids_are_names`].
pub(super) fn numbers_are_in_range(check: &Check<'_>, findings: &mut Vec<Finding>) {
    if check.definition.version == 0 {
        let message = "`version` counts from 1";
        findings.push(Finding::new(
            Code::S0103,
            &Place::default().key("version"),
            message,
        ));
    }
    for step in check
        .outline
        .steps
        .iter()
        .filter(|step| step.groups.len() > GROUPS_MAX)
    {
        let message = format!("groups nest at most {GROUPS_MAX} deep");
        findings.push(Finding::new(Code::S0008, &step.place, message));
    }
}

pub(super) fn ids_are_unique(check: &Check<'_>, findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<&str, &Place> = BTreeMap::new();
    for step in check
        .outline
        .steps
        .iter()
        .filter(|step| !step.step.step.is_empty())
    {
        let id = step.step.step.as_str();
        if let Some(other) = first.insert(id, &step.place) {
            first.insert(id, other);
            let fault = Finding::new(
                Code::S0102,
                &step.place.key("step"),
                format!("the id `{id}` stands twice"),
            );
            findings.push(fault.also(other.key("step"), Part::Value, "first here"));
        }
    }
}

pub(super) fn steps_are_few(definition: &Definition) -> Option<Finding> {
    let mut number = 0;
    let mut one_too_many = None;
    count(
        &definition.steps,
        &Place::default().key("steps"),
        &mut number,
        &mut one_too_many,
    );
    let place = one_too_many?;
    let message = format!("a definition has at most {STEPS_MAX} steps, and this one {number}");
    Some(Finding::new(Code::S0110, &place.key("step"), message).label("one too many"))
}

/// Expressions are checked against the type of the input as a whole, so that the work is the product of both.
pub(super) fn fields_are_few(definition: &Definition) -> Option<Finding> {
    let number: usize = definition.input.values().map(|ty| 1 + fields(ty)).sum();
    let message = format!("an input has at most {FIELDS_MAX} fields, and this one {number}");
    let finding = Finding::new(Code::S0103, &Place::default().key("input"), message).on_key();
    (number > FIELDS_MAX).then(|| finding.help("declare a part of it as `any`"))
}

fn fields(ty: &Type) -> usize {
    match ty {
        Type::Object(inner) => inner.values().map(|ty| 1 + fields(ty)).sum(),
        Type::List(inner) | Type::Optional(inner) => fields(inner),
        Type::String
        | Type::Int
        | Type::Double
        | Type::Bool
        | Type::Bytes
        | Type::Timestamp
        | Type::Duration
        | Type::Any
        | Type::Null => 0,
    }
}

fn count(items: &[Node], place: &Place, number: &mut usize, one_too_many: &mut Option<Place>) {
    for (at, item) in items.iter().enumerate() {
        match item {
            Node::Step(_) => {
                *number += 1;
                if *number == STEPS_MAX + 1 {
                    *one_too_many = Some(place.at(at));
                }
            }
            Node::Parallel(group) => {
                count(
                    &group.parallel,
                    &place.at(at).key("parallel"),
                    number,
                    one_too_many,
                );
            }
            Node::Sequence(group) => {
                count(
                    &group.sequence,
                    &place.at(at).key("sequence"),
                    number,
                    one_too_many,
                );
            }
        }
    }
}
