//! `saga start`: starts a saga, once, however often the request has to be sent.

use std::time::Duration as StdDuration;

use saga_core::Payload;
use saga_dsl::{
    definition::{Definition, Duration},
    types::Type,
};
use saga_proto::v1::{GetDefinitionRequest, StartSagaRequest};
use serde::Serialize;
use tokio::time::Instant;
use tonic::Code;
use uuid::Uuid;

use super::{
    fields::{self, Field, Label, Source},
    follow::{self, Follow, Show},
    send_start::{START_WITHIN, send_start},
};
use crate::{
    Context,
    client::Server,
    exit::{Exit, Failure},
    show::{ids::id_of, json, output, pages, words},
};

const EXAMPLES: &str = "\
Examples:
  saga start book_trip -i trip.json
  saga start book_trip -f trip_id=t1 -f flight.from=FRA -f amount_cents=19900
  echo '{\"trip_id\": \"t1\"}' | saga start book_trip -i - --wait --timeout 30s
  id=$(saga start book_trip -i trip.json -o id)

What a field's value stands for is for the definition to say: -f zip=10115
is a text where `zip` is a string. Where it says `any`, a value is JSON where
it is JSON, else text: -f n=3 is a number, -f 'n=\"3\"' a text.

After --wait or --watch the exit code tells the end:
0 completed, 10 compensated, 11 an operator is needed, 12 gave up.
A start that is not answered in time (--timeout, else 30s) ends with 3: whether it was taken is unknown.";

/// Formats of `saga start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum StartFormat {
    /// The id, and what became of it.
    Text,
    /// A JSON object; with `--wait` all about the saga.
    Json,
    /// The 26 letters of the id.
    Id,
}

/// Arguments of `saga start`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the definition
    name: String,
    /// Input as a JSON object; - reads stdin
    #[arg(short, long, value_name = "FILE|-")]
    input: Option<Source>,
    /// A field of the input by its dotted path; may be given more than once, and wins over --input
    #[arg(short, long, value_name = "PATH=VALUE")]
    field: Vec<Field>,
    /// Idempotency key, instead of the one that the definition computes
    #[arg(long)]
    key: Option<String>,
    /// Label to find it by; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<Label>,
    /// Version of the definition; the newest by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// Wait until it has ended
    #[arg(long, conflicts_with = "watch")]
    wait: bool,
    /// Watch it until it has ended
    #[arg(long)]
    watch: bool,
    /// Stop waiting after this time, for the start and for its end; the saga goes on
    #[arg(long, value_name = "TIME")]
    timeout: Option<Duration>,
    /// Id of this request, a UUIDv7: the same id starts nothing twice; made up by default
    #[arg(long, value_name = "UUID", value_parser = request_id)]
    request_id: Option<Uuid>,
    /// Show what would be started, and start nothing
    #[arg(long, conflicts_with_all = ["wait", "watch", "timeout"])]
    dry_run: bool,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: StartFormat,
}

/// What `-o json` prints of a start.
#[derive(Serialize)]
struct Started {
    id: String,
    /// False: the key was used before, and this is the saga it belongs to.
    created: bool,
    status: String,
}

/// Runs `saga start`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let began = Instant::now();
    let server = context.server().await?;
    let known = match args.field.is_empty() && !args.dry_run {
        true => None,
        false => declared(&server, &args).await?,
    };
    let ty = known
        .as_ref()
        .map_or(Type::Any, |known| Type::Object(known.input.clone()));
    let input = fields::input(args.input.as_ref(), &args.field, &ty)?;
    let request = StartSagaRequest {
        name: args.name.clone(),
        version: args.version.unwrap_or(0),
        input: input.text().to_owned().into_bytes().into(),
        key: args.key.clone().unwrap_or_default(),
        labels: fields::label_map(&args.label),
        request_id: args
            .request_id
            .unwrap_or_else(Uuid::now_v7)
            .as_bytes()
            .to_vec()
            .into(),
    };
    if args.dry_run {
        return dry_run(&server, &args, &request, &input, known.as_ref()).await;
    }
    let limit = args.timeout.map(|limit| StdDuration::from_millis(limit.ms));
    let started = send_start(&server, &request, began + limit.unwrap_or(START_WITHIN)).await?;
    let id = id_of(&started.saga_id);
    let waits = args.wait || args.watch;
    match args.output {
        StartFormat::Text | StartFormat::Id => output::line(&id)?,
        StartFormat::Json if waits => {}
        StartFormat::Json => {
            let (created, status) = (started.created, started.status.clone());
            output::json(&Started {
                id: id.clone(),
                created,
                status,
            })?;
        }
    }
    if args.output == StartFormat::Text && !started.created {
        output::note(&format!(
            "started before with this key, now {}",
            words::status(&started.status).painted()
        ));
    }
    let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
    if waits {
        wait(&server, &id, &args, left).await
    } else {
        Ok(Exit::Ok)
    }
}

/// A request id as the server takes it.
fn request_id(text: &str) -> Result<Uuid, String> {
    let id = Uuid::try_parse(text).map_err(|error| error.to_string())?;
    if id.get_version_num() == 7 {
        Ok(id)
    } else {
        Err("it is no UUIDv7".to_owned())
    }
}

