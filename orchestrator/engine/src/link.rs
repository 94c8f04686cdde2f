//! How commands reach participants: one trait, one adapter per wire.

use std::sync::Arc;

use saga_core::effect::Command;
use saga_dsl::plan::Plan;

/// A way to one instance of a participant.
pub trait Link: Send + Sync + 'static {
    /// Number of this link, never used twice in the life of a process.
    fn number(&self) -> u64;

    /// Name of the participant.
    fn participant(&self) -> &str;

    /// Actions and compensations that the instance serves.
    fn actions(&self) -> &[String];

    /// Whether its inbox shares a transaction with the business writes.
    fn transactional(&self) -> bool;

    /// Hands over commands that one commit released, to travel together.
    ///
    /// Never blocks. A command handed to a link whose instance is gone is reported lost when the link is.
    fn send(&self, commands: Vec<Outgoing>);
}

/// A command on its way out, with the plan that knows its names.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The plan of its saga.
    pub plan: Arc<Plan>,
    /// The command.
    pub command: Command,
    /// It shares a message with no other: it may be what others died of.
    pub alone: bool,
}
