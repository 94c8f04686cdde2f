//! Participants: the real barrier around a table of rows, and a ledger of effects that has no unique keys.

use std::collections::BTreeMap;

use saga_core::{
    Command, ErrorBody, Op, Payload, SagaId, Timestamp, effect::Known, input::Outcome,
};
use saga_participant::inbox::barrier::{self, Decision, Facts, RowState, Say};

use super::{
    chance::Chance,
    plans::HOPELESS,
    rules::{Habit, Kept},
    story::{Violation, ensure},
};

/// Saga, step, round.
pub type Key = (SagaId, u16, u32);

pub fn key(command: &Command) -> Key {
    (command.saga_id, command.step.0, command.round)
}

/// How participants are disposed, in percent of the deliveries that reach a handler.
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
    pub const HEALED: Self = Self {
        refuse: 0,
        fail: 0,
        accept: 0,
        operator: 0,
        refuse_retriable: 0,
    };
}

/// A row of an inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub state: RowState,
    output: Option<Payload>,
    error: Option<ErrorBody>,
    fingerprint: u64,
    /// The attempt that is answered when accepted work ends.
    attempt: u32,
}

/// What took effect under one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    pub acted: u32,
    pub undone: u32,
    /// For who has no inbox: what is there counts, not how often it was written.
    pub present: bool,
    /// Undone, or kept out for good: nothing may take effect any more.
    closed: bool,
    /// What was answered: an effect, or a refusal.
    said: Option<bool>,
}

/// What a handler is told of the step it runs for.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub retriable: bool,
    pub loose: bool,
    pub now: Timestamp,
    pub mood: Mood,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inboxes {
    pub rows: BTreeMap<Key, Row>,
    pub ledger: BTreeMap<Key, Effects>,
    /// Undos of what was said to be there and is not.
    pub alarms: u32,
    /// A late action was kept out.
    pub blocked: bool,
}

/// An answer, and whether work goes on.
pub struct Taken {
    pub outcome: Outcome,
    pub accepted: bool,
}

impl From<Outcome> for Taken {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            accepted: false,
        }
    }
}

impl Inboxes {
    /// Takes a command off the wire.
    pub fn take(
        &mut self,
        command: &Command,
        call: Call,
        kept: Kept,
        chance: &mut Chance,
    ) -> Result<Taken, Violation> {
        if call.loose {
            return self.take_loose(command, call, chance).map(Taken::from);
        }
        let key = key(command);
        let row = self.row_that_counts(command, kept);
        let facts = Facts {
            same_fingerprint: row
                .as_ref()
                .is_none_or(|row| row.fingerprint == command.fingerprint),
            expired: command.not_after.is_some_and(|limit| limit < call.now),
            known: match command.known {
                Some(Known::Done) => saga_participant::Known::Done,
                Some(Known::Unknown) | None => saga_participant::Known::Unknown,
            },
            // Whoever accepts here lives until the work is done.
            left: false,
        };
        match barrier::decide(op(command.op), row.as_ref().map(|row| row.state), facts) {
            Decision::Act if chance.percent(call.mood.accept) => {
                self.put(key, RowState::Running, command);
                Ok(Taken {
                    outcome: Outcome::Accepted,
                    accepted: true,
                })
            }
            Decision::Act | Decision::Resume => {
                self.act(key, command, call, kept, chance).map(Taken::from)
            }
            Decision::Undo => self.undo(key, call, chance).map(Taken::from),
            Decision::Tombstone(say) => {
                if kept.keep(Habit::Tombstone) {
                    self.put(key, RowState::Tombstone, command);
                }
                self.ledger.entry(key).or_default().closed = true;
                Ok(self.answer(say, row).into())
            }
            Decision::Answer(say) => {
                self.blocked |= say == Say::Blocked;
                if say == Say::Blocked && !kept.keep(Habit::TombstoneStays) {
                    self.rows.remove(&key);
                }
                if let Some(row) = self.rows.get_mut(&key)
                    && command.op == Op::Action
                {
                    row.attempt = row.attempt.max(command.attempt);
                }
                Ok(self.answer(say, row).into())
            }
            Decision::Delete | Decision::Keep => unreachable!("nobody says forget"),
        }
    }

