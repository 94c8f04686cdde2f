//! `saga serve`: the server itself.

use saga_engine::store::{
    self,
    trouble::{Cause, Kind},
};
use saga_server::{
    Error, Running, Server,
    config::{self, Config, Written},
};

use super::log;
use crate::{
    exit::{Exit, Failure},
    show::output,
};

const EXAMPLES: &str = "\
Examples:
  saga serve
  saga serve --store /var/lib/saga/saga.db --log json
  saga serve --store postgres://saga@db.internal/sagas
  saga serve --broker amqp://saga@broker.internal --broker-password-file /run/secrets/broker
  saga serve --limits limits.yaml          limits and circuit breakers of participants
  saga serve --listen 127.0.0.1:0          a port that is free; the first line of stdout names it

SAGA_LOG (or RUST_LOG) says what is logged, as in SAGA_LOG=debug.
SIGTERM and Ctrl-C bring the server down in order; a second one ends it at once,
which loses nothing that was promised.";

/// Arguments of `saga serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    server: Written,
    /// Format of the log, which goes to stderr
    #[arg(
        long,
        env = "SAGA_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT",
        default_value = "text"
    )]
    log: log::Format,
}

/// Runs `saga serve`.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    if args.server.broker.is_some() {
        with_deep_stacks()?;
    }
    log::begin(args.log, "info")?;
    let config = args.server.read().map_err(|error| misconfigured(&error))?;
    let store = config.store.to_string();
    let running = start(config).await?;
    let address = running.address();
    // For whoever started us with port 0. A server whose stdout is closed goes on.
    let _ = output::line(&format!("listening on grpc://{address}"));
    let is_owner = running.is_owner();
    tracing::info!(%address, store, is_owner, version = env!("CARGO_PKG_VERSION"), "listening");
    until_told(running, || {
        tracing::info!("told to stop; finishing what is in flight")
    })
    .await
}

/// Bytes of stack for every thread of a server at a broker. A message whose headers are nested 18,000 deep, the most that
/// one frame holds, overflows the usual two mebibytes in the client library's own thread, which has no other setting.
/// Code that is not optimised takes several times as much of it. Only what is used of a stack costs memory.
const STACK_BYTES: usize = if cfg!(debug_assertions) { 256 } else { 64 } * 1024 * 1024;
const STACK_VARIABLE: &str = "RUST_MIN_STACK";

/// Begins this program anew with deep stacks, unless it has them.
fn with_deep_stacks() -> Result<(), Failure> {
    let set = std::env::var(STACK_VARIABLE)
        .ok()
        .and_then(|bytes| bytes.parse::<usize>().ok());
    if set.is_some_and(|bytes| bytes >= STACK_BYTES) {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        let failed =
            |error| Failure::error(format!("cannot begin anew with {STACK_VARIABLE}: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut arguments = std::env::args_os();
        let mut command = std::process::Command::new(program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        // Returns only when it fails.
        Err(failed(
            command
                .args(arguments)
                .env(STACK_VARIABLE, STACK_BYTES.to_string())
                .exec(),
        ))
    }
    #[cfg(not(unix))]
    Err(Failure::error(format!(
        "set {STACK_VARIABLE}={STACK_BYTES} before starting a server at a broker"
    )))
}

/// Starts a server.
pub async fn start(config: Config) -> Result<Running, Failure> {
    Server::start(config).await.map_err(|error| down(&error))
}

/// Serves until SIGTERM or Ctrl-C, or until the server goes down by itself.
pub async fn until_told(running: Running, told: impl FnOnce()) -> Result<Exit, Failure> {
    let shutdown = running.shutdown();
    let mut serving = std::pin::pin!(running.join());
    let mut signals = Signals::new()?;
    tokio::select! {
        ended = &mut serving => return ended.map(|()| Exit::Ok).map_err(|error| down(&error)),
        () = signals.next() => {}
    }
    told();
    shutdown.cancel();
    tokio::select! {
        ended = serving => ended.map(|()| Exit::Ok).map_err(|error| down(&error)),
        () = signals.next() => Err(Failure::error("stopped at once")
            .help("nothing that was promised is lost; the next start goes on where this one stopped")),
    }
}

/// An option that cannot be meant; its words name the remedy.
pub fn misconfigured(error: &config::Error) -> Failure {
    Failure::new(Exit::Usage, error.to_string())
}

fn down(error: &Error) -> Failure {
    let failure = Failure::error(error.to_string());
    match error {
        Error::Store {
            source: store::Error::Held { .. },
            ..
        } => failure.help("stop that server, or choose another file with --store"),
        Error::Store {
            source: store::Error::Unavailable(_),
            path,
        } if path.contains("://") => failure.help(
            "`saga serve` starts once that is put right; another database is named with --store",
        ),
        // Its words say what to do.
        Error::Store {
            source:
                store::Error::Unavailable(Cause {
                    kind: Kind::Moved, ..
                }),
            ..
        } => failure,
        Error::Store {
            source: store::Error::Unavailable(_),
            ..
        } => failure.help(
            "check that the folder exists and can be written, or choose another file with --store",
        ),
        Error::Bind { .. } => failure.help("choose another address with --listen"),
        Error::Store { .. }
        | Error::AddressInUse { .. }
        | Error::Reflection(_)
        | Error::LaneStopped
        | Error::Transport(_) => failure,
    }
}

/// What asks a server to go down.
struct Signals {
    #[cfg(unix)]
    term: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let term = signal(SignalKind::terminate())
                .map_err(|error| Failure::error(format!("cannot listen for SIGTERM: {error}")))?;
            Ok(Self { term })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.term.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
