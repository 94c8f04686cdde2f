//! What a run cost the server, read from outside: its store file and what the system knows of its process.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::cli::exit::Failure;

/// How far a store has come, or came between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Commits that wrote to the journal.
    pub commits: u64,
    /// Rows of the journal.
    pub rows: u64,
}

impl Progress {
    /// Reads the store in `path` while its server runs.
    ///
    /// # Errors
    /// When it is no store, or busy for too long.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let read = || -> rusqlite::Result<Self> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let store = Connection::open_with_flags(path, flags)?;
            // Rows are never deleted while a run lasts, so the last position stands for their number.
            let query = "SELECT commit_no, (SELECT coalesce(max(position), 0) FROM saga_event) FROM progress";
            let (commits, rows): (i64, i64) =
                store.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(Self { commits: commits.unsigned_abs(), rows: rows.unsigned_abs() })
        };
        read().map_err(|error| Failure::error(format!("cannot read {}: {error}", path.display())))
    }

    /// What was added since an earlier reading.
    pub const fn since(self, before: Self) -> Self {
        Self {
            commits: self.commits.saturating_sub(before.commits),
            rows: self.rows.saturating_sub(before.rows),
        }
    }
}

/// Memory of a process in MiB: `VmRSS` now, `VmHWM` at most. `None` where the system has no `/proc`.
pub fn memory_mib(process: u32, field: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    in_status(&status, field)
}

fn in_status(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
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

    #[test]
    fn a_new_store_has_come_nowhere() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("saga.db");
        let _store = saga_orchestrator::store::sqlite::SqliteStore::open(&path).expect("a store");
        assert_eq!(Progress::read(&path).map_err(|f| f.to_string()), Ok(Progress { commits: 0, rows: 0 }));
        assert!(Progress::read(&dir.path().join("missing.db")).is_err());
    }
}
