//! `saga history`: every line of a saga's journal.

use std::time::Duration;

use saga_proto::v1::{GetSagaRequest, HistoryEvent, HistoryRequest};

use super::{
    Context,
    client::Server,
    exit::{Exit, Failure},
    json,
    output::{self, Format, printable},
    time,
    words::{self, Tone},
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
                    Format::Text => text += &line(event),
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

/// Fixed columns, not fitted ones: pages come one after another and must line up.
fn line(event: &HistoryEvent) -> String {
    let kind = format!("{:<22}", event.kind);
    let kind = tone(&event.kind).paint(&printable(&kind));
    let at = Tone::Dim.paint(&time::utc(event.at_us));
    let step = if event.step.is_empty() {
        "–"
    } else {
        &event.step
    };
    let text = format!("{step:<20}  {}", event.text);
    format!(
        "{:>5}  {at}  {kind}  {}\n",
        event.seq,
        printable(text.trim_end())
    )
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
    use super::super::{output::bare, sample::NOW_US};
    use super::*;

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
        insta::assert_snapshot!(bare(&events.iter().map(line).collect::<String>()));
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
