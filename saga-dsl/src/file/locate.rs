//! Places of a definition to bytes of the text.

use std::ops::Range;

use super::tree::{Content, Node, Scalar, Style};
use crate::place::{Part, Place, Segment};

/// A value that a place leads to, and the key before it if it stands in a map.
struct Found<'a> {
    node: &'a Node,
    key: Option<&'a Range<usize>>,
    /// Whether it is the value meant, or the nearest one around it that is written.
    exact: bool,
}

impl Node {
    fn find(&self, place: &Place) -> Found<'_> {
        let mut found = Found {
            node: self,
            key: None,
            exact: true,
        };
        for segment in &place.0 {
            let next = match (&found.node.content, segment) {
                (Content::Map(_), Segment::Key(key)) => found.node.get(key),
                // A place made of a JSON pointer cannot tell the field `0` from the item 0.
                (Content::Map(_), Segment::Index(index)) => found.node.get(&index.to_string()),
                (Content::List(items), Segment::Index(index)) => {
                    match items.get(*index) {
                        Some(item) => {
                            found = Found {
                                node: item,
                                key: None,
                                exact: true,
                            }
                        }
                        None => found.exact = false,
                    }
                    if found.exact {
                        continue;
                    }
                    None
                }
                (Content::List(_) | Content::Scalar(_) | Content::Empty | Content::Broken, _) => {
                    None
                }
            };
            match next {
                Some(entry) => {
                    found = Found {
                        node: &entry.value,
                        key: Some(&entry.key_span),
                        exact: true,
                    };
                }
                None => {
                    return Found {
                        exact: false,
                        ..found
                    };
                }
            }
        }
        found
    }

    /// The bytes that a place means; of a value that is not written, those of what is around it.
    pub(super) fn locate(&self, place: &Place, part: &Part, source: &str) -> Range<usize> {
        let found = self.find(place);
        let value = || match (&found.node.content, found.key) {
            (Content::Map(_) | Content::Empty, Some(key)) => key.clone(),
            (Content::Scalar(_) | Content::List(_) | Content::Broken, Some(key))
                if found.node.span.is_empty() =>
            {
                key.clone()
            }
            _ => found.node.first_line(source),
        };
        match (part, found.key, &found.node.content) {
            (Part::Key, Some(key), _) if found.exact => key.clone(),
            (Part::Text(bytes), _, Content::Scalar(scalar)) if found.exact => scalar
                .source_range(bytes, &found.node.span, source)
                .unwrap_or_else(value),
            _ => value(),
        }
    }

    /// Whether the text at a place has no quotes and a comment follows it directly.
    pub(super) fn is_cut_by_a_comment(&self, place: &Place, source: &str) -> bool {
        let node = self.find(place).node;
        let plain =
            matches!(&node.content, Content::Scalar(scalar) if scalar.style == Style::Plain);
        plain
            && source
                .get(node.span.end..)
                .is_some_and(|rest| rest.trim_start_matches(' ').starts_with('#'))
    }

    /// The part of a value's span on its first line; of a block map, its first key.
    fn first_line(&self, source: &str) -> Range<usize> {
        let text = source.get(self.span.clone()).unwrap_or_default();
        match self.entries().first() {
            Some(entry) if !text.starts_with('{') => entry.key_span.clone(),
            _ => {
                let len = text
                    .find('\n')
                    .map_or(text.len(), |at| text[..at].trim_end().len());
                self.span.start..self.span.start + len
            }
        }
    }
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
        let mut at = usize::from(matches!(
            self.style,
            Style::SingleQuoted | Style::DoubleQuoted
        ));
        for c in self.text.chars() {
            let rest = raw.get(at..)?;
            let (skipped, taken) = self.style.match_char(c, rest)?;
            starts.extend(std::iter::repeat_n(
                (at + skipped, at + skipped + taken),
                c.len_utf8(),
            ));
            at += skipped + taken;
        }
        let from = starts.get(bytes.start).map_or(at, |(from, _)| *from);
        let to = match bytes.end.checked_sub(1) {
            Some(last) if bytes.end > bytes.start => starts.get(last).map_or(at, |(_, to)| *to),
            _ => from,
        };
        // Until the first line break: a diagnostic shows one line.
        let shown = raw.get(from..to)?;
        let len = shown
            .find('\n')
            .map_or(shown.len(), |at| shown[..at].trim_end().len());
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
