//! Participants: the rules of the inbox, one row per key, and a ledger of effects that has no unique keys.

use std::collections::BTreeMap;

use saga_core::{
    Command, ErrorBody, Payload, Timestamp,
    effect::Known,
    input::{Op, Outcome},
};
use saga_dsl::plan::StepIx;

use super::{chance::Chance, plans::HOPELESS};

/// How a participant is disposed, in percent of the deliveries that reach its handler.
#[derive(Debug, Clone, Copy)]
pub struct Mood {
    pub refuse: u64,
    pub fail: u64,
    pub accept: u64,
    pub operator: u64,
    /// A step after the pivot is seldom refused: it ends every story with an incident.
    pub refuse_retriable: u64,
}

impl Mood {
    /// After all faults have stopped.
    pub const HEALED: Self = Self { refuse: 0, fail: 0, accept: 0, operator: 0, refuse_retriable: 0 };
}

#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    Running { attempt: u32 },
    Done(Payload),
    Refused(ErrorBody),
    Tombstone,
    Compensated,
}

/// Effects of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    pub acted: u32,
    pub undone: u32,
    /// For who has no inbox: what is there counts, not how often it was written.
    pub present: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inboxes {
    pub rows: BTreeMap<(u16, u32), Row>,
    /// By step and round.
    pub ledger: BTreeMap<(u16, u32), Effects>,
    /// Undos of what was said to be there and is not.
    pub alarms: u32,
    fingerprints: BTreeMap<(u16, u32, Op), u64>,
}

/// What a delivery led to.
pub enum Answer {
    Reply(Outcome),
    /// The row is kept as running; the outcome comes by [`Inboxes::finish`].
    Accepted,
}

impl Inboxes {
    /// Takes a command of a step whose inbox shares the transaction with the effect.
    pub fn take(
        &mut self,
        command: &Command,
        retriable: bool,
        now: Timestamp,
        mood: Mood,
        chance: &mut Chance,
    ) -> Answer {
        let print = self
            .fingerprints
            .entry((command.step.0, command.round, command.op))
            .or_insert(command.fingerprint);
        assert_eq!(*print, command.fingerprint, "I20: the same key, another content");
        let key = (command.step.0, command.round);
        let outcome = match command.op {
            Op::Action => return self.act(command, retriable, now, mood, chance),
            Op::Compensation => self.compensate(command, mood, chance),
            Op::Query | Op::Seal => match self.rows.get(&key) {
                None if command.op == Op::Query => Outcome::Absent,
                None => {
                    self.rows.insert(key, Row::Tombstone);
                    Outcome::Sealed
                }
                Some(Row::Running { .. }) => Outcome::Running,
                Some(Row::Done(output)) => Outcome::Done(output.clone()),
                Some(Row::Refused(error)) => Outcome::Refused(error.clone()),
                Some(Row::Tombstone) => Outcome::Sealed,
                Some(Row::Compensated) => Outcome::Compensated,
            },
        };
        Answer::Reply(outcome)
    }

    fn act(
        &mut self,
        command: &Command,
        retriable: bool,
        now: Timestamp,
        mood: Mood,
        chance: &mut Chance,
    ) -> Answer {
        let key = (command.step.0, command.round);
        let stored = self.rows.get(&key).map(|row| match row {
            Row::Running { .. } => Outcome::Running,
            Row::Done(output) => Outcome::Succeeded(output.clone()),
            Row::Refused(error) => Outcome::Refused(error.clone()),
            Row::Tombstone | Row::Compensated => Outcome::Blocked,
        });
        if let Some(stored) = stored {
            return Answer::Reply(stored);
        }
        if command.not_after.is_some_and(|limit| limit < now) {
            return Answer::Reply(Outcome::Expired);
        }
        if chance.percent(mood.accept) {
            self.rows.insert(key, Row::Running { attempt: command.attempt });
            return Answer::Accepted;
        }
        Answer::Reply(self.handle(command.step, command.round, retriable, mood, chance))
    }

