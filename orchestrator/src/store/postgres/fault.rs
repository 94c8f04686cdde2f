//! What an error of PostgreSQL means to the callers of the store.

use saga_core::SagaId;
use sqlx::{Error as Sqlx, error::DatabaseError, postgres::PgDatabaseError};
use uuid::Uuid;

use crate::store::{CommitError, Error};

/// A start was asked for before; raised by `saga_commit`.
pub(super) const STARTS_EXIST: &str = "SG001";
/// A row that makes no sense; raised by `saga_commit`.
pub(super) const NONSENSE: &str = "SG002";

/// An error of a read, or of a small write that was rolled back.
pub(super) fn read_error(error: Sqlx) -> Error {
    match &error {
        Sqlx::ColumnDecode { .. } | Sqlx::Decode(_) | Sqlx::ColumnNotFound(_) | Sqlx::TypeNotFound { .. } => {
            Error::Corrupt(error.to_string())
        }
        // A duplicate table, another column: the schema belongs to somebody else.
        Sqlx::Database(told) if told.code().is_some_and(|code| code.starts_with("42")) => {
            Error::Corrupt(error.to_string())
        }
        _ => Error::Unavailable(error.to_string().into()),
    }
}

/// An error of the one statement that a commit is.
///
/// Told by the server, the transaction is rolled back. Anything else (the connection broke, nobody answered in time)
/// leaves it open whether the server had committed by then.
pub(super) fn commit_error(error: &Sqlx) -> CommitError {
    let text = error.to_string();
    match error {
        Sqlx::Database(told) => match told.code().as_deref().unwrap_or_default() {
            NONSENSE => CommitError::Data(format!("{}{}", told.message(), place(&**told))),
            "23505" => CommitError::Data(repeated(&**told).unwrap_or(text)),
            // Data exceptions, constraints, and text that cannot be stored.
            code if code.starts_with("22") || code.starts_with("23") => CommitError::Data(text),
            // The server ended the session; what it had committed by then, nobody knows.
            code if code.starts_with("57P") || code.starts_with("08") => CommitError::Unknown(text.into()),
            _ => CommitError::Unavailable(text.into()),
        },
        // It never left the house.
        Sqlx::Encode(_) | Sqlx::InvalidArgument(_) => CommitError::Data(text),
        Sqlx::PoolTimedOut | Sqlx::PoolClosed => CommitError::Unavailable(text.into()),
        _ => CommitError::Unknown(text.into()),
    }
}

/// The saga that `saga_commit` names, as people see it.
fn place(told: &dyn DatabaseError) -> String {
    let Some(detail) = detail(told) else { return String::new() };
    let (id, rest) = detail.split_once(' ').unwrap_or((detail, ""));
    let id =
        id.parse().map_or_else(|_| id.to_owned(), |id: Uuid| SagaId::from_u128(id.as_u128()).to_string());
    format!(": saga {id} {rest}").trim_end().to_owned()
}

fn detail(told: &dyn DatabaseError) -> Option<&str> {
    told.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::detail)
}

/// A journal row that is there already, as people see it. The server writes `(saga_id, seq)=(<uuid>, <n>)`.
fn repeated(told: &dyn DatabaseError) -> Option<String> {
    let (_, values) = detail(told)?.split_once(")=(")?;
    let (id, rest) = values.split_once(", ")?;
    let id = SagaId::from_u128(id.parse::<Uuid>().ok()?.as_u128());
    Some(format!("saga {id} seq {} is written already", rest.split(')').next()?))
}

/// Is this the conflict of a start?
pub(super) fn is_start_conflict(error: &Sqlx) -> bool {
    matches!(error, Sqlx::Database(told) if told.code().as_deref() == Some(STARTS_EXIST))
}

/// After this error the connection is of no use any more.
pub(super) fn breaks_connection(error: &Sqlx) -> bool {
    match error {
        Sqlx::Database(told) => {
            told.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        Sqlx::Io(_) | Sqlx::Tls(_) | Sqlx::Protocol(_) | Sqlx::WorkerCrashed | Sqlx::PoolClosed => true,
        _ => false,
    }
}
