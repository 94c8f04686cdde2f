//! The one writer, and how it is lent: to one transaction at a time, and never past an order to end.
//!
//! A handler that blocks its thread may hold the connection in its hands, where nobody can take it away. So each connection
//! asks a guard before it commits, and now and then while a statement runs: once the guard is closed, nothing that was begun
//! on it can take effect, whatever the handler does when it wakes up.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::OwnedMutexGuard;

use super::busy;
use crate::inbox::Error;

/// Instructions of SQLite's machine between two looks at the guard: far less than a millisecond.
const LOOK_EVERY_OPS: i32 = 10_000;

/// Says whether a connection may commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard(Arc<AtomicBool>);

impl Guard {
    /// From now on nothing is committed, and statements are interrupted.
    pub(super) fn close(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn open(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    connection: SqliteConnection,
    guard: Guard,
    /// A transaction may be open that its owner never ended: the future was dropped.
    open: bool,
}

impl Writer {
    /// Opens the connection, with its guard.
    pub(super) async fn connect(options: &SqliteConnectOptions) -> Result<(Self, Guard), Error> {
        let mut connection = SqliteConnection::connect_with(options)
            .await
            .map_err(busy)?;
        let guard = Guard::default();
        let (before_commit, meanwhile) = (guard.clone(), guard.clone());
        let mut handle = connection.lock_handle().await?;
        handle.set_commit_hook(move || !before_commit.is_closed());
        handle.set_progress_handler(LOOK_EVERY_OPS, move || !meanwhile.is_closed());
        drop(handle);
        Ok((
            Self {
                connection,
                guard: guard.clone(),
                open: false,
            },
            guard,
        ))
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

/// The writer while a transaction is open on it.
#[derive(Debug)]
pub struct Lent {
    writer: OwnedMutexGuard<Writer>,
    /// Kept by an action, so that at most one waits in front of an undo.
    _forward: Option<OwnedMutexGuard<()>>,
}

impl Lent {
    pub(crate) fn connection(&self) -> &SqliteConnection {
        &self.writer.connection
    }

    pub(crate) fn connection_mut(&mut self) -> &mut SqliteConnection {
        &mut self.writer.connection
    }

    pub(super) async fn begin(mut writer: OwnedMutexGuard<Writer>) -> Result<Self, Error> {
        if writer.open {
            // Fails when nothing is open any more, which is just as good.
            let _ = sqlx::raw_sql("rollback")
                .execute(&mut writer.connection)
                .await;
        }
        // Whatever it was closed for has lost the writer, and its transaction with it.
        writer.guard.open();
        writer.open = true;
        sqlx::raw_sql("begin immediate")
            .execute(&mut writer.connection)
            .await
            .map_err(busy)?;
        Ok(Self {
            writer,
            _forward: None,
        })
    }

    pub(super) fn keeping(self, forward: OwnedMutexGuard<()>) -> Self {
        Self {
            _forward: Some(forward),
            ..self
        }
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        self.end("commit").await
    }

    pub(super) async fn rollback(self) -> Result<(), Error> {
        self.end("rollback").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), Error> {
        sqlx::raw_sql(statement)
            .execute(self.connection_mut())
            .await
            .map_err(busy)?;
        self.writer.open = false;
        Ok(())
    }
}
