//! The server's process behind a transaction, and how it is ended from outside.

use std::{sync::Arc, time::Duration};

use sqlx::{
    Connection, PgConnection, Row,
    postgres::{PgConnectOptions, PgRow},
};
use tokio::time::{sleep, timeout};

/// Asks who carries out this transaction, and when it began.
pub(super) const BACKEND: &str =
    "select pg_backend_pid(), (extract(epoch from transaction_timestamp()) * 1000000)::bigint";

/// How long PostgreSQL may take to end a transaction that it was told to end.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One transaction, as PostgreSQL shows it to others: process ids are used again, together with the beginning they are not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backend {
    pid: i32,
    began_us: i64,
}

impl Backend {
    /// From the answer to [`BACKEND`].
    pub(super) fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            pid: row.try_get(0)?,
            began_us: row.try_get(1)?,
        })
    }

    /// Ends the transaction by ending the process that carries it out. True when it is gone for certain. It takes a connection
    /// of its own: those of the pools may all be held by handlers that hang.
    pub(super) async fn kill(self, options: &Arc<PgConnectOptions>) -> bool {
        let killed = async {
            let mut connection = PgConnection::connect_with(options).await?;
            while self.told_to_end(&mut connection).await? {
                sleep(LOOK_EVERY).await;
            }
            connection.close().await
        };
        match timeout(KILLED_WITHIN, killed).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, pid = self.pid, "a transaction could not be ended from outside");
                false
            }
            Err(_) => {
                tracing::error!(pid = self.pid, "a transaction was not ended in time");
                false
            }
        }
    }

    /// Tells the process to end; false when the transaction is not there any more.
    async fn told_to_end(self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let told = sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where pid = $1 and (extract(epoch from xact_start) * 1000000)::bigint = $2",
        );
        let told = told
            .bind(self.pid)
            .bind(self.began_us)
            .fetch_optional(connection)
            .await?;
        Ok(told.is_some())
    }
}
