//! The YAML front: bytes to a definition, a plan, and everything that is wrong with them.
//!
//! ```text
//! bytes ── text ──► str ── read ──► tree with spans ── model, steps ──► definition ── check ──► plan
//! ```
//! Each stage reports all it finds and the next one goes on with what there is, so that an author sees every
//! fault at once. The parser is `granit-parser`, used for its events alone: a reader of typed values would stop
//! at its first error, and would no longer see YAML's traps (tags, cut texts, anchors).

pub mod format;
pub(crate) mod keys;
mod locate;
mod mend;
pub(crate) mod model;
mod participants;
mod quote;
mod read;
mod report;
mod scalar;
pub(crate) mod steps;
mod syntax;
mod test_cases;
#[cfg(test)]
mod tests;
mod text;
mod tree;
pub(crate) mod unsupported;
pub(crate) mod walk;

use std::collections::BTreeSet;

pub use self::{
    participants::load_limits,
    test_cases::{NoPlan, load_tests},
    text::FILE_BYTES_MAX,
};
use self::{
    report::Report,
    tree::{Content, Node},
    walk::Walk,
};
use crate::{
    check::{self, Catalog, FINDINGS_MAX, Knowledge},
    codes::Code,
    definition::Definition,
    diagnostic::{self, Diagnostic, Severity},
    finding::Finding,
    place::Place,
    plan::Plan,
};

/// A file as far as it could be loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The definition, if its shape is right.
    pub definition: Option<Definition>,
    /// The plan, if there is no error at all.
    pub plan: Option<Plan>,
    /// Everything found, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether there is any error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Loads and checks a file without knowing any participant.
#[must_use]
pub fn load(path_for_messages: &str, bytes: &[u8]) -> Loaded {
    load_with(path_for_messages, bytes, None)
}

/// Loads and checks a file; with a catalog also against what participants registered.
#[must_use]
pub fn load_with(path_for_messages: &str, bytes: &[u8], catalog: Option<&dyn Catalog>) -> Loaded {
    let source = match text::decode(bytes) {
        Ok(source) => source,
        Err(fault) => return unreadable(path_for_messages, bytes, fault),
    };
    let report = Report::new(path_for_messages, source);
    let read = read::read(source);
    let mut diagnostics = report.of_text(read.findings);
    let text_is_right = diagnostics
        .iter()
        .all(|found| found.severity != Severity::Error);
    let mut definition = None;
    if let Some(tree) = &read.tree {
        let mut walk = Walk::default();
        let model = model::definition(&mut walk, tree);
        let shape_is_right = text_is_right && walk.findings.is_empty();
        let mut findings = std::mem::take(&mut walk.findings);
        if let Some(model) = &model {
            findings.extend(check_model(
                model,
                tree,
                &report,
                walk,
                read.incomplete,
                catalog,
            ));
        }
        diagnostics.extend(
            findings
                .into_iter()
                .map(|finding| report.of_place(tree, finding)),
        );
        definition = model.filter(|_| shape_is_right);
    }
    diagnostic::sort(&mut diagnostics);
    let has_errors = diagnostics
        .iter()
        .any(|found| found.severity == Severity::Error);
    let ready = definition.as_ref().filter(|_| !has_errors);
    let plan = match ready.map(|definition| Plan::from_definition(definition.clone())) {
        Some(Ok(plan)) => Some(plan),
        Some(Err(error)) => {
            // The checks let something through that the plan refuses: said, never hidden.
            diagnostics.push(report.text(Code::S0103, 0..0, error.to_string(), String::new()));
            None
        }
        None => None,
    };
    Loaded {
        definition,
        plan,
        diagnostics,
    }
}

/// What a reader of plain YAML sees in a text, for tests of the schema.
#[cfg(test)]
pub(crate) fn plain_value(source: &str) -> Option<serde_json::Value> {
    let read = read::read(source);
    let faulty = read.findings.iter().any(|found| found.code != Code::W0009);
    read.tree
        .filter(|_| !faulty)
        .and_then(|tree| Walk::default().value(&tree, &Place::default()))
}

/// Of a file that is no text, what is shown is the readable part before the fault.
fn unreadable(path: &str, bytes: &[u8], fault: text::TextFault) -> Loaded {
    let start = &bytes[..bytes.len().min(FILE_BYTES_MAX)];
    let readable = start.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let mut diagnostic =
        Report::new(path, readable).text(fault.code, fault.span, fault.message, String::new());
    diagnostic.help = fault.help.map(str::to_owned);
    Loaded {
        definition: None,
        plan: None,
        diagnostics: vec![diagnostic],
    }
}

fn check_model(
    model: &Definition,
    tree: &Node,
    report: &Report<'_>,
    walk: Walk,
    lost_lines: bool,
    catalog: Option<&dyn Catalog>,
) -> Vec<Finding> {
    let input = tree.get("input").map(|entry| &entry.value);
    let open_input = match input {
        Some(input) => input.is_uncertain() || !matches!(input.content, Content::Map(_)),
        None => tree.torn || tree.content == Content::Broken,
    };
    let mut known_ids = BTreeSet::new();
    step_ids(tree, &mut known_ids);
    let place_name = |place: &Place| report.line_of(tree, place);
    let knowledge = Knowledge {
        catalog,
        known_ids,
        doubtful: walk.doubtful,
        incomplete: walk.incomplete,
        lost_steps: lost_lines || walk.lost_steps,
        open_input,
        place_name: &place_name,
    };
    let mut findings = check::check(model, &knowledge);
    findings.truncate(FINDINGS_MAX);
    findings
}

/// Every id in the file, also in parts that the model does not hold.
fn step_ids(node: &Node, ids: &mut BTreeSet<String>) {
    match &node.content {
        Content::List(items) => items.iter().for_each(|item| step_ids(item, ids)),
        Content::Map(entries) => {
            for entry in entries {
                match &entry.value.content {
                    Content::Scalar(scalar) if entry.key == "step" => {
                        ids.insert(scalar.text.clone());
                    }
                    _ => step_ids(&entry.value, ids),
                }
            }
        }
        Content::Scalar(_) | Content::Empty | Content::Broken => {}
    }
}
