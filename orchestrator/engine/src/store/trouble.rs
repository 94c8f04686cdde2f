//! Why a store cannot be read or written for now, and since when: typed, and in words for people.

use std::fmt;

use saga_core::Timestamp;

/// What keeps a store from being read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The server answers and takes no writes: it was made read-only, or is a standby.
    ReadOnly,
    /// The server is starting, recovering or shutting down.
    Starting,
    /// The disk is full.
    DiskFull,
    /// The server has no connection left for us.
    NoConnection,
    /// The server gives up our statements before they are done.
    TimedOut,
    /// The server is out of memory or of another resource.
    Overloaded,
    /// The server ended the session.
    Ended,
    /// Nobody answers there.
    Unreachable,
    /// The server does not let us in, or not do what we must.
    Denied,
    /// Settings, encoding or a pooler between: the place cannot keep sagas as it is.
    Unfit,
    /// The SQLite file is not where it was opened, or has become another file.
    Moved,
    /// Another process owns the store.
    Fenced,
    /// The store was closed: the server goes down.
    Closed,
    /// None of these; the words tell.
    Other,
}

/// Why the store failed, without a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What it is.
    pub kind: Kind,
    /// The same for people: place, problem, remedy. Holds no secrets.
    pub words: String,
}

impl Cause {
    /// A cause in words.
    pub fn new(kind: Kind, words: impl Into<String>) -> Self {
        Self {
            kind,
            words: words.into(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl From<String> for Cause {
    fn from(words: String) -> Self {
        Self::new(Kind::Other, words)
    }
}

impl From<&str> for Cause {
    fn from(words: &str) -> Self {
        Self::new(Kind::Other, words)
    }
}

/// The store takes no commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// When the first commit failed, or was submitted and not answered. Later failures leave it as it is.
    pub since: Timestamp,
    /// Why the last commit failed.
    pub kind: Kind,
    /// The same for people. Holds no secrets.
    pub words: String,
}
