//! The faults of a definition: where they stand, what they are, and how to put them right.

use std::{fmt, ops::Range};

use annotate_snippets::{Annotation, AnnotationKind, Level, Origin, Renderer, Snippet};

use crate::codes::Code;

/// Longest piece of a source line that is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 160;

/// Columns of a usual terminal, at which help is wrapped.
const SCREEN_COLUMNS: usize = 80;

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
    /// Line and column behind the last character; 0 without a span.
    pub end: (usize, usize),
    /// What stands beside the underlined source.
    pub label: String,
    /// Other places that have a part in it: where the same stood first.
    pub also: Vec<Mark>,
    /// How to put it right.
    pub help: Option<String>,
    /// Further facts.
    pub notes: Vec<String>,
}

/// Another place of the same file that has a part in a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Bytes of the source.
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Line and column behind the last character.
    pub end: (usize, usize),
    /// What stands there.
    pub label: String,
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
        if self.code == Code::N0701 && self.help.is_none() {
            return self.one_line_note(colour);
        }
        let excerpt = self.span.as_ref().map(|span| {
            let others = self.also.iter().map(|mark| &mark.span);
            Excerpt::of(source, std::iter::once(span).chain(others))
        });
        let excerpt = excerpt.filter(|excerpt| excerpt.of_use);
        let title = level
            .primary_title(self.message.as_str())
            .id(self.code.as_str());
        let mut group = title.elements(excerpt.as_ref().map(|excerpt| self.snippet(excerpt)));
        if excerpt.is_none() {
            let origin = Origin::path(self.path.as_str());
            group = group.element(if self.line > 0 {
                origin.line(self.line).char_column(self.column)
            } else {
                origin
            });
        }
        let text_columns = SCREEN_COLUMNS.saturating_sub(self.gutter() + " = help: ".len());
        let help = self.help.as_ref().map(|help| wrapped(help, text_columns));
        if let Some(help) = &help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let notes: Vec<String> = self
            .notes
            .iter()
            .map(|note| wrapped(note, text_columns))
            .collect();
        for note in &notes {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.term_width(SHOWN_BYTES_MAX).render(&[group])
    }

    /// The lines with all that is marked in them.
    fn snippet<'s>(&'s self, excerpt: &'s Excerpt) -> Snippet<'s, Annotation<'s>> {
        let labels = std::iter::once(&self.label).chain(self.also.iter().map(|mark| &mark.label));
        let kinds = std::iter::once(AnnotationKind::Primary)
            .chain(std::iter::repeat(AnnotationKind::Context));
        let marks = excerpt.spans.iter().zip(labels).zip(kinds);
        let marks = marks.filter_map(|((span, label), kind)| {
            let mark = kind.span(span.clone()?);
            Some(if label.is_empty() {
                mark
            } else {
                mark.label(label.as_str())
            })
        });
        Snippet::source(excerpt.text.as_str())
            .path(self.path.as_str())
            .line_start(excerpt.line)
            .annotations(marks)
    }

    /// A remark about the whole file, which no line of it explains better.
    fn one_line_note(&self, colour: bool) -> String {
        let title = Level::NOTE
            .primary_title(self.message.as_str())
            .id(self.code.as_str());
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let empty: [Snippet<'_, Annotation<'_>>; 0] = [];
        let drawn = renderer.render(&[title.elements(empty)]);
        format!("{drawn} ({})", self.path)
    }

    /// Columns that line numbers take.
    fn gutter(&self) -> usize {
        let last = self.also.iter().map(|mark| mark.line).max().unwrap_or(0);
        last.max(self.line).to_string().len()
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

/// Sorts by position in the file, then by code: the order in which people read. What is said of the whole file stands
/// last.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        let key = |d: &Diagnostic| {
            let of_whole_file = d.code == Code::N0701;
            let start = d.span.as_ref().map(|s| s.start);
            (of_whole_file, start, d.severity, d.code)
        };
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

