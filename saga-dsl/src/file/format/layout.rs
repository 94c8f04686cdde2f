//! The tree with its comments: each belongs to the key or item that it stands before or beside, and goes where that
//! goes.
//!
//! A comment on a line of its own belongs to what follows. Below the last line of a block it belongs to that block as
//! long as it is indented as far. A comment that heads the file, with a blank line below it, stays where it is.

use std::collections::BTreeSet;

use super::super::tree::{Content, Entry as TreeEntry, Node};
use super::{
    order::Shape,
    trivia::{Comment, Trivia, Trivium, column},
    written::{self, Written},
};

/// What is printed.
pub(super) struct Layout {
    /// Comments at the head of the file.
    pub head: Vec<Line>,
    pub block: Block,
}

/// A list or a map, one entry a line.
pub(super) struct Block {
    pub is_list: bool,
    pub entries: Vec<Entry>,
    /// Comments behind the last entry.
    pub foot: Vec<Line>,
}

/// An item, or a key with its value.
pub(super) struct Entry {
    pub lead: Vec<Line>,
    /// With its colon; empty for an item.
    pub key: String,
    rank: usize,
    pub body: Body,
    /// The comment on the same line.
    pub note: Option<Note>,
}

pub(super) enum Body {
    Nothing,
    Value(Written),
    Block(Block),
}

/// A line without any value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Blank,
    Comment(String),
}

/// A comment behind something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub text: String,
    /// Where it was written.
    pub column: usize,
    /// Blanks before it as it was written.
    pub gap: usize,
    /// One blank is kept before it, because the warning W0009 goes by that.
    pub tight: bool,
}

/// Lays a file out.
pub(super) fn layout(source: &str, tree: &Node, cut: &BTreeSet<usize>) -> Layout {
    let shape = Shape::of_file(tree.entries().iter().map(|entry| entry.key.as_str()));
    let mut layouter = Layouter {
        source,
        trivia: Trivia::of(source, tree),
        cut,
    };
    let end = source.len();
    let first = Span {
        from: 0,
        limit: end,
        column: None,
    };
    let mut head = Vec::new();
    let mut entry = layouter.value(tree, first, shape, false, &mut head);
    let mut block = match std::mem::replace(&mut entry.body, Body::Nothing) {
        Body::Block(block) => block,
        body => Block {
            is_list: false,
            entries: vec![Entry {
                lead: Vec::new(),
                body,
                ..entry
            }],
            foot: Vec::new(),
        },
    };
    block.foot.extend(lines(layouter.trivia.before(usize::MAX)));
    block.foot = without_blanks_at_the_end(block.foot);
    Layout { head, block }
}

/// A stretch of the text in which a value stands.
#[derive(Clone, Copy)]
struct Span {
    /// Behind the colon or dash before it.
    from: usize,
    /// Where the next thing begins.
    limit: usize,
    /// Where the block begins that it is a part of; `None` at the top.
    column: Option<usize>,
}

struct Layouter<'a> {
    source: &'a str,
    trivia: Trivia,
    /// Comments that cut a text, see W0009.
    cut: &'a BTreeSet<usize>,
}

