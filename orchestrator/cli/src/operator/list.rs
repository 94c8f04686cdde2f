//! `saga list`: which sagas there are, those that need somebody first.

use std::cmp::Reverse;

use saga_core::Status;
use saga_dsl::definition::Duration;
use saga_proto::v1::{ListSagasRequest, ListSagasResponse, SagaSummary};

use super::fields::{Label, label_map};
use crate::{
    Context,
    exit::{Exit, Failure},
    show::{
        ids::{id_text, short},
        json,
        output::{self, Frame, ListFormat, count},
        table::{self, Text},
        time, words,
    },
};

/// Sagas on one page of the server.
const PAGE: u32 = 1_000;
/// Rows of a table where `--limit` does not say otherwise; what programs read has no limit.
const ROWS: u32 = 100;

/// Every word that the column STATUS prints: statuses, and the marks that stand before them.
const WORDS: [&str; 8] = [
    Status::Running.word(),
    Status::Compensating.word(),
    Status::Completed.word(),
    Status::Compensated.word(),
    Status::Abandoned.word(),
    "incident",
    "waiting",
    "paused",
];

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
    /// Only those with these words in the column STATUS
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = WORDS)]
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
    /// At most so many, 0 for all; 100 in a table, all with -o id, json and jsonl
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: ListFormat,
}

impl Args {
    fn request(&self, now_us: i64) -> ListSagasRequest {
        let ended = self.status.iter().any(|status| words::is_end(status));
        let since_us = self.since.map_or(0, |since| {
            i64::try_from(since.ms).unwrap_or(i64::MAX / 1_000) * 1_000
        });
        // The server knows one mark; the others are told apart here, among the open sagas.
        let marks = self.status.iter().any(|word| is_mark(word));
        let incident =
            self.incident || (marks && self.status.iter().all(|word| word == "incident"));
        ListSagasRequest {
            statuses: if marks {
                Vec::new()
            } else {
                self.status.clone()
            },
            name: self.saga.clone().unwrap_or_default(),
            labels: label_map(&self.label),
            mark: if incident {
                "incident".into()
            } else {
                String::new()
            },
            started_after_us: if since_us == 0 {
                0
            } else {
                now_us.saturating_sub(since_us)
            },
            // An incident may outlive its saga.
            open_only: !self.all && !ended && !incident,
            ..ListSagasRequest::default()
        }
    }

    /// Whether one of the words asked for stands before the saga.
    fn wants(&self, saga: &SagaSummary) -> bool {
        let asked = |word: &str| self.status.iter().any(|asked| asked == word);
        self.status.is_empty()
            || if saga.mark.is_empty() {
                asked(&saga.status)
            } else {
                asked(&saga.mark) || asked(&saga.status)
            }
    }

    /// `None`: all.
    fn limit(&self) -> Option<usize> {
        let table = matches!(self.output, ListFormat::Table | ListFormat::Wide);
        let limit = self.limit.unwrap_or(if table { ROWS } else { 0 });
        usize::try_from(limit).ok().filter(|limit| *limit > 0)
    }

    /// Whether pages are printed as they come: a store may hold more than fits into memory.
    fn streams(&self) -> bool {
        self.limit().is_none() && matches!(self.output, ListFormat::Id | ListFormat::Jsonl)
    }
}

fn is_mark(word: &str) -> bool {
    matches!(word, "incident" | "waiting" | "paused")
}

