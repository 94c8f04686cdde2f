//! What checks report: a fault at a place of the definition, whatever it was written in.

use std::ops::Range;

use crate::{
    codes::Code,
    place::{Part, Place},
};

/// A diagnostic that does not yet know its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable code.
    pub code: Code,
    /// Where.
    pub place: Place,
    /// Which part of it.
    pub part: Part,
    /// What is wrong, in one line.
    pub message: String,
    /// What stands beside the underlined source.
    pub label: String,
    /// Other places that have a part in it, and what stands there.
    pub also: Vec<(Place, Part, String)>,
    /// How to put it right.
    pub help: Option<String>,
    /// Further facts.
    pub notes: Vec<String>,
}

impl Finding {
    /// A fault of a value.
    #[must_use]
    pub fn new(code: Code, place: &Place, message: impl Into<String>) -> Self {
        Self {
            code,
            place: place.clone(),
            part: Part::Value,
            message: message.into(),
            label: String::new(),
            also: Vec::new(),
            help: None,
            notes: Vec::new(),
        }
    }

    /// Means the key rather than the value.
    #[must_use]
    pub fn on_key(mut self) -> Self {
        self.part = Part::Key;
        self
    }

    /// Means these bytes of the value's text.
    #[must_use]
    pub fn on_text(mut self, bytes: Range<usize>) -> Self {
        self.part = Part::Text(bytes);
        self
    }

    /// With a label beside the source.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With another place that has a part in it: of its value, or of its key.
    #[must_use]
    pub fn also(mut self, place: Place, part: Part, label: impl Into<String>) -> Self {
        self.also.push((place, part, label.into()));
        self
    }

    /// With a way to put it right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With a further fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}
