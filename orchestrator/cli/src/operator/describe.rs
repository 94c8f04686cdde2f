//! `saga describe`: one saga, and why it is where it is.

use saga_proto::v1::{Fault, GetSagaRequest, SagaDetail, StepDetail};

use crate::{
    Context,
    exit::{Exit, Failure},
    show::{
        ids::id_text,
        json,
        output::{self, Format, Frame, printable},
        time, tree,
        words::{self, Tone},
    },
};

const EXAMPLES: &str = "\
Examples:
  saga describe 7QK3MV2A            the last letters of an id are enough
  saga describe book_trip/trip-4711 a definition and its key
  saga describe 7QK3MV2A -o json | jq .steps";

/// Arguments of `saga describe`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id, unique end of an id, or DEFINITION/KEY
    #[arg(value_name = "ID")]
    saga: String,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Runs `saga describe`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let detail = server
        .sagas()
        .get_saga(GetSagaRequest { saga: args.saga })
        .await;
    let detail = detail
        .map_err(|status| server.failure(status))?
        .into_inner();
    match args.output {
        Format::Json => output::json(&json::Detail::from(&detail))?,
        Format::Text => output::data(&screen(
            &detail,
            Frame {
                now_us: detail.now_us,
                ..Frame::of_stdout()
            },
        ))?,
    }
    Ok(Exit::Ok)
}

/// The screen; `watch` shows the same again and again.
pub fn screen(detail: &SagaDetail, frame: Frame) -> String {
    let say = |title: &str, text: &str| paragraph(title, text, Tone::Plain, frame.width);
    let mut text = output::joined(&head(detail, frame.now_us), frame.width) + "\n";
    if let Some(failure) = &detail.failure {
        text += &say("cause", &fault(failure));
    }
    if !detail.cancel_reason.is_empty() {
        text += &say("cancel", &detail.cancel_reason);
    }
    for incident in &detail.incidents {
        let since = time::span(frame.now_us.saturating_sub(incident.since_us));
        let sentence = format!("{} (for {since})", words::incident(incident));
        text += &paragraph("incident", &sentence, Tone::Bad, frame.width);
    }
    text += &tree::draw(detail, frame);
    let next = detail
        .summary
        .as_ref()
        .map(|summary| summary.next.as_str())
        .unwrap_or_default();
    if !next.is_empty() {
        text += &say("next", next);
    }
    for (at, sentence) in detail.story.iter().enumerate() {
        text += &say(if at == 0 { "story" } else { "" }, sentence);
    }
    for step in detail.steps.iter().filter(|step| is_open(step)) {
        let input = String::from_utf8_lossy(&step.input);
        text += &say("input", &format!("{}: {}", step.id, shortened(&input)));
    }
    if !detail.output.is_empty() {
        // Not wrapped: it is there to be copied.
        text += &paragraph(
            "output",
            &String::from_utf8_lossy(&detail.output),
            Tone::Plain,
            None,
        );
    }
    text
}

/// Letters of a step's input that the screen shows; `-o json` has all of it.
const INPUT_SHOWN: usize = 400;

/// Whether somebody may want to look at the step's input, or to edit it: it has one, and is not over.
fn is_open(step: &StepDetail) -> bool {
    let over = matches!(
        step.status.as_str(),
        "pending"
            | "skipped"
            | "succeeded"
            | "compensated"
            | "nothing_to_undo"
            | "undo_skipped"
            | "sealed"
    );
    !over && !step.input.is_empty()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(INPUT_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} … (the whole of it: -o json)", &text[..end]),
    }
}

fn head(detail: &SagaDetail, now_us: i64) -> Vec<String> {
    let summary = detail.summary.clone().unwrap_or_default();
    let end_us = if summary.ended_at_us == 0 {
        now_us
    } else {
        summary.ended_at_us
    };
    let age = time::span(end_us.saturating_sub(summary.started_at_us));
    let mut parts = vec![
        format!("{}@{}", printable(&summary.name), summary.version),
        id_text(&summary),
        format!("{} {age}", words::saga(&summary).painted()),
    ];
    // The mark was shown; what the saga does apart from it is worth the word.
    if !summary.mark.is_empty() && summary.mark != "waiting" {
        parts.push(words::status(&summary.status).painted());
    }
    if !summary.key.is_empty() {
        parts.push(format!("key {}", printable(&summary.key)));
    }
    if let (0, Some(deadline)) = (summary.ended_at_us, time::until(detail.deadline_us, now_us)) {
        parts.push(format!("deadline {deadline}"));
    }
    parts
}

