//! How rough a world is: drawn once from its seed, and calm when it has healed.

use saga_core::SagaId;

use super::{chance::Chance, participants::Mood};

/// Percentages, unless said otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub drop: u64,
    pub twice: u64,
    pub held: u64,
    /// Of the incarnations, that they die at some effect.
    pub crash: u64,
    pub commit_unavailable: u64,
    pub commit_unknown: u64,
    pub slow_commit: u64,
    pub forged: u64,
    pub liar: u64,
    /// Actions are kept back until their undo or seal was there.
    pub late_actions: u64,
    /// Commands come back as dead letters, some of them after they were taken.
    pub dead: u64,
}

/// A row that the store refuses: of this saga, with this word in it.
#[derive(Debug, Clone, Copy)]
pub struct Poison {
    pub saga: SagaId,
    pub word: &'static str,
}

/// Words that rows may be refused for.
pub const POISONS: [&str; 4] = [
    "step_succeeded",
    "step_unknown",
    "undo_dispatched",
    "step_failed",
];

impl Weather {
    pub const CALM: Self = Self {
        drop: 0,
        twice: 0,
        held: 0,
        crash: 0,
        commit_unavailable: 0,
        commit_unknown: 0,
        slow_commit: 0,
        forged: 0,
        liar: 0,
        late_actions: 0,
        dead: 0,
    };

    /// The first numbers of a seed's chance decide what kind of a world it is.
    pub fn draw(chance: &mut Chance, liar: bool) -> (Self, Mood) {
        let kind = chance.below(8);
        let mut percent = |most: u64| if kind == 0 { 0 } else { chance.below(most + 1) };
        let mut weather = Self {
            drop: percent(25),
            twice: percent(25),
            held: percent(30),
            crash: percent(70),
            commit_unavailable: percent(12),
            commit_unknown: percent(12),
            slow_commit: percent(60),
            forged: percent(15),
            liar: if liar { 40 } else { 0 },
            late_actions: 0,
            dead: percent(20),
        };
        let mood = Mood {
            refuse: percent(20),
            fail: percent(40),
            accept: percent(20),
            operator: percent(8),
            refuse_retriable: percent(8),
        };
        match kind {
            // The adversary: whatever can come too late does.
            1 | 2 => weather.late_actions = 70,
            3 => weather.twice = 100,
            _ => {}
        }
        (weather, mood)
    }
}
