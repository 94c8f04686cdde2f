//! The formatter of saga files and of the files of their tests.
//!
//! ```text
//! bytes ── read ──► tree ── layout (with comments and blank lines) ──► print ──► read again: the same?
//! ```
//! It changes how a file looks and never what it says: texts and expressions are copied byte by byte, and what was
//! printed is read again and held against the original before anybody gets it. Every comment is kept. Formatting
//! twice is formatting once.

mod layout;
mod order;
mod print;
#[cfg(test)]
mod tests;
mod trivia;
mod written;

use std::collections::BTreeSet;

use super::{
    load,
    read::{self, Read},
    report::Report,
    scalar, text,
    tree::{Content, Node},
};
use crate::{
    codes::Code,
    diagnostic::{self, Diagnostic, Severity},
};

/// Why a file is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It cannot be read as YAML, or YAML would lose something: what `saga lint` says about it.
    #[error("the text has faults")]
    Faults(Vec<Diagnostic>),
    /// The formatted text does not say the same: a fault of the formatter, and no reason to lose a definition.
    #[error("formatting would change what the file says: {0}")]
    Changed(&'static str),
}

/// Formats a saga file, or a file of tests for one. The text ends with a line feed.
///
/// Faults of the definition are no obstacle, faults of the text are.
///
/// # Errors
/// When the text has faults, or when the result would not mean the same.
pub fn format(path_for_messages: &str, bytes: &[u8]) -> Result<String, FormatError> {
    let source = match text::decode(bytes) {
        Ok(source) => normal_lines(source),
        Err(_) => {
            return Err(FormatError::Faults(
                load(path_for_messages, bytes).diagnostics,
            ));
        }
    };
    let read = read::read(&source);
    let cut: BTreeSet<usize> = read
        .findings
        .iter()
        .filter(is_cut)
        .map(|found| found.span.start)
        .collect();
    let Some(tree) = sound(&read) else {
        let mut found = Report::new(path_for_messages, &source).of_text(read.findings);
        found.retain(|found| found.severity == Severity::Error);
        diagnostic::sort(&mut found);
        return Err(FormatError::Faults(found));
    };
    if !matches!(tree.content, Content::Map(_)) {
        return Err(FormatError::Faults(
            load(path_for_messages, bytes).diagnostics,
        ));
    }
    let layout = layout::layout(&source, tree, &cut);
    let formatted = print::print(layout);
    match difference(&source, &formatted) {
        None => Ok(formatted),
        Some(what) => Err(FormatError::Changed(what)),
    }
}

fn is_cut(found: &&read::TextFinding) -> bool {
    found.code == Code::W0009
}

/// The tree, if nothing of the text is lost in it.
fn sound(read: &Read) -> Option<&Node> {
    let right = read
        .findings
        .iter()
        .all(|found| found.code.severity() != Severity::Error);
    read.tree.as_ref().filter(|_| right)
}

/// Without byte order mark, with line feeds alone.
fn normal_lines(source: &str) -> String {
    source
        .trim_start_matches('\u{feff}')
        .replace("\r\n", "\n")
        .replace('\r', "\n")
}

/// What two texts do not have in common, apart from how they look. The comments count, wherever they stand.
fn difference(before: &str, after: &str) -> Option<&'static str> {
    let (old, new) = (read::read(before), read::read(after));
    let (Some(old_tree), Some(new_tree)) = (sound(&old), sound(&new)) else {
        return Some("it could no longer be read");
    };
    if !same(old_tree, new_tree) {
        return Some("a value");
    }
    if load("", before.as_bytes()).definition != load("", after.as_bytes()).definition {
        return Some("the definition");
    }
    let comments = |source: &str, tree: &Node| {
        let mut found: Vec<String> = trivia::comments(source, tree)
            .map(|comment| comment.text)
            .collect();
        found.sort();
        found
    };
    if comments(before, old_tree) != comments(after, new_tree) {
        return Some("a comment");
    }
    let cuts = |read: &Read| read.findings.iter().filter(is_cut).count();
    (cuts(&old) != cuts(&new)).then_some("a warning")
}

/// Whether two trees hold the same values; the order of the keys of a map is no part of them.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.content, &other.content) {
        (Content::Scalar(one), Content::Scalar(other)) => {
            one.text == other.text && scalar::value(one) == scalar::value(other)
        }
        (Content::List(one), Content::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Content::Map(one), Content::Map(entries)) => {
            let twin = |entry: &super::tree::Entry| {
                other
                    .get(&entry.key)
                    .is_some_and(|found| same(&entry.value, &found.value))
            };
            one.len() == entries.len() && one.iter().all(twin)
        }
        (Content::Empty, Content::Empty) => true,
        (
            Content::Scalar(_)
            | Content::List(_)
            | Content::Map(_)
            | Content::Empty
            | Content::Broken,
            _,
        ) => false,
    }
}
