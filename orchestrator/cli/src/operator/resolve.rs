//! `saga resolve`: say what became of a step that nobody else can tell of.

use saga_dsl::types::Type;
use saga_proto::v1::ResolveRequest;

use super::{
    fields::{self, Field, Source},
    once::once,
    steer::{self, Common},
};
use crate::{
    Context,
    exit::{Exit, Failure, Fate},
};

const EXAMPLES: &str = "\
Examples:
  saga resolve 7QK3MV2A charge_card --as succeeded -f receipt=R-17 --reason 'seen in the bank statement'
  saga resolve 7QK3MV2A charge_card --as failed --reason 'the bank has no trace of it'

--as succeeded: the step counts as done, with the result that you give. The saga is marked for good.
--as failed: the saga goes back. A pivot is sealed first, which proves it; if it turns out done, the saga goes
forward. Where no proof is to be had, it takes --force, and the saga is marked for good.";

/// What a step is said to have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum As {
    /// It took effect.
    Succeeded,
    /// It did not.
    Failed,
}

/// Arguments of `saga resolve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY
    #[arg(value_name = "ID")]
    saga: String,
    /// Id of the step
    step: String,
    /// What became of it
    #[arg(long = "as", value_name = "OUTCOME")]
    outcome: As,
    /// What it returned, as a JSON object; - reads stdin
    #[arg(short, long, value_name = "FILE|-")]
    result: Option<Source>,
    /// A field of what it returned by its dotted path; may be given more than once, and wins over --result
    #[arg(short, long, value_name = "PATH=VALUE")]
    field: Vec<Field>,
    /// Why; stands in the history and in the audit list
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Take your word where no proof is to be had
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs `saga resolve`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let given = args.result.is_some() || !args.field.is_empty();
    if given && args.outcome == As::Failed {
        return Err(
            Failure::new(Exit::Usage, "a step that failed has no result")
                .help("leave out --result and --field, or say --as succeeded"),
        );
    }
    let output = match given {
        true => fields::input(args.result.as_ref(), &args.field, &Type::Any)?
            .text()
            .to_owned()
            .into_bytes(),
        false => Vec::new(),
    };
    let server = context.server().await?;
    let word = match args.outcome {
        As::Succeeded => "succeeded",
        As::Failed => "failed",
    };
    let question = |saga: &str| format!("resolve {} of {saga} as {word}?", args.step);
    if !steer::confirmed(&server, &args.saga, &args.common, question).await? {
        return Ok(Exit::Error);
    }
    let fate = Fate::of_saga(
        format!("{} of {} is settled as {word}", args.step, args.saga),
        &args.saga,
    );
    let named = args.saga.clone();
    let asked = steer::once(&args.common, &named, fate);
    let request = ResolveRequest {
        saga: args.saga,
        step: args.step,
        r#as: word.to_owned(),
        output: output.into(),
        reason: args.reason,
        by: steer::by(),
        force: args.force,
        act_id: asked.act.as_bytes().to_vec().into(),
    };
    let answer = once(&server, asked, || {
        let request = request.clone();
        async { server.operators().resolve(request).await }
    })
    .await?;
    steer::show(answer, args.common.output)
}
