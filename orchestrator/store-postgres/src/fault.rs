//! What an error of PostgreSQL means to the callers of the store: one table of SQLSTATEs, and what follows from a row.

use saga_core::SagaId;
use sqlx::{
    Error as Sqlx,
    error::DatabaseError,
    postgres::{PgDatabaseError, PgSeverity},
};
use uuid::Uuid;

use saga_engine::store::{
    CommitError, Error,
    trouble::{Cause, Kind},
};

/// A start was asked for before; raised by `saga_commit`.
pub(super) const STARTS_EXIST: &str = "SG001";
/// A row that makes no sense; raised by `saga_commit`.
pub(super) const NONSENSE: &str = "SG002";

/// What a refusal of the server means.
struct Meaning {
    /// A SQLSTATE, or the two letters of its class. The whole code wins over its class.
    code: &'static str,
    kind: Kind,
    /// What to do with the session.
    session: Session,
    /// Problem, then remedy. The server's own words are put between them.
    problem: &'static str,
    remedy: &'static str,
}

/// What becomes of the session after a refusal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    /// The transaction is rolled back; the session goes on.
    Keep,
    /// The transaction is rolled back; a new connection may lead to a server that does better.
    Redial,
    /// The session has ended. A commit that was under way may have been written.
    Lost,
}

use Session::{Keep, Lost, Redial};

const MEANINGS: [Meaning; 25] = [
    row(
        "08",
        Kind::Unreachable,
        Lost,
        "the connection to the database broke",
        "check the network and any pooler",
    ),
    row(
        "0A000",
        Kind::Other,
        Redial,
        "the database no longer takes a statement that it has prepared",
        "nothing is to be done: a new connection prepares it again",
    ),
    row(
        "25006",
        Kind::ReadOnly,
        Redial,
        "the database takes no writes: it was made read-only, or it is a standby since a failover",
        "make it writable, or name every server in the URL (postgres://user@one,two/db), so that the new primary is found",
    ),
    row(
        "25P02",
        Kind::Other,
        Redial,
        "the session is in a failed transaction",
        "nothing is to be done: it is left",
    ),
    row(
        "25P03",
        Kind::Ended,
        Lost,
        "the database ended a session whose transaction stood still",
        "look at the load of this machine",
    ),
    row("26000", Kind::Unfit, Redial, POOLED, POOLED_REMEDY),
    row(
        "28",
        Kind::Denied,
        Redial,
        "the database does not let this user in",
        "check user and password, and the server's pg_hba.conf",
    ),
    row(
        "3D000",
        Kind::Denied,
        Redial,
        "there is no such database",
        "make it, or correct the name in the URL",
    ),
    row(
        "40",
        Kind::Overloaded,
        Keep,
        "another session changes the same rows",
        "give saga a database of its own",
    ),
    row(
        "42501",
        Kind::Denied,
        Redial,
        "the role may not do this",
        "let saga's role own its tables, or grant it the right",
    ),
    row("42P05", Kind::Unfit, Redial, POOLED, POOLED_REMEDY),
    row(
        "53000",
        Kind::Overloaded,
        Keep,
        "the database is short of a resource",
        "look at the database server",
    ),
    row(
        "53100",
        Kind::DiskFull,
        Keep,
        "the disk of the database is full",
        "make room there",
    ),
    row(
        "53200",
        Kind::Overloaded,
        Keep,
        "the database is out of memory",
        "look at the database server",
    ),
    row(
        "53300",
        Kind::NoConnection,
        Redial,
        "the database has no connection left",
        "raise max_connections (or the role's or database's CONNECTION LIMIT), or end sessions of others",
    ),
    row(
        "53400",
        Kind::Overloaded,
        Keep,
        "a limit of the database's configuration is reached",
        "look at the database server",
    ),
    row(
        "55P03",
        Kind::TimedOut,
        Keep,
        "another session holds a lock on saga's tables",
        "end that session, or let it finish",
    ),
    row(
        "57014",
        Kind::TimedOut,
        Keep,
        "the database gave a statement up",
        "look at its load, and at who cancels statements",
    ),
    row(
        "57P01",
        Kind::Ended,
        Lost,
        "the database ended the session",
        "it was restarted, or an administrator ended it",
    ),
    row(
        "57P02",
        Kind::Ended,
        Lost,
        "the database crashed and recovers",
        "it answers again when it has recovered",
    ),
    row(
        "57P03",
        Kind::Starting,
        Redial,
        "the database is starting, recovering or shutting down",
        "it answers when it is ready",
    ),
    row(
        "57P04",
        Kind::Denied,
        Lost,
        "the database was removed",
        "restore it",
    ),
    row(
        "57P05",
        Kind::Ended,
        Lost,
        "the database ended an idle session",
        "raise idle_session_timeout for saga's role",
    ),
    row(
        "58",
        Kind::Other,
        Keep,
        "the database cannot read or write its files",
        "look at its disk and its log",
    ),
    row(
        "XX",
        Kind::Other,
        Keep,
        "the database reports a fault of its own",
        "look at its log",
    ),
];

