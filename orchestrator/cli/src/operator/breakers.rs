//! `saga breakers`: which actions are held back, and an operator's word about it.

use saga_dsl::definition::{ActionName, Duration};
use saga_proto::v1::{Breaker, BreakerState, ResetBreakerRequest, TripBreakerRequest};
use serde::Serialize;

use super::{describe, steer};
use crate::{
    Context,
    exit::{Exit, Failure, Fate},
    show::{
        output::{self, Format, Frame, ListFormat, count, printable},
        pages,
        table::{self, Text},
        time,
        words::Word,
    },
};

const EXAMPLES: &str = "\
Examples:
  saga breakers                                        what there is, and where it stands
  saga breakers trip payments/charge --reason 'the bank is down until noon'
  saga breakers trip payments/charge --for 30m --reason 'their release'
  saga breakers reset payments/charge --reason 'they are back'

While a breaker is open, its steps wait: no attempt is spent and no timeout runs.
After a reset those that waited are let through a few at a time.";

/// Arguments of `saga breakers`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List every breaker
    List(List),
    /// Open a breaker: send nothing to an action
    Trip(Trip),
    /// Close a breaker: let those that wait through, a few at a time
    Reset(Reset),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: ListFormat,
}

#[derive(Debug, clap::Args)]
struct Trip {
    /// The action, as PARTICIPANT/ACTION
    #[arg(value_name = "ACTION")]
    action: ActionName,
    /// Probe by itself after this time, as in 30m; without it, it stays open until it is reset
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Option<Duration>,
    /// Why; stands in the audit list
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

#[derive(Debug, clap::Args)]
struct Reset {
    /// The action, as PARTICIPANT/ACTION
    #[arg(value_name = "ACTION")]
    action: ActionName,
    /// Why; stands in the audit list
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What `-o json` prints of a breaker.
#[derive(Debug, Serialize)]
struct Row {
    action: String,
    /// `closed`, `open`, `half_open`, `recovering`.
    state: &'static str,
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_until: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    calls: u32,
    failed: u32,
    waiting: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Policy>,
}

#[derive(Debug, Serialize)]
struct Policy {
    failure_rate: String,
    window: String,
    min_calls: u32,
    open_for: String,
    half_open_calls: u32,
}

/// Runs `saga breakers`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.verb {
        None => list(args.list.output, context).await,
        Some(Verb::List(args)) => list(args.output, context).await,
        Some(Verb::Trip(args)) => trip(args, context).await,
        Some(Verb::Reset(args)) => reset(args, context).await,
    }
}

async fn list(format: ListFormat, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let list = pages::breakers(&server).await?;
    let rows: Vec<Row> = list.iter().map(row).collect();
    output::list(
        format,
        &rows,
        |row: &Row| row.action.clone(),
        |wide| screen(&list, wide, Frame::of_stdout()),
    )?;
    if list.is_empty() && matches!(format, ListFormat::Table | ListFormat::Wide) {
        output::note(
            "no breakers yet: one begins with the first command to an action that has `circuit_breaker` settings",
        );
    }
    Ok(Exit::Ok)
}

async fn trip(args: Trip, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let ActionName {
        participant,
        action,
    } = args.action;
    let for_ms = args.lasts.map_or(0, |lasts| lasts.ms);
    if args.lasts.is_some_and(|lasts| lasts.is_zero()) {
        return Err(Failure::new(Exit::Usage, "--for 0s makes no sense")
            .help("leave it out, and the breaker stays open until it is reset"));
    }
    let fate = fate(format!("the breaker of {participant}/{action} is open"));
    let request = TripBreakerRequest {
        participant,
        action,
        for_ms,
        reason: args.reason,
        by: steer::by(),
    };
    let answer = server
        .act(server.operators().trip_breaker(request), fate)
        .await?;
    show(&answer, args.output)
}

