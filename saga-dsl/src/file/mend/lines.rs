//! Lines of a file in block style, as far as they can be told without a parser.

use std::ops::Range;

/// A line: where it stands, how deep it is indented, and what it begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Its first byte.
    pub start: usize,
    /// Behind its last byte, the line break not counted.
    pub end: usize,
    /// Spaces and tabs before its first word.
    pub indent: usize,
    /// Bytes from its first word to the content of the entry that it begins; 0 where it begins none.
    pub dash: usize,
    /// The line without its indentation and the dash before an entry.
    pub content: &'a str,
}

impl<'a> Line<'a> {
    /// The line around a byte.
    pub(super) fn around(text: &'a str, at: usize) -> Self {
        let start = text[..at].rfind('\n').map_or(0, |found| found + 1);
        Self::from(text, start)
    }

    fn from(text: &'a str, start: usize) -> Self {
        let line = text[start..].split('\n').next().unwrap_or_default();
        let line = line.trim_end_matches('\r');
        let word = line.trim_start_matches([' ', '\t', '\u{feff}']);
        let indent = line.len() - word.len();
        let content = match word.strip_prefix('-') {
            Some(rest) if rest.is_empty() || rest.starts_with(' ') => rest.trim_start(),
            _ => word,
        };
        Self {
            start,
            end: start + line.len(),
            indent,
            dash: word.len() - content.len(),
            content,
        }
    }

    /// All lines before this one, the nearest first, without blank ones and comments.
    pub(super) fn before(&self, text: &'a str) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let mut at = self.start;
        std::iter::from_fn(move || {
            let end = at.checked_sub(1)?;
            at = text[..end].rfind('\n').map_or(0, |found| found + 1);
            Some(Self::from(text, at))
        })
        .filter(|line| !line.is_blank())
    }

    /// All lines behind this one, without blank ones and comments.
    pub(super) fn after(&self, text: &'a str) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let mut at = text[self.end..]
            .find('\n')
            .map(|found| self.end + found + 1);
        std::iter::from_fn(move || {
            let line = Self::from(text, at.filter(|at| *at < text.len())?);
            at = text[line.end..]
                .find('\n')
                .map(|found| line.end + found + 1);
            Some(line)
        })
        .filter(|line| !line.is_blank())
    }

    fn is_blank(&self) -> bool {
        self.dash == 0 && (self.content.is_empty() || self.content.starts_with('#'))
    }

    /// Whether it begins an entry of a list.
    pub(super) fn is_entry(&self) -> bool {
        self.dash > 0
    }

    /// Its first byte that is no space.
    pub(super) fn word(&self) -> usize {
        self.start + self.indent
    }

    /// Column of what it holds, the dash left out.
    pub(super) fn content_column(&self) -> usize {
        self.indent + self.dash
    }

    /// Its key, if it begins with one.
    pub(super) fn key(&self) -> Option<&'a str> {
        let (key, rest) = self.content.split_once(':')?;
        let plain = !key.is_empty()
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        (plain && (rest.is_empty() || rest.starts_with([' ', '\t']))).then_some(key)
    }

    /// Where its value stands: behind the key, or behind the dash; without what a comment says. `None`: it has none.
    pub(super) fn value(&self) -> Option<Range<usize>> {
        let skipped = match self.key() {
            Some(key) => key.len() + 1,
            None if self.is_entry() => 0,
            None => return None,
        };
        let rest = &self.content[skipped..];
        let text = rest.trim_start();
        let from = self.word() + self.dash + skipped + (rest.len() - text.len());
        let text = text.find(" #").map_or(text, |at| &text[..at]).trim_end();
        (!text.is_empty() && !text.starts_with('#')).then(|| from..from + text.len())
    }
}

/// What a line looks like beside its neighbours: `action`, or `- step: pay`.
pub(super) fn name(line: &Line<'_>) -> String {
    const CHARS_MAX: usize = 30;
    match (line.is_entry(), line.key()) {
        (false, Some(key)) => key.to_owned(),
        (entry, _) => {
            let text: String = line.content.chars().take(CHARS_MAX).collect();
            if entry { format!("- {text}") } else { text }
        }
    }
}

/// Number of the line at a byte, from 1.
pub(super) fn number(text: &str, at: usize) -> usize {
    text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1
}
