//! The static checks: one rule a function, grouped by what they are about. All faults at once.
//!
//! Rules read the model and its `Outline`, never a text; a construct that joins the language joins the outline,
//! and the rules about order, reads and payloads hold for it as they stand.

mod durations;
mod expressions;
pub(crate) mod limits;
mod names;
mod participants;
mod pivot;
mod scope;
#[cfg(test)]
mod tests;

pub(crate) use self::names::GROUPS_MAX;
#[cfg(test)]
pub(crate) use self::scope::{OWN_FIELDS, SAGA_FIELDS};

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    definition::Definition,
    diagnostic::{self, Diagnostic},
    finding::Finding,
    outline::Outline,
    place::Place,
    types::Type,
};

/// Findings beyond this number help nobody, and making them takes time that grows with the definition.
pub(crate) const FINDINGS_MAX: usize = 100;

/// What participants registered.
pub trait Catalog {
    /// The schema of an action; `None`: nobody serves it.
    fn action(&self, participant: &str, action: &str) -> Option<ActionSchema>;

    /// Every action, as `participant/action`, for suggestions.
    fn actions(&self) -> Vec<String>;
}

/// Types of an action's payload and result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionSchema {
    /// What it takes.
    pub input: Type,
    /// What it answers.
    pub output: Type,
}

/// What is known beside the definition.
pub(crate) struct Knowledge<'a> {
    /// `None`: nothing is known of any participant.
    pub catalog: Option<&'a dyn Catalog>,
    /// Ids of steps that exist and are not in the model.
    pub known_ids: BTreeSet<String>,
    /// Steps that were not read completely.
    pub doubtful: BTreeSet<Place>,
    /// Whether parts of what was written are not in the model.
    pub incomplete: bool,
    /// Whether steps may exist that are neither in the model nor in `known_ids`.
    pub lost_steps: bool,
    /// Whether the declared input could not be read as a whole: it may have any field.
    pub open_input: bool,
    /// What to call a place in a message: `line 30`.
    pub place_name: &'a dyn Fn(&Place) -> String,
}

/// Checks a definition that did not come from a file. Places take the part of lines.
#[must_use]
pub fn check_definition(definition: &Definition, catalog: Option<&dyn Catalog>) -> Vec<Diagnostic> {
    let knowledge = Knowledge {
        catalog,
        known_ids: BTreeSet::new(),
        doubtful: BTreeSet::new(),
        incomplete: false,
        lost_steps: false,
        open_input: false,
        place_name: &|place: &Place| format!("`{place}`"),
    };
    let findings = check(definition, &knowledge);
    let mut diagnostics: Vec<_> = findings
        .into_iter()
        .map(|finding| {
            let mut notes = finding.notes;
            if !finding.label.is_empty() {
                notes.insert(0, finding.label);
            }
            for (place, _, label) in finding.also {
                notes.push(format!("`{place}`: {label}"));
            }
            Diagnostic {
                severity: finding.code.severity(),
                code: finding.code,
                message: diagnostic::one_line(finding.message),
                path: format!(
                    "{}@{} {}",
                    definition.saga, definition.version, finding.place
                ),
                span: None,
                line: 0,
                column: 0,
                end: (0, 0),
                label: String::new(),
                also: Vec::new(),
                help: finding.help,
                notes,
            }
        })
        .collect();
    diagnostic::sort(&mut diagnostics);
    diagnostics
}

/// Every finding of every rule.
pub(crate) fn check(definition: &Definition, knowledge: &Knowledge<'_>) -> Vec<Finding> {
    let limits = [
        names::steps_are_few(definition),
        names::fields_are_few(definition),
    ];
    let exceeded: Vec<_> = limits.into_iter().flatten().collect();
    if !exceeded.is_empty() {
        // The rules take time that grows with the square of the steps, and with fields times expressions.
        return exceeded;
    }
    let check = Check::of(definition, knowledge);
    let mut findings = Vec::new();
    names::ids_are_names(&check, &mut findings);
    names::numbers_are_in_range(&check, &mut findings);
    names::ids_are_unique(&check, &mut findings);
    durations::are_not_zero(&check, &mut findings);
    durations::delays_agree(&check, &mut findings);
    durations::multipliers_grow(&check, &mut findings);
    durations::timeouts_fit_the_deadline(&check, &mut findings);
    durations::compensations_go_on(&check, &mut findings);
    limits::make_sense(&definition.participants, &mut findings);
    limits::are_of_somebody(&check, &mut findings);
    pivot::is_not_in_parallel(&check, &mut findings);
    pivot::steps_before_it_say_what_undoes_them(&check, &mut findings);
    pivot::compensations_have_a_meaning(&check, &mut findings);
    pivot::none_has_a_reason(&check, &mut findings);
    if !knowledge.incomplete {
        // What was left out may hold the pivot.
        pivot::stands_alone_on_its_path(&check, &mut findings);
        pivot::steps_after_it_are_retriable(&check, &mut findings);
        pivot::retriable_steps_follow_it(&check, &mut findings);
    }
    expressions::idempotency_key(&check, &mut findings);
    expressions::conditions(&check, &mut findings);
    expressions::inputs(&check, &mut findings);
    expressions::output(&check, &mut findings);
    participants::actions_are_registered(&check, &mut findings);
    participants::compensations_stay_with_their_participant(&check, &mut findings);
    participants::payloads_fit(&check, &mut findings);
    findings
}

/// A definition with what the rules share.
struct Check<'a> {
    definition: &'a Definition,
    outline: Outline<'a>,
    knowledge: &'a Knowledge<'a>,
    /// For each step all that are settled before it starts.
    settled: Vec<BTreeSet<usize>>,
    by_id: BTreeMap<&'a str, usize>,
}

impl<'a> Check<'a> {
    fn of(definition: &'a Definition, knowledge: &'a Knowledge<'a>) -> Self {
        let outline = Outline::of(definition);
        let mut settled: Vec<BTreeSet<usize>> = Vec::new();
        let mut by_id = BTreeMap::new();
        for (at, step) in outline.steps.iter().enumerate() {
            // Predecessors stand earlier in the list, so theirs are known already.
            let before = all_settled(&settled, &step.after);
            settled.push(before);
            by_id.entry(step.step.step.as_str()).or_insert(at);
        }
        Self {
            definition,
            outline,
            knowledge,
            settled,
            by_id,
        }
    }

    /// All steps that are settled once those of `after` are.
    fn settled_after(&self, after: &[usize]) -> BTreeSet<usize> {
        all_settled(&self.settled, after)
    }
}

fn all_settled(settled: &[BTreeSet<usize>], after: &[usize]) -> BTreeSet<usize> {
    let mut all: BTreeSet<usize> = after.iter().copied().collect();
    for at in after {
        all.extend(settled.get(*at).into_iter().flatten().copied());
    }
    all
}
