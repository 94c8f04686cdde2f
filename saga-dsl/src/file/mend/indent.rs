//! Lines that are indented like none of those before them, and tabs.

use super::{
    Edit, Repair,
    lines::{self, Line},
};
use crate::file::keys;

/// Spaces that a tab stands for: a level of most files.
const TAB_COLUMNS: usize = 2;

/// A column at which a line may begin, and a line that does.
struct Level<'a> {
    column: usize,
    /// Of entries of a list, or of keys.
    entries: bool,
    like: Line<'a>,
}

/// The columns at which the lists and maps that are open before a line go on, the deepest first.
fn levels<'a>(text: &'a str, line: &Line<'a>) -> Vec<Level<'a>> {
    let mut levels = Vec::new();
    let mut limit = usize::MAX;
    for like in line.before(text) {
        if like.indent >= limit {
            continue;
        }
        limit = like.indent;
        let is_entry = like.is_entry();
        let column = like.content_column();
        let known = levels
            .iter()
            .any(|level: &Level<'_>| level.column == column);
        if is_entry && like.key().is_some() && !known {
            levels.push(Level {
                column,
                entries: false,
                like: like.clone(),
            });
        }
        levels.push(Level {
            column: like.indent,
            entries: is_entry,
            like,
        });
        if limit == 0 {
            break;
        }
    }
    levels
}

/// The level that a line probably belongs to: the nearest of its kind, of two the deeper one.
fn meant<'l, 'a>(levels: &'l [Level<'a>], line: &Line<'_>) -> Option<&'l Level<'a>> {
    let own_kind = |level: &&Level<'_>| level.entries == line.is_entry();
    // What is no key of a file does not stand at its left edge.
    let inside = |level: &&Level<'_>| {
        level.column > 0 || level.entries || line.key().is_none_or(|key| keys::FILE.contains(&key))
    };
    let nearest = |levels: &mut dyn Iterator<Item = &'l Level<'a>>| {
        levels.min_by_key(|level| level.column.abs_diff(line.indent))
    };
    nearest(&mut levels.iter().filter(own_kind).filter(inside))
        .or_else(|| nearest(&mut levels.iter().filter(own_kind)))
}

/// The line moves to the level that it probably belongs to, and what belongs to it moves along.
fn moved(text: &str, line: &Line<'_>, message: String) -> Option<Repair> {
    let levels = levels(text, line);
    let level = meant(&levels, line).filter(|level| level.column != line.indent)?;
    let column = |indent: usize| (indent + level.column).saturating_sub(line.indent);
    let edit = |line: &Line<'_>| Edit::indent(line.start..line.word(), column(line.indent));
    let mut edits = vec![edit(line)];
    let mut opens = line.content.trim_end().ends_with(':');
    let mut inner: Option<usize> = None;
    for next in line.after(text) {
        if next.indent < line.indent {
            break;
        }
        if opens && next.indent > line.indent {
            inner.get_or_insert(next.indent);
        }
        let is_inner = inner.is_some_and(|inner| next.indent >= inner);
        let stands_right = levels
            .iter()
            .any(|level| level.entries == next.is_entry() && level.column == next.indent);
        if !is_inner && stands_right {
            break;
        }
        if !is_inner {
            inner = None;
        }
        opens = next.content.trim_end().ends_with(':');
        edits.push(edit(&next));
    }
    let spaces = match level.column {
        0 => "with no space".to_owned(),
        1 => "by 1 space".to_owned(),
        columns => format!("by {columns} spaces"),
    };
    let like = format!(
        "`{}` on line {}",
        lines::name(&level.like),
        lines::number(text, level.like.start)
    );
    Some(Repair {
        message,
        span: line.word()..line.end,
        help: Some(format!("indent it {spaces}, as {like}")),
        also: None,
        certain: false,
        edits,
    })
}

/// A line at a column where nothing before it begins.
pub(super) fn line(text: &str, line: &Line<'_>) -> Option<Repair> {
    let message = "this line is indented like none of those before it";
    moved(text, line, message.to_owned())
}

/// A key that is indented as if it belonged to a key that has its value already.
pub(super) fn deeper(text: &str, line: &Line<'_>, at: usize) -> Option<Repair> {
    let key = line.key()?;
    let colon = line.word() + line.dash + key.len();
    let before = line.before(text).next()?;
    let owner = before.key()?;
    before.value()?;
    if at != colon || line.indent <= before.indent {
        return None;
    }
    let message = format!("`{key}` is indented below `{owner}`, which has its value already");
    let mut repair = moved(text, line, message)?;
    let owner = before.word() + before.dash..before.word() + before.dash + owner.len();
    repair.also = Some((owner, "has a value".to_owned()));
    Some(repair)
}

/// Every tab before a word becomes spaces.
pub(super) fn tabs(text: &str) -> Option<Repair> {
    let first = Line::around(text, 0);
    let all = std::iter::once(first.clone()).chain(first.after(text));
    let with_tabs = all.filter(|line| text[line.start..line.word()].contains('\t'));
    let mut edits = Vec::new();
    let mut span = None;
    for line in with_tabs {
        let blank = line.start..line.word();
        span.get_or_insert(blank.clone());
        let columns = text[blank.clone()]
            .bytes()
            .map(|byte| if byte == b'\t' { TAB_COLUMNS } else { 1 });
        edits.push(Edit::indent(blank, columns.sum()));
    }
    let more = match edits.len() {
        0 | 1 => String::new(),
        2 => "; one more line begins with a tab".to_owned(),
        lines => format!("; {} more lines begin with a tab", lines - 1),
    };
    Some(Repair {
        message: "a tab stands where only spaces may".to_owned(),
        span: span?,
        help: Some(format!("indent with spaces{more}")),
        also: None,
        certain: false,
        edits,
    })
}
