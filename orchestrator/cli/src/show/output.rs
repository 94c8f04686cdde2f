//! The one place that writes to the terminal: data on stdout, notes and errors on stderr.
//!
//! Screens are drawn with colours; anstream takes them away when nobody could see them (`NO_COLOR`, a pipe) and
//! leaves them where somebody insists (`CLICOLOR_FORCE`).

use std::{
    borrow::Cow,
    io::{self, ErrorKind, IsTerminal, Write},
};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::exit::Failure;

/// Formats of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ListFormat {
    /// Columns, shortened to the terminal's width.
    Table,
    /// More columns, full ids, nothing shortened.
    Wide,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// Names or ids only, one a line.
    Id,
}

/// Formats of everything that is not a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs. What comes one after another (`watch`, `history`) is one JSON object a line.
    #[value(alias = "jsonl")]
    Json,
}

/// What a screen must know about the place where it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Columns; `None` where nothing needs to be shortened.
    pub width: Option<u16>,
    /// The moment against which ages are told, in microseconds.
    pub now_us: i64,
}

impl Frame {
    /// The frame of this process's stdout.
    pub fn of_stdout() -> Self {
        let width = if io::stdout().is_terminal() {
            comfy_table::Table::new().width()
        } else {
            None
        };
        Self {
            width,
            now_us: super::time::now_us(),
        }
    }
}

/// Whether a picture may be drawn over the one before: both streams must be a terminal, because the moving
/// picture goes to stderr and the last one to stdout.
pub fn is_live() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Whether a person can be asked.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Writes to stdout and flushes, so that a reader sees each change when it happens.
pub fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::ReaderLeft,
            _ => Failure::error(format!("cannot write the output: {error}")),
        })
}

/// One line on stdout.
pub fn line(text: &str) -> Result<(), Failure> {
    data(&format!("{text}\n"))
}

/// A sentence on stdout, broken at words where a terminal is too narrow for it.
pub fn sentence(text: &str) -> Result<(), Failure> {
    line(&broken(text, Frame::of_stdout().width))
}

/// One line on stderr, broken at words where a terminal is too narrow for it. That nobody reads it changes nothing.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", broken(text, of_stderr()));
}

/// A question on stderr, and the line that is typed after it. Waits on a thread of its own: connections that are open
/// meanwhile must answer their pings.
pub async fn ask(text: &str) -> io::Result<String> {
    let text = broken(text, of_stderr());
    let asked = tokio::task::spawn_blocking(move || {
        let mut stderr = anstream::stderr().lock();
        stderr.write_all(text.as_bytes())?;
        stderr.flush()?;
        drop(stderr);
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    });
    asked.await.map_err(io::Error::other)?
}

fn of_stderr() -> Option<u16> {
    io::stderr()
        .is_terminal()
        .then(|| comfy_table::Table::new().width())
        .flatten()
}

