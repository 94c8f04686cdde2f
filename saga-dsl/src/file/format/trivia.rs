//! What the parser passes over: comments and blank lines. They stand between the scalars, never inside of one.

use std::{collections::VecDeque, ops::Range};

use super::super::tree::{Content, Node, Style};
use super::written;

/// A comment, from its `#` to the end of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    pub at: usize,
    /// Characters before it on its line.
    pub column: usize,
    pub text: String,
    /// Nothing but blanks before it.
    pub own_line: bool,
}

/// A piece of what is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trivium {
    /// A comment.
    Comment(Comment),
    /// One blank line or several, and where they begin.
    Blank(usize),
}

impl Trivium {
    const fn at(&self) -> usize {
        match self {
            Self::Comment(comment) => comment.at,
            Self::Blank(at) => *at,
        }
    }
}

/// Everything that is passed over, in the order of the text, taken from the front.
pub(super) struct Trivia(VecDeque<Trivium>);

impl Trivia {
    pub(super) fn of(source: &str, tree: &Node) -> Self {
        let mut scalars = Vec::new();
        collect(source, tree, &mut scalars);
        scalars.sort_by_key(|range| range.start);
        let mut found = VecDeque::new();
        let mut from = 0;
        for range in scalars
            .into_iter()
            .chain(std::iter::once(source.len()..source.len()))
        {
            if range.start >= from {
                scan(source, from..range.start, &mut found);
            }
            from = from.max(range.end);
        }
        Self(found)
    }

    /// What stands before an offset.
    pub(super) fn before(&mut self, limit: usize) -> Vec<Trivium> {
        let count = self
            .0
            .iter()
            .take_while(|trivium| trivium.at() < limit)
            .count();
        self.0.drain(..count).collect()
    }

    /// The comment that stands next, on the line on which `from` is, before `limit`.
    pub(super) fn on_line(&mut self, source: &str, from: usize, limit: usize) -> Option<Comment> {
        let Some(Trivium::Comment(comment)) = self.0.front() else {
            return None;
        };
        let between = source.get(from..comment.at)?;
        if comment.at >= limit || between.contains('\n') {
            return None;
        }
        match self.0.pop_front() {
            Some(Trivium::Comment(comment)) => Some(comment),
            Some(Trivium::Blank(_)) | None => None,
        }
    }

    /// Comments on lines of their own before `limit`, as long as they are indented at least as far as `column`.
    pub(super) fn foot(&mut self, column: usize, limit: usize) -> Vec<Trivium> {
        let mut count = 0;
        for (at, trivium) in self
            .0
            .iter()
            .enumerate()
            .take_while(|(_, trivium)| trivium.at() < limit)
        {
            match trivium {
                Trivium::Comment(comment) if comment.own_line && comment.column >= column => {
                    count = at + 1
                }
                Trivium::Comment(_) => break,
                Trivium::Blank(_) => {}
            }
        }
        self.0.drain(..count).collect()
    }
}

impl Trivia {
    /// The last blank line before an offset, if it comes next without anything but comments before it.
    pub(super) fn last_blank_before(&self, limit: usize) -> Option<usize> {
        let before = self.0.iter().take_while(|trivium| trivium.at() < limit);
        before
            .filter_map(|trivium| matches!(trivium, Trivium::Blank(_)).then_some(trivium.at()))
            .last()
    }
}

/// The comments of a text.
pub(super) fn comments(source: &str, tree: &Node) -> impl Iterator<Item = Comment> {
    Trivia::of(source, tree)
        .0
        .into_iter()
        .filter_map(|trivium| match trivium {
            Trivium::Comment(comment) => Some(comment),
            Trivium::Blank(_) => None,
        })
}

/// Characters before an offset on its line.
pub(super) fn column(source: &str, at: usize) -> usize {
    let before = source.get(..at).unwrap_or_default();
    before[before.rfind('\n').map_or(0, |found| found + 1)..]
        .chars()
        .count()
}

fn collect(source: &str, node: &Node, ranges: &mut Vec<Range<usize>>) {
    match &node.content {
        Content::Scalar(scalar) if scalar.style == Style::Block => {
            let block = written::block_scalar(source, &scalar.text, &node.span);
            ranges.extend([block.header, block.body]);
        }
        Content::Scalar(_) => ranges.push(node.span.clone()),
        Content::List(items) => items.iter().for_each(|item| collect(source, item, ranges)),
        Content::Map(entries) => {
            for entry in entries {
                ranges.push(entry.key_span.clone());
                collect(source, &entry.value, ranges);
            }
        }
        Content::Empty | Content::Broken => {}
    }
}

/// The comments and blank lines of a gap, which holds nothing else but indicators.
fn scan(source: &str, gap: Range<usize>, found: &mut VecDeque<Trivium>) {
    let mut at = gap.start;
    let mut after_blank = false;
    while at < gap.end {
        let len = source[at..gap.end].find('\n');
        let end = len.map_or(gap.end, |len| at + len);
        let line = &source[at..end];
        let begins = at == 0 || source.as_bytes().get(at - 1) == Some(&b'\n');
        let is_blank = begins && len.is_some() && line.trim().is_empty();
        if let Some(offset) = line.find('#') {
            let hash = at + offset;
            let start = source[..hash].rfind('\n').map_or(0, |found| found + 1);
            found.push_back(Trivium::Comment(Comment {
                at: hash,
                column: column(source, hash),
                text: line[offset..].trim_end().to_owned(),
                own_line: source[start..hash].trim().is_empty(),
            }));
        } else if is_blank && !after_blank {
            found.push_back(Trivium::Blank(at));
        }
        after_blank = is_blank;
        at = end + 1;
    }
}
