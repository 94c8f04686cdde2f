//! Connections: where to, with which limits, and what a server must be before it is trusted.
//!
//! Everything about a new session is asked in the simple protocol: what is prepared would already fall over a pooler in
//! transaction mode, which must be recognised first.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::FutureExt;
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
    raw_sql,
};
use tokio::time::timeout;

use super::{
    address::{Address, Server},
    fault::{POOLED_REMEDY, cause},
};
use saga_engine::store::{
    Error,
    trouble::{Cause, Kind},
};

/// A connection that is not there within this time is given up.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The same for one of several servers: one that is gone must not hold up the others for long.
const CONNECT_WITHIN_EACH: Duration = Duration::from_secs(2);
/// A server that has to be told from a pooler is asked over a second connection, for this long at most.
const COMPARE_WITHIN: Duration = Duration::from_secs(1);

/// The database's own clock and timers: a session that hangs must not outlive its lease. Set by statements after
/// connecting, because poolers refuse or ignore settings in the first message.
const LIMITS: [(&str, &str); 3] = [
    ("statement_timeout", "10s"),
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", "3s"),
];

/// Where the store is, and how its servers are talked to. Clones share what is known of the servers.
#[derive(Debug, Clone)]
pub(super) struct Target {
    servers: Arc<[Server]>,
    name: Arc<str>,
    /// Take a server that may lose what it confirmed.
    pub(super) unsafe_durability: bool,
    current: Arc<Current>,
}

/// The server that took writes at the last dial.
#[derive(Debug)]
struct Current {
    server: AtomicUsize,
    /// When that dial began. A reader's connection from before may lead to a server that is a standby by now.
    since: Mutex<Instant>,
    readers: Mutex<Option<PgPool>>,
}

impl Target {
    /// Reads an address.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is none; nothing of it is repeated.
    pub(super) fn read(written: &str, unsafe_durability: bool) -> Result<Self, Error> {
        let address = Address::read(written).map_err(|fault| {
            Error::Unavailable(Cause::new(Kind::Unfit, format!("the address: {fault}")))
        })?;
        let name = address.to_string().into();
        let servers = address.servers.into_iter().map(|server| {
            let options = server
                .options
                .application_name("saga")
                // Poolers refuse it unless they are told to ignore it, and nothing here is read as text.
                .extra_float_digits(None)
                .log_statements(tracing::log::LevelFilter::Off);
            Server { options, ..server }
        });
        let current = Current {
            server: AtomicUsize::new(0),
            since: Mutex::new(Instant::now()),
            readers: Mutex::new(None),
        };
        Ok(Self {
            servers: servers.collect(),
            name,
            unsafe_durability,
            current: Arc::new(current),
        })
    }

