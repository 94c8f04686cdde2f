//! A gate: tests hold handlers there.

use tokio::sync::watch;

use crate::wait::within;

/// Something that handlers wait at until a test opens it. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    open: watch::Sender<bool>,
    arrived: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            open: watch::Sender::new(false),
            arrived: watch::Sender::new(0),
        }
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Whether it was opened.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until so many have come to the gate, since it was made.
    ///
    /// # Panics
    /// When they do not come in time.
    pub async fn arrived(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        let come = arrived.wait_for(|there| *there >= count);
        within("handlers to come to the gate", come)
            .await
            .expect("the gate lives");
    }

    /// Waits here until the gate is open.
    pub async fn pass(&self) {
        self.arrived.send_modify(|there| *there += 1);
        // An error means that the gate is gone, and what is gone stops nobody.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}
