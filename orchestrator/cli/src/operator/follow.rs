//! Following one saga until it ends, needs an operator, or the time is up.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget};
use saga_proto::v1::{GetSagaRequest, SagaDetail};
use tokio::time::MissedTickBehavior;
use tonic::{Code, Status, Streaming};

use super::{changes, describe};
use crate::{
    client::Server,
    exit::{Exit, Failure},
    show::{
        json,
        output::{self, Frame, for_stderr},
        store_trouble::Notices,
        time, words,
    },
};

/// How often ages and countdowns move on a live screen.
const REDRAW: Duration = Duration::from_millis(250);
/// How often a live screen is asked for again where nothing happens: its sentences tell spans of time, too.
const ASKED_AGAIN: Duration = Duration::from_secs(1);
/// Breaks of the connection in a row that are bridged; with the pauses between them about half a minute.
const BREAKS_MAX: u32 = 8;
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LONGEST: Duration = Duration::from_secs(8);

/// What is shown on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Nothing until the end.
    Nothing,
    /// A live tree on a terminal; elsewhere one line a change.
    Text,
    /// Each picture as a JSON object on a line.
    Json,
}

/// How to follow.
#[derive(Debug, Clone, Copy)]
pub struct Follow {
    /// What is shown on the way.
    pub show: Show,
    /// Give up after this long.
    pub timeout: Option<Duration>,
    /// Go on watching a saga that needs an operator.
    pub through_incidents: bool,
}

/// How it ended, with the last picture if there was one.
pub struct Ending {
    /// What the shell sees.
    pub exit: Exit,
    /// The last picture.
    pub detail: Option<SagaDetail>,
}

/// Follows the saga named `saga`.
pub async fn follow(server: &Server, saga: &str, how: Follow) -> Result<Ending, Failure> {
    let mut view = View::new(how.show, server.notices());
    let _looking = server.wire().keep_looking();
    let mut last = None;
    let watching = watch(server, saga, how, &mut view, &mut last);
    let exit = match how.timeout {
        None => watching.await,
        // Past this the saga goes on alone; only our patience has ended.
        Some(limit) => tokio::time::timeout(limit, watching)
            .await
            .unwrap_or(Ok(Exit::GaveUp)),
    };
    // Also when the connection broke: the moving picture must not stay behind as if it still moved.
    view.finish(last.as_ref())?;
    Ok(Ending {
        exit: exit?,
        detail: last,
    })
}

async fn watch(
    server: &Server,
    saga: &str,
    how: Follow,
    view: &mut View,
    last: &mut Option<SagaDetail>,
) -> Result<Exit, Failure> {
    let mut breaks = 0_u32;
    loop {
        let request = GetSagaRequest {
            saga: saga.to_owned(),
        };
        let broke = match server.sagas().watch_saga(request).await {
            Ok(stream) => {
                let again = Again { server, saga };
                match pictures(stream.into_inner(), again, how, view, last, &mut breaks).await? {
                    Flow::Ended(exit) => return Ok(exit),
                    Flow::Broke(status) => status,
                }
            }
            Err(status) => status,
        };
        if breaks >= BREAKS_MAX || !is_break(&broke) {
            return Err(server.failure(broke));
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << breaks).min(PAUSE_LONGEST);
        breaks += 1;
        tokio::time::sleep(pause).await;
    }
}

enum Flow {
    Ended(Exit),
    Broke(Status),
}

/// Asks for a picture while the stream has no news.
#[derive(Clone, Copy)]
struct Again<'a> {
    server: &'a Server,
    saga: &'a str,
}

impl Again<'_> {
    /// A picture of now, a while from now. Without an answer the words on the screen stay as old as they are; the stream
    /// tells whether the server is gone.
    async fn picture(self) -> Option<SagaDetail> {
        tokio::time::sleep(ASKED_AGAIN).await;
        let request = GetSagaRequest {
            saga: self.saga.to_owned(),
        };
        let answer = self.server.sagas().get_saga(request).await;
        answer.ok().map(tonic::Response::into_inner)
    }
}

