//! What an operator uses: what sagas do, why, and how they are steered.

pub(crate) mod abandon;
pub(crate) mod acknowledge;
pub(crate) mod audit;
pub(crate) mod breakers;
pub(crate) mod cancel;
pub(crate) mod changes;
pub(crate) mod definitions;
pub(crate) mod describe;
pub(crate) mod edit_preview;
pub(crate) mod fields;
pub(crate) mod follow;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod once;
pub(crate) mod participants;
pub(crate) mod resolve;
pub(crate) mod retry;
pub(crate) mod send_start;
pub(crate) mod skip;
pub(crate) mod start;
pub(crate) mod steer;
pub(crate) mod wait;
pub(crate) mod watch;
