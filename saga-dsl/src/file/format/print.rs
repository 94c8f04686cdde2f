//! A layout as text: two columns a level, a dash two columns deeper than its key, one blank line at most.

use super::layout::{Block, Body, Entry, Layout, Line, Note};

const INDENT: usize = 2;

/// Prints a layout; ends with a line feed.
pub(super) fn print(layout: Layout) -> String {
    let mut printer = Printer::default();
    let headed = !layout.head.is_empty();
    printer.free_lines(&layout.head, 0, true);
    printer.block(&layout.block, 0, !headed);
    with_notes(&printer.lines)
}

#[derive(Default)]
struct Printer {
    lines: Vec<Printed>,
    /// Blanks and dashes before the next line, while it stands beside a dash.
    dashes: Option<String>,
    /// The text just printed would take a blank line for a part of itself.
    keeps: bool,
}

#[derive(Default)]
struct Printed {
    text: String,
    note: Option<Note>,
}

impl Printer {
    fn block(&mut self, block: &Block, indent: usize, mut is_first: bool) {
        for entry in &block.entries {
            self.free_lines(&entry.lead, indent, is_first);
            is_first = false;
            self.entry(entry, indent, block.is_list);
        }
        self.free_lines(&block.foot, indent, is_first);
    }

    fn entry(&mut self, entry: &Entry, indent: usize, is_item: bool) {
        let before = self.dashes.take().unwrap_or_else(|| " ".repeat(indent));
        let sign = if is_item { "-" } else { entry.key.as_str() };
        match &entry.body {
            Body::Nothing => self.line(format!("{before}{sign}"), entry.note.clone()),
            Body::Value(value) => {
                let space = if sign.is_empty() { "" } else { " " };
                let first = format!("{before}{sign}{space}{}", value.first);
                // Below the header of a block scalar everything is text: the note stays beside the header.
                let at_header = value.first.starts_with(['|', '>']);
                let on_first = value.rest.is_empty() || at_header;
                self.line(first, entry.note.clone().filter(|_| on_first));
                for (at, line) in value.rest.iter().enumerate() {
                    let is_last = at + 1 == value.rest.len() && !on_first;
                    let blanks = if line.is_empty() {
                        0
                    } else {
                        indent + value.step
                    };
                    let note = entry.note.clone().filter(|_| is_last);
                    self.line(format!("{}{line}", " ".repeat(blanks)), note);
                }
                self.keeps = value.keeps;
            }
            Body::Block(block) if is_item => {
                self.dashes = Some(format!("{before}- "));
                self.block(block, indent + INDENT, false);
            }
            Body::Block(block) => {
                self.line(format!("{before}{sign}"), entry.note.clone());
                self.block(block, indent + INDENT, true);
            }
        }
    }

    /// Comments and blank lines; none of the latter at the beginning of a block, and never two.
    fn free_lines(&mut self, lines: &[Line], indent: usize, is_first: bool) {
        let mut may_be_blank = !is_first;
        for line in lines {
            match line {
                Line::Blank => {
                    let doubled = self.lines.last().is_none_or(|last| last.text.is_empty());
                    if may_be_blank && !doubled && !self.keeps {
                        self.line(String::new(), None);
                    }
                }
                Line::Comment(text) => {
                    self.line(format!("{}{text}", " ".repeat(indent)), None);
                    may_be_blank = true;
                }
            }
        }
    }

    fn line(&mut self, text: String, note: Option<Note>) {
        self.keeps = false;
        self.lines.push(Printed { text, note });
    }
}

/// Sets the comments behind their lines. Those of neighbouring lines that stood in one column stay in one; one that
/// was set off by more than two blanks keeps its column.
fn with_notes(lines: &[Printed]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let Some(note) = line.note.as_ref().filter(|note| !note.tight) else {
            let tight = line
                .note
                .as_ref()
                .map(|note| format!(" {}", note.text))
                .unwrap_or_default();
            text.push_str(&format!("{}{tight}\n", line.text));
            at += 1;
            continue;
        };
        let in_run = |line: &&Printed| {
            line.note
                .as_ref()
                .is_some_and(|other| !other.tight && other.column == note.column)
        };
        let run: Vec<&Printed> = lines[at..].iter().take_while(in_run).collect();
        let width = |line: &Printed| line.text.chars().count();
        let least = run
            .iter()
            .map(|line| width(line) + 2)
            .max()
            .unwrap_or_default();
        let set_off = run.len() > 1 || note.gap > 2;
        let column = if set_off {
            least.max(note.column)
        } else {
            least
        };
        for line in &run {
            let comment = line.note.as_ref().map_or("", |note| note.text.as_str());
            let blanks = " ".repeat(column - width(line));
            text.push_str(&format!("{}{blanks}{comment}\n", line.text));
        }
        at += run.len();
    }
    text
}
