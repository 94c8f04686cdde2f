//! A saga as text a person can read: why is it where it is, and what happens if nothing changes?
//!
//! Pure: a picture and the time in, words out.

use saga_core::{
    Status, Timestamp,
    command::step_key,
    event::{AfterSeal, Cause, Failure, IncidentKind},
    state::{ActionState, Ask, Birth, OpenIncident, StepState, UndoState},
};
use saga_dsl::plan::StepIx;

use super::{advice, fold::Picture, next, words};

/// What lists show of a saga beside its row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// `incident`, `waiting` or empty.
    pub mark: &'static str,
    /// The step that matters most now.
    pub step: Option<StepIx>,
    /// How often it was tried.
    pub tries: u32,
    /// What happens next.
    pub next: String,
    /// When something happens by itself.
    pub next_due: Option<Timestamp>,
}

/// What lists show.
#[must_use]
pub fn summary(picture: &Picture, now: Timestamp) -> Summary {
    let state = &picture.state;
    let step = next::focus(state);
    let at = step.and_then(|ix| state.steps.get(ix.at()));
    let waits = at.is_some_and(|step| {
        matches!(step.action, ActionState::Waiting { .. })
            || matches!(step.undo, UndoState::Waiting { .. })
    }) || step.is_some_and(|ix| picture.stalled.contains_key(&ix));
    let mark = match (state.incidents.is_empty(), waits) {
        (false, _) => "incident",
        (true, true) => "waiting",
        (true, false) => "",
    };
    Summary {
        mark,
        step,
        tries: at.map_or(0, next::tries),
        next: match step {
            Some(ix) => next::line(picture, ix, now),
            None => next::after_the_end(picture),
        },
        next_due: state.next_due(),
    }
}

/// The whole story, in sentences: what made it turn back, what each busy step is at, which incidents stand, and
/// what happens if nothing changes.
#[must_use]
pub fn story(picture: &Picture, now: Timestamp) -> Vec<String> {
    let state = &picture.state;
    let Some(birth) = &state.birth else {
        return vec!["The saga has not begun.".to_owned()];
    };
    let mut story = vec![opening(picture, birth, now)];
    story.extend(
        state
            .failure
            .as_deref()
            .map(|failure| cause(picture, failure, now)),
    );
    story.extend(state.exceptions.then(|| exceptions(picture)));
    if state.status.is_end() {
        if let Some(error) = &state.output_error {
            story.push(format!("It has no output: {}.", words::error(error)));
        }
        story.extend(left_behind(picture));
        story.extend(incidents(picture, now));
        return story;
    }
    if let Some(closing) = &state.closing {
        story.push(format!(
            "It shall go back ({}), but its pivot is in flight and is settled first: if it took effect, the saga \
             goes forward, otherwise everything before it is undone.",
            reason(picture, closing)
        ));
    }
    story.extend(
        (0_u16..)
            .zip(&state.steps)
            .filter_map(|(at, step)| busy(picture, StepIx(at), step, now)),
    );
    story.extend(incidents(picture, now));
    story.push(outlook(picture, now));
    story
}

fn incidents(picture: &Picture, now: Timestamp) -> impl Iterator<Item = String> {
    let open = picture.state.incidents.iter();
    open.map(move |open| incident(picture, open, now))
}

fn opening(picture: &Picture, birth: &Birth, now: Timestamp) -> String {
    let state = &picture.state;
    let ended = |what: &str| {
        let end = state.ended_at.unwrap_or(now);
        format!(
            "It {what} {} ago, after {}.",
            words::span(end, now),
            words::span(birth.at, end)
        )
    };
    match state.status {
        Status::Running => format!("It has been running for {}.", words::span(birth.at, now)),
        Status::Compensating => {
            let turned = picture.turned_at.unwrap_or(birth.at);
            format!("It has been compensating for {}.", words::span(turned, now))
        }
        Status::Completed => ended("completed"),
        Status::Compensated => ended("was compensated"),
        Status::Abandoned => ended("was abandoned"),
    }
}

fn exceptions(picture: &Picture) -> String {
    let id = picture.state.id.short();
    if picture.state.broken_promise {
        return format!(
            "A participant contradicted what it had answered before, so not all that this saga says is certain; \
             `saga history {id}` has both answers, `saga audit {id}` what operators did."
        );
    }
    format!(
        "In part it rests on an operator's word, which nobody proved; `saga audit {id}` tells whose."
    )
}

