//! What was written, then what it means. Every option of the server stands here.

use std::{
    collections::BTreeMap,
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use saga_dsl::limits::Participant;

use saga_store_postgres::address::{Address, Fault};
use saga_wire_amqp::{Broker, BrokerFault};

/// The server's options as they were written: flags, then environment, then defaults.
#[derive(Debug, Clone, clap::Args)]
pub struct Written {
    /// Address to listen on. Anything but a loopback address needs --insecure-listen, for there is no TLS yet.
    #[arg(long, env = "SAGA_LISTEN", value_name = "HOST:PORT", default_value = DEFAULT_LISTEN)]
    pub listen: String,

    /// Where sagas are kept: the path of an SQLite file, which is made if it is not there, or the URL of a PostgreSQL
    /// database, as in postgres://saga@db.internal/sagas. Several servers, one of which takes writes, have commas
    /// between: postgres://saga@db1,db2/sagas. Percent-encode / ? # @ % in a password
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
    #[arg(
        long,
        env = "SAGA_BROKER_PASSWORD_FILE",
        value_name = "PATH",
        requires = "broker"
    )]
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

/// Where sagas are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres {
        /// `postgres://user:password@host:port/database`, or another form that [`Address::read`] understands.
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
            Self::Postgres { url, .. } => match Address::read(url) {
                Ok(address) => address.fmt(f),
                // Refused where it is read; nothing of it may be shown.
                Err(_) => f.write_str("postgres://..."),
            },
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
    /// Not the URL of a broker. What was written may hold a password and is not repeated.
    #[error("broker: {0}; write amqp://user@host:5672/vhost, or amqps:// for TLS")]
    Broker(#[from] BrokerFault),
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
    /// Not a store of this release. What was written may hold a password and is not repeated.
    #[error(
        "store: {why}; write the path of an SQLite file, such as {DEFAULT_STORE}, or postgres://user@host/database"
    )]
    Store {
        /// What is wrong.
        why: String,
    },
    /// Meant for a PostgreSQL database, and not readable as such.
    #[error(
        "store: {0}; write postgres://user@host:5432/database, or several hosts with commas between"
    )]
    StoreAddress(#[from] Fault),
}

impl Written {
    /// Reads the options.
    ///
    /// # Errors
    /// The first option that cannot be meant.
    pub fn read(&self) -> Result<Config, Error> {
        let found: Vec<SocketAddr> = self
            .listen
            .to_socket_addrs()
            .into_iter()
            .flatten()
            .collect();
        // `localhost` is often both; the default of clients is the older one.
        let older = found
            .iter()
            .find(|address| address.is_ipv4())
            .or(found.first());
        let listen = *older.ok_or_else(|| Error::Listen {
            written: self.listen.clone(),
        })?;
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
        let Some(path) = &self.limits else {
            return Ok(BTreeMap::new());
        };
        let wrong = |why: String| Error::Limits {
            path: path.clone(),
            why,
        };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        saga_dsl::file::load_limits(&path.display().to_string(), &bytes).map_err(|faults| {
            let source = String::from_utf8_lossy(&bytes);
            let shown: Vec<String> = faults
                .iter()
                .map(|fault| fault.render(&source, false))
                .collect();
            wrong(format!("it has faults\n{}", shown.join("\n\n")))
        })
    }