    /// How the server is dialled that took writes the last time.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.servers[self.current.server.load(Ordering::Acquire)]
            .options
            .clone()
    }

    /// Servers and database, without what may be a password.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The server does not answer in time.
    pub(super) fn silent(&self) -> Cause {
        let server = &self.servers[self.current.server.load(Ordering::Acquire)];
        silent(server)
    }

    /// A pool of readers. Its connections follow [`Target::connect`] to another server, and those from before are closed:
    /// a former primary shows what was true once.
    pub(super) fn readers(&self, connections: u32, within: Duration) -> PgPool {
        let current = Arc::clone(&self.current);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(within)
            .after_connect(|conn, _| async move { limit(conn).await }.boxed())
            .before_acquire(move |_, connection| {
                let since = *current.since.lock().unwrap_or_else(PoisonError::into_inner);
                let current = connection.age <= since.elapsed();
                async move { Ok(current) }.boxed()
            })
            .connect_lazy_with(self.options());
        let mut readers = self
            .current
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *readers = Some(pool.clone());
        pool
    }

    /// A session with a server that takes writes and keeps what it confirms: the first one in the order of the address.
    ///
    /// # Errors
    /// [`Error::Unavailable`], with the reason of every server.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        let mut refused: Vec<Cause> = Vec::new();
        for (at, server) in self.servers.iter().enumerate() {
            let began = Instant::now();
            match self.dial(server).await {
                Ok(conn) => {
                    self.became(at, began);
                    return Ok(conn);
                }
                Err(cause) => refused.push(cause),
            }
        }
        Err(Error::Unavailable(all(refused)))
    }

    /// Readers follow the writer.
    fn became(&self, at: usize, began: Instant) {
        let was = self.current.server.swap(at, Ordering::AcqRel);
        *self
            .current
            .since
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = began;
        if was != at {
            tracing::info!(
                server = self.servers[at].place,
                "another server of the store takes writes"
            );
        }
        let readers = self
            .current
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(readers) = &*readers {
            readers.set_connect_options(self.servers[at].options.clone());
        }
    }

    async fn dial(&self, server: &Server) -> Result<PgConnection, Cause> {
        let within = if self.servers.len() > 1 {
            CONNECT_WITHIN_EACH
        } else {
            CONNECT_WITHIN
        };
        let asked = async {
            let mut conn = PgConnection::connect_with(&server.options).await?;
            limit(&mut conn).await?;
            let found = Found::ask(&mut conn).await?;
            Ok((conn, found))
        };
        let (mut conn, found) = match timeout(within, asked).await {
            Ok(asked) => asked.map_err(|error| at(server, &cause(&error)))?,
            Err(_) => return Err(silent(server)),
        };
        if let Some(cause) = found.unfit() {
            return Err(at(server, &cause));
        }
        if is_pooled(&mut conn, server).await {
            let words = format!(
                "a connection pooler in transaction mode stands before the database; {POOLED_REMEDY}"
            );
            return Err(at(server, &Cause::new(Kind::Unfit, words)));
        }
        let doubts = found.doubts();
        if !doubts.is_empty() {
            let doubts = doubts.join("; ");
            if !self.unsafe_durability {
                let words = format!(
                    "it may lose what it confirmed: {doubts}. Mend its settings, or take the risk with \
                     --unsafe-store (SAGA_UNSAFE_STORE=true)"
                );
                return Err(at(server, &Cause::new(Kind::Unfit, words)));
            }
            tracing::warn!(
                server = server.place,
                doubts,
                "the server may lose what it confirmed"
            );
        }
        Ok(conn)
    }
}

fn silent(server: &Server) -> Cause {
    let words = "no answer in time; check that it runs, and the network";
    at(server, &Cause::new(Kind::Unreachable, words))
}

/// A cause with its place.
fn at(server: &Server, cause: &Cause) -> Cause {
    Cause::new(cause.kind, format!("{}: {cause}", server.place))
}

/// The causes of several servers. One that answers and takes no writes tells more than one that is away.
fn all(causes: Vec<Cause>) -> Cause {
    let kinds = || causes.iter().map(|cause| cause.kind);
    let kind = kinds()
        .find(|kind| *kind != Kind::Unreachable)
        .or(kinds().next())
        .unwrap_or(Kind::Other);
    let words: Vec<String> = causes.into_iter().map(|cause| cause.words).collect();
    Cause::new(kind, words.join("; "))
}

/// Sets the session's limits.
async fn limit(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statements: Vec<String> = LIMITS
        .iter()
        .map(|(name, value)| format!("SET SESSION {name} = '{value}'"))
        .collect();
    raw_sql(sqlx::AssertSqlSafe(statements.join("; ")))
        .execute(conn)
        .await
        .map(drop)
}

/// Whether two connections of ours are given the same session of the server: then a pooler lends sessions for single
/// transactions. Without a second connection, or with a pooler that has sessions to spare, this is not found out here;
/// what such a pooler then breaks is named by its SQLSTATE.
async fn is_pooled(conn: &mut PgConnection, server: &Server) -> bool {
    let compared = async {
        let mut other = PgConnection::connect_with(&server.options).await?;
        let mut seen = [session(conn).await?, session(&mut other).await?];
        let mut pooled = false;
        // Later rounds find a pooler that hands out its sessions in turn.
        for _ in 0..3 {
            let now = [session(conn).await?, session(&mut other).await?];
            pooled |= now != seen || now[0] == now[1];
            seen = now;
        }
        other.close().await?;
        Ok::<bool, sqlx::Error>(pooled)
    };
    matches!(timeout(COMPARE_WITHIN, compared).await, Ok(Ok(true)))
}

/// The server's process behind a connection.
async fn session(conn: &mut PgConnection) -> Result<String, sqlx::Error> {
    raw_sql("SELECT pg_backend_pid()::text")
        .fetch_one(conn)
        .await?
        .try_get(0)
}

