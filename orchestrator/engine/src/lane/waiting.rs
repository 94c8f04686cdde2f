//! How many inputs wait for a commit, for people who look at a store that takes none.
//!
//! Starts are counted where they are handed over, so that the number is true also while the lane reads back what is
//! committed and takes no messages. Other inputs are counted by the lane each time a commit fails.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use saga_core::Input;

use super::{batch::Job, worker::Worker};

/// Numbers of inputs that wait. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Waiting {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    starts: AtomicUsize,
    others: AtomicUsize,
}

impl Waiting {
    /// Starts that were handed over and are not answered.
    #[must_use]
    pub fn starts(&self) -> usize {
        self.counts.starts.load(Ordering::Relaxed)
    }

    /// Replies and acts of operators that waited when the last commit failed.
    #[must_use]
    pub fn others(&self) -> usize {
        self.counts.others.load(Ordering::Relaxed)
    }

    /// One more start waits, until the ticket is dropped.
    #[must_use]
    pub fn start(&self) -> Ticket {
        self.counts.starts.fetch_add(1, Ordering::Relaxed);
        Ticket(Some(self.clone()))
    }
}

impl Worker {
    /// Counts the inputs in the queue that somebody outside sent: the lane sends `Due` and `Wake` to itself.
    pub(super) fn count_waiting(&self) {
        let others = self.queue.iter().filter(|job| match job {
            Job::Start(_) => false,
            Job::Input { input, .. } => !matches!(input, Input::Due | Input::Wake),
        });
        self.waiting
            .counts
            .others
            .store(others.count(), Ordering::Relaxed);
    }
}

/// Counts one start for as long as it exists. The default counts nothing.
#[derive(Debug, Default)]
pub struct Ticket(Option<Waiting>);

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(waiting) = &self.0 {
            waiting.counts.starts.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_counts_until_its_ticket_is_dropped() {
        let waiting = Waiting::default();
        let tickets = [waiting.start(), waiting.start()];
        drop(Ticket::default());
        assert_eq!(waiting.starts(), 2);
        drop(tickets);
        assert_eq!(waiting.starts(), 0);
    }
}
