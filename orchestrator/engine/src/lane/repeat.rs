//! A start that comes again: whether it asks for what the first one asked for.

use saga_core::{ErrorBody, Payload};
use saga_dsl::types::Type;

use super::{intake::StartJob, recovery::replay};
use crate::{
    input_hash,
    store::{Error, Journals, record::StartConflict},
};

/// Why the earlier start cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Store(#[from] Error),
    #[error("{0}")]
    Journal(ErrorBody),
}

/// Whether the saga that has the key already was started with the input of `job`.
///
/// A stored hash of this release's version settles it. One of an earlier version, or of another version of the
/// definition, whose types may differ, is not enough for a no: the input in the journal is read.
pub(super) async fn started_before(
    store: &dyn Journals,
    job: &StartJob,
    earlier: &StartConflict,
) -> Result<bool, Unread> {
    if earlier.input_hash == job.input_hash {
        return Ok(true);
    }
    let definition = &job.plan.definition;
    let (name, version) = (&definition.saga, definition.version);
    if input_hash::is_current(&earlier.input_hash) && earlier.definition == (name.clone(), version)
    {
        return Ok(false);
    }
    let keyed = job.start.key.is_some();
    if input_hash::is_version_1_of(&earlier.input_hash, name, keyed, &job.start.input) {
        return Ok(true);
    }
    if !keyed {
        // The same request repeats the same bytes, and its name.
        return Ok(false);
    }
    let journal = store.journal(earlier.existing, 0, 1).await?;
    let state = replay(earlier.existing, &journal).map_err(Unread::Journal)?;
    Ok(state
        .birth
        .is_some_and(|birth| is_same_input(job, &birth.input)))
}

/// Whether both are one value by the types of the definition.
pub(super) fn is_same_input(job: &StartJob, other: &Payload) -> bool {
    if job.start.input == *other {
        return true;
    }
    let ty = Type::Object(job.plan.definition.input.clone());
    input_hash::of_payload(&ty, &job.start.input) == input_hash::of_payload(&ty, other)
}
