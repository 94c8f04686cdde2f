//! Whether a case ended as it must.

use std::collections::BTreeSet;

use saga_core::{
    Rejected, Status,
    event::{Cause, IncidentKind},
    state::UndoState,
};
use saga_dsl::{
    definition::{Compensation, Definition, Node},
    plan::StepIx,
    test_file::{Expectation, ExpectedEnd},
};
use serde_json::Value;

use super::{case::Expect, cast::Cast, checks, world::World};
use saga_server::story::{why::incident_code, words};

/// How a saga ended.
pub type End = ExpectedEnd;

/// A line of what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since the start, in virtual time.
    pub after_ms: u64,
    /// Id of the step, if it is about one.
    pub step: Option<String>,
    /// In words.
    pub text: String,
}

/// What came of a case.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// How it ended; `None`: it did not.
    pub end: Option<End>,
    /// Milliseconds that it took, in virtual time.
    pub took_ms: u64,
    /// Why it is not as it must be; empty: it is.
    pub faults: Vec<String>,
    /// What the author may want to know and is no fault.
    pub notes: Vec<String>,
    /// Kinds of the incidents that were raised.
    pub incidents: Vec<&'static str>,
    /// Everything that happened.
    pub story: Vec<Line>,
    /// The seed of the run.
    pub seed: u64,
}

impl Verdict {
    /// It ended as it must.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }
}

/// What is looked at more than once.
struct Found {
    end: Option<End>,
    faults: Vec<String>,
    notes: Vec<String>,
}

pub(super) async fn judge<C: Cast>(mut world: World<'_, C>) -> Verdict {
    let mut found = Found {
        end: end(&world),
        faults: std::mem::take(&mut world.faults),
        notes: Vec::new(),
    };
    ledgers(&world, &mut found);
    match &world.case.expect {
        Expect::Generated {
            ends,
            incidents,
            cancel,
            or_cut,
        } => {
            expressions(&world, &mut found);
            generated(&world, &mut found, ends, incidents, *or_cut);
            cancelled(&world, &mut found, *cancel);
        }
        Expect::Own(expected) => own(&world, &mut found, expected),
    }
    let mut seen = BTreeSet::new();
    found.faults.retain(|fault| seen.insert(fault.clone()));
    Verdict {
        end: found.end,
        took_ms: took_ms(&world),
        faults: found.faults,
        notes: found.notes,
        incidents: world
            .incidents
            .iter()
            .map(|incident| incident_code(incident.kind))
            .collect(),
        story: std::mem::take(&mut world.story),
        seed: world.seed,
    }
}

fn end<C: Cast>(world: &World<'_, C>) -> Option<End> {
    match world.state.status {
        Status::Completed => Some(End::Completed),
        Status::Compensated => Some(End::Compensated),
        Status::Running | Status::Compensating | Status::Abandoned => {
            checks::is_parked(&world.state).then_some(End::Incident)
        }
    }
}

/// To the end of the saga, not of the last message that came too late.
fn took_ms<C: Cast>(world: &World<'_, C>) -> u64 {
    match world.state.ended_at.or(world.parked_at) {
        Some(at) => u64::try_from((at.0 - super::world::BEGIN.0) / 1_000).unwrap_or(0),
        None => world.elapsed_ms(),
    }
}

fn steps<C>(world: &World<'_, C>) -> impl Iterator<Item = StepIx> + use<C> {
    let count = world.state.steps.len().min(world.plan.steps.len());
    (0..count).filter_map(|at| u16::try_from(at).ok().map(StepIx))
}

fn ledgers<C: Cast>(world: &World<'_, C>, found: &mut Found) {
    for ix in steps(world) {
        let id = words::step(world.plan, ix);
        let effects = world.effects.get(id).copied().unwrap_or_default();
        let (faults, left) = checks::ledger(world.plan, &world.state, ix, effects);
        found.faults.extend(faults);
        if left && !has_reason(&world.plan.definition, id) {
            found.notes.push(format!(
                "`{id}` took effect and is left behind: nothing undoes it, and the file gives no reason"
            ));
        }
    }
}

/// Whether the file says why nothing needs undoing.
fn has_reason(definition: &Definition, id: &str) -> bool {
    fn look(nodes: &[Node], id: &str) -> bool {
        nodes.iter().any(|node| match node {
            Node::Parallel(group) => look(&group.parallel, id),
            Node::Sequence(group) => look(&group.sequence, id),
            Node::Step(step) => {
                step.step == id
                    && matches!(&step.compensation, Some(Compensation::Block(block)) if block.reason.is_some())
            }
        })
    }
    look(&definition.steps, id)
}