fn cause(picture: &Picture, failure: &Failure, now: Timestamp) -> String {
    let ago = picture
        .turned_at
        .map(|at| format!(", {} ago", words::span(at, now)))
        .unwrap_or_default();
    format!("It turned back because {}{ago}.", reason(picture, failure))
}

/// Why a saga goes back, as a clause.
#[must_use]
pub fn reason(picture: &Picture, failure: &Failure) -> String {
    let plan = &*picture.plan;
    let error = words::error(&failure.error);
    let Some(ix) = failure.step else {
        return match failure.cause {
            Cause::Cancel if failure.error.message.is_empty() => "it was cancelled".to_owned(),
            Cause::Cancel => format!("it was cancelled: {}", failure.error.message),
            Cause::Deadline => "its deadline passed".to_owned(),
            Cause::Refused | Cause::Exhausted | Cause::Expression | Cause::Operator => error,
        };
    };
    let (step, action) = (words::step(plan, ix), words::action(plan, ix));
    let attempts = picture
        .state
        .steps
        .get(ix.at())
        .map_or(0, |step| step.attempts);
    match failure.cause {
        Cause::Refused => format!("{step} was refused by {action}: {error}"),
        Cause::Exhausted => format!("{step} ran out of attempts ({attempts}) at {action}: {error}"),
        Cause::Expression => format!("an expression of {step} failed: {error}"),
        Cause::Operator => format!("an operator resolved {step} as failed"),
        Cause::Deadline | Cause::Cancel => format!("{step}: {error}"),
    }
}

/// A sentence about a step at which something is outstanding, due or held.
fn busy(picture: &Picture, ix: StepIx, step: &StepState, now: Timestamp) -> Option<String> {
    let sentence = undoing(picture, ix, step, now).or_else(|| acting(picture, ix, step, now))?;
    Some(match picture.stalled.get(&ix) {
        Some(why) => format!("{sentence} Nothing travels there: {why}. Its limit rests meanwhile."),
        None => sentence,
    })
}

fn undoing(picture: &Picture, ix: StepIx, step: &StepState, now: Timestamp) -> Option<String> {
    let (id, undo) = (
        words::step(&picture.plan, ix),
        words::compensation(&picture.plan, ix),
    );
    let attempt = step.undo_attempts;
    match &step.undo {
        UndoState::Waiting {
            reason,
            since,
            until,
        } => Some(format!(
            "{id} has been waiting to be undone with {undo} for {}: {}{}.",
            words::span(*since, now),
            picture.why_held(ix, *reason),
            until
                .map(|at| format!("; {} left", words::span(now, at)))
                .unwrap_or_default(),
        )),
        UndoState::Sent { due } => Some(format!(
            "{id} is being undone: {undo}, attempt {attempt}{}.",
            left(picture, ix, *due, now)
        )),
        UndoState::BackingOff { due, error } => {
            let since = picture
                .troubles
                .get(ix.at())
                .and_then(|t| t.undo.as_ref())
                .map_or(now, |last| last.since);
            Some(format!(
                "{undo} has answered {} for {}; attempt {} {}.",
                words::error(error),
                words::span(since, now),
                attempt.saturating_add(1),
                words::until(now, *due),
            ))
        }
        UndoState::Stuck { .. } | UndoState::None | UndoState::Done { .. } | UndoState::Skipped => {
            None
        }
    }
}