/// Runs `saga list`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let frame = Frame::of_stdout();
    let server = context.server().await?;
    let mut request = args.request(frame.now_us);
    let mut client = server.sagas();
    let mut all = ListSagasResponse::default();
    let limit = args.limit();
    loop {
        let missing = limit.map_or(usize::MAX, |limit| limit.saturating_sub(all.sagas.len()));
        request.page_size = u32::try_from(missing).unwrap_or(PAGE).min(PAGE);
        let page = client
            .list_sagas(request.clone())
            .await
            .map_err(|s| server.failure(s))?
            .into_inner();
        (all.open_total, all.finished_total) = (page.open_total, page.finished_total);
        let came = page.sagas.len();
        all.sagas
            .extend(page.sagas.into_iter().filter(|saga| args.wants(saga)));
        all.next_page_token = page.next_page_token;
        if args.streams() {
            print(&args, &all.sagas, frame)?;
            all.sagas.clear();
        }
        let full = limit.is_some_and(|limit| all.sagas.len() >= limit);
        if full || all.next_page_token.is_empty() || came == 0 {
            break;
        }
        request.page_token.clone_from(&all.next_page_token);
    }
    if args.streams() {
        return Ok(Exit::Ok);
    }
    urgent_first(&mut all.sagas);
    print(&args, &all.sagas, frame)?;
    if matches!(args.output, ListFormat::Table | ListFormat::Wide) {
        let name = one_name(&all.sagas).filter(|_| {
            let narrow = |width| width < ROOMY_FROM_WIDTH;
            args.output == ListFormat::Table && frame.width.is_some_and(narrow)
        });
        let name = name.map_or_else(String::new, |name| {
            format!("; all of {}", output::printable(name))
        });
        output::note(&format!("{}{name}", footer(&all, request.open_only)));
    } else if !all.next_page_token.is_empty() {
        output::note(&format!(
            "warning: {} are listed and more may match; --limit 0 lists all",
            all.sagas.len()
        ));
    }
    Ok(Exit::Ok)
}

fn print(args: &Args, sagas: &[SagaSummary], frame: Frame) -> Result<(), Failure> {
    let rows: Vec<json::Saga> = sagas.iter().map(json::Saga::from).collect();
    output::list(
        args.output,
        &rows,
        |row| row.id.clone(),
        |wide| screen(sagas, wide, frame),
    )
}

/// Those that need an operator, then the open ones, then the ended; the newest first in each.
fn urgent_first(sagas: &mut [SagaSummary]) {
    sagas.sort_by_key(|s| {
        (
            words::is_end(&s.status),
            s.mark != "incident",
            Reverse(s.started_at_us),
            Reverse(s.saga_id.clone()),
        )
    });
}

