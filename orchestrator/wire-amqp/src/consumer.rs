//! Takes replies and dead letters off their queues. A message is acknowledged when everything in it has been dealt with
//! by the lane and what came of it is committed, never before; if we die, it comes again.

use std::collections::VecDeque;

use futures_util::StreamExt;
use lapin::{
    Acker, Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    envelope::{self, Nonsense},
    fault::{ANSWERS_WITHIN, Fault, soon},
};
use saga_engine::{
    lane::{
        self,
        intake::{Intake, Receipt},
    },
    store::tenure::Tenure,
};

/// Messages that are taken and not acknowledged, at most.
const PREFETCH: u16 = 256;

/// What is in a queue.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contents {
    Replies,
    DeadLetters,
}

/// Dials under one claim that are told apart by their rank.
const DIALS_RANKED: i64 = 1 << 16;

/// The rank of a consumer: that of a later claim is higher, and that of a later dial under the same claim. A former
/// owner that was stopped, or a connection of ours whose end the broker has not seen, may still have its consumers. The
/// broker gives them nothing while one of higher rank has room. None is exclusive: an exclusive one would lock the next
/// owner out for as long as the former one lives.
pub(super) fn rank(claim: u64, dials: i64) -> i64 {
    let claim = i64::try_from(claim)
        .unwrap_or(i64::MAX / DIALS_RANKED)
        .min(i64::MAX / DIALS_RANKED - 1);
    claim * DIALS_RANKED + dials.min(DIALS_RANKED - 1)
}

/// The arguments of a consumer of this rank.
pub(super) fn ranked(rank: i64) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-priority".into(), AMQPValue::LongLongInt(rank));
    arguments
}

/// Begins to consume a queue.
pub(super) async fn consume(channel: &Channel, queue: &str, rank: i64) -> Result<Consumer, Fault> {
    soon(
        "setting the prefetch",
        channel.basic_qos(PREFETCH, BasicQosOptions::default()),
    )
    .await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(queue.into(), "".into(), options, ranked(rank));
    soon(&format!("consuming {queue}"), consumer).await
}

/// Hands what comes to the lane, until the connection fails.
pub(super) async fn run(mut consumer: Consumer, contents: Contents, lane: &lane::Handle) -> Fault {
    let (done, mut finished) = mpsc::unbounded_channel();
    let mut open = Open::under(lane.tenure());
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
        Contents::DeadLetters => envelope::dead(delivery).map(|(dead, given_up)| {
            tracing::warn!(queue = %delivery.routing_key, commands = dead.len(), ?given_up, "dead letter");
            let receipt = receipt(dead.len());
            (!dead.is_empty()).then_some(Intake::DeadLetters { dead, given_up, receipt })
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
pub(super) struct Open {
    messages: VecDeque<(Acker, bool)>,
    /// Number of the first.
    first: u64,
    tenure: Tenure,
}

impl Open {
    /// Nothing yet, under a claim.
    pub(super) fn under(tenure: &Tenure) -> Self {
        Self {
            messages: VecDeque::new(),
            first: 0,
            tenure: tenure.clone(),
        }
    }

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

    /// Acknowledges the finished ones before the first that is not, with one word. Who is not sure to own the store
    /// acknowledges nothing: what it found to be nonsense, or for nobody, may make sense to the new owner.
    pub(super) async fn acknowledge(&mut self) -> Result<(), Fault> {
        if !self.tenure.holds() {
            return Err(Fault::NotOwner);
        }
        let mut last = None;
        while let Some((_, true)) = self.messages.front() {
            last = self.messages.pop_front().map(|(acker, _)| acker);
            self.first += 1;
        }
        let Some(acker) = last else { return Ok(()) };
        match timeout(
            ANSWERS_WITHIN,
            acker.ack(BasicAckOptions { multiple: true }),
        )
        .await
        {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Fault::Ended {
                what: "the channel of the consumer",
            }),
            Ok(Err(source)) => Err(Fault::Broker {
                what: "acknowledging".to_owned(),
                source,
            }),
            Err(_) => Err(Fault::Silent {
                what: "acknowledging".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_claims_and_later_dials_rank_higher() {
        assert!(rank(2, 1) > rank(1, i64::MAX), "a later claim");
        assert!(rank(2, 2) > rank(2, 1), "a later dial");
        assert!(rank(u64::MAX, i64::MAX) > 0, "no overflow");
    }
}