/// `charge_card: card_declined "no funds"`.
pub fn fault(fault: &Fault) -> String {
    let place = if fault.step.is_empty() {
        String::new()
    } else {
        format!("{}: ", fault.step)
    };
    match (fault.code.is_empty(), fault.message.is_empty()) {
        (_, true) => format!("{place}{}", fault.code),
        (true, false) => format!("{place}{}", fault.message),
        (false, false) => format!("{place}{} \"{}\"", fault.code, fault.message),
    }
}

/// Columns of the titles at the left.
const TITLE: usize = 10;
/// Prose in fewer columns than this is harder to read than prose that the terminal breaks.
const PROSE_MIN: usize = 30;

/// A title and a text beside it, wrapped where there is a width to wrap at.
fn paragraph(title: &str, text: &str, tone: Tone, width: Option<u16>) -> String {
    let text = printable(text);
    let lines = match width {
        None => vec![text.into_owned()],
        Some(width) => output::wrapped(
            &text,
            usize::from(width).saturating_sub(TITLE + 1).max(PROSE_MIN),
        ),
    };
    let mut shown = String::new();
    for (at, line) in lines.iter().enumerate() {
        let title = if at == 0 { title } else { "" };
        shown += &format!(
            "{}{}\n",
            Tone::Dim.paint(&format!("{title:<TITLE$}")),
            tone.paint(line)
        );
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::{output::bare, sample};

    fn shown(detail: &SagaDetail, width: Option<u16>) -> String {
        bare(&screen(
            detail,
            Frame {
                width,
                now_us: detail.now_us,
            },
        ))
    }

    #[test]
    fn a_saga_on_its_way_back() {
        insta::assert_snapshot!(shown(&sample::compensating(), None));
    }

    #[test]
    fn a_narrow_terminal_has_small_bars_and_the_notes_below() {
        let shown = shown(&sample::compensating(), Some(80));
        assert!(
            shown.lines().all(|line| line.chars().count() < 80),
            "{shown}"
        );
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn a_completed_saga() {
        insta::assert_snapshot!(shown(&sample::completed(), Some(140)));
    }

    #[test]
    fn an_incident() {
        insta::assert_snapshot!(shown(&sample::incident(), None));
    }

    #[test]
    fn colours_are_there_and_carry_no_meaning_alone() {
        let detail = sample::incident();
        let painted = screen(
            &detail,
            Frame {
                width: None,
                now_us: detail.now_us,
            },
        );
        assert!(painted.contains("\u{1b}[31m"), "no red in {painted:?}");
        assert!(bare(&painted).contains("✗ incident"));
    }

    #[test]
    fn a_participants_message_cannot_steer_the_terminal() {
        let mut detail = sample::compensating();
        if let Some(failure) = &mut detail.failure {
            failure.message = "\u{1b}[2J\u{1b}[31mfine".into();
        }
        detail.steps[0].note = "a\nb\u{1b}]0;title\u{7}".into();
        let screen = screen(
            &detail,
            Frame {
                width: None,
                now_us: 0,
            },
        );
        assert!(
            !screen.contains("\u{1b}[2J") && !screen.contains("\u{1b}]0"),
            "{screen:?}"
        );
    }

    #[test]
    fn the_input_of_a_step_that_is_not_over_is_shown() {
        let mut detail = sample::compensating();
        detail.steps[1].input = br#"{"nights": 3}"#.as_slice().into();
        let name = detail.steps[1].id.clone();
        let screen = shown(&detail, None);
        assert!(
            screen.contains(&format!("input     {name}: {{\"nights\": 3}}")),
            "{screen}"
        );
        detail.steps[1].input = vec![b'x'; 1_000].into();
        assert!(shown(&detail, None).contains("-o json"), "{screen}");
    }

    #[test]
    fn an_empty_answer_is_shown_without_a_panic() {
        shown(&SagaDetail::default(), None);
        shown(&SagaDetail::default(), Some(1));
    }

    #[test]
    fn the_json_form() {
        let text = serde_json::to_string_pretty(&json::Detail::from(&sample::compensating()))
            .expect("JSON");
        insta::assert_snapshot!(text);
    }
}