fn acting(picture: &Picture, ix: StepIx, step: &StepState, now: Timestamp) -> Option<String> {
    let (id, action) = (
        words::step(&picture.plan, ix),
        words::action(&picture.plan, ix),
    );
    let attempt = step.attempts;
    // Once a saga goes back, only what is outstanding still moves forward.
    let forward = picture.state.status == Status::Running;
    match &step.action {
        ActionState::Waiting { reason, since } if forward => Some(format!(
            "{id} has been waiting for {action} for {}: {}. No attempt is spent while it waits.",
            words::span(*since, now),
            picture.why_held(ix, *reason)
        )),
        ActionState::Sent {
            due,
            accepted: false,
        } => Some(format!(
            "{id} is with {action}, attempt {attempt}{}.",
            left(picture, ix, *due, now)
        )),
        ActionState::Sent {
            due,
            accepted: true,
        } => Some(format!(
            "{id} was accepted by {action}, which works on it{}.",
            left(picture, ix, *due, now)
        )),
        ActionState::BackingOff { due, error } if forward => Some(format!(
            "{id} failed at {action} with {}; attempt {} {}.",
            words::error(error),
            attempt.saturating_add(1),
            words::until(now, *due),
        )),
        ActionState::Asking { seal, ask } => {
            let what = match &step.after_seal {
                None => format!("The outcome of the pivot {id} is unknown; {action} is asked"),
                Some(AfterSeal::NewRound { .. }) => {
                    format!("{id} begins another round once {action} has been asked")
                }
                Some(AfterSeal::Skip) => format!("{id} is left out once {action} has been asked"),
                Some(AfterSeal::Fail) => {
                    format!("{id} counts as failed once {action} has been asked")
                }
            };
            Some(asking(
                &what,
                *seal,
                ask,
                |due| left(picture, ix, due, now),
                now,
            ))
        }
        ActionState::Waiting { .. }
        | ActionState::BackingOff { .. }
        | ActionState::Pending
        | ActionState::Skipped
        | ActionState::Succeeded(_)
        | ActionState::Refused(_)
        | ActionState::Failed { .. }
        | ActionState::Sealed => None,
    }
}

fn asking(
    what: &str,
    seal: bool,
    ask: &Ask,
    left: impl Fn(Option<Timestamp>) -> String,
    now: Timestamp,
) -> String {
    let purpose = if seal {
        "to settle it for good (done, or never)"
    } else {
        "before it is tried again"
    };
    let when = match ask {
        Ask::Sent { due } => format!("the question is on its way{}", left(*due)),
        Ask::Again { due, error } => {
            format!(
                "the last answer was {}, asked again {}",
                words::error(error),
                words::until(now, *due)
            )
        }
        Ask::Waiting => "it is asked as soon as the participant can be reached".to_owned(),
    };
    format!("{what} {purpose}: {when}.")
}

fn left(picture: &Picture, ix: StepIx, due: Option<Timestamp>, now: Timestamp) -> String {
    match due {
        // What holds it is told by itself.
        _ if picture.stalled.contains_key(&ix) => String::new(),
        Some(due) if due > now => format!(", {} left", words::span(now, due)),
        Some(_) => String::new(),
        None => ", and is on no wire: it is sent again when the participant connects".to_owned(),
    }
}

/// An incident in a sentence, and what helps.
#[must_use]
pub fn incident(picture: &Picture, open: &OpenIncident, now: Timestamp) -> String {
    let plan = &*picture.plan;
    let age = words::span(open.since, now);
    let error = words::error(&open.incident.error);
    let step = open
        .incident
        .step
        .map_or("the saga", |ix| words::step(plan, ix));
    let action = open
        .incident
        .step
        .map_or_else(String::new, |ix| words::action(plan, ix));
    let undo = open
        .incident
        .step
        .map_or_else(String::new, |ix| words::compensation(plan, ix));
    let id = picture.state.id.short();
    let key = open
        .incident
        .step
        .map_or_else(String::new, |ix| step_key(plan, &picture.state, ix));
    let alone = |of: &str| {
        format!(
            "Once {of} answers, the saga moves on by itself; `saga participants` shows who is connected."
        )
    };
    let no_way_back = || match picture.state.status {
        Status::Running => "There is no way back.".to_owned(),
        Status::Compensating => {
            "The saga goes back all the same, and nothing waits for this step any more.".to_owned()
        }
        Status::Completed | Status::Compensated | Status::Abandoned => String::new(),
    };
    let (what, help) = match open.incident.kind {
        IncidentKind::Slow => (
            format!("{step} takes longer than its escalate_after"),
            alone(&action),
        ),
        IncidentKind::UndoSlow => (
            format!("the undo of {step} takes longer than its escalate_after"),
            alone(&undo),
        ),
        IncidentKind::UndoStuck => (
            format!("{step} cannot be undone by machine"),
            format!("{undo} is not called again by itself; the other steps are undone."),
        ),
        IncidentKind::RetriableRefused => {
            (format!("{step} was refused after the pivot"), no_way_back())
        }
        IncidentKind::RetriableExhausted => (
            format!("{step} used up its retries after the pivot"),
            format!(
                "{} `saga history {id}` shows what {action} answered.",
                no_way_back()
            ),
        ),
        IncidentKind::Expression => (
            format!("an expression of {step} failed after the pivot"),
            no_way_back(),
        ),
        IncidentKind::Deadline => (
            "the deadline passed after the pivot".to_owned(),
            "The saga goes on until it completes.".to_owned(),
        ),
        IncidentKind::PivotUnknown => (
            format!("whether the pivot {step} took effect cannot be found out by machine"),
            format!("Find out at {action} itself, where its key is {key}."),
        ),
        IncidentKind::OutputNotTaken => (
            format!("{step} took effect, and its output cannot be taken"),
            format!(
                "{action} has stored that answer and gives it again, so nothing is tried by itself."
            ),
        ),
        IncidentKind::Contradiction => (
            format!("{step}: the participant contradicts what it said before"),
            format!(
                "Compare both answers (`saga history {id}`), and put right by hand what is wrong. This stays, also after \
                 the end of the saga, until somebody acknowledges it."
            ),
        ),
        IncidentKind::Internal => (
            "the orchestrator itself stumbled over it".to_owned(),
            "The server's log tells more; please report it. Other sagas are not affected."
                .to_owned(),
        ),
    };
    let commands = advice::sentences(picture, open, now);
    let commands = if commands.is_empty() {
        commands
    } else {
        format!(" {commands}")
    };
    format!("Incident, {age} old: {what} ({error}). {help}{commands}")
}