    /// The row as the barrier shall see it; a mutant's is another.
    fn row_that_counts(&self, command: &Command, kept: Kept) -> Option<Row> {
        let row = self.rows.get(&key(command)).cloned()?;
        let blocks = matches!(row.state, RowState::Tombstone | RowState::Compensated);
        let overlooked = command.op == Op::Action
            && !blocks
            && (!kept.keep(Habit::Dedup)
                || (!kept.keep(Habit::DedupByKey) && command.attempt > row.attempt));
        (!overlooked).then_some(row)
    }

    fn put(&mut self, key: Key, state: RowState, command: &Command) {
        let (fingerprint, attempt) = (command.fingerprint, command.attempt);
        self.rows.insert(
            key,
            Row {
                state,
                output: None,
                error: None,
                fingerprint,
                attempt,
            },
        );
    }

    fn answer(&mut self, say: Say, row: Option<Row>) -> Outcome {
        let error = |code: &str| ErrorBody::new(code, "");
        let (output, refusal) = row.map_or((None, None), |row| (row.output, row.error));
        let output = output.unwrap_or_else(|| Payload::from_value(serde_json::Value::Null));
        match say {
            Say::StoredSuccess | Say::StoredDone if is_illegible(&output) => {
                Outcome::OutputNotTaken(error("bad_output"))
            }
            Say::StoredSuccess => Outcome::Succeeded(output),
            Say::StoredDone => Outcome::Done(output),
            Say::StoredRefusal => Outcome::Refused(refusal.unwrap_or_else(|| error("sold_out"))),
            Say::Running => Outcome::Running,
            Say::Accepted => Outcome::Accepted,
            Say::Blocked => Outcome::Blocked,
            Say::Conflict => Outcome::Conflict(error("conflict")),
            Say::Expired => Outcome::Expired,
            Say::Contradiction => {
                self.alarms += 1;
                Outcome::NeedsOperator(error("no_row"))
            }
            Say::NothingToDo => Outcome::NothingToDo,
            Say::Compensated => Outcome::Compensated,
            Say::Absent => Outcome::Absent,
            Say::Sealed => Outcome::Sealed,
        }
    }

    fn act(
        &mut self,
        key: Key,
        command: &Command,
        call: Call,
        kept: Kept,
        chance: &mut Chance,
    ) -> Result<Outcome, Violation> {
        self.put(key, RowState::Running, command);
        self.handle(key, call, kept, chance)
    }

    /// The handler of an action, in one transaction with its row.
    fn handle(
        &mut self,
        key: Key,
        call: Call,
        kept: Kept,
        chance: &mut Chance,
    ) -> Result<Outcome, Violation> {
        if chance.percent(call.mood.fail) {
            self.rows.remove(&key);
            return Ok(Outcome::Failed(failure(chance)));
        }
        let effects = self.ledger.entry(key).or_default();
        if chance.percent(if call.retriable {
            call.mood.refuse_retriable
        } else {
            call.mood.refuse
        }) {
            ensure!(
                effects.said != Some(true),
                "I7",
                "{key:?} is refused after it took effect"
            );
            effects.said = Some(false);
            let error = ErrorBody::new("sold_out", "");
            if kept.keep(Habit::StickyRefusal) {
                if let Some(row) = self.rows.get_mut(&key) {
                    (row.state, row.error) = (RowState::Refused, Some(error.clone()));
                }
            } else {
                self.rows.remove(&key);
            }
            return Ok(Outcome::Refused(error));
        }
        effects.acted += 1;
        effects.present = true;
        ensure!(
            effects.acted == 1,
            "I1",
            "{key:?} took effect twice: {effects:?}"
        );
        ensure!(
            !effects.closed,
            "I3",
            "{key:?} took effect after its undo: {effects:?}"
        );
        ensure!(
            effects.said != Some(false),
            "I7",
            "{key:?} took effect after it was refused"
        );
        effects.said = Some(true);
        let output = output(key);
        if let Some(row) = self.rows.get_mut(&key) {
            (row.state, row.output) = (RowState::Done, Some(output.clone()));
        }
        if is_illegible(&output) {
            return Ok(Outcome::OutputNotTaken(ErrorBody::new("bad_output", "")));
        }
        Ok(Outcome::Succeeded(output))
    }