const POOLED: &str = "a connection pooler lends every statement another session (transaction mode)";
pub(super) const POOLED_REMEDY: &str = "put the pooler into session mode (pgbouncer: pool_mode = session), or connect to the server itself";

const fn row(
    code: &'static str,
    kind: Kind,
    session: Session,
    problem: &'static str,
    remedy: &'static str,
) -> Meaning {
    Meaning {
        code,
        kind,
        session,
        problem,
        remedy,
    }
}

fn meaning(told: &dyn DatabaseError) -> Option<&'static Meaning> {
    let code = told.code()?;
    let found = |wanted: &str| MEANINGS.iter().find(|row| row.code == wanted);
    found(&code).or_else(|| found(code.get(..2)?))
}

/// The kind of trouble, in words that name a remedy.
pub(super) fn cause(error: &Sqlx) -> Cause {
    match error {
        Sqlx::Database(told) => {
            let (code, message) = (told.code().unwrap_or_default(), told.message());
            match meaning(&**told) {
                Some(Meaning {
                    kind,
                    problem,
                    remedy,
                    ..
                }) => Cause::new(*kind, format!("{problem} ({code}: {message}); {remedy}")),
                None => Cause::new(
                    Kind::Other,
                    format!("the database refuses ({code}: {message})"),
                ),
            }
        }
        Sqlx::Io(error) => Cause::new(
            Kind::Unreachable,
            format!(
                "the database cannot be reached ({error}); check that it runs, and the network"
            ),
        ),
        Sqlx::Tls(error) => Cause::new(
            Kind::Unreachable,
            format!(
                "no encrypted connection to the database ({error}); check sslmode and sslrootcert in the URL"
            ),
        ),
        Sqlx::PoolTimedOut => Cause::new(
            Kind::NoConnection,
            "no connection to the database became free in time; look at its load",
        ),
        other => Cause::new(Kind::Other, other.to_string()),
    }
}

/// An error of a read, or of a small write that was rolled back.
pub(super) fn read_error(error: Sqlx) -> Error {
    match &error {
        Sqlx::ColumnDecode { .. }
        | Sqlx::Decode(_)
        | Sqlx::ColumnNotFound(_)
        | Sqlx::TypeNotFound { .. } => Error::Corrupt(error.to_string()),
        // A duplicate table, another column: the schema belongs to somebody else.
        Sqlx::Database(told)
            if meaning(&**told).is_none()
                && told.code().is_some_and(|code| code.starts_with("42")) =>
        {
            Error::Corrupt(error.to_string())
        }
        _ => Error::Unavailable(cause(&error)),
    }
}

/// An error of the one statement that a commit is.
///
/// Told by the server, the transaction is rolled back. Anything else (the connection broke, nobody answered in time)
/// leaves it open whether the server had committed by then.
pub(super) fn commit_error(error: &Sqlx) -> CommitError {
    match error {
        Sqlx::Database(told) => match told.code().as_deref().unwrap_or_default() {
            NONSENSE => CommitError::Data(format!("{}{}", told.message(), place(&**told))),
            "23505" => CommitError::Data(repeated(&**told).unwrap_or_else(|| error.to_string())),
            // Data exceptions, constraints, text that cannot be stored, and rows beyond a limit of the server.
            code if ["22", "23", "54"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                CommitError::Data(error.to_string())
            }
            // The server ended the session; what it had committed by then, nobody knows.
            _ if session(&**told) == Lost => CommitError::Unknown(cause(error)),
            _ => CommitError::Unavailable(cause(error)),
        },
        // It never left the house.
        Sqlx::Encode(_) | Sqlx::InvalidArgument(_) => CommitError::Data(error.to_string()),
        Sqlx::PoolTimedOut | Sqlx::PoolClosed => CommitError::Unavailable(cause(error)),
        _ => CommitError::Unknown(cause(error)),
    }
}

fn session(told: &dyn DatabaseError) -> Session {
    let severity = told
        .try_downcast_ref::<PgDatabaseError>()
        .map(PgDatabaseError::severity);
    match severity {
        Some(PgSeverity::Fatal | PgSeverity::Panic) => Lost,
        _ => meaning(told).map_or(Keep, |meaning| meaning.session),
    }
}

