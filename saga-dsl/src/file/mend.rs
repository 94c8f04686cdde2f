//! Repairs of a text that the parser cannot read, so that one slip does not hide every other fault of the file.
//!
//! The parser stops at its first error. The reader then asks [`Patched::repair`] what the error is and which bytes to
//! read otherwise, and parses the repaired text from the start. What the author evidently meant (an expression that
//! lacks its quotes) is read as meant; a value that nobody can tell is unknown, and a line that belongs nowhere is
//! left out. Spans always count bytes of the author's text.

mod indent;
mod lines;
#[cfg(test)]
mod tests;
mod value;

use std::ops::Range;

use granit_parser::{ErrorKind, ScanError};

use self::lines::Line;
use super::syntax;

/// What bytes of the text became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A value that is read as a text, as if it stood in quotes.
    Meant,
    /// A value that cannot be read.
    Unknown,
    /// A line that begins at another column.
    Moved,
    /// Lines that are left out.
    Gone,
    /// A slip that has one meaning alone.
    Certain,
}

/// Other bytes for a piece of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    bytes: Range<usize>,
    with: String,
    what: What,
}

impl Edit {
    /// Another value of the same length, so that columns stay.
    fn value(bytes: Range<usize>, what: What) -> Self {
        let with = "x".repeat(bytes.len());
        Self { bytes, with, what }
    }

    fn indent(bytes: Range<usize>, columns: usize) -> Self {
        let with = " ".repeat(columns);
        Self {
            bytes,
            with,
            what: What::Moved,
        }
    }
}

/// What is wrong with the text, and how to read on. Places are bytes of the patched text.
pub(super) struct Repair {
    pub message: String,
    pub span: Range<usize>,
    pub help: Option<String>,
    /// Where the other side of the fault stands, and what it is.
    pub also: Option<(Range<usize>, String)>,
    /// Whether it is a fault of its own, whatever was repaired on its line before; others may come of a repair.
    pub certain: bool,
    edits: Vec<Edit>,
}

impl Repair {
    /// Bytes of the lines that it changes.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.edits.iter().map(|edit| edit.bytes.start)
    }
}

/// The repairs of one text.
#[derive(Debug, Default)]
pub(super) struct Mends {
    /// In bytes of the author's text, in their order, none over another.
    edits: Vec<Edit>,
}

impl Mends {
    /// The text with all repairs.
    pub(super) fn apply(&self, source: &str) -> Patched {
        let mut text = String::with_capacity(source.len());
        let mut shifts = Vec::with_capacity(self.edits.len());
        let mut at = 0;
        for edit in &self.edits {
            text.push_str(source.get(at..edit.bytes.start).unwrap_or_default());
            let start = text.len();
            text.push_str(&edit.with);
            shifts.push((start..text.len(), edit.bytes.clone()));
            at = edit.bytes.end;
        }
        text.push_str(source.get(at..).unwrap_or_default());
        Patched { text, shifts }
    }

    /// Adds what a repair of that patched text says; false if it contradicts an earlier one.
    pub(super) fn add(&mut self, repair: Repair, patched: &Patched) -> bool {
        for edit in repair.edits {
            let bytes = patched.original(&edit.bytes);
            self.edits
                .retain(|old| old.bytes.start < bytes.start || old.bytes.end > bytes.end);
            let at = self
                .edits
                .partition_point(|old| old.bytes.start < bytes.start);
            let over = |old: &Edit| old.bytes.start < bytes.end && bytes.start < old.bytes.end;
            let neighbours = [at.checked_sub(1), Some(at)];
            if neighbours
                .into_iter()
                .flatten()
                .filter_map(|at| self.edits.get(at))
                .any(over)
            {
                return false;
            }
            self.edits.insert(at, Edit { bytes, ..edit });
        }
        true
    }

    /// What a value at these bytes is, if it was repaired.
    pub(super) fn value(&self, bytes: &Range<usize>) -> Option<What> {
        let within = self.edits.iter().filter(|edit| {
            edit.bytes.start < bytes.end
                && bytes.start < edit.bytes.end
                && matches!(edit.what, What::Meant | What::Unknown)
        });
        within
            .map(|edit| edit.what)
            .reduce(|one, other| if one == What::Unknown { one } else { other })
    }

