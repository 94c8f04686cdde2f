//! Connections: where to, with which limits, and what a server must promise before it is trusted.

use std::{str::FromStr, time::Duration};

use sqlx::{ConnectOptions, Connection, PgConnection, Row, postgres::PgConnectOptions};

use super::fault::read_error;
use crate::store::{
    Error,
    trouble::{Cause, Kind},
};

/// A connection that does not come within so long does not come.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Where the store is, and how its server is talked to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    options: PgConnectOptions,
    /// Take a server that may lose what it confirmed.
    pub(super) unsafe_durability: bool,
}

impl Target {
    /// Reads a `postgres://` URL.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is none; a password in it is not repeated.
    pub(super) fn read(url: &str, unsafe_durability: bool) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url).map_err(|_| {
            Error::Unavailable("the URL is not of the form postgres://user@host/database".into())
        })?;
        let options = options
            .application_name("saga")
            .log_statements(tracing::log::LevelFilter::Off)
            // The database's own clock and timers: a session that hangs must not outlive its lease.
            .options([
                ("statement_timeout", "10s"),
                ("lock_timeout", "2s"),
                ("idle_in_transaction_session_timeout", "3s"),
            ]);
        Ok(Self { options, unsafe_durability })
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Host and database, without what may be a password.
    pub(super) fn name(&self) -> String {
        let database = self.options.get_database().unwrap_or("?");
        format!("postgres://{}:{}/{database}", self.options.get_host(), self.options.get_port())
    }

    /// Nobody answers in time.
    pub(super) fn silent(&self) -> Cause {
        Cause::new(Kind::Unreachable, format!("{} does not answer", self.name()))
    }

    /// A session with a server that keeps what it confirms.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        let connecting = PgConnection::connect_with(&self.options);
        let mut conn = match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
            Ok(connected) => connected.map_err(read_error)?,
            Err(_) => {
                return Err(Error::Unavailable(self.silent()));
            }
        };
        let doubts = doubts(&mut conn).await.map_err(read_error)?;
        if !doubts.is_empty() {
            let doubts = doubts.join("; ");
            if !self.unsafe_durability {
                return Err(Error::Unavailable(
                    format!(
                        "{} may lose what it confirmed: {doubts}. Mend its settings, or take the risk with \
                     --unsafe-store (SAGA_UNSAFE_STORE=true)",
                        self.name()
                    )
                    .into(),
                ));
            }
            tracing::warn!(doubts, "the server may lose what it confirmed");
        }
        Ok(conn)
    }
}

/// What makes this server forget commits that it confirmed.
async fn doubts(conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS pages,
                current_setting('synchronous_commit') AS commits,
                current_setting('synchronous_standby_names') AS standbys, pg_is_in_recovery() AS recovering,
                (SELECT count(*) FROM pg_stat_replication) AS replicas",
    )
    .fetch_one(conn)
    .await?;
    let text = |column: &str| row.try_get::<String, _>(column);
    let mut doubts = Vec::new();
    if row.try_get::<bool, _>("recovering")? {
        doubts.push("it is a standby".to_owned());
    }
    for (column, name) in [("fsync", "fsync"), ("pages", "full_page_writes")] {
        if text(column)? != "on" {
            doubts.push(format!("{name} is off"));
        }
    }
    let commits = text("commits")?;
    if !matches!(commits.as_str(), "on" | "remote_apply") {
        doubts.push(format!("synchronous_commit is {commits}"));
    }
    if row.try_get::<i64, _>("replicas")? > 0 && text("standbys")?.is_empty() {
        doubts
            .push("it has a standby, and synchronous_standby_names names none that must confirm".to_owned());
    }
    Ok(doubts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_repeated() {
        let target = Target::read("postgres://u:secret@db.example:5433/sagas", false).expect("a URL");
        assert_eq!(target.name(), "postgres://db.example:5433/sagas");
        let error = Target::read("postgres://u:secret@:x/", false).expect_err("no port");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