/// The saga that `saga_commit` names, as people see it.
fn place(told: &dyn DatabaseError) -> String {
    let Some(detail) = detail(told) else {
        return String::new();
    };
    let (id, rest) = detail.split_once(' ').unwrap_or((detail, ""));
    let id = id.parse().map_or_else(
        |_| id.to_owned(),
        |id: Uuid| SagaId::from_u128(id.as_u128()).to_string(),
    );
    format!(": saga {id} {rest}").trim_end().to_owned()
}

fn detail(told: &dyn DatabaseError) -> Option<&str> {
    told.try_downcast_ref::<PgDatabaseError>()
        .and_then(PgDatabaseError::detail)
}

/// A journal row that is there already, as people see it. The server writes `(saga_id, seq)=(<uuid>, <n>)`.
fn repeated(told: &dyn DatabaseError) -> Option<String> {
    let (_, values) = detail(told)?.split_once(")=(")?;
    let (id, rest) = values.split_once(", ")?;
    let id = SagaId::from_u128(id.parse::<Uuid>().ok()?.as_u128());
    Some(format!(
        "saga {id} seq {} is written already",
        rest.split(')').next()?
    ))
}

/// Is this the conflict of a start?
pub(super) fn is_start_conflict(error: &Sqlx) -> bool {
    matches!(error, Sqlx::Database(told) if told.code().as_deref() == Some(STARTS_EXIST))
}

/// After this error the connection is of no use any more, or a new one may lead to a better server.
pub(super) fn breaks_connection(error: &Sqlx) -> bool {
    match error {
        Sqlx::Database(told) => session(&**told) != Keep,
        Sqlx::Io(_) | Sqlx::Tls(_) | Sqlx::Protocol(_) | Sqlx::WorkerCrashed | Sqlx::PoolClosed => {
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeSet};

    use super::*;

    /// A refusal by its code alone.
    #[derive(Debug, thiserror::Error)]
    #[error("told so")]
    struct Told(&'static str);

    impl DatabaseError for Told {
        fn message(&self) -> &str {
            "told so"
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    fn told(code: &'static str) -> Sqlx {
        Sqlx::Database(Box::new(Told(code)))
    }

    #[test]
    fn each_code_of_the_table_stands_there_once() {
        let codes: BTreeSet<&str> = MEANINGS.iter().map(|row| row.code).collect();
        assert_eq!(codes.len(), MEANINGS.len());
        assert!(
            codes.iter().all(|code| matches!(code.len(), 2 | 5)),
            "{codes:?}"
        );
    }

    #[test]
    fn a_refusal_is_named_by_its_code_and_redialled_where_that_helps() {
        for (code, kind, redialled) in [
            ("25006", Kind::ReadOnly, true),
            ("57P03", Kind::Starting, true),
            ("53100", Kind::DiskFull, false),
            ("53300", Kind::NoConnection, true),
            ("57014", Kind::TimedOut, false),
            ("57P01", Kind::Ended, true),
            ("08006", Kind::Unreachable, true),
            ("28P01", Kind::Denied, true),
            ("42P05", Kind::Unfit, true),
            ("26000", Kind::Unfit, true),
            ("40001", Kind::Overloaded, false),
        ] {
            let cause = cause(&told(code));
            assert_eq!(
                (cause.kind, breaks_connection(&told(code))),
                (kind, redialled),
                "{code}: {cause}"
            );
            assert!(
                cause.words.contains(code) && cause.words.contains("told so"),
                "{cause}"
            );
        }
    }

    #[test]
    fn only_a_lost_session_leaves_a_commit_in_doubt() {
        for code in [
            "25006", "53100", "53300", "57014", "55P03", "40P01", "57P03", "F0000",
        ] {
            let error = commit_error(&told(code));
            assert!(
                matches!(error, CommitError::Unavailable(_)),
                "{code}: {error:?}"
            );
        }
        for code in ["57P01", "57P02", "25P03", "08003"] {
            let error = commit_error(&told(code));
            assert!(
                matches!(error, CommitError::Unknown(_)),
                "{code}: {error:?}"
            );
        }
        for code in ["22021", "23514", "54000"] {
            let error = commit_error(&told(code));
            assert!(matches!(error, CommitError::Data(_)), "{code}: {error:?}");
        }
    }

    #[test]
    fn a_poolers_prepared_statements_are_not_called_damage() {
        for code in ["42P05", "26000", "42501"] {
            assert!(
                matches!(read_error(told(code)), Error::Unavailable(_)),
                "{code}"
            );
        }
        assert!(matches!(read_error(told("42P07")), Error::Corrupt(_)));
    }
}
