//! How a scalar is written: as it was, but for its indentation and for quotes that change nothing.

use std::ops::Range;

use super::super::tree::{Content, Entry, Node, Scalar, Style};
use super::order::Shape;

/// A value as lines: the first goes behind its key, the others below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub first: String,
    pub rest: Vec<String>,
    /// How much deeper than their parent the other lines are indented.
    pub step: usize,
    /// Blank lines below it are part of it.
    pub keeps: bool,
}

impl Written {
    pub(super) const fn line(first: String) -> Self {
        Self {
            first,
            rest: Vec::new(),
            step: 2,
            keeps: false,
        }
    }
}

/// Where the two parts of a block scalar stand.
pub(super) struct BlockScalar {
    /// `|`, `>-`, `|2`.
    pub header: Range<usize>,
    /// Its lines, without the blank ones at the end unless they count.
    pub body: Range<usize>,
    /// Blanks before the content of a line.
    indent: usize,
}

/// The parts of the block scalar whose content the parser found at `span`. It begins with the first line that is not
/// blank; the header stands on a line before it. Of one without content at the end of a file it is the header.
pub(super) fn block_scalar(source: &str, text: &str, span: &Range<usize>) -> BlockScalar {
    let has_content = !text.trim_matches('\n').is_empty();
    let rest = &source[span.start..];
    let header = match !has_content && rest.starts_with(['|', '>']) {
        true => span.start..span.start + rest.find([' ', '\t', '\n']).unwrap_or(rest.len()),
        false => header(source, span.start),
    };
    let word = &source[header.clone()];
    let keeps = word.contains('+');
    let start = source[header.end..]
        .find('\n')
        .map_or(source.len(), |at| header.end + at + 1);
    let lines = || source[start..].split_inclusive('\n');
    let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let is_blank = |line: &str| line.trim().is_empty();
    // With an indentation indicator the parser's span begins behind that indentation.
    let in_line = span.start - source[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let first = lines().find(|line| !is_blank(line)).map(blanks);
    let indent = match word.bytes().any(|b| b.is_ascii_digit()) {
        true => in_line,
        false => first.unwrap_or_default(),
    };
    let mut end = start;
    let mut at = start;
    for line in lines() {
        if !is_blank(line) && (!has_content || blanks(line) < indent) {
            break;
        }
        at += line.len();
        if keeps || !is_blank(line) {
            end = at;
        }
    }
    let newline = source[..end].ends_with('\n') && end > start;
    BlockScalar {
        header,
        body: start.min(end)..end - usize::from(newline),
        indent,
    }
}

/// The nearest `|` or `>` before the content that is no part of a comment.
fn header(source: &str, content: usize) -> Range<usize> {
    let mut end = content;
    while let Some(before) = source.get(..end) {
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = &before[start..];
        let code = &line[..line.find(" #").unwrap_or(line.len())];
        let word = code
            .trim_end()
            .rsplit([' ', '\t'])
            .next()
            .unwrap_or_default();
        if word.starts_with(['|', '>']) {
            let at = start + code.trim_end().len() - word.len();
            return at..at + word.len();
        }
        let Some(up) = start.checked_sub(1) else {
            break;
        };
        end = up;
    }
    content..content
}

/// A scalar of the tree.
pub(super) fn scalar(source: &str, scalar: &Scalar, span: &Range<usize>) -> Written {
    if scalar.style == Style::Block {
        return block(source, &scalar.text, span);
    }
    let raw = &source[span.clone()];
    if let Some(word) = without_quotes(scalar) {
        return Written::line(word.to_owned());
    }
    let mut lines = raw.split('\n').map(|line| trimmed(line, scalar.style));
    let first = lines.next().unwrap_or_default().to_owned();
    let rest = lines
        .map(|line| line.trim_start_matches([' ', '\t']).to_owned())
        .collect();
    Written {
        first,
        rest,
        step: 2,
        keeps: false,
    }
}

fn block(source: &str, text: &str, span: &Range<usize>) -> Written {
    let parts = block_scalar(source, text, span);
    let header = &source[parts.header.clone()];
    let step = header
        .bytes()
        .find(u8::is_ascii_digit)
        .map_or(2, |digit| usize::from(digit - b'0'));
    let keeps = header.contains('+');
    let body = &source[parts.body.clone()];
    // Of a text without content, what counts is how many lines it has.
    let rest = match text.trim_matches('\n').is_empty() {
        true => vec![String::new(); text.len()],
        false => body
            .split('\n')
            .map(|line| line.get(parts.indent..).unwrap_or_default().to_owned())
            .collect(),
    };
    Written {
        first: header.to_owned(),
        rest,
        step,
        keeps,
    }
}

/// Without blanks at the end; one that a backslash makes part of the text stays.
fn trimmed(line: &str, style: Style) -> &str {
    let short = line.trim_end_matches([' ', '\t']);
    let escapes = short.len() - short.trim_end_matches('\\').len();
    if style == Style::DoubleQuoted && escapes % 2 == 1 && short.len() < line.len() {
        &line[..=short.len()]
    } else {
        short
    }
}

/// What some reader of YAML takes for more than a word.
const NO_WORDS: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// The text of a quoted scalar that says the same without its quotes, in every place and to every reader: a word.
fn without_quotes(scalar: &Scalar) -> Option<&str> {
    let text = scalar.text.as_str();
    let quoted = matches!(scalar.style, Style::SingleQuoted | Style::DoubleQuoted);
    let letters = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let word = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/'));
    let trap = NO_WORDS.iter().any(|trap| text.eq_ignore_ascii_case(trap));
    (quoted && letters && word && !trap).then_some(text)
}

/// A key with its colon.
pub(super) fn key(source: &str, entry: &Entry) -> String {
    let raw = &source[entry.key_span.clone()];
    let style = match raw.as_bytes().first() {
        Some(b'"') => Style::DoubleQuoted,
        Some(b'\'') => Style::SingleQuoted,
        _ => Style::Plain,
    };
    let scalar = Scalar {
        text: entry.key.clone(),
        style,
    };
    match without_quotes(&scalar) {
        Some(word) => format!("{word}:"),
        None if !raw.is_empty() && !raw.contains('\n') && !entry.key.ends_with('\n') => {
            format!("{raw}:")
        }
        // YAML's double quotes know all escapes of JSON's.
        None => format!("{}:", serde_json::Value::from(entry.key.as_str())),
    }
}

/// Whether a list or map has brackets.
pub(super) fn is_flow(source: &str, node: &Node) -> bool {
    let first = match &node.content {
        Content::List(items) => items.first().map(|item| item.span.start),
        Content::Map(entries) => entries.first().map(|entry| entry.key_span.start),
        Content::Scalar(_) | Content::Empty | Content::Broken => return false,
    };
    // The parser lets a block list begin with its first item.
    let bracket = source
        .get(node.span.start..)
        .is_some_and(|rest| rest.starts_with(['[', '{']));
    bracket && first.is_none_or(|first| first > node.span.start)
}

/// A value between brackets, on one line.
pub(super) fn flow(source: &str, node: &Node, shape: Shape) -> String {
    match &node.content {
        Content::Scalar(found) => scalar(source, found, &node.span).first,
        Content::List(items) => {
            let items: Vec<String> = items.iter().map(|item| flow(source, item, shape)).collect();
            format!("[{}]", items.join(", "))
        }
        Content::Map(entries) => {
            let mut entries: Vec<&Entry> = entries.iter().collect();
            entries.sort_by_key(|entry| shape.rank(&entry.key));
            let pair = |entry: &&Entry| {
                let below = shape.below(&entry.key);
                format!(
                    "{} {}",
                    key(source, entry),
                    flow(source, &entry.value, below)
                )
            };
            let pairs: Vec<String> = entries.iter().map(pair).collect();
            match is_flow(source, node) {
                true => format!("{{{}}}", pairs.join(", ")),
                false => pairs.join(", "),
            }
        }
        Content::Empty | Content::Broken => String::new(),
    }
}
