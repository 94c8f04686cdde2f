//! What the simulated store holds, and what it checks as the real ones do: owners, start keys, gaps.
//!
//! Everything that the orchestrator promises of its journal is checked here, where it becomes true.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use saga_core::{
    Event, Op, Partition, Record, SagaId, SagaState, Status, Timestamp, apply, command::addressee,
};
use saga_dsl::plan::{Plan, StepIx};
use saga_engine::{
    definitions::Definitions,
    store::{
        Claim, CommitError,
        record::{
            AuditRow, Batch, BreakerRow, Face, Fence, JournalRow, SagaRow, StartConflict, StartRow,
        },
        tenure::Tenure,
    },
};

use super::{
    checks,
    guards::{self, Ledger},
    heard::Heard,
    rules::{Habit, Kept},
    story::{Violation, ensure},
    transitions::{self, Transition},
};

pub const PARTITIONS: u16 = 2;

#[derive(Clone, Default)]
pub struct Vault {
    owners: Vec<Fence>,
    pub sagas: BTreeMap<SagaId, Stored>,
    keys: BTreeMap<(String, String), SagaId>,
    pub breakers: BTreeMap<(String, String), BreakerRow>,
    last_commit_no: u64,
    last_commit_at: i64,
}

/// A saga in the store.
#[derive(Clone)]
pub struct Stored {
    pub row: SagaRow,
    pub plan: Arc<Plan>,
    pub input_hash: [u8; 32],
    pub journal: Vec<JournalRow>,
    /// The fold of the journal.
    pub state: SagaState,
    /// Every command that was ever decided: step, round, operation, attempt.
    pub decided: BTreeSet<(u16, u32, Op, u32)>,
    /// Acts of operators, cancels among them.
    pub acts: u64,
    /// Steps whose undo got another payload.
    pub edited: BTreeSet<u16>,
    /// An operator's word stands in it where a proof was not to be had.
    pub by_word: bool,
    /// Where a promise was broken, and no operator has acknowledged it.
    pub contradicted: BTreeSet<Option<StepIx>>,
}

/// Why a batch is not written: because the store says so, or because a promise is broken.
pub enum Refused {
    Error(CommitError),
    Broken(Violation),
}

impl From<Violation> for Refused {
    fn from(violation: Violation) -> Self {
        Self::Broken(violation)
    }
}

/// What a commit is checked with.
pub struct Witness<'a> {
    pub definitions: &'a Definitions,
    pub heard: &'a Heard,
    pub kept: Kept,
    /// Who commits.
    pub incarnation: usize,
    pub guards: &'a mut Ledger,
    /// Seen transitions, where they are recorded.
    pub transitions: Option<&'a mut BTreeSet<Transition>>,
}

impl Vault {
    pub fn claim(&mut self, token: u128) -> Claim {
        if self.owners.is_empty() {
            let unowned = |number| Fence {
                partition: Partition(number),
                epoch: 0,
                token: 0,
            };
            self.owners = (0..PARTITIONS).map(unowned).collect();
        }
        for owner in &mut self.owners {
            (owner.epoch, owner.token) = (owner.epoch + 1, token);
        }
        Claim {
            fences: self.owners.clone(),
            last_commit_no: self.last_commit_no,
            last_commit_at: Timestamp(self.last_commit_at),
            tenure: Tenure::unlimited(),
        }
    }

