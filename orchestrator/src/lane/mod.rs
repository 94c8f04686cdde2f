//! Lanes: they take inputs, decide, commit and only then act.

pub mod intake;

use tokio::sync::mpsc;

use intake::Intake;

/// The way to a lane. Clones share it.
#[derive(Clone)]
pub struct Handle {
    pub(crate) intake: mpsc::Sender<Intake>,
}

/// The lane has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the lane has stopped")]
pub struct Stopped;

impl Handle {
    /// Hands a message over; waits while the lane has more than it can take.
    ///
    /// # Errors
    /// [`Stopped`] when the lane takes no more.
    pub async fn send(&self, message: Intake) -> Result<(), Stopped> {
        self.intake.send(message).await.map_err(|_| Stopped)
    }
}
