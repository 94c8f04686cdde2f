//! `saga retry`: try again now.

use saga_core::Payload;
use saga_dsl::types::Type;
use saga_proto::v1::{PreviewRetryRequest, RetryRequest};
use tonic::Code;

use super::{
    edit_preview,
    fields::{self, Field, Source},
    once::once,
    steer::{self, Common},
};
use crate::{
    Context,
    client::Server,
    exit::{Exit, Failure, Fate},
    show::output,
};

const EXAMPLES: &str = "\
Examples:
  saga retry 7QK3MV2A                       whatever of the saga failed, backs off or is stuck
  saga retry 7QK3MV2A reserve_hotel         one step, or its undo when the saga goes back
  saga retry 7QK3MV2A ship -f street='Main St 1' -f zip=10115    with two fields changed
  saga retry 7QK3MV2A ship -i ship.json                          with another input

A step that was refused, or gets another input, begins another round. Its old round is sealed
first, so that nothing of it can happen any more; if it turns out done, it counts as done.
-f edits the input that the step has, typed as the participant registered it; the change is
shown before it is sent.
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
    /// Another input, whole, as a JSON object; - reads stdin
    #[arg(short, long, value_name = "FILE|-", requires = "step")]
    input: Option<Source>,
    /// A field of the step's input by its dotted path; may be given more than once, and wins over --input
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
    let server = context.server().await?;
    let edited = args.input.is_some() || !args.field.is_empty();
    let input = match edited {
        true => match edited_input(&server, &args).await? {
            Some(input) => input,
            None => return Ok(Exit::Error),
        },
        false => Vec::new(),
    };
    let question =
        |saga: &str| format!("begin another round of {saga} without a seal, and mark it for good?");
    if args.force && !steer::confirmed(&server, &args.saga, &args.common, question).await? {
        return Ok(Exit::Error);
    }
    let what = match &args.step {
        Some(step) => format!("{step} of {} is tried again", args.saga),
        None => format!("{} is tried again", args.saga),
    };
    let fate = Fate::of_saga(what, &args.saga);
    let named = args.saga.clone();
    let asked = steer::once(&args.common, &named, fate);
    let request = RetryRequest {
        saga: args.saga,
        step: args.step.unwrap_or_default(),
        input: input.into(),
        reason: args.reason,
        by: steer::by(),
        force: args.force,
        act_id: asked.act.as_bytes().to_vec().into(),
    };
    let answer = once(&server, asked, || {
        let request = request.clone();
        async { server.operators().retry(request).await }
    })
    .await?;
    steer::show(answer, args.common.output)
}

/// The input to send, shown and confirmed; `None`: it is not wanted.
async fn edited_input(server: &Server, args: &Args) -> Result<Option<Vec<u8>>, Failure> {
    let whole = args
        .input
        .as_ref()
        .map(|source| fields::input(Some(source), &[], &Type::Any))
        .transpose()?;
    let step = args.step.clone().unwrap_or_default();
    let request = PreviewRetryRequest {
        saga: args.saga.clone(),
        step: step.clone(),
        input: whole
            .as_ref()
            .map(|input| input.text().to_owned().into_bytes().into())
            .unwrap_or_default(),
        fields: args.field.iter().map(Field::edit).collect(),
    };
    let preview = match server.operators().preview_retry(request).await {
        Ok(preview) => preview.into_inner(),
        Err(status) if status.code() == Code::Unimplemented => {
            let Some(whole) = whole.filter(|_| args.field.is_empty()) else {
                return Err(Failure::error("the server's release cannot edit an input")
                    .help("give the whole of it: -i FILE"));
            };
            return Ok(Some(whole.text().to_owned().into_bytes()));
        }
        Err(status) => return Err(server.failure(status)),
    };
    let unreadable = |error| Failure::error(format!("the server's preview is no JSON: {error}"));
    let after = Payload::from_bytes(&preview.after).map_err(unreadable)?;
    let before = (!preview.before.is_empty())
        .then(|| Payload::from_bytes(&preview.before))
        .transpose();
    let before = before.map_err(unreadable)?;
    let change = edit_preview::sentence(&step, before.as_ref().map(Payload::json), after.json());
    if !preview.mismatches.is_empty() {
        output::note(&change);
        let list = preview.mismatches.join("; ");
        let message = format!(
            "nothing was sent; the input does not fit what {} registered: {list}",
            preview.action
        );
        return Err(Failure::error(message).help("saga explain A0422"));
    }
    if !steer::asks(&args.common) {
        output::note(&change);
        return Ok(Some(preview.after.to_vec()));
    }
    let yes = steer::ask(&format!("{change}. send it? [y/N] ")).await?;
    if matches!(yes.to_lowercase().as_str(), "y" | "yes") {
        return Ok(Some(preview.after.to_vec()));
    }
    output::note("nothing was changed");
    Ok(None)
}