/// The lines of the source in which spans begin, and the spans' parts of them.
struct Excerpt {
    text: String,
    /// Number of the first line, from 1.
    line: usize,
    /// In bytes of the text, the first span first; `None`: its line is too long to be of use to anybody.
    spans: Vec<Option<Range<usize>>>,
    /// False where there is nothing to see.
    of_use: bool,
}

impl Excerpt {
    fn of<'s>(source: &str, spans: impl Iterator<Item = &'s Range<usize>>) -> Self {
        let spans: Vec<Range<usize>> = spans
            .map(|span| {
                let from = floor(source, span.start);
                from..floor(source, span.end).max(from)
            })
            .collect();
        let line_start = |at: usize| source[..at].rfind('\n').map_or(0, |at| at + 1);
        let starts: Vec<usize> = spans.iter().map(|span| line_start(span.start)).collect();
        let first = starts.iter().copied().min().unwrap_or(0);
        let last = starts.iter().copied().max().unwrap_or(0);
        let mut text = String::new();
        let mut found: Vec<Option<Range<usize>>> = vec![None; spans.len()];
        let mut at = first;
        let mut of_use = false;
        for whole in source[first..].split('\n') {
            let line = whole.trim_end_matches('\r');
            let shown = line.trim_start_matches('\u{feff}');
            let bom = line.len() - shown.len();
            let short = shown.len() <= 4 * SHOWN_BYTES_MAX;
            for (n, span) in spans.iter().enumerate() {
                if starts.get(n) == Some(&at) && short {
                    let from = span.start.saturating_sub(at + bom).min(shown.len());
                    let to = span.end.saturating_sub(at + bom).clamp(from, shown.len());
                    if let Some(slot) = found.get_mut(n) {
                        *slot = Some(text.len() + from..text.len() + to);
                    }
                    of_use |= n == 0 && !shown.is_empty();
                }
            }
            text.push_str(if short { shown } else { "" });
            at += whole.len() + 1;
            if at > last {
                break;
            }
            text.push('\n');
        }
        Self {
            text,
            line: source[..first].matches('\n').count() + 1,
            spans: found,
            of_use,
        }
    }
}

/// A sentence in lines of at most so many columns, broken at spaces; what stands in quotes or backticks is to be copied
/// and stays in one piece.
fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = String::with_capacity(text.len());
    let mut used = 0;
    let mut open: Option<char> = None;
    let words = text.split(|c: char| {
        match open {
            Some(end) if c == end => open = None,
            None if matches!(c, '`' | '"') => open = Some(c),
            Some(_) | None => {}
        }
        c == ' ' && open.is_none()
    });
    for word in words {
        let width = word.chars().count();
        if used > 0 && used + 1 + width > columns {
            lines.push('\n');
            used = 0;
        } else if used > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += width;
    }
    lines
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
            end: (line, column),
            label: "here".into(),
            also: Vec::new(),
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
    fn help_is_wrapped_for_a_terminal_and_code_stays_whole() {
        let help =
            "write the input as a map: `express: \"${has(input.express) ? input.express : 0}\"`";
        assert_eq!(
            wrapped(help, 40),
            "write the input as a map:\n`express: \"${has(input.express) ? input.express : 0}\"`"
        );
        assert_eq!(wrapped("one two", 80), "one two");
    }

    #[test]
    fn a_second_place_is_drawn_with_the_first() {
        let source = "saga: trip\r\na: 1\nb: 2\nc: 3\nd: 4\nversion: two\n";
        let mut fault = diagnostic(source, 41..44);
        fault.also.push(Mark {
            span: 6..10,
            line: 1,
            column: 7,
            end: (1, 11),
            label: "first here".into(),
        });
        insta::assert_snapshot!(fault.render(source, false), @r"
        error[S0103]: not a version
         --> trip.saga.yaml:6:10
          |
        1 | saga: trip
          |       ---- first here
        ...
        6 | version: two
          |          ^^^ here
          |
          = help: write a number
          = note: versions count from 1
        ");
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
            let mut two = fault;
            let span = len..len + start;
            two.also.push(Mark { span, line: 1, column: 1, end: (1, 1), label: "x".into() });
            let _ = two.render(&source, false);
        }
    }
}
