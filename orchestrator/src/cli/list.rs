//! `saga list`: which sagas there are, those that need somebody first.

use std::cmp::Reverse;

use saga_dsl::definition::Duration;
use saga_proto::v1::{ListSagasRequest, ListSagasResponse, SagaSummary};

use super::{
    Context,
    exit::{Exit, Failure},
    fields::{Label, label_map},
    ids::{id_text, short},
    json,
    output::{self, Frame, ListFormat, count},
    table::{self, Text},
    time, words,
};

/// Sagas on one page of the server.
const PAGE: u32 = 1_000;

const EXAMPLES: &str = "\
Examples:
  saga list                                open sagas
  saga list --incident                     those that wait for an operator
  saga list --all --saga book_trip --since 2h
  saga list --status compensated -o json
  saga list --label team=billing -o id | xargs -n1 saga describe";

/// Arguments of `saga list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only these statuses
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = ["running", "compensating", "completed", "compensated", "abandoned"])]
    status: Vec<String>,
    /// Only sagas of this definition
    #[arg(long, value_name = "NAME")]
    saga: Option<String>,
    /// Only sagas with this label; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<Label>,
    /// Only sagas started within this time, as in 30m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    since: Option<Duration>,
    /// Only sagas that wait for an operator
    #[arg(long)]
    incident: bool,
    /// Finished sagas too
    #[arg(long, short)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: ListFormat,
}

impl Args {
    fn request(&self, now_us: i64) -> ListSagasRequest {
        let ended = self.status.iter().any(|status| words::is_end(status));
        let since_us =
            self.since.map_or(0, |since| i64::try_from(since.ms).unwrap_or(i64::MAX / 1_000) * 1_000);
        ListSagasRequest {
            statuses: self.status.clone(),
            name: self.saga.clone().unwrap_or_default(),
            labels: label_map(&self.label),
            mark: if self.incident { "incident".into() } else { String::new() },
            started_after_us: if since_us == 0 { 0 } else { now_us.saturating_sub(since_us) },
            open_only: !self.all && !ended,
            ..ListSagasRequest::default()
        }
    }
}

/// Runs `saga list`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let frame = Frame::of_stdout();
    let server = context.server().await?;
    let mut request = args.request(frame.now_us);
    let mut client = server.sagas();
    let mut all = ListSagasResponse::default();
    loop {
        let missing = args.limit.saturating_sub(u32::try_from(all.sagas.len()).unwrap_or(u32::MAX));
        request.page_size = missing.min(PAGE);
        let page = client.list_sagas(request.clone()).await.map_err(|s| server.failure(s))?.into_inner();
        (all.open_total, all.finished_total) = (page.open_total, page.finished_total);
        let came = page.sagas.len();
        all.sagas.extend(page.sagas);
        all.next_page_token = page.next_page_token;
        let full = all.sagas.len() >= usize::try_from(args.limit).unwrap_or(usize::MAX);
        if full || all.next_page_token.is_empty() || came == 0 {
            break;
        }
        request.page_token.clone_from(&all.next_page_token);
    }
    all.sagas.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
    urgent_first(&mut all.sagas);
    let rows: Vec<json::Saga> = all.sagas.iter().map(json::Saga::from).collect();
    output::list(args.output, &rows, |row| row.id.clone(), |wide| screen(&all.sagas, wide, frame))?;
    if matches!(args.output, ListFormat::Table | ListFormat::Wide) {
        output::note(&footer(&all, request.open_only));
    }
    Ok(Exit::Ok)
}

/// Those that need an operator, then the open ones, then the ended; the newest first in each.
fn urgent_first(sagas: &mut [SagaSummary]) {
    sagas.sort_by_key(|s| {
        (words::is_end(&s.status), s.mark != "incident", Reverse(s.started_at_us), Reverse(s.saga_id.clone()))
    });
}

/// The table.
fn screen(sagas: &[SagaSummary], wide: bool, frame: Frame) -> String {
    if sagas.is_empty() {
        return String::new();
    }
    let frame = if wide { Frame { width: None, ..frame } } else { frame };
    let mut header = vec!["STATUS", "ID", "SAGA", "STEP", "TRIES", "AGE"];
    if wide {
        header.extend(["KEY", "LABELS", "STARTED"]);
    }
    header.push("NEXT");
    let rows = sagas.iter().map(|saga| row(saga, wide, frame.now_us)).collect();
    table::draw(&header, rows, frame)
}

fn row(saga: &SagaSummary, wide: bool, now_us: i64) -> Vec<Text> {
    let id = id_text(saga);
    let end_us = if saga.ended_at_us == 0 { now_us } else { saga.ended_at_us };
    let mut row = vec![
        words::saga(saga).into(),
        Text::plain(if wide { id } else { short(&id) }),
        Text::plain(format!("{}@{}", saga.name, saga.version)),
        Text::plain(dash(&saga.step)),
        Text::plain(words::tries(saga.tries, 0)),
        Text::plain(time::span(end_us.saturating_sub(saga.started_at_us))),
    ];
    if wide {
        let labels: std::collections::BTreeMap<_, _> = saga.labels.iter().collect();
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        row.extend([
            Text::plain(dash(&saga.key)),
            Text::plain(dash(&labels.join(","))),
            Text::plain(time::utc(saga.started_at_us)),
        ]);
    }
    row.push(Text::plain(saga.next.as_str()));
    row
}

