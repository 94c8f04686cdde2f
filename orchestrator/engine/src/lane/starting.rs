//! Starts that share a key or an id with a start whose commit is open wait for that commit.
//!
//! A start *holds* its names, the key and the id, from the moment it enters the lane's intake until it is known what became
//! of it. Each name has a line, and a start that asks for a name that is held stands there without costing anything:
//! neither a place in the intake, nor a decision, nor a commit. So 100,000 starts with one key do not stand in the way of
//! a start with another. When the holder is committed, its whole line is answered. When the holder comes to nothing, the
//! first of the line takes its place, and the others stay where they are. So each start is moved a bounded number of
//! times, however many share a name. A start takes its key before its id; as all do, no two wait for each other.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use saga_core::{Payload, SagaId, Status};
use tokio::sync::{Notify, futures::Notified};

use super::{
    batch::Job,
    decider::answer_start,
    intake::{Holds, StartJob, Started},
    repeat::is_same_input,
};
use crate::{input_hash, store::record::StartConflict};

/// Bytes of starts that wait for others. When there are more, a start that has to wait does so outside, with its caller;
/// one with a name of its own goes on.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Starts of a line that are answered in one go. Between two goes other tasks have their turn.
const ANSWERS_AT_ONCE: usize = 64;

/// What no two sagas share.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Name {
    /// A key, with the name of its definition.
    Key(String, Arc<str>),
    Id(SagaId),
}

/// A start on its way.
pub(super) struct Starter {
    pub(super) job: StartJob,
    /// What it takes in memory while it waits.
    bytes: usize,
}

/// The saga that has a name for good.
pub(super) struct Owner {
    pub(super) id: SagaId,
    pub(super) status: Status,
    known: Known,
}

/// What is known of an owner's start.
enum Known {
    /// It was made from this one.
    Start {
        definition: String,
        version: u32,
        input: Payload,
        input_hash: [u8; 32],
    },
    /// It was there before, and what a start with that hash is answered is known already.
    Earlier {
        conflict: StartConflict,
        held_by: [u8; 32],
        same: Option<bool>,
    },
}

/// The starts that wait for a name, and the input of the one that holds it.
struct Line {
    input: Payload,
    input_hash: [u8; 32],
    waiting: VecDeque<Box<Starter>>,
}

/// The names that are held, as the lane has them. The lines end with it: starts that wait get no answer then.
#[derive(Default)]
pub(super) struct Starting {
    lines: Lines,
}

/// The names that are held, as the handles of a lane have them. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Lines {
    /// Never locked across an await.
    names: Arc<Mutex<Names>>,
    /// Notified when starts have left a line, and when the lane has ended.
    left: Arc<Notify>,
}

/// All names that are held.
#[derive(Default)]
struct Names {
    lines: HashMap<Name, Line>,
    bytes: usize,
    /// The lane has ended.
    ended: bool,
}

/// Starts that left their lines, with their answers.
type Answers = Vec<(Box<Starter>, Started)>;

/// What became of starts that were to join a line.
pub(super) enum Joined {
    /// Those that are left have names that nobody holds.
    All(Vec<StartJob>),
    /// The first of those that are left has to wait in a line, and there is no room.
    Full(Vec<StartJob>),
    /// The lane has ended.
    Ended,
}

impl Starter {
    pub(super) fn new(job: StartJob) -> Box<Self> {
        Box::new(Self { job, bytes: 0 })
    }

    fn key(&self) -> Option<Name> {
        let key = self.job.start.key.as_ref()?;
        Some(Name::Key(
            self.job.plan.definition.saga.clone(),
            Arc::clone(key),
        ))
    }

    fn held(&self) -> [Option<Name>; 2] {
        let Holds { key, id } = self.job.holds;
        let key = if key { self.key() } else { None };
        [key, id.then_some(Name::Id(self.job.id))]
    }
}

impl Owner {
    /// The saga that a start has begun.
    pub(super) fn begun(job: &StartJob, status: Status) -> Self {
        let definition = &job.plan.definition;
        Self {
            id: job.id,
            status,
            known: Known::Start {
                definition: definition.saga.clone(),
                version: definition.version,
                input: job.start.input.clone(),
                input_hash: job.input_hash,
            },
        }
    }

    /// The saga that a start met in the store; `same`: whether that was started with its input.
    pub(super) fn earlier(conflict: StartConflict, job: &StartJob, same: Option<bool>) -> Self {
        let (id, status) = (conflict.existing, conflict.status);
        Self {
            id,
            status,
            known: Known::Earlier {
                conflict,
                held_by: job.input_hash,
                same,
            },
        }
    }

    /// What a start is answered that asked for the name.
    pub(super) fn started(&self, same: bool) -> Started {
        match same {
            true => Started::Existing {
                id: self.id,
                status: self.status,
            },
            false => Started::KeyConflict { id: self.id },
        }
    }

