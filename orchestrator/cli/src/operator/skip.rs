//! `saga skip`: go on without a step, or without its undo.

use saga_proto::v1::SkipRequest;

use super::{
    once::once,
    steer::{self, Common},
};
use crate::{
    Context,
    exit::{Exit, Failure, Fate},
};

const EXAMPLES: &str = "\
Examples:
  saga skip 7QK3MV2A send_mail --reason 'told the customer by phone'
  saga skip 7QK3MV2A reserve_hotel --reason 'hotel cancelled by hand, ticket 4711'

While the saga goes forward it goes on without the step; what was sent is sealed first, and if it turns out done, it
counts as done. While the saga goes back, the undo of the step counts as done.
The saga is marked for good: it rests on your word (saga list shows it, saga audit tells whose).";

/// Arguments of `saga skip`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY
    #[arg(value_name = "ID")]
    saga: String,
    /// Id of the step
    step: String,
    /// Why; stands in the history and in the audit list
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do not seal first what was sent, and do not wait for an undo that is under way
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs `saga skip`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let question = |saga: &str| format!("skip {} of {saga}, and mark it for good?", args.step);
    if !steer::confirmed(&server, &args.saga, &args.common, question).await? {
        return Ok(Exit::Error);
    }
    let fate = Fate::of_saga(
        format!("{} of {} is left out", args.step, args.saga),
        &args.saga,
    );
    let named = args.saga.clone();
    let (saga, step, reason) = (args.saga, args.step, args.reason);
    let asked = steer::once(&args.common, &named, fate);
    let request = SkipRequest {
        saga,
        step,
        reason,
        by: steer::by(),
        force: args.force,
        act_id: asked.act.as_bytes().to_vec().into(),
    };
    let answer = once(&server, asked, || {
        let request = request.clone();
        async { server.operators().skip(request).await }
    })
    .await?;
    steer::show(answer, args.common.output)
}