    /// Writes a batch, or says why not.
    pub fn commit(&mut self, batch: &Batch, witness: &mut Witness<'_>) -> Result<(), Refused> {
        self.check_owners(batch, witness.kept)?;
        let conflicts = self.conflicts(&batch.starts, witness.kept);
        if !conflicts.is_empty() {
            return Err(Refused::Error(CommitError::StartsExist(conflicts)));
        }
        let mut next: BTreeMap<SagaId, u64> = BTreeMap::new();
        for row in &batch.journal {
            let last = self
                .sagas
                .get(&row.saga_id)
                .map_or(0, |saga| saga.journal.len() as u64);
            let next = next.entry(row.saga_id).or_insert(last + 1);
            // The second fence; who passed the first one never meets it.
            let follows = row.seq == *next || !witness.kept.keep(Habit::JournalFence);
            ensure!(
                follows,
                "I14",
                "row {} of saga {} follows {}",
                row.seq,
                row.saga_id,
                *next - 1
            );
            *next += 1;
        }
        for start in &batch.starts {
            self.begin(start, witness.definitions)?;
        }
        for row in &batch.journal {
            self.append(row, &batch.audit, witness)?;
        }
        for change in &batch.changes {
            let saga = self.sagas.get_mut(&change.id);
            ensure!(
                saga.is_some(),
                "I14",
                "a change of the unknown saga {}",
                change.id
            );
            if let Some(saga) = saga {
                saga.row.face = change.face;
            }
        }
        for id in batch
            .journal
            .iter()
            .map(|row| row.saga_id)
            .chain(batch.changes.iter().map(|c| c.id))
        {
            let Some(saga) = self.sagas.get(&id) else {
                continue;
            };
            let told = face(&saga.state);
            ensure!(
                saga.row.face == told,
                "I14",
                "lists show {:?} and the journal {told:?}",
                saga.row.face
            );
        }
        self.last_commit_no = self.last_commit_no.max(batch.commit_no);
        let at = batch.journal.iter().map(|row| row.at.0).max().unwrap_or(0);
        self.last_commit_at = self.last_commit_at.max(at);
        Ok(())
    }

    fn check_owners(&self, batch: &Batch, kept: Kept) -> Result<(), Refused> {
        let stale = |fence: &&Fence| self.owners.get(usize::from(fence.partition.0)) != Some(fence);
        let lost: Vec<Partition> = batch
            .fence
            .iter()
            .filter(stale)
            .map(|fence| fence.partition)
            .collect();
        if !lost.is_empty() && kept.keep(Habit::OwnerFence) {
            return Err(Refused::Error(CommitError::Fenced(lost)));
        }
        ensure!(lost.is_empty(), "I23", "a stale owner of {lost:?} commits");
        let touched = batch
            .journal
            .iter()
            .map(|row| row.saga_id)
            .chain(batch.changes.iter().map(|c| c.id));
        for id in touched {
            let fenced = batch
                .fence
                .iter()
                .any(|fence| fence.partition == id.partition());
            ensure!(
                fenced,
                "I23",
                "saga {id} is written without proof of ownership"
            );
        }
        Ok(())
    }

    /// In the order of the batch: a key that is taken, then an id that is taken.
    fn conflicts(&self, starts: &[StartRow], kept: Kept) -> Vec<StartConflict> {
        let mut conflicts = Vec::new();
        for (index, start) in starts.iter().enumerate() {
            let earlier = || {
                starts[..index]
                    .iter()
                    .filter(|other| other.row.id != start.row.id)
            };
            let by_key = start
                .row
                .key
                .as_ref()
                .filter(|_| kept.keep(Habit::StartKeys))
                .and_then(|key| {
                    let name = (start.row.name.clone(), key.clone());
                    let known = self.keys.get(&name).copied();
                    known.or_else(|| {
                        earlier()
                            .find(|o| o.row.key == start.row.key && o.row.name == name.0)
                            .map(|o| o.row.id)
                    })
                });
            let by_id = self
                .sagas
                .contains_key(&start.row.id)
                .then_some(start.row.id);
            let Some(existing) = by_key.or(by_id) else {
                continue;
            };
            let (hash, version, status) = match self.sagas.get(&existing) {
                Some(saga) => (saga.input_hash, saga.row.version, saga.row.face.status),
                None => (start.input_hash, start.row.version, Status::Running),
            };
            let definition = (start.row.name.clone(), version);
            let by_key = by_key.is_some();
            conflicts.push(StartConflict {
                index,
                existing,
                by_key,
                input_hash: hash,
                definition,
                status,
            });
        }
        conflicts
    }

    fn begin(&mut self, start: &StartRow, definitions: &Definitions) -> Result<(), Violation> {
        let row = start.row.clone();
        let id = row.id;
        if let Some(key) = &row.key {
            let taken = self.keys.insert((row.name.clone(), key.clone()), id);
            ensure!(
                taken.is_none(),
                "I17",
                "the key {key} names {taken:?} and {id}"
            );
        }
        let plan = definitions.get(&row.name, row.version);
        ensure!(
            plan.is_some(),
            "I14",
            "a start of the unknown definition {}",
            row.name
        );
        if let Some(plan) = plan {
            let stored = Stored {
                row,
                plan,
                input_hash: start.input_hash,
                journal: Vec::new(),
                state: SagaState::unborn(id),
                decided: BTreeSet::new(),
                acts: 0,
                by_word: false,
                contradicted: BTreeSet::new(),
                edited: BTreeSet::new(),
            };
            let before = self.sagas.insert(id, stored);
            ensure!(before.is_none(), "I17", "saga {id} begins twice");
        }
        Ok(())
    }

