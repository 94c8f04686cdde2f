//! `saga dev`: a server with the saga files of a folder, for the first minute and for every day of development.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use saga_dsl::file;
use saga_orchestrator::{
    config::{self, Written},
    server::Running,
};
use saga_proto::v1::{DeployResponse, SagaFile};

use super::{
    client::{Endpoint, Server},
    deploy,
    exit::{Exit, Failure},
    files, log,
    output::{self, printable},
    serve,
    words::Tone,
};

const EXAMPLES: &str = "\
Examples:
  saga dev                      the saga files of this folder, store ./saga.db
  saga dev sagas/ --ephemeral   keeps nothing

A file with faults is skipped, and its faults are shown; the others are registered.";

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
    /// Where sagas are kept: the path of an SQLite file
    #[arg(long, env = "SAGA_STORE", value_name = "PATH", default_value = config::DEFAULT_STORE, hide_env_values = true)]
    store: String,
    /// Keep nothing: the store is a temporary file
    #[arg(long)]
    ephemeral: bool,
    /// Format of the log, which goes to stderr
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: log::Format,
}

/// Runs `saga dev`.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    log::begin(args.log, "warn")?;
    // A slip in the folder's name is told before anything is started.
    let found = files::saga_files(&args.dir)?;
    let temporary = if args.ephemeral { Some(Temporary::new()?) } else { None };
    let store = match &temporary {
        Some(folder) => folder.0.join("saga.db").display().to_string(),
        None => args.store.clone(),
    };
    let written = Written { listen: args.listen.clone(), store: store.clone(), ..Written::default() };
    let running = serve::start(written.read().map_err(|error| serve::misconfigured(&error))?).await?;
    let kept = (!args.ephemeral).then_some(store.as_str());
    if let Err(failure) = welcome(&running, &args.dir, &found, kept).await {
        running.shutdown().cancel();
        // The first failure is the one to tell.
        let _ = running.join().await;
        return Err(failure);
    }
    let ended = serve::until_told(running, || output::note("stopping: finishing what is in flight")).await?;
    output::note("stopped");
    Ok(ended)
}

/// Registers what there is and says how to go on.
async fn welcome(
    running: &Running,
    dir: &Path,
    found: &[PathBuf],
    store: Option<&str>,
) -> Result<(), Failure> {
    let endpoint = endpoint_of(running.address())?;
    let server = Server::connect(&endpoint).await?;
    let mut board = Board::default();
    for path in found {
        let name = path.display().to_string();
        match register(&server, &name).await {
            Ok((answer, bytes)) => board.add(&name, &answer, &bytes),
            Err(failure) if failure.exit() == Exit::Unreachable => return Err(failure),
            Err(failure) => {
                output::failure(&failure);
                board.lines.push(format!("{} {} skipped", Tone::Bad.paint("✗"), printable(&name)));
            }
        }
    }
    output::data(&board.screen(&endpoint, dir, store))
}

async fn register(server: &Server, name: &str) -> Result<(DeployResponse, Vec<u8>), Failure> {
    let bytes = files::read(name, files::SAGA_FILE_BYTES_MAX)?;
    let file = SagaFile { path: name.to_owned(), content: bytes.clone().into() };
    let answer = deploy::deploy(server, vec![file], false).await?;
    // Notes about participants that are not there yet would be about each of them, every time.
    for diagnostic in answer.diagnostics.iter().filter(|diagnostic| diagnostic.severity != "note") {
        output::note(&deploy::shown(diagnostic));
    }
    Ok((answer, bytes))
}

/// What the first screen says.
#[derive(Default)]
struct Board {
    lines: Vec<String>,
    /// A definition to start, for the example.
    first: Option<String>,
    participants: BTreeSet<String>,
}

impl Board {
    fn add(&mut self, path: &str, answer: &DeployResponse, bytes: &[u8]) {
        let path = printable(path);
        if !answer.accepted {
            let faults =
                answer.diagnostics.iter().filter(|diagnostic| diagnostic.severity == "error").count();
            let noun = if faults == 1 { "fault" } else { "faults" };
            self.lines.push(format!("{} {path} skipped: {faults} {noun}", Tone::Bad.paint("✗")));
            return;
        }
        for deployed in &answer.deployed {
            let sign = if deployed.created { Tone::Good.paint("✔") } else { Tone::Dim.paint("=") };
            self.lines.push(format!("{sign} {}@{}  {path}", printable(&deployed.name), deployed.version));
            self.first.get_or_insert_with(|| deployed.name.clone());
        }
        if let Some(plan) = file::load(&path, bytes).plan {
            for step in plan.steps {
                self.participants.insert(step.action.participant);
                self.participants.extend(step.compensation.map(|undo| undo.participant));
            }
        }
    }

    fn screen(&self, endpoint: &Endpoint, dir: &Path, store: Option<&str>) -> String {
        let keeps = match store {
            Some(path) => format!("store {}", printable(path)),
            None => "keeps nothing".to_owned(),
        };
        let mut text = format!("saga {} at {endpoint}, {keeps}\n\n", env!("CARGO_PKG_VERSION"));
        for line in &self.lines {
            text += &format!("{line}\n");
        }
        if self.lines.is_empty() {
            text +=
                &format!("no *.saga.yaml in {}: saga deploy FILE\n", printable(&dir.display().to_string()));
        }
        let elsewhere = endpoint.to_string() != format!("grpc://{}", config::DEFAULT_LISTEN);
        text += "\nnext\n";
        if elsewhere {
            text += &format!("  export SAGA_ENDPOINT={endpoint}\n");
        }
        if !self.participants.is_empty() {
            let names: Vec<&str> = self.participants.iter().map(String::as_str).collect();
            text += &format!("  connect participants      {}\n", names.join(", "));
        }
        if let Some(name) = &self.first {
            text += &format!("  saga start {name} -i input.json --watch\n");
        }
        text += "  saga list                 what is going on\n  saga watch                the same, live\n";
        text + "\nCtrl-C stops the server\n"
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
    text.parse().map_err(|error| Failure::error(format!("{text}: {error}")))
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
    use super::super::output::bare;
    use super::*;
    use saga_proto::v1::{Deployed, Diagnostic};

    const TRIP: &[u8] = b"saga: trip\nversion: 1\nsteps:\n  - step: book\n    action: flights/reserve\n    compensation: flights/cancel\n  - step: charge\n    kind: pivot\n    action: payments/charge\n";

    fn answer(accepted: bool) -> DeployResponse {
        let fault = Diagnostic { severity: "error".into(), ..Diagnostic::default() };
        let deployed = Deployed { name: "trip".into(), version: 1, hash: String::new(), created: true };
        DeployResponse {
            deployed: if accepted { vec![deployed] } else { vec![] },
            diagnostics: if accepted { vec![] } else { vec![fault.clone(), fault] },
            accepted,
        }
    }

    #[test]
    fn the_first_screen() {
        let mut board = Board::default();
        board.add("sagas/broken.saga.yaml", &answer(false), b"");
        board.add("sagas/trip.saga.yaml", &answer(true), TRIP);
        let endpoint = "grpc://127.0.0.1:7420".parse().expect("an endpoint");
        insta::assert_snapshot!(bare(&board.screen(&endpoint, Path::new("sagas"), Some("./saga.db"))));
    }

    #[test]
    fn an_empty_folder_and_another_port() {
        let endpoint = "grpc://127.0.0.1:9999".parse().expect("an endpoint");
        insta::assert_snapshot!(bare(&Board::default().screen(&endpoint, Path::new("sagas"), None)));
    }

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
