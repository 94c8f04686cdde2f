//! What was written, then what it means. Every option of the server stands here.

use std::{
    collections::BTreeMap,
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use saga_dsl::limits::Participant;

/// The server's options as they were written: flags, then environment, then defaults.
#[derive(Debug, Clone, clap::Args)]
pub struct Written {
    /// Address to listen on. Anything but a loopback address needs --insecure-listen, for there is no TLS yet.
    #[arg(long, env = "SAGA_LISTEN", value_name = "HOST:PORT", default_value = DEFAULT_LISTEN)]
    pub listen: String,

    /// Where sagas are kept: the path of an SQLite file, which is made if it is not there, or the URL of a PostgreSQL
    /// database, as in postgres://saga@db.internal/sagas
    #[arg(long, env = "SAGA_STORE", value_name = "PATH|URL", default_value = DEFAULT_STORE, hide_env_values = true)]
    pub store: String,

    /// Take a PostgreSQL server that may lose what it confirmed: fsync off, asynchronous commits or standbys.
    #[arg(long, env = "SAGA_UNSAFE_STORE")]
    pub unsafe_store: bool,

    /// RabbitMQ for participants that do not dial us, as in amqp://saga@broker.internal or amqps://saga@broker.internal/vhost;
    /// without it, gRPC is the only road. A password belongs into --broker-password-file
    #[arg(long, env = "SAGA_BROKER", value_name = "URL", hide_env_values = true)]
    pub broker: Option<String>,

    /// File with the password for --broker; read at each connection.
    #[arg(long, env = "SAGA_BROKER_PASSWORD_FILE", value_name = "PATH", requires = "broker")]
    pub broker_password_file: Option<PathBuf>,

    /// Certificates (PEM) that the broker's is checked against, beside the well-known ones.
    #[arg(long, env = "SAGA_BROKER_CA", value_name = "PATH", requires = "broker")]
    pub broker_ca: Option<PathBuf>,

    /// Participants to declare queues for before a definition names them.
    #[arg(
        long,
        env = "SAGA_PARTICIPANTS",
        value_name = "NAME,...",
        value_delimiter = ',',
        requires = "broker"
    )]
    pub participants: Vec<String>,

    /// Tell of the lives of sagas on the broker's exchange `saga.events`, as CloudEvents, at least once.
    #[arg(long, env = "SAGA_EVENTS", requires = "broker")]
    pub events: bool,

    /// How much participants may be asked, as a saga file says it under `participants`; what this file says wins over
    /// every definition.
    #[arg(long, env = "SAGA_LIMITS", value_name = "FILE")]
    pub limits: Option<PathBuf>,

    /// Listen on addresses that others can reach, without encryption and without asking who they are.
    #[arg(long, env = "SAGA_INSECURE_LISTEN")]
    pub insecure_listen: bool,
}

/// Where the server listens when nothing is said.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7420";
/// Where sagas are kept when nothing is said.
pub const DEFAULT_STORE: &str = "./saga.db";

impl Default for Written {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN.to_owned(),
            store: DEFAULT_STORE.to_owned(),
            unsafe_store: false,
            broker: None,
            broker_password_file: None,
            broker_ca: None,
            participants: Vec::new(),
            events: false,
            limits: None,
            insecure_listen: false,
        }
    }
}

/// What the options mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where sagas are kept.
    pub store: Store,
    /// The broker, if there is one.
    pub broker: Option<Broker>,
    /// How much participants may be asked, whatever definitions say.
    pub limits: BTreeMap<String, Participant>,
}

/// A RabbitMQ broker, as participants and servers reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct Broker {
    /// `amqp://user:password@host:port/vhost` or `amqps://...`.
    pub url: String,
    /// File with the password, which then is not in the URL.
    pub password_file: Option<PathBuf>,
    /// Certificates that the broker's is checked against, beside the well-known ones.
    pub ca_file: Option<PathBuf>,
    /// Participants to declare queues for, beside those that definitions name.
    pub participants: Vec<String>,
    /// Tell of the lives of sagas.
    pub events: bool,
}

