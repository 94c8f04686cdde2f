//! A connection pooler of our own before a PostgreSQL server: private folder, free port, gone with its handle.

use std::{
    fs,
    io::Read,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use saga_engine::address::Parts;
use tempfile::TempDir;

use crate::{ports::Port, unprivileged};

const STARTS_WITHIN: Duration = Duration::from_secs(20);
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A private pooler.
#[derive(Debug)]
pub struct Pgbouncer {
    _folder: TempDir,
    port: Port,
    /// Ends when its input does: also when this process is killed.
    keeper: Child,
}

impl Pgbouncer {
    /// Starts one before the server of a URL, in a pool mode: `session`, `transaction` or `statement`. It ignores no
    /// startup parameters, as it does unless told to.
    ///
    /// # Panics
    /// When the package pgbouncer is not installed, or it does not start.
    #[must_use]
    pub fn before(url: &str, mode: &str) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "pgbouncer is not there: apt-get install pgbouncer"
        );
        let parts = Parts::of(url).expect("a URL");
        let (host, port) = parts.servers().expect("servers").remove(0);
        let login = [("user", parts.user), ("password", parts.password)];
        let login = login
            .map(|(name, value)| value.map_or(String::new(), |value| format!(" {name}={value}")));
        let free = Port::reserve();
        let folder = TempDir::new().expect("a folder");
        let ini = folder.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n* = host={host} port={}{}\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={free}\n\
             auth_type=any\npool_mode={mode}\nunix_socket_dir=\n",
            port.unwrap_or(5432),
            login.concat()
        );
        fs::write(&ini, settings).expect("settings");
        let user = unprivileged::user("postgres").expect("a user for the pooler");
        let mut command = Command::new("sh");
        let script =
            "\"$0\" -q \"$1\" </dev/null & pooler=$!; read _; kill -KILL $pooler; wait $pooler";
        command
            .args(["-c", script, PROGRAM])
            .arg(&ini)
            .current_dir(folder.path());
        if let Some((uid, gid)) = user {
            for owned in [folder.path(), &ini] {
                chown(owned, Some(uid), Some(gid)).expect("another owner");
            }
            command.uid(uid).gid(gid);
        }
        let keeper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut pooler = Self {
            _folder: folder,
            port: free,
            keeper: keeper.expect("a shell"),
        };
        let began = Instant::now();
        while std::net::TcpStream::connect(pooler.port.address()).is_err() {
            assert!(
                began.elapsed() < STARTS_WITHIN,
                "pgbouncer does not start: {}",
                pooler.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        pooler
    }

    /// The URL of a database of the server, through the pooler.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Ends it, for what it said.
    fn log(&mut self) -> String {
        drop(self.keeper.stdin.take());
        let mut log = String::new();
        if let Some(mut stderr) = self.keeper.stderr.take() {
            stderr.read_to_string(&mut log).ok();
        }
        log
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
    }
}
