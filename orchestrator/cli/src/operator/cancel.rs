//! `saga cancel`: stop a saga and undo what it did.

use saga_proto::v1::{CancelSagaRequest, CancelSagaResponse};
use serde::Serialize;

use super::{
    once::once,
    steer::{self, Common},
};
use crate::{
    Context,
    exit::{Exit, Failure, Fate},
    show::{
        ids::{id_of, short},
        output::{self, Format},
    },
};

const EXAMPLES: &str = "\
Examples:
  saga cancel 7QK3MV2A --reason 'customer called'
  saga list --saga book_trip -o id | xargs -n1 saga cancel --yes --reason 'airline on strike'

After its pivot a saga goes forward and cannot be cancelled: exit code 6.";

/// Arguments of `saga cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY
    #[arg(value_name = "ID")]
    saga: String,
    /// Why; stands in the saga's history
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    common: Common,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Cancelled<'a> {
    id: String,
    /// `compensating`, `settling`, `already`.
    disposition: &'a str,
    status: &'a str,
}

/// Runs `saga cancel`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let question = |saga: &str| format!("cancel {saga}, and undo what it did?");
    if !steer::confirmed(&server, &args.saga, &args.common, question).await? {
        return Ok(Exit::Error);
    }
    let fate = Fate {
        what: format!("{} is cancelled", args.saga),
        find_out: format!(
            "saga describe {} tells; a cancel may be repeated",
            args.saga
        ),
    };
    let named = args.saga.clone();
    let asked = steer::once(&args.common, &named, fate);
    let request = CancelSagaRequest {
        saga: args.saga,
        reason: args.reason,
        by: steer::by(),
        act_id: asked.act.as_bytes().to_vec().into(),
    };
    let answer = once(&server, asked, || {
        let request = request.clone();
        async { server.sagas().cancel_saga(request).await }
    })
    .await?;
    match args.common.output {
        Format::Text => output::sentence(&sentence(&answer))?,
        Format::Json => output::json(&Cancelled {
            id: id_of(&answer.saga_id),
            disposition: &answer.disposition,
            status: &answer.status,
        })?,
    }
    Ok(Exit::Ok)
}

fn sentence(answer: &CancelSagaResponse) -> String {
    let id = short(&id_of(&answer.saga_id));
    match answer.disposition.as_str() {
        "compensating" => format!("{id} goes back: what it did is being undone (saga watch {id})"),
        "settling" => format!(
            "{id} has its pivot in flight, which is settled first: done, and it goes forward; not done, and it \
             goes back (saga watch {id})"
        ),
        "already" => format!("{id} was on its way back before"),
        other => format!(
            "{id}: {}, now {}",
            output::printable(other),
            output::printable(&answer.status)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_sentence() {
        let say = |disposition: &str| {
            sentence(&CancelSagaResponse {
                saga_id: vec![0; 16].into(),
                disposition: disposition.into(),
                status: "running".into(),
            })
        };
        let all = ["compensating", "settling", "already", "later"]
            .map(say)
            .join("\n");
        insta::assert_snapshot!(all, @r"
        00000000 goes back: what it did is being undone (saga watch 00000000)
        00000000 has its pivot in flight, which is settled first: done, and it goes forward; not done, and it goes back (saga watch 00000000)
        00000000 was on its way back before
        00000000: later, now running
        ");
    }
}
