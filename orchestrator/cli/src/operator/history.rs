//! `saga history`: every line of a saga's journal.

use std::time::Duration;

use jiff::tz::TimeZone;
use saga_proto::v1::{GetSagaRequest, HistoryEvent, HistoryRequest};
use unicode_width::UnicodeWidthStr;

use crate::{
    Context,
    client::Server,
    exit::{Exit, Failure},
    show::{
        json,
        output::{self, Format, printable},
        time,
        words::{self, Tone},
    },
};

/// Events on one page of the server.
const PAGE: u32 = 500;
/// Breaks of the connection in a row that `--follow` bridges.
const BREAKS_MAX: u32 = 8;
const PAUSE: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  saga history 7QK3MV2A
  saga history 7QK3MV2A --follow
  saga history 7QK3MV2A -o json | jq -c .event";

/// Arguments of `saga history`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY
    #[arg(value_name = "ID")]
    saga: String,
    /// Go on with what comes, until the saga ends
    #[arg(short, long)]
    follow: bool,
    /// Format; json is one object a line
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Runs `saga history`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let saga = args.saga.clone();
    let mut reader = Reader {
        server: &server,
        saga,
        format: args.output,
        lines: Lines::of_stdout(),
        after_seq: 0,
        after_event: 0,
    };
    reader.read_all().await?;
    if args.follow {
        follow(&mut reader).await?;
    }
    Ok(Exit::Ok)
}

/// Prints the journal from where it stopped the last time.
struct Reader<'a> {
    server: &'a Server,
    saga: String,
    format: Format,
    lines: Lines,
    after_seq: u64,
    /// Events of the decision after that one that were printed.
    after_event: u32,
}

impl Reader<'_> {
    async fn read_all(&mut self) -> Result<(), Failure> {
        loop {
            let request = HistoryRequest {
                saga: self.saga.clone(),
                after_seq: self.after_seq,
                page_size: PAGE,
                after_event: self.after_event,
                splits: true,
            };
            let page = self
                .server
                .sagas()
                .history(request)
                .await
                .map_err(|s| self.server.failure(s))?;
            let page = page.into_inner();
            let Some(last) = page.events.last().map(|event| event.seq) else {
                return Ok(());
            };
            let mut text = String::new();
            for event in &page.events {
                match self.format {
                    Format::Json => output::json_line(&json::Event::from(event))?,
                    Format::Text => text += &self.lines.line(event),
                }
            }
            output::data(&text)?;
            let read = (self.after_seq, self.after_event);
            (self.after_seq, self.after_event) = match (page.next_after_seq, page.next_after_event)
            {
                // An older server ends its pages between decisions and does not say where it goes on.
                (0, 0) => (self.after_seq.max(last), 0),
                next => next,
            };
            // A page that does not lead on would be read for ever.
            if !page.more || (self.after_seq, self.after_event) <= read {
                return Ok(());
            }
        }
    }
}

