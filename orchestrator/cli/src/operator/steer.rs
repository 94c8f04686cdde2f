//! What the operator's verbs share: who asks, what is asked first, and how the answer is shown.

use std::time::Duration as StdDuration;

use saga_dsl::definition::Duration;
use saga_proto::v1::{GetSagaRequest, InterventionResponse, SagaSummary, StepDetail};
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::once::{ACT_WITHIN, Once};
use crate::{
    client::Server,
    exit::{Exit, Failure, Fate},
    show::{
        ids::{id_text, short},
        json,
        output::{self, Format, printable},
        words,
    },
};

/// Arguments of every verb that steers one saga.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Stop asking after this time what became of it; 30s by default
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Format,
}

/// An act on `saga` under a name of its own.
pub fn once<'a>(common: &Common, saga: &'a str, fate: Fate) -> Once<'a> {
    let limit = common.timeout;
    let within = limit.map_or(ACT_WITHIN, |limit| StdDuration::from_millis(limit.ms));
    Once {
        saga,
        act: Uuid::now_v7(),
        until: Instant::now() + within,
        fate,
    }
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Steered {
    saga: json::Saga,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<json::Step>,
}

/// Who asks, for the record: the name of the account. Nobody checks it in this release.
pub fn by() -> String {
    ["SAGA_OPERATOR", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_default()
}

/// Whether there is somebody to ask, who did not say `--yes`.
pub fn asks(common: &Common) -> bool {
    !common.yes && common.output == Format::Text && output::can_ask()
}

/// Asks whether it is meant, where there is somebody to ask; `question` gets the saga in words.
pub async fn confirmed(
    server: &Server,
    saga: &str,
    common: &Common,
    question: impl FnOnce(&str) -> String,
) -> Result<bool, Failure> {
    if !asks(common) {
        return Ok(true);
    }
    let summary = summary(server, saga).await?;
    let answer = ask(&format!("{} [y/N] ", question(&named(&summary)))).await?;
    let yes = matches!(answer.to_lowercase().as_str(), "y" | "yes");
    if !yes {
        output::note("nothing was changed");
    }
    Ok(yes)
}

/// One line from whoever sits there.
pub async fn ask(question: &str) -> Result<String, Failure> {
    output::ask(question)
        .await
        .map_err(|error| Failure::error(format!("cannot read the answer: {error}")).help("--yes"))
}

/// The saga as it is now.
pub async fn summary(server: &Server, saga: &str) -> Result<SagaSummary, Failure> {
    let detail = server
        .sagas()
        .get_saga(GetSagaRequest {
            saga: saga.to_owned(),
        })
        .await;
    let detail = detail
        .map_err(|status| server.failure(status))?
        .into_inner();
    Ok(detail.summary.unwrap_or_default())
}

/// `book_trip@1 0X2QAC4M ↺ compensating`.
pub fn named(summary: &SagaSummary) -> String {
    let word = words::saga(summary);
    let text = format!(
        "{}@{} {} {}",
        summary.name,
        summary.version,
        short(&id_text(summary)),
        word.text()
    );
    printable(&text).into_owned()
}

/// Shows where the saga, and the step that was named, stand after an act that may have marked the saga.
pub fn show(answer: InterventionResponse, format: Format) -> Result<Exit, Failure> {
    let marked = answer.saga.as_ref().filter(|saga| saga.exceptions);
    let marked = marked.map(|saga| short(&id_text(saga)));
    show_only(answer, format)?;
    if let (Format::Text, Some(id)) = (format, marked) {
        output::note(&format!(
            "in part it rests on your word now, and is marked so for good (saga audit {id})"
        ));
    }
    Ok(Exit::Ok)
}

/// As [`show`], after an act that marks nothing.
pub fn show_only(answer: InterventionResponse, format: Format) -> Result<Exit, Failure> {
    let Some(saga) = answer.saga else {
        output::note("it is done; where the saga stands now cannot be read");
        return Ok(Exit::Ok);
    };
    match format {
        Format::Json => {
            let step = answer.step.as_ref().map(json::Step::from);
            output::json(&Steered {
                saga: json::Saga::from(&saga),
                step,
            })?;
        }
        Format::Text => {
            output::sentence(&sentence(&saga, answer.step.as_ref(), answer.now_us))?;
        }
    }
    Ok(Exit::Ok)
}

fn sentence(saga: &SagaSummary, step: Option<&StepDetail>, now_us: i64) -> String {
    let id = short(&id_text(saga));
    let open = !words::is_end(&saga.status);
    let place = step.map_or_else(String::new, |step| {
        let word = words::step(step, saga.status == "running", now_us);
        let note = if step.note.is_empty() {
            String::new()
        } else {
            format!(" ({})", step.note)
        };
        let round = if step.round > 1 {
            format!(", round {}", step.round)
        } else {
            String::new()
        };
        format!("{} {}{round}{note}; ", step.id, word.text())
    });
    let next = if saga.next.is_empty() {
        String::new()
    } else {
        format!(", next: {}", saga.next)
    };
    let more = if open {
        format!("   (saga watch {id})")
    } else {
        String::new()
    };
    let text = format!(
        "{id}: {place}the saga is {}{next}{more}",
        words::saga(saga).text()
    );
    printable(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::sample;

    #[test]
    fn the_answer_says_where_step_and_saga_stand() {
        let detail = sample::compensating();
        let saga = detail.summary.clone().expect("there");
        let ended = SagaSummary {
            status: "abandoned".into(),
            exceptions: true,
            next: String::new(),
            ..saga.clone()
        };
        let again = StepDetail {
            round: 2,
            status: "running".into(),
            ..detail.steps[1].clone()
        };
        let all = [
            sentence(&saga, detail.steps.get(1), sample::NOW_US),
            sentence(&saga, Some(&again), sample::NOW_US),
            sentence(&saga, None, sample::NOW_US),
            sentence(&ended, None, sample::NOW_US),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn the_question_names_the_saga() {
        let summary = sample::compensating().summary.expect("there");
        assert_eq!(named(&summary), "book_trip@1 0X2QAC4M ↺ compensating");
    }
}
