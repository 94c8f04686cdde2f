//! The hidden verb that is the participants' process of a run.

use saga_lab::bench;

use crate::{
    exit::{Exit, Failure},
    server::child::parent_gone,
    show::output,
};

/// Arguments of the hidden verb.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to connect to: a server or a broker
    #[arg(long)]
    road: String,
    /// Take one command a message
    #[arg(long)]
    one_a_message: bool,
}

/// Serves until the parent closes our stdin, then prints [`bench::Effects`] as JSON.
///
/// # Errors
/// When the server refuses the participant.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let effects = bench::serve(&args.road, args.one_a_message, parent_gone())
        .await
        .map_err(|error| Failure::error(error.to_string()))?;
    output::json_line(&effects)?;
    Ok(Exit::Ok)
}
