//! A batch in the making, with everything needed to take it back.

use std::collections::{BTreeSet, HashMap};

use super::{
    answer::Answer,
    intake::Cancelled,
    slot::{Slot, face},
    starting::Starter,
};
use crate::store::record::{AuditRow, Batch, ChangeRow, Fence, JournalRow, SagaRow, StartRow};
use saga_core::{
    Effect, Event, Partition, Record, SagaId, SagaState, Status, Timestamp, input::Input,
};
use saga_dsl::plan::StepIx;

/// One input for one saga.
pub(super) enum Job {
    /// Begin it.
    Start(Box<Starter>),
    /// Anything else.
    Input {
        id: SagaId,
        input: Input,
        /// Told after the commit, where somebody waits for it.
        answer: Option<Answer>,
    },
}

impl Job {
    /// Whether it only says that a timer fired.
    pub(super) fn is_due(&self) -> bool {
        matches!(
            self,
            Self::Input {
                input: Input::Due,
                answer: None,
                ..
            }
        )
    }

    pub(super) fn id(&self) -> SagaId {
        match self {
            Self::Start(starter) => starter.job.id,
            Self::Input { id, .. } => *id,
        }
    }

    /// Whether it only says that the saga is to be looked at.
    pub(super) fn is_wake(&self) -> bool {
        matches!(
            self,
            Self::Input {
                input: Input::Wake,
                answer: None,
                ..
            }
        )
    }
}

/// What to do for a decision once it is committed.
pub(super) struct Release {
    pub(super) id: SagaId,
    pub(super) seq: u64,
    pub(super) effects: Vec<Effect>,
    /// [`Links::connects`](super::links::Links::connects) when it was decided.
    pub(super) connects: u64,
    /// Position in [`Pending::jobs`] of the job whose answer this is, if it wants one.
    pub(super) job: usize,
    /// What a cancel is answered, as of its own decision: later ones may not be committed yet.
    pub(super) cancelled: Option<Cancelled>,
}

/// A batch that is decided and not known to be committed.
#[derive(Default)]
pub(super) struct Pending {
    /// The inputs, in order; they go back to the queue when the commit fails.
    pub(super) jobs: Vec<Job>,
    /// What to do afterwards, in order.
    pub(super) releases: Vec<Release>,
    /// The states before the batch of everything it touched; `None`: the saga begins in it.
    pub(super) before: HashMap<SagaId, Option<SagaState>>,
    /// For each start row, the position of its job.
    pub(super) start_jobs: Vec<usize>,
    /// And its saga's status when the batch is committed; there once it goes to the store.
    pub(super) start_statuses: Vec<Status>,
    rows: Batch,
    start_at: HashMap<SagaId, usize>,
    change_at: HashMap<SagaId, usize>,
    partitions: BTreeSet<Partition>,
    bytes: usize,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && !self.has_rows()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the state that a saga had before this batch, unless it is kept already.
    pub(super) fn keep(&mut self, id: SagaId, before: Option<SagaState>) {
        self.before.entry(id).or_insert(before);
    }

    /// Adds a decision's row, and the saga's face if it changed.
    pub(super) fn add(
        &mut self,
        slot: &Slot,
        before: Option<&SagaState>,
        events: Vec<Event>,
        at: Timestamp,
        input_hash: Option<[u8; 32]>,
    ) {
        let id = slot.state.id;
        self.partitions.insert(id.partition());
        let now_face = face(&slot.state);
        if let Some(input_hash) = input_hash {
            self.start_at.insert(id, self.rows.starts.len());
            self.rows.starts.push(StartRow {
                row: saga_row(slot, at),
                input_hash,
            });
            self.start_jobs.push(self.jobs.len());
        } else if before.map(face) != Some(now_face) {
            if let Some(&at) = self.start_at.get(&id) {
                self.rows.starts[at].row.face = now_face;
            } else if let Some(&at) = self.change_at.get(&id) {
                self.rows.changes[at].face = now_face;
            } else {
                self.change_at.insert(id, self.rows.changes.len());
                self.rows.changes.push(ChangeRow { id, face: now_face });
            }
        }
        self.rows.audit.extend(audit(slot, &events, at));
        let body = encode(events);
        self.bytes += body.len();
        self.rows.journal.push(JournalRow {
            saga_id: id,
            seq: slot.state.seq,
            at,
            body,
        });
    }

    /// Marks a saga's row without a decision: it could not be loaded, so none can be made.
    pub(super) fn mark(&mut self, change: ChangeRow) {
        self.partitions.insert(change.id.partition());
        self.rows.changes.push(change);
    }

    /// Decisions in it.
    pub(super) fn decisions(&self) -> usize {
        self.rows.journal.len()
    }

    /// True when there is something to write.
    pub(super) fn has_rows(&self) -> bool {
        !self.rows.journal.is_empty() || !self.rows.changes.is_empty()
    }

    /// The rows for the store, fenced by what the lane owns. The rest stays for the release, or for taking it back.
    pub(super) fn take_rows(&mut self, commit_no: u64, fences: &[Fence]) -> Batch {
        let mut rows = std::mem::take(&mut self.rows);
        rows.commit_no = commit_no;
        self.start_statuses = rows
            .starts
            .iter()
            .map(|start| start.row.face.status)
            .collect();
        rows.fence = fences
            .iter()
            .filter(|f| self.partitions.contains(&f.partition))
            .copied()
            .collect();
        rows
    }
}

/// What operators did in a decision.
fn audit<'a>(
    slot: &'a Slot,
    events: &'a [Event],
    at: Timestamp,
) -> impl Iterator<Item = AuditRow> + 'a {
    let row = move |verb: &str, step: Option<StepIx>, who: &str, reason: &str, forced| AuditRow {
        saga_id: slot.state.id,
        seq: slot.state.seq,
        at,
        verb: verb.to_owned(),
        step: step
            .and_then(|ix| slot.plan.step(ix))
            .map(|step| step.id.clone()),
        who: who.to_owned(),
        reason: reason.to_owned(),
        forced,
    };
    events.iter().filter_map(move |event| match event {
        Event::Intervened(e) => Some(row(e.verb.name(), e.step, &e.by, &e.reason, e.forced)),
        Event::CancelRequested { reason, by, .. } => Some(row("cancel", None, by, reason, false)),
        _ => None,
    })
}

fn encode(events: Vec<Event>) -> Vec<u8> {
    // Events hold texts, numbers and valid JSON only, so encoding cannot fail.
    serde_json::to_vec(&Record {
        v: Record::VERSION,
        events,
    })
    .unwrap_or_default()
}

fn saga_row(slot: &Slot, at: Timestamp) -> SagaRow {
    let definition = &slot.plan.definition;
    let birth = slot.state.birth.as_ref();
    SagaRow {
        id: slot.state.id,
        name: definition.saga.clone(),
        version: definition.version,
        hash: slot.plan.hash,
        key: birth.and_then(|b| b.key.as_deref()).map(str::to_owned),
        labels: birth.map(|b| b.labels.clone()).unwrap_or_default(),
        started_at: at,
        face: face(&slot.state),
    }
}
