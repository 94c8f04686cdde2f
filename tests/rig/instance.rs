//! Running instances of participants, which may be stopped or killed.

use std::{collections::BTreeSet, future::Future};

use saga_participant::{Error, Participant, Store};
use saga_wire_amqp as amqp;
use saga_wire_amqp::Broker;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{host::Host, wait::within};

/// A running instance of a participant. Dropping it kills it.
#[derive(Debug)]
pub struct Instance {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), Error>>,
    host: Host,
}

impl Instance {
    /// Serves a participant, which is made on the runtime that it is to live on.
    pub fn start<S: Store>(
        endpoint: &str,
        make: impl Future<Output = Participant<S>> + Send + 'static,
    ) -> Self {
        let place = endpoint.to_owned();
        Self::start_unprepared(endpoint, async move {
            let participant = make.await;
            prepare(&place, participant.name()).await;
            participant
        })
    }

    /// Serves a participant that a broker may not know yet.
    pub fn start_unprepared<S: Store>(
        endpoint: &str,
        make: impl Future<Output = Participant<S>> + Send + 'static,
    ) -> Self {
        let host = Host::new("participant");
        let (stop, stopped) = oneshot::channel::<()>();
        let endpoint = endpoint.to_owned();
        let ended = host.spawn(async move {
            let stopped = async move {
                // The sender is only dropped together with this task.
                let _ = stopped.await;
            };
            make.await.serve(&endpoint, stopped).await
        });
        Self { stop, ended, host }
    }

    /// Asks it to end; [`Instance::join`] waits for that.
    #[must_use]
    pub fn begin_stop(self) -> Draining {
        // Fails when it has ended by itself.
        let _ = self.stop.send(());
        Draining {
            ended: self.ended,
            _host: self.host,
        }
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// What it ended with.
    pub async fn stop(self) -> Result<(), Error> {
        self.begin_stop().join().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// What it ended with.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn join(self) -> Result<(), Error> {
        within("the participant to end", self.ended)
            .await
            .expect("serving does not panic")
    }

    /// Drops it where it stands; whatever its handlers had not committed is gone.
    pub fn kill(self) {
        drop(self.host);
    }
}

/// Has queues made for a participant, as an operator does who prepares a broker: no definition names it yet.
///
/// # Panics
/// When the broker cannot be prepared.
pub async fn prepare(endpoint: &str, participant: &str) {
    if !endpoint.starts_with("amqp") {
        return;
    }
    let broker = Broker::at(endpoint).expect("a broker's URL");
    amqp::prepare(&broker, &BTreeSet::from([participant.to_owned()]))
        .await
        .expect("the broker is prepared");
}

/// An instance that was asked to end.
#[derive(Debug)]
pub struct Draining {
    ended: JoinHandle<Result<(), Error>>,
    _host: Host,
}

impl Draining {
    /// Waits for its end.
    ///
    /// # Errors
    /// What it ended with.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn join(self) -> Result<(), Error> {
        within("the participant to end", self.ended)
            .await
            .expect("serving does not panic")
    }
}
