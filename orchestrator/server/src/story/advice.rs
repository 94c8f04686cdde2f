//! What an operator can do about an incident: the commands that the core accepts where the saga stands now.
//!
//! Each candidate is decided on a copy of the state before it is printed, so no screen advises what would be refused.
//! Where a command is accepted only on an operator's word, the printed command carries `--force`.

use saga_core::{
    Gate, Input, Payload, Timestamp, decide,
    event::IncidentKind,
    input::{Intervention, Order},
    state::OpenIncident,
};
use saga_dsl::plan::StepIx;

use super::{fold::Picture, words};

/// A verb of the command line that may settle an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// `saga retry`.
    Retry,
    /// `saga retry --input`.
    RetryEdited,
    /// `saga skip`.
    Skip,
    /// `saga resolve --as succeeded`.
    Succeeded,
    /// `saga resolve --as failed`.
    Failed,
    /// `saga acknowledge`.
    Acknowledge,
}

/// A command that the core accepts now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// What it asks for.
    pub act: Act,
    /// The step it names; `None`: the whole saga.
    pub step: Option<StepIx>,
    /// It is accepted on the operator's word only.
    pub force: bool,
    /// When it helps, or what it does: the words that follow the command in a sentence.
    then: &'static str,
}

impl Remedy {
    /// The command as it can be typed; `FILE` and `FIELD=VALUE` are the operator's to fill in.
    #[must_use]
    pub fn command(&self, picture: &Picture) -> String {
        let verb = match self.act {
            Act::Retry | Act::RetryEdited => "retry",
            Act::Skip => "skip",
            Act::Succeeded | Act::Failed => "resolve",
            Act::Acknowledge => "acknowledge",
        };
        let step = self.step.map_or_else(String::new, |ix| {
            format!(" {}", words::step(&picture.plan, ix))
        });
        let rest = match self.act {
            Act::Retry | Act::Acknowledge => "",
            Act::RetryEdited => " --input FILE",
            Act::Skip => " --reason ...",
            Act::Succeeded => " --as succeeded --reason ...",
            Act::Failed => " --as failed --reason ...",
        };
        let force = if self.force { " --force" } else { "" };
        format!(
            "saga {verb} {}{step}{rest}{force}",
            picture.state.id.short()
        )
    }

    fn sentence(&self, picture: &Picture) -> String {
        format!("`{}` {}.", self.command(picture), self.then)
    }
}

/// A verb, and the words that follow its command in a sentence.
type Candidate = (Act, &'static str);

/// Everything that settles the incident, or tries to, in the order in which an operator should think of it. Empty where
/// nothing is left to do: the incident ends with the saga.
#[must_use]
pub fn remedies(picture: &Picture, open: &OpenIncident, now: Timestamp) -> Vec<Remedy> {
    let step = open.incident.step;
    let (first, last): (&[Candidate], &[Candidate]) = match open.incident.kind {
        IncidentKind::Slow => (
            &[(Act::Retry, "tries at once")],
            // An attempt that is on its way cannot be repeated, only given up.
            &[
                (Act::Skip, "goes on without it"),
                (Act::Failed, "gives it up, and the saga goes back"),
            ],
        ),
        IncidentKind::UndoSlow => (
            &[
                (Act::Retry, "tries at once"),
                (Act::Skip, "helps when it was undone by hand"),
            ],
            &[],
        ),
        IncidentKind::UndoStuck => (
            &[
                (Act::Retry, "tries again"),
                (Act::Skip, "helps when it was undone by hand"),
            ],
            &[(Act::RetryEdited, "gives the undo another input")],
        ),
        IncidentKind::RetriableRefused => (
            &[
                (Act::Retry, "begins another round"),
                (Act::RetryEdited, "begins one with another input"),
                (Act::Skip, "goes on without it"),
            ],
            &[(Act::Succeeded, "helps when it was done by hand")],
        ),
        IncidentKind::RetriableExhausted => (
            &[
                (Act::Retry, "tries again"),
                (Act::Succeeded, "helps when it was done by hand"),
                (Act::Skip, "goes on without it"),
            ],
            &[],
        ),
        IncidentKind::Expression => (
            &[
                (Act::RetryEdited, "gives it its input"),
                (Act::Skip, "goes on without it"),
            ],
            &[(Act::Succeeded, "helps when it was done by hand")],
        ),
        IncidentKind::PivotUnknown => (
            &[
                (Act::Succeeded, "helps when it took effect"),
                (Act::Failed, "helps when it did not"),
            ],
            &[],
        ),
        IncidentKind::OutputNotTaken => (
            &[
                (
                    Act::Succeeded,
                    "goes on; `-f FIELD=VALUE` gives the output that later steps read",
                ),
                (
                    Act::Retry,
                    "asks again, once the participant answers with an output that can be taken",
                ),
            ],
            &[(Act::Skip, "goes on without it")],
        ),
        IncidentKind::Internal => (&[(Act::Retry, "tries it again")], &[]),
        IncidentKind::Deadline | IncidentKind::Contradiction => (
            &[(
                Act::Acknowledge,
                "takes it off the list; nothing else changes",
            )],
            &[],
        ),
    };
    let accepted = |wanted: &[Candidate]| -> Vec<Remedy> {
        wanted
            .iter()
            .filter_map(|(act, then)| remedy(picture, *act, step, then, now))
            .collect()
    };
    let remedies = accepted(first);
    if remedies.is_empty() {
        accepted(last)
    } else {
        remedies
    }
}

/// The commands as sentences, for the story.
pub(super) fn sentences(picture: &Picture, open: &OpenIncident, now: Timestamp) -> String {
    let sentences: Vec<String> = remedies(picture, open, now)
        .iter()
        .map(|remedy| remedy.sentence(picture))
        .collect();
    sentences.join(" ")
}

fn remedy(
    picture: &Picture,
    act: Act,
    step: Option<StepIx>,
    then: &'static str,
    now: Timestamp,
) -> Option<Remedy> {
    // It is about the whole saga.
    let step = step.filter(|_| act != Act::Acknowledge);
    let force = [false, true]
        .into_iter()
        .find(|force| is_accepted(picture, &intervention(act, step, *force), now))?;
    Some(Remedy {
        act,
        step,
        force,
        then,
    })
}

/// What the command asks of the core.
#[must_use]
pub fn intervention(act: Act, step: Option<StepIx>, force: bool) -> Intervention {
    let null = || Payload::from_value(serde_json::Value::Null);
    let order = match act {
        Act::Retry => Order::Retry { input: None },
        Act::RetryEdited => Order::Retry {
            input: Some(null()),
        },
        Act::Skip => Order::Skip,
        Act::Succeeded => Order::ResolveSucceeded { output: null() },
        Act::Failed => Order::ResolveFailed,
        Act::Acknowledge => Order::Acknowledge,
    };
    Intervention {
        order,
        step,
        reason: String::new(),
        by: String::new(),
        force,
        act: None,
    }
}

/// Decided with every participant away: what the core accepts does not depend on who is connected.
fn is_accepted(picture: &Picture, intervention: &Intervention, now: Timestamp) -> bool {
    let input = Input::Intervene(intervention.clone());
    decide(&picture.plan, &picture.state, &input, &Gate::default(), now).is_ok()
}
