//! Events as lines of a history.

use saga_core::{
    ErrorBody, Event, Timestamp, Verb,
    event::{AfterSeal, AttemptEnded, Intervened},
};
use saga_dsl::plan::{Plan, StepIx};

use super::words;
use crate::story::why as story;

/// An event in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `step_dispatched`, `step_succeeded`, ...
    pub kind: &'static str,
    /// The step, if it is about one.
    pub step: Option<StepIx>,
    /// One line for people.
    pub text: String,
}

fn line(kind: &'static str, step: impl Into<Option<StepIx>>, text: impl Into<String>) -> Line {
    Line {
        kind,
        step: step.into(),
        text: text.into(),
    }
}

/// An event that was recorded at `at`, in words. One match over every event, so that none is forgotten; longer
/// than a screen for that reason.
#[must_use]
pub fn describe(plan: &Plan, event: &Event, at: Timestamp) -> Line {
    match event {
        Event::Started(e) => line("started", None, format!("{}@{} began", e.name, e.version)),
        Event::StepSkipped(e) => line("step_skipped", e.step, "skipped: its condition is false"),
        Event::StepWaiting(e) => line("step_waiting", e.step, format!("waits: {}", e.reason)),
        Event::StepDispatched(e) => {
            let text = format!("{}, attempt {}", words::action(plan, e.step), e.attempt);
            line("step_dispatched", e.step, text)
        }
        Event::StepUnsent(e) => line(
            "step_unsent",
            e.step,
            format!(
                "attempt {} never reached the wire and does not count",
                e.attempt
            ),
        ),
        Event::StepAccepted(e) => line(
            "step_accepted",
            e.step,
            format!(
                "accepted by {}, which works on it",
                words::action(plan, e.step)
            ),
        ),
        Event::StepSucceeded(e) => line(
            "step_succeeded",
            e.step,
            format!("succeeded, attempt {}", e.attempt),
        ),
        Event::StepRefused(e) => line(
            "step_refused",
            e.step,
            format!("refused: {}, attempt {}", words::error(&e.error), e.attempt),
        ),
        Event::StepFailed(e) => ended("step_failed", "failed", e, at),
        Event::StepUnknown(e) => ended("step_unknown", "outcome unknown", e, at),
        Event::PivotAsked(e) => {
            let what = if e.seal {
                "settle for good: done, or never?"
            } else {
                "what became of it?"
            };
            line(
                "pivot_asked",
                e.step,
                format!(
                    "{} is asked: {what} (question {})",
                    words::action(plan, e.step),
                    e.ask
                ),
            )
        }
        Event::PivotUnclear(e) => ended("pivot_unclear", "the question was not settled", e, at),
        Event::PivotSealed(e) => line(
            "pivot_sealed",
            e.step,
            "sealed: it has not happened and never will",
        ),
        Event::PivotClosing(e) => {
            let text = format!(
                "shall go back ({}), the pivot is settled first",
                words::error(&e.failure.error)
            );
            line("pivot_closing", e.step, text)
        }
        Event::ClosingOvertaken(e) => line(
            "closing_overtaken",
            e.step,
            "the pivot took effect: the saga goes forward",
        ),
        Event::Failing(e) => line(
            "failing",
            e.step,
            format!("the saga compensates: {}", words::error(&e.error)),
        ),
        Event::UndoWaiting(e) => line("undo_waiting", e.step, format!("undo waits: {}", e.reason)),
        Event::UndoDispatched(e) => {
            let known = if e.known_done {
                ""
            } else {
                ", whether it happened is unknown"
            };
            let text = format!(
                "undo with {}, attempt {}{known}",
                words::compensation(plan, e.step),
                e.attempt
            );
            line("undo_dispatched", e.step, text)
        }
        Event::UndoUnsent(e) => line(
            "undo_unsent",
            e.step,
            format!(
                "undo {} never reached the wire and does not count",
                e.attempt
            ),
        ),
        Event::UndoDone(e) if e.nothing_to_do => {
            line("undo_done", e.step, "there was nothing to undo")
        }
        Event::UndoDone(e) => line(
            "undo_done",
            e.step,
            format!("undone, attempt {}", e.attempt),
        ),
        Event::UndoFailed(e) => ended("undo_failed", "undo failed", e, at),
        Event::UndoStuck(e) => line(
            "undo_stuck",
            e.step,
            format!("cannot be undone by machine: {}", words::error(&e.error)),
        ),
        Event::IncidentRaised(e) => {
            let text = format!(
                "incident {}: {}",
                story::incident_code(e.kind),
                words::error(&e.error)
            );
            line("incident_raised", e.step, text)
        }
        Event::DeadlinePassed {} => line("deadline_passed", None, "the deadline passed"),
        Event::CancelRequested { reason, by, .. } => line(
            "cancel_requested",
            None,
            format!("cancel asked for by {by}: {reason}"),
        ),
        Event::LateReply(e) => {
            let round = e
                .round
                .map(|round| format!(" of round {round}"))
                .unwrap_or_default();
            let text = format!("late answer {} of attempt {}{round}", e.outcome, e.attempt);
            line("late_reply", e.step, text)
        }
        Event::Intervened(e) => line("intervened", e.step, intervened(e)),
        Event::TroubleSettled {} => line(
            "trouble_settled",
            None,
            "what the orchestrator stumbled over is tried again",
        ),
        Event::BudgetRenewed(e) => {
            let what = if e.undo { "its undo" } else { "it" };
            line(
                "budget_renewed",
                e.step,
                format!("{what} is tried again, with all its attempts"),
            )
        }
        Event::InputEdited(e) => {
            let what = if e.undo {
                "the payload of its undo"
            } else {
                "its payload"
            };
            line("input_edited", e.step, format!("{what} was replaced"))
        }
        Event::RoundClosing(e) => {
            let then = match e.then {
                AfterSeal::NewRound { .. } => "then it begins another round",
                AfterSeal::Skip => "then it is left out",
                AfterSeal::Fail => "then it counts as failed",
            };
            line(
                "round_closing",
                e.step,
                format!("sealed first, so that nothing of it can happen any more; {then}"),
            )
        }
        Event::RoundOvertaken(e) => line(
            "round_overtaken",
            e.step,
            "it had taken effect before it was sealed: what was asked for is void",
        ),
        Event::RoundOpened(e) => {
            let edited = if e.input.is_some() {
                ", with another payload"
            } else {
                ""
            };
            let unproven = if e.unproven {
                "; the round before was not sealed"
            } else {
                ""
            };
            line(
                "round_opened",
                e.step,
                format!("round {}{edited}{unproven}", e.round),
            )
        }
        Event::SkippedByWord(e) => {
            let unproven = if e.unproven {
                "; whether it took effect is not proved"
            } else {
                ""
            };
            line(
                "skipped_by_word",
                e.step,
                format!("left out on an operator's word{unproven}"),
            )
        }
        Event::SucceededByWord(e) => line(
            "succeeded_by_word",
            e.step,
            "taken as succeeded on an operator's word",
        ),
        Event::SealedByWord(e) => line(
            "sealed_by_word",
            e.step,
            "taken as never happened on an operator's word",
        ),
        Event::UndoneByWord(e) => line(
            "undone_by_word",
            e.step,
            "taken as undone on an operator's word",
        ),
        Event::Completed { error: None, .. } => line("completed", None, "completed"),
        Event::Completed {
            error: Some(error), ..
        } => line("completed", None, without_output(error)),
        Event::Compensated {} => line("compensated", None, "compensated"),
        Event::Acknowledged {} => line(
            "acknowledged",
            None,
            "incidents that nothing else settles are acknowledged",
        ),
        Event::Abandoned {} => line("abandoned", None, "abandoned: what was done stays as it is"),
    }
}

fn intervened(e: &Intervened) -> String {
    let what = match e.verb {
        Verb::Retry => "retry",
        Verb::RetryEdited => "retry with another payload",
        Verb::Skip => "skip",
        Verb::ResolveSucceeded => "resolve as succeeded",
        Verb::ResolveFailed => "resolve as failed",
        Verb::Abandon => "abandon",
        Verb::Acknowledge => "acknowledge",
    };
    let forced = if e.forced { ", by force" } else { "" };
    let reason = if e.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", e.reason)
    };
    format!("{what}{forced}, asked for by {}{reason}", e.by)
}

fn without_output(error: &ErrorBody) -> String {
    format!("completed, without an output: {}", words::error(error))
}

fn ended(kind: &'static str, what: &str, ended: &AttemptEnded, at: Timestamp) -> Line {
    let error = words::error(&ended.error);
    let then = match ended.retry_at {
        Some(due) => format!("again {}", words::until(at, due)),
        None => "not tried again".to_owned(),
    };
    line(
        kind,
        ended.step,
        format!("{what}: {error}, attempt {}; {then}", ended.attempt),
    )
}
