//! What happens when a batch is not committed: everything goes back to where it was, and is decided again.

use std::time::Duration;

use saga_core::{ErrorBody, SagaId, rules::Rule};

use super::{
    answer::Why,
    batch::{Job, Pending},
    decider::answer_start,
    intake::Started,
    repeat::started_before,
    starting::Owner,
    worker::Worker,
};
use crate::store::{
    CommitError,
    record::StartConflict,
    trouble::{Cause, Kind},
};

/// Waits after a store that is not available double up to this many milliseconds.
const PAUSE_MS_MAX: u64 = 2_000;

impl Worker {
    pub(super) async fn not_written(&mut self, batch: Pending, error: CommitError) {
        match error {
            CommitError::StartsExist(conflicts) => {
                self.untroubled();
                self.starts_exist(batch, conflicts).await;
            }
            CommitError::Unavailable(cause) => {
                self.troubled(cause);
                self.take_back(batch);
                self.recount();
                self.pause();
            }
            CommitError::Data(reason) => {
                self.untroubled();
                self.bisect(batch, &reason);
            }
            CommitError::Unknown(cause) => {
                tracing::error!(
                    reason = cause.words,
                    "it is unknown whether a commit was written; reading back what is there"
                );
                self.troubled(cause);
                self.take_back(batch);
                if self.settings.rules.keep(Rule::ReloadAfterUnknown) {
                    self.reload().await;
                } else {
                    self.recount();
                }
                self.pause();
            }
            CommitError::Fenced(partitions) => {
                tracing::error!(
                    partitions = partitions.len(),
                    "a commit was refused: another process owns the store"
                );
                self.troubled(Cause::new(Kind::Fenced, "another process owns the store"));
                self.tenure.end("another process took the store over");
            }
        }
    }

    /// Puts states and inputs back as they were before `batch` and before the batch that was decided on top of it.
    pub(super) fn take_back(&mut self, batch: Pending) {
        let later = std::mem::take(&mut self.pending);
        // The later batch first: what it kept is the state after the earlier one.
        let (later, earlier) = (self.restore(later), self.restore(batch));
        for job in later.into_iter().rev().chain(earlier.into_iter().rev()) {
            if job.is_due() {
                self.due_waits(job.id());
            }
            self.queue.push_front(job);
        }
    }

    /// The saga's `Due` is in the queue again: restoring its state has set a timer, which would queue a second one.
    fn due_waits(&mut self, id: SagaId) {
        if let Some(slot) = self.sagas.get_mut(&id) {
            slot.due_waits = true;
            self.timers.disarm(id, &mut slot.armed);
        }
    }

    fn restore(&mut self, batch: Pending) -> Vec<Job> {
        if !self.settings.rules.keep(Rule::RestorePreImages) {
            return batch.jobs;
        }
        for (id, before) in batch.before {
            match before {
                Some(state) => {
                    if let Some(slot) = self.sagas.get_mut(&id) {
                        slot.state = state;
                    }
                    self.rearm(id);
                }
                None => {
                    if let Some(mut slot) = self.sagas.remove(&id) {
                        self.timers.disarm(id, &mut slot.armed);
                        self.guards.doubt(id, slot.tickets);
                    }
                }
            }
        }
        batch.jobs
    }

    async fn starts_exist(&mut self, mut batch: Pending, conflicts: Vec<StartConflict>) {
        let mut refused: Vec<(usize, StartConflict)> = conflicts
            .into_iter()
            .filter_map(|conflict| Some((*batch.start_jobs.get(conflict.index)?, conflict)))
            .collect();
        // From the back, so that the positions before stay what they are.
        refused.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, conflict) in refused {
            if let Job::Start(starter) = batch.jobs.remove(at) {
                let same = match started_before(&*self.store, &starter.job, &conflict).await {
                    Ok(same) => Some(same),
                    Err(error) => {
                        tracing::warn!(saga_id = %conflict.existing, %error, "the input of an earlier start cannot be read");
                        None
                    }
                };
                let by_key = conflict.by_key;
                let owner = Owner::earlier(conflict, &starter.job, same);
                let (key, id) = (
                    by_key.then_some(&owner),
                    (owner.id == starter.job.id).then_some(&owner),
                );
                self.starting.finish(&starter, key, id, &mut self.queue);
                let started = same.map_or(Started::Unavailable, |same| owner.started(same));
                answer_start(starter.job, started);
            }
        }
        // No conflict is left among these. They go to the store alone, for a stream of starts with names that are taken
        // would make each batch fail again.
        self.proven = Some(batch.jobs.len());
        self.take_back(batch);
        self.recount();
    }

    /// Finds the row that the store refuses by trying ever smaller batches; its saga alone is in trouble.
    fn bisect(&mut self, mut batch: Pending, reason: &str) {
        let count = batch.jobs.len();
        if count > 1 {
            self.batch_inputs = (count / 2).max(1);
            self.take_back(batch);
            self.recount();
            return;
        }
        let culprit = batch.jobs.pop();
        self.take_back(batch);
        self.recount();
        match culprit {
            Some(Job::Start(starter)) => {
                tracing::error!(saga_id = %starter.job.id, reason, "the store refuses a start");
                self.starting.refuse(&starter, &mut self.queue);
                answer_start(starter.job, Started::Unavailable);
            }
            Some(Job::Input { id, input, answer }) => {
                super::decider::refuse(answer, Why::Unavailable);
                if matches!(input, saga_core::Input::Trouble(_)) {
                    tracing::error!(saga_id = %id, reason, "the store refuses even the incident; the saga is set aside");
                    self.set_aside(id, ErrorBody::new("unstorable", reason));
                } else {
                    self.trouble(
                        id,
                        ErrorBody::new("unstorable", format!("the store refuses a row: {reason}")),
                    );
                }
            }
            None => {}
        }
    }

    /// Leaves a saga alone until the next start of the process.
    pub(super) fn set_aside(&mut self, id: SagaId, error: ErrorBody) {
        if let Some(mut slot) = self.sagas.remove(&id) {
            self.timers.disarm(id, &mut slot.armed);
        }
        self.broken.insert(id, error);
        self.recount();
    }

    fn pause(&mut self) {
        self.count_waiting();
        self.pause_ms = (self.pause_ms * 2).clamp(50, PAUSE_MS_MAX);
        self.pause = Some(tokio::time::Instant::now() + Duration::from_millis(self.pause_ms));
    }
}
