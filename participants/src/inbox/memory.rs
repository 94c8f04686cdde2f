//! An inbox in memory: for tests, demonstrations and benchmarks, and where effects at least once are
//! declared to be enough. Nothing survives the process, so it registers as no inbox at all.
//!
//! The hot path takes one std mutex of one shard, never across an await: the locked part is a lookup
//! and a few stores, which is cheaper than any queue in front of it. There is no transaction; while a
//! handler is at work its row says *acting* or *undoing*, and whatever meets that is told to ask again.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry as Slot},
    hash::{BuildHasher, RandomState},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    Abandoned, Claim, Completed, End, Entry, Error, Inbox, Kind, Store, answer,
    barrier::{Decision, Facts, RowState, Say, decide},
    claims::{Claims, lease},
    unix_micros,
};
use crate::{
    command::{Ask, Op, StepKey},
    reply::Fault,
};

/// Shards of the map: enough that a handful of worker threads rarely meet.
const SHARDS: usize = 64;

/// Settled rows that are kept unless [`MemoryInbox::keep_settled`] says otherwise.
const SETTLED_ROWS_DEFAULT: usize = 1_000_000;

/// Marks handlers that have no transaction: `Ctx<Memory>`.
#[derive(Debug, Clone, Copy)]
pub struct Memory;

impl Store for Memory {
    type Inbox = MemoryInbox;
    type Unit = ();
}

/// Rows in memory; cheap to clone, all clones are the same inbox.
#[derive(Debug, Clone)]
pub struct MemoryInbox {
    id: Arc<str>,
    shards: Arc<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Rings when a handler's run ended.
    run_ended: Arc<Notify>,
    settled_max: usize,
    claims: Claims,
}

#[derive(Debug, Default)]
struct Shard {
    rows: HashMap<StepKey, Row>,
    /// Keys in the order in which they settled, oldest first; may name rows that are gone.
    settled: VecDeque<StepKey>,
}

#[derive(Debug)]
struct Row {
    state: RowState,
    body: Body,
    fingerprint: u64,
    attempt: u32,
    retain_until_us: i64,
    /// Of accepted work; while its handler is at work again, of the work that was left. Zero: none.
    claim: i64,
}

/// What the row answers with; refusals are rare, so they pay for their box.
#[derive(Debug)]
enum Body {
    Empty,
    Output(Bytes),
    Fault(Box<Fault>),
}

impl Default for MemoryInbox {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryInbox {
    /// An empty inbox with a random id.
    pub fn new() -> Self {
        Self {
            id: Uuid::now_v7().to_string().into(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            run_ended: Arc::default(),
            settled_max: SETTLED_ROWS_DEFAULT,
            claims: Claims::default(),
        }
    }

    /// How many settled rows stay, about; the oldest go first. One that went no longer recognises a
    /// repeated command.
    #[must_use]
    pub fn keep_settled(mut self, rows: usize) -> Self {
        self.settled_max = rows;
        self
    }

    /// Rows that it holds now.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).rows.len()).sum()
    }

    /// It holds no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: &StepKey) -> MutexGuard<'_, Shard> {
        // The low bits of the hash pick buckets inside the map, so take others here.
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        lock(&self.shards[index])
    }

    fn state(&self, key: &StepKey) -> Option<RowState> {
        self.shard(key).rows.get(key).map(|row| row.state)
    }

    fn settled_per_shard(&self) -> usize {
        self.settled_max.div_ceil(SHARDS)
    }

    fn enter_now(&self, ask: &Ask) -> Entry<()> {
        let mut shard = self.shard(&ask.key);
        let row = shard.rows.get_mut(&ask.key);
        let facts = Facts {
            // Nothing here survives its process, so no sign of life is needed.
            left: row.as_ref().is_some_and(|row| {
                row.state == RowState::Running
                    && ask.may_find_left(row.attempt)
                    && self.claims.is_left(row.claim, false)
            }),
            ..ask.facts(row.as_ref().map(|row| row.fingerprint))
        };
        match decide(ask.op, row.as_ref().map(|row| row.state), facts) {
            Decision::Act => {
                shard.rows.insert(
                    ask.key.clone(),
                    Row::new(RowState::Acting, ask, ask.fingerprint),
                );
                Entry::Run {
                    unit: (),
                    output: None,
                    resumed: false,
                }
            }
            Decision::Resume => {
                if let Some(row) = row {
                    row.state = RowState::Acting;
                    row.hear(ask);
                }
                Entry::Run {
                    unit: (),
                    output: None,
                    resumed: true,
                }
            }
            Decision::Undo => {
                let output = row.map(|row| {
                    row.state = RowState::Undoing;
                    row.attempt = ask.attempt;
                    row.retain_until_us = row.retain_until_us.max(ask.retain_until_us);
                    row.output()
                });
                Entry::Run {
                    unit: (),
                    output,
                    resumed: false,
                }
            }
            Decision::Tombstone(say) => {
                shard
                    .rows
                    .insert(ask.key.clone(), Row::new(RowState::Tombstone, ask, 0));
                shard.settle(&ask.key, self.settled_per_shard());
                Entry::Answered {
                    answer: answer(say, ask, Bytes::new(), None),
                    wrote: true,
                }
            }
            Decision::Answer(say) => {
                let (output, fault) = match row {
                    Some(row) => {
                        if say != Say::Conflict {
                            row.hear(ask);
                        }
                        (row.output(), row.fault())
                    }
                    None => (Bytes::new(), None),
                };
                Entry::Answered {
                    answer: answer(say, ask, output, fault),
                    wrote: false,
                }
            }
            Decision::Delete => {
                shard.rows.remove(&ask.key);
                Entry::Silent
            }
            Decision::Keep => Entry::Silent,
        }
    }