/// An expression that fails on values is a fault of the file, or of the sample; either way somebody must look.
fn expressions<C: Cast>(world: &World<'_, C>, found: &mut Found) {
    let hint =
        "if the made-up values are to blame, give `input` or an answer's `succeed` in a test file";
    let mut add = |message: &str| {
        found.faults.push(format!(
            "an expression of the file fails on what it is given: {message} ({hint})"
        ));
    };
    if let Some(failure) = world
        .state
        .failure
        .as_ref()
        .filter(|failure| failure.cause == Cause::Expression)
    {
        add(&failure.error.message);
    }
    for incident in &world.incidents {
        if incident.error.code == "expression" {
            add(&incident.error.message);
        }
    }
    if world.state.status == Status::Completed && world.state.output.is_none() {
        add("the saga's output");
    }
}

fn generated<C: Cast>(
    world: &World<'_, C>,
    found: &mut Found,
    ends: &[End],
    incidents: &[IncidentKind],
    or_cut: bool,
) {
    for incident in &world.incidents {
        match incident.kind {
            // Somebody was called and the saga went on.
            IncidentKind::Slow | IncidentKind::UndoSlow | IncidentKind::Deadline => {}
            IncidentKind::PivotUnknown if incident.error.code == "slow" => {}
            kind if incidents.contains(&kind) || incident.error.code == "expression" => {}
            kind => {
                let step = incident
                    .step
                    .map_or("the saga", |ix| words::step(world.plan, ix));
                found.faults.push(format!(
                    "{step}: incident {} that this case does not ask for: {}{}",
                    incident_code(kind),
                    words::error(&incident.error),
                    elsewhere(world, incident.step)
                ));
            }
        }
    }
    let cause = world.state.failure.as_ref().map(|failure| failure.cause);
    let cut = found.end == Some(End::Compensated)
        && matches!(cause, Some(Cause::Deadline | Cause::Exhausted))
        && !ends.contains(&End::Compensated);
    match found.end {
        Some(end) if ends.contains(&end) => {}
        Some(_) if cut && or_cut => found.notes.push(match cause {
            Some(Cause::Deadline) => {
                "the deadline comes before the attempts are used up".to_owned()
            }
            _ => "`max_elapsed` or the lifetime of the key ends the attempts first".to_owned(),
        }),
        end => {
            // Where something else is wrong already, the end is only what follows from it.
            if found.faults.is_empty() {
                found.faults.push(format!(
                    "it must end {}, and {}",
                    listed(ends),
                    ended(world, end)
                ));
            }
        }
    }
}

/// The usual reason why a participant knows nothing of what it shall undo.
fn elsewhere<C: Cast>(world: &World<'_, C>, step: Option<StepIx>) -> String {
    let planned = step.and_then(|ix| world.plan.step(ix));
    let undo = planned.and_then(|step| step.compensation.as_ref());
    match (planned, undo) {
        (Some(planned), Some(undo)) if planned.action.participant != undo.participant => format!(
            "; its action goes to `{}` and its compensation to `{}`",
            planned.action.participant, undo.participant
        ),
        (_, _) => String::new(),
    }
}

fn listed(ends: &[End]) -> String {
    let words: Vec<&str> = ends.iter().map(|end| end_phrase(*end)).collect();
    words.join(" or ")
}

fn end_phrase(end: End) -> &'static str {
    match end {
        End::Completed => "completed",
        End::Compensated => "compensated",
        End::Incident => "with an incident",
    }
}

fn ended<C: Cast>(world: &World<'_, C>, end: Option<End>) -> String {
    let why = world.state.failure.as_ref().map(|failure| {
        let step = failure
            .step
            .map(|ix| format!("{}: ", words::step(world.plan, ix)))
            .unwrap_or_default();
        format!(" ({step}{})", words::error(&failure.error))
    });
    match end {
        Some(end) => format!("it ended {}{}", end_phrase(end), why.unwrap_or_default()),
        None => "it has not ended".to_owned(),
    }
}

fn cancelled<C: Cast>(world: &World<'_, C>, found: &mut Found, expected: Option<bool>) {
    let problem = match (expected, &world.cancel) {
        (None, _) | (Some(true), Some(Ok(()))) => return,
        (Some(false), Some(Err(Rejected::AfterPivot { .. }))) => return,
        (Some(_), None) => "the cancel was never asked for".to_owned(),
        (Some(true), Some(Err(rejected))) => format!("the cancel was refused: {rejected}"),
        (Some(false), Some(Ok(()))) => "a cancel after the pivot was taken".to_owned(),
        (Some(false), Some(Err(rejected))) => {
            format!("the cancel was refused for another reason: {rejected}")
        }
    };
    found.faults.push(problem);
}

