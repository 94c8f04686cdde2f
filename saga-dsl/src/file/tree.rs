//! The file as a tree of values that know their place in the text.

use std::ops::Range;

/// A value of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Bytes of the text.
    pub span: Range<usize>,
    pub content: Content,
    /// Lines near its end or inside of it were moved or left out: what it lacks may stand there.
    pub torn: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map; keys are unique.
    Map(Vec<Entry>),
    /// Nothing after the key.
    Empty,
    /// Something that was reported already; nobody reports it again.
    Broken,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    /// It stands on a line that was moved: whether it belongs here is not certain.
    pub moved: bool,
    pub value: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scalar {
    pub text: String,
    pub style: Style,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    Block,
}

impl Node {
    /// A value of which nothing is missing.
    pub(super) fn whole(span: Range<usize>, content: Content) -> Self {
        Self {
            span,
            content,
            torn: false,
        }
    }

    /// Whether a part of it could not be read.
    pub(super) fn is_uncertain(&self) -> bool {
        self.torn
            || match &self.content {
                Content::Broken => true,
                Content::List(items) => items.iter().any(Self::is_uncertain),
                Content::Map(entries) => entries
                    .iter()
                    .any(|entry| entry.moved || entry.value.is_uncertain()),
                Content::Scalar(_) | Content::Empty => false,
            }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            Content::Scalar(_) | Content::List(_) | Content::Empty | Content::Broken => &[],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }
}
