//! The file as a tree of values that know their place in the text.

use std::ops::Range;

use crate::place::{Part, Place, Segment};

/// A value of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Bytes of the text.
    pub span: Range<usize>,
    pub content: Content,
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
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            Content::Scalar(_) | Content::List(_) | Content::Empty | Content::Broken => &[],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Whether the text at a place has no quotes and a comment follows it directly.
    pub(super) fn is_cut_by_a_comment(&self, place: &Place, source: &str) -> bool {
        let mut node = self;
        for segment in &place.0 {
            let next = match (segment, &node.content) {
                (Segment::Key(key), _) => node.get(key).map(|entry| &entry.value),
                (Segment::Index(index), Content::List(items)) => items.get(*index),
                (Segment::Index(_), _) => None,
            };
            let Some(next) = next else { return false };
            node = next;
        }
        let plain = matches!(&node.content, Content::Scalar(scalar) if scalar.style == Style::Plain);
        plain && source.get(node.span.end..).is_some_and(|rest| rest.trim_start_matches(' ').starts_with('#'))
    }

    /// The bytes of the text that a place means; of a value that is not written, those of what is around it.
    pub(super) fn locate(&self, place: &Place, part: &Part, source: &str) -> Range<usize> {
        let mut node = self;
        let mut span = first_line(self, source);
        for (depth, segment) in place.0.iter().enumerate() {
            let last = depth + 1 == place.0.len();
            // A place built from a JSON pointer cannot tell the field `0` from the item 0.
            let (key, index) = match segment {
                Segment::Key(key) => (key.clone(), None),
                Segment::Index(index) => (index.to_string(), Some(*index)),
            };
            match (&node.content, index) {
                (Content::Map(_), _) => {
                    let Some(entry) = node.get(&key) else { return span };
                    if last && *part == Part::Key {
                        return entry.key_span.clone();
                    }
                    node = &entry.value;
                    span = match &node.content {
                        Content::Scalar(_) | Content::List(_) | Content::Broken if !node.span.is_empty() => {
                            first_line(node, source)
                        }
                        Content::Scalar(_)
                        | Content::List(_)
                        | Content::Broken
                        | Content::Empty
                        | Content::Map(_) => entry.key_span.clone(),
                    };
                }
                (Content::List(items), Some(index)) => {
                    let Some(item) = items.get(index) else { return span };
                    node = item;
                    span = first_line(node, source);
                }
                (Content::List(_) | Content::Scalar(_) | Content::Empty | Content::Broken, _) => return span,
            }
        }
        match (part, &node.content) {
            (Part::Text(bytes), Content::Scalar(scalar)) => {
                scalar.source_range(bytes, &node.span, source).unwrap_or(span)
            }
            (Part::Text(_) | Part::Value | Part::Key, _) => span,
        }
    }
}

/// The part of a value's span on its first line; of a block map, its first key.
fn first_line(node: &Node, source: &str) -> Range<usize> {
    if let (Content::Map(entries), Some(text)) = (&node.content, source.get(node.span.clone()))
        && let Some(entry) = entries.first()
        && !text.starts_with('{')
    {
        return entry.key_span.clone();
    }
    let text = source.get(node.span.clone()).unwrap_or_default();
    let len = text.find('\n').map_or(text.len(), |at| text[..at].trim_end().len());
    node.span.start..node.span.start + len
}

impl Scalar {
    /// Where bytes of the text stand in the source, whatever quotes, escapes and line breaks lie between.
    /// `None` where that cannot be told.
    pub(super) fn source_range(
        &self,
        bytes: &Range<usize>,
        span: &Range<usize>,
        source: &str,
    ) -> Option<Range<usize>> {
        let raw = source.get(span.clone())?;
        let mut starts = Vec::with_capacity(self.text.len() + 1);
        let mut at = usize::from(matches!(self.style, Style::SingleQuoted | Style::DoubleQuoted));
        for c in self.text.chars() {
            let rest = raw.get(at..)?;
            let (skipped, taken) = self.style.match_char(c, rest)?;
            starts.extend(std::iter::repeat_n((at + skipped, at + skipped + taken), c.len_utf8()));
            at += skipped + taken;
        }
        let from = starts.get(bytes.start).map_or(at, |(from, _)| *from);
        let to = match bytes.end.checked_sub(1) {
            Some(last) if bytes.end > bytes.start => starts.get(last).map_or(at, |(_, to)| *to),
            _ => from,
        };
        // Until the first line break: a diagnostic shows one line.
        let shown = raw.get(from..to)?;
        let len = shown.find('\n').map_or(shown.len(), |at| shown[..at].trim_end().len());
        Some(span.start + from..span.start + from + len)
    }
}

impl Style {
    /// How many bytes of the source to skip, and how many stand for `c` then.
    fn match_char(self, c: char, rest: &str) -> Option<(usize, usize)> {
        let first = rest.chars().next()?;
        match self {
            Self::DoubleQuoted if first == '\\' => escape_len(rest).map(|len| (0, len)),
            Self::SingleQuoted if c == '\'' => rest.starts_with("''").then_some((0, 2)),
            Self::Block if c == '\n' => {
                let at = rest.find('\n')?;
                let blank = rest[at + 1..].len() - rest[at + 1..].trim_start_matches(' ').len();
                rest[..at].trim().is_empty().then_some((at, 1 + blank))
            }
            Self::Plain | Self::SingleQuoted | Self::DoubleQuoted | Self::Block => {
                let folded = rest.len() - rest.trim_start().len();
                let crosses_a_line = rest[..folded].contains('\n');
                if crosses_a_line && matches!(c, ' ' | '\n') {
                    Some((0, folded))
                } else if first == c {
                    Some((0, c.len_utf8()))
                } else if crosses_a_line && rest[folded..].starts_with(c) {
                    Some((folded, c.len_utf8()))
                } else {
                    None
                }
            }
        }
    }
}

/// Bytes of one escape of a double-quoted text, the backslash included.
fn escape_len(rest: &str) -> Option<usize> {
    let kind = rest.chars().nth(1)?;
    let digits = match kind {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => 0,
    };
    Some(1 + kind.len_utf8() + digits)
}
