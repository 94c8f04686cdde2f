//! The lane's end of a session.

use std::sync::Arc;

use tokio::sync::mpsc;

use saga_engine::link::{Link, Outgoing};

/// The way to one connected instance.
pub(super) struct GrpcLink {
    pub(super) number: u64,
    pub(super) participant: Arc<str>,
    pub(super) actions: Vec<String>,
    pub(super) transactional: bool,
    /// Unbounded, because the lane must never wait for a participant; what stands in it is bounded by the
    /// commands that are outstanding.
    pub(super) commands: mpsc::UnboundedSender<Vec<Outgoing>>,
}

impl Link for GrpcLink {
    fn number(&self) -> u64 {
        self.number
    }

    fn participant(&self) -> &str {
        &self.participant
    }

    fn actions(&self) -> &[String] {
        &self.actions
    }

    fn transactional(&self) -> bool {
        self.transactional
    }

    fn send(&self, commands: Vec<Outgoing>) {
        // Fails only when the session is over; the lane then hears `Disconnected` and takes them as lost.
        let _ = self.commands.send(commands);
    }
}
