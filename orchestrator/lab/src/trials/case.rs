//! What a case is: the values it runs with, how participants answer, what else happens, what must come of it.

use std::collections::BTreeMap;

use saga_core::{Op, event::IncidentKind};
use saga_dsl::{
    plan::StepIx,
    sample::Scenario,
    test_file::{Answer, Expectation},
};

use super::End;

/// One trial of a saga.
#[derive(Debug, Clone)]
pub struct Case {
    /// Unique among the cases of a saga.
    pub name: String,
    /// The step it is about.
    pub step: Option<StepIx>,
    /// Start payload and outputs.
    pub scenario: Scenario,
    /// What the participants answer; whatever is not named succeeds.
    pub script: Script,
    /// What else happens.
    pub twists: Vec<Twist>,
    /// What must come of it.
    pub expect: Expect,
}

/// Which of a step's two commands is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The action.
    Action,
    /// Its undo.
    Undo,
}

impl Side {
    /// The side of an operation; questions are answered by the inbox alone.
    #[must_use]
    pub fn of(op: Op) -> Option<Self> {
        match op {
            Op::Action => Some(Self::Action),
            Op::Compensation => Some(Self::Undo),
            Op::Query | Op::Seal => None,
        }
    }
}

/// Answers by step and side.
#[derive(Debug, Clone, Default)]
pub struct Script(pub BTreeMap<(StepIx, Side), Turns>);

/// How attempts are answered one after the other.
#[derive(Debug, Clone)]
pub struct Turns {
    /// Attempt by attempt; the last one repeats.
    pub answers: Vec<Answer>,
    /// This instead, as long as so many milliseconds have not passed since the first sending, and for at most
    /// [`HELD_ATTEMPTS_MAX`] attempts.
    pub first: Option<(Answer, u64)>,
}

/// So that an hour of retries every millisecond does not take an hour.
pub const HELD_ATTEMPTS_MAX: u32 = 200;

impl Script {
    /// Adds answers of a step.
    #[must_use]
    pub fn with(mut self, step: StepIx, side: Side, answers: Vec<Answer>) -> Self {
        self.0.insert(
            (step, side),
            Turns {
                answers,
                first: None,
            },
        );
        self
    }

    /// The answer to an attempt; `None`: it succeeds.
    #[must_use]
    pub fn answer(
        &self,
        step: StepIx,
        side: Side,
        attempt: u32,
        since_first_ms: u64,
    ) -> Option<&Answer> {
        let turns = self.0.get(&(step, side))?;
        if let Some((answer, for_ms)) = &turns.first
            && since_first_ms < *for_ms
            && attempt <= HELD_ATTEMPTS_MAX
        {
            return Some(answer);
        }
        let at = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        turns.answers.get(at).or(turns.answers.last())
    }
}

/// Something that happens beside the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    /// Every message of the step travels twice.
    Twice(StepIx),
    /// The first attempt of the action is held back until the saga has ended.
    Late(StepIx),
    /// Every attempt of the action is held back until the step is undone.
    AfterUndo(StepIx),
    /// The orchestrator dies at each decision about the step.
    Crash {
        /// The step.
        step: StepIx,
        /// Before the decision is committed; else right after.
        before: bool,
    },
    /// The action is not served until then, in milliseconds after the start.
    Unserved {
        /// The step.
        step: StepIx,
        /// Until when.
        until_ms: u64,
    },
    /// Nobody can reach the participant of the step until then.
    Absent {
        /// A step of it.
        step: StepIx,
        /// Until when.
        until_ms: u64,
    },
    /// Somebody cancels as soon as this attempt of the step was sent.
    Cancel {
        /// The step.
        step: StepIx,
        /// Which attempt.
        attempt: u32,
    },
}

/// What must come of a case.
#[derive(Debug, Clone)]
pub enum Expect {
    /// Of a generated case.
    Generated {
        /// How it may end.
        ends: Vec<End>,
        /// Incidents that belong to the case.
        incidents: Vec<IncidentKind>,
        /// Whether a cancel must be taken or refused.
        cancel: Option<bool>,
        /// The file's own limits may end it first: then it is compensated.
        or_cut: bool,
    },
    /// Of an author's case.
    Own(Expectation),
}