/// An author's case: only what it says counts.
fn own<C: Cast>(world: &World<'_, C>, found: &mut Found, expected: &Expectation) {
    if let Some(status) = expected.status
        && found.end != Some(status)
    {
        found.faults.push(format!(
            "expected {}, and {}",
            end_phrase(status),
            ended(world, found.end)
        ));
    }
    if expected.status.is_none() && found.end.is_none() {
        found.faults.push(ended(world, None));
    }
    place(world, found, expected);
    if let Some(groups) = &expected.compensated {
        compensated(world, found, groups);
    }
    if let Some(output) = &expected.output {
        let got = world
            .state
            .output
            .as_ref()
            .map_or(Value::Null, saga_core::Payload::to_value);
        for (field, wanted) in output {
            let is = got.get(field).unwrap_or(&Value::Null);
            if is != wanted {
                found.faults.push(format!(
                    "expected output `{field}` to be {wanted}, it is {is}"
                ));
            }
        }
    }
    let mut calls = world.calls.iter();
    for (at, call) in expected.calls.iter().enumerate() {
        if !calls.any(|made| made == call) {
            let before = at.checked_sub(1).and_then(|at| expected.calls.get(at));
            let after = before
                .map(|before| format!(" after {before}"))
                .unwrap_or_default();
            found.faults.push(format!(
                "expected a call of {call}{after}; the calls were {}",
                if world.calls.is_empty() {
                    "none".to_owned()
                } else {
                    world.calls.join(", ")
                }
            ));
            break;
        }
    }
}

/// Where it failed and with which code; of an incident, where that is.
fn place<C: Cast>(world: &World<'_, C>, found: &mut Found, expected: &Expectation) {
    let name = |ix: Option<StepIx>| ix.map(|ix| words::step(world.plan, ix).to_owned());
    let open = world.state.incidents.iter().map(|open| {
        (
            name(open.incident.step),
            open.incident.error.code.clone(),
            incident_code(open.incident.kind),
        )
    });
    let failure = world
        .state
        .failure
        .as_ref()
        .map(|failure| (name(failure.step), failure.error.code.clone(), ""));
    let places: Vec<_> = match expected.status {
        Some(End::Incident) => open.collect(),
        Some(End::Completed | End::Compensated) | None => failure.into_iter().chain(open).collect(),
    };
    let fits = |(step, code, kind): &(Option<String>, String, &str)| {
        expected
            .step
            .as_ref()
            .is_none_or(|wanted| Some(wanted) == step.as_ref())
            && expected
                .code
                .as_ref()
                .is_none_or(|wanted| wanted == code || wanted == kind)
    };
    if (expected.step.is_some() || expected.code.is_some()) && !places.iter().any(fits) {
        let said = |step: Option<&String>, code: &str| match step {
            Some(step) if code.is_empty() => format!("at {step}"),
            Some(step) => format!("{code} at {step}"),
            None => code.to_owned(),
        };
        let wanted = said(
            expected.step.as_ref(),
            expected.code.as_deref().unwrap_or_default(),
        );
        let got: Vec<String> = places
            .iter()
            .map(|(step, code, _)| said(step.as_ref(), code))
            .collect();
        let got = if got.is_empty() {
            "nothing failed".to_owned()
        } else {
            format!("it was {}", got.join(", "))
        };
        found.faults.push(format!("expected {wanted}, and {got}"));
    }
}

fn compensated<C: Cast>(world: &World<'_, C>, found: &mut Found, groups: &[Vec<String>]) {
    let really = |ix: &StepIx| {
        world.state.steps.get(ix.at()).is_some_and(|step| {
            step.undo
                == UndoState::Done {
                    nothing_to_do: false,
                }
        })
    };
    let order: Vec<String> = (world.undos.iter().flatten().filter(|ix| really(ix)))
        .map(|ix| words::step(world.plan, *ix).to_owned())
        .collect();
    let mut rest = order.as_slice();
    let fits = groups.iter().all(|group| {
        let Some((head, tail)) = rest.split_at_checked(group.len()) else {
            return false;
        };
        rest = tail;
        let (head, group): (BTreeSet<_>, BTreeSet<_>) =
            (head.iter().collect(), group.iter().collect());
        head == group
    });
    if !fits || !rest.is_empty() {
        let wanted: Vec<String> = groups.iter().map(|group| group.join(" and ")).collect();
        let shown = |steps: &[String]| {
            if steps.is_empty() {
                "nothing".to_owned()
            } else {
                steps.join(", then ")
            }
        };
        found.faults.push(format!(
            "expected to be undone: {}; was undone: {}",
            shown(&wanted),
            shown(&order)
        ));
    }
}