impl Layouter<'_> {
    /// A value. What stands before it and cannot stay there goes to `lead`.
    fn value(
        &mut self,
        node: &Node,
        span: Span,
        shape: Shape,
        is_item: bool,
        lead: &mut Vec<Line>,
    ) -> Entry {
        let note;
        let is_flow = written::is_flow(self.source, node);
        let on_one_line = is_flow && !self.source[node.span.clone()].contains('\n');
        let body = match &node.content {
            Content::Empty | Content::Broken => {
                note = self.trivia.on_line(self.source, span.from, span.limit);
                Body::Nothing
            }
            Content::Scalar(scalar) => {
                let (start, end) = match scalar.style {
                    super::super::tree::Style::Block => {
                        let header =
                            written::block_scalar(self.source, &scalar.text, &node.span).header;
                        (header.start, header.end)
                    }
                    _ => (node.span.start, node.span.end),
                };
                note = self.around(start, end, span, lead);
                Body::Value(written::scalar(self.source, scalar, &node.span))
            }
            Content::List(_) | Content::Map(_) if on_one_line => {
                note = self.around(node.span.start, node.span.end, span, lead);
                Body::Value(Written::line(written::flow(self.source, node, shape)))
            }
            Content::List(items) => {
                note = self.opening(node, span, is_item, lead);
                let inner = self.inner(node, span, is_flow);
                Body::Block(self.list(items, inner, shape, is_flow))
            }
            Content::Map(entries) => {
                note = self.opening(node, span, is_item, lead);
                let inner = self.inner(node, span, is_flow);
                let at_top = span.column.is_none();
                if at_top && !is_flow {
                    lead.extend(self.head(entries));
                }
                Body::Block(self.map(entries, inner, shape, is_flow))
            }
        };
        let mut entry = Entry {
            lead: Vec::new(),
            key: String::new(),
            rank: 0,
            body,
            note: note.map(|comment| self.note(comment)),
        };
        if is_flow && !on_one_line {
            let no_place = is_item || span.column.is_none();
            self.closed(&mut entry, node, span, no_place, lead);
        }
        entry
    }

    /// The comments around a value on one line: the one behind it is its note, else one before it.
    fn around(
        &mut self,
        start: usize,
        end: usize,
        span: Span,
        lead: &mut Vec<Line>,
    ) -> Option<Comment> {
        let before = span
            .column
            .and_then(|_| self.trivia.on_line(self.source, span.from, start));
        let between = lines(self.trivia.before(start));
        let behind = self.trivia.on_line(self.source, end, span.limit);
        if behind.is_some() {
            lead.extend(before.map(|comment| Line::Comment(comment.text)));
            lead.extend(between);
            return behind;
        }
        lead.extend(between);
        before
    }

    /// The comment behind a key whose value stands below it. Behind a dash there is no place for one.
    fn opening(
        &mut self,
        node: &Node,
        span: Span,
        is_item: bool,
        lead: &mut Vec<Line>,
    ) -> Option<Comment> {
        if is_item {
            let start =
                first_start(node).map_or(span.from, |start| self.code_start(span.from, start));
            // A blank line between a dash and what belongs to it parts nothing.
            lead.extend(
                lines(self.trivia.before(start))
                    .into_iter()
                    .filter(|line| *line != Line::Blank),
            );
            return None;
        }
        let limit = first_start(node).map_or(span.limit, |start| start.min(span.limit));
        span.column
            .and_then(|_| self.trivia.on_line(self.source, span.from, limit))
    }

    /// Where the first sign of a value stands: its bracket, its dash or itself.
    fn code_start(&self, from: usize, first: usize) -> usize {
        signs(self.source, from..first)
            .next()
            .map_or(first, |(at, _)| at)
    }

    fn inner(&self, node: &Node, span: Span, is_flow: bool) -> Span {
        let limit = if is_flow {
            node.span.end - 1
        } else {
            span.limit
        };
        let from = if is_flow {
            node.span.start + 1
        } else {
            span.from
        };
        let start = first_start(node).unwrap_or(node.span.start);
        let is_list = matches!(node.content, Content::List(_));
        let at = if is_list {
            dash(self.source, span.from, start)
        } else {
            start
        };
        let own = column(self.source, at);
        // A list may begin in the column of its key; a comment there belongs to the map around it.
        let column = span.column.map_or(own, |parent| own.max(parent + 1));
        Span {
            from,
            limit,
            column: Some(column),
        }
    }

    fn list(&mut self, items: &[Node], span: Span, shape: Shape, is_flow: bool) -> Block {
        let mut entries = Vec::new();
        let mut from = span.from;
        for (at, item) in items.iter().enumerate() {
            let start = match is_flow {
                true => item.span.start,
                false => dash(self.source, from, item.span.start) + 1,
            };
            let limit = match items.get(at + 1) {
                Some(next) if is_flow => next.span.start,
                Some(next) => dash(self.source, end_of(item, start), next.span.start),
                None => span.limit,
            };
            let mut lead = lines(self.trivia.before(start));
            let inner = Span {
                from: start,
                limit,
                ..span
            };
            let mut entry = self.value(item, inner, shape, true, &mut lead);
            if let Body::Block(block) = &mut entry.body
                && let Some(first) = block.entries.first_mut()
            {
                // Nothing can stand between a dash and what is beside it.
                lead.append(&mut first.lead);
            }
            entries.push(Entry { lead, ..entry });
            from = end_of(item, start);
        }
        Block {
            is_list: true,
            entries,
            foot: self.foot(span, is_flow),
        }
    }

    fn map(&mut self, found: &[TreeEntry], span: Span, shape: Shape, is_flow: bool) -> Block {
        let mut entries = Vec::new();
        for (at, entry) in found.iter().enumerate() {
            let limit = found
                .get(at + 1)
                .map_or(span.limit, |next| next.key_span.start);
            let mut lead = lines(self.trivia.before(entry.key_span.start));
            let inner = Span {
                from: entry.key_span.end,
                limit,
                ..span
            };
            let value = self.value(
                &entry.value,
                inner,
                shape.below(&entry.key),
                false,
                &mut lead,
            );
            let key = written::key(self.source, entry);
            entries.push(Entry {
                lead,
                key,
                rank: shape.rank(&entry.key),
                ..value
            });
        }
        let foot = self.foot(span, is_flow);
        entries.sort_by_key(|entry| entry.rank);
        Block {
            is_list: false,
            entries,
            foot,
        }
    }

    fn foot(&mut self, span: Span, is_flow: bool) -> Vec<Line> {
        without_blanks_at_the_end(lines(match is_flow {
            true => self.trivia.before(span.limit),
            false => self
                .trivia
                .foot(span.column.unwrap_or_default(), span.limit),
        }))
    }

    /// The comments before the first key that a blank line parts from it.
    fn head(&mut self, entries: &[TreeEntry]) -> Vec<Line> {
        let Some(first) = entries.first() else {
            return Vec::new();
        };
        let blank = self.trivia.last_blank_before(first.key_span.start);
        blank.map_or_else(Vec::new, |blank| lines(self.trivia.before(blank + 1)))
    }

    /// What stands behind the closing bracket of a value that has none any more. With `no_place`, there is no key
    /// beside which it could stand.
    fn closed(
        &mut self,
        entry: &mut Entry,
        node: &Node,
        span: Span,
        no_place: bool,
        lead: &mut Vec<Line>,
    ) {
        let behind = self.trivia.on_line(self.source, node.span.end, span.limit);
        if let Body::Block(block) = &mut entry.body
            && block.entries.is_empty()
        {
            lead.append(&mut block.foot);
            let brackets = if block.is_list { "[]" } else { "{}" };
            entry.body = Body::Value(Written::line(brackets.to_owned()));
        }
        let Some(comment) = behind else { return };
        match &mut entry.body {
            Body::Block(block) if entry.note.is_some() || no_place => {
                block.foot.push(Line::Comment(comment.text));
            }
            Body::Value(_) | Body::Nothing if entry.note.is_some() => {
                lead.push(Line::Comment(comment.text))
            }
            Body::Block(_) | Body::Value(_) | Body::Nothing => {
                entry.note = Some(self.note(comment))
            }
        }
    }

    fn note(&self, comment: Comment) -> Note {
        let before = self.source[..comment.at].trim_end_matches([' ', '\t']);
        Note {
            gap: comment.at - before.len(),
            tight: self.cut.contains(&comment.at),
            column: comment.column,
            text: comment.text,
        }
    }
}