/// The table.
pub(crate) fn screen(sagas: &[SagaSummary], wide: bool, frame: Frame) -> String {
    if sagas.is_empty() {
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
    let narrow = frame.width.is_some_and(|width| width < ROOMY_FROM_WIDTH);
    let columns = Columns {
        wide,
        named: !(narrow && one_name(sagas).is_some()),
        keys: wide || (!narrow && sagas.iter().any(|saga| !saga.key.is_empty())),
    };
    let mut header = vec!["STATUS", "ID", "SAGA", "STEP", "TRIES", "AGE"];
    if columns.keys {
        header.push("KEY");
    }
    if wide {
        header.extend(["LABELS", "STARTED"]);
    }
    header.push("NEXT");
    let rows = sagas
        .iter()
        .map(|saga| row(saga, columns, frame.now_us))
        .collect();
    table::draw(&header, rows, frame)
}

/// From this width on there is room for names that are all the same, and for keys.
const ROOMY_FROM_WIDTH: u16 = 110;

/// What the table shows.
#[derive(Clone, Copy)]
struct Columns {
    wide: bool,
    /// The names of the definitions, and not their versions alone.
    named: bool,
    keys: bool,
}

/// The name of the definition, if all sagas are of one.
fn one_name(sagas: &[SagaSummary]) -> Option<&str> {
    let (first, rest) = sagas.split_first()?;
    let same = !rest.is_empty() && rest.iter().all(|saga| saga.name == first.name);
    same.then_some(first.name.as_str())
}

fn row(saga: &SagaSummary, columns: Columns, now_us: i64) -> Vec<Text> {
    let wide = columns.wide;
    let id = id_text(saga);
    // What has ended does not grow older; what it has is a duration.
    let age = match saga.ended_at_us {
        0 => time::span(now_us.saturating_sub(saga.started_at_us)),
        end => format!(
            "took {}",
            time::span(end.saturating_sub(saga.started_at_us))
        ),
    };
    let mut row = vec![
        words::saga(saga).into(),
        Text::plain(if wide { id } else { short(&id) }),
        Text::plain(if columns.named {
            format!("{}@{}", saga.name, saga.version)
        } else {
            format!("@{}", saga.version)
        }),
        Text::plain(dash(&saga.step)),
        Text::plain(words::tries(saga.tries, 0)),
        Text::plain(age),
    ];
    if columns.keys {
        row.push(Text::plain(dash(&saga.key)));
    }
    if wide {
        let labels: std::collections::BTreeMap<_, _> = saga.labels.iter().collect();
        let labels: Vec<_> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        row.extend([
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
    let open = list
        .sagas
        .iter()
        .filter(|saga| !words::is_end(&saga.status))
        .count() as u64;
    let more = if list.next_page_token.is_empty() {
        ""
    } else {
        "; more match: --limit"
    };
    // Rows and totals are read one after the other; a saga that ended in between is no reason for `8 of 7`.
    let ended = shown - open;
    let active = count(list.open_total.max(open));
    let finished = count(list.finished_total.max(ended));
    if open_only {
        let hidden = if list.finished_total == 0 {
            String::new()
        } else {
            format!(" ({finished} finished: --all)")
        };
        format!("{} of {active} active{hidden}{more}", count(shown))
    } else {
        let (open, ended) = (count(open), count(ended));
        format!("{open} of {active} active, {ended} of {finished} finished{more}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::output::bare;
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
                labels: [
                    ("team".to_owned(), "trips".to_owned()),
                    ("env".to_owned(), "prod".to_owned()),
                ]
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
        list.open_total = 2;
        assert_eq!(footer(&list, true), "3 of 3 active (1 842 finished: --all)");
        list.next_page_token = "x".into();
        list.finished_total = 0;
        assert_eq!(footer(&list, true), "3 of 3 active; more match: --limit");
    }

    #[test]
    fn sagas_of_one_definition_are_not_named_in_each_row() {
        let one: Vec<SagaSummary> = sagas()
            .into_iter()
            .filter(|saga| saga.name == "book_trip")
            .collect();
        let shown = |width| bare(&screen(&one, false, Frame { width, now_us: NOW }));
        assert!(!shown(Some(80)).contains("book_trip") && shown(Some(80)).contains(" @1 "));
        assert!(shown(None).contains("book_trip@1"));
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
    fn programs_get_every_row_and_tables_a_hundred() {
        let limit = |line: &[&str]| {
            let line = std::iter::once("list").chain(line.iter().copied());
            Line::try_parse_from(line)
                .map(|line| (line.args.limit(), line.args.streams()))
                .expect("a line")
        };
        assert_eq!(limit(&[]), (Some(100), false));
        assert_eq!(limit(&["-o", "wide"]), (Some(100), false));
        assert_eq!(limit(&["--limit", "0"]), (None, false));
        assert_eq!(limit(&["-o", "id"]), (None, true));
        assert_eq!(limit(&["-o", "json"]), (None, false));
        assert_eq!(limit(&["-o", "jsonl", "--limit", "5"]), (Some(5), false));
    }

    #[test]
    fn every_word_of_the_column_is_a_filter() {
        let shown = |words: &str| {
            let line = Line::try_parse_from(["list", "--status", words]).expect("a line");
            sagas()
                .iter()
                .filter(|saga| line.args.wants(saga))
                .map(|saga| saga.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(shown("waiting"), ["lab_report"]);
        assert_eq!(shown("incident"), ["fulfil_order"]);
        assert_eq!(
            shown("incident,compensating"),
            ["book_trip", "fulfil_order"]
        );
        assert_eq!(shown("running"), ["lab_report", "fulfil_order"]);
        assert_eq!(request(&["--status", "incident"]).mark, "incident");
        let waiting = request(&["--status", "waiting,incident"]);
        assert!(waiting.open_only && waiting.mark.is_empty() && waiting.statuses.is_empty());
        for saga in sagas() {
            let screen = bare(&screen(
                std::slice::from_ref(&saga),
                false,
                Frame {
                    width: None,
                    now_us: NOW,
                },
            ));
            let printed = WORDS.iter().any(|word| {
                screen
                    .lines()
                    .last()
                    .is_some_and(|line| line.contains(word))
            });
            assert!(printed, "{screen}");
        }
    }

    #[test]
    fn filters_reach_the_server() {
        let request = request(&[
            "--since",
            "2h",
            "--label",
            "team=trips",
            "--incident",
            "--saga",
            "book_trip",
        ]);
        assert_eq!(request.started_after_us, NOW - 2 * HOUR);
        assert_eq!(
            request.labels.get("team").map(String::as_str),
            Some("trips")
        );
        assert_eq!(
            (request.mark.as_str(), request.name.as_str()),
            ("incident", "book_trip")
        );
    }
}
