//! "Quote it": the line of a file with its value in quotes, where that is what the author needs.

use std::ops::Range;

/// `: when: "!has(input.x) && input.y"` for the line on which a fault stands, if that line is a key with a value
/// that would be read as meant once it is quoted; else nothing.
pub(super) fn suggestion(source: &str, at: &Range<usize>) -> String {
    value_of_line(source, at.start).map_or_else(String::new, |(key, value)| {
        format!(": {key}: {}", quoted(value))
    })
}

/// Key and value of the line around an offset.
fn value_of_line(source: &str, at: usize) -> Option<(&str, &str)> {
    let start = source.get(..at)?.rfind('\n').map_or(0, |found| found + 1);
    let line = source.get(start..)?.lines().next()?.trim_end();
    let item = line.trim_start().trim_start_matches('\u{feff}');
    let item = item.strip_prefix("- ").map_or(item, str::trim_start);
    let (key, value) = item.split_once(": ")?;
    let plain_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let value = value.trim();
    let expression = key == "when" || value.contains("${") || value.starts_with(['!', '&', '*']);
    // A value in brackets may be a list or a map: quotes would change its meaning.
    let single =
        !value.is_empty() && value.len() <= 120 && !value.starts_with(['[', '{', '|', '>']);
    (plain_key && expression && single).then_some((key, value))
}

pub(super) fn quoted(value: &str) -> String {
    if value.contains('"') || value.contains('\\') {
        format!("'{}'", value.replace('\'', "''"))
    } else {
        format!("\"{value}\"")
    }
}
