//! The participant's road to the orchestrators: one stream to each, kept up for as long as it takes.

mod convert;
mod dispatch;
mod grpc;
mod outbound;

use std::{
    collections::HashSet,
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    execute::Core,
    inbox::{Inbox, Store},
};
use dispatch::Workers;
use grpc::{Ended, Shared};
pub(crate) use outbound::{Links, Sink};

const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);
/// Jitter adds up to as much again on small delays; the longest wait stays near five seconds.
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(2_500);

/// An orchestrator that was only named by another is given up after so long; it will be named again.
const LEARNED_ADDRESS_PATIENCE: Duration = Duration::from_secs(120);

const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// Why a participant does not serve, or no longer does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The participant is not put together rightly.
    #[error("participant {participant}: {mistake}")]
    Mistake {
        /// Its name.
        participant: String,
        /// What is wrong with it.
        mistake: String,
    },
    /// The endpoint cannot be read, or its transport is not there.
    #[error("endpoint `{endpoint}`: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The orchestrator refused the registration; trying again would not help.
    #[error("the orchestrator refuses participant {participant}: {reason}")]
    Refused {
        /// Its name.
        participant: String,
        /// The orchestrator's words.
        reason: String,
    },
    /// The signals of the process cannot be watched.
    #[error("watching for signals")]
    Signals(#[source] std::io::Error),
}

/// How much runs at once, and how long the end may take.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    pub(crate) forward: usize,
    pub(crate) undo: usize,
    pub(crate) drain: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { forward: 256, undo: 64, drain: Duration::from_secs(25) }
    }
}

/// Completes at SIGTERM or SIGINT, which are watched from now on.
///
/// # Errors
/// When the signals cannot be watched.
pub fn signals() -> Result<impl Future<Output = ()> + Send, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

pub(crate) async fn serve<S: Store>(
    core: Arc<Core<S>>,
    endpoint: &str,
    budgets: Budgets,
    links: Links,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let authority = authority(endpoint)?;
    let (addresses, mut welcomed) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        workers: Workers::new(&budgets),
        instance: Uuid::now_v7().to_string(),
        core,
        budgets,
        links,
        stop: CancellationToken::new(),
        addresses,
    });
    // Dropped at the end of this function, whichever way it ends.
    let _stop = shared.stop.clone().drop_guard();
    let sweeper = tokio::spawn(sweep(shared.clone()));

    let mut known = HashSet::from([authority.clone()]);
    let mut streams = JoinSet::new();
    streams.spawn(keep_connected(shared.clone(), authority, false));
    let mut shutdown = pin!(shutdown);
    let result = loop {
        tokio::select! {
            () = &mut shutdown, if !shared.stop.is_cancelled() => shared.stop.cancel(),
            Some(addresses) = welcomed.recv(), if !shared.stop.is_cancelled() => {
                // A single address is the one that was dialed, perhaps under another name.
                let others = addresses.len() > 1;
                for authority in addresses.iter().filter_map(|a| self::authority(a).ok()).filter(|_| others) {
                    if known.insert(authority.clone()) {
                        streams.spawn(keep_connected(shared.clone(), authority, true));
                    }
                }
            }
            ended = streams.join_next() => match ended {
                Some(Ok(Ok(given_up))) => {
                    if let Some(authority) = given_up {
                        known.remove(&authority);
                    }
                }
                Some(Ok(Err(error))) => break Err(error),
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // All streams have drained.
                Some(Err(_)) | None => break Ok(()),
            },
        }
    };
    sweeper.abort();
    if result.is_ok() {
        // Handlers may run although no stream is up; let them commit.
        shared.workers.running.close();
        let _ = tokio::time::timeout(shared.budgets.drain, shared.workers.running.wait()).await;
    }
    result
}

