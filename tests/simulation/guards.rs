//! Limits and breakers, held against what was committed: how much is outstanding, how fast it was sent, and that nothing
//! goes where a breaker is open (I26, I27).
//!
//! The lane decides in its memory and writes what became of a breaker a little later, so breakers are judged at the end,
//! over everything that was written.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::{Event, Op, SagaId, SagaState, Timestamp, command::addressee};
use saga_dsl::{
    limits::Limits,
    plan::{Plan, StepIx},
};
use saga_engine::store::record::{Batch, BreakerRow};

use super::story::{Violation, ensure};

/// Saga, step, operation, round, attempt.
type Sent = (SagaId, u16, Op, u32, u32);

#[derive(Debug, Clone)]
enum What {
    Sent(Sent),
    /// It is not outstanding any more.
    Ended(Sent, How),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Well,
    Ill,
    /// The participant calls for an operator, which is an answer, or its last attempt failed.
    Stuck,
}

#[derive(Debug, Clone)]
struct Entry {
    incarnation: usize,
    at: Timestamp,
    what: What,
}

/// A batch on its way to the store. Of one that was not written, or of which the lane never heard, breakers have counted
/// answers that are in no journal.
#[derive(Debug)]
struct Asked {
    incarnation: usize,
    /// Its first decision, and its last.
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// Whether it was written, and when the lane was told.
    told: Option<(bool, Timestamp)>,
}

#[derive(Debug)]
struct Turn {
    incarnation: usize,
    row: BreakerRow,
    written_ms: u64,
}

/// Everything that was written of guarded participants.
#[derive(Default)]
pub struct Ledger {
    limits: BTreeMap<String, Limits>,
    points: BTreeMap<(String, String), Vec<Entry>>,
    turns: Vec<Turn>,
    /// Breakers that an operator reset, and when: that may not be written before the process dies.
    resets: Vec<((String, String), Timestamp)>,
    batches: Vec<Asked>,
    /// When each incarnation began, in milliseconds.
    begun: BTreeMap<usize, u64>,
}

impl Ledger {
    pub fn new(limits: BTreeMap<String, Limits>) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub fn begins(&mut self, incarnation: usize, ms: u64) {
        self.begun.insert(incarnation, ms);
    }

    pub fn reset(&mut self, participant: &str, action: &str, at: Timestamp) {
        self.resets
            .push(((participant.to_owned(), action.to_owned()), at));
    }

    /// A batch goes to the store; the answer is its number here.
    pub fn asks(&mut self, incarnation: usize, batch: &Batch) -> usize {
        let decided = || batch.journal.iter().map(|row| row.at);
        self.batches.push(Asked {
            incarnation,
            from: decided().min(),
            to: decided().max(),
            told: None,
        });
        self.batches.len() - 1
    }

    /// The lane is told whether it is written.
    pub fn is_told(&mut self, number: usize, written: bool, now: Timestamp) {
        self.batches[number].told = Some((written, now));
    }

    pub fn turned(&mut self, incarnation: usize, row: &BreakerRow, written_ms: u64) {
        self.turns.push(Turn {
            incarnation,
            row: row.clone(),
            written_ms,
        });
    }

    /// Participants that have a limit on what is outstanding there.
    pub fn in_flight_max(&self) -> impl Iterator<Item = (&str, u32)> {
        self.limits
            .iter()
            .filter_map(|(name, limits)| Some((name.as_str(), limits.max_in_flight?)))
    }

    /// Takes note of a committed decision.
    pub fn note(
        &mut self,
        (incarnation, at): (usize, Timestamp),
        plan: &Plan,
        (before, events, after): (&SagaState, &[Event], &SagaState),
    ) {
        if before.id != after.id {
            return;
        }
        let was = outstanding(before);
        let is = outstanding(after);
        for sent in was.difference(&is) {
            let how = events
                .iter()
                .find_map(|event| failed(event, *sent))
                .unwrap_or(How::Well);
            self.push(
                plan,
                *sent,
                Entry {
                    incarnation,
                    at,
                    what: What::Ended(*sent, how),
                },
            );
        }
        for sent in is.difference(&was) {
            self.push(
                plan,
                *sent,
                Entry {
                    incarnation,
                    at,
                    what: What::Sent(*sent),
                },
            );
        }
    }

    fn push(&mut self, plan: &Plan, (_, step, op, ..): Sent, entry: Entry) {
        if let Some((participant, action)) = addressee(plan, StepIx(step), op) {
            self.points
                .entry((participant.to_owned(), action.to_owned()))
                .or_default()
                .push(entry);
        }
    }

