//! `saga wait`: block until a saga has ended.

use std::time::Duration as StdDuration;

use saga_dsl::definition::Duration;

use super::follow::{self, Follow, Show};
use crate::{
    Context,
    exit::{Exit, Failure},
    show::{
        json,
        output::{self, Format},
    },
};

const EXAMPLES: &str = "\
Examples:
  saga wait 7QK3MV2A --timeout 5m
  saga start book_trip -i trip.json -o id | xargs saga wait

The exit code tells the end:
0 completed, 10 compensated, 11 an operator is needed, 12 gave up waiting, 13 abandoned.";

/// Arguments of `saga wait`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY
    #[arg(value_name = "ID")]
    saga: String,
    /// Stop waiting after this time; the saga goes on
    #[arg(long, value_name = "TIME")]
    timeout: Option<Duration>,
    /// Go on waiting when an operator is needed
    #[arg(long)]
    through_incidents: bool,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Runs `saga wait`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let timeout = args.timeout.map(|limit| StdDuration::from_millis(limit.ms));
    let how = Follow {
        show: Show::Nothing,
        timeout,
        through_incidents: args.through_incidents,
    };
    let ending = follow::follow(&server, &args.saga, how).await?;
    match (args.output, &ending.detail) {
        (Format::Json, Some(detail)) => output::json(&json::Detail::from(detail))?,
        (Format::Json, None) | (Format::Text, _) => output::note(&follow::verdict(&ending)),
    }
    Ok(ending.exit)
}
