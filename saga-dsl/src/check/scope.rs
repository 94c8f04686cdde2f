//! What an expression may read where it stands.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::{
    definition::Verb,
    expr::{Root, RootType, TypeEnv},
    near_miss::near_miss,
    outline::Guard,
    types::Type,
};

/// What can be read of the saga, behind `saga.`.
pub(crate) const SAGA_FIELDS: &[&str] = &["id", "version", "started_at", "failure"];

/// What can be read of the action that is undone, behind `self.`.
pub(crate) const OWN_FIELDS: &[&str] = &["input", "output", "key"];

/// A place from which expressions read.
pub(super) struct Scope<'c, 'a> {
    check: &'c Check<'a>,
    kind: ScopeKind,
    /// Steps that are settled when the expression is evaluated.
    settled: BTreeSet<usize>,
    /// Conditions that hold when it is.
    guards: BTreeSet<&'a str>,
}

/// What stands where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScopeKind {
    /// The key of a start: nothing has run.
    Start,
    /// A condition of a group.
    Group,
    /// Condition and payload of a step.
    Forward(usize),
    /// The payload of a step's compensation.
    Compensation(usize),
    /// The result.
    Output,
}

/// Whether a step can be read.
pub(super) enum Reach {
    /// There is no such step.
    Unknown,
    /// It exists, and this release does not know when it runs.
    Outside,
    /// It is settled.
    Settled(usize),
    /// The step itself.
    Own,
    /// It starts after the reader.
    Later,
    /// It runs beside the reader.
    Beside,
}

impl<'a> Check<'a> {
    pub(super) fn start_scope(&self) -> Scope<'_, 'a> {
        Scope {
            check: self,
            kind: ScopeKind::Start,
            settled: BTreeSet::new(),
            guards: BTreeSet::new(),
        }
    }

    /// Of a condition: those around it hold when it is evaluated, it itself is the question.
    pub(super) fn condition_scope(
        &self,
        kind: ScopeKind,
        after: &[usize],
        guards: &[Guard<'a>],
    ) -> Scope<'_, 'a> {
        let outer = guards.len().saturating_sub(1);
        let guards = guards.iter().take(outer).map(|guard| guard.when).collect();
        Scope {
            check: self,
            kind,
            settled: self.settled_after(after),
            guards,
        }
    }

    pub(super) fn forward_scope(&self, at: usize) -> Scope<'_, 'a> {
        self.step_scope(ScopeKind::Forward(at), at)
    }

    /// What was settled before the step started is so still when it is undone.
    pub(super) fn compensation_scope(&self, at: usize) -> Scope<'_, 'a> {
        self.step_scope(ScopeKind::Compensation(at), at)
    }

    fn step_scope(&self, kind: ScopeKind, at: usize) -> Scope<'_, 'a> {
        let guards = self.outline.steps[at]
            .guards
            .iter()
            .map(|guard| guard.when)
            .collect();
        Scope {
            check: self,
            kind,
            settled: self.settled[at].clone(),
            guards,
        }
    }

    pub(super) fn output_scope(&self) -> Scope<'_, 'a> {
        let settled = (0..self.outline.steps.len()).collect();
        Scope {
            check: self,
            kind: ScopeKind::Output,
            settled,
            guards: BTreeSet::new(),
        }
    }
}

impl<'a> Scope<'_, 'a> {
    pub(super) fn kind(&self) -> ScopeKind {
        self.kind
    }