async fn wait(
    server: &Server,
    id: &str,
    args: &Args,
    timeout: Option<StdDuration>,
) -> Result<Exit, Failure> {
    let show = match (args.watch, args.output) {
        (true, StartFormat::Text) => Show::Text,
        (true, StartFormat::Json) => Show::Json,
        (true, StartFormat::Id) | (false, _) => Show::Nothing,
    };
    let ending = follow::follow(
        server,
        id,
        Follow {
            show,
            timeout,
            through_incidents: false,
        },
    )
    .await?;
    match (args.output, &ending.detail) {
        (StartFormat::Json, Some(detail)) if !args.watch => {
            output::json(&json::Detail::from(detail))?
        }
        _ => {}
    }
    if args.output != StartFormat::Id {
        output::note(&follow::verdict(&ending));
    }
    Ok(ending.exit)
}

/// The definition that would be started; `None`: it is not registered, or the server is of a release that cannot tell.
async fn declared(server: &Server, args: &Args) -> Result<Option<Definition>, Failure> {
    let request = GetDefinitionRequest {
        name: args.name.clone(),
        version: args.version.unwrap_or(0),
    };
    match server.definitions().get_definition(request).await {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.into_inner().definition).into_owned();
            // One of a newer release may hold what this one cannot read.
            Ok(Definition::from_canonical_json(&text).ok())
        }
        Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => Ok(None),
        Err(status) => Err(server.failure(status)),
    }
}

/// What `--dry-run` prints with `-o json`.
#[derive(Serialize)]
struct Plan<'a> {
    saga: &'a str,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    input: &'a Payload,
}

/// Checks the input against the registered definition, and shows the request.
async fn dry_run(
    server: &Server,
    args: &Args,
    request: &StartSagaRequest,
    input: &Payload,
    known: Option<&Definition>,
) -> Result<Exit, Failure> {
    let version = match known {
        Some(known) => known.version,
        None => listed(server, args, request).await?,
    };
    if let Some(known) = known {
        let mismatches = Type::Object(known.input.clone()).check_json(input.json());
        if !mismatches.is_empty() {
            let list = mismatches
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            let message = format!("the input does not fit {}@{version}: {list}", args.name);
            return Err(Failure::error(message).help("saga explain A0422"));
        }
    }
    match args.output {
        StartFormat::Id => {}
        StartFormat::Json => {
            output::json(&Plan {
                saga: &args.name,
                version,
                key: args.key.as_deref(),
                input,
            })?;
        }
        StartFormat::Text => {
            let text = output::printable(input.text());
            output::line(&format!(
                "{}@{version} would be started with\n{text}",
                args.name
            ))?;
        }
    }
    output::note(match known {
        Some(_) => "nothing was started; the input fits the definition",
        None => "nothing was started; the input is checked against the definition when it is",
    });
    Ok(Exit::Ok)
}

/// The version that would be started, by the list of what is registered.
async fn listed(server: &Server, args: &Args, request: &StartSagaRequest) -> Result<u32, Failure> {
    let list = pages::definitions(server).await?;
    let named: Vec<u32> = list
        .iter()
        .filter(|d| d.name == args.name)
        .map(|d| d.version)
        .collect();
    let wanted = named
        .iter()
        .copied()
        .filter(|version| [0, *version].contains(&request.version))
        .max();
    let names = list.iter().map(|definition| definition.name.as_str());
    wanted.ok_or_else(|| not_registered(&args.name, args.version, &named, names))
}

fn not_registered<'a>(
    name: &str,
    version: Option<u32>,
    versions: &[u32],
    names: impl Iterator<Item = &'a str>,
) -> Failure {
    if let (Some(version), false) = (version, versions.is_empty()) {
        let known: Vec<String> = versions.iter().map(u32::to_string).collect();
        return Failure::new(
            Exit::NotFound,
            format!("no version {version} of {name} is registered"),
        )
        .help(format!("registered: {}", known.join(", ")));
    }
    let failure = Failure::new(
        Exit::NotFound,
        format!("no definition `{name}` is registered"),
    );
    match saga_dsl::near_miss::near_miss(name, names) {
        Some(near) => failure.help(format!("did you mean `{near}`?")),
        None => failure.help(
            "`saga definitions` shows what is registered; `saga deploy FILE` registers a file",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_in_the_name_is_met_with_the_right_one() {
        let told = |failure: Failure| match failure {
            Failure::Told {
                exit,
                message,
                help,
                ..
            } => (exit, message, help.unwrap_or_default()),
            Failure::ReaderLeft => panic!("not told"),
        };
        let names = ["book_trip", "fulfil_order"];
        let (exit, message, help) =
            told(not_registered("book_tripp", None, &[], names.into_iter()));
        assert_eq!(
            (exit, message.as_str()),
            (Exit::NotFound, "no definition `book_tripp` is registered")
        );
        assert_eq!(help, "did you mean `book_trip`?");
        let (_, message, help) = told(not_registered(
            "book_trip",
            Some(9),
            &[1, 2],
            names.into_iter(),
        ));
        assert_eq!(
            (message.as_str(), help.as_str()),
            (
                "no version 9 of book_trip is registered",
                "registered: 1, 2"
            )
        );
    }
}
