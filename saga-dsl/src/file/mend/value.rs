//! Values that need quotes, and quotes and brackets that are not closed.

use std::ops::Range;

use granit_parser::ScanError;

use super::{Edit, Repair, What, lines::Line, one_char};
use crate::{
    expr,
    file::{keys, quote, syntax},
};

/// `{a: ${x}}`: the brace of the expression is taken for the beginning of a map.
pub(super) fn expression_in_brackets(text: &str, at: usize) -> Option<Repair> {
    let line = Line::around(text, at);
    let dollar = [at.checked_sub(1), Some(at)]
        .into_iter()
        .flatten()
        .find(|from| text.get(*from..).is_some_and(|rest| rest.starts_with("${")))
        .or_else(|| inside_expression(text, &line, at))?;
    let inner = text.get(dollar + 2..line.end)?;
    let end = dollar + 2 + expr::end_of_expression(inner)? + 1;
    in_brackets(text, &line, dollar).then_some(())?;
    let expression = &text[dollar..end];
    if let Some(path) = picked(text, &line, dollar, &expression[2..expression.len() - 1]) {
        return Some(Repair {
            message: "a pick list holds paths, not expressions".to_owned(),
            span: dollar..end,
            help: Some(format!("write `{path}`")),
            also: None,
            certain: true,
            edits: vec![Edit::value(dollar..end, What::Unknown)],
        });
    }
    let quoted = if expression.contains('"') {
        format!("'{}'", expression.replace('\'', "''"))
    } else {
        format!("\"{expression}\"")
    };
    Some(Repair {
        message: "between brackets an expression needs quotes".to_owned(),
        span: dollar..end,
        help: Some(format!("write {quoted}")),
        also: None,
        certain: true,
        edits: vec![Edit::value(dollar..end, What::Meant)],
    })
}

/// The path that an entry of a pick list means by an expression.
fn picked(text: &str, line: &Line<'_>, at: usize, expression: &str) -> Option<String> {
    let list = line.key() == Some("input") && text[line.value()?].starts_with('[');
    let outermost = open_in(text, &(line.value()?.start + 1..at)).is_none();
    let path = expression.trim();
    let is_path = path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    let bare = path
        .strip_prefix("input.")
        .filter(|rest| !rest.contains('.'));
    (list && outermost && is_path).then(|| bare.unwrap_or(path).to_owned())
}

/// The `${` before a byte of the same line, if the byte stands before its `}`.
fn inside_expression(text: &str, line: &Line<'_>, at: usize) -> Option<usize> {
    let dollar = line.start + text.get(line.start..at)?.rfind("${")?;
    let inner = text.get(dollar + 2..line.end)?;
    (dollar + 2 + expr::end_of_expression(inner)? > at).then_some(dollar)
}

/// Whether a byte stands inside of `[…]` or `{…}` that begin on its line or are left open before it.
fn in_brackets(text: &str, line: &Line<'_>, at: usize) -> bool {
    let from = line.value().map_or(line.word(), |value| value.start);
    open_in(text, &(from..at)).is_some() || line.value().is_none()
}

/// `message: To: ${x}`: the value is read as a text in quotes.
pub(super) fn colon(text: &str, line: &Line<'_>, at: usize) -> Option<Repair> {
    let value = line.value().filter(|value| value.start <= at)?;
    let key = line.key()?;
    let quoted = quote::quoted(&text[value.clone()]);
    Some(Repair {
        message: "a `: ` stands inside of a value that has no quotes".to_owned(),
        span: one_char(text, at),
        help: Some(format!("quote the whole value: {key}: {quoted}")),
        also: None,
        certain: true,
        edits: vec![Edit::value(value, What::Meant)],
    })
}

/// `action:p/a` on a line: no key without a space behind its colon.
pub(super) fn no_space(text: &str, line: &Line<'_>) -> Option<Repair> {
    let (key, value) = line.content.split_once(':')?;
    let is_key = [keys::FILE, keys::STEP, keys::COMPENSATION, keys::RETRY]
        .iter()
        .any(|known| known.contains(&key));
    if !is_key || value.is_empty() || value.starts_with(' ') {
        return None;
    }
    let colon = line.word() + line.dash + key.len();
    Some(Repair {
        message: format!("no space stands behind `{key}:`"),
        span: line.word() + line.dash..line.end,
        help: Some(format!("write `{key}: {}`", value.trim())),
        also: None,
        certain: true,
        edits: vec![Edit {
            bytes: colon..colon + 1,
            with: ": ".to_owned(),
            what: What::Certain,
        }],
    })
    .filter(|_| text.is_char_boundary(colon))
}