/// What a server says of itself.
struct Found {
    encoding: String,
    recovering: bool,
    read_only: bool,
    fsync: String,
    pages: String,
    commits: String,
    standbys: String,
    has_replica: bool,
    /// In the order of [`LIMITS`].
    limits: String,
}

impl Found {
    async fn ask(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = raw_sql(
            "SELECT current_setting('server_encoding') AS encoding,
                    pg_is_in_recovery()::text AS recovering, current_setting('transaction_read_only') AS read_only,
                    current_setting('fsync') AS fsync, current_setting('full_page_writes') AS pages,
                    current_setting('synchronous_commit') AS commits,
                    current_setting('synchronous_standby_names') AS standbys,
                    (EXISTS (SELECT FROM pg_stat_replication))::text AS has_replica,
                    current_setting('statement_timeout') || ' ' || current_setting('lock_timeout') || ' '
                        || current_setting('idle_in_transaction_session_timeout') AS limits",
        )
        .fetch_one(conn)
        .await?;
        let text = |column: &str| row.try_get::<String, _>(column);
        let is = |column: &str, yes: &str| text(column).map(|found| found == yes);
        Ok(Self {
            encoding: text("encoding")?,
            recovering: is("recovering", "true")?,
            read_only: is("read_only", "on")?,
            fsync: text("fsync")?,
            pages: text("pages")?,
            commits: text("commits")?,
            standbys: text("standbys")?,
            has_replica: is("has_replica", "true")?,
            limits: text("limits")?,
        })
    }

    /// Why no saga can be kept there, whatever risk is taken.
    fn unfit(&self) -> Option<Cause> {
        const FIND: &str = "name every server in the URL (postgres://user@one,two/db), so that the primary is found";
        if self.recovering {
            let words =
                format!("it is a standby, or recovers, and takes no writes; promote it, or {FIND}");
            return Some(Cause::new(Kind::ReadOnly, words));
        }
        if self.read_only {
            let words = format!(
                "it takes no writes: default_transaction_read_only is on for the server, the database or the role; \
                 reset it, or {FIND}"
            );
            return Some(Cause::new(Kind::ReadOnly, words));
        }
        // SQL_ASCII keeps bytes as they come, and what comes is UTF-8.
        if !matches!(self.encoding.as_str(), "UTF8" | "SQL_ASCII") {
            let words = format!(
                "the database keeps its text in the encoding {}, which lacks most characters; make one with CREATE \
                 DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
                self.encoding
            );
            return Some(Cause::new(Kind::Unfit, words));
        }
        let wanted = LIMITS.map(|(_, value)| value).join(" ");
        (self.limits != wanted).then(|| {
            let words = format!(
                "statement_timeout, lock_timeout and idle_in_transaction_session_timeout were set to {wanted} and are \
                 {}: a connection pooler in transaction mode stands between; {POOLED_REMEDY}",
                self.limits
            );
            Cause::new(Kind::Unfit, words)
        })
    }

    /// What makes this server forget commits that it confirmed.
    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        for (setting, name) in [(&self.fsync, "fsync"), (&self.pages, "full_page_writes")] {
            if setting != "on" {
                doubts.push(format!("{name} is off"));
            }
        }
        if !matches!(self.commits.as_str(), "on" | "remote_apply") {
            doubts.push(format!("synchronous_commit is {}", self.commits));
        }
        if self.has_replica && self.standbys.is_empty() {
            doubts.push(
                "it has a standby, and synchronous_standby_names names none that must confirm"
                    .to_owned(),
            );
        }
        doubts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_repeated() {
        let target =
            Target::read("postgres://u:secret@db.example:5433/sagas", false).expect("a URL");
        assert_eq!(target.name(), "postgres://db.example:5433/sagas");
        assert!(!target.silent().words.contains("secret"));
        let error = Target::read("postgres://u:secret@:x/", false).expect_err("no port");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_server_that_answers_tells_more_than_one_that_is_away() {
        let causes = vec![
            Cause::new(Kind::Unreachable, "one: away"),
            Cause::new(Kind::ReadOnly, "two: read-only"),
        ];
        assert_eq!(
            all(causes),
            Cause::new(Kind::ReadOnly, "one: away; two: read-only")
        );
    }
}
