//! Waiting for something that is going to be true.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// No wait of a test comes near it unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks until there is something to see, and returns it.
///
/// # Panics
/// When [`PATIENCE`] is over; the message says what was waited for.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    eventually_or(what, async || look().await.ok_or_else(String::new)).await
}

/// As [`eventually`]; where there is nothing yet, the look says what there is instead, for the message.
///
/// # Panics
/// When [`PATIENCE`] is over.
pub async fn eventually_or<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        let instead = match look().await {
            Ok(seen) => return seen,
            Err(instead) => instead,
        };
        assert!(
            began.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain for: {what}; {instead}"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The future's output, which must come within [`PATIENCE`].
///
/// # Panics
/// When it does not.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain for: {what}"),
    }
}