    /// Puts the end of a run into its row, if the row is in the state that `expected` names. `lease`: how long accepted work
    /// counts as alive.
    fn finish(&self, key: &StepKey, expected: RowState, end: End, lease: Duration) -> Option<u32> {
        let mut shard = self.shard(key);
        let Slot::Occupied(mut slot) = shard.rows.entry(key.clone()) else {
            return None;
        };
        if slot.get().state != expected {
            return None;
        }
        let attempt = slot.get().attempt;
        let row = slot.get_mut();
        match end {
            End::Done(output) => {
                row.state = RowState::Done;
                row.body = Body::Output(output);
            }
            End::Refused(fault) => {
                row.state = RowState::Refused;
                row.body = Body::Fault(Box::new(fault));
            }
            End::Accepted(claim) => {
                row.state = RowState::Running;
                row.claim = self.claims.hold(&claim, lease);
            }
            End::Compensated => {
                row.state = RowState::Compensated;
                row.body = Body::Empty;
            }
            End::RolledBack if expected == RowState::Undoing => row.state = RowState::Done,
            // The handler was called again, and failed: the work is as left as before.
            End::RolledBack if expected == RowState::Acting && row.claim != 0 => {
                row.state = RowState::Running;
            }
            End::RolledBack => {
                slot.remove();
                return Some(attempt);
            }
        }
        if row.state.is_settled() && expected != RowState::Undoing {
            // Undoing rows stand in the queue since their action was done.
            shard.settle(key, self.settled_per_shard());
        }
        Some(attempt)
    }
}

impl MemoryInbox {
    fn complete_now(&self, key: &StepKey, claim: Option<&Claim>, end: End) -> Completed {
        let held = match self.shard(key).rows.get(key) {
            Some(row) if row.state == RowState::Running => row.claim,
            Some(_) | None => return Completed::NotRunning,
        };
        if claim.is_some_and(|claim| claim.number() != held) {
            return Completed::HandedOver;
        }
        // Between two looks a handler may have begun anew: then the row is not running any more.
        let attempt = self.finish(key, RowState::Running, end, Duration::ZERO);
        self.claims.release(held);
        attempt.map_or(Completed::NotRunning, Completed::Stored)
    }
}

impl Inbox for MemoryInbox {
    type Store = Memory;

    fn id(&self) -> &str {
        &self.id
    }

    fn kind(&self) -> Kind {
        Kind::None
    }

    async fn enter(&self, ask: &Ask) -> Result<Entry<()>, Error> {
        Ok(self.enter_now(ask))
    }

    async fn settle(&self, ask: &Ask, (): (), end: End) -> Result<u32, Error> {
        let expected = if ask.op == Op::Compensation {
            RowState::Undoing
        } else {
            RowState::Acting
        };
        let attempt = self.finish(&ask.key, expected, end, lease(ask.timeout));
        let attempt = attempt.unwrap_or(ask.attempt);
        self.run_ended.notify_waiters();
        Ok(attempt)
    }

    /// The row goes as after a failure, for a row at work would answer every later attempt with a sign of life. Of the
    /// effect nobody can say anything.
    async fn abandon(&self, ask: &Ask, (): ()) -> Result<Abandoned, Error> {
        self.settle(ask, (), End::RolledBack).await?;
        Ok(Abandoned::Unknown)
    }

    async fn complete(
        &self,
        key: &StepKey,
        claim: Option<&Claim>,
        end: End,
    ) -> Result<Completed, Error> {
        loop {
            let mut run_ended = pin!(self.run_ended.notified());
            // Listens before it looks, so that no ring is missed.
            run_ended.as_mut().enable();
            if self.state(key) != Some(RowState::Acting) {
                return Ok(self.complete_now(key, claim, end));
            }
            run_ended.await;
        }
    }

    async fn sweep(&self) -> Result<u64, Error> {
        let now = unix_micros();
        let mut dropped = 0;
        for shard in self.shards.iter() {
            let mut shard = lock(shard);
            let before = shard.rows.len();
            shard.rows.retain(|_, row| !row.past_retention(now));
            dropped += (before - shard.rows.len()) as u64;
        }
        Ok(dropped)
    }
}

