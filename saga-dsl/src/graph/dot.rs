//! The picture for Graphviz.

use super::{Label, Point, arrows, legend};
use crate::{definition::Kind, plan::Plan};

/// Draws a plan as a directed graph from left to right: the pivot is a hexagon, a step that may be skipped has a dashed
/// frame. Ends with a line feed.
#[must_use]
pub fn dot(plan: &Plan) -> String {
    let mut text = format!("digraph {} {{\n", quoted(&plan.definition.saga));
    text.push_str("  rankdir=LR;\n  node [shape=box];\n");
    text.push_str(&format!(
        "  {} [label=\"start\", shape=oval];\n",
        Point::Start.name()
    ));
    for (at, step) in plan.steps.iter().enumerate() {
        let shape = match step.kind {
            Kind::Pivot => ", shape=hexagon",
            Kind::Compensatable | Kind::Retriable => "",
        };
        let style = if step.guards.is_empty() {
            ""
        } else {
            ", style=dashed"
        };
        let label = quoted(&Label::of(at, step).text());
        text.push_str(&format!(
            "  {} [label={label}{shape}{style}];\n",
            Point::Step(at).name()
        ));
    }
    text.push_str(&format!(
        "  {} [label=\"end\", shape=oval];\n",
        Point::End.name()
    ));
    for (from, to) in arrows(plan) {
        text.push_str(&format!("  {} -> {};\n", from.name(), to.name()));
    }
    let legend = legend(plan);
    if !legend.is_empty() {
        text.push_str(&format!(
            "  label={}; labelloc=b; fontsize=11;\n",
            quoted(&legend)
        ));
    }
    text.push_str("}\n");
    text
}

/// A text in quotes. Inside a label a backslash begins an escape (`\N` is the node's name), so it is doubled. A plan made
/// without the checks may have any name, and a control character would tear the picture apart.
fn quoted(text: &str) -> String {
    let text = text.replace(char::is_control, "\u{fffd}");
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
