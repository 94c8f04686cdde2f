//! One participant of the trip as a process of its own: the service that a team would run.
//!
//! Its parent speaks to it over stdin. `hang` makes the next action that commits print `committed <key>` and never
//! answer, which is what a process looks like from outside that dies between its commit and its reply. The end of
//! stdin ends the process.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use saga_examples::book_trip::{self, AfterCommit};
use saga_participant::Op;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::cli::{
    exit::{Exit, Failure},
    log, output,
};

/// Said by the parent: hang at the next commit of an action.
pub const HANG: &str = "hang";
/// Answered to it.
pub const WILL_HANG: &str = "will hang";
/// Said with the key after the commit.
pub const COMMITTED: &str = "committed ";

/// Arguments of the hidden verb.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who to be
    name: String,
    /// What to connect to: the server or the broker
    #[arg(long)]
    road: String,
    /// Folder of the databases
    #[arg(long)]
    dir: PathBuf,
    /// Milliseconds between a commit and its reply, so that a person can follow
    #[arg(long, default_value_t = 0)]
    pace: u64,
}

/// Serves until the parent is gone or says that it is over.
///
/// # Errors
/// When the database cannot be opened, or the server refuses the participant.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    log::begin(log::Format::Text, "info")?;
    let hang = Arc::new(AtomicBool::new(false));
    let orders = obey(Arc::clone(&hang));
    book_trip::run(
        &[args.name],
        &args.dir,
        &args.road,
        Some(hook(hang, Duration::from_millis(args.pace))),
        orders,
    )
    .await
    .map_err(|error| Failure::error(with_causes(&error)))?;
    Ok(Exit::Ok)
}

fn hook(hang: Arc<AtomicBool>, pace: Duration) -> AfterCommit {
    Arc::new(move |_, key, op| {
        let now = op == Op::Action && hang.swap(false, SeqCst);
        Box::pin(async move {
            if now {
                // A parent that is gone ends us anyway.
                let _ = output::line(&format!("{COMMITTED}{key}"));
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(pace).await;
        })
    })
}

/// Completes when the parent closes our stdin.
async fn obey(hang: Arc<AtomicBool>) {
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(order)) = orders.next_line().await {
        if order == HANG {
            hang.store(true, SeqCst);
            let _ = output::line(WILL_HANG);
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