/// For messages: without user and password.
impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.url))
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("url", &without_secrets(&self.url)).finish_non_exhaustive()
    }
}

impl Broker {
    /// A broker at a URL.
    ///
    /// # Errors
    /// When it is no URL of a broker.
    pub fn at(url: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::Broker { written: without_secrets(url), why };
        url.parse::<lapin::uri::AMQPUri>().map_err(wrong)?;
        Ok(Self {
            url: url.to_owned(),
            password_file: None,
            ca_file: None,
            participants: Vec::new(),
            events: false,
        })
    }
}

fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{place}")
}

/// Where sagas are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: String,
        /// Take a server that may lose what it confirmed.
        unsafe_durability: bool,
    },
}

impl From<PathBuf> for Store {
    fn from(path: PathBuf) -> Self {
        Self::Sqlite(path)
    }
}

/// For messages: without user and password.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres { url, .. } => f.write_str(&without_secrets(url)),
        }
    }
}

/// An option that cannot be meant. The words say how to put it right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an address.
    #[error("listen: `{written}` is no address; write HOST:PORT, such as {DEFAULT_LISTEN}")]
    Listen {
        /// As written.
        written: String,
    },
    /// Others could reach it.
    #[error(
        "listen: {address} can be reached from other machines, and this release has neither TLS nor authentication; \
         listen on 127.0.0.1, or set --insecure-listen (SAGA_INSECURE_LISTEN=true) where the network itself is trusted"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// Not a broker.
    #[error("broker: `{written}`: {why}; write amqp://user@host:5672/vhost, or amqps:// for TLS")]
    Broker {
        /// As written, without what may be a password.
        written: String,
        /// What is wrong.
        why: String,
    },
    /// Not the name of a participant.
    #[error("participants: `{written}`: {why}")]
    Participant {
        /// As written.
        written: String,
        /// What is wrong.
        why: saga_dsl::names::NameError,
    },
    /// The file of limits cannot be read, or has faults.
    #[error("limits: {}: {why}", path.display())]
    Limits {
        /// The file.
        path: PathBuf,
        /// What is wrong, fault by fault.
        why: String,
    },
    /// Not a store of this release.
    #[error(
        "store: `{written}` is no store of this release; write the path of an SQLite file, such as {DEFAULT_STORE}, or \
         postgres://user@host/database"
    )]
    Store {
        /// As written, without what may be a password.
        written: String,
    },
}

impl Written {
    /// Reads the options.
    ///
    /// # Errors
    /// The first option that cannot be meant.
    pub fn read(&self) -> Result<Config, Error> {
        let found: Vec<SocketAddr> = self.listen.to_socket_addrs().into_iter().flatten().collect();
        // `localhost` is often both; the default of clients is the older one.
        let older = found.iter().find(|address| address.is_ipv4()).or(found.first());
        let listen = *older.ok_or_else(|| Error::Listen { written: self.listen.clone() })?;
        if !listen.ip().is_loopback() && !self.insecure_listen {
            return Err(Error::NotLoopback { address: listen });
        }
        Ok(Config {
            listen,
            store: store(&self.store, self.unsafe_store)?,
            broker: self.read_broker()?,
            limits: self.read_limits()?,
        })
    }

    fn read_limits(&self) -> Result<BTreeMap<String, Participant>, Error> {
        let Some(path) = &self.limits else { return Ok(BTreeMap::new()) };
        let wrong = |why: String| Error::Limits { path: path.clone(), why };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        saga_dsl::file::load_limits(&path.display().to_string(), &bytes).map_err(|faults| {
            let source = String::from_utf8_lossy(&bytes);
            let shown: Vec<String> = faults.iter().map(|fault| fault.render(&source, false)).collect();
            wrong(format!("it has faults\n{}", shown.join("\n\n")))
        })
    }

    fn read_broker(&self) -> Result<Option<Broker>, Error> {
        let Some(url) = &self.broker else { return Ok(None) };
        for written in &self.participants {
            saga_dsl::names::check_id(written)
                .map_err(|why| Error::Participant { written: written.clone(), why })?;
        }
        let (password_file, ca_file) = (self.broker_password_file.clone(), self.broker_ca.clone());
        Ok(Some(Broker {
            password_file,
            ca_file,
            participants: self.participants.clone(),
            events: self.events,
            ..Broker::at(url)?
        }))
    }
}

