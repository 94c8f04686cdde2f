//! What the author of a saga file uses: from the first file to its deployment.

pub(crate) mod deploy;
pub(crate) mod dev;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod graph;
pub(crate) mod lint;
pub(crate) mod new;
pub(crate) mod schema;
pub(crate) mod test;
pub(crate) mod verify_participant;
