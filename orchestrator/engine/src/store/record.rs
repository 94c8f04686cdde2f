//! What the store keeps, as plain rows. Bodies are opaque bytes here; the lane knows their meaning.

use std::collections::{BTreeMap, HashSet};

use saga_core::{Partition, SagaId, Status, Timestamp};

use super::CommitError;

/// Everything one transaction writes: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Number of this commit, growing by one per lane; stored with each journal row.
    pub commit_no: u64,
    /// The partitions that the batch touches, each with the ownership it was decided under.
    pub fence: Vec<Fence>,
    /// One row per decision; `(saga_id, seq)` is unique and `seq` counts from 1 without gaps.
    pub journal: Vec<JournalRow>,
    /// Sagas that begin in this batch.
    pub starts: Vec<StartRow>,
    /// Sagas whose listed face changed, at most one row a saga, and none that stands in `starts`.
    pub changes: Vec<ChangeRow>,
    /// What operators did in it.
    pub audit: Vec<AuditRow>,
}

impl Batch {
    /// A row outside of the fenced partitions would be written without proof of ownership.
    ///
    /// # Errors
    /// [`CommitError::Data`] with the first such row.
    pub fn check_coverage(&self) -> Result<(), CommitError> {
        let fenced: HashSet<Partition> = self.fence.iter().map(|fence| fence.partition).collect();
        let ids = self.journal.iter().map(|row| row.saga_id);
        let ids = ids.chain(self.starts.iter().map(|start| start.row.id));
        let ids = ids.chain(self.changes.iter().map(|change| change.id));
        let mut ids = ids.chain(self.audit.iter().map(|row| row.saga_id));
        match ids.find(|id| !fenced.contains(&id.partition())) {
            None => Ok(()),
            Some(id) => Err(CommitError::Data(format!(
                "saga {id} stands in partition {}, which the batch does not fence",
                id.partition().0
            ))),
        }
    }
}

/// Proof of ownership of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The partition.
    pub partition: Partition,
    /// Epoch under which it was claimed.
    pub epoch: u64,
    /// Random token of the claim, which guards against an epoch that went backwards.
    pub token: u128,
}

/// One decision: its events, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// The saga.
    pub saga_id: SagaId,
    /// Position in the saga's history, from 1.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// The encoded decision.
    pub body: Vec<u8>,
}

/// A saga as it stands in lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaRow {
    /// The saga.
    pub id: SagaId,
    /// Name of the definition.
    pub name: String,
    /// Version of the definition, pinned at the start.
    pub version: u32,
    /// Content hash of the definition, pinned at the start.
    pub hash: [u8; 32],
    /// Idempotency key of the start, if it had one.
    pub key: Option<String>,
    /// Labels for filtering.
    pub labels: BTreeMap<String, String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// What changes over its life.
    pub face: Face,
}

/// The part of a [`SagaRow`] that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Face {
    /// Where the saga stands.
    pub status: Status,
    /// True while an operator is needed.
    pub incident: bool,
    /// An operator's word stands in it where a proof was not to be had.
    pub exceptions: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A saga that begins in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRow {
    /// Its row. `row.key`, where there is one, is claimed in the same transaction, for all versions of `row.name`.
    pub row: SagaRow,
    /// Hash of the canonical input, compared when the key comes again.
    pub input_hash: [u8; 32],
}

/// A change of a saga's listed face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRow {
    /// The saga.
    pub id: SagaId,
    /// Its new face.
    pub face: Face,
}

/// What an operator did: who, what, where and why. Written with the decision that it led to, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The saga; [`SagaId::NONE`] for a breaker, which then stands in `step`.
    pub saga_id: SagaId,
    /// The decision in its journal.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What, in a word: `retry`, `cancel`.
    pub verb: String,
    /// Id of the step; `None`: the whole saga.
    pub step: Option<String>,
    /// Who, as far as it is known.
    pub who: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// The operator's word stands where a proof was not to be had.
    pub forced: bool,
}

/// An [`AuditRow`] with its place in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Grows with every row; pass the last one as `before` for the next page.
    pub position: u64,
    /// The row.
    pub row: AuditRow,
}

/// A start that was asked for before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartConflict {
    /// Position in [`Batch::starts`].
    pub index: usize,
    /// The saga that has the key, or the id, already.
    pub existing: SagaId,
    /// True when it has the key; false when the key is free, or absent, and it has the id.
    pub by_key: bool,
    /// Hash of that saga's canonical input.
    pub input_hash: [u8; 32],
    /// Name and version of that saga's definition.
    pub definition: (String, u32),
    /// Where that saga stands.
    pub status: Status,
}

/// A registered definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionRow {
    /// Name.
    pub name: String,
    /// Version.
    pub version: u32,
    /// Hash of `canonical`.
    pub hash: [u8; 32],
    /// The definition as canonical JSON.
    pub canonical: String,
    /// When it was registered.
    pub deployed_at: Timestamp,
}

/// A participant that has registered at least once. Instances are not stored; they are connected or they are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantRow {
    /// Name.
    pub name: String,
    /// Random id of its inbox.
    pub inbox_id: String,
    /// `transactional`, `journaled` or `none`.
    pub inbox_kind: String,
    /// Its actions with schemas, as JSON.
    pub actions: String,
    /// When an instance last registered.
    pub last_seen: Timestamp,
}

/// A breaker that has opened at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerRow {
    /// Before the slash.
    pub participant: String,
    /// After the slash.
    pub action: String,
    /// What is to survive of it.
    pub face: BreakerFace,
}

/// What survives of a breaker, and why it is where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerFace {
    /// Open, and not recovered yet. A restart in between begins again with a probe.
    pub open: bool,
    /// How often it has opened.
    pub generation: u64,
    /// When it probes; `None`: not by itself.
    pub open_until: Option<Timestamp>,
    /// Since when.
    pub since: Timestamp,
    /// The operator who did it; empty: nobody did.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Which sagas a list shows; empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Any of these.
    pub statuses: Vec<Status>,
    /// Sagas of this definition.
    pub name: Option<String>,
    /// Sagas that carry all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Only sagas with an incident.
    pub incident_only: bool,
    /// Started at or after.
    pub started_after: Option<Timestamp>,
    /// Started before.
    pub started_before: Option<Timestamp>,
}

/// One page of a list, newest saga first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most as many rows as were asked for.
    pub rows: Vec<SagaRow>,
    /// Pass it as `before` for the next page; `None` on the last one.
    pub next: Option<SagaId>,
}
