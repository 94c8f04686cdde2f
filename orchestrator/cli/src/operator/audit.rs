//! `saga audit`: what operators did, and why.

use saga_proto::v1::{AuditEntry, ListAuditRequest};
use serde::Serialize;

use crate::{
    Context,
    exit::{Exit, Failure},
    show::{
        ids::{id_of, short},
        output::{self, Frame, ListFormat},
        table::{self, Text},
        time,
    },
};

const EXAMPLES: &str = "\
Examples:
  saga audit                     the newest acts on all sagas
  saga audit 7QK3MV2A            all acts on one saga
  saga audit --limit 1000 -o jsonl";

/// Arguments of `saga audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY; all sagas when it is left out
    #[arg(value_name = "ID")]
    saga: Option<String>,
    /// So many acts at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: ListFormat,
}

/// What `-o json` prints of an act.
#[derive(Debug, Serialize)]
struct Act {
    at: Option<String>,
    /// Empty for a breaker.
    saga: String,
    seq: u64,
    /// `cancel`, `retry`, `retry_edited`, `skip`, `resolve_succeeded`, `resolve_failed`, `abandon`, `acknowledge`,
    /// `breaker_trip`, `breaker_reset`.
    verb: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    by: String,
    reason: String,
    forced: bool,
}

/// Runs `saga audit`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let mut entries = Vec::new();
    let mut page_token = String::new();
    while entries.len() < args.limit {
        let page_size = u32::try_from((args.limit - entries.len()).min(1_000)).unwrap_or(1_000);
        let saga = args.saga.clone().unwrap_or_default();
        let page = server
            .operators()
            .list_audit(ListAuditRequest {
                saga,
                page_size,
                page_token,
            })
            .await;
        let page = page.map_err(|status| server.failure(status))?.into_inner();
        entries.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let rows: Vec<Act> = entries.iter().map(act).collect();
    let id = |row: &Act| row.saga.clone();
    output::list(args.output, &rows, id, |wide| {
        screen(&entries, wide, Frame::of_stdout())
    })?;
    if entries.is_empty() && matches!(args.output, ListFormat::Table | ListFormat::Wide) {
        output::note("no operator has intervened");
    }
    Ok(Exit::Ok)
}

fn act(entry: &AuditEntry) -> Act {
    Act {
        at: time::rfc3339(entry.at_us),
        saga: if entry.saga_id.is_empty() {
            String::new()
        } else {
            id_of(&entry.saga_id)
        },
        seq: entry.seq,
        verb: entry.verb.clone(),
        step: Some(entry.step.clone()).filter(|step| !step.is_empty()),
        by: entry.by.clone(),
        reason: entry.reason.clone(),
        forced: entry.forced,
    }
}

pub(crate) fn screen(entries: &[AuditEntry], wide: bool, frame: Frame) -> String {
    if entries.is_empty() {
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
    let rows = entries
        .iter()
        .map(|entry| {
            let id = if entry.saga_id.is_empty() {
                "–".to_owned()
            } else {
                id_of(&entry.saga_id)
            };
            let when = if wide {
                time::utc(entry.at_us)
            } else {
                format!(
                    "{} ago",
                    time::span(frame.now_us.saturating_sub(entry.at_us))
                )
            };
            let forced = if entry.forced { ", by force" } else { "" };
            vec![
                Text::plain(when),
                Text::plain(if wide { id } else { short(&id) }),
                Text::plain(format!("{}{forced}", entry.verb.replace('_', " "))),
                Text::plain(if entry.step.is_empty() {
                    "–"
                } else {
                    entry.step.as_str()
                }),
                Text::plain(entry.by.as_str()),
                Text::dim(entry.reason.as_str()),
            ]
        })
        .collect();
    table::draw(&["WHEN", "ID", "ACT", "STEP", "BY", "REASON"], rows, frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::{output::bare, sample::NOW_US};

    #[test]
    fn the_screen() {
        let entry = |ago: i64, verb: &str, step: &str, forced| AuditEntry {
            at_us: NOW_US - ago * 1_000_000,
            saga_id: vec![7; 16].into(),
            seq: 4,
            verb: verb.into(),
            step: step.into(),
            by: "ann (127.0.0.1)".into(),
            reason: "the hotel was cancelled by telephone, ticket 4711".into(),
            forced,
        };
        let entries = [
            entry(61, "skip", "reserve_hotel", true),
            entry(7_200, "cancel", "", false),
        ];
        let frame = Frame {
            width: Some(100),
            now_us: NOW_US,
        };
        let screens = format!(
            "{}\n{}",
            screen(&entries, false, frame),
            screen(&entries, true, frame)
        );
        insta::assert_snapshot!(bare(&screens));
        let json = serde_json::to_string_pretty(&entries.iter().map(act).collect::<Vec<_>>())
            .expect("JSON");
        insta::assert_snapshot!("the_json_form", json);
    }
}
