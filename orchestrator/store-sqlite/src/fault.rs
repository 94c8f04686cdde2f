//! What an error of SQLite means to the callers of the store.

use rusqlite::{Error as Sqlite, ErrorCode};

use saga_engine::store::{
    CommitError, Error,
    trouble::{Cause, Kind},
};

/// What kind of trouble it is, in words with a remedy where one is known.
pub(super) fn cause(error: &Sqlite) -> Cause {
    let (kind, remedy) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (Kind::DiskFull, "; make room on the disk"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => (
            Kind::Denied,
            "; check the permissions of the file and of its folder, and that the disk is writable",
        ),
        Some(ErrorCode::OutOfMemory) => (Kind::Overloaded, ""),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (Kind::TimedOut, "; another program holds a lock on the file")
        }
        Some(_) | None => (Kind::Other, ""),
    };
    Cause::new(kind, format!("{error}{remedy}"))
}

/// An error of a read, or of a small write that was rolled back.
pub(super) fn read_error(error: Sqlite) -> Error {
    match &error {
        Sqlite::FromSqlConversionFailure(..)
        | Sqlite::IntegralValueOutOfRange(..)
        | Sqlite::InvalidColumnType(..)
        | Sqlite::InvalidColumnIndex(_)
        | Sqlite::Utf8Error(..) => Error::Corrupt(error.to_string()),
        _ => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Error::Corrupt(error.to_string())
            }
            _ => Error::Unavailable(cause(&error)),
        },
    }
}

/// An error while the database was opened.
pub(super) fn open_error(error: Sqlite) -> Error {
    read_error(error)
}

/// An error of a statement inside a commit's transaction, which is rolled back: nothing was written.
///
/// `what` names the row. A damaged database is "not available" too: blaming a saga for it would be wrong.
pub(super) fn statement_error(error: Sqlite, what: impl FnOnce() -> String) -> CommitError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
            CommitError::Data(format!("{}: {error}", what()))
        }
        Some(_) => CommitError::Unavailable(cause(&error)),
        // Without a code the error arose on the way into SQLite: the row cannot be bound or read.
        None => CommitError::Data(format!("{}: {error}", what())),
    }
}

/// An error of `COMMIT` itself. `still_open` tells whether SQLite left the transaction open.
///
/// An open transaction was not written and can be rolled back. When SQLite has rolled back on its own, a full disk
/// cut off the last frame of the log, so nothing can come back from it. Other I/O errors (a failed sync) may come
/// after that frame: this process goes on without the batch, but a crash before the next write could bring it back.
/// The caller's next write, its new claim, ends that doubt.
pub(super) fn commit_error(error: &Sqlite, still_open: bool) -> CommitError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => {
            CommitError::Unavailable(cause(error))
        }
        _ if still_open => CommitError::Unavailable(cause(error)),
        _ => CommitError::Unknown(cause(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> Sqlite {
        Sqlite::SqliteFailure(rusqlite::ffi::Error::new(code), None)
    }

    #[test]
    fn a_failed_sync_leaves_the_commit_in_doubt_and_a_full_disk_does_not() {
        use rusqlite::ffi::{SQLITE_BUSY, SQLITE_FULL, SQLITE_IOERR_FSYNC};
        let in_doubt = commit_error(&failure(SQLITE_IOERR_FSYNC), false);
        assert!(matches!(in_doubt, CommitError::Unknown(_)));
        for (code, still_open) in [
            (SQLITE_FULL, false),
            (SQLITE_FULL, true),
            (SQLITE_BUSY, true),
            (SQLITE_IOERR_FSYNC, true),
        ] {
            let error = commit_error(&failure(code), still_open);
            assert!(
                matches!(error, CommitError::Unavailable(_)),
                "{code} {still_open}"
            );
        }
    }

    #[test]
    fn statements_blame_the_row_only_for_its_content() {
        use rusqlite::ffi::{
            SQLITE_CANTOPEN, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CORRUPT, SQLITE_FULL,
            SQLITE_IOERR_WRITE, SQLITE_READONLY, SQLITE_TOOBIG,
        };
        for code in [SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_TOOBIG] {
            let error = statement_error(failure(code), || "row 7".to_owned());
            assert!(
                matches!(&error, CommitError::Data(text) if text.contains("row 7")),
                "{error}"
            );
        }
        for code in [
            SQLITE_FULL,
            SQLITE_IOERR_WRITE,
            SQLITE_READONLY,
            SQLITE_CANTOPEN,
            SQLITE_CORRUPT,
        ] {
            let error = statement_error(failure(code), || "row 7".to_owned());
            assert!(matches!(error, CommitError::Unavailable(_)), "{code}");
        }
    }
}
