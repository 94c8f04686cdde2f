//! Writes what becomes of breakers, in transactions of its own and off the lane's way.
//!
//! A breaker opens in the lane's memory at once; that it did is written a little later, so that a process that takes over
//! finds it open. Nothing waits for that but the operator who asked for it.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::{
    breaker::Face,
    store::{
        self, Lanes,
        record::{AuditRow, BreakerRow},
    },
};

/// Between two tries at a store that is not available.
const PAUSE: Duration = Duration::from_millis(500);

/// What became of a breaker.
pub(super) struct Change {
    row: BreakerRow,
    audit: Option<AuditRow>,
    written: Option<oneshot::Sender<()>>,
}

impl Change {
    pub(super) fn of(participant: &str, action: &str, face: &Face) -> Self {
        let (participant, action) = (participant.to_owned(), action.to_owned());
        Self {
            row: BreakerRow {
                participant,
                action,
                face: face.clone(),
            },
            audit: None,
            written: None,
        }
    }

    /// The same as what an operator did, who is told when it is written.
    pub(super) fn by_operator(self, audit: AuditRow, written: oneshot::Sender<()>) -> Self {
        Self {
            audit: Some(audit),
            written: Some(written),
            ..self
        }
    }
}

/// Writes until the lane is gone.
pub(super) async fn write(store: Arc<dyn Lanes>, mut changes: mpsc::UnboundedReceiver<Change>) {
    while let Some(Change {
        row,
        audit,
        written,
    }) = changes.recv().await
    {
        let mut told = false;
        loop {
            match store.put_breaker(row.clone(), audit.clone()).await {
                Ok(()) => break,
                Err(store::Error::Closed) => return,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(%error, "what became of a breaker is not written yet; trying again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        if let Some(written) = written {
            // Whoever asked may have gone.
            written.send(()).ok();
        }
    }
}
