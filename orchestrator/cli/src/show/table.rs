//! Columns without borders. The last column is the one that gives way when the terminal is narrow: it is wrapped at words,
//! or stands below its row.

use anstyle::{AnsiColor, Effects};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Row, Table, presets::NOTHING};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{
    output::{self, Frame, printable},
    words::{Tone, Word},
};

/// A last column that would be narrower than this stands below its rows.
const BESIDE_MIN: usize = 30;
/// Lines that a text of the last column takes at most.
const LINES_MAX: usize = 2;
/// Blanks before a text below its row.
const INDENT: usize = 4;
/// Letters that a cut text keeps at least.
const CUT_MIN: usize = 8;
/// Blank columns between two columns.
const GAP: usize = 2;

/// A text and how it looks.
pub struct Text {
    text: String,
    tone: Tone,
    /// Makes no sense in part.
    rigid: bool,
}

impl Text {
    /// In the terminal's own colour.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Plain,
            rigid: false,
        }
    }

    /// A picture, which is not cut.
    pub fn rigid(text: impl Into<String>) -> Self {
        Self {
            rigid: true,
            ..Self::plain(text)
        }
    }

    /// For what matters less.
    pub fn dim(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Dim,
            rigid: false,
        }
    }
}

impl From<Word> for Text {
    fn from(word: Word) -> Self {
        Self {
            text: word.text(),
            tone: word.tone,
            rigid: false,
        }
    }
}

/// Draws rows under a header; every line ends with a line break, none with blanks.
///
/// No line is wider than the frame. Where the last column would have to be narrow, its texts stand in lines of their own
/// below their rows.
pub fn draw(header: &[&str], mut rows: Vec<Vec<Text>>, frame: Frame) -> String {
    for text in rows.iter_mut().flatten() {
        // From here on a line break is one of ours.
        text.text = printable(&text.text).into_owned();
    }
    let Some(width) = frame.width else {
        return beside(header, rows, None);
    };
    // One column stays free: terminals wrap when the last cell is written.
    let room = usize::from(width.saturating_sub(1));
    let widths = widths(header, &rows);
    let Some((last, others)) = widths.split_last() else {
        return String::new();
    };
    let before: usize = others.iter().map(|width| width + GAP).sum();
    if before + last <= room {
        return beside(header, rows, None);
    }
    match room.checked_sub(before) {
        Some(left) if left >= BESIDE_MIN => beside(header, rows, Some(left)),
        Some(_) | None => below(header, rows, room, others),
    }
}

/// The widest text of every column.
fn widths(header: &[&str], rows: &[Vec<Text>]) -> Vec<usize> {
    let widest = |column: usize, title: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.text.width()).max();
        widest.unwrap_or(0).max(title.width())
    };
    header
        .iter()
        .enumerate()
        .map(|(column, title)| widest(column, title))
        .collect()
}

/// Every text in its column; those of the last one wrapped where there is a width to wrap at.
fn beside(header: &[&str], rows: Vec<Vec<Text>>, last: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).enforce_styling();
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.style_text_only();
    table.set_header(
        header
            .iter()
            .map(|title| Cell::new(title).add_attribute(Attribute::Dim)),
    );
    for mut texts in rows {
        if let (Some(width), Some(text)) = (last, texts.last_mut()) {
            text.text = few_lines(&text.text, width).join("\n");
        }
        table.add_row(Row::from(texts.into_iter().map(cell).collect::<Vec<_>>()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, u16::try_from(GAP).unwrap_or(0)));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end_matches(' '));
        text.push('\n');
    }
    text
}

/// The texts of the last column below their rows.
fn below(header: &[&str], mut rows: Vec<Vec<Text>>, room: usize, widths: &[usize]) -> String {
    let Some((title, others)) = header.split_last() else {
        return String::new();
    };
    let widths = narrowed(widths, others, &rows, room);
    let mut notes = vec![Text::dim(*title)];
    for row in &mut rows {
        notes.extend((row.len() == header.len()).then(|| row.pop()).flatten());
        for (text, width) in row.iter_mut().zip(&widths) {
            text.text = cut(&text.text, *width);
        }
    }
    let table = beside(others, rows, None);
    let mut shown = String::new();
    for (line, note) in table.lines().zip(notes) {
        shown.push_str(line);
        shown.push('\n');
        for line in few_lines(&note.text, room.saturating_sub(INDENT)) {
            if !line.is_empty() {
                shown.push_str(&format!("{:INDENT$}{}\n", "", note.tone.paint(&line)));
            }
        }
    }
    shown
}

/// Widths that fit together: the widest columns give way first, but no title is cut, and no picture.
fn narrowed(widths: &[usize], titles: &[&str], rows: &[Vec<Text>], room: usize) -> Vec<usize> {
    let mut widths = widths.to_vec();
    let is_rigid = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column));
        cells.any(|cell| cell.rigid)
    };
    let floors: Vec<usize> = titles
        .iter()
        .zip(&widths)
        .enumerate()
        .map(|(column, (title, width))| match is_rigid(column) {
            true => *width,
            false => title.width().max(CUT_MIN).min(*width),
        })
        .collect();
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > room {
        let widest = widths
            .iter_mut()
            .zip(&floors)
            .filter(|(width, floor)| **width > **floor)
            .max_by_key(|(width, _)| **width);
        match widest {
            Some((width, _)) => *width -= 1,
            // Not even the titles fit.
            None => break,
        }
    }
    widths
}

/// The text in at most [`LINES_MAX`] lines; the last one shows that there would be more.
fn few_lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = output::wrapped(text, width);
    if lines.len() > LINES_MAX {
        lines.truncate(LINES_MAX);
        if let Some(last) = lines.last_mut() {
            last.push_str(" …");
        }
    }
    lines.iter().map(|line| cut(line, width)).collect()
}

/// The text, or its beginning and a mark.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        if kept.width() + letter.width().unwrap_or(0) + 1 > width {
            break;
        }
        kept.push(letter);
    }
    kept.push('…');
    kept
}

fn cell(text: Text) -> Cell {
    let cell = Cell::new(&text.text);
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
    use super::*;
    use crate::show::output::bare;

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

    fn narrow(width: u16) -> String {
        bare(&draw(
            &["ONE", "STEP", "NEXT"],
            rows(),
            Frame {
                width: Some(width),
                now_us: 0,
            },
        ))
    }

    #[test]
    fn the_last_column_is_wrapped_at_words() {
        insta::assert_snapshot!(narrow(55), @r"
        ONE  STEP            NEXT
        a    reserve_flight  short
        bbb  x               retry in 8s: hotels/cancel 503,
                             breaker closed
        ");
    }

    #[test]
    fn a_last_column_without_room_stands_below_its_row() {
        let shown = narrow(40);
        insta::assert_snapshot!(shown, @r"
        ONE  STEP
            NEXT
        a    reserve_flight
            short
        bbb  x
            retry in 8s: hotels/cancel 503,
            breaker closed
        ");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 20..80 {
            let shown = narrow(width);
            let fits = |line: &str| line.width() < usize::from(width);
            assert!(shown.lines().all(fits), "{width}:\n{shown}");
        }
    }

    #[test]
    fn a_foreign_line_break_makes_no_line() {
        let rows = vec![vec![Text::plain("a"), Text::plain("one\ntwo")]];
        let frame = Frame {
            width: None,
            now_us: 0,
        };
        assert_eq!(draw(&["A", "B"], rows, frame).lines().count(), 2);
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