/// Keeps a stream to one orchestrator up until the shutdown. Returns the address when it gives it up.
async fn keep_connected<S: Store>(
    shared: Arc<Shared<S>>,
    authority: String,
    learned: bool,
) -> Result<Option<String>, Error> {
    let endpoint = grpc::endpoint(&authority)
        .map_err(|error| Error::Endpoint { endpoint: authority.clone(), reason: error.to_string() })?;
    let mut delays = reconnect_delays();
    let mut registered = false;
    let mut failing_since = None;
    loop {
        let why = match grpc::run(&shared, &endpoint).await {
            Ended::Drained => return Ok(None),
            Ended::Duplicate if learned => return Ok(None),
            Ended::Duplicate => "another stream leads to the same orchestrator".to_owned(),
            // An orchestrator may not have noticed yet that our last stream is gone.
            Ended::Refused(status) if registered && status.code() == tonic::Code::AlreadyExists => {
                status.message().to_owned()
            }
            Ended::Refused(status) if learned => status.message().to_owned(),
            Ended::Refused(status) => {
                let participant = shared.core.name.clone();
                return Err(Error::Refused { participant, reason: status.message().to_owned() });
            }
            Ended::Lost { why, welcomed } => {
                if welcomed {
                    delays = reconnect_delays();
                    failing_since = None;
                    registered = true;
                }
                why
            }
        };
        if learned && failing_since.get_or_insert_with(Instant::now).elapsed() > LEARNED_ADDRESS_PATIENCE {
            tracing::info!(authority, why, "orchestrator given up until it is named again");
            return Ok(Some(authority));
        }
        let delay = delays.next().unwrap_or(RECONNECT_DELAY_MAX);
        tracing::warn!(
            participant = shared.core.name,
            authority,
            why,
            ?delay,
            "not connected, will dial again"
        );
        tokio::select! {
            () = shared.stop.cancelled() => return Ok(None),
            () = sleep(delay) => {}
        }
    }
}

async fn sweep<S: Store>(shared: Arc<Shared<S>>) {
    loop {
        match shared.core.inbox.sweep().await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "inbox rows past their retention are gone"),
            Err(error) => tracing::warn!(%error, "inbox sweep failed, will try again"),
        }
        sleep(SWEEP_INTERVAL).await;
    }
}

fn reconnect_delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(RECONNECT_DELAY_MIN)
        .with_max_delay(RECONNECT_DELAY_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

/// `host:port` of an endpoint; without a scheme it is taken for gRPC.
fn authority(endpoint: &str) -> Result<String, Error> {
    let error =
        |reason: &str| Err(Error::Endpoint { endpoint: endpoint.to_owned(), reason: reason.to_owned() });
    let authority = match endpoint.split_once("://") {
        Some(("grpc", authority)) => authority.trim_end_matches('/'),
        Some((scheme, _)) => {
            return error(&format!("scheme `{scheme}` is not served here, `grpc://host:port` is"));
        }
        None => endpoint,
    };
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(authority.to_owned()),
        Some(_) | None => error("expected `grpc://host:port`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_or_say_what_they_should_be() {
        assert_eq!(authority("grpc://127.0.0.1:7420").expect("plain"), "127.0.0.1:7420");
        assert_eq!(authority("grpc://[::1]:7420/").expect("v6"), "[::1]:7420");
        assert_eq!(authority("saga.local:7420").expect("as a welcome names it"), "saga.local:7420");
        let message = authority("amqp://broker:5672").expect_err("no broker here").to_string();
        assert!(message.contains("`amqp` is not served here"), "{message}");
        assert!(authority("grpc://nowhere").is_err());
    }

    #[test]
    fn reconnects_wait_longer_each_time_and_never_stop() {
        let mut delays = reconnect_delays();
        let first = delays.next().expect("first");
        assert!((RECONNECT_DELAY_MIN..=2 * RECONNECT_DELAY_MIN).contains(&first), "{first:?}");
        let later = delays.nth(1_000).expect("for ever");
        assert!((RECONNECT_DELAY_MAX..=2 * RECONNECT_DELAY_MAX).contains(&later), "{later:?}");
    }
}
