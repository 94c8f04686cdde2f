//! The rules that the guarantees stand on, by name, so that each can be left out and be seen to be needed.
//!
//! Production keeps them all. The simulation and the crash tests run the same code with one rule removed and must
//! notice; what they found is in `docs/reference/mutants.md`. A rule is a value and not a build, so one binary holds
//! every mutant, and a branch that consults a rule is ordinary code under the ordinary tests.
//!
//! Invariants are numbered as there: I8 for the pivot, I9 for steps of unknown outcome, and so on.

use std::{fmt, str::FromStr};

macro_rules! rules {
    ($($(#[doc = $doc:expr])+ $rule:ident = $name:literal,)+) => {
        /// One rule.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[doc = $doc])+ $rule,)+
        }

        impl Rule {
            /// Every rule, in the order of this file.
            pub const ALL: &[Rule] = &[$(Rule::$rule,)+];

            /// Its name, as `--without` takes it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Rule::$rule => $name,)+
                }
            }

            /// What it says, in the words of its documentation.
            #[must_use]
            pub fn says(self) -> &'static str {
                match self {
                    $(Rule::$rule => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

rules! {
    /// A step of unknown outcome is undone (I9). Without it, a timed-out action that did happen stays (I5).
    UndoUnknown = "undo-unknown",
    /// A pivot in flight is settled before the saga goes back (I8). Without it, a charge lands in a saga that is
    /// undone.
    SettlePivot = "settle-pivot",
    /// A failed attempt of the pivot says nothing of the attempts before it (I8). Without it, an earlier one lands in
    /// a saga that is undone.
    FailedIsOneAttempt = "failed-is-one-attempt",
    /// A command lost with its connection is unknown, not unsent (I9). Without it, what it did is forgotten (I5).
    LostIsUnknown = "lost-is-unknown",
    /// A pivot is given up only when it is sealed (I8). Without it, `absent` counts as not done, and the attempt on
    /// its way lands afterwards.
    SealPivot = "seal-pivot",
    /// What an operator goes on without is sealed first (I3). Without it, a round that is over takes effect after all,
    /// and nobody is told.
    SealRound = "seal-round",
    /// A pivot of unknown outcome is asked for before it is tried again. Without it, nothing but the inbox stands
    /// between the card and a second charge.
    AskBeforeRetry = "ask-before-retry",
    /// What is not definite counts only for the attempt it answers (I21). Without it, an old `failed` ends a new
    /// attempt.
    MatchAttempt = "match-attempt",
    /// Only the participant that was asked can answer (I21). Without it, anybody settles a step.
    MatchParticipant = "match-participant",
    /// A step is undone after everything that depends on it (I10). Without it, a later step loses its ground first.
    ReverseOrder = "reverse-order",
    /// An attempt in flight settles before its step is undone, and before what it depends on is (I10).
    SettleInFlight = "settle-in-flight",
    /// The payload of an undo is evaluated once, so that every sending is the same command (I20).
    EvaluateOnce = "evaluate-once",
    /// Where no inbox keeps a late action out, undo waits until the lifetime of the action's key is over (I3).
    UndoAfterLifetime = "undo-after-lifetime",
    /// A deadline, refusal or cancel stops what was not sent yet (I11). Without it, steps begin in a saga that goes
    /// back.
    NothingNewOnTheWayBack = "nothing-new-on-the-way-back",
    /// Commands go out after their commit (I18). Without it, a command whose decision was never written is on the
    /// wire.
    SendAfterCommit = "send-after-commit",
    /// Callers are answered after the commit. Without it, a saga is promised that a crash forgets.
    AnswerAfterCommit = "answer-after-commit",
    /// A batch that is not written is taken back, states and inputs (I14). Without it, memory runs ahead of the
    /// journal.
    RestorePreImages = "restore-pre-images",
    /// After a commit of unknown fate the lane claims anew and reads back (I24). Without it, a decision is written
    /// twice.
    ReloadAfterUnknown = "reload-after-unknown",
    /// After a restart outstanding commands are sent again (I13). Without it, a saga waits for ever.
    SendAgain = "send-again",
    /// A participant that connects wakes the sagas that wait for it (I12).
    WakeOnConnect = "wake-on-connect",
    /// What a limit or an open breaker holds back is not sent (I26). Without it, attempts are spent on a participant
    /// that is known to fail.
    HeldByGuards = "held-by-guards",
    /// What one decision sends counts against the limits of its next command (I27). Without it, parallel steps go
    /// over `max_in_flight` together.
    CountOwnSendings = "count-own-sendings",
    /// A step that waits for room is woken when there is some (I12). Without it, a saga waits for ever.
    WakeOnRoom = "wake-on-room",
    /// A breaker that is half open lets one probe through (I26). Without it, everybody who waits is a probe.
    OneProbe = "one-probe",
    /// An answer counts for the breaker only if it was sent since the breaker last opened (I26). Without it, a late
    /// one closes it.
    MatchGeneration = "match-generation",
}

/// A set of rules that are kept; all of them, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules(u32);

const _: () = assert!(Rule::ALL.len() < 32, "one bit a rule");

impl Rules {
    /// All rules are kept.
    pub const ALL: Self = Self(u32::MAX);

    /// The same but for one.
    #[must_use]
    pub const fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u32))
    }

    /// Is the rule kept?
    #[must_use]
    pub const fn keep(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No rule has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no rule is called `{name}`; the rules are {}", names())]
pub struct NoSuchRule {
    name: String,
}

fn names() -> String {
    Rule::ALL
        .iter()
        .map(|rule| rule.name())
        .collect::<Vec<_>>()
        .join(", ")
}

impl FromStr for Rule {
    type Err = NoSuchRule;

    fn from_str(name: &str) -> Result<Self, NoSuchRule> {
        let found = Self::ALL.iter().find(|rule| rule.name() == name);
        found.copied().ok_or_else(|| NoSuchRule {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_kept_until_it_is_left_out() {
        for &rule in Rule::ALL {
            assert!(Rules::default().keep(rule));
            let mutant = Rules::ALL.without(rule);
            let left_out: Vec<Rule> = Rule::ALL
                .iter()
                .copied()
                .filter(|r| !mutant.keep(*r))
                .collect();
            assert_eq!(left_out, [rule]);
        }
    }

    #[test]
    fn rules_are_found_by_name() {
        for &rule in Rule::ALL {
            assert_eq!(rule.name().parse(), Ok(rule));
        }
        let error = "undo".parse::<Rule>().expect_err("no such rule");
        assert!(
            error
                .to_string()
                .starts_with("no rule is called `undo`; the rules are undo-unknown, ")
        );
    }
}