/// Shows pictures until one is the last.
async fn pictures(
    mut stream: Streaming<SagaDetail>,
    again: Again<'_>,
    how: Follow,
    view: &mut View,
    last: &mut Option<SagaDetail>,
    breaks: &mut u32,
) -> Result<Flow, Failure> {
    let mut ticks = tokio::time::interval(REDRAW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = Box::pin(again.picture());
    loop {
        tokio::select! {
            message = stream.message() => match message {
                Ok(Some(detail)) => {
                    *breaks = 0;
                    view.picture(&detail, last.as_ref())?;
                    let exit = ending(&detail, how.through_incidents);
                    *last = Some(detail);
                    if let Some(exit) = exit {
                        return Ok(Flow::Ended(exit));
                    }
                }
                Ok(None) => return Ok(Flow::Broke(Status::unavailable("the server closed the stream"))),
                Err(status) => return Ok(Flow::Broke(status)),
            },
            now = &mut asked, if view.is_live() => {
                asked = Box::pin(again.picture());
                // The stream alone says what is new; this picture says the same of a later moment.
                if let Some(now) = now.filter(|now| is_same(last.as_ref(), now)) {
                    view.picture(&now, last.as_ref())?;
                    *last = Some(now);
                }
            }
            _ = ticks.tick(), if view.is_live() => view.tick(last.as_ref()),
        }
    }
}

/// Whether both pictures show the same decisions.
fn is_same(last: Option<&SagaDetail>, now: &SagaDetail) -> bool {
    last.is_some_and(|last| last.seq == now.seq)
}

/// A broken connection shows as one of these; a refusal never does.
pub fn is_break(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded
    ) || (status.code() == Code::Internal && status.metadata().get("saga-code").is_none())
}

/// Whether this picture is the last one to wait for, and what the shell sees then.
fn ending(detail: &SagaDetail, through_incidents: bool) -> Option<Exit> {
    let summary = detail.summary.as_ref()?;
    match summary.status.as_str() {
        "completed" => Some(Exit::Ok),
        "compensated" => Some(Exit::Compensated),
        "abandoned" => Some(Exit::Abandoned),
        _ if summary.mark == "incident" && !through_incidents => Some(Exit::Incident),
        _ => None,
    }
}

/// What became of it, in a sentence for stderr.
pub fn verdict(ending: &Ending) -> String {
    let Some(summary) = ending
        .detail
        .as_ref()
        .and_then(|detail| detail.summary.as_ref())
    else {
        return "gave up waiting; the saga goes on without us".into();
    };
    let id = crate::show::ids::short(&crate::show::ids::id_text(summary));
    let age = time::span(summary.ended_at_us.saturating_sub(summary.started_at_us));
    match ending.exit {
        Exit::GaveUp => format!("gave up waiting, the saga goes on: saga watch {id}"),
        Exit::Incident => format!("an operator is needed: saga describe {id}"),
        _ => format!(
            "{} after {age}{}",
            words::saga(summary).painted(),
            cause(ending)
        ),
    }
}

/// Which step sent the saga back, with which code.
fn cause(ending: &Ending) -> String {
    let Some(failure) = ending
        .detail
        .as_ref()
        .and_then(|detail| detail.failure.as_ref())
    else {
        return String::new();
    };
    let step = if failure.step.is_empty() {
        String::new()
    } else {
        format!("{} ", failure.step)
    };
    let message = if failure.message.is_empty() {
        String::new()
    } else {
        format!(" \"{}\"", failure.message)
    };
    output::printable(&format!(": {step}{}{message}", failure.code)).into_owned()
}

/// Where pictures go.
enum View {
    Quiet,
    Plain,
    Json,
    /// The moving picture lives on stderr and leaves no trace; the last picture is data and goes to stdout.
    Live {
        bar: ProgressBar,
        came: Instant,
        notices: Notices,
    },
}

