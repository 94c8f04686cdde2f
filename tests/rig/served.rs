//! Programs of their own: the server as `saga serve`, participants as their service, killed outright where a test says so.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    client::Clients,
    ports::Port,
    wait::{eventually, within},
};

/// The program that was built beside this test.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let found = test
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no program `{name}` here: cargo build --workspace --bins"))
}

/// A running program, killed with its handle.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it; what it logs goes to `<log>.log` in a folder.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> Self {
        let log = folder.join(name).with_extension("log");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log");
        let child = Command::new(program(name))
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        Self { child, log }
    }

    /// Its process, for tests that send it a signal while somebody else looks at it.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn id(&self) -> String {
        self.child.id().expect("it runs").to_string()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal, as `kill` names it: `STOP`, `CONT`.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "{name}: {sent}");
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it had ended before.
    pub async fn kill(&mut self) {
        assert!(
            self.child.try_wait().expect("a child").is_none(),
            "it had ended: {}",
            self.logged()
        );
        self.child.kill().await.expect("killed");
    }
}

/// What a client printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Notes and errors.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
}

/// `saga serve` on a port of its own, and what it is started with.
pub struct Served {
    /// Calls it.
    pub clients: Clients,
    /// Its process.
    pub program: Program,
    folder: TempDir,
    arguments: Vec<String>,
    port: Port,
}

/// The server refuses since it does not own its store.
#[must_use]
pub fn is_standing_by(refusal: &tonic::Status) -> bool {
    refusal
        .metadata()
        .get("saga-code")
        .is_some_and(|code| code == "A0507")
}

impl Served {
    /// Starts a server on an SQLite file of its own, or on the store that the arguments name, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(arguments: &[&str]) -> Self {
        let served = Self::launch(arguments);
        served.answers().await;
        served
    }

    /// Starts a server on a store that another one owns, and waits until it says that it stands by.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start_standing_by(arguments: &[&str]) -> Self {
        let served = Self::launch(arguments);
        let look = || async {
            served
                .clients
                .try_get("x")
                .await
                .err()
                .filter(is_standing_by)
        };
        eventually("the server to stand by", look).await;
        served
    }

    fn launch(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Reserved for as long as it may be killed and started again.
        let port = Port::reserve();
        let address = port.address();
        let mut all = vec![
            "serve".to_owned(),
            "--listen".to_owned(),
            address.to_string(),
        ];
        if !arguments.contains(&"--store") {
            all.extend([
                "--store".to_owned(),
                folder.path().join("saga.db").display().to_string(),
            ]);
        }
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let (clients, program) = (Clients::new(address), launch(&all, folder.path()));
        Self {
            clients,
            program,
            folder,
            arguments: all,
            port,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// A folder that goes away with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `saga` with these arguments as a client of the server, until it ends by itself.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ask(&self, arguments: &[&str]) -> Ran {
        let began = Instant::now();
        let running = Command::new(program("saga"))
            .args(arguments)
            .env("SAGA_ENDPOINT", format!("grpc://{}", self.address()))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ended = within(&format!("the end of saga {arguments:?}"), running)
            .await
            .expect("it runs");
        Ran {
            code: ended.status.code().expect("an exit code"),
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
            took: began.elapsed(),
        }
    }

    /// Kills it and starts it again as it was.
    pub async fn kill_and_revive(&mut self) {
        self.program.kill().await;
        self.revive().await;
    }

    /// Starts it again after it was killed.
    pub async fn revive(&mut self) {
        self.program = launch(&self.arguments, self.folder.path());
        self.answers().await;
    }

    async fn answers(&self) {
        // A connection that breaks is no answer, and neither is that of a server that stands by.
        let answered = |refusal: &tonic::Status| {
            refusal.metadata().contains_key("saga-code") && !is_standing_by(refusal)
        };
        let look = || async { self.clients.try_get("x").await.err().filter(answered) };
        eventually("the server to answer", look).await;
    }
}

fn launch(arguments: &[String], folder: &Path) -> Program {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Program::start("saga", &arguments, &[], folder)
}
