//! `saga dev`: a server with the saga files of a folder, for the first minute and for every day of development.

mod board;
mod folder;
mod mock;

use std::{
    convert::Infallible,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use saga_server::{
    Running,
    config::{self, Written},
};
use tokio::time::MissedTickBehavior;

use saga_lab::mock::Mocks;

use self::folder::Folder;
use crate::{
    client::{Endpoint, Server},
    exit::{Exit, Failure},
    files,
    server::{log, serve},
    show::output,
};

/// How often the folder is looked at. Watching it by events would need a crate for every platform, to save a few
/// reads of small files.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  saga dev                      the saga files of this folder, store ./saga.db
  saga dev sagas/ --ephemeral   keeps nothing
  saga dev sagas/ --mock all    answers for every service that is not there yet

A file with faults is skipped, and its faults are shown.
A file is tried again when it changes.";

/// Arguments of `saga dev`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder with *.saga.yaml files
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Address to listen on
    #[arg(long, env = "SAGA_LISTEN", value_name = "HOST:PORT", default_value = config::DEFAULT_LISTEN, hide_env_values = true)]
    listen: String,
    /// Where sagas are kept: the path of an SQLite file [default: ./saga.db, with --mock nothing is kept]
    #[arg(long, env = "SAGA_STORE", value_name = "PATH", hide_env_values = true)]
    store: Option<String>,
    /// Keep nothing: the store is a temporary file
    #[arg(long)]
    ephemeral: bool,
    /// Answer for this participant with made-up outputs; `all` stands for everyone whom the files name
    #[arg(long = "mock", value_name = "PARTICIPANT")]
    mocks: Vec<String>,
    /// Format of the log, which goes to stderr
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: log::Format,
}

/// Runs `saga dev`.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    log::begin(args.log, "warn")?;
    // A slip in the folder's name is told before anything is started.
    files::saga_files(&args.dir)?;
    // A mock's inbox goes away with it, and a store that outlived it would refuse the service that comes after.
    let keeps_nothing = args.ephemeral || (args.store.is_none() && !args.mocks.is_empty());
    let temporary = if keeps_nothing {
        Some(Temporary::new()?)
    } else {
        None
    };
    let store = match (&temporary, args.store) {
        (Some(folder), _) => folder.0.join("saga.db").display().to_string(),
        (None, Some(store)) => store,
        (None, None) => config::DEFAULT_STORE.to_owned(),
    };
    let inboxes = match &temporary {
        Some(folder) => folder.0.clone(),
        None => PathBuf::from(format!("{store}.mocks")),
    };
    if !args.mocks.is_empty() && temporary.is_none() {
        fs::create_dir_all(&inboxes).map_err(|error| {
            Failure::error(format!("cannot make {}: {error}", inboxes.display()))
        })?;
    }
    let written = Written {
        listen: args.listen.clone(),
        store: store.clone(),
        ..Written::default()
    };
    let running = serve::start(
        written
            .read()
            .map_err(|error| serve::misconfigured(&error))?,
    )
    .await?;
    running.owns().await;
    let kept = temporary.is_none().then_some(store.as_str());
    let ended = host(running, &args.dir, kept, &args.mocks, &inboxes).await?;
    output::note("stopped");
    Ok(ended)
}

async fn host(
    running: Running,
    dir: &Path,
    store: Option<&str>,
    wanted: &[String],
    inboxes: &Path,
) -> Result<Exit, Failure> {
    let endpoint = endpoint_of(running.address())?;
    let mut folder = Folder::new(dir, store.is_some());
    let mut mocks = Mocks::new(wanted, inboxes, endpoint.to_string(), mock::show);
    let server = match Server::connect(&endpoint).await {
        Ok(server) => welcome(&server, &mut folder, &mut mocks, &endpoint, dir, store)
            .await
            .map(|()| server),
        Err(failure) => Err(failure),
    };
    let server = match server {
        Ok(server) => server,
        Err(failure) => {
            running.shutdown().cancel();
            // The first failure is the one to tell.
            let _ = running.join().await;
            return Err(failure);
        }
    };
    let stop = mocks.stop();
    let told = || {
        output::note("stopping: finishing what is in flight");
        stop.cancel();
    };
    tokio::select! {
        ended = serve::until_told(running, told) => ended,
        never = keep_up(&server, &mut folder, &mut mocks) => match never {},
    }
}

/// Registers what there is and says how to go on.
async fn welcome(
    server: &Server,
    folder: &mut Folder,
    mocks: &mut Mocks,
    endpoint: &Endpoint,
    dir: &Path,
    store: Option<&str>,
) -> Result<(), Failure> {
    let outcomes = folder.look(server).await?;
    if mocks.follow(folder.plans()) {
        // A store that is kept may know less of a mock than the mock will serve in a moment.
        folder.try_again(&outcomes);
    }
    output::data(&board::screen(&outcomes, endpoint, dir, store, &|name| {
        mocks.plays(name)
    }))
}

/// Looks at the folder again and again. A look that fails says nothing: while the server goes down all do, and a
/// folder that is being moved comes back.
async fn keep_up(server: &Server, folder: &mut Folder, mocks: &mut Mocks) -> Infallible {
    let mut ticks = tokio::time::interval(LOOK_AGAIN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A file is held against what participants registered, so a mock that must serve more registers first. It has
        // until the next tick.
        if folder.read().is_ok() && mocks.follow(folder.plans()) {
            continue;
        }
        for outcome in folder.look(server).await.unwrap_or_default() {
            let _ = output::line(&board::line(&outcome));
        }
    }
}

/// Where a client on this machine reaches a server that listens on `address`.
fn endpoint_of(address: SocketAddr) -> Result<Endpoint, Failure> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let text = format!("grpc://{}", SocketAddr::new(ip, address.port()));
    text.parse()
        .map_err(|error| Failure::error(format!("{text}: {error}")))
}

/// A folder that goes away with the server.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("saga-dev-{}", uuid::Uuid::now_v7()));
        make_private(&path).map_err(|error| {
            Failure::error(format!("cannot make {}: {error}", path.display())).help("set TMPDIR")
        })?;
        Ok(Self(path))
    }
}

/// Journals hold business data: nobody else on this machine may read them.
fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            output::note(&format!("cannot remove {}: {error}", self.0.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_reached_over_loopback() {
        let of = |address: &str| {
            endpoint_of(address.parse().expect("an address"))
                .map(|endpoint| endpoint.to_string())
                .expect("valid")
        };
        assert_eq!(of("0.0.0.0:7420"), "grpc://127.0.0.1:7420");
        assert_eq!(of("[::]:1"), "grpc://[::1]:1");
        assert_eq!(of("127.0.0.1:5"), "grpc://127.0.0.1:5");
    }

    #[test]
    fn a_temporary_store_goes_away() {
        let folder = Temporary::new().expect("made");
        let path = folder.0.clone();
        fs::write(path.join("saga.db"), "x").expect("written");
        drop(folder);
        assert!(!path.exists());
    }
}
