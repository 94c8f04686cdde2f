//! Real processes: where their programs lie, how they start, and how they are killed.

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use saga_proto::v1::{
    DeployRequest, ListParticipantsRequest, SagaFile,
    definition_service_client::DefinitionServiceClient,
    participant_directory_client::ParticipantDirectoryClient,
};
use saga_tests::ports::Port;
use tokio::{
    process::{Child, Command},
    time::sleep,
};
use tonic::transport::Channel;

/// Between two looks at a condition.
pub const POLL: Duration = Duration::from_millis(20);
/// Until a process is up; debug builds on a busy machine are slow.
const UP_LIMIT: Duration = Duration::from_secs(30);

/// The program that was built beside this test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let found = test
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "no program `{name}` beside {}; build it in the same profile first: \
             cargo build -p saga-cli --bin saga -p saga-examples --bin book_trip",
            test.display()
        )
    })
}

/// Looks until the condition holds.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < limit, "waited {limit:?} for: {what}");
        sleep(POLL).await;
    }
}

/// A running program, killed when its handle is dropped.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// SIGKILL.
    async fn kill(&mut self) {
        if let Err(error) = self.child.kill().await {
            panic!(
                "{}: it had ended before it was killed: {error}",
                self.log.display()
            );
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        /// Lines of a log that are enough to see what a program last did.
        const LINES: usize = 12;
        if std::thread::panicking() {
            // The folder goes away with the test, so what a failed test can tell, it tells now.
            let ended = self.child.try_wait();
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES)..];
            println!(
                "{} (ended: {ended:?})\n{}",
                self.log.display(),
                last.join("\n")
            );
        }
    }
}

/// Starts a program. What it logs goes to `<dir>/<log>.log`.
fn start<A: AsRef<OsStr>>(mut program: Command, args: &[A], dir: &Path, log: &str) -> Process {
    let path = dir.join(log).with_extension("log");
    let log = File::options().create(true).append(true).open(&path);
    let child = program
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log.expect("a log file"))
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program:?}: {error}"));
    Process { child, log: path }
}

/// A server on its own SQLite file and port, both of which outlive its process.
pub struct Server {
    program: &'static [&'static str],
    dir: PathBuf,
    address: String,
    _port: Port,
    process: Process,
}

/// The program itself and the verb that serves.
const SAGA: &[&str] = &["saga", "serve"];

impl Server {
    /// Starts it in `dir` and waits until it answers.
    pub async fn start(dir: &Path) -> Self {
        Self::start_program(SAGA, dir).await
    }

    /// Starts another program that takes the arguments of `saga serve` behind its own.
    pub async fn start_program(program: &'static [&'static str], dir: &Path) -> Self {
        let port = Port::reserve();
        let address = port.address().to_string();
        let process = Self::spawn(program, dir, &address);
        let server = Self {
            program,
            dir: dir.to_owned(),
            process,
            address,
            _port: port,
        };
        server.channel().await;
        server
    }

    fn spawn(words: &[&str], dir: &Path, address: &str) -> Process {
        let store = dir.join("saga.db");
        let mut args: Vec<&OsStr> = words[1..].iter().map(OsStr::new).collect();
        args.extend([
            OsStr::new("--listen"),
            address.as_ref(),
            "--store".as_ref(),
            store.as_ref(),
        ]);
        let mut saga = Command::new(program(words[0]));
        // Should this test be killed itself, the closing pipe ends the server.
        saga.env("SAGA_LEASH", "1");
        start(saga, &args, dir, "server")
    }

    /// As participants are told it.
    pub fn endpoint(&self) -> String {
        format!("grpc://{}", self.address)
    }

    /// As channels are told it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// SIGKILL in the midst of its work, and a new process on the same file.
    pub async fn kill_and_restart(&mut self) {
        self.process.kill().await;
        self.process = Self::spawn(self.program, &self.dir, &self.address);
        self.channel().await;
    }

    /// SIGKILL, and no new process.
    pub async fn kill(mut self) {
        self.process.kill().await;
    }

    /// A connection, once it answers.
    pub async fn channel(&self) -> Channel {
        let url = self.url();
        until("the server answers", UP_LIMIT, async || connect(&url).await).await
    }

    /// Waits until these participants are there, then deploys the file.
    pub async fn deploy(&self, participants: &[&str], path: &str, yaml: &str) {
        let channel = self.channel().await;
        let mut directory = ParticipantDirectoryClient::new(channel.clone());
        until("participants register", UP_LIMIT, async || {
            let known = directory
                .list_participants(ListParticipantsRequest::default())
                .await
                .ok()?
                .into_inner();
            let live = |name: &&str| {
                known
                    .participants
                    .iter()
                    .any(|known| known.name == **name && !known.instances.is_empty())
            };
            participants.iter().all(live).then_some(())
        })
        .await;
        let file = SagaFile {
            path: path.to_owned(),
            content: yaml.as_bytes().to_vec().into(),
        };
        let request = DeployRequest {
            files: vec![file],
            dry_run: false,
        };
        let answer = DefinitionServiceClient::new(channel)
            .deploy(request)
            .await
            .expect("the server runs");
        let answer = answer.into_inner();
        assert!(answer.accepted, "{:#?}", answer.diagnostics);
    }
}

/// A connection, if the server answers.
pub async fn connect(url: &str) -> Option<Channel> {
    let endpoint = Channel::from_shared(url.to_owned())
        .expect("a URL")
        .connect_timeout(Duration::from_secs(1));
    endpoint.connect().await.ok()
}

/// Some participants of the trip in one process, on SQLite inboxes that outlive it.
pub struct Participants {
    names: &'static [&'static str],
    endpoint: String,
    dir: PathBuf,
    process: Process,
}

impl Participants {
    /// Starts those named, with their databases in `dir`.
    pub fn start(names: &'static [&'static str], endpoint: String, dir: &Path) -> Self {
        let process = Self::spawn(names, &endpoint, dir);
        Self {
            names,
            endpoint,
            dir: dir.to_owned(),
            process,
        }
    }

    fn spawn(names: &[&str], endpoint: &str, dir: &Path) -> Process {
        let mut args = vec![OsStr::new("--dir"), dir.as_os_str()];
        args.extend(names.iter().map(OsStr::new));
        let mut book_trip = Command::new(program("book_trip"));
        book_trip.env("SAGA_ENDPOINT", endpoint);
        start(book_trip, &args, dir, names[0])
    }

    /// SIGKILL, and a new process on the same databases.
    pub async fn kill_and_restart(&mut self) {
        self.process.kill().await;
        self.process = Self::spawn(self.names, &self.endpoint, &self.dir);
    }
}