    /// Whether it was started with the input of `job`; `None`: the store has to be asked.
    fn is_same(&self, job: &StartJob) -> Option<bool> {
        let definition = &job.plan.definition;
        match &self.known {
            Known::Start {
                definition: name,
                version,
                input,
                input_hash,
            } => {
                // Hashes by the same types settle it; another version may have other types.
                let equal = || {
                    *input_hash == job.input_hash
                        || *version != definition.version && is_same_input(job, input)
                };
                Some(*name == definition.saga && equal())
            }
            Known::Earlier { held_by, same, .. } if *held_by == job.input_hash => *same,
            Known::Earlier { conflict, .. } if conflict.input_hash == job.input_hash => Some(true),
            Known::Earlier { conflict, .. } => {
                let (name, version) = &conflict.definition;
                let settled = input_hash::is_current(&conflict.input_hash)
                    && (name, *version) == (&definition.saga, definition.version);
                settled.then_some(false)
            }
        }
    }
}

impl Line {
    fn behind(job: &StartJob) -> Self {
        Self {
            input: job.start.input.clone(),
            input_hash: job.input_hash,
            waiting: VecDeque::new(),
        }
    }

    /// Adds a start, which gives up its copy of an input that the holder has, too. Returns its bytes.
    fn push(&mut self, mut starter: Box<Starter>) -> usize {
        let start = &mut starter.job.start;
        let labels: usize = start
            .labels
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let mut bytes =
            size_of::<Starter>() + labels + start.key.as_ref().map_or(0, |key| key.len());
        if starter.job.input_hash == self.input_hash {
            start.input = self.input.clone();
        } else {
            bytes += start.input.text().len();
        }
        starter.bytes = bytes;
        self.waiting.push_back(starter);
        bytes
    }
}

impl Lines {
    /// Completes when starts leave a line after this call.
    pub(super) fn starts_leave(&self) -> Notified<'_> {
        self.left.notified()
    }

    /// Lets those wait whose first name is held already. They need nothing else of the lane.
    pub(super) fn join(&self, jobs: Vec<StartJob>) -> Joined {
        let mut names = self.lock();
        let mut jobs = jobs.into_iter();
        let mut left = Vec::new();
        while let Some(job) = jobs.next() {
            match names.join(job) {
                Asked::Waits => {}
                Asked::NoRoom(job) => {
                    left.push(job);
                    left.extend(jobs);
                    return Joined::Full(left);
                }
                Asked::Free(job) => left.push(job),
            }
        }
        if names.ended {
            return Joined::Ended;
        }
        Joined::All(left)
    }

    /// Gives starts their names, or lets them wait. Returns those that have their names, which the lane must get.
    pub(super) fn enter(&self, jobs: Vec<StartJob>) -> Vec<StartJob> {
        let mut names = self.lock();
        jobs.into_iter()
            .filter_map(|job| names.admit(Starter::new(job)).map(|starter| starter.job))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Starting {
    /// The same, for handles.
    pub(super) fn lines(&self) -> Lines {
        self.lines.clone()
    }

    /// Bytes of the starts that wait.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.lines.lock().bytes
    }

    /// Gives a start those of its names that it does not have yet, or lets it wait for one.
    pub(super) fn admit(&mut self, starter: Box<Starter>) -> Option<Box<Starter>> {
        if starter.job.holds == Holds::ALL
            || starter.job.start.key.is_none() && starter.job.holds.id
        {
            return Some(starter);
        }
        self.lines.lock().admit(starter)
    }

    /// The start is answered. `key` and `id` are the sagas that have its names now; `None`: the next in line takes its
    /// place.
    pub(super) fn finish(
        &mut self,
        starter: &Starter,
        key: Option<&Owner>,
        id: Option<&Owner>,
        queue: &mut VecDeque<Job>,
    ) {
        self.release(|names, answers| {
            for (name, owner) in starter.held().into_iter().zip([key, id]) {
                match (name, owner) {
                    (Some(name), Some(owner)) => names.answer_line(&name, owner, queue, answers),
                    (Some(name), None) => names.pass_on(name, queue),
                    (None, _) => {}
                }
            }
        });
    }

    /// The store refuses the rows of a start. Whatever waits for it with the same input would be refused, too.
    pub(super) fn refuse(&mut self, starter: &Starter, queue: &mut VecDeque<Job>) {
        self.release(|names, answers| {
            for name in starter.held().into_iter().flatten() {
                names.refuse_line(name, starter, queue, answers);
            }
        });
    }

    /// Takes starts out of their lines, and answers them without the lock.
    fn release(&self, take: impl FnOnce(&mut Names, &mut Answers)) {
        let mut answers = Answers::new();
        let mut names = self.lines.lock();
        let before = names.bytes;
        take(&mut names, &mut answers);
        let have_left = names.bytes < before;
        drop(names);
        if have_left {
            self.lines.left.notify_waiters();
        }
        give(answers);
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let mut names = self.lines.lock();
        names.ended = true;
        // Dropped without the lock: that wakes their callers.
        let lines = std::mem::take(&mut names.lines);
        drop(names);
        drop(lines);
        self.lines.left.notify_waiters();
    }
}

