//! The starts of one stream that were not new: one task follows a saga to its end, however many of them led to it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use saga_core::SagaId;

/// The tags of starts whose sagas are followed. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Followers {
    /// Never locked across an await.
    tags: Arc<Mutex<HashMap<SagaId, Vec<u64>>>>,
}

impl Followers {
    /// Adds the tag of a start. True if nobody follows its saga yet: the caller does from now on.
    pub(super) fn add(&self, id: SagaId, tag: u64) -> bool {
        match self.lock().entry(id) {
            Entry::Occupied(mut tags) => {
                tags.get_mut().push(tag);
                false
            }
            Entry::Vacant(free) => {
                free.insert(vec![tag]);
                true
            }
        }
    }

    /// The tags that the end of the saga is reported for. Nobody follows it any more.
    pub(super) fn take(&self, id: SagaId) -> Vec<u64> {
        self.lock().remove(&id).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SagaId, Vec<u64>>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_follows_a_saga_for_all_its_starts() {
        let (followers, id) = (Followers::default(), SagaId::from_u128(1));
        assert!(followers.add(id, 1) && !followers.add(id, 2));
        assert!(followers.add(SagaId::from_u128(2), 3));
        assert_eq!(followers.take(id), [1, 2]);
        assert!(followers.add(id, 4), "nobody does any more");
    }
}
