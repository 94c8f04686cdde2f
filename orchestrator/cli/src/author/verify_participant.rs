//! `saga verify-participant`: fires the hazards of brokers and crashes at a live participant, and says what came of each.

use saga_dsl::definition::Duration;
use saga_dsl::types::Type;
use saga_proto::v1::{HazardVerdict, VerifyParticipantRequest};
use serde::Serialize;

use crate::{
    Context,
    exit::{Exit, Failure, Fate},
    operator::{
        fields::{self, Field, Source},
        steer,
    },
    show::{
        ids::id_of,
        output::{self, Format, printable},
        words::Tone,
    },
};

const EXAMPLES: &str = "\
Examples:
  saga verify-participant hotels --action reserve --compensation cancel -f nights=1
  saga verify-participant hotels --action reserve --compensation cancel -i harmless.json -y

The participant is sent what a broker, a crash or an impatient server may send: commands twice,
at the same moment, after their undo, too late. Effects are real: the action happens eight
times, more often where a rule is broken, and is undone where --compensation says by what.
Ids begin with 7TEST0SAGA; no saga is started, and nothing is kept but a line in `saga audit`.

It hears what a participant says. One that acts twice and answers the second time as it did
the first is not found out: look at what it did as well.

Exit codes: 0 every hazard passed or did not apply; 1 one failed, or the action does not
succeed with this input.";

/// Arguments of `saga verify-participant`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the participant
    #[arg(value_name = "NAME")]
    participant: String,
    /// An action that it serves, without its name
    #[arg(long)]
    action: String,
    /// What undoes the action, without its name; without it, what was done stays
    #[arg(long)]
    compensation: Option<String>,
    /// An input that the action succeeds with, as a JSON object; - reads stdin
    #[arg(short, long, value_name = "FILE|-")]
    input: Option<Source>,
    /// A field of the input by its dotted path; may be given more than once, and wins over --input
    #[arg(short, long, value_name = "PATH=VALUE")]
    field: Vec<Field>,
    /// How long a reply may take
    #[arg(long, value_name = "TIME", default_value = "10s")]
    wait: Duration,
    /// Why; stands in the audit list
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Report {
    participant: String,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    compensation: Option<String>,
    passed: usize,
    failed: usize,
    not_applicable: usize,
    hazards: Vec<Hazard>,
}

#[derive(Serialize)]
struct Hazard {
    hazard: String,
    rule: String,
    verdict: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    test_id: String,
    exchanges: Vec<Exchange>,
}

#[derive(Serialize)]
struct Exchange {
    sent: String,
    came: String,
    expected: String,
    ok: bool,
}

/// Runs `saga verify-participant`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let input = fields::input(args.input.as_ref(), &args.field, &Type::Any)?;
    if !confirmed(&args).await? {
        return Ok(Exit::Error);
    }
    let server = context.server().await?;
    let request = VerifyParticipantRequest {
        participant: args.participant.clone(),
        action: args.action.clone(),
        compensation: args.compensation.clone().unwrap_or_default(),
        input: input.text().to_owned().into_bytes().into(),
        effects_are_real: true,
        wait_ms: u32::try_from(args.wait.ms).unwrap_or(u32::MAX),
        reason: args.reason.clone().unwrap_or_default(),
        by: steer::by(),
    };
    let mut stream = server
        .act(server.operators().verify_participant(request), fate(&args))
        .await?;
    let mut verdicts = Vec::new();
    while let Some(verdict) = stream
        .message()
        .await
        .map_err(|status| server.act_failed(&status, fate(&args)))?
    {
        if args.output == Format::Text {
            output::line(&told(&verdict))?;
        }
        verdicts.push(verdict);
    }
    match args.output {
        Format::Text => output::note(&summary(&verdicts)),
        Format::Json => output::json(&report(&args, &verdicts))?,
    }
    Ok(exit(&verdicts))
}

/// Commands to a participant really happen, also where nobody hears the verdict.
fn fate(args: &Args) -> Fate {
    Fate {
        what: format!(
            "all hazards were fired at {}/{}",
            args.participant, args.action
        ),
        find_out:
            "look at the participant: what it was sent has test ids, which begin with 7TEST0SAGA"
                .to_owned(),
    }
}

async fn confirmed(args: &Args) -> Result<bool, Failure> {
    if args.yes {
        return Ok(true);
    }
    if args.output != Format::Text || !output::can_ask() {
        let message = format!(
            "{}/{} would really happen, and nobody can be asked",
            args.participant, args.action
        );
        return Err(Failure::new(Exit::Usage, message).help("--yes, if that may be"));
    }
    let undone = match &args.compensation {
        Some(compensation) => format!("undone by {}/{compensation}", args.participant),
        None => "NOT undone".to_owned(),
    };
    let question = format!(
        "{}/{} really happens, eight times, and is {undone}. Go on? [y/N] ",
        args.participant, args.action
    );
    let yes = matches!(
        steer::ask(&printable(&question))
            .await?
            .to_lowercase()
            .as_str(),
        "y" | "yes"
    );
    if !yes {
        output::note("nothing was sent");
    }
    Ok(yes)
}