fn lines(trivia: Vec<Trivium>) -> Vec<Line> {
    let line = |trivium| match trivium {
        Trivium::Comment(comment) => Line::Comment(comment.text),
        Trivium::Blank(_) => Line::Blank,
    };
    trivia.into_iter().map(line).collect()
}

fn without_blanks_at_the_end(mut lines: Vec<Line>) -> Vec<Line> {
    while lines.last() == Some(&Line::Blank) {
        lines.pop();
    }
    lines
}

fn first_start(node: &Node) -> Option<usize> {
    match &node.content {
        Content::List(items) => items.first().map(|item| item.span.start),
        Content::Map(entries) => entries.first().map(|entry| entry.key_span.start),
        Content::Scalar(_) | Content::Empty | Content::Broken => None,
    }
}

/// Where an item ends; the parser sets an empty one to where the next thing begins.
fn end_of(item: &Node, start: usize) -> usize {
    if item.content == Content::Empty {
        start
    } else {
        item.span.end.max(start)
    }
}

/// The dash of an item: the first one behind `from` that is no part of a comment.
fn dash(source: &str, from: usize, item: usize) -> usize {
    signs(source, from..item)
        .find(|(_, sign)| *sign == '-')
        .map_or(item, |(at, _)| at)
}

/// The characters of a gap that are neither blanks nor parts of a comment.
fn signs(source: &str, gap: std::ops::Range<usize>) -> impl Iterator<Item = (usize, char)> {
    let mut in_comment = false;
    let text = source.get(gap.clone()).unwrap_or_default();
    text.char_indices().filter_map(move |(at, c)| {
        in_comment = (in_comment || c == '#') && c != '\n';
        (!in_comment && !c.is_whitespace()).then_some((gap.start + at, c))
    })
}
