//! What was written, then what it means. Every option of the server stands here.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

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
            Self::Postgres { url, .. } => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
                let rest = rest.split(['?', '#']).next().unwrap_or_default();
                let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
                write!(f, "{scheme}://{place}")
            }
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
        Ok(Config { listen, store: store(&self.store, self.unsafe_store)? })
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
