//! The road over RabbitMQ: commands from two queues, answers through one exchange.
//!
//! A participant declares nothing: it reads `saga.cmd.<name>` and `saga.undo.<name>` and writes `saga.reply.<name>`, all of
//! which the orchestrator makes. Until they are there it waits, and says for what. A command is acknowledged when its
//! answer is confirmed, so that whatever dies in between brings it again, and the inbox answers.
//!
//! In reading order: `session.rs` (one connection, from hello to goodbye), `plain.rs` (commands that come one a message),
//! `unacked.rs` (what is not done with), `post.rs` (what goes out), `refusal.rs` (what is said when the broker does not let us in).

mod plain;
mod post;
mod refusal;
mod session;
mod unacked;

use std::{
    future::Future,
    path::PathBuf,
    pin::pin,
    sync::{Arc, atomic::Ordering},
};

use lapin::uri::AMQPUri;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) use post::Post;

use self::session::Ended;
use super::{
    Budgets, Error,
    dispatch::Workers,
    supervisor::{RECONNECT_DELAY_MAX, keep_claims, reconnect_delays, stuck, sweep},
};
use crate::{execute::Core, inbox::Store, unheard::Connectedness};

/// Names a file with the password for the broker, which then is not in the endpoint.
pub(super) const PASSWORD_FILE_VARIABLE: &str = "SAGA_ENDPOINT_PASSWORD_FILE";
/// Names a file with certificates (PEM) that the broker's is checked against, beside the well-known ones.
pub(super) const CA_VARIABLE: &str = "SAGA_ENDPOINT_CA";

/// What all connections of a participant share.
struct Road<S: Store> {
    core: Arc<Core<S>>,
    workers: Workers,
    budgets: Budgets,
    instance: String,
    stop: CancellationToken,
    uri: AMQPUri,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

/// Does the endpoint name a broker?
pub(super) fn is_broker(endpoint: &str) -> bool {
    endpoint.starts_with("amqp://") || endpoint.starts_with("amqps://")
}

pub(super) async fn serve<S: Store>(
    core: Arc<Core<S>>,
    endpoint: &str,
    budgets: Budgets,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let uri = endpoint
        .parse::<AMQPUri>()
        .map_err(|reason| Error::Endpoint {
            // The rest may hold a password.
            endpoint: endpoint
                .rsplit_once('@')
                .map_or(endpoint, |(_, place)| place)
                .to_owned(),
            reason,
        })?;
    let stop = CancellationToken::new();
    // Dropped at the end of this function, whichever way it ends.
    let _stop = stop.clone().drop_guard();
    tokio::spawn(sweep(core.clone(), stop.clone()));
    let _claims = keep_claims(&core);
    let road = Road {
        workers: Workers::new(&budgets),
        core,
        budgets,
        instance: Uuid::now_v7().to_string(),
        stop,
        uri,
        password_file: std::env::var_os(PASSWORD_FILE_VARIABLE).map(PathBuf::from),
        ca_file: std::env::var_os(CA_VARIABLE).map(PathBuf::from),
    };
    let mut serving = pin!(keep_connected(&road));
    tokio::select! {
        ended = &mut serving => return ended,
        () = road.core.stuck.cancelled() => return Err(stuck(&road.core)),
        () = shutdown => {
            road.workers.drained_at();
            road.stop.cancel();
        }
    }
    serving.await?;
    road.core
        .blocked
        .fetch_add(road.workers.drain().await, Ordering::Relaxed);
    Ok(())
}

async fn keep_connected<S: Store>(road: &Road<S>) -> Result<(), Error> {
    let place = &road.uri.authority;
    let mut way = Connectedness::new(
        &road.core.name,
        format!("{}://{}:{}", road.uri.scheme, place.host, place.port),
    );
    let mut delays = reconnect_delays();
    loop {
        let why = match session::run(road, &mut way).await {
            Ended::Drained => return Ok(()),
            Ended::Refused(reason) => {
                return Err(Error::Refused {
                    participant: road.core.name.clone(),
                    reason,
                });
            }
            Ended::Lost { why, served } => {
                if served {
                    delays = reconnect_delays();
                }
                why
            }
        };
        let delay = delays.next().unwrap_or(RECONNECT_DELAY_MAX);
        way.lost(&why, delay);
        tokio::select! {
            () = road.stop.cancelled() => return Ok(()),
            () = sleep(delay) => {}
        }
    }
}
