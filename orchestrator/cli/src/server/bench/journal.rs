//! What a run cost the server, read from outside: its store file and what the system knows of its process.

use std::ffi::OsStr;

use rusqlite::{Connection, OpenFlags};
use saga_server::config::{self, Store};
use saga_store_postgres::address::Address;
use sqlx::{Connection as _, PgConnection, Row};

use crate::{exit::Failure, server::serve::misconfigured};

/// How far a store has come, or came between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Commits that wrote to the journal.
    pub commits: u64,
    /// Rows of the journal.
    pub rows: u64,
}

impl Progress {
    /// Reads the store while its server runs.
    ///
    /// # Errors
    /// When it is no store, or busy for too long.
    pub async fn read(store: &OsStr) -> Result<Self, Failure> {
        let written = config::Written {
            store: store.to_string_lossy().into_owned(),
            ..config::Written::default()
        };
        let store = written.read().map_err(|error| misconfigured(&error))?.store;
        let name = store.to_string();
        let read = match &store {
            Store::Sqlite(path) => in_sqlite(path).map_err(|error| error.to_string()),
            Store::Postgres { url, .. } => {
                in_postgres(url).await.map_err(|error| error.to_string())
            }
        };
        read.map_err(|error| Failure::error(format!("cannot read {name}: {error}")))
    }

    /// What was added since an earlier reading.
    pub const fn since(self, before: Self) -> Self {
        Self {
            commits: self.commits.saturating_sub(before.commits),
            rows: self.rows.saturating_sub(before.rows),
        }
    }
}

// Rows are never deleted while a run lasts, so the last position stands for their number.
const IN_SQLITE: &str =
    "SELECT commit_no, (SELECT coalesce(max(position), 0) FROM saga_event) FROM progress";
const IN_POSTGRES: &str = "SELECT commit_no, (SELECT count(*) FROM saga_event) FROM progress";

fn in_sqlite(path: &std::path::Path) -> rusqlite::Result<Progress> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let store = Connection::open_with_flags(path, flags)?;
    store.query_row(IN_SQLITE, [], |row| {
        let (commits, rows): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Progress {
            commits: commits.unsigned_abs(),
            rows: rows.unsigned_abs(),
        })
    })
}

async fn in_postgres(url: &str) -> Result<Progress, sqlx::Error> {
    let address = Address::read(url).map_err(|fault| sqlx::Error::Configuration(fault.into()))?;
    let mut store = primary(&address).await?;
    let row = sqlx::query(IN_POSTGRES).fetch_one(&mut store).await?;
    let (commits, rows): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    store.close().await?;
    Ok(Progress {
        commits: commits.unsigned_abs(),
        rows: rows.unsigned_abs(),
    })
}

/// A connection to the server that takes writes.
async fn primary(address: &Address) -> Result<PgConnection, sqlx::Error> {
    let mut refused = sqlx::Error::PoolClosed;
    for server in &address.servers {
        let mut conn = match PgConnection::connect_with(&server.options).await {
            Ok(conn) => conn,
            Err(error) => {
                refused = error;
                continue;
            }
        };
        let row = sqlx::query("SELECT pg_is_in_recovery()")
            .fetch_one(&mut conn)
            .await?;
        if !row.try_get::<bool, _>(0)? {
            return Ok(conn);
        }
        refused = sqlx::Error::Protocol(format!("{} is a standby", server.place));
    }
    Err(refused)
}

/// Memory of a process in MiB: `VmRSS` now, `VmHWM` at most. `None` where the system has no `/proc`.
pub fn memory_mib(process: u32, field: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    in_status(&status, field)
}

fn in_status(status: &str, field: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_its_line() {
        let status = "Name:\tsaga\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(in_status(status, "VmHWM"), Some(20.0));
        assert_eq!(in_status(status, "VmRSS"), Some(10.0));
        assert_eq!(in_status(status, "Vm"), None);
        assert_eq!(in_status("", "VmRSS"), None);
    }

    #[tokio::test]
    async fn a_new_store_has_come_nowhere() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("saga.db");
        let _store = saga_store_sqlite::SqliteStore::open(&path).expect("a store");
        assert_eq!(
            Progress::read(path.as_os_str())
                .await
                .map_err(|f| f.to_string()),
            Ok(Progress {
                commits: 0,
                rows: 0
            })
        );
        assert!(
            Progress::read(dir.path().join("missing.db").as_os_str())
                .await
                .is_err()
        );
    }
}