fn store(written: &str, unsafe_durability: bool) -> Result<Store, Error> {
    let path = match written.split_once("://") {
        None => written,
        Some(("sqlite", path)) => path,
        Some(("postgres" | "postgresql", _)) => {
            return Ok(Store::Postgres { url: written.to_owned(), unsafe_durability });
        }
        Some((scheme, _)) => return Err(Error::Store { written: format!("{scheme}://...") }),
    };
    if path.is_empty() {
        return Err(Error::Store { written: written.to_owned() });
    }
    Ok(Store::Sqlite(PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(change: impl FnOnce(&mut Written)) -> Result<Config, Error> {
        let mut written = Written::default();
        change(&mut written);
        written.read()
    }

    #[test]
    fn nothing_written_means_the_embedded_default() {
        let config = written(|_| {}).expect("the defaults are good");
        assert_eq!(config.listen.to_string(), DEFAULT_LISTEN);
        assert_eq!(config.store, Store::Sqlite("./saga.db".into()));
    }

    #[test]
    fn others_are_let_in_only_by_will() {
        let error = written(|w| w.listen = "0.0.0.0:7420".to_owned()).expect_err("refused");
        assert!(error.to_string().contains("--insecure-listen"), "{error}");
        let open = |w: &mut Written| {
            w.listen = "0.0.0.0:7420".to_owned();
            w.insecure_listen = true;
        };
        assert!(written(open).is_ok());
        assert!(written(|w| w.listen = "[::1]:0".to_owned()).is_ok());
        assert!(written(|w| w.listen = "nowhere".to_owned()).is_err());
    }

    #[test]
    fn limits_are_read_from_their_file_and_faults_are_shown_where_they_stand() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join("limits.yaml");
        let limits = |text: &str| {
            std::fs::write(&file, text).expect("written");
            written(|w| w.limits = Some(file.clone())).map(|config| config.limits)
        };
        let good = limits("participants:\n  payments: {max_in_flight: 200}\n").expect("good");
        assert_eq!(good["payments"].max_in_flight, Some(200));
        let error =
            limits("participants:\n  payments: {max_in_flight: 0}\n").expect_err("refused").to_string();
        assert!(error.contains("limits.yaml:2:") && error.contains("S0103"), "{error}");
        let error = written(|w| w.limits = Some("/nowhere/limits.yaml".into())).expect_err("refused");
        assert!(error.to_string().starts_with("limits: /nowhere/limits.yaml: "), "{error}");
    }

    #[test]
    fn brokers_have_urls_and_passwords_are_not_repeated() {
        let broker = |url: &str| written(|w| w.broker = Some(url.to_owned())).map(|config| config.broker);
        let found = broker("amqp://u:s%40cret@h:5672/vhost").expect("a broker").expect("there");
        assert_eq!(
            (found.to_string(), found.url.contains("s%40cret")),
            ("amqp://h:5672/vhost".to_owned(), true)
        );
        assert!(!format!("{found:?}").contains("cret"), "{found:?}");
        let error = broker("http://u:secret@h").expect_err("refused").to_string();
        assert!(!error.contains("secret") && error.contains("amqps://"), "{error}");
        assert_eq!(written(|_| {}).map(|config| config.broker), Ok(None));
    }

    #[test]
    fn stores_are_files_or_databases_and_passwords_are_not_repeated() {
        assert_eq!(
            written(|w| w.store = "sqlite:///var/saga.db".to_owned()).map(|c| c.store),
            Ok(Store::Sqlite("/var/saga.db".into()))
        );
        let config = written(|w| w.store = "postgres://u:s@cret@h:5/db?x=y".to_owned()).expect("a database");
        assert_eq!(config.store.to_string(), "postgres://h:5/db");
        let error = written(|w| w.store = "mysql://u:secret@h/db".to_owned()).expect_err("refused");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(written(|w| w.store = String::new()).is_err());
    }
}
