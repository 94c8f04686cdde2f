//! What the lane tells of a store that takes no commits: since when, and why.
//!
//! Calls that wait for a commit, and screens, read it from [`Handle::trouble`](super::Handle::trouble); the lane itself
//! may be waiting for the store at that moment.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::worker::Worker;
use crate::store::trouble::{Cause, Kind, Trouble};

/// A commit that is not answered within this time counts as trouble until its answer comes.
const COMMIT_ANSWERS_WITHIN: Duration = Duration::from_millis(1_500);

/// The sending side, kept by the lane.
pub(super) struct Troubles {
    told: watch::Sender<Option<Trouble>>,
    /// When the commit that is being written becomes trouble.
    late: Option<Instant>,
}

impl Troubles {
    pub(super) fn new() -> Self {
        Self {
            told: watch::channel(None).0,
            late: None,
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Trouble>> {
        self.told.subscribe()
    }

    /// A commit was handed to the store.
    pub(super) fn submitted(&mut self, now: Instant) {
        self.late = Some(now + COMMIT_ANSWERS_WITHIN);
    }

    /// The store has answered, whatever it was.
    pub(super) fn answered(&mut self) {
        self.late = None;
    }

    /// The last commit failed, or is late.
    pub(super) fn is_told(&self) -> bool {
        self.told.borrow().is_some()
    }

    /// When the lane must look at the commit that is being written.
    pub(super) fn late(&self) -> Option<Instant> {
        self.late
    }
}

impl Worker {
    /// Notes why the last commit failed. Logged when the kind is new; repeated failures would fill the log.
    pub(super) fn troubled(&mut self, cause: Cause) {
        let now = self.clock.now();
        let Cause { kind, words } = cause;
        let mut is_new = false;
        self.troubles.told.send_modify(|told| {
            is_new = told.as_ref().is_none_or(|told| told.kind != kind);
            let since = told.as_ref().map_or(now, |told| told.since);
            *told = Some(Trouble {
                since,
                kind,
                words: words.clone(),
            });
        });
        if is_new {
            tracing::error!(
                reason = words,
                "the store takes no commits; nothing is lost, trying again"
            );
        }
    }

    /// The store has taken a write.
    pub(super) fn untroubled(&self) {
        let was = self
            .troubles
            .told
            .send_if_modified(|told| told.take().is_some());
        if was {
            tracing::info!("the store takes commits again");
        }
    }

    /// The commit that is being written takes so long that people who wait for it must learn of it.
    pub(super) fn commit_is_late(&mut self) {
        self.troubles.late = None;
        // A store that fails slowly is in trouble for the reason of its last failure.
        if !self.troubles.is_told() {
            let words = format!("a commit is not answered within {COMMIT_ANSWERS_WITHIN:?}");
            self.troubled(Cause::new(Kind::Unreachable, words));
        }
    }
}
