//! `saga acknowledge`: take note of the incidents that nothing else settles.

use saga_proto::v1::AcknowledgeRequest;

use super::{
    once::once,
    steer::{self, Common},
};
use crate::{
    Context,
    exit::{Exit, Failure, Fate},
};

const EXAMPLES: &str = "\
Example:
  saga acknowledge 7QK3MV2A --reason 'refunded by hand, ticket 4711'

It is for an incident that says that a participant contradicts what it answered before, and for a
deadline that passed after the pivot. The first stays on the list when the saga has ended, until it
is acknowledged. Nothing else changes.";

/// Arguments of `saga acknowledge`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY
    #[arg(value_name = "ID")]
    saga: String,
    /// What was found and done; stands in the history and in the audit list
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Runs `saga acknowledge`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let question =
        |saga: &str| format!("take the incidents of {saga} that nothing settles off the list?");
    if !steer::confirmed(&server, &args.saga, &args.common, question).await? {
        return Ok(Exit::Error);
    }
    let fate = Fate::of_saga(format!("{} is acknowledged", args.saga), &args.saga);
    let named = args.saga.clone();
    let asked = steer::once(&args.common, &named, fate);
    let request = AcknowledgeRequest {
        saga: args.saga,
        reason: args.reason.unwrap_or_default(),
        by: steer::by(),
        act_id: asked.act.as_bytes().to_vec().into(),
    };
    let answer = once(&server, asked, || {
        let request = request.clone();
        async { server.operators().acknowledge(request).await }
    })
    .await?;
    steer::show_only(answer, args.common.output)
}
