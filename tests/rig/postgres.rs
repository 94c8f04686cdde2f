//! A PostgreSQL server of our own: private folder, free port, an unprivileged user, gone with the process.
//!
//! One server serves a whole test binary; each test gets a database of its own. `SAGA_TEST_POSTGRES_URL` names a server to
//! use instead, as a role that may create databases.

use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use crate::{ports::Port, unprivileged};

const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// The user that servers run as when the tests run as root, which PostgreSQL refuses.
const UNPRIVILEGED: &str = "postgres";

/// A private server. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    port: Port,
    user: Option<(u32, u32)>,
    bin: PathBuf,
    /// A shell that stops the server when its own input ends: also when this process is killed.
    keeper: Option<Child>,
}

impl Postgres {
    /// Starts a server.
    ///
    /// # Panics
    /// When PostgreSQL is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let server = Self::prepare();
        let made = server
            .command("initdb")
            .args([
                "--username",
                "postgres",
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
            ])
            .args(["--no-sync", "--pgdata"])
            .arg(server.data())
            .output()
            .expect("initdb runs");
        server.launched("initdb", &made)
    }

    /// Starts a standby of this server.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let server = Self::prepare();
        let made = server
            .command("pg_basebackup")
            .args([
                "--write-recovery-conf",
                "--no-sync",
                "--checkpoint=fast",
                "--wal-method=stream",
            ])
            .args([
                "--username",
                "postgres",
                "--host",
                "127.0.0.1",
                "--port",
                &self.port.to_string(),
            ])
            .arg("--pgdata")
            .arg(server.data())
            .output()
            .expect("pg_basebackup runs");
        server.launched("pg_basebackup", &made)
    }

    /// Makes a primary of a standby.
    ///
    /// # Panics
    /// When it does not become one.
    pub fn promote(&self) {
        let promoted = self
            .command("pg_ctl")
            .args(["promote", "--wait", "--pgdata"])
            .arg(self.data())
            .output();
        let promoted = promoted.expect("pg_ctl runs");
        assert!(
            promoted.status.success(),
            "pg_ctl: {}",
            String::from_utf8_lossy(&promoted.stderr)
        );
    }

    /// `host:port`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Gives a folder to the user that the server runs as.
    ///
    /// # Panics
    /// When that is not allowed.
    pub fn give(&self, folder: &std::path::Path) {
        if let Some((uid, gid)) = self.user {
            chown(folder, Some(uid), Some(gid)).expect("another owner");
        }
    }

    /// An empty folder and a free port.
    fn prepare() -> Self {
        let bin = bin().expect(
            "PostgreSQL is not there: apt-get install postgresql, or set SAGA_TEST_POSTGRES_URL",
        );
        let folder = TempDir::new().expect("a folder");
        let port = Port::reserve();
        let user = unprivileged::user(UNPRIVILEGED).expect("a user for the server");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("permissions");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("permissions");
        if let Some((uid, gid)) = user {
            for owned in [folder.path(), &data] {
                chown(owned, Some(uid), Some(gid)).expect("another owner");
            }
        }
        Self {
            folder,
            port,
            user,
            bin,
            keeper: None,
        }
    }

    fn launched(mut self, program: &str, made: &std::process::Output) -> Self {
        assert!(
            made.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        self.launch();
        self
    }

    /// A URL of one of its databases.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{database}",
            self.port.number()
        )
    }

    /// Kills the server and all its sessions where they stand, as a power cut would.
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill(&mut self) {
        self.stop("immediate");
        if let Some(mut keeper) = self.keeper.take() {
            keeper
                .stdin
                .take()
                .expect("its input")
                .write_all(b"keep\n")
                .expect("it reads");
            keeper.wait().expect("it ends");
        }
    }

    /// Starts it again after [`Postgres::kill`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn revive(&mut self) {
        // The lock file of the server that was killed names a process that is gone.
        self.launch();
    }

    fn stop(&self, mode: &str) {
        let stopped = self
            .command("pg_ctl")
            .args(["stop", "--wait", "--mode", mode, "--pgdata"])
            .arg(self.data())
            .output()
            .expect("pg_ctl runs");
        assert!(
            stopped.status.success(),
            "pg_ctl: {}",
            String::from_utf8_lossy(&stopped.stderr)
        );
    }

    fn launch(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("a log");
        // Told to keep the folder, or left alone: then nobody is there any more who would remove it.
        let script = "folder=$1; shift\n\
             \"$@\" </dev/null & server=$!\n\
             read word\n\
             kill -INT $server 2>/dev/null\n\
             wait $server\n\
             [ \"$word\" = keep ] || rm -rf \"$folder\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(self.folder.path());
        command
            .arg(self.bin.join("postgres"))
            .arg("-D")
            .arg(self.data());
        for setting in [
            format!("port={}", self.port.number()),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.data().display()),
            "max_connections=200".to_owned(),
        ] {
            command.arg("-c").arg(setting);
        }
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        self.dress(&mut command);
        self.keeper = Some(command.spawn().expect("a shell"));
        let began = Instant::now();
        while !self.is_ready() {
            assert!(
                began.elapsed() < STARTS_WITHIN,
                "PostgreSQL does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self) -> bool {
        let asked = self
            .command("pg_isready")
            .args([
                "--quiet",
                "--host",
                "127.0.0.1",
                "--port",
                &self.port.number().to_string(),
            ])
            .status();
        asked.is_ok_and(|status| status.success())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        self.dress(&mut command);
        command
    }

    fn dress(&self, command: &mut Command) {
        command.current_dir(self.folder.path());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            // The end of its input stops the server; the folder goes when it is at rest.
            drop(keeper.stdin.take());
            keeper.wait().ok();
        }
    }
}

/// The newest installed server's programs.
fn bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").exists().then_some((version, bin))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

/// A database of its own on the server of this test binary; its URL.
///
/// # Panics
/// When the server cannot be started or reached.
pub async fn database() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("saga_test_{}_{number}", std::process::id());
    let (admin, url) = match std::env::var("SAGA_TEST_POSTGRES_URL") {
        Ok(given) => {
            let (server, _) = given
                .rsplit_once('/')
                .expect("SAGA_TEST_POSTGRES_URL ends in /database");
            (given.clone(), format!("{server}/{name}"))
        }
        Err(_) => {
            let server = tokio::task::spawn_blocking(shared).await.expect("a server");
            (server.url("postgres"), server.url(&name))
        }
    };
    let mut admin = PgConnection::connect(&admin)
        .await
        .expect("the server answers");
    let create = format!("CREATE DATABASE {name}");
    sqlx::query(AssertSqlSafe(create))
        .execute(&mut admin)
        .await
        .expect("a database");
    url
}

/// The same, as a server's option names it.
pub async fn database_place() -> saga_server::config::Store {
    saga_server::config::Store::Postgres {
        url: database().await,
        unsafe_durability: false,
    }
}

fn shared() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::start)
}
