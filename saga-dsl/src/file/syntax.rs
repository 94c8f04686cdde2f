//! What the parser cannot read, in the words of somebody who writes a saga file.

use std::ops::Range;

use granit_parser::{ErrorKind, ScanError};

use super::quote;

/// What is wrong, and how to put it right where that can be told.
pub(super) fn explain(error: &ScanError, at: usize, source: &str) -> (String, Option<String>) {
    let tab = || Some("indent with spaces".to_owned());
    let (message, help) = match error.kind() {
        ErrorKind::MappingValueNotAllowed => {
            ("a `: ` stands inside of a value that has no quotes", None)
        }
        ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            ("the value goes on behind its closing quote", None)
        }
        ErrorKind::ExpectedFlowMappingSeparator => ("expected `,` or `}` here", None),
        ErrorKind::ExpectedFlowSequenceSeparator => ("expected `,` or `]` here", None),
        ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::InvalidIndentation => {
            ("this line is indented like none of those before it", None)
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => {
            ("a quote before this is not closed", None)
        }
        ErrorKind::TabInPlainScalar
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart => ("a tab stands where only spaces may", tab()),
        ErrorKind::UnexpectedCharacter { character } => {
            let help = Some(format!(
                "a value that begins with `{character}` needs quotes"
            ));
            return (format!("a value cannot begin with `{character}`"), help);
        }
        _ => return (format!("not YAML: {}", error.info()), quoted(at, source)),
    };
    (message.to_owned(), help.or_else(|| quoted(at, source)))
}

fn quoted(at: usize, source: &str) -> Option<String> {
    if let Some(expression) = expression_in_brackets(at, source) {
        return Some(format!(
            "between brackets an expression needs quotes: \"{expression}\""
        ));
    }
    let suggestion = quote::suggestion(source, &Range { start: at, end: at });
    (!suggestion.is_empty()).then(|| format!("quote the whole value{suggestion}"))
}

/// The `${…}` whose brace the parser took for the beginning of a map.
fn expression_in_brackets(at: usize, source: &str) -> Option<&str> {
    let from = at.checked_sub(1)?;
    let line = source
        .get(from..)?
        .lines()
        .next()
        .filter(|line| line.starts_with("${"))?;
    let expression = line.get(..=line.find('}')?)?;
    (!expression.contains('"')).then_some(expression)
}
