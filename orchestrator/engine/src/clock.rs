//! The clock of screens and records at the edge. Decisions take their time from the lane.

use std::time::{SystemTime, UNIX_EPOCH};

use saga_core::Timestamp;

/// Now.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
