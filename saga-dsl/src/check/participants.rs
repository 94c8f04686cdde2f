//! Actions against what participants registered.

use std::collections::BTreeSet;

use super::{ActionSchema, Check, expressions};
use crate::{
    codes::Code,
    definition::{ActionName, Compensation, CompensationAction, Input, Verb},
    finding::Finding,
    near_miss::near_miss,
    outline::OutlineStep,
    place::{Part, Place},
    types::Type,
};

impl<'a> Check<'a> {
    /// Every action that a step names, with where it is named; stand-ins of what could not be read have no name.
    pub(super) fn actions_of(&self, outlined: &OutlineStep<'a>) -> Vec<(&'a ActionName, Place)> {
        let place = &outlined.place;
        let Verb::Action { action, .. } = &outlined.step.verb;
        let mut all = vec![(action, place.key("action"))];
        match &outlined.step.compensation {
            Some(Compensation::Action(action)) => all.push((action, place.key("compensation"))),
            Some(Compensation::Block(block)) => match &block.action {
                CompensationAction::Action(action) => {
                    all.push((action, place.key("compensation").key("action")));
                }
                CompensationAction::None(_) => {}
            },
            Some(Compensation::None(_)) | None => {}
        }
        all.retain(|(action, _)| !action.participant.is_empty());
        all
    }

    /// Whether the step asks anything of anybody.
    pub(super) fn asks(&self, outlined: &OutlineStep<'a>) -> bool {
        let Verb::Action { action, .. } = &outlined.step.verb;
        !action.participant.is_empty()
    }

    pub(super) fn schema(&self, action: &ActionName) -> Option<ActionSchema> {
        self.knowledge
            .catalog?
            .action(&action.participant, &action.action)
    }
}

/// An action that a known participant does not serve is a fault. A participant that nobody has seen may come later,
/// so it is a note.
pub(super) fn actions_are_registered(check: &Check<'_>, findings: &mut Vec<Finding>) {
    let known = check
        .knowledge
        .catalog
        .map(|catalog| catalog.actions())
        .unwrap_or_default();
    let participants: BTreeSet<&str> = known
        .iter()
        .filter_map(|name| Some(name.split_once('/')?.0))
        .collect();
    let mut unseen: BTreeSet<&str> = BTreeSet::new();
    let mut first_unseen = None;
    for (name, place) in check
        .outline
        .steps
        .iter()
        .flat_map(|step| check.actions_of(step))
    {
        if !participants.contains(name.participant.as_str()) {
            unseen.insert(&name.participant);
            first_unseen.get_or_insert(place);
        } else if check.schema(name).is_none() {
            findings.push(not_served(name, &place, &known));
        }
    }
    if let Some(place) = first_unseen {
        let names = unseen.iter().copied().collect::<Vec<_>>().join(", ");
        let message = format!("actions were not checked: nothing is known here of {names}");
        let mut note = Finding::new(Code::N0701, &place, message);
        let meant = unseen
            .iter()
            .find_map(|name| near_miss(name, participants.iter().copied()));
        note.help = meant.map(|meant| format!("did you mean `{meant}`?"));
        findings.push(note);
    }
}

/// The proof of what took effect lies in one inbox, so that an undo is asked of the participant that acted.
pub(super) fn compensations_stay_with_their_participant(
    check: &Check<'_>,
    findings: &mut Vec<Finding>,
) {
    for outlined in &check.outline.steps {
        let Verb::Action { action, .. } = &outlined.step.verb;
        for (undo, place) in check.actions_of(outlined).into_iter().skip(1) {
            let (acts, undoes) = (&action.participant, &undo.participant);
            if acts.is_empty() || acts == undoes {
                continue;
            }
            let message = format!("`{acts}` acts and `{undoes}` is to undo it");
            let fault = Finding::new(Code::S0402, &place, message).also(
                outlined.place.key("action"),
                Part::Value,
                format!("`{acts}` knows what took effect"),
            );
            let help = match near_miss(undoes, [acts.as_str()]) {
                Some(meant) => format!("did you mean `{meant}/{}`?", undo.action),
                None => format!(
                    "name an action of `{acts}`, such as `{acts}/{}`, which asks `{undoes}`",
                    undo.action
                ),
            };
            findings.push(fault.help(help));
        }
    }
}

