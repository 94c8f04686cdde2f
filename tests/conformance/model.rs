//! The naive store: maps under one lock. Slow, small, and easy to believe; engines are compared with it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::future::{BoxFuture, FutureExt, ready};
use saga_core::{Partition, SagaId, Status, Timestamp};
use saga_engine::store::{
    Claim, CommitError, DefinitionCount, Error, Journals, Lanes, Reading, Registers, Store,
    record::{
        AuditEntry, AuditRow, Batch, BreakerRow, DefinitionRow, Fence, JournalRow, ListFilter,
        Page, ParticipantRow, SagaRow, StartConflict, StartRow,
    },
    tenure::Tenure,
};

/// A store in memory that follows the rules of [`Store`] in the most obvious way.
#[derive(Default)]
pub struct Model(Mutex<State>);

#[derive(Clone, Default)]
struct State {
    epoch: u64,
    token: Option<u128>,
    last_commit_no: u64,
    last_at: i64,
    sagas: BTreeMap<SagaId, StartRow>,
    keys: BTreeMap<(String, String), SagaId>,
    journal: BTreeMap<SagaId, Vec<JournalRow>>,
    definitions: BTreeMap<(String, u32), DefinitionRow>,
    participants: BTreeMap<String, ParticipantRow>,
    breakers: BTreeMap<(String, String), BreakerRow>,
    audit: Vec<AuditRow>,
    closed: bool,
}

const PARTITIONS: u16 = 32;

impl State {
    /// The state after the batch; the caller keeps the old one on an error.
    fn after(mut self, batch: Batch) -> Result<Self, CommitError> {
        let stale = |fence: &&Fence| {
            fence.partition.0 >= PARTITIONS
                || fence.epoch != self.epoch
                || Some(fence.token) != self.token
        };
        let lost: Vec<Partition> = batch
            .fence
            .iter()
            .filter(stale)
            .map(|fence| fence.partition)
            .collect();
        if !lost.is_empty() {
            return Err(CommitError::Fenced(lost));
        }
        let fenced = |id: SagaId| {
            batch
                .fence
                .iter()
                .any(|fence| fence.partition == id.partition())
        };
        let ids = batch.journal.iter().map(|row| row.saga_id);
        let ids = ids.chain(batch.starts.iter().map(|start| start.row.id));
        let ids = ids.chain(batch.changes.iter().map(|change| change.id));
        if !ids
            .chain(batch.audit.iter().map(|row| row.saga_id))
            .all(fenced)
        {
            return Err(CommitError::Data("outside of the fence".to_owned()));
        }
        let mut conflicts = Vec::new();
        for (index, start) in batch.starts.into_iter().enumerate() {
            conflicts.extend(self.start(index, start));
        }
        if !conflicts.is_empty() {
            return Err(CommitError::StartsExist(conflicts));
        }
        for change in batch.changes {
            let unknown = || CommitError::Data(format!("no saga {}", change.id));
            self.sagas.get_mut(&change.id).ok_or_else(unknown)?.row.face = change.face;
        }
        let mut rows = batch.journal;
        rows.sort_by_key(|row| row.seq);
        for row in rows {
            self.last_at = self.last_at.max(row.at.0);
            let history = self.journal.entry(row.saga_id).or_default();
            if row.seq != history.len() as u64 + 1 {
                return Err(CommitError::Data(format!(
                    "saga {} seq {}",
                    row.saga_id, row.seq
                )));
            }
            history.push(row);
        }
        self.audit.extend(batch.audit);
        self.last_commit_no = self.last_commit_no.max(batch.commit_no);
        Ok(self)
    }

    fn start(&mut self, index: usize, start: StartRow) -> Option<StartConflict> {
        let key = start
            .row
            .key
            .clone()
            .map(|key| (start.row.name.clone(), key));
        let holder = key.as_ref().and_then(|key| self.keys.get(key)).copied();
        if let Some(first) = self.sagas.get(&holder.unwrap_or(start.row.id)) {
            return Some(StartConflict {
                index,
                existing: first.row.id,
                by_key: holder.is_some(),
                input_hash: first.input_hash,
                definition: (first.row.name.clone(), first.row.version),
                status: first.row.face.status,
            });
        }
        self.keys.extend(key.map(|key| (key, start.row.id)));
        self.sagas.insert(start.row.id, start);
        None
    }