/// Lines that are longer than a terminal is wide, broken at words; what follows a break stands two letters in.
fn broken(text: &str, width: Option<u16>) -> String {
    let Some(width) = width else {
        return text.to_owned();
    };
    let room = usize::from(width.saturating_sub(1));
    let line = |line: &str| {
        let letters = anstream::adapter::strip_str(line).to_string().width();
        if letters > room {
            hung(line, 2, room)
        } else {
            line.to_owned()
        }
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// A failure on stderr, in the shape that rustc made familiar.
pub fn failure(failure: &Failure) {
    match failure {
        Failure::ReaderLeft => {}
        Failure::Told {
            code,
            message,
            help,
            ..
        } => note(&told(code.as_deref(), message, help.as_deref())),
    }
}

fn told(code: Option<&str>, message: &str, help: Option<&str>) -> String {
    let red = AnsiColor::Red.on_default().bold();
    let code = code
        .map(|code| format!("[{}]", printable(code)))
        .unwrap_or_default();
    let mut text = format!("{red}error{code}{red:#}: {}", printable(message));
    if let Some(help) = help {
        let bold = Style::new().bold();
        text.push_str(&format!("\n  = {bold}help{bold:#}: {}", printable(help)));
    }
    text
}

/// An indented JSON document.
pub fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    line(&shown_json(
        serde_json::to_string_pretty(value).map_err(not_json)?,
    ))
}

/// A JSON document on one line.
pub fn json_line<T: Serialize>(value: &T) -> Result<(), Failure> {
    line(&shown_json(serde_json::to_string(value).map_err(not_json)?))
}

/// JSON text with the letters escaped that a terminal takes for commands. JSON lets DEL and the controls of the second
/// kind stand in texts; the stream that takes colours away would take them, too.
fn shown_json(text: String) -> String {
    if !text.contains(is_control_beyond_ascii) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_control_beyond_ascii(letter) {
            shown.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// U+007F to U+009F: never part of JSON's own syntax.
fn is_control_beyond_ascii(letter: char) -> bool {
    matches!(letter, '\u{7f}'..='\u{9f}')
}

fn not_json(error: serde_json::Error) -> Failure {
    Failure::error(format!("the answer cannot be written as JSON: {error}"))
}

/// Prints the rows of a list as `format` asks; `table` draws the two forms for people.
pub fn list<T: Serialize>(
    format: ListFormat,
    rows: &[T],
    id: impl Fn(&T) -> String,
    table: impl FnOnce(bool) -> String,
) -> Result<(), Failure> {
    match format {
        ListFormat::Table => data(&table(false)),
        ListFormat::Wide => data(&table(true)),
        ListFormat::Json => json(&rows),
        ListFormat::Jsonl => rows.iter().try_for_each(json_line),
        ListFormat::Id => rows.iter().try_for_each(|row| line(&id(row))),
    }
}

/// Text from outside, safe to show: a participant's error message must not move the cursor, recolour the
/// screen or break a table's row.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_odd) {
        Cow::Owned(
            text.chars()
                .map(|c| if is_odd(c) { ' ' } else { c })
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

/// Control characters, and those that turn the direction of the text around them.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// Words of a text in lines of at most `width` letters; a longer word has its own line. At least one line.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.width());
        if line > 0 && line + 1 + word.width() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Parts of a line with two blanks between them, in lines of at most `width` letters; a part is never broken. Colours take
/// no room.
pub fn joined(parts: &[String], width: Option<u16>) -> String {
    let Some(width) = width else {
        return parts.join("  ");
    };
    let room = usize::from(width.saturating_sub(1));
    let (mut text, mut used) = (String::new(), 0);
    for part in parts {
        let letters = anstream::adapter::strip_str(part).to_string().width();
        if used > 0 && used + 2 + letters > room {
            text.push('\n');
            used = 0;
        }
        if used > 0 {
            text.push_str("  ");
            used += 2;
        }
        text.push_str(part);
        used += letters;
    }
    text
}

/// A drawn diagnostic for a terminal of this width: its prose is broken at words, the source it shows is left alone.
pub fn prose_wrapped(drawn: &str, width: Option<u16>) -> String {
    let Some(width) = width else {
        return drawn.to_owned();
    };
    let room = usize::from(width.saturating_sub(1));
    let mut text = String::with_capacity(drawn.len());
    for line in drawn.split_inclusive('\n') {
        let bare = anstream::adapter::strip_str(line).to_string();
        let indent = prose_indent(&bare);
        match indent {
            Some(indent) if bare.trim_end().width() > room => {
                text.push_str(&hung(line.trim_end_matches('\n'), indent, room));
                text.push_str(if line.ends_with('\n') { "\n" } else { "" });
            }
            Some(_) | None => text.push_str(line),
        }
    }
    text
}

/// Where the lines after the first begin, if the line is prose: a title, a help, a note.
fn prose_indent(line: &str) -> Option<usize> {
    let rest = line.trim_start();
    let lead = line.len() - rest.len();
    for mark in ["= help: ", "= note: "] {
        if rest.starts_with(mark) {
            return Some(lead + mark.len());
        }
    }
    let titles = ["error", "warning", "note", "help"];
    (lead == 0 && titles.iter().any(|title| rest.starts_with(title))).then_some(2)
}

/// Words in lines of at most `room` letters, each after the first behind `indent` blanks. Colours go on over the breaks.
fn hung(line: &str, indent: usize, room: usize) -> String {
    let (mut text, mut used) = (String::new(), 0);
    for (at, word) in line.split(' ').enumerate() {
        let letters = anstream::adapter::strip_str(word).to_string().width();
        if at > 0 && used > indent && used + 1 + letters > room {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        } else if at > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += letters;
    }
    text
}

/// Thousands apart: `1 842`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The text as stderr may show it; the moving picture does not pass through anstream.
pub fn for_stderr(text: &str) -> String {
    match anstream::AutoStream::choice(&io::stderr()) {
        ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
        ColorChoice::Auto | ColorChoice::AlwaysAnsi | ColorChoice::Always => text.to_owned(),
    }
}

/// Whether stderr shows colours.
pub fn stderr_has_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// Whether stdout shows colours.
pub fn stdout_has_colour() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// The text without its colours, for tests.
#[cfg(test)]
pub fn bare(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::words::Word;
    use super::*;

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{202e}d"), "a [2Jb c d");
        assert!(matches!(printable("card declined: ü"), Cow::Borrowed(_)));
    }

    #[test]
    fn every_character_survives_json_output() {
        let all: String = (0..0x500).filter_map(char::from_u32).collect();
        let text = shown_json(serde_json::to_string(&all).expect("JSON"));
        let through = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(through, text, "nothing in it is taken for a command");
        assert_eq!(serde_json::from_str::<String>(&through).expect("JSON"), all);
        assert_eq!(
            shown_json("{\"k\":\"a\u{7f}b\"}".to_owned()),
            r#"{"k":"a\u007fb"}"#
        );
    }

    #[test]
    fn a_sentence_is_broken_at_words() {
        let told = "book_trip@1 0X2QAC4M is compensated (exceptions), and so on to the end";
        assert_eq!(broken(told, None), told);
        assert_eq!(broken(told, Some(80)), told);
        assert_eq!(
            broken(told, Some(40)),
            "book_trip@1 0X2QAC4M is compensated\n  (exceptions), and so on to the end"
        );
    }

    #[test]
    fn prose_is_wrapped_at_words() {
        assert_eq!(wrapped("one two  three", 8), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible é", 4), ["incomprehensible", "é"]);
        assert_eq!(wrapped("", 0), [""]);
    }

    #[test]
    fn a_diagnostic_is_broken_at_words_and_its_source_is_not() {
        let drawn = "error[S0303]: `reserve` can take effect and nothing undoes it\n   |\n10 |   - {step: reserve, action: stock/reserve, input: [order_id]}\n   = help: `compensation: none` if nothing needs undoing\n";
        assert_eq!(prose_wrapped(drawn, None), drawn);
        let shown = prose_wrapped(drawn, Some(40));
        assert_eq!(
            shown,
            "error[S0303]: `reserve` can take effect\n  and nothing undoes it\n   |\n10 |   - {step: reserve, action: stock/reserve, input: [order_id]}\n   = help: `compensation: none` if\n           nothing needs undoing\n"
        );
    }

    #[test]
    fn parts_of_a_line_stay_whole() {
        let parts = [
            "one two".to_owned(),
            Word::live().painted(),
            "three".to_owned(),
        ];
        assert_eq!(bare(&joined(&parts, Some(16))), "one two  ● live\nthree");
        assert_eq!(bare(&joined(&parts, None)), "one two  ● live  three");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 999, 1_842, 1_000_000].map(count),
            ["0", "999", "1 842", "1 000 000"]
        );
    }

    #[test]
    fn errors_name_code_and_remedy() {
        insta::assert_snapshot!(
            bare(&told(Some("A0404"), "no saga ends in 7QK", Some("saga list --all"))),
            @r"
        error[A0404]: no saga ends in 7QK
          = help: saga list --all
        "
        );
        assert_eq!(bare(&told(None, "no", None)), "error: no");
    }
}