async fn reset(args: Reset, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let ActionName {
        participant,
        action,
    } = args.action;
    let fate = fate(format!("the breaker of {participant}/{action} is reset"));
    let request = ResetBreakerRequest {
        participant,
        action,
        reason: args.reason,
        by: steer::by(),
    };
    let answer = server
        .act(server.operators().reset_breaker(request), fate)
        .await?;
    show(&answer, args.output)
}

fn fate(what: String) -> Fate {
    Fate {
        what,
        find_out: "saga breakers shows where each one stands; both verbs may be repeated"
            .to_owned(),
    }
}

fn show(breaker: &Breaker, format: Format) -> Result<Exit, Failure> {
    match format {
        Format::Json => output::json(&row(breaker))?,
        Format::Text => output::line(&sentence(breaker))?,
    }
    Ok(Exit::Ok)
}

fn sentence(breaker: &Breaker) -> String {
    let waiting = match breaker.waiting {
        0 => String::new(),
        1 => "; 1 saga waits".to_owned(),
        many => format!("; {} sagas wait", count(many)),
    };
    let word = Word::breaker(state_word(breaker));
    let text = format!(
        "{}: {}, {}{waiting}",
        name(breaker),
        word.text(),
        next(breaker)
    );
    printable(&text).into_owned()
}

fn name(breaker: &Breaker) -> String {
    format!("{}/{}", breaker.participant, breaker.action)
}

fn state_word(breaker: &Breaker) -> &'static str {
    match breaker.state() {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half_open",
        BreakerState::Recovering => "recovering",
        BreakerState::Unspecified => "unknown",
    }
}

/// What happens next by itself.
fn next(breaker: &Breaker) -> String {
    match (breaker.state(), breaker.open_until_us) {
        (BreakerState::Open, 0) => "until it is reset".to_owned(),
        (BreakerState::Open, until) if until <= breaker.now_us => "probe now".to_owned(),
        (BreakerState::Open, until) => format!("probe in {}", time::span(until - breaker.now_us)),
        (BreakerState::HalfOpen, _) => "one probe at a time".to_owned(),
        (BreakerState::Recovering, _) => "lets through a few at a time".to_owned(),
        (BreakerState::Closed, _) => "lets everything through".to_owned(),
        (BreakerState::Unspecified, _) => String::new(),
    }
}

/// Who moved it and why, and how the last call failed.
fn why(breaker: &Breaker) -> String {
    let moved = match (breaker.by.as_str(), breaker.reason.as_str()) {
        ("", reason) => reason.to_owned(),
        (by, reason) => format!("{by}: {reason}"),
    };
    let parts = [moved, last(breaker)];
    let parts: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("; ")
}

/// `last: http_503 "backend answered 503" (5×)`.
fn last(breaker: &Breaker) -> String {
    let Some(error) = &breaker.last_error else {
        return String::new();
    };
    let times = match breaker.last_error_times {
        0 | 1 => String::new(),
        times => format!(" ({}×)", count(times.into())),
    };
    format!("last: {}{times}", describe::fault(error))
}

fn row(breaker: &Breaker) -> Row {
    let span = |ms: u64| Duration { ms }.to_string();
    Row {
        action: name(breaker),
        state: state_word(breaker),
        since: time::rfc3339(breaker.since_us),
        open_until: Some(breaker.open_until_us)
            .filter(|until| *until != 0)
            .and_then(time::rfc3339),
        by: breaker.by.clone(),
        reason: breaker.reason.clone(),
        calls: breaker.calls,
        failed: breaker.failed,
        waiting: breaker.waiting,
        last_error: last(breaker).trim_start_matches("last: ").to_owned(),
        policy: breaker.policy.as_ref().map(|policy| Policy {
            failure_rate: format!("{}%", policy.failure_percent),
            window: span(policy.window_ms),
            min_calls: policy.min_calls,
            open_for: span(policy.open_for_ms),
            half_open_calls: policy.half_open_calls,
        }),
    }
}