    fn handle(
        &mut self,
        step: StepIx,
        round: u32,
        retriable: bool,
        mood: Mood,
        chance: &mut Chance,
    ) -> Outcome {
        if chance.percent(mood.fail) {
            self.rows.remove(&(step.0, round));
            return Outcome::Failed(failure(chance));
        }
        if chance.percent(if retriable { mood.refuse_retriable } else { mood.refuse }) {
            let error = ErrorBody::new("sold_out", "");
            self.rows.insert((step.0, round), Row::Refused(error.clone()));
            return Outcome::Refused(error);
        }
        let output = Payload::from_value(serde_json::json!({"step": step.0}));
        self.rows.insert((step.0, round), Row::Done(output.clone()));
        let effects = self.ledger.entry((step.0, round)).or_default();
        effects.acted += 1;
        effects.present = true;
        Outcome::Succeeded(output)
    }

    /// Work that was accepted comes to its end; `None`: there is none any more.
    pub fn finish(
        &mut self,
        step: StepIx,
        round: u32,
        retriable: bool,
        mood: Mood,
        chance: &mut Chance,
    ) -> Option<(u32, Outcome)> {
        match self.rows.get(&(step.0, round)) {
            Some(Row::Running { attempt }) => {
                let attempt = *attempt;
                Some((attempt, self.handle(step, round, retriable, mood, chance)))
            }
            Some(Row::Done(_) | Row::Refused(_) | Row::Tombstone | Row::Compensated) | None => None,
        }
    }

    fn compensate(&mut self, command: &Command, mood: Mood, chance: &mut Chance) -> Outcome {
        let key = (command.step.0, command.round);
        match self.rows.get(&key) {
            None if command.known == Some(Known::Done) => {
                self.alarms += 1;
                Outcome::NeedsOperator(ErrorBody::new("no_row", ""))
            }
            None => {
                self.rows.insert(key, Row::Tombstone);
                Outcome::NothingToDo
            }
            Some(Row::Running { .. }) => Outcome::Running,
            Some(Row::Refused(_)) => {
                self.rows.insert(key, Row::Tombstone);
                Outcome::NothingToDo
            }
            Some(Row::Tombstone) => Outcome::NothingToDo,
            Some(Row::Compensated) => Outcome::Compensated,
            Some(Row::Done(_)) if chance.percent(mood.fail) => Outcome::Failed(failure(chance)),
            Some(Row::Done(_)) if chance.percent(mood.operator) => {
                Outcome::NeedsOperator(ErrorBody::new("by_hand", ""))
            }
            Some(Row::Done(_)) => {
                self.rows.insert(key, Row::Compensated);
                let effects = self.ledger.entry((command.step.0, command.round)).or_default();
                effects.undone += 1;
                effects.present = false;
                Outcome::Compensated
            }
        }
    }

    /// Takes a command at a participant that has no inbox: it writes and removes, as often as it is told.
    pub fn take_loose(
        &mut self,
        command: &Command,
        retriable: bool,
        now: Timestamp,
        mood: Mood,
        chance: &mut Chance,
    ) -> Outcome {
        let refuse = if retriable { mood.refuse_retriable } else { mood.refuse };
        let effects = self.ledger.entry((command.step.0, command.round)).or_default();
        match command.op {
            Op::Action if command.not_after.is_some_and(|limit| limit < now) => Outcome::Expired,
            Op::Action if chance.percent(mood.fail) => Outcome::Failed(failure(chance)),
            Op::Action if chance.percent(refuse) => Outcome::Refused(ErrorBody::new("no", "")),
            Op::Action => {
                effects.acted += 1;
                effects.present = true;
                Outcome::Succeeded(Payload::from_value(serde_json::json!({"step": command.step.0})))
            }
            Op::Compensation if chance.percent(mood.fail) => Outcome::Failed(failure(chance)),
            Op::Compensation => {
                effects.undone += 1;
                effects.present = false;
                Outcome::Compensated
            }
            Op::Query | Op::Seal => panic!("a pivot without inbox is never queried"),
        }
    }
}

fn failure(chance: &mut Chance) -> ErrorBody {
    let code = if chance.percent(5) { HOPELESS } else { "busy" };
    let retry_after_ms = chance.percent(10).then_some(40);
    ErrorBody { code: code.to_owned(), message: String::new(), retry_after_ms }
}
