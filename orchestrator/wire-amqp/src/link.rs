//! The lane's way to a participant over the broker: one for all its instances, since they share its queues.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::parcel::Order;
use saga_engine::link::{Link, Outgoing};

pub(super) struct AmqpLink {
    pub(super) number: u64,
    pub(super) participant: Arc<str>,
    /// What every live instance serves: any of them may take a command.
    pub(super) actions: Vec<String>,
    pub(super) transactional: bool,
    pub(super) inbox: Option<Arc<str>>,
    /// Every live instance reads commands that travel together.
    pub(super) batch: bool,
    /// Unbounded, because the lane must never wait; what stands in it is bounded by the commands that are outstanding.
    pub(super) orders: mpsc::UnboundedSender<Order>,
}

impl Link for AmqpLink {
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
        let (participant, inbox) = (Arc::clone(&self.participant), self.inbox.clone());
        // Fails only when the server goes down; what is outstanding is sent again by the next one.
        self.orders
            .send(Order {
                participant,
                inbox,
                commands,
                plain: !self.batch,
            })
            .ok();
    }
}
