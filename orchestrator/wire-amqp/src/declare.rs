//! Declarations on a channel of their own, since the broker closes the channel on which it refuses one.
//!
//! An object that exists with other settings than ours is used as it is: the broker changes the settings of no object, and
//! a participant whose queue an older release declared must be served all the same. The log names it once.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use lapin::{
    Channel, Connection, ErrorKind, ExchangeKind,
    options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::FieldTable,
};

use super::fault::{Fault, soon};

/// The objects that a log line has named, whatever becomes of the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Noted(Arc<Mutex<BTreeSet<String>>>);

impl Noted {
    /// Is it the first time?
    pub(super) fn first(&self, name: &str) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned())
    }

    /// The object is well again: should it fall ill once more, that is news.
    pub(super) fn forget(&self, name: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}

/// Declares objects over a connection.
pub(super) struct Declarer<'a> {
    connection: &'a Connection,
    /// `None`: not opened yet, or closed by the broker.
    channel: Option<Channel>,
    noted: Noted,
}

impl<'a> Declarer<'a> {
    pub(super) fn new(connection: &'a Connection, noted: Noted) -> Self {
        Self {
            connection,
            channel: None,
            noted,
        }
    }

    pub(super) async fn exchange(
        &mut self,
        name: &str,
        kind: ExchangeKind,
        arguments: FieldTable,
    ) -> Result<(), Fault> {
        let channel = self.channel().await?;
        let options = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let declared = channel.exchange_declare(name.into(), kind, options, arguments);
        let declared = soon(&format!("declaring exchange {name}"), declared).await;
        self.accept(name, declared)
    }

    pub(super) async fn queue(&mut self, name: &str, arguments: FieldTable) -> Result<(), Fault> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let declared = channel.queue_declare(name.into(), options, arguments);
        let declared = soon(&format!("declaring queue {name}"), declared)
            .await
            .map(drop);
        self.accept(name, declared)
    }

    pub(super) async fn bind(
        &mut self,
        queue: &str,
        exchange: &str,
        key: &str,
    ) -> Result<(), Fault> {
        let channel = self.channel().await?;
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        let bound = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, none);
        self.keep(soon(&format!("binding {queue} to {exchange}"), bound).await)
    }

    pub(super) async fn bind_exchange(&mut self, to: &str, from: &str) -> Result<(), Fault> {
        let channel = self.channel().await?;
        let (options, none) = (ExchangeBindOptions::default(), FieldTable::default());
        let bound = channel.exchange_bind(to.into(), from.into(), "".into(), options, none);
        self.keep(soon(&format!("binding {to} to {from}"), bound).await)
    }

    /// How many read the queue; `None`: it is not there.
    pub(super) async fn readers(&mut self, queue: &str) -> Result<Option<u32>, Fault> {
        let channel = self.channel().await?;
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let asked = channel.queue_declare(queue.into(), options, FieldTable::default());
        let asked = soon(&format!("looking for queue {queue}"), asked).await;
        self.unless_missing(asked.map(|queue| queue.consumer_count()))
    }

    /// Is the exchange there?
    pub(super) async fn has_exchange(&mut self, name: &str) -> Result<bool, Fault> {
        let channel = self.channel().await?;
        let options = ExchangeDeclareOptions {
            passive: true,
            ..Default::default()
        };
        // The kind does not count where nothing is made.
        let asked = channel.exchange_declare(
            name.into(),
            ExchangeKind::Direct,
            options,
            FieldTable::default(),
        );
        let asked = soon(&format!("looking for exchange {name}"), asked).await;
        Ok(self.unless_missing(asked)?.is_some())
    }

    async fn channel(&mut self) -> Result<Channel, Fault> {
        if let Some(channel) = self
            .channel
            .as_ref()
            .filter(|channel| channel.status().connected())
        {
            return Ok(channel.clone());
        }
        let channel = soon("opening a channel", self.connection.create_channel()).await?;
        Ok(self.channel.insert(channel).clone())
    }

    /// After a failure the channel may be closed, or the late answer may come over it: another one is opened.
    fn keep<T>(&mut self, asked: Result<T, Fault>) -> Result<T, Fault> {
        if asked.is_err() {
            self.channel = None;
        }
        asked
    }

    fn accept(&mut self, name: &str, declared: Result<(), Fault>) -> Result<(), Fault> {
        match self.keep(declared) {
            Err(fault) if refusal(&fault) == Some(AMQPSoftError::PRECONDITIONFAILED) => {
                if self.noted.first(name) {
                    tracing::warn!(
                        "the broker has `{name}` with other settings than this release declares, and it is used as it \
                         is ({fault}); docs/how-to/rabbitmq.md says how to bring a queue of an older release up to date"
                    );
                }
                Ok(())
            }
            other => other,
        }
    }

    fn unless_missing<T>(&mut self, asked: Result<T, Fault>) -> Result<Option<T>, Fault> {
        match self.keep(asked) {
            Ok(found) => Ok(Some(found)),
            Err(fault) if refusal(&fault) == Some(AMQPSoftError::NOTFOUND) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// The broker's reason for closing a channel.
fn refusal(fault: &Fault) -> Option<AMQPSoftError> {
    let Fault::Broker { source, .. } = fault else {
        return None;
    };
    let ErrorKind::ProtocolError(error) = source.kind() else {
        return None;
    };
    match error.kind() {
        AMQPErrorKind::Soft(soft) => Some(soft.clone()),
        AMQPErrorKind::Hard(_) => None,
    }
}