    fn rows(&self) -> impl DoubleEndedIterator<Item = &SagaRow> {
        self.sagas.values().map(|start| &start.row)
    }
}

fn shown(row: &SagaRow, filter: &ListFilter) -> bool {
    (filter.statuses.is_empty() || filter.statuses.contains(&row.face.status))
        && filter.name.as_ref().is_none_or(|name| *name == row.name)
        && filter
            .labels
            .iter()
            .all(|(key, value)| row.labels.get(key) == Some(value))
        && (!filter.incident_only || row.face.incident)
        && filter
            .started_after
            .is_none_or(|after| row.started_at >= after)
        && filter
            .started_before
            .is_none_or(|before| row.started_at < before)
}

impl Model {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> T,
    ) -> BoxFuture<'_, Result<T, Error>> {
        self.attempt(|state| Ok(work(state)))
    }

    fn attempt<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> BoxFuture<'_, Result<T, Error>> {
        let mut state = self.state();
        ready(if state.closed {
            Err(Error::Closed)
        } else {
            work(&mut state)
        })
        .boxed()
    }
}

impl Journals for Model {
    fn journal(
        &self,
        id: SagaId,
        after_seq: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        self.with(|state| {
            let rows = state.journal.get(&id).into_iter().flatten();
            rows.filter(|row| row.seq > after_seq)
                .take(limit)
                .cloned()
                .collect()
        })
    }

    fn journals(&self, ids: Vec<SagaId>) -> BoxFuture<'_, Result<Vec<Vec<JournalRow>>, Error>> {
        self.with(|state| {
            ids.iter()
                .map(|id| state.journal.get(id).cloned().unwrap_or_default())
                .collect()
        })
    }
}

impl Lanes for Model {
    fn claim(&self, token: u128) -> BoxFuture<'_, Result<Claim, Error>> {
        self.with(|state| {
            state.epoch += 1;
            state.token = Some(token);
            let epoch = state.epoch;
            let fence = |number| Fence {
                partition: Partition(number),
                epoch,
                token,
            };
            Claim {
                fences: (0..PARTITIONS).map(fence).collect(),
                last_commit_no: state.last_commit_no,
                last_commit_at: Timestamp(state.last_at),
                tenure: Tenure::unlimited(),
            }
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitError>> {
        let mut state = self.state();
        let answer = if state.closed {
            Err(CommitError::Unavailable("closed".into()))
        } else {
            state.clone().after(batch).map(|next| *state = next)
        };
        ready(answer).boxed()
    }

    fn open_sagas(
        &self,
        after: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaRow>, Error>> {
        self.with(|state| {
            let open = state
                .rows()
                .filter(|row| row.face.status.is_open() && after.is_none_or(|id| row.id > id));
            open.take(limit).cloned().collect()
        })
    }

    fn put_breaker(
        &self,
        row: BreakerRow,
        audit: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<(), Error>> {
        self.with(|state| {
            let place = (row.participant.clone(), row.action.clone());
            let newer = state
                .breakers
                .get(&place)
                .is_none_or(|old| old.face.generation <= row.face.generation);
            if newer {
                state.breakers.insert(place, row);
            }
            state.audit.extend(audit);
        })
    }

    fn breakers(&self) -> BoxFuture<'_, Result<Vec<BreakerRow>, Error>> {
        self.with(|state| state.breakers.values().cloned().collect())
    }
}

impl Registers for Model {
    fn put_definitions(&self, rows: Vec<DefinitionRow>) -> BoxFuture<'_, Result<Vec<bool>, Error>> {
        self.attempt(|state| {
            let mut definitions = state.definitions.clone();
            let mut new = Vec::new();
            for row in rows {
                let name = (row.name.clone(), row.version);
                match definitions.get(&name) {
                    Some(known) if known.hash != row.hash => {
                        return Err(Error::DefinitionConflict {
                            name: row.name,
                            version: row.version,
                        });
                    }
                    Some(_) => new.push(false),
                    None => {
                        definitions.insert(name, row);
                        new.push(true);
                    }
                }
            }
            state.definitions = definitions;
            Ok(new)
        })
    }

    fn definitions(&self) -> BoxFuture<'_, Result<Vec<DefinitionRow>, Error>> {
        self.with(|state| state.definitions.values().cloned().collect())
    }

    fn put_participant(&self, row: ParticipantRow) -> BoxFuture<'_, Result<(), Error>> {
        self.with(|state| {
            state.participants.insert(row.name.clone(), row);
        })
    }

