//! Findings to diagnostics: the path, the span, the line and the column.

use std::ops::Range;

use super::{read::TextFinding, tree::Node};
use crate::{
    check::FINDINGS_MAX,
    codes::Code,
    diagnostic::{Diagnostic, LineIndex, Mark, one_line},
    finding::Finding,
    place::{Part, Place},
};

/// Turns findings into diagnostics of one file.
pub(super) struct Report<'a> {
    path: &'a str,
    source: &'a str,
    lines: LineIndex,
}

impl<'a> Report<'a> {
    pub(super) fn new(path: &'a str, source: &'a str) -> Self {
        Self {
            path,
            source,
            lines: LineIndex::of(source),
        }
    }

    pub(super) fn text(
        &self,
        code: Code,
        span: Range<usize>,
        message: String,
        label: String,
    ) -> Diagnostic {
        let (line, column) = self.lines.line_and_column(self.source, span.start);
        let end = self.lines.line_and_column(self.source, span.end);
        Diagnostic {
            severity: code.severity(),
            code,
            message: one_line(message),
            path: self.path.to_owned(),
            span: Some(span),
            line,
            column,
            end,
            label: one_line(label),
            also: Vec::new(),
            help: None,
            notes: Vec::new(),
        }
    }

    fn mark(&self, span: Range<usize>, label: String) -> Mark {
        let (line, column) = self.lines.line_and_column(self.source, span.start);
        Mark {
            line,
            column,
            end: self.lines.line_and_column(self.source, span.end),
            span,
            label: one_line(label),
        }
    }

    pub(super) fn of_text(&self, findings: Vec<TextFinding>) -> Vec<Diagnostic> {
        let shown = findings.into_iter().take(FINDINGS_MAX);
        let diagnostics = shown.map(|found| {
            let mut diagnostic = self.text(found.code, found.span, found.message, found.label);
            let also = found.also.map(|(span, label)| self.mark(span, label));
            diagnostic.also.extend(also);
            diagnostic.help = found.help;
            diagnostic
        });
        diagnostics.collect()
    }

    pub(super) fn of_place(&self, tree: &Node, finding: Finding) -> Diagnostic {
        let span = tree.locate(&finding.place, &finding.part, self.source);
        let mut diagnostic = self.text(finding.code, span, finding.message, finding.label);
        let marks = finding.also.into_iter().map(|(place, part, label)| {
            let span = tree.locate(&place, &part, self.source);
            self.mark(span, label)
        });
        diagnostic.also.extend(marks);
        diagnostic.help = finding.help;
        diagnostic.notes = finding.notes;
        if finding.code == Code::S0201 && tree.is_cut_by_a_comment(&finding.place, self.source) {
            diagnostic.notes.push(
                "` #` begins a comment: with `#` in it the whole value needs quotes".to_owned(),
            );
        }
        diagnostic
    }

    /// What messages call the place: `line 30`.
    pub(super) fn line_of(&self, tree: &Node, place: &Place) -> String {
        let span = tree.locate(place, &Part::Value, self.source);
        format!(
            "line {}",
            self.lines.line_and_column(self.source, span.start).0
        )
    }
}
