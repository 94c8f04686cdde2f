//! How long a connection may be silent.

use std::time::Duration;

/// A connection without a sign of life for so long is asked for one.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// And closed when none comes within so long.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that is open has answered a ping within this time.
pub(crate) const PINGS_ANSWERED_WITHIN: Duration =
    Duration::from_secs(KEEPALIVE_INTERVAL.as_secs() + KEEPALIVE_TIMEOUT.as_secs());