    /// What happened, as far as it is rare.
    pub fn rare(&self) -> impl Iterator<Item = &'static str> {
        let opened = self.turns.iter().any(|turn| turn.row.face.open);
        let closed = self.turns.iter().any(|turn| !turn.row.face.open);
        [
            opened.then_some("breaker opened"),
            closed.then_some("breaker closed"),
        ]
        .into_iter()
        .flatten()
    }

    /// `rivals`: two processes had breakers of their own for a while. `liar`: a step may fail by an answer that means
    /// nothing there, and an answer is well.
    pub fn judge(&self, rivals: bool, liar: bool) -> Result<(), Violation> {
        self.rates()?;
        for (number, turn) in self.turns.iter().enumerate() {
            if !liar {
                self.its_own_calls_turn_it(number, turn)?;
            }
            if turn.row.face.open {
                self.nothing_goes_while_open(number, turn)?;
                if !rivals {
                    self.probes_go_one_by_one(number, turn)?;
                }
            }
        }
        Ok(())
    }

    fn entries(&self, row: &BreakerRow) -> &[Entry] {
        self.points
            .get(&(row.participant.clone(), row.action.clone()))
            .map_or(&[], |entries| entries)
    }

    /// When the breaker turned again, as the same process wrote it.
    fn next_turn(&self, number: usize) -> Option<Timestamp> {
        let turn = &self.turns[number];
        let same = |later: &&Turn| {
            later.incarnation == turn.incarnation
                && (&later.row.participant, &later.row.action)
                    == (&turn.row.participant, &turn.row.action)
        };
        self.turns[number + 1..]
            .iter()
            .find(same)
            .map(|later| later.row.face.since)
    }

    /// When it turned again, or may have because an operator reset it.
    fn ends(&self, number: usize) -> Option<Timestamp> {
        let row = &self.turns[number].row;
        let mine = |(participant, action): &(String, String)| {
            (participant, action) == (&row.participant, &row.action)
        };
        let resets = self
            .resets
            .iter()
            .filter(|(place, at)| mine(place) && *at >= row.face.since);
        resets
            .map(|(_, at)| *at)
            .chain(self.next_turn(number))
            .min()
    }

    /// Whether its breaker may have counted in that time what is in no journal.
    fn doubtful(&self, turn: &Turn, since: Timestamp, end: Option<Timestamp>) -> bool {
        let doubtful = |batch: &Asked| {
            let in_time = match batch.told {
                Some((true, _)) => false,
                Some((false, at)) => at >= since,
                None => true,
            };
            in_time
                && batch
                    .from
                    .is_some_and(|from| end.is_none_or(|end| from <= end))
        };
        self.batches
            .iter()
            .any(|batch| batch.incarnation == turn.incarnation && doubtful(batch))
    }

    /// I26: from the moment it opened until it probes, or until somebody closes it.
    fn nothing_goes_while_open(&self, number: usize, turn: &Turn) -> Result<(), Violation> {
        let face = &turn.row.face;
        let until = face.open_until.into_iter().chain(self.ends(number)).min();
        for entry in self.entries(&turn.row) {
            let What::Sent(sent) = entry.what else {
                continue;
            };
            let within = entry.at > face.since && until.is_none_or(|until| entry.at < until);
            // Who began after it was written found it so, if nobody closed it meanwhile, and no rival had written a newer
            // generation before, over which the store takes no older one.
            let knew = entry.incarnation == turn.incarnation
                || (self.next_turn(number).is_none()
                    && self.turns[number + 1..].iter().all(|later| {
                        (&later.row.participant, &later.row.action)
                            != (&turn.row.participant, &turn.row.action)
                    })
                    && !self.turns[..number].iter().any(|earlier| {
                        (&earlier.row.participant, &earlier.row.action)
                            == (&turn.row.participant, &turn.row.action)
                            && earlier.row.face.generation > turn.row.face.generation
                    })
                    && self
                        .begun
                        .get(&entry.incarnation)
                        .is_some_and(|&ms| ms > turn.written_ms));
            ensure!(
                !(within && knew),
                "I26",
                "{sent:?} went at {:?} to {:?}",
                entry.at,
                turn.row
            );
        }
        Ok(())
    }

    /// I26: half open, the next probe goes when the one before it is answered, until enough of them were answered well.
    fn probes_go_one_by_one(&self, number: usize, turn: &Turn) -> Result<(), Violation> {
        let limits = self.limits.get(&turn.row.participant);
        let Some(policy) = limits.and_then(|limits| limits.breaker) else {
            return Ok(());
        };
        let (since, end) = (turn.row.face.since, self.ends(number));
        if self.doubtful(turn, since, end) {
            return Ok(());
        }
        let (mut out, mut well) = (BTreeSet::new(), 0);
        for entry in self.entries(&turn.row) {
            let mine = entry.incarnation == turn.incarnation && entry.at > since;
            let over = end.is_some_and(|end| entry.at >= end) || well >= policy.half_open_calls;
            match entry.what {
                What::Sent(_) if !mine || over => {}
                What::Sent(sent) => {
                    out.insert(sent);
                    ensure!(
                        out.len() < 2,
                        "I26",
                        "{out:?} are probes at once of {:?}",
                        turn.row
                    );
                }
                What::Ended(sent, how) => well += u32::from(out.remove(&sent) && how != How::Ill),
            }
        }
        Ok(())
    }

    /// I26: what was sent before it opened neither closes it nor opens it anew.
    fn its_own_calls_turn_it(&self, number: usize, turn: &Turn) -> Result<(), Violation> {
        let limits = self.limits.get(&turn.row.participant);
        let Some(policy) = limits.and_then(|limits| limits.breaker) else {
            return Ok(());
        };
        let (face, mut earlier) = (&turn.row.face, self.turns[..number].iter().rev());
        let same = |earlier: &&Turn| {
            (
                earlier.incarnation,
                &earlier.row.participant,
                &earlier.row.action,
            ) == (turn.incarnation, &turn.row.participant, &turn.row.action)
        };
        let Some(opened) = earlier.find(same).filter(|earlier| earlier.row.face.open) else {
            return Ok(());
        };
        // The process may have died before it asked the store to take the decision that turned it.
        let asked = self.batches.iter().any(|batch| {
            batch.incarnation == turn.incarnation && batch.to.is_some_and(|to| to >= face.since)
        });
        if !asked || self.doubtful(turn, opened.row.face.since, Some(face.since)) {
            return Ok(());
        }
        let (mut sent, mut well, mut ill) = (BTreeSet::new(), 0, 0);
        for entry in self.entries(&turn.row) {
            let within = entry.at > opened.row.face.since && entry.at <= face.since;
            match entry.what {
                _ if !within || entry.incarnation != turn.incarnation => {}
                What::Sent(it) => drop(sent.insert(it)),
                What::Ended(it, how) if sent.remove(&it) => {
                    well += u32::from(how != How::Ill);
                    ill += u32::from(how != How::Well);
                }
                What::Ended(..) => {}
            }
        }
        let earned = match face.open {
            true => face.reason != "the probe failed" || ill > 0,
            false => !face.by.is_empty() || well >= policy.half_open_calls,
        };
        ensure!(
            earned,
            "I26",
            "of its own calls, {well} were well and {ill} ill since {:?}: {face:?}",
            opened.row
        );
        Ok(())
    }

    /// I27: never faster than the rate, but for a tenth of a second's worth at once.
    fn rates(&self) -> Result<(), Violation> {
        for (name, limits) in &self.limits {
            let Some(rate) = limits.rate_limit else {
                continue;
            };
            let interval = rate.interval_us();
            let at_once = 1 + 100_000_u64.saturating_sub(interval) / interval;
            let mut sent: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
            for ((participant, _), entries) in &self.points {
                for entry in entries
                    .iter()
                    .filter(|entry| participant == name && matches!(entry.what, What::Sent(_)))
                {
                    sent.entry(entry.incarnation).or_default().push(entry.at.0);
                }
            }
            for at in sent.values_mut() {
                at.sort_unstable();
                for (first, from) in at.iter().enumerate() {
                    for (more, to) in at[first..].iter().enumerate() {
                        let took = u64::try_from(to - from).unwrap_or(0);
                        let may = at_once + took / interval;
                        ensure!(
                            more as u64 <= may,
                            "I27",
                            "{name}: {} in {took} us, {rate}",
                            more + 1
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

/// What is outstanding of a saga, without questions.
pub fn outstanding(state: &SagaState) -> BTreeSet<Sent> {
    let open = !state.status.is_end();
    let steps = (0_u16..).zip(&state.steps).filter(|_| open);
    steps
        .filter_map(|(at, step)| {
            let op = step.outstanding()?;
            let attempt = match op {
                Op::Action => step.attempts,
                Op::Compensation => step.undo_attempts,
                Op::Query | Op::Seal => return None,
            };
            Some((state.id, at, op, step.round, attempt))
        })
        .collect()
}

fn failed(event: &Event, (_, step, op, ..): Sent) -> Option<How> {
    let (at, failed, how) = match event {
        Event::StepFailed(e) | Event::StepUnknown(e) => (e.step, Op::Action, How::Ill),
        // The action is still in progress there, says the participant: it answers.
        Event::UndoFailed(e) if e.error.code == "running" => (e.step, Op::Compensation, How::Well),
        Event::UndoFailed(e) => (e.step, Op::Compensation, How::Ill),
        Event::UndoStuck(e) => (e.step, Op::Compensation, How::Stuck),
        _ => return None,
    };
    ((at.0, failed) == (step, op)).then_some(how)
}
