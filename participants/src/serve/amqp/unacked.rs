//! Messages that were taken and are not acknowledged yet.
//!
//! A broker with replicated queues pays for every acknowledgement, and one can stand for all messages before it. So what
//! is finished from the oldest on is acknowledged with one word. One slow command must not keep everything behind it,
//! which the prefetch would stop at; when enough has gathered behind such a one, it is acknowledged singly.

use std::collections::VecDeque;

use lapin::{Acker, options::BasicAckOptions};

/// A queue that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Forward,
    Undo,
}

/// Which message it is: where it came from, and its number there.
pub(super) type Number = (From, u64);

/// The open messages of both queues.
pub(super) struct Unacked<A = Acker> {
    forward: Queue<A>,
    undo: Queue<A>,
}

struct Queue<A> {
    /// From the oldest on.
    messages: VecDeque<Message<A>>,
    /// Number of the oldest.
    first: u64,
    /// Finished, and kept only by older ones.
    behind: usize,
    /// When so many are, they wait no longer.
    behind_max: usize,
}

enum Message<A> {
    Open(A),
    Finished(A),
    /// Acknowledged singly.
    Gone,
}

/// Something to be acknowledged.
pub(super) struct Ack<A = Acker> {
    pub(super) acker: A,
    /// With everything before it.
    pub(super) options: BasicAckOptions,
}

/// Sends acknowledgements strictly one after the other. The client library gives each a task of its own, so two under way
/// at once may overtake each other; an earlier one that comes behind a cumulative one names a message that the broker no
/// longer knows, and the broker closes the channel. False: the channel has ended.
pub(super) async fn acknowledge(due: Vec<Ack>) -> lapin::Result<bool> {
    for Ack { acker, options } in due {
        if !acker.ack(options).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<A> Unacked<A> {
    /// For queues that are read so far ahead.
    pub(super) fn new(forward_prefetch: usize, undo_prefetch: usize) -> Self {
        Self {
            forward: Queue::new(forward_prefetch),
            undo: Queue::new(undo_prefetch),
        }
    }

    pub(super) fn add(&mut self, from: From, acker: A) -> Number {
        let queue = self.queue(from);
        queue.messages.push_back(Message::Open(acker));
        (from, queue.first + queue.messages.len() as u64 - 1)
    }

    /// Everything in the message is answered.
    pub(super) fn finish(&mut self, (from, number): Number) {
        let queue = self.queue(from);
        let at = number
            .checked_sub(queue.first)
            .and_then(|at| usize::try_from(at).ok());
        let Some(message) = at.and_then(|at| queue.messages.get_mut(at)) else {
            return;
        };
        if let Message::Open(_) = message
            && let Message::Open(acker) = std::mem::replace(message, Message::Gone)
        {
            *message = Message::Finished(acker);
            queue.behind += 1;
        }
    }

    /// What may be acknowledged now.
    pub(super) fn due(&mut self) -> Vec<Ack<A>> {
        let mut due = Vec::new();
        for queue in [&mut self.forward, &mut self.undo] {
            queue.due(&mut due);
        }
        due
    }

    /// Everything that is finished: nothing more will be.
    pub(super) fn rest(&mut self) -> Vec<Ack<A>> {
        for queue in [&mut self.forward, &mut self.undo] {
            queue.behind_max = 1;
        }
        self.due()
    }

    fn queue(&mut self, from: From) -> &mut Queue<A> {
        match from {
            From::Forward => &mut self.forward,
            From::Undo => &mut self.undo,
        }
    }
}

impl<A> Queue<A> {
    fn new(prefetch: usize) -> Self {
        Self {
            messages: VecDeque::new(),
            first: 0,
            behind: 0,
            behind_max: (prefetch / 4).max(1),
        }
    }

    fn due(&mut self, due: &mut Vec<Ack<A>>) {
        let mut last = None;
        while let Some(Message::Finished(_) | Message::Gone) = self.messages.front() {
            if let Some(Message::Finished(acker)) = self.messages.pop_front() {
                self.behind -= 1;
                last = Some(acker);
            }
            self.first += 1;
        }
        due.extend(last.map(|acker| Ack {
            acker,
            options: BasicAckOptions { multiple: true },
        }));
        if self.behind < self.behind_max {
            return;
        }
        self.behind = 0;
        for message in &mut self.messages {
            match std::mem::replace(message, Message::Gone) {
                Message::Finished(acker) => due.push(Ack {
                    acker,
                    options: BasicAckOptions { multiple: false },
                }),
                kept @ (Message::Open(_) | Message::Gone) => *message = kept,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(unacked: &mut Unacked<u32>) -> Vec<(u32, bool)> {
        unacked
            .due()
            .into_iter()
            .map(|ack| (ack.acker, ack.options.multiple))
            .collect()
    }

    #[test]
    fn what_is_finished_from_the_oldest_on_is_acknowledged_with_one_word() {
        let mut unacked = Unacked::new(100, 100);
        let numbers: Vec<Number> = (0..4).map(|n| unacked.add(From::Forward, n)).collect();
        let undo = unacked.add(From::Undo, 9);
        unacked.finish(numbers[1]);
        assert_eq!(due(&mut unacked), []);
        unacked.finish(numbers[0]);
        unacked.finish(numbers[0]);
        assert_eq!(due(&mut unacked), [(1, true)]);
        unacked.finish(numbers[3]);
        unacked.finish(undo);
        assert_eq!(due(&mut unacked), [(9, true)]);
        unacked.finish(numbers[2]);
        assert_eq!(due(&mut unacked), [(3, true)]);
        unacked.finish(numbers[2]);
        assert_eq!(due(&mut unacked), []);
    }

    #[test]
    fn a_slow_command_does_not_keep_everything_behind_it() {
        let mut unacked = Unacked::new(8, 8);
        let numbers: Vec<Number> = (0..5).map(|n| unacked.add(From::Forward, n)).collect();
        unacked.finish(numbers[2]);
        assert_eq!(due(&mut unacked), []);
        unacked.finish(numbers[4]);
        assert_eq!(due(&mut unacked), [(2, false), (4, false)]);
        unacked.finish(numbers[0]);
        assert_eq!(due(&mut unacked), [(0, true)]);
        unacked.finish(numbers[3]);
        assert_eq!(due(&mut unacked), []);
        assert_eq!(unacked.rest().len(), 1, "the end waits for nobody");
        unacked.finish(numbers[1]);
        // Nothing is left that was not acknowledged singly, but for the slow one itself.
        assert_eq!(due(&mut unacked), [(1, true)]);
        let next = unacked.add(From::Forward, 5);
        unacked.finish(next);
        assert_eq!(due(&mut unacked), [(5, true)]);
    }
}
