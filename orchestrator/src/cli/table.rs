//! Columns without borders. The last column is the one that gives way when the terminal is narrow.

use anstyle::{AnsiColor, Effects};
use comfy_table::{
    Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Row, Table, Width,
    presets::NOTHING,
};

use super::{
    output::{Frame, printable},
    words::{Tone, Word},
};

/// Below this the last column is of no use any more, and the terminal may as well break the line.
const LAST_COLUMN_MIN: u16 = 12;
/// Blank columns between two columns.
const GAP: u16 = 2;

/// A text and how it looks.
pub struct Text {
    text: String,
    tone: Tone,
}

impl Text {
    /// In the terminal's own colour.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Plain,
        }
    }

    /// For what matters less.
    pub fn dim(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Dim,
        }
    }
}

impl From<Word> for Text {
    fn from(word: Word) -> Self {
        Self {
            text: word.text(),
            tone: word.tone,
        }
    }
}

/// Draws rows under a header; every line ends with a line break, none with blanks.
pub fn draw(header: &[&str], rows: Vec<Vec<Text>>, frame: Frame) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_truncation_indicator("…")
        .enforce_styling();
    // Cuts happen at any letter: no cell holds the delimiter, since control characters are never shown.
    table.set_delimiter('\0').style_text_only();
    table.set_header(
        header
            .iter()
            .map(|title| Cell::new(title).add_attribute(Attribute::Dim)),
    );
    for texts in rows {
        let mut row = Row::from(texts.into_iter().map(cell).collect::<Vec<_>>());
        row.max_height(1);
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    fit(&mut table, frame.width);
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end_matches(' '));
        text.push('\n');
    }
    text
}

/// Only the last column is cut, and only when the line would not fit otherwise.
fn fit(table: &mut Table, width: Option<u16>) {
    table.set_content_arrangement(ContentArrangement::Disabled);
    let Some(width) = width else { return };
    let widths = table.column_max_content_widths();
    let Some((last, others)) = widths.split_last() else {
        return;
    };
    let others = others.iter().fold(0_u16, |sum, width| {
        sum.saturating_add(*width).saturating_add(GAP)
    });
    // One column stays free: terminals wrap when the last cell is written.
    let room = width
        .saturating_sub(others)
        .saturating_sub(GAP + 1)
        .max(LAST_COLUMN_MIN);
    if *last > room
        && let Some(column) = table.column_mut(widths.len() - 1)
    {
        table_width_of(column, room);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::MAX);
    }
}

fn table_width_of(column: &mut comfy_table::Column, room: u16) {
    column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(
        room.saturating_add(GAP),
    )));
}

fn cell(text: Text) -> Cell {
    let cell = Cell::new(printable(&text.text));
    // Colour around nothing would end in blanks that nobody can trim.
    if text.text.is_empty() {
        return cell;
    }
    let style = text.tone.style();
    let cell = match style.get_fg_color() {
        Some(anstyle::Color::Ansi(AnsiColor::Red)) => cell.fg(Color::DarkRed),
        Some(anstyle::Color::Ansi(AnsiColor::Green)) => cell.fg(Color::DarkGreen),
        Some(anstyle::Color::Ansi(AnsiColor::Yellow)) => cell.fg(Color::DarkYellow),
        Some(anstyle::Color::Ansi(AnsiColor::Cyan)) => cell.fg(Color::DarkCyan),
        Some(_) | None => cell,
    };
    if style.get_effects().contains(Effects::DIMMED) {
        cell.add_attribute(Attribute::Dim)
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::bare;
    use super::*;

    fn rows() -> Vec<Vec<Text>> {
        vec![
            vec![
                Text::plain("a"),
                Text::plain("reserve_flight"),
                Text::dim("short"),
            ],
            vec![
                Text::plain("bbb"),
                Text::plain("x"),
                Text::plain("retry in 8s: hotels/cancel 503, breaker closed"),
            ],
        ]
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        insta::assert_snapshot!(
            bare(&draw(&["ONE", "STEP", "NEXT"], rows(), Frame { width: None, now_us: 0 })),
            @r"
        ONE  STEP            NEXT
        a    reserve_flight  short
        bbb  x               retry in 8s: hotels/cancel 503, breaker closed
        "
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_last_column() {
        let shown = bare(&draw(
            &["ONE", "STEP", "NEXT"],
            rows(),
            Frame {
                width: Some(40),
                now_us: 0,
            },
        ));
        insta::assert_snapshot!(shown, @r"
        ONE  STEP            NEXT
        a    reserve_flight  short
        bbb  x               retry in 8s: ho…
        ");
        assert!(
            shown.lines().all(|line| line.chars().count() < 40),
            "{shown}"
        );
    }

    #[test]
    fn an_absurd_terminal_does_not_panic() {
        for width in [0, 1, 5, u16::MAX] {
            draw(
                &["ONE", "STEP", "NEXT"],
                rows(),
                Frame {
                    width: Some(width),
                    now_us: 0,
                },
            );
        }
        draw(
            &[],
            vec![],
            Frame {
                width: Some(10),
                now_us: 0,
            },
        );
    }
}
