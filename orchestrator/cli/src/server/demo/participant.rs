//! One participant of the trip as a process of its own: the service that a team would run.
//!
//! Its parent speaks to it over stdin. `hang` makes the next action that commits print `committed <key>` and never
//! answer, which is what a process looks like from outside that dies between its commit and its reply. The end of
//! stdin ends the process.

use std::{path::PathBuf, time::Duration};

use saga_lab::demo::{self, Trap};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    exit::{Exit, Failure},
    server::log,
    show::output,
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
    let trap = Trap::default();
    let orders = obey(trap.clone());
    let pace = Duration::from_millis(args.pace);
    demo::serve(args.name, &args.dir, &args.road, pace, trap, caught, orders)
        .await
        .map_err(Failure::error)?;
    Ok(Exit::Ok)
}

fn caught(key: &str) {
    // A parent that is gone ends us anyway.
    let _ = output::line(&format!("{COMMITTED}{key}"));
}

/// Completes when the parent closes our stdin.
async fn obey(trap: Trap) {
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(order)) = orders.next_line().await {
        if order == HANG {
            trap.set();
            let _ = output::line(WILL_HANG);
        }
    }
}