/// Answers starts that have left their lines: a long line bit by bit, for each answer wakes a task.
fn give(mut answers: Answers) {
    if answers.len() <= ANSWERS_AT_ONCE {
        return give_all(answers);
    }
    tokio::spawn(async move {
        while !answers.is_empty() {
            let rest = answers.len().saturating_sub(ANSWERS_AT_ONCE);
            give_all(answers.split_off(rest));
            tokio::task::yield_now().await;
        }
    });
}

fn give_all(answers: Answers) {
    for (starter, started) in answers {
        answer_start(starter.job, started);
    }
}

/// What became of a start that asked for its first name.
enum Asked {
    /// It waits in the line of the name.
    Waits,
    /// Nobody holds the name.
    Free(StartJob),
    /// The name is held, and as many starts wait as may.
    NoRoom(StartJob),
}

impl Names {
    /// Lets a start wait if its first name is held.
    fn join(&mut self, job: StartJob) -> Asked {
        let starter = Starter::new(job);
        let name = starter.key().unwrap_or(Name::Id(starter.job.id));
        let Some(line) = self.lines.get_mut(&name) else {
            return Asked::Free(starter.job);
        };
        if self.bytes >= WAITING_BYTES_MAX {
            return Asked::NoRoom(starter.job);
        }
        self.bytes += line.push(starter);
        Asked::Waits
    }

    fn admit(&mut self, mut starter: Box<Starter>) -> Option<Box<Starter>> {
        if !starter.job.holds.key
            && let Some(key) = starter.key()
        {
            starter = self.take(key, starter)?;
            starter.job.holds.key = true;
        }
        if !starter.job.holds.id {
            starter = self.take(Name::Id(starter.job.id), starter)?;
            starter.job.holds.id = true;
        }
        Some(starter)
    }

    fn take(&mut self, name: Name, starter: Box<Starter>) -> Option<Box<Starter>> {
        match self.lines.entry(name) {
            Entry::Occupied(mut line) => {
                self.bytes += line.get_mut().push(starter);
                None
            }
            Entry::Vacant(free) => {
                free.insert(Line::behind(&starter.job));
                Some(starter)
            }
        }
    }

    fn answer_line(
        &mut self,
        name: &Name,
        owner: &Owner,
        queue: &mut VecDeque<Job>,
        answers: &mut Answers,
    ) {
        if let Some(line) = self.lines.remove(name) {
            let answer = |job: &StartJob| Some(owner.started(owner.is_same(job)?));
            self.answer_all(line.waiting, answer, queue, answers);
        }
    }

    fn refuse_line(
        &mut self,
        name: Name,
        starter: &Starter,
        queue: &mut VecDeque<Job>,
        answers: &mut Answers,
    ) {
        let Some(line) = self.lines.get_mut(&name) else {
            return;
        };
        let (alike, others) = std::mem::take(&mut line.waiting)
            .into_iter()
            .partition(|waiting| waiting.job.input_hash == starter.job.input_hash);
        line.waiting = others;
        self.answer_all(alike, |_| Some(Started::Unavailable), queue, answers);
        self.pass_on(name, queue);
    }

    /// Finds the answers of starts that leave a line. One without an answer is decided like any other.
    fn answer_all(
        &mut self,
        starters: VecDeque<Box<Starter>>,
        answer: impl Fn(&StartJob) -> Option<Started>,
        queue: &mut VecDeque<Job>,
        answers: &mut Answers,
    ) {
        answers.reserve(starters.len());
        for starter in starters {
            self.bytes = self.bytes.saturating_sub(starter.bytes);
            let Some(started) = answer(&starter.job) else {
                queue.push_back(Job::Start(starter));
                continue;
            };
            // One that waited for its id holds its key.
            for name in starter.held().into_iter().flatten() {
                self.pass_on(name, queue);
            }
            answers.push((starter, started));
        }
    }

    /// The first in line takes the name, or nobody has it any more.
    fn pass_on(&mut self, name: Name, queue: &mut VecDeque<Job>) {
        let Entry::Occupied(mut line) = self.lines.entry(name) else {
            return;
        };
        let Some(mut next) = line.get_mut().waiting.pop_front() else {
            line.remove();
            return;
        };
        self.bytes = self.bytes.saturating_sub(next.bytes);
        match line.key() {
            Name::Key(..) => next.job.holds.key = true,
            Name::Id(_) => next.job.holds.id = true,
        }
        line.get_mut().input = next.job.start.input.clone();
        line.get_mut().input_hash = next.job.input_hash;
        queue.push_front(Job::Start(next));
    }
}