/// Waits for changes on the saga's stream and reads what they brought.
async fn follow(reader: &mut Reader<'_>) -> Result<(), Failure> {
    let mut breaks = 0;
    let _looking = reader.server.wire().keep_looking();
    loop {
        let request = GetSagaRequest {
            saga: reader.saga.clone(),
        };
        let status = match reader.server.sagas().watch_saga(request).await {
            Err(status) => status,
            Ok(stream) => {
                let mut stream = stream.into_inner();
                loop {
                    match stream.message().await {
                        Err(status) => break status,
                        Ok(None) => {
                            break tonic::Status::unavailable("the server closed the stream");
                        }
                        Ok(Some(detail)) => {
                            breaks = 0;
                            if detail.seq > reader.after_seq {
                                reader.read_all().await?;
                            }
                            if detail
                                .summary
                                .is_some_and(|summary| words::is_end(&summary.status))
                            {
                                return Ok(());
                            }
                        }
                    }
                }
            }
        };
        breaks += 1;
        if breaks > BREAKS_MAX || !super::follow::is_break(&status) {
            return Err(reader.server.failure(status));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Draws lines. Fixed columns, not fitted ones: pages come one after another and must line up.
struct Lines {
    /// Of the terminal; elsewhere nothing is wrapped, and times are UTC, as in the logs of participants.
    width: Option<u16>,
    zone: TimeZone,
    /// The day that was shown last.
    day: String,
}

/// Columns before the text in a terminal: number, time, kind, with their gaps.
const LEAD: usize = 5 + 2 + 12 + 2 + 22 + 2;
/// Columns before the text where it is too wide for the last column.
const LEAD_FEW: usize = 5 + 2;

impl Lines {
    fn of_stdout() -> Self {
        Self {
            width: output::Frame::of_stdout().width,
            zone: TimeZone::system(),
            day: String::new(),
        }
    }

    fn line(&mut self, event: &HistoryEvent) -> String {
        let kind = format!("{:<22}", event.kind);
        let kind = tone(&event.kind).paint(&printable(&kind));
        let Some(width) = self.width else {
            let at = Tone::Dim.paint(&time::utc(event.at_us));
            let step = if event.step.is_empty() {
                "–"
            } else {
                &event.step
            };
            let text = format!("{step:<20}  {}", event.text);
            let text = printable(text.trim_end()).into_owned();
            return format!("{:>5}  {at}  {kind}  {text}\n", event.seq);
        };
        let mut shown = String::new();
        let day = time::day(event.at_us, &self.zone);
        if day != self.day {
            shown += &format!("{}\n", Tone::Dim.paint(&day));
            self.day = day;
        }
        let at = Tone::Dim.paint(&time::clock(event.at_us, &self.zone));
        let parts = [event.step.as_str(), event.text.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let text = printable(&parts.join(": ")).into_owned();
        let room = usize::from(width.saturating_sub(1));
        let widest = text.split_whitespace().map(UnicodeWidthStr::width).max();
        let beside = LEAD + widest.unwrap_or(0) <= room;
        let lead = if beside { LEAD } else { LEAD_FEW };
        let lines = output::wrapped(&text, room.saturating_sub(lead).max(1));
        let gap = if beside {
            "  ".to_owned()
        } else {
            format!("\n{:LEAD_FEW$}", "")
        };
        let text = lines.join(&format!("\n{:lead$}", ""));
        shown + &format!("{:>5}  {at}  {kind}{gap}{text}\n", event.seq)
    }
}

/// A line of a history in a terminal, for tests of its width.
#[cfg(test)]
pub(crate) fn drawn(step: &str, text: &str, width: u16) -> String {
    let mut lines = Lines {
        width: Some(width),
        zone: TimeZone::UTC,
        day: String::new(),
    };
    lines.line(&HistoryEvent {
        seq: 12,
        at_us: crate::show::sample::NOW_US,
        kind: "step_dispatched".into(),
        step: step.into(),
        text: text.into(),
        ..HistoryEvent::default()
    })
}

fn tone(kind: &str) -> Tone {
    let has = |part: &str| kind.contains(part);
    if has("incident") || has("refused") || has("failed") || has("unknown") {
        Tone::Bad
    } else if has("compensat") || has("undo") {
        Tone::Back
    } else if has("succeeded") || has("completed") {
        Tone::Good
    } else {
        Tone::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::{output::bare, sample::NOW_US};

    fn event(seq: u64, kind: &str, step: &str, text: &str) -> HistoryEvent {
        HistoryEvent {
            seq,
            at_us: NOW_US + i64::try_from(seq).unwrap_or(0) * 1_500,
            kind: kind.into(),
            step: step.into(),
            text: text.into(),
            body: br#"{"type":"x"}"#.as_slice().into(),
            left_out: false,
        }
    }

    #[test]
    fn the_screen() {
        let events = [
            event(1, "started", "", "started with key trip-4711"),
            event(
                1,
                "step_dispatched",
                "reserve_flight",
                "flights/reserve, attempt 1",
            ),
            event(
                2,
                "step_refused",
                "charge_card",
                "card_declined \"insufficient\nfunds\"",
            ),
            event(
                12,
                "compensation_begun",
                "",
                "going back: charge_card was refused",
            ),
        ];
        insta::assert_snapshot!(shown(&events, None));
        insta::assert_snapshot!("in_a_terminal", shown(&events, Some(80)));
    }

    fn shown(events: &[HistoryEvent], width: Option<u16>) -> String {
        let mut lines = Lines {
            width,
            zone: jiff::tz::Offset::constant(2).to_time_zone(),
            day: String::new(),
        };
        bare(
            &events
                .iter()
                .map(|event| lines.line(event))
                .collect::<String>(),
        )
    }

    #[test]
    fn long_names_are_not_split() {
        let step = "a_step_whose_name_is_as_long_as_a_name_may_be_0123456789_abcdefg";
        let text =
            "participant_with_a_long_name/action_with_a_long_name, attempt 1, and more words";
        let shown = shown(&[event(1, "step_dispatched", step, text)], Some(80));
        assert!(shown.lines().all(|line| line.width() < 80), "{shown}");
        for word in format!("{step}: {text}").split(' ') {
            assert!(
                shown.split_whitespace().any(|shown| shown == word),
                "{word}: {shown}"
            );
        }
    }

    #[test]
    fn the_json_form_embeds_the_event() {
        let text =
            serde_json::to_string(&json::Event::from(&event(1, "started", "", "x"))).expect("JSON");
        assert_eq!(
            text,
            r#"{"seq":1,"at":"2026-05-28T20:26:40.001500Z","kind":"started","text":"x","event":{"type":"x"}}"#
        );
        let mut broken = event(1, "started", "", "x");
        broken.body = b"\xff{".as_slice().into();
        let text = serde_json::to_string(&json::Event::from(&broken)).expect("JSON");
        assert!(text.ends_with("\"event\":\"\u{fffd}{\"}"), "{text}");
    }
}
