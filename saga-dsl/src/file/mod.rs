//! The YAML front: bytes to a definition, a plan, and everything that is wrong with them.
//!
//! ```text
//! bytes ── text ──► str ── read ──► tree with spans ── model, steps ──► definition ── check ──► plan
//! ```
//! Each stage reports all it finds and the next one goes on with what there is, so that an author sees every
//! fault at once. The parser is `granit-parser`, used for its events alone: a reader of typed values would stop
//! at its first error, and would no longer see YAML's traps (tags, cut texts, anchors).

mod model;
mod quote;
mod read;
mod scalar;
mod steps;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod walk;

use std::collections::BTreeSet;

pub use self::text::FILE_BYTES_MAX;
use self::{
    tree::{Content, Node},
    walk::Walk,
};
use crate::{
    check::{self, Catalog, FINDINGS_MAX, Knowledge},
    codes::Code,
    definition::Definition,
    diagnostic::{self, Diagnostic, LineIndex, Severity},
    finding::Finding,
    place::{Part, Place},
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
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
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
        Err(fault) => {
            // What is shown is the readable part before the fault.
            let readable = std::str::from_utf8(&bytes[..bytes.len().min(FILE_BYTES_MAX)]);
            let readable = readable.unwrap_or_else(|error| {
                std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
            });
            let mut diagnostic = Report::new(path_for_messages, readable).text(
                fault.code,
                fault.span,
                fault.message,
                String::new(),
            );
            diagnostic.help = fault.help.map(str::to_owned);
            return Loaded { definition: None, plan: None, diagnostics: vec![diagnostic] };
        }
    };
    let report = Report::new(path_for_messages, source);
    let read = read::read(source);
    let mut diagnostics = report.of_text(read.findings);
    let mut definition = None;
    if let Some(tree) = &read.tree {
        let mut walk = Walk::default();
        let model = model::definition(&mut walk, tree);
        let shape_is_right =
            diagnostics.iter().all(|found| found.severity != Severity::Error) && walk.findings.is_empty();
        let mut findings = walk.findings;
        if let Some(model) = &model {
            let mut known_ids = BTreeSet::new();
            step_ids(tree, &mut known_ids);
            let place_name = |place: &Place| {
                let span = tree.locate(place, &Part::Value, source);
                format!("line {}", report.lines.line_and_column(source, span.start).0)
            };
            let knowledge = Knowledge {
                catalog,
                known_ids,
                doubtful: walk.doubtful,
                incomplete: walk.incomplete,
                place_name: &place_name,
            };
            let mut of_rules = check::check(model, &knowledge);
            of_rules.truncate(FINDINGS_MAX);
            findings.extend(of_rules);
        }
        diagnostics.extend(findings.into_iter().map(|finding| report.of_place(tree, finding)));
        definition = model.filter(|_| shape_is_right);
    }
    diagnostic::sort(&mut diagnostics);
    let has_errors = diagnostics.iter().any(|found| found.severity == Severity::Error);
    let plan = match &definition {
        Some(definition) if !has_errors => match Plan::from_definition(definition.clone()) {
            Ok(plan) => Some(plan),
            Err(error) => {
                // The checks let something through that the plan refuses: said, never hidden.
                diagnostics.push(report.text(Code::S0103, 0..0, error.to_string(), String::new()));
                None
            }
        },
        Some(_) | None => None,
    };
    Loaded { definition, plan, diagnostics }
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

/// Turns findings into diagnostics of one file.
struct Report<'a> {
    path: &'a str,
    source: &'a str,
    lines: LineIndex,
}

impl<'a> Report<'a> {
    fn new(path: &'a str, source: &'a str) -> Self {
        Self { path, source, lines: LineIndex::of(source) }
    }

    fn text(&self, code: Code, span: std::ops::Range<usize>, message: String, label: String) -> Diagnostic {
        let (line, column) = self.lines.line_and_column(self.source, span.start);
        Diagnostic {
            severity: code.severity(),
            code,
            message,
            path: self.path.to_owned(),
            span: Some(span),
            line,
            column,
            label,
            help: None,
            notes: Vec::new(),
        }
    }

    fn of_text(&self, findings: Vec<read::TextFinding>) -> Vec<Diagnostic> {
        let shown = findings.into_iter().take(FINDINGS_MAX);
        let diagnostics = shown.map(|found| {
            let label = match found.also {
                Some(at) => format!("first on line {}", self.lines.line_and_column(self.source, at).0),
                None => found.label,
            };
            let mut diagnostic = self.text(found.code, found.span, found.message, label);
            diagnostic.help = found.help;
            diagnostic
        });
        diagnostics.collect()
    }

    fn of_place(&self, tree: &Node, finding: Finding) -> Diagnostic {
        let span = tree.locate(&finding.place, &finding.part, self.source);
        let mut diagnostic = self.text(finding.code, span, finding.message, finding.label);
        diagnostic.help = finding.help;
        diagnostic.notes = finding.notes;
        if finding.code == Code::S0201 && tree.is_cut_by_a_comment(&finding.place, self.source) {
            diagnostic
                .notes
                .push("` #` begins a comment: with `#` in it the whole value needs quotes".to_owned());
        }
        diagnostic
    }
}
