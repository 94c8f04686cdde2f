//! A RabbitMQ broker of our own: private folder, free ports, an unprivileged user, gone with the process.
//!
//! One broker serves a whole test binary; each test gets a virtual host of its own. `SAGA_TEST_AMQP_URL` names a broker to
//! use instead, as `amqp://guest:guest@host:port`, and `SAGA_TEST_AMQP_CTL` the command that administers it, which is
//! `rabbitmqctl` where nothing is said: tests make virtual hosts and users with it. Tests that kill a broker, starve it or
//! give it a certificate have one of their own all the same. A test fails on what the log of a private broker has against
//! its virtual host (`broker_log.rs`).

use std::{
    fs,
    io::Write,
    net::TcpStream,
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

use tempfile::TempDir;

use crate::{broker_log::Vhost, certificates::Identity, ports::Port, unprivileged};

const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// What the broker prints, its log among it.
const LOG: &str = "stdout";

/// The user that brokers run as when the tests run as root.
const UNPRIVILEGED: &str = "nobody";

/// A private broker. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct RabbitMq {
    folder: TempDir,
    /// AMQP, distribution, the port mapper of its own (without those a second node collides with the first), AMQP over TLS.
    ports: [Port; 4],
    user: Option<(u32, u32)>,
    /// The scripts themselves: those in `/usr/sbin` change to a user and a cookie of the whole machine.
    scripts: PathBuf,
    /// A shell that stops the broker when its own input ends: also when this process is killed.
    keeper: Option<Child>,
}

impl RabbitMq {
    /// Starts a broker.
    ///
    /// # Panics
    /// When RabbitMQ is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_as(None)
    }

    /// Starts a broker that also listens for TLS, and says who it is by this certificate.
    ///
    /// # Panics
    /// As [`RabbitMq::start`].
    #[must_use]
    pub fn start_encrypted(identity: &Identity) -> Self {
        Self::start_as(Some(identity))
    }

    fn start_as(identity: Option<&Identity>) -> Self {
        let scripts = scripts().expect(
            "RabbitMQ is not there: apt-get install rabbitmq-server, or set SAGA_TEST_AMQP_URL",
        );
        let folder = TempDir::new().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("permissions");
        let user = unprivileged::user(UNPRIVILEGED).expect("a user for the broker");
        let mut broker = Self {
            folder,
            ports: [(); 4].map(|()| Port::reserve()),
            user,
            scripts,
            keeper: None,
        };
        let at = |name: &str| broker.folder.path().join(name);
        for name in ["mnesia", "log", "home"] {
            fs::create_dir(at(name)).expect("a folder");
        }
        fs::write(at("enabled_plugins"), "[].\n").expect("a file");
        fs::write(at("none.conf"), "").expect("a file");
        let mut config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nloopback_users = none\nvm_memory_high_watermark.relative = 0.8\n\
             disk_free_limit.absolute = 1MB\n\
             # A log file would be written with a delay of seconds.\n\
             log.file = false\nlog.console = true\nlog.console.level = warning\n",
            broker.ports[0].number()
        );
        if let Some(identity) = identity {
            fs::write(at("certificate.pem"), &identity.certificate).expect("a file");
            fs::write(at("key.pem"), &identity.key).expect("a file");
            let place = |name| at(name).display().to_string();
            config += &format!(
                "listeners.ssl.1 = 127.0.0.1:{}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
                 ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n",
                broker.ports[3].number(),
                place("certificate.pem"),
                place("key.pem")
            );
        }
        fs::write(at("rabbitmq.conf"), config).expect("a file");
        if let Some((uid, gid)) = user {
            for name in ["", "mnesia", "log", "home", "enabled_plugins"] {
                chown(at(name), Some(uid), Some(gid)).expect("another owner");
            }
        }
        broker.launch();
        broker
    }

    /// Its URL, without a virtual host.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.ports[0].number())
    }

    /// Its URL for TLS, without a password and a virtual host.
    #[must_use]
    pub fn encrypted_url(&self) -> String {
        format!("amqps://guest@localhost:{}", self.ports[3].number())
    }

    /// Makes a virtual host.
    ///
    /// # Panics
    /// When the broker refuses.
    #[must_use]
    pub fn vhost(&self, name: &str) -> Vhost {
        self.ctl(&["add_vhost", name]);
        self.ctl(&["set_permissions", "-p", name, "guest", ".*", ".*", ".*"]);
        Vhost::new(
            format!("{}/{name}", self.url()),
            Some(self.folder.path().join(LOG)),
        )
    }

    /// Has the broker write down which queues it has. RabbitMQ 3.10 does so a moment after a quorum queue was declared;
    /// killed before, it comes back with a queue that nobody can read (`docs/how-to/rabbitmq.md`).
    ///
    /// # Panics
    /// When it does not.
    pub fn write_down_queues(&self) {
        self.ctl(&["eval", "[ok = dets:sync(Table) || Table <- dets:all()]."]);
    }

    /// Kills the broker where it stands.
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill(&mut self) {
        self.end("kill\n");
    }

    /// Starts it again after [`RabbitMq::kill`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn revive(&mut self) {
        self.launch();
    }

    /// Runs `rabbitmqctl`; what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let told = self
            .command("rabbitmqctl")
            .arg("-q")
            .args(arguments)
            .output()
            .expect("rabbitmqctl runs");
        let (out, err) = (
            String::from_utf8_lossy(&told.stdout),
            String::from_utf8_lossy(&told.stderr),
        );
        assert!(
            told.status.success(),
            "rabbitmqctl {arguments:?}: {out} {err}"
        );
        out.into_owned()
    }

    fn end(&mut self, word: &str) {
        if let Some(mut keeper) = self.keeper.take() {
            keeper
                .stdin
                .take()
                .expect("its input")
                .write_all(word.as_bytes())
                .expect("it reads");
            keeper.wait().expect("it ends");
        }
    }

    fn launch(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join(LOG));
        let log = log.expect("a log");
        // The node runs in a session of its own, so that all of it can be ended at once; the port mapper is a daemon
        // beside it and knows its port by its environment. Told to keep the folder, or left alone: then nobody is
        // there any more who would remove it.
        let script = "folder=$1; mapper=$2; shift 2\n\
             setsid \"$@\" </dev/null & node=$!\n\
             read word\n\
             case $word in kill) sign=KILL ;; *) sign=TERM ;; esac\n\
             kill -s $sign -- -$node 2>/dev/null\n\
             wait $node 2>/dev/null\n\
             if [ \"$word\" != kill ]; then\n\
               for process in $(pgrep -x epmd); do\n\
                 if tr '\\0' '\\n' <\"/proc/$process/environ\" 2>/dev/null | grep -qx \"ERL_EPMD_PORT=$mapper\"; then\n\
                   kill $process\n\
                 fi\n\
               done\n\
               rm -rf \"$folder\"\n\
             fi";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh"])
            .arg(self.folder.path())
            .arg(self.ports[2].number().to_string());
        command.arg(self.scripts.join("rabbitmq-server"));
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        self.dress(&mut command);
        self.keeper = Some(command.spawn().expect("a shell"));
        let began = Instant::now();
        while TcpStream::connect(self.ports[0].address()).is_err() {
            assert!(
                began.elapsed() < STARTS_WITHIN,
                "RabbitMQ does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        self.ctl(&["await_startup"]);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.scripts.join(program));
        self.dress(&mut command);
        command
    }

    fn dress(&self, command: &mut Command) {
        let at = |name: &str| self.folder.path().join(name);
        let [amqp, distribution, mapper, _] =
            self.ports.each_ref().map(|port| port.number().to_string());
        command
            .current_dir(self.folder.path())
            // A home of its own has a cookie of its own.
            .env("HOME", at("home"))
            .env("RABBITMQ_NODENAME", format!("saga{amqp}@localhost"))
            .env("RABBITMQ_NODE_PORT", &amqp)
            .env("RABBITMQ_DIST_PORT", distribution)
            .env("ERL_EPMD_PORT", mapper)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
            .env("RABBITMQ_CONF_ENV_FILE", at("none.conf"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            );
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            // The end of its input stops the broker; the folder goes when it is at rest.
            drop(keeper.stdin.take());
            keeper.wait().ok();
        }
    }
}