pub(crate) fn screen(list: &[Breaker], wide: bool, frame: Frame) -> String {
    if list.is_empty() {
        return String::new();
    }
    let frame = if wide {
        Frame {
            width: None,
            ..frame
        }
    } else {
        frame
    };
    let rows = list
        .iter()
        .map(|breaker| {
            let why = why(breaker);
            let mut cells = vec![
                Word::breaker(state_word(breaker)).into(),
                Text::plain(name(breaker)),
                Text::plain(time::span(breaker.now_us.saturating_sub(breaker.since_us))),
                Text::plain(next(breaker)),
                Text::plain(format!(
                    "{} of {}",
                    count(breaker.failed.into()),
                    count(breaker.calls.into())
                )),
                Text::plain(count(breaker.waiting)),
                Text::dim(why),
            ];
            if wide {
                let policy = row(breaker).policy.map_or_else(
                    || "by hand alone".to_owned(),
                    |p| {
                        format!(
                            "{} of at least {} in {}, open for {}, {} probes",
                            p.failure_rate, p.min_calls, p.window, p.open_for, p.half_open_calls
                        )
                    },
                );
                cells.push(Text::dim(policy));
            }
            cells
        })
        .collect();
    let header = [
        "STATE", "ACTION", "SINCE", "NEXT", "FAILED", "WAITING", "WHY", "OPENS AT",
    ];
    table::draw(if wide { &header } else { &header[..7] }, rows, frame)
}

#[cfg(test)]
mod tests {
    use saga_proto::v1::BreakerPolicy;

    use super::*;
    use crate::show::{output::bare, sample::NOW_US};

    fn list() -> Vec<Breaker> {
        let breaker = |action: &str, state: BreakerState| Breaker {
            participant: "payments".into(),
            action: action.into(),
            state: state.into(),
            since_us: NOW_US - 12_000_000,
            now_us: NOW_US,
            ..Breaker::default()
        };
        let policy = BreakerPolicy {
            failure_percent: 50,
            window_ms: 30_000,
            min_calls: 20,
            open_for_ms: 15_000,
            half_open_calls: 3,
        };
        let policy = Some(policy);
        let hand = |breaker: Breaker| Breaker {
            by: "ann (127.0.0.1)".into(),
            reason: "the bank is down until noon".into(),
            waiting: 1,
            ..breaker
        };
        vec![
            Breaker {
                open_until_us: NOW_US + 8_000_000,
                reason: "14 of 20 calls failed within 30s".into(),
                last_error: Some(saga_proto::v1::Fault {
                    code: "http_503".into(),
                    message: "backend answered 503".into(),
                    step: String::new(),
                }),
                last_error_times: 5,
                calls: 20,
                failed: 14,
                waiting: 1_837,
                policy,
                ..breaker("charge", BreakerState::Open)
            },
            hand(breaker("capture", BreakerState::Open)),
            Breaker {
                policy,
                ..breaker("hold", BreakerState::HalfOpen)
            },
            Breaker {
                policy,
                waiting: 40,
                ..breaker("release", BreakerState::Recovering)
            },
            Breaker {
                policy,
                calls: 12,
                failed: 1,
                ..breaker("refund", BreakerState::Closed)
            },
        ]
    }

    #[test]
    fn the_screens() {
        let frame = Frame {
            width: Some(110),
            now_us: NOW_US,
        };
        let list = list();
        let screens = format!(
            "{}\n{}",
            screen(&list, false, frame),
            screen(&list, true, frame)
        );
        insta::assert_snapshot!(bare(&screens));
        insta::assert_snapshot!(
            "the_sentences",
            list.iter().map(sentence).collect::<Vec<_>>().join("\n")
        );
        let json =
            serde_json::to_string_pretty(&list.iter().map(row).collect::<Vec<_>>()).expect("JSON");
        insta::assert_snapshot!("the_json_form", json);
        assert_eq!(screen(&[], true, frame), "");
    }
}