    /// Whether a list or map at these bytes, up to what follows it, may lack something or have something too much.
    pub(super) fn tears(&self, bytes: &Range<usize>) -> bool {
        self.edits.iter().any(|edit| {
            matches!(edit.what, What::Moved | What::Gone)
                && bytes.start <= edit.bytes.start
                && edit.bytes.start <= bytes.end
        })
    }

    /// Whether the line of a key begins at another column than the author wrote.
    pub(super) fn moved(&self, key: &Range<usize>, source: &str) -> bool {
        let line = source
            .get(..key.start)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |at| at + 1);
        self.edits
            .iter()
            .any(|edit| edit.what == What::Moved && edit.bytes.start == line)
    }

    /// Whether lines were left out.
    pub(super) fn lose_lines(&self) -> bool {
        self.edits.iter().any(|edit| edit.what == What::Gone)
    }
}

/// A text with its repairs, and where its bytes come from.
pub(super) struct Patched {
    pub text: String,
    /// Patched bytes and the author's, in their order.
    shifts: Vec<(Range<usize>, Range<usize>)>,
}

impl Patched {
    /// The author's bytes behind patched ones.
    pub(super) fn original(&self, bytes: &Range<usize>) -> Range<usize> {
        let start = self.offset(bytes.start);
        start..self.offset(bytes.end).max(start)
    }

    fn offset(&self, at: usize) -> usize {
        let next = self
            .shifts
            .partition_point(|(patched, _)| patched.start <= at);
        match next.checked_sub(1).and_then(|last| self.shifts.get(last)) {
            None => at,
            Some((patched, original)) if at < patched.end => {
                original.start + (at - patched.start).min(original.len())
            }
            Some((patched, original)) => original.end + (at - patched.end),
        }
    }

    /// What the error at a byte of this text is, and how to read on; `tries` counts the errors of its line before.
    pub(super) fn repair(&self, error: &ScanError, at: usize, tries: usize) -> Repair {
        let text = self.text.as_str();
        let at = floor(text, at);
        let line = Line::around(text, at);
        // A line on which two repairs did not help is left out, and all behind it if that does not help either.
        match tries {
            0 | 1 => {}
            2 => return gone(error, at, text, line.start..line.end),
            _ => return gone(error, at, text, line.start..text.len()),
        }
        let found = match error.kind() {
            ErrorKind::TabInPlainScalar
            | ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart => indent::tabs(text),
            ErrorKind::UnclosedQuotedScalar
            | ErrorKind::InvalidQuotedScalarIndent
            | ErrorKind::DocumentIndicatorInQuotedScalar => value::open_quote(text, &line),
            ErrorKind::ExpectedBlockSequenceEntry
            | ErrorKind::ExpectedBlockMappingKey
            | ErrorKind::InvalidIndentation => indent::line(text, &line),
            ErrorKind::SimpleKeyExpected => value::no_space(text, &line),
            ErrorKind::MappingValueNotAllowed => value::expression_in_brackets(text, at)
                .or_else(|| value::no_space_before(text, &line, at))
                .or_else(|| indent::deeper(text, &line, at))
                .or_else(|| value::colon(text, &line, at)),
            ErrorKind::UnclosedFlowCollection { .. }
            | ErrorKind::MismatchedFlowCollectionEnd { .. } => value::open_bracket(text, &line),
            ErrorKind::ExpectedFlowMappingSeparator
            | ErrorKind::ExpectedFlowSequenceSeparator
            | ErrorKind::InvalidColonPlacement
            | ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::UnexpectedEofFlowSequence
            | ErrorKind::UnexpectedEofImplicitFlowMapping => {
                value::expression_in_brackets(text, at)
                    .or_else(|| value::open_bracket_before(text, &line))
            }
            _ => None,
        };
        found.unwrap_or_else(|| value::unknown(error, text, &line, at))
    }
}

/// Leaves lines out: blank bytes, so that columns stay.
fn gone(error: &ScanError, at: usize, text: &str, bytes: Range<usize>) -> Repair {
    let (message, help) = syntax::explain(error, at, text);
    let with = text.get(bytes.clone()).unwrap_or_default().bytes();
    let with = with
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
        .collect();
    Repair {
        message,
        span: one_char(text, at),
        help,
        also: None,
        certain: false,
        edits: vec![Edit {
            bytes,
            with,
            what: What::Gone,
        }],
    }
}

fn one_char(text: &str, at: usize) -> Range<usize> {
    let rest = text.get(at..).and_then(|rest| rest.chars().next());
    at..at + rest.map_or(0, char::len_utf8)
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