impl Shard {
    /// Notes that the row of `key` settled, and lets the oldest settled rows go.
    fn settle(&mut self, key: &StepKey, max: usize) {
        self.settled.push_back(key.clone());
        // Rows that were forgotten leave their key behind; without this the queue would only grow.
        if self.settled.len() > 2 * self.rows.len() + 64 {
            self.settled.retain(|key| self.rows.contains_key(key));
        }
        while let Some(oldest) = self.settled.front() {
            let stale = self
                .rows
                .get(oldest)
                .is_none_or(|row| !row.state.is_settled());
            if !stale && self.settled.len() <= max {
                break;
            }
            if let Some(oldest) = self.settled.pop_front()
                && !stale
            {
                self.rows.remove(&oldest);
            }
        }
    }
}

impl Row {
    fn new(state: RowState, ask: &Ask, fingerprint: u64) -> Self {
        Self {
            state,
            body: Body::Empty,
            fingerprint,
            attempt: ask.attempt,
            retain_until_us: ask.retain_until_us,
            claim: 0,
        }
    }

    /// Work in progress answers the latest attempt that asked for it.
    fn hear(&mut self, ask: &Ask) {
        let own = match self.state {
            RowState::Acting | RowState::Running => ask.op == Op::Action,
            RowState::Undoing => ask.op == Op::Compensation,
            RowState::Done | RowState::Refused | RowState::Tombstone | RowState::Compensated => {
                false
            }
        };
        if own {
            self.attempt = self.attempt.max(ask.attempt);
        }
    }

    fn output(&self) -> Bytes {
        match &self.body {
            Body::Output(output) => output.clone(),
            Body::Empty | Body::Fault(_) => Bytes::new(),
        }
    }

    fn fault(&self) -> Option<Fault> {
        match &self.body {
            Body::Fault(fault) => Some(Fault::clone(fault)),
            Body::Empty | Body::Output(_) => None,
        }
    }

    fn past_retention(&self, now_us: i64) -> bool {
        self.state.is_settled() && self.retain_until_us != 0 && self.retain_until_us < now_us
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // No user code runs under the lock; a poisoned shard is still consistent.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{reply::Answer, testing::ask};

    fn settle_one(inbox: &MemoryInbox, step: &str) -> Ask {
        let ask = ask(step, Op::Action);
        assert!(matches!(inbox.enter_now(&ask), Entry::Run { .. }));
        inbox
            .finish(
                &ask.key,
                RowState::Acting,
                End::Done(Bytes::from_static(b"1")),
                Duration::ZERO,
            )
            .expect("acting");
        ask
    }

    #[test]
    fn the_cap_lets_the_oldest_settled_rows_go_and_spares_work_in_progress() {
        let inbox = MemoryInbox::new().keep_settled(SHARDS * 2);
        let busy = ask("busy", Op::Action);
        inbox.enter_now(&busy);
        for n in 0..SHARDS * 40 {
            settle_one(&inbox, &format!("step{n}"));
        }
        assert!(inbox.len() <= SHARDS * 2 + 1, "{} rows", inbox.len());
        let again = Ask {
            op: Op::Query,
            ..busy
        };
        assert!(matches!(
            inbox.enter_now(&again),
            Entry::Answered {
                answer: Answer::Running,
                ..
            }
        ));
    }

    #[test]
    fn forgotten_rows_leave_nothing_behind() {
        let inbox = MemoryInbox::new();
        for n in 0..SHARDS * 400 {
            let ask = settle_one(&inbox, &format!("step{n}"));
            inbox.enter_now(&Ask {
                op: Op::Forget,
                ..ask
            });
        }
        assert!(inbox.is_empty());
        let queued: usize = inbox
            .shards
            .iter()
            .map(|shard| lock(shard).settled.len())
            .sum();
        assert!(queued <= SHARDS * 66, "{queued} keys of forgotten rows");
    }

    #[test]
    fn the_answer_is_for_the_latest_attempt_that_asked() {
        let inbox = MemoryInbox::new();
        let first = ask("slow", Op::Action);
        inbox.enter_now(&first);
        let second = Ask {
            attempt: 2,
            ..first.clone()
        };
        assert!(matches!(
            inbox.enter_now(&second),
            Entry::Answered {
                answer: Answer::Running,
                ..
            }
        ));
        assert_eq!(
            inbox.finish(
                &first.key,
                RowState::Acting,
                End::RolledBack,
                Duration::ZERO
            ),
            Some(2)
        );
        assert!(inbox.is_empty(), "a failed action leaves no row");
    }

    #[tokio::test]
    async fn the_sweep_drops_rows_past_their_retention_only() {
        let inbox = MemoryInbox::new();
        settle_one(&inbox, "for ever");
        let ask = Ask {
            retain_until_us: 1,
            ..ask("old", Op::Seal)
        };
        inbox.enter_now(&ask);
        assert_eq!(inbox.sweep().await.expect("memory"), 1);
        assert_eq!(inbox.len(), 1);
    }
}