    fn read_broker(&self) -> Result<Option<Broker>, Error> {
        let Some(url) = &self.broker else {
            return Ok(None);
        };
        for written in &self.participants {
            saga_dsl::names::check_id(written).map_err(|why| Error::Participant {
                written: written.clone(),
                why,
            })?;
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

/// Schemes that people write for stores, here or elsewhere; only these are repeated in a refusal.
const SCHEMES: [&str; 16] = [
    "amqp",
    "amqps",
    "cockroachdb",
    "file",
    "http",
    "https",
    "jdbc",
    "mariadb",
    "mongodb",
    "mysql",
    "odbc",
    "postgres",
    "postgresql",
    "redis",
    "sqlite",
    "sqlite3",
];

fn store(written: &str, unsafe_durability: bool) -> Result<Store, Error> {
    let wrong = |why: &str| Error::Store {
        why: why.to_owned(),
    };
    if Address::is_meant(written) {
        Address::read(written)?;
        return Ok(Store::Postgres {
            url: written.to_owned(),
            unsafe_durability,
        });
    }
    let path = match scheme(written) {
        None => written,
        Some((name, rest)) if name.eq_ignore_ascii_case("sqlite") => {
            if rest.contains('?') {
                return Err(wrong(
                    "the path of an SQLite file has no options after a `?`",
                ));
            }
            rest.strip_prefix("//").unwrap_or(rest)
        }
        Some((name, _)) => {
            let name = name.to_ascii_lowercase();
            let why = if SCHEMES.contains(&name.as_str()) {
                format!("`{name}:` is no store of this release")
            } else {
                // It may be a user, with the password behind the colon.
                "it begins like a URL and is none of a store (./ before a file with a `:` in its name)"
                    .to_owned()
            };
            return Err(Error::Store { why });
        }
    };
    match path {
        "" => Err(wrong("it is empty")),
        ":memory:" => Err(wrong("what is kept in memory is lost with the process")),
        path => Ok(Store::Sqlite(PathBuf::from(path))),
    }
}

/// What stands before and after the first `:`, if that can be the end of a scheme. A drive's letter is none.
fn scheme(written: &str) -> Option<(&str, &str)> {
    let (name, rest) = written.split_once(':')?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
    (name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(fits))
    .then_some((name, rest))
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
        let error = limits("participants:\n  payments: {max_in_flight: 0}\n")
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains("limits.yaml:2:") && error.contains("S0103"),
            "{error}"
        );
        let error =
            written(|w| w.limits = Some("/nowhere/limits.yaml".into())).expect_err("refused");
        assert!(
            error
                .to_string()
                .starts_with("limits: /nowhere/limits.yaml: "),
            "{error}"
        );
    }

    #[test]
    fn brokers_have_urls_and_passwords_are_not_repeated() {
        let broker =
            |url: &str| written(|w| w.broker = Some(url.to_owned())).map(|config| config.broker);
        let found = broker("amqp://u:s%40cret@h:5672/vhost")
            .expect("a broker")
            .expect("there");
        assert_eq!(
            (found.to_string(), found.url.contains("s%40cret")),
            ("amqp://h:5672/vhost".to_owned(), true)
        );
        assert!(!format!("{found:?}").contains("cret"), "{found:?}");
        for url in [
            "http://u:Kq7W@h",
            "Kq7W",
            "amqp://guest:Kq7W#Wz9X@127.0.0.1:1",
            "amqp://guest:Kq7W/Wz9X@127.0.0.1:1",
            "amqp://guest:Kq7W%Wz9X@127.0.0.1:1",
            "amqp://guest:Kq7W",
            "amqp://h?auth_mechanism=Kq7W",
            "amqp:Kq7W",
        ] {
            let error = broker(url).expect_err(url).to_string();
            let shown = error.contains("Kq7W") || error.contains("Wz9X");
            assert!(!shown && error.contains("amqps://"), "{error}");
        }
        let odd = broker("amqp://guest:Kq7W/Wz9X@127.0.0.1:1")
            .expect_err("refused")
            .to_string();
        assert!(odd.contains("percent-encode"), "{odd}");
        assert_eq!(written(|_| {}).map(|config| config.broker), Ok(None));
    }

    #[test]
    fn stores_are_files_or_databases_and_passwords_are_not_repeated() {
        assert_eq!(
            written(|w| w.store = "sqlite:///var/saga.db".to_owned()).map(|c| c.store),
            Ok(Store::Sqlite("/var/saga.db".into()))
        );
        let config = written(|w| w.store = "postgres://u:s@cret@h:5/db?sslmode=disable".to_owned())
            .expect("a database");
        assert_eq!(config.store.to_string(), "postgres://h:5/db");
        let store = |text: &str| written(|w| w.store = text.to_owned()).map(|config| config.store);
        for odd in [
            "mysql://u:Kq7W@h/db",
            "postgres:/u:Kq7W@h/db",
            "postgresql:Kq7W",
            "jdbc:postgresql://h/db?password=Kq7W",
            "amqp://u:Kq7W@h",
            "user:Kq7W@h/db",
            "user_1:Kq7W@h:5432/db",
            "postgres://u:/Kq7W+Wz9X?E':Xv3J@127.0.0.1:1/db",
            "postgres://u:Kq7W#Wz9X@127.0.0.1:1/db",
            "host=h password='Kq7W",
            "sqlite://saga.db?password=Kq7W",
            "file:saga.db",
            ":memory:",
            "sqlite::memory:",
            "",
        ] {
            let error = store(odd).expect_err(odd).to_string();
            assert!(
                ["Kq7W", "Wz9X", "Xv3J"]
                    .iter()
                    .all(|piece| !error.contains(piece)),
                "{error}"
            );
        }
        let odd = store("postgres://u:Kq7W#Wz9X@127.0.0.1:1/db")
            .expect_err("refused")
            .to_string();
        assert!(odd.contains("percent-encode"), "{odd}");
        assert_eq!(store("./a:b.db"), Ok(Store::Sqlite("./a:b.db".into())));
        assert_eq!(store("C:/saga.db"), Ok(Store::Sqlite("C:/saga.db".into())));
        assert_eq!(store("sqlite:saga.db"), Ok(Store::Sqlite("saga.db".into())));
        let words = "host=127.0.0.1 port=1 dbname=x user=y";
        assert_eq!(
            store(words).map(|store| store.to_string()),
            Ok("postgres://127.0.0.1:1/x".to_owned())
        );
    }
}
