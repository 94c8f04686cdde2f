//! The step tree as a list: order, groups and guards, before any expression is read.
//!
//! An item waits for the *exits* of the item before it: of a step itself, of a `parallel` the exits of all its
//! children, of a `sequence` those of its last child. Guards of groups are inherited by what is inside. A skipped
//! step counts as settled, so that the order holds without exceptions. Plans and checks both rest on this list.

use crate::{
    definition::{Definition, Node, Step},
    place::Place,
    plan::GroupKind,
};

/// Every step and every group of a definition, each in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Outline<'a> {
    pub steps: Vec<OutlineStep<'a>>,
    pub groups: Vec<OutlineGroup<'a>>,
}

/// A step and what surrounds it. Steps are spoken of by their position in [`Outline::steps`].
#[derive(Debug)]
pub(crate) struct OutlineStep<'a> {
    pub step: &'a Step,
    pub place: Place,
    /// Groups around it, from the outside in.
    pub groups: Vec<(GroupKind, Place)>,
    /// Conditions of the groups around it and its own, in this order.
    pub guards: Vec<Guard<'a>>,
    /// The nearest steps that must be settled before it starts.
    pub after: Vec<usize>,
}

/// A group with a condition of its own.
#[derive(Debug)]
pub(crate) struct OutlineGroup<'a> {
    /// Conditions of the groups around it and its own, in this order.
    pub guards: Vec<Guard<'a>>,
    /// The nearest steps that must be settled before the group starts.
    pub after: Vec<usize>,
}

/// A condition, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Guard<'a> {
    pub when: &'a str,
    pub place: Place,
}

#[derive(Clone, Default)]
struct Around<'a> {
    groups: Vec<(GroupKind, Place)>,
    guards: Vec<Guard<'a>>,
}

impl<'a> Outline<'a> {
    pub(crate) fn of(definition: &'a Definition) -> Self {
        let mut outline = Self::default();
        let steps = Place::default().key("steps");
        outline.sequence(&definition.steps, &steps, Vec::new(), &Around::default());
        outline
    }

    /// Items one after the other, the first after `entry`; answers the exits of the last.
    fn sequence(
        &mut self,
        items: &'a [Node],
        place: &Place,
        entry: Vec<usize>,
        around: &Around<'a>,
    ) -> Vec<usize> {
        let numbered = items.iter().enumerate();
        numbered.fold(entry, |exits, (at, item)| {
            self.item(item, &place.at(at), exits, around)
        })
    }

    fn item(
        &mut self,
        item: &'a Node,
        place: &Place,
        entry: Vec<usize>,
        around: &Around<'a>,
    ) -> Vec<usize> {
        match item {
            Node::Step(step) => {
                let around = self.guarded(around, step.when.as_deref(), place);
                self.steps.push(OutlineStep {
                    step,
                    place: place.clone(),
                    groups: around.groups,
                    guards: around.guards,
                    after: entry,
                });
                vec![self.steps.len() - 1]
            }
            Node::Sequence(group) => {
                let around = self.inside(
                    around,
                    GroupKind::Sequence,
                    group.when.as_deref(),
                    place,
                    &entry,
                );
                self.sequence(&group.sequence, &place.key("sequence"), entry, &around)
            }
            Node::Parallel(group) => {
                let around = self.inside(
                    around,
                    GroupKind::Parallel,
                    group.when.as_deref(),
                    place,
                    &entry,
                );
                if group.parallel.is_empty() {
                    return entry;
                }
                let children = place.key("parallel");
                let numbered = group.parallel.iter().enumerate();
                let mut exits: Vec<usize> = numbered
                    .flat_map(|(at, child)| {
                        self.item(child, &children.at(at), entry.clone(), &around)
                    })
                    .collect();
                // An empty group inside hands its entry through; several may hand through the same.
                exits.sort_unstable();
                exits.dedup();
                exits
            }
        }
    }

    fn guarded(&self, around: &Around<'a>, when: Option<&'a str>, place: &Place) -> Around<'a> {
        let mut around = around.clone();
        around.guards.extend(when.map(|when| Guard {
            when,
            place: place.key("when"),
        }));
        around
    }

    fn inside(
        &mut self,
        around: &Around<'a>,
        kind: GroupKind,
        when: Option<&'a str>,
        place: &Place,
        entry: &[usize],
    ) -> Around<'a> {
        let mut around = self.guarded(around, when, place);
        if when.is_some() {
            self.groups.push(OutlineGroup {
                guards: around.guards.clone(),
                after: entry.to_vec(),
            });
        }
        around.groups.push((kind, place.clone()));
        around
    }
}
