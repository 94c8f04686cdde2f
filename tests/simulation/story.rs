//! What a run leaves behind: a hash that tells two runs apart, and, when asked for, lines that a person can read.

use std::fmt::{self, Write};

/// FNV-1a over everything that showed, and the lines of the story if somebody listens.
pub struct Story {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Story {
    pub fn new(told: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: told.then(Vec::new),
        }
    }

    /// Mixes bytes into the hash.
    pub fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Mixes a number into the hash.
    pub fn mix_number(&mut self, number: u64) {
        self.mix(&number.to_le_bytes());
    }

    /// A line, if somebody listens.
    pub fn line(&mut self, ms: u64, line: fmt::Arguments<'_>) {
        if let Some(lines) = &mut self.lines {
            let mut text = String::new();
            // Writing into a text does not fail.
            write!(text, "{:>8}.{:03}  {line}", ms / 1_000, ms % 1_000).ok();
            lines.push(text);
        }
    }

    /// Does somebody listen?
    pub fn is_told(&self) -> bool {
        self.lines.is_some()
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}

/// A promise that was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The invariant, as `docs/reference/mutants.md` numbers them.
    pub check: &'static str,
    /// What was seen.
    pub seen: String,
}

/// Ends the function with a [`Violation`] unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $check:literal, $($seen:tt)+) => {
        if !$holds {
            let violation = $crate::story::Violation { check: $check, seen: format!($($seen)+) };
            return Err(violation.into());
        }
    };
}
pub(crate) use ensure;
