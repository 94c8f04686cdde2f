//! The picture for terminals: from left to right, or as a tree where that is too wide.
//!
//! A part is a [`Block`] of lines. The saga enters and leaves it on its first line, so blocks are set side by side
//! without looking into them.

use super::{Label, Part, legend};
use crate::plan::Plan;

/// Draws a plan. Where it does not fit into `width` columns, it is drawn from top to bottom, with groups indented;
/// `None`: any width will do. Ends with a line feed.
#[must_use]
pub fn ascii(plan: &Plan, width: Option<usize>) -> String {
    let parts = match Part::of(plan) {
        Some(Part::Row(parts)) => parts,
        Some(part) => vec![part],
        None => Vec::new(),
    };
    let line = line(&parts);
    let mut text = match width {
        Some(width) if line.width > width + 2 * EDGE => tree(&parts),
        Some(_) | None => line.text(),
    };
    let legend = legend(plan);
    if !legend.is_empty() {
        text.push_str(&format!("\n{legend}\n"));
    }
    text
}

/// Columns before the first word of a block and behind its last one.
const EDGE: usize = 1;

/// Lines of equal width.
struct Block {
    lines: Vec<String>,
    width: usize,
    /// Begins and ends with a word, not with a wire.
    is_word: bool,
}

impl Block {
    fn word(text: &str) -> Self {
        let line = format!(" {text} ");
        Self {
            width: line.chars().count(),
            lines: vec![line],
            is_word: true,
        }
    }

    /// Sets `other` to the right; a word gets a wire to the word before it.
    fn then(mut self, other: Self) -> Self {
        let wire = if self.is_word && other.is_word {
            "──"
        } else {
            ""
        };
        let wire_width = wire.chars().count();
        for at in 0..self.lines.len().max(other.lines.len()) {
            if at == self.lines.len() {
                self.lines.push(" ".repeat(self.width));
            }
            let line = &mut self.lines[at];
            line.push_str(if at == 0 { wire } else { &"  "[..wire_width] });
            match other.lines.get(at) {
                Some(right) => line.push_str(right),
                None => line.push_str(&" ".repeat(other.width)),
            }
        }
        Self {
            width: self.width + wire_width + other.width,
            is_word: other.is_word,
            ..self
        }
    }

    /// Without the blanks around the outermost words.
    fn text(&self) -> String {
        self.lines
            .iter()
            .map(|line| line.get(EDGE..).unwrap_or_default().trim_end().to_owned() + "\n")
            .collect()
    }
}

fn line(parts: &[Part]) -> Block {
    parts
        .iter()
        .map(|part| block(part, 0))
        .fold(Block::word("start"), Block::then)
        .then(Block::word("end"))
}

/// A part; a step's marks stand behind `name_width` columns.
fn block(part: &Part, name_width: usize) -> Block {
    match part {
        Part::Step(label) => Block::word(&aligned(label, name_width)),
        Part::Row(parts) => {
            let blocks = parts.iter().map(|part| block(part, 0));
            blocks
                .reduce(Block::then)
                .unwrap_or_else(|| Block::word(""))
        }
        Part::Branches(parts) => branches(parts),
    }
}

/// The wire is what fills a line up, unless marks stand at its end.
fn aligned(label: &Label, name_width: usize) -> String {
    if label.marks.is_empty() {
        return label.text();
    }
    format!("{:name_width$} {}", label.name, label.marks.join(" "))
}

fn branches(parts: &[Part]) -> Block {
    let name_width = parts.iter().map(|part| match part {
        Part::Step(label) if !label.marks.is_empty() => label.name.chars().count(),
        Part::Step(_) | Part::Row(_) | Part::Branches(_) => 0,
    });
    let name_width = name_width.max().unwrap_or_default();
    let blocks: Vec<Block> = parts.iter().map(|part| block(part, name_width)).collect();
    let inner = blocks
        .iter()
        .map(|block| block.width)
        .max()
        .unwrap_or_default();
    let mut lines = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let is_last = at + 1 == blocks.len();
        let (fork, join) = match (at, is_last) {
            (0, _) => ("─┬─", "─┬─"),
            (_, false) => (" ├─", "─┤ "),
            (_, true) => (" └─", "─┘ "),
        };
        let beside = if is_last { "   " } else { " │ " };
        for (row, line) in block.lines.iter().enumerate() {
            let missing = inner - block.width;
            lines.push(match row {
                0 => format!("{fork}{line}{}{join}", "─".repeat(missing)),
                _ => format!("{beside}{line}{}{beside}", " ".repeat(missing)),
            });
        }
    }
    Block {
        lines,
        width: inner + 6,
        is_word: false,
    }
}

fn tree(parts: &[Part]) -> String {
    let mut text = "start\n".to_owned();
    children(parts, "", Some("end"), &mut text);
    text
}

/// The children of a group, and a `last` line that is no part.
fn children(parts: &[Part], indent: &str, last: Option<&str>, text: &mut String) {
    for (at, part) in parts.iter().enumerate() {
        let is_last = last.is_none() && at + 1 == parts.len();
        let (branch, below) = if is_last {
            ("└─", "   ")
        } else {
            ("├─", "│  ")
        };
        let below = format!("{indent}{below}");
        match part {
            Part::Step(label) => text.push_str(&format!("{indent}{branch} {}\n", label.text())),
            Part::Row(parts) => {
                text.push_str(&format!("{indent}{branch} sequence\n"));
                children(parts, &below, None, text);
            }
            Part::Branches(parts) => {
                text.push_str(&format!("{indent}{branch} parallel\n"));
                children(parts, &below, None, text);
            }
        }
    }
    if let Some(last) = last {
        text.push_str(&format!("{indent}└─ {last}\n"));
    }
}