/// A line for the hazard; for one that is no pass, what was sent and what came under it.
fn told(verdict: &HazardVerdict) -> String {
    let (mark, tone) = match verdict.verdict.as_str() {
        "pass" => ("✔ pass", Tone::Good),
        "fail" => ("✗ FAIL", Tone::Bad),
        _ => ("– n/a ", Tone::Dim),
    };
    let mut text = format!(
        "{}  {:<21} {}",
        tone.paint(mark),
        verdict.hazard,
        printable(&verdict.rule)
    );
    match verdict.verdict.as_str() {
        "pass" => {}
        "fail" => {
            for exchange in &verdict.exchanges {
                let (sent, came) = (printable(&exchange.sent), printable(&exchange.came));
                let expected = if exchange.ok {
                    String::new()
                } else {
                    format!("   ← must be: {}", exchange.expected)
                };
                text.push_str(&format!(
                    "\n          {sent} → {came}{}",
                    printable(&expected)
                ));
            }
            text.push_str(&format!(
                "\n          of saga {}: {}",
                id_of(&verdict.test_id),
                printable(&verdict.note)
            ));
        }
        _ => text.push_str(&format!("\n          {}", printable(&verdict.note))),
    }
    text
}

fn count(verdicts: &[HazardVerdict], word: &str) -> usize {
    verdicts
        .iter()
        .filter(|verdict| verdict.verdict == word)
        .count()
}

fn summary(verdicts: &[HazardVerdict]) -> String {
    let [passed, failed, left] =
        ["pass", "fail", "not_applicable"].map(|word| count(verdicts, word));
    format!(
        "{} hazards: {passed} passed, {failed} failed, {left} did not apply",
        verdicts.len()
    )
}

/// A participant whose action did not even succeed once has proved nothing.
fn exit(verdicts: &[HazardVerdict]) -> Exit {
    let proved = verdicts
        .iter()
        .any(|verdict| verdict.hazard == "duplicate_action" && verdict.verdict == "pass");
    if proved && count(verdicts, "fail") == 0 {
        Exit::Ok
    } else {
        Exit::Error
    }
}

fn report(args: &Args, verdicts: &[HazardVerdict]) -> Report {
    let exchange = |exchange: &saga_proto::v1::Exchange| Exchange {
        sent: exchange.sent.clone(),
        came: exchange.came.clone(),
        expected: exchange.expected.clone(),
        ok: exchange.ok,
    };
    let hazard = |verdict: &HazardVerdict| Hazard {
        hazard: verdict.hazard.clone(),
        rule: verdict.rule.clone(),
        verdict: verdict.verdict.clone(),
        note: verdict.note.clone(),
        test_id: id_of(&verdict.test_id),
        exchanges: verdict.exchanges.iter().map(exchange).collect(),
    };
    Report {
        participant: args.participant.clone(),
        action: args.action.clone(),
        compensation: args.compensation.clone(),
        passed: count(verdicts, "pass"),
        failed: count(verdicts, "fail"),
        not_applicable: count(verdicts, "not_applicable"),
        hazards: verdicts.iter().map(hazard).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::output::bare;

    fn verdict(hazard: &str, verdict: &str) -> HazardVerdict {
        let exchange = |sent: &str, came: &str, expected: &str, ok| saga_proto::v1::Exchange {
            sent: sent.into(),
            came: came.into(),
            expected: expected.into(),
            ok,
        };
        HazardVerdict {
            hazard: hazard.into(),
            rule: "an action that comes after its undo is kept out".into(),
            verdict: verdict.into(),
            note: match verdict {
                "not_applicable" => "no compensation was named".into(),
                _ => "action, attempt 1: succeeded came instead of blocked".into(),
            },
            test_id: saga_core::SagaId::for_test(1).to_bytes().to_vec().into(),
            exchanges: vec![
                exchange(
                    "compensation, attempt 1, known: unknown",
                    "nothing_to_do",
                    "nothing_to_do",
                    true,
                ),
                exchange(
                    "action, attempt 1",
                    "succeeded {\"seat\":\u{1b}[31m4}",
                    "blocked",
                    false,
                ),
            ],
        }
    }

    #[test]
    fn the_screen() {
        let verdicts = [
            verdict("duplicate_action", "pass"),
            verdict("undo_before_action", "fail"),
            verdict("late_action", "not_applicable"),
        ];
        let lines: Vec<_> = verdicts.iter().map(told).collect();
        insta::assert_snapshot!(bare(&format!(
            "{}\n{}",
            lines.join("\n"),
            summary(&verdicts)
        )));
    }

    #[test]
    fn only_who_proved_something_and_broke_nothing_ends_well() {
        let (pass, left) = (
            verdict("duplicate_action", "pass"),
            verdict("late_action", "not_applicable"),
        );
        assert_eq!(exit(&[pass.clone(), left.clone()]), Exit::Ok);
        assert_eq!(exit(&[pass, verdict("late_action", "fail")]), Exit::Error);
        assert_eq!(
            exit(&[verdict("duplicate_action", "not_applicable"), left]),
            Exit::Error
        );
        assert_eq!(exit(&[]), Exit::Error);
    }
}