/// The word for an incident's kind, as the API gives it.
#[must_use]
pub fn incident_code(kind: IncidentKind) -> &'static str {
    match kind {
        IncidentKind::Slow => "slow",
        IncidentKind::UndoSlow => "undo_slow",
        IncidentKind::UndoStuck => "undo_stuck",
        IncidentKind::RetriableRefused => "retriable_refused",
        IncidentKind::RetriableExhausted => "retriable_exhausted",
        IncidentKind::Expression => "expression",
        IncidentKind::Deadline => "deadline",
        IncidentKind::PivotUnknown => "pivot_unknown",
        IncidentKind::OutputNotTaken => "output_not_taken",
        IncidentKind::Contradiction => "contradiction",
        IncidentKind::Internal => "internal",
    }
}

/// What happens if nothing changes.
fn outlook(picture: &Picture, now: Timestamp) -> String {
    let state = &picture.state;
    let wake = match state.next_due() {
        _ if !picture.stalled.is_empty() => "It goes on by itself when the broker does.".to_owned(),
        Some(due) => format!("The next wake-up is {}.", words::until(now, due)),
        None => "No timer is armed; only an answer or an operator moves it.".to_owned(),
    };
    let end = match (state.status, state.deadline) {
        (Status::Running, Some(deadline)) => {
            let then = match state.pivot_done(&picture.plan) {
                Some(_) => "an incident is raised and it goes on",
                None => "it is undone",
            };
            format!(
                " If it has not completed {} (its deadline), {then}.",
                words::until(now, deadline)
            )
        }
        (Status::Running, None) => " It has no deadline.".to_owned(),
        // Where no timer is armed, the sentence before has said it all.
        (Status::Compensating, _) if state.next_due().is_none() => String::new(),
        (Status::Compensating, _) => " Undo goes on until every step is settled.".to_owned(),
        (Status::Completed | Status::Compensated | Status::Abandoned, _) => String::new(),
    };
    format!("{wake}{end}")
}

/// What a compensated saga leaves: steps that took effect and have nothing that undoes them.
fn left_behind(picture: &Picture) -> Option<String> {
    if picture.state.status != Status::Compensated {
        return None;
    }
    let kept = (0_u16..)
        .zip(&picture.state.steps)
        .filter(|(_, step)| step.may_have_happened() && step.undo == UndoState::None)
        .map(|(at, _)| words::step(&picture.plan, StepIx(at)))
        .collect::<Vec<_>>();
    (!kept.is_empty()).then(|| format!("Nothing undoes {}; the file says so.", kept.join(", ")))
}
