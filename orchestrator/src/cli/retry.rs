//! `saga retry`: try again now.

use saga_proto::v1::RetryRequest;

use super::{
    Context,
    exit::{Exit, Failure},
    fields::{self, Field, Source},
    steer::{self, Common},
};

const EXAMPLES: &str = "\
Examples:
  saga retry 7QK3MV2A                       whatever of the saga failed, backs off or is stuck
  saga retry 7QK3MV2A reserve_hotel         one step, or its undo when the saga goes back
  saga retry 7QK3MV2A ship -f street='Main St 1' -f zip=10115    with another input

A step that was refused, or gets another input, begins another round. Its old round is sealed first, so that nothing
of it can happen any more; if it turns out done, it counts as done.
What cannot be tried again now is refused, with the reason: exit code 6.";

/// Arguments of `saga retry`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY
    #[arg(value_name = "ID")]
    saga: String,
    /// Id of the step; everything that failed when it is left out
    step: Option<String>,
    /// Another input as a JSON object; - reads stdin
    #[arg(short, long, value_name = "FILE|-", requires = "step")]
    input: Option<Source>,
    /// A field of the other input by its dotted path; may be given more than once, and wins over --input
    #[arg(short, long, value_name = "PATH=VALUE", requires = "step")]
    field: Vec<Field>,
    /// Why; stands in the history and in the audit list
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Do not seal the old round first; the saga is marked for good
    #[arg(long, requires = "step")]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs `saga retry`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let edited = args.input.is_some() || !args.field.is_empty();
    let input = match edited {
        true => fields::input(args.input.as_ref(), &args.field)?.to_string().into_bytes(),
        false => Vec::new(),
    };
    let server = context.server().await?;
    let question =
        |saga: &str| format!("begin another round of {saga} without a seal, and mark it for good?");
    if args.force && !steer::confirmed(&server, &args.saga, &args.common, question).await? {
        return Ok(Exit::Error);
    }
    let request = RetryRequest {
        saga: args.saga,
        step: args.step.unwrap_or_default(),
        input: input.into(),
        reason: args.reason,
        by: steer::by(),
        force: args.force,
    };
    let answer = server.operators().retry(request).await.map_err(|status| server.failure(status))?;
    steer::show(answer.into_inner(), args.common.output)
}