    fn append(
        &mut self,
        row: &JournalRow,
        audit: &[AuditRow],
        witness: &mut Witness<'_>,
    ) -> Result<(), Violation> {
        let record: Result<Record, _> = serde_json::from_slice(&row.body);
        ensure!(record.is_ok(), "I14", "a row cannot be read: {record:?}");
        let (Ok(record), Some(saga)) = (record, self.sagas.get_mut(&row.saga_id)) else {
            return Err(Violation {
                check: "I14",
                seen: format!("a row of the unknown {}", row.saga_id),
            });
        };
        let before = saga.state.clone();
        let mut after = before.clone();
        for event in &record.events {
            witness.heard.stands_behind(row.saga_id, event)?;
            if let Event::InputEdited(edited) = event
                && edited.undo
            {
                saga.edited.insert(edited.step.0);
            }
            let next = match &mut witness.transitions {
                None => apply(after, event, row.at),
                Some(seen) => {
                    let next = apply(after.clone(), event, row.at);
                    seen.extend(transitions::between(&after, &next));
                    next
                }
            };
            after = next;
            saga.decided.extend(dispatched(event, &after));
        }
        after.seq += 1;
        checks::decision(&saga.plan, &before, &record.events, &after)?;
        checks::advice(&saga.plan, &after, row.at)?;
        saga.by_word |= record.events.iter().any(checks::is_by_word);
        checks::broken_promises(&mut saga.contradicted, &record.events, &after)?;
        // I28: an act and what follows from it are written together, or not at all.
        let acts = record.events.iter().filter(|event| is_act(event)).count();
        let listed = audit
            .iter()
            .filter(|act| act.saga_id == row.saga_id && act.seq == row.seq)
            .count();
        ensure!(
            acts == listed,
            "I28",
            "{acts} acts in row {} of {}, {listed} on the list",
            row.seq,
            row.saga_id
        );
        saga.acts += acts as u64;
        let told = (&before, &record.events[..], &after);
        witness
            .guards
            .note((witness.incarnation, row.at), &saga.plan, told);
        saga.state = after;
        saga.journal.push(row.clone());
        self.few_are_outstanding(witness.guards)
    }
}

impl Vault {
    /// I27: of all sagas together, never more than `max_in_flight`.
    fn few_are_outstanding(&self, guards: &Ledger) -> Result<(), Violation> {
        for (name, most) in guards.in_flight_max() {
            let mut count = 0;
            for saga in self.sagas.values() {
                count += guards::outstanding(&saga.state)
                    .iter()
                    .filter(|(_, step, op, ..)| {
                        addressee(&saga.plan, StepIx(*step), *op).is_some_and(|(to, _)| to == name)
                    })
                    .count();
            }
            ensure!(
                count <= most as usize,
                "I27",
                "{count} commands are outstanding at {name}, {most} may be"
            );
        }
        Ok(())
    }
}

/// The command that an event decides on.
fn dispatched(event: &Event, after: &SagaState) -> Option<(u16, u32, Op, u32)> {
    let (step, op, attempt) = match event {
        Event::StepDispatched(e) => (e.step, Op::Action, e.attempt),
        Event::UndoDispatched(e) => (e.step, Op::Compensation, e.attempt),
        Event::PivotAsked(e) => (e.step, if e.seal { Op::Seal } else { Op::Query }, e.ask),
        _ => return None,
    };
    Some((step.0, after.steps.get(step.at())?.round, op, attempt))
}

/// What an operator did, as the list of acts tells it.
fn is_act(event: &Event) -> bool {
    matches!(event, Event::Intervened(_) | Event::CancelRequested { .. })
}

fn face(state: &SagaState) -> Face {
    let status = state.status;
    let (incident, exceptions) = (!state.incidents.is_empty(), state.exceptions);
    Face {
        status,
        incident,
        exceptions,
        ended_at: state.ended_at,
    }
}
