//! Sends commands, one task on one channel, and awaits their confirms in bulk.
//!
//! What is given to the broker and not confirmed is kept, and goes out again on the next connection: the broker may or
//! may not have it, and a command that comes twice finds its answer in the inbox. What may not be repeated is not, and
//! counts as unknown when its time is over.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{Channel, Confirmation, Connection, options::BasicPublishOptions};
use saga_core::ErrorBody;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    fault::Fault,
    parcel::{Order, Parcel, pack},
    topology,
};
use saga_engine::{lane::intake::LostCommand, store::tenure::Tenure};

/// A broker that takes messages confirms them long before.
const CONFIRMS_WITHIN: Duration = Duration::from_secs(15);

/// What came back.
pub(super) enum Returned {
    /// There is no such queue: certainly not sent.
    Unroutable {
        participant: Arc<str>,
        lost: Vec<LostCommand>,
    },
    /// The broker did not take it: nobody can say.
    NotTaken { lost: Vec<LostCommand> },
}

pub(super) struct Publisher {
    orders: mpsc::UnboundedReceiver<Order>,
    reply_to: Arc<str>,
    unconfirmed: BTreeMap<u64, Kept>,
    next: u64,
    tenure: Tenure,
}

struct Kept {
    parcel: Arc<Parcel>,
    since: Instant,
}

type Confirming = Pin<Box<dyn Future<Output = (u64, lapin::Result<Confirmation>)> + Send>>;

impl Publisher {
    pub(super) fn new(
        orders: mpsc::UnboundedReceiver<Order>,
        reply_to: String,
        tenure: Tenure,
    ) -> Self {
        Self {
            orders,
            reply_to: reply_to.into(),
            unconfirmed: BTreeMap::new(),
            next: 0,
            tenure,
        }
    }

    /// Sends until the connection fails. Can be called again on another one, and repeats what was not confirmed.
    pub(super) async fn run(
        &mut self,
        connection: &Connection,
        channel: &Channel,
        returned: &mpsc::UnboundedSender<Returned>,
    ) -> Fault {
        self.unconfirmed.retain(|_, kept| kept.parcel.repeatable);
        let mut confirms = FuturesUnordered::new();
        for (number, kept) in &mut self.unconfirmed {
            kept.since = Instant::now();
            confirms.push(publish(channel, *number, Arc::clone(&kept.parcel)));
        }
        if !confirms.is_empty() {
            tracing::info!(
                messages = confirms.len(),
                "what was not confirmed is sent again"
            );
        }
        let mut look = interval(Duration::from_secs(1));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut orders = Vec::new();
        loop {
            tokio::select! {
                Some((number, confirmation)) = confirms.next(), if !confirms.is_empty() => {
                    if let Err(fault) = self.confirmed(number, confirmation, returned) {
                        return fault;
                    }
                }
                count = self.orders.recv_many(&mut orders, 256) => {
                    if count == 0 {
                        return Fault::LaneStopped;
                    }
                    // The new owner sends what is outstanding itself.
                    if !self.tenure.holds() {
                        return Fault::NotOwner;
                    }
                    for parcel in pack(orders.drain(..), &self.reply_to) {
                        let (number, parcel) = (self.next, Arc::new(parcel));
                        self.next += 1;
                        self.unconfirmed.insert(number, Kept { parcel: Arc::clone(&parcel), since: Instant::now() });
                        confirms.push(publish(channel, number, parcel));
                    }
                }
                _ = look.tick() => if let Some(fault) = self.overdue(connection) {
                    return fault;
                },
            }
        }
    }

    fn confirmed(
        &mut self,
        number: u64,
        confirmation: lapin::Result<Confirmation>,
        returned: &mpsc::UnboundedSender<Returned>,
    ) -> Result<(), Fault> {
        let confirmation = confirmation.map_err(|source| Fault::Broker {
            what: "publishing commands".to_owned(),
            source,
        })?;
        let Some(Kept { parcel, .. }) = self.unconfirmed.remove(&number) else {
            return Ok(());
        };
        let back = match confirmation {
            Confirmation::Ack(None) | Confirmation::NotRequested => return Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                let error = ErrorBody::new(
                    "unroutable",
                    format!("there is no queue `{}`", parcel.queue),
                );
                let lost = parcel.lost(true, &error);
                Returned::Unroutable {
                    participant: Arc::clone(&parcel.participant),
                    lost,
                }
            }
            Confirmation::Nack(None) => {
                let error = ErrorBody::new("broker_refused", "the broker did not take the command");
                Returned::NotTaken {
                    lost: parcel.lost(false, &error),
                }
            }
        };
        // Fails only at the end of the session, and then the lane is gone or hears of it by a timeout.
        returned.send(back).ok();
        Ok(())
    }

    /// A broker that neither confirms nor says that it is blocked is not there.
    fn overdue(&mut self, connection: &Connection) -> Option<Fault> {
        if !connection.status().connected() {
            return Some(Fault::Ended {
                what: "the connection that publishes",
            });
        }
        if connection.status().blocked() {
            for kept in self.unconfirmed.values_mut() {
                kept.since = Instant::now();
            }
        }
        let age = self.unconfirmed.values().next()?.since.elapsed();
        (age > CONFIRMS_WITHIN).then(|| Fault::Unconfirmed {
            messages: self.unconfirmed.len(),
            age,
        })
    }
}

/// Begins to publish. The frames are queued at the first poll, which is done here, so that messages leave in order; the
/// rest, the write to the socket and the confirm, is for whoever polls on.
fn publish(channel: &Channel, number: u64, parcel: Arc<Parcel>) -> Confirming {
    let channel = channel.clone();
    let mut confirming: Confirming = Box::pin(async move {
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let (exchange, key) = (topology::COMMANDS.into(), parcel.queue.as_str().into());
        let properties = parcel.properties();
        match channel
            .basic_publish(exchange, key, options, &parcel.body, properties)
            .await
        {
            Ok(confirm) => (number, confirm.await),
            Err(error) => (number, Err(error)),
        }
    });
    match (&mut confirming).now_or_never() {
        Some(done) => Box::pin(std::future::ready(done)),
        None => confirming,
    }
}
