//! What the world around the orchestrator keeps to, each by name, so that it can be left out like a rule of the engine.

use saga_core::{Rule, Rules};

/// A rule of participants or of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// An inbox recognises a command that it has seen.
    Dedup,
    /// It recognises it by its key, not by its attempt.
    DedupByKey,
    /// A refusal is stored.
    StickyRefusal,
    /// An undo that finds nothing leaves a tombstone.
    Tombstone,
    /// A tombstone outlives the late action that it kept out.
    TombstoneStays,
    /// A commit survives a crash.
    DurableStore,
    /// The store remembers start keys.
    StartKeys,
    /// The store checks who owns a partition.
    OwnerFence,
    /// The store accepts only the row that follows the last one.
    JournalFence,
}

impl Habit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Dedup => "inbox: dedup",
            Self::DedupByKey => "inbox: dedup by key, not attempt",
            Self::StickyRefusal => "inbox: sticky refusal",
            Self::Tombstone => "inbox: tombstone",
            Self::TombstoneStays => "inbox: tombstone stays",
            Self::DurableStore => "store: durable commits",
            Self::StartKeys => "store: start keys",
            Self::OwnerFence => "store: owner fence",
            Self::JournalFence => "store: journal fence",
        }
    }

    pub fn says(self) -> &'static str {
        match self {
            Self::Dedup => {
                "A command seen before is answered again and not carried out again (I1)."
            }
            Self::DedupByKey => "Attempts share one key (I1).",
            Self::StickyRefusal => "A business no stays a no (I7).",
            Self::Tombstone => "An undo that overtakes its action keeps it out (I3).",
            Self::TombstoneStays => "It keeps out the second late copy, too (I3).",
            Self::DurableStore => "What was committed is there after a crash (I18).",
            Self::StartKeys => "The same key names the first saga (I17).",
            Self::OwnerFence => "A stale owner commits nothing (I23).",
            Self::JournalFence => {
                "A row follows the last one, so two owners cannot both write (I14)."
            }
        }
    }
}

/// What is kept in one run.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    pub rules: Rules,
    habits: u16,
}

impl Kept {
    pub const ALL: Self = Self {
        rules: Rules::ALL,
        habits: u16::MAX,
    };

    pub fn without(self, habit: Habit) -> Self {
        Self {
            habits: self.habits & !(1 << habit as u16),
            ..self
        }
    }

    pub fn without_rule(self, rule: Rule) -> Self {
        Self {
            rules: self.rules.without(rule),
            ..self
        }
    }

    pub fn keep(self, habit: Habit) -> bool {
        self.habits & (1 << habit as u16) != 0
    }
}
