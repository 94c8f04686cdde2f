//! `saga watch`: one saga live, or the counts of all.

use std::{collections::BTreeMap, time::Duration as StdDuration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use saga_dsl::definition::Duration;
use saga_proto::v1::{ListSagasRequest, ListSagasResponse};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior};

use super::follow::{self, Follow, Show};
use crate::{
    Context,
    client::Server,
    exit::{Exit, Failure},
    show::{
        output::{self, Format, count, for_stderr},
        time,
        words::{self, Word},
    },
};

/// How often all sagas are counted.
const INTERVAL: StdDuration = StdDuration::from_secs(1);
/// Open sagas whose statuses are counted one by one; the totals are the server's own.
const SAMPLE: u32 = 1_000;

const EXAMPLES: &str = "\
Examples:
  saga watch                 live counts of all sagas
  saga watch 7QK3MV2A        its tree, live; in a pipe one line a change
  saga watch 7QK3MV2A -o json | jq -r .status

The exit code tells the end:
0 completed, 10 compensated, 11 an operator is needed, 12 gave up.";

/// Arguments of `saga watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY; without it all sagas are counted
    #[arg(value_name = "ID")]
    saga: Option<String>,
    /// Stop watching after this time
    #[arg(long, value_name = "TIME")]
    timeout: Option<Duration>,
    /// Go on watching a saga that needs an operator
    #[arg(long, requires = "saga")]
    through_incidents: bool,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Runs `saga watch`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let timeout = args.timeout.map(|limit| StdDuration::from_millis(limit.ms));
    let Some(saga) = &args.saga else {
        return counts(&server, args.output, timeout).await;
    };
    let show = match args.output {
        Format::Text => Show::Text,
        Format::Json => Show::Json,
    };
    let how = Follow {
        show,
        timeout,
        through_incidents: args.through_incidents,
    };
    let ending = follow::follow(&server, saga, how).await?;
    output::note(&follow::verdict(&ending));
    Ok(ending.exit)
}

/// How many sagas there are, by what they are at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Counts {
    at: Option<String>,
    /// Sagas that have not ended.
    open: u64,
    /// Sagas that have.
    finished: u64,
    /// Open sagas by mark or status, of the newest 1,000.
    by_status: BTreeMap<String, u64>,
    /// False: there are more open sagas than `by_status` counts.
    complete: bool,
}

impl Counts {
    fn of(list: &ListSagasResponse, now_us: i64) -> Self {
        let mut by_status = BTreeMap::new();
        for saga in &list.sagas {
            let name = if saga.mark.is_empty() {
                &saga.status
            } else {
                &saga.mark
            };
            *by_status.entry(name.clone()).or_insert(0) += 1;
        }
        Self {
            at: time::rfc3339(now_us),
            open: list.open_total,
            finished: list.finished_total,
            by_status,
            complete: list.next_page_token.is_empty(),
        }
    }

    fn same_as(&self, other: &Self) -> bool {
        (self.open, self.finished, &self.by_status)
            == (other.open, other.finished, &other.by_status)
    }

    /// One line; `ended_per_second` since the line before.
    fn line(&self, ended_per_second: Option<u64>) -> String {
        let parts: Vec<String> = self
            .by_status
            .iter()
            .map(|(name, number)| {
                let word = word(name);
                word.tone.paint(&format!(
                    "{} {}",
                    output::printable(&word.text()),
                    count(*number)
                ))
            })
            .collect();
        let about = if self.complete {
            ""
        } else {
            " of the newest 1 000"
        };
        let parts = if parts.is_empty() {
            String::new()
        } else {
            format!(" ({}{about})", parts.join(", "))
        };
        let rate = match ended_per_second {
            Some(rate) if rate > 0 => format!(", {}/s", count(rate)),
            _ => String::new(),
        };
        format!(
            "{} active{parts}, {} finished{rate}",
            count(self.open),
            count(self.finished)
        )
    }
}

fn word(name: &str) -> Word {
    let marked = saga_proto::v1::SagaSummary {
        mark: name.into(),
        status: name.into(),
        ..Default::default()
    };
    words::saga(&marked)
}

async fn counts(
    server: &Server,
    format: Format,
    timeout: Option<StdDuration>,
) -> Result<Exit, Failure> {
    let until = timeout.map(|limit| Instant::now() + limit);
    let bar = (format == Format::Text && output::is_live()).then(live_line);
    if bar.is_some() {
        server.notices().draw();
    }
    let request = ListSagasRequest {
        open_only: true,
        page_size: SAMPLE,
        ..ListSagasRequest::default()
    };
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Counts> = None;
    loop {
        ticks.tick().await;
        let list = server.sagas().list_sagas(request.clone()).await;
        let now = Counts::of(
            &list.map_err(|s| server.failure(s))?.into_inner(),
            time::now_us(),
        );
        let rate = before
            .as_ref()
            .map(|old| now.finished.saturating_sub(old.finished) / INTERVAL.as_secs());
        let news = before.as_ref().is_none_or(|old| !old.same_as(&now));
        match (&bar, format) {
            (Some(bar), _) => {
                let above = server
                    .notices()
                    .line()
                    .map(|line| format!("{line}\n"))
                    .unwrap_or_default();
                bar.set_message(for_stderr(&format!("{above}{}", now.line(rate))));
                bar.tick();
            }
            (None, Format::Json) if news => output::json_line(&now)?,
            // The rate would make every line a change; a reader of lines can count for itself.
            (None, Format::Text) if news => output::line(&format!(
                "{}  {}",
                time::utc(time::now_us()),
                now.line(None)
            ))?,
            (None, _) => {}
        }
        before = Some(now);
        if until.is_some_and(|until| Instant::now() >= until) {
            if let (Some(bar), Some(last)) = (bar, before) {
                bar.finish_and_clear();
                output::line(&last.line(None))?;
            }
            return Ok(Exit::Ok);
        }
    }
}

fn live_line() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(
        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::{output::bare, sample};

    fn list() -> ListSagasResponse {
        let sagas = [
            sample::compensating(),
            sample::compensating(),
            sample::incident(),
        ];
        ListSagasResponse {
            sagas: sagas
                .into_iter()
                .filter_map(|detail| detail.summary)
                .collect(),
            open_total: 3,
            finished_total: 1_842,
            next_page_token: String::new(),
        }
    }

    #[test]
    fn counts_go_by_mark_then_status() {
        let counts = Counts::of(&list(), 0);
        assert_eq!(
            bare(&counts.line(Some(12))),
            "3 active (↺ compensating 2, ✗ incident 1), 1 842 finished, 12/s"
        );
        let empty = Counts::of(&ListSagasResponse::default(), 0);
        assert_eq!(empty.line(None), "0 active, 0 finished");
        assert!(!counts.same_as(&empty));
    }

    #[test]
    fn a_sample_says_that_it_is_one() {
        let mut list = list();
        list.open_total = 5_000;
        list.next_page_token = "x".into();
        assert!(
            bare(&Counts::of(&list, 0).line(None))
                .starts_with("5 000 active (↺ compensating 2, ✗ incident 1 of the newest 1 000)")
        );
    }
}