    /// Work that was accepted comes to its end; `None`: there is none any more.
    pub fn finish(
        &mut self,
        key: Key,
        call: Call,
        kept: Kept,
        chance: &mut Chance,
    ) -> Result<Option<(u32, Outcome)>, Violation> {
        match self.rows.get(&key) {
            Some(row) if row.state == RowState::Running => {
                let attempt = row.attempt;
                Ok(Some((attempt, self.handle(key, call, kept, chance)?)))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// The attempt that works under this key now, for a heartbeat.
    pub fn running(&self, key: Key) -> Option<u32> {
        self.rows
            .get(&key)
            .filter(|row| row.state == RowState::Running)
            .map(|row| row.attempt)
    }

    fn undo(&mut self, key: Key, call: Call, chance: &mut Chance) -> Result<Outcome, Violation> {
        if chance.percent(call.mood.fail) {
            return Ok(Outcome::Failed(failure(chance)));
        }
        if chance.percent(call.mood.operator) {
            return Ok(Outcome::NeedsOperator(ErrorBody::new("by_hand", "")));
        }
        let effects = self.ledger.entry(key).or_default();
        effects.undone += 1;
        (effects.present, effects.closed) = (false, true);
        ensure!(
            effects.undone <= effects.acted,
            "I2",
            "{key:?} is undone without effect: {effects:?}"
        );
        if let Some(row) = self.rows.get_mut(&key) {
            row.state = RowState::Compensated;
        }
        Ok(Outcome::Compensated)
    }

    /// Takes a command at a participant that has no inbox: it writes and removes, as often as it is told.
    fn take_loose(
        &mut self,
        command: &Command,
        call: Call,
        chance: &mut Chance,
    ) -> Result<Outcome, Violation> {
        let mood = call.mood;
        let refuse = if call.retriable {
            mood.refuse_retriable
        } else {
            mood.refuse
        };
        let effects = self.ledger.entry(key(command)).or_default();
        Ok(match command.op {
            Op::Action if command.not_after.is_some_and(|limit| limit < call.now) => {
                Outcome::Expired
            }
            Op::Action if chance.percent(mood.fail) => Outcome::Failed(failure(chance)),
            Op::Action if chance.percent(refuse) => Outcome::Refused(ErrorBody::new("no", "")),
            Op::Action => {
                effects.acted += 1;
                effects.present = true;
                Outcome::Succeeded(Payload::from_value(
                    serde_json::json!({"step": command.step.0}),
                ))
            }
            Op::Compensation if chance.percent(mood.fail) => Outcome::Failed(failure(chance)),
            Op::Compensation => {
                effects.undone += 1;
                effects.present = false;
                Outcome::Compensated
            }
            Op::Query | Op::Seal => {
                ensure!(false, "I8", "a pivot without inbox was asked: {command:?}");
                Outcome::Absent
            }
        })
    }
}

/// What a step returns. One key in some 200 returns what the orchestrator cannot take; which one follows from the key
/// alone, so that a repetition returns it again.
fn output(key: Key) -> Payload {
    let illegible = key.0.to_bytes()[15]
        .wrapping_add(key.1.to_le_bytes()[0])
        .is_multiple_of(199);
    Payload::from_value(if illegible {
        ILLEGIBLE.into()
    } else {
        serde_json::json!({"step": key.1})
    })
}

/// Stands for an output that is not let in.
const ILLEGIBLE: &str = "illegible";

fn is_illegible(output: &Payload) -> bool {
    output.to_value().as_str() == Some(ILLEGIBLE)
}

fn op(op: Op) -> saga_participant::Op {
    match op {
        Op::Action => saga_participant::Op::Action,
        Op::Compensation => saga_participant::Op::Compensation,
        Op::Query => saga_participant::Op::Query,
        Op::Seal => saga_participant::Op::Seal,
    }
}

fn failure(chance: &mut Chance) -> ErrorBody {
    let code = if chance.percent(5) { HOPELESS } else { "busy" };
    let retry_after_ms = chance.percent(10).then_some(40);
    ErrorBody {
        code: code.to_owned(),
        message: String::new(),
        retry_after_ms,
    }
}
