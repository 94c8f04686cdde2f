//! Reads for people and programs that look: bounded, so that they never take the readers that a lane needs.
//!
//! A few reads run at once, a bounded number waits for a limited time, and the rest is refused. A read whose caller has
//! gone still counts until the store is done with it: its connection is busy for as long.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use saga_core::{SagaId, Status};
use tokio::{sync::Semaphore, time::timeout};

use saga_engine::store::{
    DefinitionCount, Error, READS_AT_ONCE, Store,
    record::{AuditEntry, AuditRow, DefinitionRow, JournalRow, ListFilter, Page, SagaRow},
};

/// Reads for screens that wait for their turn; further ones are refused.
pub const READS_WAITING_MAX: usize = 128;
/// How long a read for a screen waits for its turn before it is refused.
pub const READ_WAITS: Duration = Duration::from_secs(4);

/// A store as screens see it. Clones share its bounds.
#[derive(Clone)]
pub struct Screens {
    store: Arc<dyn Store>,
    /// One for each read that runs or waits.
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Screens {
    /// The store behind bounds.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let places = Arc::new(Semaphore::new(READS_AT_ONCE + READS_WAITING_MAX));
        Self {
            store,
            places,
            turns: Arc::new(Semaphore::new(READS_AT_ONCE)),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(Arc<dyn Store>) -> BoxFuture<'static, Result<T, Error>>,
    ) -> Result<T, Error> {
        let busy = || Error::Busy {
            waiting: READS_WAITING_MAX - self.places.available_permits().min(READS_WAITING_MAX),
        };
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| busy())?;
        let turn = match timeout(READ_WAITS, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(turn) => turn.map_err(|_| Error::Closed)?,
            Err(_) => return Err(busy()),
        };
        let reading = read(Arc::clone(&self.store));
        // A task of its own, so that a caller who leaves does not give the turn away before the store is done.
        let task = tokio::spawn(async move {
            let _held = (place, turn);
            reading.await
        });
        task.await
            .unwrap_or_else(|error| Err(Error::Unavailable(error.to_string().into())))
    }

    /// As [`Reading::saga`](saga_engine::store::Reading::saga).
    ///
    /// # Errors
    /// Those of the store, and [`Error::Busy`]; here and below.
    pub async fn saga(&self, id: SagaId) -> Result<Option<SagaRow>, Error> {
        self.read(move |store| Box::pin(async move { store.saga(id).await }))
            .await
    }

    /// As [`Journals::journal`](saga_engine::store::Journals::journal).
    pub async fn journal(
        &self,
        id: SagaId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalRow>, Error> {
        self.read(move |store| Box::pin(async move { store.journal(id, after, limit).await }))
            .await
    }

    /// As [`Journals::journals`](saga_engine::store::Journals::journals).
    pub async fn journals(&self, ids: Vec<SagaId>) -> Result<Vec<Vec<JournalRow>>, Error> {
        self.read(move |store| Box::pin(async move { store.journals(ids).await }))
            .await
    }

    /// As [`Reading::find_by_suffix`](saga_engine::store::Reading::find_by_suffix).
    pub async fn find_by_suffix(&self, suffix: String, limit: usize) -> Result<Vec<SagaId>, Error> {
        self.read(move |store| Box::pin(async move { store.find_by_suffix(suffix, limit).await }))
            .await
    }

    /// As [`Reading::find_by_key`](saga_engine::store::Reading::find_by_key).
    pub async fn find_by_key(&self, name: String, key: String) -> Result<Option<SagaId>, Error> {
        self.read(move |store| Box::pin(async move { store.find_by_key(name, key).await }))
            .await
    }

    /// As [`Reading::list`](saga_engine::store::Reading::list).
    pub async fn list(
        &self,
        filter: ListFilter,
        before: Option<SagaId>,
        limit: usize,
    ) -> Result<Page, Error> {
        self.read(move |store| Box::pin(async move { store.list(filter, before, limit).await }))
            .await
    }

    /// As [`Reading::audit`](saga_engine::store::Reading::audit).
    pub async fn audit(
        &self,
        saga: Option<SagaId>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Error> {
        self.read(move |store| Box::pin(async move { store.audit(saga, before, limit).await }))
            .await
    }

    /// As [`Reading::counts`](saga_engine::store::Reading::counts).
    pub async fn counts(&self) -> Result<Vec<(Status, u64)>, Error> {
        self.read(move |store| Box::pin(async move { store.counts().await }))
            .await
    }

    /// As [`Reading::open_per_definition`](saga_engine::store::Reading::open_per_definition).
    pub async fn open_per_definition(&self) -> Result<Vec<DefinitionCount>, Error> {
        self.read(move |store| Box::pin(async move { store.open_per_definition().await }))
            .await
    }

    /// As [`Registers::definitions`](saga_engine::store::Registers::definitions).
    pub async fn definitions(&self) -> Result<Vec<DefinitionRow>, Error> {
        self.read(move |store| Box::pin(async move { store.definitions().await }))
            .await
    }

    /// As [`Registers::put_definitions`](saga_engine::store::Registers::put_definitions); writes are in order anyway and have no bounds here.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn put_definitions(&self, rows: Vec<DefinitionRow>) -> Result<Vec<bool>, Error> {
        self.store.put_definitions(rows).await
    }

    /// As [`Registers::put_audit`](saga_engine::store::Registers::put_audit).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn put_audit(&self, row: AuditRow) -> Result<(), Error> {
        self.store.put_audit(row).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use saga_store_sqlite::SqliteStore;

    fn screens() -> (Screens, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("saga.db")).expect("a store");
        (Screens::new(Arc::new(store)), folder)
    }

    async fn all_turns(screens: &Screens) -> tokio::sync::OwnedSemaphorePermit {
        let turns = u32::try_from(READS_AT_ONCE).expect("small");
        Arc::clone(&screens.turns)
            .acquire_many_owned(turns)
            .await
            .expect("turns")
    }

    #[tokio::test]
    async fn reads_beyond_the_queue_are_refused_at_once() {
        let (screens, _folder) = screens();
        let turns = all_turns(&screens).await;
        // Room for those that would run, too: nobody's turn comes.
        let waiting = (0..READS_AT_ONCE + READS_WAITING_MAX).map(|_| {
            let screens = screens.clone();
            tokio::spawn(async move { screens.counts().await })
        });
        let waiting: Vec<_> = waiting.collect();
        while screens.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let id = SagaId::from_u128(1);
        let refused = [
            screens.saga(id).await.err(),
            screens.journal(id, 0, 1).await.err(),
            screens.journals(vec![id]).await.err(),
            screens.find_by_suffix("abcd".to_owned(), 1).await.err(),
            screens
                .find_by_key("a".to_owned(), "b".to_owned())
                .await
                .err(),
            screens.list(ListFilter::default(), None, 1).await.err(),
            screens.audit(None, None, 1).await.err(),
            screens.counts().await.err(),
            screens.open_per_definition().await.err(),
            screens.definitions().await.err(),
        ];
        for refusal in refused {
            assert!(
                matches!(
                    refusal,
                    Some(Error::Busy {
                        waiting: READS_WAITING_MAX
                    })
                ),
                "{refusal:?}"
            );
        }
        drop(turns);
        for read in join_all(waiting).await {
            read.expect("no panic").expect("its turn came");
        }
    }
}
