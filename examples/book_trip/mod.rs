//! Book a flight and a hotel, charge the card, confirm: four participants with a database each.

pub mod flights;
pub mod hotels;
mod ledger;
pub mod notifications;
pub mod payments;

use std::{future::Future, path::Path, pin::Pin, sync::Arc};

use saga_participant::{Op, Participant, Sqlite, SqliteInbox, StepKey, inbox};
use tokio::{sync::watch, task::JoinSet};

pub use ledger::{Kind, LedgerRow, ledger};

/// The saga file.
pub const BOOK_TRIP: &str = include_str!("book_trip.saga.yaml");

/// The participants, in the order in which a trip needs them.
pub const PARTICIPANTS: [&str; 4] = ["flights", "hotels", "payments", "notifications"];

/// Called by a participant, named first, after it committed and before it answers. A process that ends
/// itself here has acted and never said so.
pub type AfterCommit = Arc<
    dyn Fn(&'static str, StepKey, Op) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync,
>;

/// Why the participants do not run, or no longer do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody here has that name.
    #[error("no participant `{0}`; there are flights, hotels, payments and notifications")]
    UnknownParticipant(String),
    /// The folder of the databases cannot be made.
    #[error("data folder")]
    Folder(#[from] std::io::Error),
    /// A database cannot be opened.
    #[error("database of {participant}")]
    Inbox {
        /// Whose database.
        participant: &'static str,
        /// What is wrong with it.
        source: inbox::Error,
    },
    /// A ledger cannot be read.
    #[error("ledger of {participant}")]
    Ledger {
        /// Whose ledger.
        participant: &'static str,
        /// What is wrong with it.
        source: sqlx::Error,
    },
    /// The SDK gave up.
    #[error(transparent)]
    Serve(#[from] saga_participant::Error),
}

/// Serves the named participants in this process until `shutdown` completes, then drains them. Their
/// databases are `<dir>/<name>.db`, made where they are missing.
///
/// # Errors
/// When a name is unknown, a database cannot be opened, or the orchestrator refuses a participant; the
/// others are stopped then.
pub async fn run(
    names: &[impl AsRef<str>],
    dir: &Path,
    endpoint: &str,
    after_commit: Option<AfterCommit>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut participants = Vec::new();
    for name in names {
        let name = known(name.as_ref())?;
        participants.push((name, participant(name, dir).await?));
    }
    let (stop, stopped) = watch::channel(());
    let mut serving = JoinSet::new();
    for (name, mut participant) in participants {
        if let Some(hook) = after_commit.clone() {
            participant = participant.after_commit(move |key, op| hook(name, key, op));
        }
        let (endpoint, mut stopped) = (endpoint.to_owned(), stopped.clone());
        serving.spawn(async move {
            // The sender is dropped to stop; nothing is ever sent.
            let shutdown = async move { while stopped.changed().await.is_ok() {} };
            participant.serve(&endpoint, shutdown).await
        });
    }
    let first = tokio::select! {
        () = shutdown => None,
        first = serving.join_next() => first,
    };
    drop(stop);
    let mut result = Ok(());
    let mut next = first;
    loop {
        match next {
            Some(Ok(served)) => result = result.and(served.map_err(Error::from)),
            // Nothing here aborts a task, so it panicked.
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None if serving.is_empty() => return result,
            None => {}
        }
        next = serving.join_next().await;
    }
}

/// One participant on its database in `dir`.
///
/// # Errors
/// When the name is unknown or the database cannot be opened.
pub async fn participant(name: &str, dir: &Path) -> Result<Participant<Sqlite>, Error> {
    let participant = known(name)?;
    std::fs::create_dir_all(dir)?;
    let opened = async {
        let inbox = SqliteInbox::open(database(dir, participant)).await?;
        inbox.migrate(ledger::SCHEMA).await?;
        Ok(match participant {
            "flights" => flights::participant(inbox).await?,
            "hotels" => hotels::participant(inbox).await?,
            "payments" => payments::participant(inbox).await?,
            _ => notifications::participant(inbox).await?,
        })
    };
    opened.await.map_err(|source| Error::Inbox {
        participant,
        source,
    })
}

fn database(dir: &Path, participant: &str) -> std::path::PathBuf {
    dir.join(participant).with_extension("db")
}

fn known(name: &str) -> Result<&'static str, Error> {
    PARTICIPANTS
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(|| Error::UnknownParticipant(name.to_owned()))
}