fn not_served(name: &ActionName, place: &Place, known: &[String]) -> Finding {
    let mut fault = Finding::new(
        Code::S0401,
        place,
        format!("`{}` does not serve `{name}`", name.participant),
    );
    let prefix = format!("{}/", name.participant);
    let served: Vec<_> = known
        .iter()
        .filter_map(|action| action.strip_prefix(&prefix))
        .collect();
    fault.help = Some(match near_miss(&name.action, served.iter().copied()) {
        Some(meant) => format!("did you mean `{}/{meant}`?", name.participant),
        None => format!("`{}` serves {}", name.participant, served.join(", ")),
    });
    fault
}

pub(super) fn payloads_fit(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for (at, outlined) in check.outline.steps.iter().enumerate() {
        let place = &outlined.place;
        let Verb::Action { action, input } = &outlined.step.verb;
        if let Some(schema) = check.schema(action) {
            let scope = check.forward_scope(at);
            let found = expressions::payload_type(input.as_ref(), &scope);
            let written = input.as_ref().map(|_| place.key("input"));
            let pick = matches!(input, Some(Input::Pick(_)));
            fields_fit(
                action,
                &schema.input,
                &found,
                written,
                pick,
                &place.key("action"),
                findings,
            );
        }
        if let Some(Compensation::Block(block)) = &outlined.step.compensation
            && let (CompensationAction::Action(action), Some(input)) = (&block.action, &block.input)
            && let Some(schema) = check.schema(action)
        {
            let scope = check.compensation_scope(at);
            let found = expressions::payload_type(Some(input), &scope);
            let place = place.key("compensation");
            let pick = matches!(input, Input::Pick(_));
            let written = Some(place.key("input"));
            fields_fit(
                action,
                &schema.input,
                &found,
                written,
                pick,
                &place.key("action"),
                findings,
            );
        }
    }
}

/// Each field on its own, so that all misfits are told, each where it stands.
fn fields_fit(
    action: &ActionName,
    asked: &Type,
    found: &Type,
    written: Option<Place>,
    pick: bool,
    action_place: &Place,
    findings: &mut Vec<Finding>,
) {
    let place = written.as_ref().unwrap_or(action_place);
    let (Type::Object(asked), Type::Object(found)) = (asked, found) else {
        if !asked.accepts(found) {
            let message = format!("`{action}` takes {asked}, and this is {found}");
            findings.push(Finding::new(Code::S0403, place, message));
        }
        return;
    };
    for (name, ty) in asked {
        match found.get(name) {
            // An absent list is empty.
            None if matches!(ty, Type::Optional(_) | Type::List(_)) => {}
            None => {
                let fault = Finding::new(
                    Code::S0403,
                    place,
                    format!("`{action}` needs the field `{name}`: {ty}"),
                );
                findings.push(if written.is_some() {
                    fault.on_key()
                } else {
                    fault
                });
            }
            Some(found) if !ty.accepts(found) => {
                let place = if pick { place.clone() } else { place.key(name) };
                let message = format!("`{action}` takes {ty} for `{name}`, and this is {found}");
                findings.push(Finding::new(Code::S0403, &place, message));
            }
            Some(_) => {}
        }
    }
    for name in found.keys().filter(|name| !asked.contains_key(*name)) {
        let place = if pick { place.clone() } else { place.key(name) };
        let mut fault = Finding::new(
            Code::S0403,
            &place,
            format!("`{action}` takes no field `{name}`"),
        );
        if !pick {
            fault = fault.on_key();
        }
        fault.help = near_miss(name, asked.keys().map(String::as_str))
            .map(|meant| format!("did you mean `{meant}`?"));
        findings.push(fault);
    }
}