/// The same on the line before, where the parser notices it.
pub(super) fn no_space_before(text: &str, line: &Line<'_>, at: usize) -> Option<Repair> {
    let key = line.key()?;
    (at == line.word() + line.dash + key.len()).then_some(())?;
    no_space(text, &line.before(text).next()?)
}

/// A quote that is not closed on its line, which is this one or one before it.
pub(super) fn open_quote(text: &str, line: &Line<'_>) -> Option<Repair> {
    let lines = std::iter::once(line.clone()).chain(line.before(text));
    let (quote, end) = lines
        .filter_map(|line| {
            let value = line.value()?.start..line.end;
            Some((open_quote_in(text, &value)?, line.end))
        })
        .next()?;
    Some(Repair {
        message: "this quote is not closed".to_owned(),
        span: one_char(text, quote),
        help: None,
        also: None,
        certain: true,
        edits: vec![Edit::value(quote..end, What::Unknown)],
    })
}

/// Where a quote begins that does not end within these bytes.
fn open_quote_in(text: &str, bytes: &Range<usize>) -> Option<usize> {
    let mut open: Option<(usize, char)> = None;
    let mut before = ' ';
    let mut escaped = false;
    for (at, c) in text.get(bytes.clone())?.char_indices() {
        match open {
            Some((_, '"')) if escaped => escaped = false,
            Some((_, '"')) if c == '\\' => escaped = true,
            Some((_, quote)) if c == quote => open = None,
            Some(_) => {}
            // Inside of a word a quote is a letter like others.
            None if matches!(c, '"' | '\'') && matches!(before, ' ' | '[' | '{' | ',') => {
                open = Some((bytes.start + at, c));
            }
            None => {}
        }
        before = c;
    }
    open.map(|(at, _)| at)
}

/// The outermost bracket that begins and does not end within these bytes.
fn open_in(text: &str, bytes: &Range<usize>) -> Option<usize> {
    let mut open: Vec<usize> = Vec::new();
    let mut quote: Option<char> = None;
    for (at, c) in text.get(bytes.clone())?.char_indices() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => open.push(bytes.start + at),
            (None, ']' | '}') => {
                open.pop();
            }
            (None, _) => {}
        }
    }
    open.first().copied()
}

/// A bracket of this line that is not closed on it.
pub(super) fn open_bracket(text: &str, line: &Line<'_>) -> Option<Repair> {
    let value = line.value()?;
    let bracket = open_in(text, &value)?;
    let (open, close) = match text[bracket..].chars().next()? {
        '[' => ('[', ']'),
        other => (other, '}'),
    };
    Some(Repair {
        message: format!("this `{open}` is not closed"),
        span: one_char(text, bracket),
        help: Some(format!("close it with `{close}`")),
        also: None,
        certain: true,
        edits: vec![Edit::value(value, What::Unknown)],
    })
}

/// The same on a line before, if this one looks as if it stood outside of brackets.
pub(super) fn open_bracket_before(text: &str, line: &Line<'_>) -> Option<Repair> {
    line.key()?;
    if line
        .value()
        .is_some_and(|value| open_in(text, &value).is_some())
    {
        return None;
    }
    line.before(text)
        .find(|line| line.key().is_some())
        .and_then(|line| open_bracket(text, &line))
}

/// Whatever else it is: the value of the line is unknown, or the line is left out.
pub(super) fn unknown(error: &ScanError, text: &str, line: &Line<'_>, at: usize) -> Repair {
    let (message, help) = syntax::explain(error, at, text);
    match line.value().filter(|value| value.start <= at) {
        Some(value) => {
            // Where the advice is to quote the value, it is read as if it were quoted.
            let quoted = !quote::suggestion(text, &value).is_empty();
            let what = if quoted { What::Meant } else { What::Unknown };
            Repair {
                message,
                span: one_char(text, at),
                help,
                also: None,
                certain: true,
                edits: vec![Edit::value(value, what)],
            }
        }
        None => super::gone(error, at, text, line.start..line.end),
    }
}