/// The newest installed broker's scripts.
fn scripts() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/rabbitmq/lib").ok()?;
    let mut found: Vec<PathBuf> = versions
        .flatten()
        .map(|entry| entry.path().join("sbin"))
        .filter(|scripts| scripts.join("rabbitmq-server").exists())
        .collect();
    found.sort();
    found.pop()
}

/// A virtual host of its own on the broker of this test binary, or on the one that was given.
///
/// # Panics
/// When the broker cannot be started, or does not do as it is told.
pub async fn vhost() -> Vhost {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let made = tokio::task::spawn_blocking(move || match given() {
        Some(url) => {
            tidy();
            // Another binary may have been here before.
            let name = format!("{GIVEN_PREFIX}{}_{number}", std::process::id());
            ctl(&["add_vhost", &name]);
            ctl(&["set_permissions", "-p", &name, "guest", ".*", ".*", ".*"]);
            Vhost::new(format!("{url}/{name}"), None)
        }
        None => shared().vhost(&format!("saga_test_{number}")),
    });
    made.await.expect("a virtual host")
}

/// Virtual hosts on a broker that was given begin so.
const GIVEN_PREFIX: &str = "saga_test_";

/// The broker to use instead of one of our own.
fn given() -> Option<String> {
    let url = std::env::var("SAGA_TEST_AMQP_URL").ok()?;
    Some(url.trim_end_matches('/').to_owned())
}

/// Removes what earlier runs left on a broker that was given, once.
fn tidy() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        for name in ctl(&["list_vhosts", "--no-table-headers"])
            .lines()
            .map(str::trim)
        {
            if name.starts_with(GIVEN_PREFIX) {
                ctl(&["delete_vhost", name]);
            }
        }
    });
}

/// Runs `rabbitmqctl` on the broker of this test binary, or on the one that was given; what it prints.
///
/// # Panics
/// When it fails.
pub fn ctl(arguments: &[&str]) -> String {
    if given().is_none() {
        return shared().ctl(arguments);
    }
    let written = std::env::var("SAGA_TEST_AMQP_CTL").unwrap_or_else(|_| "rabbitmqctl".to_owned());
    let mut words = written.split_whitespace();
    let program = words.next().expect("SAGA_TEST_AMQP_CTL names a command");
    let told = Command::new(program)
        .args(words)
        .arg("-q")
        .args(arguments)
        .output();
    let told = told.unwrap_or_else(|error| panic!("SAGA_TEST_AMQP_CTL: {written}: {error}"));
    let (out, err) = (
        String::from_utf8_lossy(&told.stdout),
        String::from_utf8_lossy(&told.stderr),
    );
    assert!(
        told.status.success(),
        "{written} {arguments:?}: {out} {err}"
    );
    out.into_owned()
}

/// The broker of this test binary.
fn shared() -> &'static RabbitMq {
    static BROKER: OnceLock<RabbitMq> = OnceLock::new();
    BROKER.get_or_init(RabbitMq::start)
}
