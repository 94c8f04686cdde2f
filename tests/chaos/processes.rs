//! Real processes: where their programs lie, how they start, and how they are killed.

use std::{
    ffi::OsStr,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use saga_proto::v1::{
    DeployRequest, ListParticipantsRequest, SagaFile, definition_service_client::DefinitionServiceClient,
    participant_directory_client::ParticipantDirectoryClient,
};
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
    let found = test.ancestors().skip(1).take(3).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "no program `{name}` beside {}; build it in the same profile first: \
             cargo build -p saga-orchestrator --bin saga -p saga-examples --bin book_trip",
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

/// Starts a program that is killed when its handle is dropped. What it logs goes to `<dir>/<log>.log`.
pub fn start<A: AsRef<OsStr>>(path: &Path, args: &[A], endpoint: &str, dir: &Path, log: &str) -> Child {
    let log = File::options().create(true).append(true).open(dir.join(log).with_extension("log"));
    Command::new(path)
        .args(args)
        .env("SAGA_ENDPOINT", endpoint)
        // The server's lifeline: should this test be killed itself, the closing pipe ends it.
        .env("SAGA_LEASH", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log.expect("a log file"))
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A server on its own SQLite file and port, both of which outlive its process.
pub struct Server {
    dir: PathBuf,
    address: String,
    child: Child,
}

impl Server {
    /// Starts it in `dir` and waits until it answers.
    pub async fn start(dir: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port").to_string();
        let server = Self { dir: dir.to_owned(), child: Self::spawn(dir, &address), address };
        server.channel().await;
        server
    }

    fn spawn(dir: &Path, address: &str) -> Child {
        let store = dir.join("saga.db");
        let args =
            [OsStr::new("serve"), "--listen".as_ref(), address.as_ref(), "--store".as_ref(), store.as_ref()];
        start(&program("saga"), &args, "", dir, "server")
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
        self.child.kill().await.expect("the server ran until now");
        self.child = Self::spawn(&self.dir, &self.address);
        self.channel().await;
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
            let known = directory.list_participants(ListParticipantsRequest {}).await.ok()?.into_inner();
            let live = |name: &&str| {
                known.participants.iter().any(|known| known.name == **name && !known.instances.is_empty())
            };
            participants.iter().all(live).then_some(())
        })
        .await;
        let file = SagaFile { path: path.to_owned(), content: yaml.as_bytes().to_vec().into() };
        let request = DeployRequest { files: vec![file], dry_run: false };
        let answer = DefinitionServiceClient::new(channel).deploy(request).await.expect("the server runs");
        let answer = answer.into_inner();
        assert!(answer.accepted, "{:#?}", answer.diagnostics);
    }
}

/// A connection, if the server answers.
pub async fn connect(url: &str) -> Option<Channel> {
    let endpoint =
        Channel::from_shared(url.to_owned()).expect("a URL").connect_timeout(Duration::from_secs(1));
    endpoint.connect().await.ok()
}

/// Some participants of the trip in one process, on SQLite inboxes that outlive it.
pub struct Participants {
    names: &'static [&'static str],
    endpoint: String,
    dir: PathBuf,
    child: Child,
}

impl Participants {
    /// Starts those named, with their databases in `dir`.
    pub fn start(names: &'static [&'static str], server: &Server, dir: &Path) -> Self {
        let endpoint = server.endpoint();
        let child = Self::spawn(names, &endpoint, dir);
        Self { names, endpoint, dir: dir.to_owned(), child }
    }

    fn spawn(names: &[&str], endpoint: &str, dir: &Path) -> Child {
        let mut args = vec![OsStr::new("--dir"), dir.as_os_str()];
        args.extend(names.iter().map(OsStr::new));
        start(&program("book_trip"), &args, endpoint, dir, names[0])
    }

    /// SIGKILL, and a new process on the same databases.
    pub async fn kill_and_restart(&mut self) {
        self.child.kill().await.expect("the participants ran until now");
        self.child = Self::spawn(self.names, &self.endpoint, &self.dir);
    }
}