fn dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

/// What is not on the screen, and how to see it.
fn footer(list: &ListSagasResponse, open_only: bool) -> String {
    let shown = list.sagas.len() as u64;
    let open = list.sagas.iter().filter(|saga| !words::is_end(&saga.status)).count() as u64;
    let more = if list.next_page_token.is_empty() { "" } else { "; more match: --limit" };
    let (active, finished) = (count(list.open_total), count(list.finished_total));
    if open_only {
        let hidden =
            if list.finished_total == 0 { String::new() } else { format!(" ({finished} finished: --all)") };
        format!("{} of {active} active{hidden}{more}", count(shown))
    } else {
        let (open, ended) = (count(open), count(shown - open));
        format!("{open} of {active} active, {ended} of {finished} finished{more}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::bare;
    use super::*;
    use clap::Parser;

    const HOUR: i64 = 3_600_000_000;
    const NOW: i64 = 1_780_000_000_000_000;

    fn sagas() -> Vec<SagaSummary> {
        let base = |id: &str, name: &str, version, status: &str, mark: &str| SagaSummary {
            id: format!("01JD8000000000000{id}"),
            name: name.into(),
            version,
            status: status.into(),
            mark: mark.into(),
            ..SagaSummary::default()
        };
        vec![
            SagaSummary {
                started_at_us: NOW - 5 * HOUR,
                ended_at_us: NOW - 5 * HOUR + 350_000,
                key: "trip-1".into(),
                ..base("0X2QAC9AA", "book_trip", 1, "completed", "")
            },
            SagaSummary {
                started_at_us: NOW - 41_000_000,
                step: "reserve_hotel".into(),
                tries: 4,
                next: "retry in 8s: hotels/cancel 503, breaker closed".into(),
                labels: [("team".to_owned(), "trips".to_owned()), ("env".to_owned(), "prod".to_owned())]
                    .into(),
                ..base("0X2QAC4MB", "book_trip", 1, "compensating", "")
            },
            SagaSummary {
                started_at_us: NOW - 74 * HOUR,
                step: "verify".into(),
                next: "signal pathologist_verdict, 21h left".into(),
                ..base("0X2QAC0PT", "lab_report", 1, "running", "waiting")
            },
            SagaSummary {
                started_at_us: NOW - 2 * HOUR - 180_000_000,
                step: "charge".into(),
                tries: 12,
                next: "operator: outcome unknown (payments timed out)".into(),
                ..base("0X2QAC7QK", "fulfil_order", 3, "running", "incident")
            },
        ]
    }

    fn shown(wide: bool, width: Option<u16>) -> String {
        let mut sagas = sagas();
        urgent_first(&mut sagas);
        bare(&screen(&sagas, wide, Frame { width, now_us: NOW }))
    }

    #[test]
    fn the_table() {
        insta::assert_snapshot!(shown(false, None));
    }

    #[test]
    fn the_table_in_a_narrow_terminal() {
        insta::assert_snapshot!(shown(false, Some(90)));
    }

    #[test]
    fn the_wide_table() {
        insta::assert_snapshot!(shown(true, Some(40)));
    }

    #[test]
    fn the_footer_tells_what_is_not_shown() {
        let mut list = ListSagasResponse {
            sagas: sagas().split_off(1),
            open_total: 3,
            finished_total: 1_842,
            next_page_token: String::new(),
        };
        assert_eq!(footer(&list, true), "3 of 3 active (1 842 finished: --all)");
        assert_eq!(footer(&list, false), "3 of 3 active, 0 of 1 842 finished");
        list.next_page_token = "x".into();
        list.finished_total = 0;
        assert_eq!(footer(&list, true), "3 of 3 active; more match: --limit");
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn request(line: &[&str]) -> ListSagasRequest {
        let line = std::iter::once("list").chain(line.iter().copied());
        Line::try_parse_from(line)
            .map(|line| line.args.request(NOW))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn only_open_sagas_unless_asked_otherwise() {
        assert!(request(&[]).open_only);
        assert!(!request(&["--all"]).open_only);
        assert!(!request(&["--status", "running,completed"]).open_only);
        assert!(request(&["--status", "compensating"]).open_only);
    }

    #[test]
    fn filters_reach_the_server() {
        let request =
            request(&["--since", "2h", "--label", "team=trips", "--incident", "--saga", "book_trip"]);
        assert_eq!(request.started_after_us, NOW - 2 * HOUR);
        assert_eq!(request.labels.get("team").map(String::as_str), Some("trips"));
        assert_eq!((request.mark.as_str(), request.name.as_str()), ("incident", "book_trip"));
    }
}
