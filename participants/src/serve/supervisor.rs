//! Keeps the streams up: dials, dials again, learns of further orchestrators, and ends in order.

use std::{
    collections::HashSet,
    future::Future,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use super::{
    Budgets, Error, amqp, authority,
    dispatch::Workers,
    grpc::{self, Ended, Shared},
};
use crate::{
    execute::Core,
    inbox::{Inbox, Store},
    unheard::Connectedness,
};

const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);
/// Jitter adds up to as much again on small delays; the longest wait stays near five seconds.
pub(super) const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(2_500);

/// An orchestrator that was only named by another is given up after so long; it will be named again.
const LEARNED_ADDRESS_PATIENCE: Duration = Duration::from_secs(120);

const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

pub(crate) async fn serve<S: Store>(
    core: Arc<Core<S>>,
    endpoint: &str,
    budgets: Budgets,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    if amqp::is_broker(endpoint) {
        return amqp::serve(core, endpoint, budgets, shutdown).await;
    }
    let authority = authority(endpoint)?;
    let (addresses, mut welcomed) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        workers: Workers::new(&budgets),
        instance: Uuid::now_v7().to_string(),
        core,
        stop: CancellationToken::new(),
        addresses,
    });
    // Dropped at the end of this function, whichever way it ends.
    let _stop = shared.stop.clone().drop_guard();
    tokio::spawn(sweep(shared.core.clone(), shared.stop.clone()));
    let _claims = keep_claims(&shared.core);

    let mut known = HashSet::from([authority.clone()]);
    let mut streams = JoinSet::new();
    streams.spawn(keep_connected(shared.clone(), authority, false));
    let mut shutdown = pin!(shutdown);
    let result = loop {
        tokio::select! {
            () = &mut shutdown, if !shared.stop.is_cancelled() => {
                shared.workers.drained_at();
                shared.stop.cancel();
            }
            () = shared.core.stuck.cancelled() => break Err(stuck(&shared.core)),
            Some(addresses) = welcomed.recv(), if !shared.stop.is_cancelled() => {
                // A single address is the one that was dialed, perhaps under another name.
                let others = addresses.len() > 1;
                for authority in addresses.iter().filter_map(|a| super::authority(a).ok()).filter(|_| others) {
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
    if result.is_ok() {
        shared
            .core
            .blocked
            .fetch_add(shared.workers.drain().await, Ordering::Relaxed);
    }
    result
}

/// Keeps a stream to one orchestrator up until the shutdown. Returns the address when it gives it up.
async fn keep_connected<S: Store>(
    shared: Arc<Shared<S>>,
    authority: String,
    learned: bool,
) -> Result<Option<String>, Error> {
    let endpoint = grpc::endpoint(&authority).map_err(|error| Error::Endpoint {
        endpoint: authority.clone(),
        reason: error.to_string(),
    })?;
    let mut way = Connectedness::new(&shared.core.name, authority.clone());
    let mut delays = reconnect_delays();
    let mut registered = false;
    let mut failing_since = None;
    loop {
        let why = match grpc::run(&shared, &endpoint, &mut way).await {
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
                return Err(Error::Refused {
                    participant,
                    reason: status.message().to_owned(),
                });
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
        if learned
            && failing_since.get_or_insert_with(Instant::now).elapsed() > LEARNED_ADDRESS_PATIENCE
        {
            tracing::info!(
                authority,
                why,
                "orchestrator given up until it is named again"
            );
            return Ok(Some(authority));
        }
        let delay = delays.next().unwrap_or(RECONNECT_DELAY_MAX);
        way.lost(&why, delay);
        tokio::select! {
            () = shared.stop.cancelled() => return Ok(None),
            () = sleep(delay) => {}
        }
    }
}

/// Why a participant ends whose inbox a handler blocks.
pub(super) fn stuck<S: Store>(core: &Core<S>) -> Error {
    Error::Stuck {
        participant: core.name.clone(),
    }
}

/// Gives signs of life for accepted work until the result is dropped, which is when serving is over: later than `stop`.
pub(super) fn keep_claims<S: Store>(core: &Arc<Core<S>>) -> AbortOnDropHandle<()> {
    let core = core.clone();
    AbortOnDropHandle::new(tokio::spawn(async move { core.inbox.keep_claims().await }))
}

/// Removes rows of the inbox whose time is over, until `stop`.
pub(super) async fn sweep<S: Store>(core: Arc<Core<S>>, stop: CancellationToken) {
    loop {
        match core.inbox.sweep().await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "inbox rows past their retention are gone"),
            Err(error) => tracing::warn!(%error, "inbox sweep failed, will try again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(SWEEP_INTERVAL) => {}
        }
    }
}

pub(super) fn reconnect_delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(RECONNECT_DELAY_MIN)
        .with_max_delay(RECONNECT_DELAY_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_wait_longer_each_time_and_never_stop() {
        let mut delays = reconnect_delays();
        let first = delays.next().expect("first");
        assert!(
            (RECONNECT_DELAY_MIN..=2 * RECONNECT_DELAY_MIN).contains(&first),
            "{first:?}"
        );
        let later = delays.nth(1_000).expect("for ever");
        assert!(
            (RECONNECT_DELAY_MAX..=2 * RECONNECT_DELAY_MAX).contains(&later),
            "{later:?}"
        );
    }
}
