//! Places in a definition: the path of a value from the top, as its canonical JSON nests.
//!
//! Checks speak of places; a front end that has a text turns them into spans.

use std::{fmt, ops::Range};

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// To a field.
    Key(String),
    /// To an item of a list.
    Index(usize),
}

/// A value in a definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub Vec<Segment>);

impl Place {
    /// A field of this value.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        let mut path = self.0.clone();
        path.push(Segment::Key(key.into()));
        Self(path)
    }

    /// An item of this list.
    #[must_use]
    pub fn at(&self, index: usize) -> Self {
        let mut path = self.0.clone();
        path.push(Segment::Index(index));
        Self(path)
    }

    /// What a JSON pointer leads to, counted from this value.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Self {
        let mut path = self.0.clone();
        for token in pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            // Which of the two it is shows only in the value; the reader of a place takes either.
            path.push(
                name.parse()
                    .map(Segment::Index)
                    .unwrap_or(Segment::Key(name)),
            );
        }
        Self(path)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if n == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Which part of a value is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Part {
    /// The value itself.
    #[default]
    Value,
    /// The key before it.
    Key,
    /// These bytes of its text.
    Text(Range<usize>),
}
