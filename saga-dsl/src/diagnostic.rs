//! The faults of a definition: where they stand, what they are, and how to put them right.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use crate::codes::Code;

/// Longest piece of a source line that is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 160;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The definition cannot be used.
    Error,
    /// It can be used, and the author should look.
    Warning,
    /// For information.
    Note,
}

impl Severity {
    /// The word that screens show.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One fault, warning or note about a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// The file as its reader calls it.
    pub path: String,
    /// Bytes of the source; `None` where the definition did not come from a text.
    pub span: Option<Range<usize>>,
    /// Line, from 1; 0 without a span.
    pub line: usize,
    /// Column in characters, from 1; 0 without a span.
    pub column: usize,
    /// What stands beside the underlined source.
    pub label: String,
    /// How to put it right.
    pub help: Option<String>,
    /// Further facts.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// The look that people know from rustc: title, source line with the fault underlined, help, notes.
    /// `source` is the text that was checked. Never panics, whatever the span.
    #[must_use]
    pub fn render(&self, source: &str, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let excerpt = self.span.as_ref().map(|span| Excerpt::of(source, span));
        let mut group = level
            .primary_title(self.message.as_str())
            .id(self.code.as_str())
            .elements(
                excerpt
                    .as_ref()
                    .filter(|excerpt| excerpt.of_use)
                    .map(|excerpt| {
                        let mark = AnnotationKind::Primary.span(excerpt.span.clone());
                        let mark = if self.label.is_empty() {
                            mark
                        } else {
                            mark.label(self.label.as_str())
                        };
                        Snippet::source(excerpt.text)
                            .path(self.path.as_str())
                            .line_start(self.line.max(1))
                            .annotation(mark)
                    }),
            );
        if excerpt.is_none_or(|excerpt| !excerpt.of_use) {
            let origin = Origin::path(self.path.as_str());
            let placed = self.line > 0;
            group = group.element(if placed {
                origin.line(self.line).char_column(self.column)
            } else {
                origin
            });
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        for note in &self.notes {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.term_width(SHOWN_BYTES_MAX).render(&[group])
    }

    fn place(&self) -> String {
        format!("{}:{}:{}", self.path, self.line, self.column)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.line == 0 {
            self.path.clone()
        } else {
            self.place()
        };
        write!(
            f,
            "{place}: {}[{}]: {}",
            self.severity.word(),
            self.code.as_str(),
            self.message
        )
    }
}

/// A sentence as a screen can hold it: what it quotes of the author may have line breaks, or no end.
pub(crate) fn one_line(text: String) -> String {
    /// Longest sentence, in characters.
    const CHARS_MAX: usize = 400;
    if text.len() <= CHARS_MAX && !text.contains(char::is_control) {
        return text;
    }
    let shown = text.chars().flat_map(|c| {
        let escaped = c.is_control().then(|| c.escape_default());
        escaped
            .into_iter()
            .flatten()
            .chain((!c.is_control()).then_some(c))
    });
    let mut line: String = shown.take(CHARS_MAX + 1).collect();
    if let Some((end, _)) = line.char_indices().nth(CHARS_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// Sorts by position in the file, then by code: the order in which people read.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        let key = |d: &Diagnostic| (d.span.as_ref().map(|s| s.start), d.severity, d.code);
        key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
    });
}

/// Where each line of a text begins, so that many offsets can be told as line and column.
#[derive(Debug, Clone)]
pub struct LineIndex {
    starts: Vec<usize>,
}

impl LineIndex {
    /// The lines of a text.
    #[must_use]
    pub fn of(source: &str) -> Self {
        let breaks = source
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n');
        Self {
            starts: std::iter::once(0)
                .chain(breaks.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    /// Line and column (both from 1, the column in characters) of a byte offset in the same text. An offset
    /// outside of it or inside of a character counts as the nearest place before.
    #[must_use]
    pub fn line_and_column(&self, source: &str, offset: usize) -> (usize, usize) {
        let offset = floor(source, offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line
            .checked_sub(1)
            .and_then(|at| self.starts.get(at))
            .copied()
            .unwrap_or(0);
        let before = source.get(start..offset).unwrap_or_default();
        (
            line,
            before.trim_start_matches('\u{feff}').chars().count() + 1,
        )
    }
}

/// The line of the source in which a span begins, and the span's part of it.
struct Excerpt<'a> {
    text: &'a str,
    span: Range<usize>,
    /// False where there is nothing to see, or the line is too long to be of use to anybody.
    of_use: bool,
}

impl<'a> Excerpt<'a> {
    fn of(source: &'a str, span: &Range<usize>) -> Self {
        let from = floor(source, span.start);
        let to = floor(source, span.end).max(from);
        let start = source[..from].rfind('\n').map_or(0, |at| at + 1);
        let end = source[from..]
            .find('\n')
            .map_or(source.len(), |at| from + at);
        let text = source[start..end].trim_end_matches('\r');
        let bom = text.len() - text.trim_start_matches('\u{feff}').len();
        let text = &text[bom..];
        let start = start + bom;
        let from = from.saturating_sub(start).min(text.len());
        let to = to.saturating_sub(start).clamp(from, text.len());
        Self {
            text,
            span: from..to,
            of_use: !text.is_empty() && text.len() <= 4 * SHOWN_BYTES_MAX,
        }
    }
}

fn floor(source: &str, offset: usize) -> usize {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn diagnostic(source: &str, span: Range<usize>) -> Diagnostic {
        let (line, column) = LineIndex::of(source).line_and_column(source, span.start);
        Diagnostic {
            severity: Severity::Error,
            code: Code::S0103,
            message: "not a version".into(),
            path: "trip.saga.yaml".into(),
            span: Some(span),
            line,
            column,
            label: "here".into(),
            help: Some("write a number".into()),
            notes: vec!["versions count from 1".into()],
        }
    }

    #[test]
    fn quoted_line_breaks_and_endless_words_fit_on_a_line() {
        assert_eq!(
            one_line("`a\n\u{7}ü` is not a type".into()),
            "`a\\n\\u{7}ü` is not a type"
        );
        assert_eq!(one_line("ü".repeat(400)), "ü".repeat(400));
        assert_eq!(one_line("ü".repeat(401)), "ü".repeat(400) + "…");
    }

    #[test]
    fn looks_like_rustc() {
        let source = "saga: trip\nversion: two\n";
        insta::assert_snapshot!(diagnostic(source, 20..23).render(source, false), @r"
        error[S0103]: not a version
         --> trip.saga.yaml:2:10
          |
        2 | version: two
          |          ^^^ here
          |
          = help: write a number
          = note: versions count from 1
        ");
        assert_eq!(
            diagnostic(source, 20..23).to_string(),
            "trip.saga.yaml:2:10: error[S0103]: not a version"
        );
    }

    #[test]
    fn columns_count_characters_and_ignore_carriage_returns() {
        let source = "\u{feff}a: ü\r\nbü: x\r\n";
        let lines = LineIndex::of(source);
        assert_eq!(lines.line_and_column(source, 3), (1, 1));
        assert_eq!(
            lines.line_and_column(source, source.find('x').expect("there")),
            (2, 5)
        );
        assert_eq!(lines.line_and_column(source, 1_000), (3, 1));
        let shown = diagnostic(source, 10..13).render(source, false);
        assert!(!shown.contains('\r'), "{shown:?}");
    }

    #[test]
    fn a_fault_without_a_text_names_its_place() {
        let mut fault = diagnostic("", 0..0);
        fault.span = None;
        (fault.line, fault.column) = (0, 0);
        insta::assert_snapshot!(fault.render("", false), @r"
        error[S0103]: not a version
        --> trip.saga.yaml
         = help: write a number
         = note: versions count from 1
        ");
        assert_eq!(
            fault.to_string(),
            "trip.saga.yaml: error[S0103]: not a version"
        );
    }

    proptest! {
        #[test]
        fn odd_spans_never_panic(source in "[a:\\r\\n\\tüß\u{feff}\u{1F600} ]{0,40}", start in 0usize..60, len in 0usize..60) {
            let fault = diagnostic(&source, start..start + len);
            let _ = fault.render(&source, false);
            let _ = fault.render(&source, true);
            #[allow(clippy::reversed_empty_ranges)]
            let _ = diagnostic(&source, start + len..start).render(&source, false);
        }
    }
}