    /// Conditions that hold when an expression here is evaluated.
    pub(super) fn guards(&self) -> impl Iterator<Item = &'a str> {
        self.guards.iter().copied()
    }

    /// Whether the step with this id can be read from here.
    pub(super) fn reach(&self, id: &str) -> Reach {
        let Some(at) = self.check.by_id.get(id).copied() else {
            let knowledge = self.check.knowledge;
            let outside = knowledge.lost_steps || knowledge.known_ids.contains(id);
            return if outside {
                Reach::Outside
            } else {
                Reach::Unknown
            };
        };
        if self.settled.contains(&at) {
            return Reach::Settled(at);
        }
        match self.kind {
            ScopeKind::Forward(own) | ScopeKind::Compensation(own) if own == at => Reach::Own,
            ScopeKind::Forward(own) | ScopeKind::Compensation(own) => {
                if self.check.settled[at].contains(&own) {
                    Reach::Later
                } else {
                    Reach::Beside
                }
            }
            ScopeKind::Start | ScopeKind::Group | ScopeKind::Output => Reach::Later,
        }
    }

    fn output(&self, id: &str) -> RootType {
        let at = match self.reach(id) {
            Reach::Unknown => return self.unknown_step(id, "output"),
            // Reported where the expression is checked, with what can be said of it.
            Reach::Outside | Reach::Own | Reach::Later | Reach::Beside => return known(Type::Any),
            Reach::Settled(at) => at,
        };
        let outlined = &self.check.outline.steps[at];
        let Verb::Action { action, .. } = &outlined.step.verb;
        let ty = self
            .check
            .schema(action)
            .map_or(Type::Any, |schema| schema.output);
        let skipped = outlined
            .guards
            .iter()
            .find(|guard| !self.guards.contains(guard.when));
        let maybe_absent = skipped.map(|guard| {
            let place = (self.check.knowledge.place_name)(&guard.place);
            format!("skipped when {place} is false")
        });
        RootType::Known { ty, maybe_absent }
    }

    fn unknown_step(&self, id: &str, what: &str) -> RootType {
        let readable = self
            .settled
            .iter()
            .map(|at| self.check.outline.steps[*at].step.step.as_str());
        let readable: Vec<&str> = readable.filter(|id| !id.is_empty()).collect();
        let meant = near_miss(id, readable.iter().copied());
        let suggestions = meant
            .map(|meant| format!("steps.{meant}.{what}"))
            .into_iter()
            .collect();
        RootType::Unknown { suggestions }
    }

    fn saga(&self, name: &str) -> RootType {
        match name {
            "id" => known(Type::String),
            "version" => known(Type::Int),
            "started_at" => known(Type::Timestamp),
            "failure" => {
                let fields =
                    ["code", "message", "step"].map(|name| (name.to_owned(), Type::String));
                let undoing = matches!(self.kind, ScopeKind::Compensation(_));
                let reason = "a saga has a failure only while it compensates".to_owned();
                RootType::Known {
                    ty: Type::Object(BTreeMap::from(fields)),
                    maybe_absent: (!undoing).then_some(reason),
                }
            }
            _ => suggest(name, "saga", SAGA_FIELDS),
        }
    }

    /// A bare word: most often a field of the input or a step whose root was left out.
    fn local(&self, name: &str) -> RootType {
        let inputs = self
            .check
            .definition
            .input
            .keys()
            .map(|field| (field.as_str(), format!("input.{field}")));
        let steps = self
            .check
            .by_id
            .keys()
            .map(|id| (*id, format!("steps.{id}.output")));
        let roots = ["input", "steps", "saga"]
            .into_iter()
            .map(|root| (root, root.to_owned()));
        let words: Vec<(&str, String)> = roots.chain(inputs).chain(steps).collect();
        let meant = words
            .iter()
            .find(|(word, _)| *word == name)
            .map(|(word, _)| *word);
        let meant = meant.or_else(|| near_miss(name, words.iter().map(|(word, _)| *word)));
        let suggestion = words
            .iter()
            .find(|(word, _)| Some(*word) == meant)
            .map(|(_, written)| written.clone());
        RootType::Unknown {
            suggestions: suggestion.into_iter().collect(),
        }
    }

    fn own(&self, name: &str) -> RootType {
        if !matches!(self.kind, ScopeKind::Compensation(_)) {
            // Reported where the expression is checked, with what can be said of it.
            return known(Type::Any);
        }
        match name {
            "input" => known(Type::Any),
            "key" => known(Type::String),
            "output" => {
                let ScopeKind::Compensation(at) = self.kind else {
                    return known(Type::Any);
                };
                let Verb::Action { action, .. } = &self.check.outline.steps[at].step.verb;
                let ty = self
                    .check
                    .schema(action)
                    .map_or(Type::Any, |schema| schema.output);
                let reason = "the outcome of the action may be unknown".to_owned();
                RootType::Known {
                    ty,
                    maybe_absent: Some(reason),
                }
            }
            _ => suggest(name, "self", OWN_FIELDS),
        }
    }
}

fn known(ty: Type) -> RootType {
    RootType::Known {
        ty,
        maybe_absent: None,
    }
}

fn suggest(name: &str, root: &str, names: &[&str]) -> RootType {
    let meant = near_miss(name, names.iter().copied());
    RootType::Unknown {
        suggestions: meant
            .map(|meant| format!("{root}.{meant}"))
            .into_iter()
            .collect(),
    }
}

impl TypeEnv for Scope<'_, '_> {
    fn root(&self, root: &Root) -> RootType {
        if self.kind == ScopeKind::Start && *root != Root::Input {
            return RootType::Unknown {
                suggestions: Vec::new(),
            };
        }
        match root {
            Root::Input if self.check.knowledge.open_input => known(Type::Any),
            Root::Input => known(Type::Object(self.check.definition.input.clone())),
            Root::StepOutput(id) => self.output(id),
            Root::StepStatus(id) => match self.reach(id) {
                Reach::Unknown => self.unknown_step(id, "status"),
                Reach::Outside | Reach::Own | Reach::Later | Reach::Beside | Reach::Settled(_) => {
                    known(Type::String)
                }
            },
            Root::StepError(id) => match self.reach(id) {
                Reach::Unknown => self.unknown_step(id, "error"),
                Reach::Outside | Reach::Own | Reach::Later | Reach::Beside | Reach::Settled(_) => {
                    RootType::Known {
                        ty: Type::Any,
                        maybe_absent: Some("a step has an error only where it failed".to_owned()),
                    }
                }
            },
            Root::Saga(name) => self.saga(name),
            Root::Own(name) => self.own(name),
            Root::Local(name) => self.local(name),
        }
    }
}
