//! The simulated store: the real trait around a [`Vault`](super::vault::Vault), with delays, faults and a process that
//! may die before, during and after each call.

use std::time::Duration;

use futures_util::future::BoxFuture;
use saga_core::SagaId;
use saga_engine::store::{
    Claim, CommitError, Error, Journals, Lanes,
    record::{AuditRow, Batch, BreakerRow, JournalRow, SagaRow},
};
use tokio::time::sleep;

use super::world::Shared;

/// One incarnation's way to the store.
pub struct Handle {
    pub shared: Shared,
    pub incarnation: usize,
}

/// What becomes of a commit.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    Good,
    /// It is not written, a retry may do better.
    Unavailable,
    /// It is written, and nobody is told.
    WrittenButUnknown,
    /// It is not written, and nobody is told.
    LostAndUnknown,
}

/// A commit on its way: what becomes of it, and how long that takes before and after the writing.
pub struct Course {
    pub fate: Fate,
    pub before_ms: u64,
    pub after_ms: u64,
}

/// Whoever is dead waits for ever; its task is dropped soon.
async fn dead<T>() -> T {
    std::future::pending().await
}

async fn pause(ms: u64) {
    if ms > 0 {
        sleep(Duration::from_millis(ms)).await;
    }
}

impl Handle {
    /// True while the incarnation lives; each call may be where it dies.
    fn lives(&self) -> bool {
        self.shared.lock().boundary(self.incarnation)
    }

    async fn read<T: Send>(
        &self,
        read: impl FnOnce(&super::vault::Vault) -> T + Send,
    ) -> Result<T, Error> {
        if !self.lives() {
            return dead().await;
        }
        let (wait_ms, works) = self.shared.lock().read_course();
        pause(wait_ms).await;
        if !self.lives() {
            return dead().await;
        }
        if !works {
            return Err(Error::Unavailable("told so".into()));
        }
        Ok(read(&self.shared.lock().vault))
    }
}

impl Journals for Handle {
    fn journal(
        &self,
        id: SagaId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        Box::pin(self.read(move |vault| {
            let journal = vault.sagas.get(&id).map(|saga| saga.journal.iter());
            journal
                .into_iter()
                .flatten()
                .filter(|row| row.seq > after)
                .take(limit)
                .cloned()
                .collect()
        }))
    }

    fn journals(&self, ids: Vec<SagaId>) -> BoxFuture<'_, Result<Vec<Vec<JournalRow>>, Error>> {
        Box::pin(self.read(move |vault| {
            let journal = |id| {
                vault
                    .sagas
                    .get(id)
                    .map(|saga| saga.journal.clone())
                    .unwrap_or_default()
            };
            ids.iter().map(journal).collect()
        }))
    }
}

impl Lanes for Handle {
    fn claim(&self, token: u128) -> BoxFuture<'_, Result<Claim, Error>> {
        Box::pin(async move {
            self.read(|_| ()).await?;
            Ok(self.shared.lock().vault.claim(token))
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            if !self.lives() {
                return dead().await;
            }
            let (number, course) = {
                let mut world = self.shared.lock();
                (
                    world.guards.asks(self.incarnation, &batch),
                    world.course(&batch),
                )
            };
            pause(course.before_ms).await;
            if !self.shared.lock().is_alive(self.incarnation) {
                return dead().await;
            }
            let written = match course.fate {
                Fate::Good | Fate::WrittenButUnknown => {
                    let written = self.shared.lock().commit(self.incarnation, &batch);
                    self.shared.wake();
                    written
                }
                Fate::Unavailable => Err(CommitError::Unavailable("told so".into())),
                Fate::LostAndUnknown => Err(CommitError::Unknown("told so".into())),
            };
            pause(course.after_ms).await;
            if !self.lives() {
                return dead().await;
            }
            let told = match (course.fate, written) {
                (Fate::WrittenButUnknown, Ok(())) => Err(CommitError::Unknown("told so".into())),
                (_, written) => written,
            };
            let mut world = self.shared.lock();
            let now = world.now();
            world.guards.is_told(number, told.is_ok(), now);
            told
        })
    }

    fn open_sagas(
        &self,
        after: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaRow>, Error>> {
        Box::pin(self.read(move |vault| {
            let open = vault
                .sagas
                .values()
                .filter(|saga| saga.row.face.status.is_open());
            let next = open.filter(|saga| after.is_none_or(|after| saga.row.id > after));
            next.take(limit).map(|saga| saga.row.clone()).collect()
        }))
    }

    fn put_breaker(
        &self,
        row: BreakerRow,
        audit: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.read(|_| ()).await?;
            self.shared.lock().put_breaker(self.incarnation, row, audit);
            Ok(())
        })
    }

    fn breakers(&self) -> BoxFuture<'_, Result<Vec<BreakerRow>, Error>> {
        Box::pin(self.read(|vault| vault.breakers.values().cloned().collect()))
    }
}
