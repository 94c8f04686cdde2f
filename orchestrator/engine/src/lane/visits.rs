//! Sagas that have ended, read back for the one verb that still concerns them.
//!
//! A saga leaves the lane's memory when its end is committed. An operator may acknowledge an incident of it later. The lane
//! then reads it back, and forgets it again when that decision is committed or refused. It does not wait for the store
//! meanwhile. At most one reading of a saga is under way, and none begins while the saga is in memory, so what was read is
//! never older than the saga's last commit.

use std::collections::HashMap;

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use saga_core::{
    Input, SagaId,
    input::{Intervention, Order},
};

use super::{
    answer::{Answer, Why},
    batch::Job,
    decider::refuse,
    recovery::replay,
    slot::Slot,
    worker::Worker,
};
use crate::{
    definitions::Definitions,
    store::{self, record::JournalRow},
};

/// Sagas that are read back at the same time; acts on others are refused as *unavailable* until one is done.
const VISITS_MAX: usize = 256;

/// The journal of a saga; empty: there is none.
pub(super) type Read = (SagaId, Result<Vec<JournalRow>, store::Error>);

/// Readings that are under way, and the inputs that wait for them.
#[derive(Default)]
pub(super) struct Visits {
    waiting: HashMap<SagaId, Vec<(Input, Option<Answer>)>>,
    readings: FuturesUnordered<BoxFuture<'static, Read>>,
}

impl Visits {
    /// The next saga that was read; pends while none is under way.
    pub(super) async fn next(&mut self) -> Read {
        match self.readings.next().await {
            Some(read) => read,
            None => std::future::pending().await,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// A saga that has ended, from its journal. Open ones are in memory, or cannot be loaded.
fn fold(id: SagaId, journal: &[JournalRow], definitions: &Definitions) -> Result<Slot, Why> {
    let told = |error: &dyn std::fmt::Display| {
        tracing::error!(saga_id = %id, %error, "a saga that has ended cannot be loaded");
        Why::Unavailable
    };
    let state = replay(id, journal).map_err(|error| told(&error))?;
    if !state.status.is_end() {
        return Err(Why::NotOpen);
    }
    let birth = state.birth.as_ref();
    let plan = birth.and_then(|birth| definitions.get(&birth.name, birth.version));
    let plan = plan.filter(|plan| plan.steps.len() == state.steps.len());
    let plan = plan.ok_or_else(|| told(&"its definition is not loaded"))?;
    let committed = state.seq;
    Ok(Slot::new(plan, state, committed))
}

impl Worker {
    /// An input for a saga that is not in memory: an operator may acknowledge what its end left, everything else is refused.
    pub(super) fn visit(&mut self, id: SagaId, input: Input, answer: Option<Answer>) {
        let acknowledges = matches!(
            &input,
            Input::Intervene(Intervention {
                order: Order::Acknowledge,
                ..
            })
        );
        if !acknowledges || self.broken.contains_key(&id) {
            refuse(answer, Why::NotOpen);
            return;
        }
        if let Some(waiting) = self.visits.waiting.get_mut(&id) {
            waiting.push((input, answer));
            return;
        }
        if self.visits.waiting.len() >= VISITS_MAX {
            refuse(answer, Why::Unavailable);
            return;
        }
        self.visits.waiting.insert(id, vec![(input, answer)]);
        let store = std::sync::Arc::clone(&self.store);
        self.visits.readings.push(Box::pin(async move {
            let read = store.journals(vec![id]).await;
            (id, read.map(|mut all| all.pop().unwrap_or_default()))
        }));
    }

    /// A saga was read back: what waited for it is decided next.
    pub(super) fn visited(&mut self, (id, read): Read) {
        let waiting = self.visits.waiting.remove(&id).unwrap_or_default();
        let slot = match read {
            Ok(journal) if journal.is_empty() => Err(Why::NotOpen),
            Ok(journal) => fold(id, &journal, &self.definitions),
            Err(error) => {
                tracing::warn!(saga_id = %id, %error, "a saga that has ended cannot be read");
                Err(Why::Unavailable)
            }
        };
        match slot {
            Ok(slot) => {
                self.sagas.entry(id).or_insert(slot);
                for (input, answer) in waiting {
                    self.queue.push_back(Job::Input { id, input, answer });
                }
            }
            Err(why) => {
                for (_, answer) in waiting {
                    refuse(answer, why.clone());
                }
            }
        }
    }

    /// Forgets a saga that has ended and of which nothing is left to be committed.
    pub(super) fn dismiss(&mut self, id: SagaId) {
        let is_over = |slot: &Slot| slot.state.status.is_end() && slot.state.seq == slot.committed;
        if self.sagas.get(&id).is_some_and(is_over) {
            self.announce(id);
        }
    }
}
