//! The picture for documents: a Mermaid flowchart.

use super::{Label, Point, arrows};
use crate::{definition::Kind, plan::Plan};

/// Draws a plan as a `flowchart LR`: the pivot is a hexagon, a step that may be skipped has a dashed frame. Ends with
/// a line feed.
#[must_use]
pub fn mermaid(plan: &Plan) -> String {
    let mut text = "flowchart LR\n".to_owned();
    text.push_str(&format!("  {}([\"start\"])\n", Point::Start.name()));
    let mut skippable = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let name = Point::Step(at).name();
        let label = escaped(&Label::of(at, step).text());
        let (open, close) = match step.kind {
            Kind::Pivot => ("{{", "}}"),
            Kind::Compensatable | Kind::Retriable => ("[", "]"),
        };
        text.push_str(&format!("  {name}{open}\"{label}\"{close}\n"));
        if !step.guards.is_empty() {
            skippable.push(name);
        }
    }
    text.push_str(&format!("  {}([\"end\"])\n", Point::End.name()));
    for (from, to) in arrows(plan) {
        text.push_str(&format!("  {} --> {}\n", from.name(), to.name()));
    }
    if !skippable.is_empty() {
        text.push_str("  classDef skippable stroke-dasharray:5 5\n");
        text.push_str(&format!("  class {} skippable\n", skippable.join(",")));
    }
    text
}

/// A text inside quotes; what has a meaning there, or in HTML or Markdown, is written as an entity.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | '*' | ';' | '\\' => {
                escaped.push_str(&format!("#{};", u32::from(c)));
            }
            _ => escaped.push(c),
        }
    }
    escaped
}
