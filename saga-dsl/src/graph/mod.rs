//! Pictures of a plan as text: [`ascii()`] for terminals, [`svg()`] for pages, [`mermaid()`] for documents, [`dot()`]
//! for Graphviz.
//!
//! All name a step by its id and the same marks: `◆` the pivot, `↩` has a compensation, `∞` retried until
//! it succeeds, `?` may be skipped. The first two follow the groups of the file; the other two list the steps and
//! who waits for whom, and leave the layout to the tool that shows them.

mod ascii;
mod dot;
mod mermaid;
mod svg;
#[cfg(test)]
mod tests;

pub use self::{
    ascii::ascii,
    dot::dot,
    mermaid::mermaid,
    svg::{svg, svg_with},
};
use crate::{
    definition::{Kind, Node},
    plan::{Plan, PlanStep},
};

/// Where a step of a running saga stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How it is coloured.
    pub tone: Tone,
    /// The status in words, for nobody should have to go by the colour.
    pub words: String,
}

/// What a status means to whoever skims a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Done.
    Done,
    /// At work now.
    Busy,
    /// Undone, or about to be.
    Back,
    /// Refused, failed, or in need of an operator.
    Bad,
    /// Waiting, skipped or not reached.
    Idle,
}

/// A step as every picture names it.
struct Label {
    /// Position in the plan.
    at: usize,
    /// The id, behind the sign of the pivot if it is one.
    name: String,
    /// What else is to be known, one sign each.
    marks: Vec<&'static str>,
}

impl Label {
    fn of(at: usize, step: &PlanStep) -> Self {
        // A plan made without the checks may have any id; a control character would tear the picture apart.
        let id: String = step
            .id
            .chars()
            .map(|c| {
                if c.is_control() {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
        let mut marks = Vec::new();
        if step.compensation.is_some() {
            marks.push("↩");
        }
        let name = match step.kind {
            Kind::Compensatable => id,
            Kind::Pivot => format!("◆ {id}"),
            Kind::Retriable => {
                marks.push("∞");
                id
            }
        };
        if !step.guards.is_empty() {
            marks.push("?");
        }
        Self { at, name, marks }
    }

    fn text(&self) -> String {
        std::iter::once(self.name.as_str())
            .chain(self.marks.iter().copied())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What the marks of a plan mean; empty when it has none.
fn legend(plan: &Plan) -> String {
    let any = |holds: fn(&PlanStep) -> bool| plan.steps.iter().any(holds);
    let meanings = [
        ("↩ compensation", any(|step| step.compensation.is_some())),
        ("◆ pivot", any(|step| step.kind == Kind::Pivot)),
        ("∞ retriable", any(|step| step.kind == Kind::Retriable)),
        ("? may be skipped", any(|step| !step.guards.is_empty())),
    ];
    let used: Vec<_> = meanings
        .into_iter()
        .filter_map(|(meaning, used)| used.then_some(meaning))
        .collect();
    used.join("  ")
}

/// The groups of a file without those that change nothing: empty ones, those with one child, and those inside a group
/// of their own kind.
enum Part {
    Step(Label),
    /// One after the other; two at least.
    Row(Vec<Part>),
    /// All at once; two at least.
    Branches(Vec<Part>),
}

impl Part {
    /// The saga as one part; `None` without any step.
    fn of(plan: &Plan) -> Option<Self> {
        Self::row(plan, &plan.definition.steps)
    }

    fn item(plan: &Plan, node: &Node) -> Option<Self> {
        match node {
            Node::Step(step) => {
                let ix = plan.step_ix(&step.step)?;
                Some(Self::Step(Label::of(ix.at(), plan.step(ix)?)))
            }
            Node::Sequence(group) => Self::row(plan, &group.sequence),
            Node::Parallel(group) => Self::branches(plan, &group.parallel),
        }
    }

    fn row(plan: &Plan, nodes: &[Node]) -> Option<Self> {
        let mut parts = Vec::new();
        for part in nodes.iter().filter_map(|node| Self::item(plan, node)) {
            match part {
                Self::Row(inner) => parts.extend(inner),
                Self::Step(_) | Self::Branches(_) => parts.push(part),
            }
        }
        if parts.len() > 1 {
            Some(Self::Row(parts))
        } else {
            parts.pop()
        }
    }

    fn branches(plan: &Plan, nodes: &[Node]) -> Option<Self> {
        let mut parts = Vec::new();
        for part in nodes.iter().filter_map(|node| Self::item(plan, node)) {
            match part {
                Self::Branches(inner) => parts.extend(inner),
                Self::Step(_) | Self::Row(_) => parts.push(part),
            }
        }
        if parts.len() > 1 {
            Some(Self::Branches(parts))
        } else {
            parts.pop()
        }
    }
}

/// An end of an arrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Start,
    /// Position in the plan.
    Step(usize),
    End,
}

impl Point {
    /// A name that no tool takes for a keyword, whatever the ids of the steps are.
    fn name(self) -> String {
        match self {
            Self::Start => "begin".to_owned(),
            Self::Step(at) => format!("s{at}"),
            Self::End => "finish".to_owned(),
        }
    }
}

/// Every arrow of a plan, from what is waited for to what waits.
fn arrows(plan: &Plan) -> Vec<(Point, Point)> {
    if plan.steps.is_empty() {
        return vec![(Point::Start, Point::End)];
    }
    let mut arrows = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        if step.after.is_empty() {
            arrows.push((Point::Start, Point::Step(at)));
        }
        arrows.extend(
            step.after
                .iter()
                .map(|before| (Point::Step(before.at()), Point::Step(at))),
        );
    }
    let last = plan
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.before.is_empty());
    arrows.extend(last.map(|(at, _)| (Point::Step(at), Point::End)));
    arrows
}
