//! `saga abandon`: end a saga as it is.

use saga_proto::v1::AbandonRequest;

use super::{
    once::once,
    steer::{self, Common},
};
use crate::{
    Context,
    exit::{Exit, Failure, Fate},
    show::{
        ids::{id_text, short},
        output::{self, Format},
        words,
    },
};

const EXAMPLES: &str = "\
Example:
  saga abandon 7QK3MV2A --reason 'settled with the customer by hand, ticket 4711'

Nothing is undone, and what is under way at participants is not waited for: it may still happen. On a terminal the
end of the id must be typed; elsewhere it takes --yes. To have it undone instead: saga cancel.";

/// Arguments of `saga abandon`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY
    #[arg(value_name = "ID")]
    saga: String,
    /// Why; stands in the history and in the audit list
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    common: Common,
}

/// Runs `saga abandon`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    if !args.common.yes {
        if args.common.output != Format::Text || !output::can_ask() {
            return Err(Failure::new(
                Exit::Usage,
                "abandon leaves everything as it is, so it asks first, and nobody is here to be asked",
            )
            .help("--yes, if it is meant"));
        }
        let summary = steer::summary(&server, &args.saga).await?;
        if words::is_end(&summary.status) {
            let message = format!(
                "{} has ended; nothing can be changed any more",
                steer::named(&summary)
            );
            return Err(Failure::new(Exit::Refused, message));
        }
        let id = short(&id_text(&summary));
        let typed = steer::ask(&format!(
            "{}: nothing of it will be undone. Type {id} to abandon it: ",
            steer::named(&summary)
        ))
        .await?;
        if !typed.eq_ignore_ascii_case(&id) {
            output::note("nothing was changed");
            return Ok(Exit::Error);
        }
    }
    let fate = Fate::of_saga(format!("{} is abandoned", args.saga), &args.saga);
    let named = args.saga.clone();
    let asked = steer::once(&args.common, &named, fate);
    let request = AbandonRequest {
        saga: args.saga,
        reason: args.reason,
        by: steer::by(),
        act_id: asked.act.as_bytes().to_vec().into(),
    };
    let answer = once(&server, asked, || {
        let request = request.clone();
        async { server.operators().abandon(request).await }
    })
    .await?;
    steer::show(answer, args.common.output)
}
