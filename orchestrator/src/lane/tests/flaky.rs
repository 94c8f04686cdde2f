//! A store whose commits fail as told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use saga_core::SagaId;
use tokio::sync::Notify;

use crate::store::{
    Claim, CommitError, DefinitionCount, Error, Store,
    record::{
        AuditEntry, AuditRow, Batch, BreakerRow, DefinitionRow, JournalRow, ListFilter, Page,
        ParticipantRow, RowStatus, SagaRow,
    },
    sqlite::SqliteStore,
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

/// A real store with a list of fates; when the list is used up, all is good.
pub(super) struct FlakyStore {
    pub(super) inner: SqliteStore,
    pub(super) fates: Mutex<VecDeque<Fate>>,
    pub(super) gate: Arc<Notify>,
    /// Refuses every row whose body holds this text.
    pub(super) poison: Option<&'static str>,
}

impl Store for FlakyStore {
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

    fn claim(&self, token: u128) -> BoxFuture<'_, Result<Claim, Error>> {
        self.inner.claim(token)
    }
    fn open_sagas(
        &self,
        after: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaRow>, Error>> {
        self.inner.open_sagas(after, limit)
    }
    fn saga(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaRow>, Error>> {
        self.inner.saga(id)
    }
    fn journal(
        &self,
        id: SagaId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<JournalRow>, Error>> {
        self.inner.journal(id, after, limit)
    }
    fn journals(&self, ids: Vec<SagaId>) -> BoxFuture<'_, Result<Vec<Vec<JournalRow>>, Error>> {
        self.inner.journals(ids)
    }
    fn find_by_suffix(
        &self,
        suffix: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SagaId>, Error>> {
        self.inner.find_by_suffix(suffix, limit)
    }
    fn find_by_key(
        &self,
        name: String,
        key: String,
    ) -> BoxFuture<'_, Result<Option<SagaId>, Error>> {
        self.inner.find_by_key(name, key)
    }
    fn list(
        &self,
        filter: ListFilter,
        before: Option<SagaId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page, Error>> {
        self.inner.list(filter, before, limit)
    }
    fn audit(
        &self,
        saga: Option<SagaId>,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditEntry>, Error>> {
        self.inner.audit(saga, before, limit)
    }
    fn counts(&self) -> BoxFuture<'_, Result<Vec<(RowStatus, u64)>, Error>> {
        self.inner.counts()
    }
    fn open_per_definition(&self) -> BoxFuture<'_, Result<Vec<DefinitionCount>, Error>> {
        self.inner.open_per_definition()
    }
    fn put_definitions(&self, rows: Vec<DefinitionRow>) -> BoxFuture<'_, Result<Vec<bool>, Error>> {
        self.inner.put_definitions(rows)
    }
    fn definitions(&self) -> BoxFuture<'_, Result<Vec<DefinitionRow>, Error>> {
        self.inner.definitions()
    }
    fn put_participant(&self, row: ParticipantRow) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.put_participant(row)
    }
    fn put_audit(&self, row: AuditRow) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.put_audit(row)
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
    fn participants(&self) -> BoxFuture<'_, Result<Vec<ParticipantRow>, Error>> {
        self.inner.participants()
    }
    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.close()
    }
}
