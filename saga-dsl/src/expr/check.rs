//! The static checker: names, types and absence, before anything runs.

use super::{Fault, Root};
use crate::types::Type;

/// What is known of the roots where an expression stands.
pub trait TypeEnv {
    /// What is known of this root.
    fn root(&self, root: &Root) -> RootType;
}

/// What is known of a root.
#[derive(Debug, Clone, PartialEq)]
pub enum RootType {
    /// No such name here.
    Unknown {
        /// Names that do exist, best first; written as the author would write them.
        suggestions: Vec<String>,
    },
    /// It exists.
    Known {
        /// Type of its value when it is there.
        ty: Type,
        /// Why it may be absent: `skipped when line 30 is false`.
        maybe_absent: Option<String>,
    },
}

/// What the checker found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Type of the value; [`Type::Any`] where it cannot be told.
    pub ty: Type,
    /// Every fault, in the order of the text.
    pub faults: Vec<Fault>,
}