impl View {
    fn new(show: Show, notices: &Notices) -> Self {
        match show {
            Show::Nothing => Self::Quiet,
            Show::Json => Self::Json,
            Show::Text if output::is_live() => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                bar.set_style(
                    indicatif::ProgressStyle::with_template("{msg}")
                        .unwrap_or_else(|_| indicatif::ProgressStyle::default_spinner()),
                );
                notices.draw();
                Self::Live {
                    bar,
                    came: Instant::now(),
                    notices: notices.clone(),
                }
            }
            Show::Text => Self::Plain,
        }
    }

    const fn is_live(&self) -> bool {
        matches!(self, Self::Live { .. })
    }

    fn picture(&mut self, detail: &SagaDetail, before: Option<&SagaDetail>) -> Result<(), Failure> {
        match self {
            Self::Quiet => Ok(()),
            Self::Json => output::json_line(&json::Detail::from(detail)),
            Self::Plain => changes::lines(before, detail)
                .iter()
                .try_for_each(|line| output::line(line)),
            Self::Live { came, .. } => {
                *came = Instant::now();
                self.tick(Some(detail));
                Ok(())
            }
        }
    }

    fn tick(&self, detail: Option<&SagaDetail>) {
        let (Self::Live { bar, came, notices }, Some(detail)) = (self, detail) else {
            return;
        };
        let since = i64::try_from(came.elapsed().as_micros()).unwrap_or(0);
        let frame = Frame {
            now_us: detail.now_us.saturating_add(since),
            ..Frame::of_stdout()
        };
        let above = notices
            .line()
            .map(|line| format!("{line}\n"))
            .unwrap_or_default();
        let screen = describe::screen(detail, frame);
        bar.set_message(for_stderr(&format!("{above}{}", screen.trim_end())));
        bar.tick();
    }

    fn finish(self, detail: Option<&SagaDetail>) -> Result<(), Failure> {
        match (self, detail) {
            (Self::Live { bar, .. }, detail) => {
                bar.finish_and_clear();
                let Some(detail) = detail else { return Ok(()) };
                output::data(&describe::screen(
                    detail,
                    Frame {
                        now_us: detail.now_us,
                        ..Frame::of_stdout()
                    },
                ))
            }
            (Self::Quiet | Self::Plain | Self::Json, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::{output::bare, sample};

    fn with(status: &str, mark: &str) -> SagaDetail {
        let mut detail = sample::completed();
        if let Some(summary) = &mut detail.summary {
            summary.status = status.into();
            summary.mark = mark.into();
        }
        detail
    }

    #[test]
    fn each_end_has_its_exit_code() {
        assert_eq!(ending(&with("completed", ""), false), Some(Exit::Ok));
        assert_eq!(
            ending(&with("compensated", ""), false),
            Some(Exit::Compensated)
        );
        assert_eq!(ending(&with("abandoned", ""), false), Some(Exit::Abandoned));
        assert_eq!(ending(&with("running", ""), false), None);
        assert_eq!(ending(&with("compensating", "waiting"), false), None);
        assert_eq!(ending(&SagaDetail::default(), false), None);
    }

    #[test]
    fn an_incident_ends_the_wait_unless_told_otherwise() {
        assert_eq!(
            ending(&with("running", "incident"), false),
            Some(Exit::Incident)
        );
        assert_eq!(ending(&with("running", "incident"), true), None);
        assert_eq!(
            ending(&with("compensated", "incident"), true),
            Some(Exit::Compensated)
        );
    }

    #[test]
    fn only_breaks_of_the_connection_are_bridged() {
        assert!(is_break(&Status::unavailable("gone")));
        assert!(is_break(&Status::unknown("h2 protocol error")));
        for refusal in [
            Status::not_found("x"),
            Status::permission_denied("x"),
            Status::invalid_argument("x"),
        ] {
            assert!(!is_break(&refusal), "{refusal}");
        }
    }

    #[test]
    fn the_verdict_names_what_to_do() {
        let ending = |exit, detail: SagaDetail| Ending {
            exit,
            detail: Some(detail),
        };
        assert_eq!(
            bare(&verdict(&ending(Exit::Ok, sample::completed()))),
            "✔ completed after 10s"
        );
        let failure = saga_proto::v1::Fault {
            code: "card_declined".into(),
            message: "no\ncover".into(),
            step: "charge".into(),
        };
        let back = SagaDetail {
            failure: Some(failure),
            ..with("compensated", "")
        };
        assert_eq!(
            bare(&verdict(&ending(Exit::Compensated, back))),
            "↩ compensated after 10s: charge card_declined \"no cover\""
        );
        assert_eq!(
            verdict(&ending(Exit::Incident, sample::incident())),
            "an operator is needed: saga describe 0X2QAC4M"
        );
        assert_eq!(
            verdict(&ending(Exit::GaveUp, sample::compensating())),
            "gave up waiting, the saga goes on: saga watch 0X2QAC4M"
        );
    }
}
