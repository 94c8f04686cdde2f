//! Takes replies and dead letters off their queues. A message is acknowledged when everything in it has been dealt with
//! by the lane and what came of it is committed, never before; if we die, it comes again.

use std::collections::VecDeque;

use futures_util::StreamExt;
use lapin::{
    Acker, Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    envelope::{self, Nonsense},
    fault::{ANSWERS_WITHIN, Fault, soon},
};
use crate::lane::{
    self,
    intake::{Intake, Receipt},
};

/// Messages that are taken and not acknowledged, at most.
const PREFETCH: u16 = 256;

/// What is in a queue.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contents {
    Replies,
    DeadLetters,
}

/// Begins to consume a queue that is ours alone: a second orchestrator of the same name would take answers away.
pub(super) async fn consume(channel: &Channel, queue: &str) -> Result<Consumer, Fault> {
    soon("setting the prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
    let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
    let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
    soon(&format!("consuming {queue}"), consumer).await
}

/// Hands what comes to the lane, until the connection fails.
pub(super) async fn run(mut consumer: Consumer, contents: Contents, lane: &lane::Handle) -> Fault {
    let (done, mut finished) = mpsc::unbounded_channel();
    let mut open = Open::default();
    let mut numbers = Vec::new();
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                let delivery = match delivery {
                    Some(Ok(delivery)) => delivery,
                    Some(Err(source)) => return Fault::Broker { what: "consuming".to_owned(), source },
                    None => return Fault::Ended { what: "the consumer" },
                };
                let number = open.add(delivery.acker.clone());
                let Some(intake) = intake(contents, &delivery, number, &done) else {
                    open.finish(number);
                    if let Err(fault) = open.acknowledge().await {
                        return fault;
                    }
                    continue;
                };
                // Waits while the lane is full; the prefetch then holds the broker back.
                if lane.send(intake).await.is_err() {
                    return Fault::LaneStopped;
                }
            }
            // Never closed, since `done` lives here.
            _ = finished.recv_many(&mut numbers, 1_024) => {
                numbers.drain(..).for_each(|number| open.finish(number));
                if let Err(fault) = open.acknowledge().await {
                    return fault;
                }
            }
        }
    }
}

/// What a message is to the lane; `None`: nothing.
fn intake(
    contents: Contents,
    delivery: &Delivery,
    number: u64,
    done: &mpsc::UnboundedSender<u64>,
) -> Option<Intake> {
    let receipt = |parts| Receipt::new(number, parts, done.clone());
    let taken = match contents {
        Contents::Replies => envelope::replies(delivery).map(|(replies, dropped)| {
            dropped.iter().for_each(|nonsense| note(delivery, nonsense));
            let receipt = receipt(replies.len());
            (!replies.is_empty()).then_some(Intake::Delivery { replies, receipt })
        }),
        Contents::DeadLetters => envelope::dead(delivery).map(|dead| {
            tracing::warn!(queue = %delivery.routing_key, commands = dead.len(), "dead letter");
            let receipt = receipt(dead.len());
            (!dead.is_empty()).then_some(Intake::DeadLetters { dead, receipt })
        }),
    };
    taken.unwrap_or_else(|nonsense| {
        note(delivery, &nonsense);
        None
    })
}

/// Says what is dropped and who sent it.
pub(super) fn note(delivery: &Delivery, nonsense: &Nonsense) {
    tracing::warn!(
        exchange = %delivery.exchange,
        key = %delivery.routing_key,
        bytes = delivery.data.len(),
        "a message makes no sense and is dropped: {nonsense}"
    );
}

/// Messages that are not acknowledged, in the order of their coming.
#[derive(Default)]
pub(super) struct Open {
    messages: VecDeque<(Acker, bool)>,
    /// Number of the first.
    first: u64,
}

impl Open {
    pub(super) fn add(&mut self, acker: Acker) -> u64 {
        self.messages.push_back((acker, false));
        self.first + self.messages.len() as u64 - 1
    }

    pub(super) fn finish(&mut self, number: u64) {
        let at = usize::try_from(number.wrapping_sub(self.first)).ok();
        if let Some((_, finished)) = at.and_then(|at| self.messages.get_mut(at)) {
            *finished = true;
        }
    }

    /// Acknowledges the finished ones before the first that is not, with one word.
    pub(super) async fn acknowledge(&mut self) -> Result<(), Fault> {
        let mut last = None;
        while let Some((_, true)) = self.messages.front() {
            last = self.messages.pop_front().map(|(acker, _)| acker);
            self.first += 1;
        }
        let Some(acker) = last else { return Ok(()) };
        match timeout(ANSWERS_WITHIN, acker.ack(BasicAckOptions { multiple: true })).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Fault::Ended { what: "the channel of the consumer" }),
            Ok(Err(source)) => Err(Fault::Broker { what: "acknowledging".to_owned(), source }),
            Err(_) => Err(Fault::Silent { what: "acknowledging".to_owned() }),
        }
    }
}
