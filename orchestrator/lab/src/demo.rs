//! The participants of `saga demo`: the services of the example `book_trip`, each a process of its own.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use saga_examples::book_trip::{self, AfterCommit};
pub use saga_examples::book_trip::{BOOK_TRIP, Kind, LedgerRow, PARTICIPANTS, ledger};
use saga_participant::Op;

/// Makes a participant hang at the next commit of an action, which is what a process looks like from outside that dies
/// between its commit and its reply. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Trap(Arc<AtomicBool>);

impl Trap {
    /// Sets the trap for the next action.
    pub fn set(&self) {
        self.0.store(true, SeqCst);
    }
}

/// Serves one participant of the trip until `over` completes. `pace` passes between a commit and its reply, so that a
/// person can follow; `caught` is called with the key of the action that fell into the trap.
///
/// # Errors
/// When the database in `dir` cannot be opened, or the server refuses the participant; the text names all causes.
pub async fn serve(
    name: String,
    dir: &Path,
    endpoint: &str,
    pace: Duration,
    trap: Trap,
    caught: fn(&str),
    over: impl Future<Output = ()> + Send + 'static,
) -> Result<(), String> {
    let hook: AfterCommit = Arc::new(move |_, key, op| {
        let now = op == Op::Action && trap.0.swap(false, SeqCst);
        Box::pin(async move {
            if now {
                caught(&key.to_string());
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(pace).await;
        })
    });
    book_trip::run(&[name], dir, endpoint, Some(hook), over)
        .await
        .map_err(|error| with_causes(&error))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
