//! What can be wrong with an expression: in its text ([`Fault`]) and with the data it meets ([`EvalError`]).

use std::ops::Range;

/// Something wrong with the text of an expression, a template or a pick list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What sort of fault; the caller maps it to a stable code.
    pub kind: FaultKind,
    /// Where: bytes in the source given. In a value template: bytes in the text at `place`.
    pub span: Range<usize>,
    /// JSON pointer to the text inside a value template, `/items/0/sku`; empty otherwise.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// How to put it right.
    pub help: Option<String>,
}

/// Sorts of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Not an expression of the language.
    Syntax,
    /// A name, field or function that does not exist.
    UnknownName,
    /// A value of this type cannot stand here.
    TypeMismatch,
    /// The two sides of a conditional have types that no reader takes alike.
    Branches,
    /// What is read here may be absent, and nothing guards the read.
    MaybeAbsent,
    /// Too long, too deep, or too much nesting of loops.
    TooLarge,
    /// Two entries of a pick list or two keys of a map have the same name.
    Duplicate,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            kind,
            span,
            place: String::new(),
            message: message.into(),
            help: None,
        }
    }

    #[must_use]
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same fault, told from a text in which the expression begins at `offset`.
    #[must_use]
    pub(crate) fn moved_by(mut self, offset: usize) -> Self {
        self.span = self.span.start + offset..self.span.end + offset;
        self
    }

    #[must_use]
    pub(crate) fn at_place(mut self, place: &str) -> Self {
        self.place = place.to_owned();
        self
    }
}

/// Why an expression has no value. The same expression over the same data always fails in the same way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Something read is not there.
    #[error("`{0}` is absent")]
    Absent(String),
    /// An operator or function met values it does not work on.
    #[error("{0}")]
    Type(String),
    /// Overflow, division by zero, an index out of range.
    #[error("{0}")]
    Range(String),
    /// A text that a conversion does not understand, or a value that JSON cannot hold.
    #[error("{0}")]
    Convert(String),
    /// The evaluation takes more steps than allowed.
    #[error("evaluation takes more than {0} steps")]
    Budget(u32),
    /// The values built are larger than allowed, in bytes.
    #[error("evaluation builds more than {0} bytes")]
    TooLarge(usize),
}

impl EvalError {
    /// Whether a limit was hit; such an error ends the evaluation and no `||` absorbs it.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Budget(_) | Self::TooLarge(_))
    }
}
