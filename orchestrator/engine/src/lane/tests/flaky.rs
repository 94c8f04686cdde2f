//! A store whose commits fail as told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use saga_core::SagaId;
use tokio::sync::Notify;

use super::Disk;
use crate::store::{
    Claim, CommitError, Error, Journals, Lanes,
    record::{AuditRow, Batch, BreakerRow, JournalRow, SagaRow},
};

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written.
    Good,
    /// Nothing is written, a retry may do better.
    Unavailable,
    /// It is written, and nobody is told.
    WrittenButUnknown,
    /// Nothing is written, and nobody is told.
    LostAndUnknown,
    /// It is written when [`FlakyStore::gate`] is notified, and not answered before.
    Held,
}

/// A store with a list of fates; when the list is used up, all is good.
pub(super) struct FlakyStore {
    pub(super) inner: Disk,
    pub(super) fates: Mutex<VecDeque<Fate>>,
    pub(super) gate: Arc<Notify>,
    /// Refuses every row whose body holds this text.
    pub(super) poison: Option<&'static str>,
    /// The journal of this saga cannot be decoded.
    pub(super) damaged: Option<SagaId>,
}

impl FlakyStore {
    /// A store that does nothing of the kind yet.
    pub(super) fn on(disk: &Disk) -> Self {
        Self {
            inner: Arc::clone(disk),
            fates: Mutex::default(),
            gate: Arc::default(),
            poison: None,
            damaged: None,
        }
    }
}

impl Journals for FlakyStore {
    fn journal(
        &self,
        id: SagaId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        self.inner.journal(id, after, limit)
    }

    fn journals(&self, ids: Vec<SagaId>) -> BoxFuture<'_, Result<Vec<Vec<JournalRow>>, Error>> {
        Box::pin(async move {
            let mut journals = self.inner.journals(ids).await?;
            for row in journals.iter_mut().flatten() {
                if self.damaged == Some(row.saga_id) {
                    row.body = b"{".to_vec();
                }
            }
            Ok(journals)
        })
    }
}

impl Lanes for FlakyStore {
    fn claim(&self, token: u128) -> BoxFuture<'_, Result<Claim, Error>> {
        self.inner.claim(token)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitError>> {
        let poisoned = self.poison.is_some_and(|poison| {
            batch
                .journal
                .iter()
                .any(|row| String::from_utf8_lossy(&row.body).contains(poison))
        });
        if poisoned {
            return Box::pin(async { Err(CommitError::Data("poison".into())) });
        }
        let fate = self
            .fates
            .lock()
            .expect("not poisoned")
            .pop_front()
            .unwrap_or(Fate::Good);
        Box::pin(async move {
            match fate {
                Fate::Good => self.inner.commit(batch).await,
                Fate::Unavailable => Err(CommitError::Unavailable("told so".into())),
                Fate::WrittenButUnknown => {
                    self.inner.commit(batch).await?;
                    Err(CommitError::Unknown("told so".into()))
                }
                Fate::Held => {
                    self.gate.notified().await;
                    self.inner.commit(batch).await
                }
                Fate::LostAndUnknown => Err(CommitError::Unknown("told so".into())),
            }
        })
    }

    fn open_sagas(
        &self,
        after: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaRow>, Error>> {
        self.inner.open_sagas(after, limit)
    }

    fn put_breaker(
        &self,
        row: BreakerRow,
        audit: Option<AuditRow>,
    ) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.put_breaker(row, audit)
    }

    fn breakers(&self) -> BoxFuture<'_, Result<Vec<BreakerRow>, Error>> {
        self.inner.breakers()
    }
}