    fn participants(&self) -> BoxFuture<'_, Result<Vec<ParticipantRow>, Error>> {
        self.with(|state| state.participants.values().cloned().collect())
    }

    fn put_audit(&self, row: AuditRow) -> BoxFuture<'_, Result<(), Error>> {
        self.with(|state| state.audit.push(row))
    }
}

impl Reading for Model {
    fn saga(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaRow>, Error>> {
        self.with(|state| state.sagas.get(&id).map(|start| start.row.clone()))
    }

    fn find_by_suffix(
        &self,
        suffix: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaId>, Error>> {
        self.with(|state| {
            let suffix = suffix.to_ascii_uppercase();
            let fits = |row: &&SagaRow| !suffix.is_empty() && row.id.to_string().ends_with(&suffix);
            let fitting: Vec<&SagaRow> = state.rows().rev().filter(fits).collect();
            let open = fitting.iter().filter(|row| row.face.status.is_open());
            let ended = fitting.iter().filter(|row| !row.face.status.is_open());
            open.chain(ended).map(|row| row.id).take(limit).collect()
        })
    }

    fn find_by_key(
        &self,
        name: String,
        key: String,
    ) -> BoxFuture<'_, Result<Option<SagaId>, Error>> {
        self.with(|state| state.keys.get(&(name, key)).copied())
    }

    fn list(
        &self,
        filter: ListFilter,
        before: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, Error>> {
        self.with(|state| {
            let older = |row: &&SagaRow| before.is_none_or(|id| row.id < id) && shown(row, &filter);
            let fitting: Vec<&SagaRow> = state.rows().rev().filter(older).collect();
            let rows: Vec<SagaRow> = fitting.iter().take(limit).copied().cloned().collect();
            let next = rows
                .last()
                .map(|row| row.id)
                .filter(|_| fitting.len() > rows.len());
            Page { rows, next }
        })
    }

    fn audit(
        &self,
        saga: Option<SagaId>,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditEntry>, Error>> {
        self.with(|state| {
            let all = state
                .audit
                .iter()
                .cloned()
                .enumerate()
                .rev()
                .map(|(at, row)| (at as u64 + 1, row));
            all.filter(|(position, row)| {
                before.is_none_or(|before| *position < before)
                    && saga.is_none_or(|id| id == row.saga_id)
            })
            .map(|(position, row)| AuditEntry { position, row })
            .take(limit)
            .collect()
        })
    }

    fn counts(&self) -> BoxFuture<'_, Result<Vec<(Status, u64)>, Error>> {
        self.with(|state| {
            let count =
                |status| state.rows().filter(|row| row.face.status == status).count() as u64;
            Status::ALL.map(|status| (status, count(status))).to_vec()
        })
    }

    fn open_per_definition(&self) -> BoxFuture<'_, Result<Vec<DefinitionCount>, Error>> {
        self.with(|state| {
            let mut counts = BTreeMap::new();
            for row in state.rows().filter(|row| row.face.status.is_open()) {
                *counts.entry((row.name.clone(), row.version)).or_insert(0) += 1;
            }
            counts
                .into_iter()
                .map(|((name, version), n)| (name, version, n))
                .collect()
        })
    }
}

impl Store for Model {
    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.with(|state| state.closed = true)
    }
}
