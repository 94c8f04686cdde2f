//! Starts that share a key or an id with a start whose commit is open wait for that commit.
//!
//! A start *holds* its names, the key and the id, from its decision until it is known what became of it. Each name has a
//! line, and whatever asks for a name that is held stands there without costing anything: neither a decision nor a commit.
//! When the holder is committed, its whole line is answered at once. When the holder comes to nothing, the first of the
//! line takes its place, and the others stay where they are. So each start is moved a bounded number of times, however
//! many share a name. A start takes its key before its id; as all do, no two wait for each other.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use saga_core::{Payload, SagaId};

use super::{
    batch::Job,
    decider::answer_start,
    intake::{StartJob, Started},
    repeat::is_same_input,
};
use crate::{
    input_hash,
    store::record::{RowStatus, StartConflict},
};

/// Bytes of starts that wait for others before the lane takes no more messages.
pub(super) const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

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
    has_key: bool,
    has_id: bool,
    /// What it takes in memory while it waits.
    bytes: usize,
}

/// The saga that has a name for good.
pub(super) struct Owner {
    pub(super) id: SagaId,
    pub(super) status: RowStatus,
    known: Known,
}

/// What is known of an owner's start.
enum Known {
    /// It was made from this one.
    Start {
        definition: String,
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

/// All names that are held.
#[derive(Default)]
pub(super) struct Starting {
    lines: HashMap<Name, Line>,
    bytes: usize,
}

impl Starter {
    pub(super) fn new(job: StartJob) -> Box<Self> {
        Box::new(Self {
            job,
            has_key: false,
            has_id: false,
            bytes: 0,
        })
    }

    fn key(&self) -> Option<Name> {
        let key = self.job.start.key.as_ref()?;
        Some(Name::Key(
            self.job.plan.definition.saga.clone(),
            Arc::clone(key),
        ))
    }

    fn held(&self) -> [Option<Name>; 2] {
        let key = if self.has_key { self.key() } else { None };
        [key, self.has_id.then_some(Name::Id(self.job.id))]
    }
}

impl Owner {
    /// The saga that a start has begun.
    pub(super) fn begun(job: &StartJob, status: RowStatus) -> Self {
        let (definition, input) = (job.plan.definition.saga.clone(), job.start.input.clone());
        Self {
            id: job.id,
            status,
            known: Known::Start {
                definition,
                input,
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
                input,
                input_hash,
            } => {
                let equal = || *input_hash == job.input_hash || is_same_input(job, input);
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

impl Starting {
    /// Bytes of the starts that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives a start its names, or lets it wait for one.
    pub(super) fn admit(&mut self, mut starter: Box<Starter>) -> Option<Box<Starter>> {
        if !starter.has_key
            && let Some(key) = starter.key()
        {
            starter = self.take(key, starter)?;
            starter.has_key = true;
        }
        if !starter.has_id {
            starter = self.take(Name::Id(starter.job.id), starter)?;
            starter.has_id = true;
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

    /// The start is answered. `key` and `id` are the sagas that have its names now; `None`: the next in line takes its
    /// place.
    pub(super) fn finish(
        &mut self,
        starter: &Starter,
        key: Option<&Owner>,
        id: Option<&Owner>,
        queue: &mut VecDeque<Job>,
    ) {
        for (name, owner) in starter.held().into_iter().zip([key, id]) {
            match (name, owner) {
                (Some(name), Some(owner)) => self.answer_line(&name, owner, queue),
                (Some(name), None) => self.pass_on(name, queue),
                (None, _) => {}
            }
        }
    }

    /// The store refuses the rows of a start. Whatever waits for it with the same input would be refused, too.
    pub(super) fn refuse(&mut self, starter: &Starter, queue: &mut VecDeque<Job>) {
        for name in starter.held().into_iter().flatten() {
            let Some(line) = self.lines.get_mut(&name) else {
                continue;
            };
            let (alike, others) = std::mem::take(&mut line.waiting)
                .into_iter()
                .partition(|waiting| waiting.job.input_hash == starter.job.input_hash);
            line.waiting = others;
            self.answer_all(alike, |_| Some(Started::Unavailable), queue);
            self.pass_on(name, queue);
        }
    }

    fn answer_line(&mut self, name: &Name, owner: &Owner, queue: &mut VecDeque<Job>) {
        if let Some(line) = self.lines.remove(name) {
            self.answer_all(
                line.waiting,
                |job| Some(owner.started(owner.is_same(job)?)),
                queue,
            );
        }
    }

    /// Answers starts that leave a line. One without an answer is decided like any other.
    fn answer_all(
        &mut self,
        starters: VecDeque<Box<Starter>>,
        answer: impl Fn(&StartJob) -> Option<Started>,
        queue: &mut VecDeque<Job>,
    ) {
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
            answer_start(starter.job, started);
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
            Name::Key(..) => next.has_key = true,
            Name::Id(_) => next.has_id = true,
        }
        line.get_mut().input = next.job.start.input.clone();
        line.get_mut().input_hash = next.job.input_hash;
        queue.push_front(Job::Start(next));
    }
}
