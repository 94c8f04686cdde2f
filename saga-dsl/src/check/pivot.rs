//! The point of no return: what stands before it can be undone, what stands after it cannot fail.

use super::Check;
use crate::{
    codes::Code,
    definition::{Compensation, CompensationAction, Kind},
    finding::Finding,
    outline::OutlineStep,
    place::Part,
    plan::GroupKind,
};

fn kind(step: &OutlineStep<'_>) -> Kind {
    step.step.kind.unwrap_or(Kind::Compensatable)
}

/// A pivot that is settled before the step starts.
fn pivot_before<'c, 'a>(check: &'c Check<'a>, at: usize) -> Option<&'c OutlineStep<'a>> {
    let settled = check.settled[at].iter().map(|at| &check.outline.steps[*at]);
    settled.into_iter().find(|step| kind(step) == Kind::Pivot)
}

pub(super) fn stands_alone_on_its_path(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for (at, step) in check
        .outline
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| kind(step) == Kind::Pivot)
    {
        if let Some(first) = pivot_before(check, at) {
            let message = format!(
                "`{}` is a second pivot after `{}`",
                step.step.step, first.step.step
            );
            let fault = Finding::new(Code::S0301, &step.place.key("kind"), message);
            findings.push(
                fault
                    .also(first.place.key("kind"), Part::Value, "the first pivot")
                    .help("if it may be tried until it succeeds, write `kind: retriable`"),
            );
        }
    }
}

pub(super) fn is_not_in_parallel(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for step in check
        .outline
        .steps
        .iter()
        .filter(|step| kind(step) == Kind::Pivot)
    {
        if let Some((_, group)) = step
            .groups
            .iter()
            .find(|(kind, _)| *kind == GroupKind::Parallel)
        {
            let message = format!("the pivot `{}` stands inside of `parallel`", step.step.step);
            let fault = Finding::new(Code::S0302, &step.place.key("kind"), message);
            findings.push(
                fault
                    .also(group.key("parallel"), Part::Key, "the group begins here")
                    .help("move it before or after the group"),
            );
        }
    }
}

pub(super) fn steps_before_it_say_what_undoes_them(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for (at, step) in check.outline.steps.iter().enumerate() {
        let asks = check.asks(step) && !check.knowledge.doubtful.contains(&step.place);
        let silent = kind(step) == Kind::Compensatable && step.step.compensation.is_none() && asks;
        if silent && pivot_before(check, at).is_none() {
            let id = &step.step.step;
            let fault = Finding::new(
                Code::S0303,
                &step.place.key("step"),
                format!("nothing undoes `{id}`"),
            );
            findings.push(fault.help(
                "add `compensation: participant/action`, or `compensation: none` if nothing needs undoing",
            ));
        }
    }
}

pub(super) fn compensations_have_a_meaning(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for step in &check.outline.steps {
        let place = step.place.key("compensation");
        let word = match kind(step) {
            Kind::Compensatable => "",
            Kind::Pivot => "a pivot",
            Kind::Retriable => "a retriable step",
        };
        if step.step.compensation.is_some() && !word.is_empty() {
            let fault = Finding::new(Code::S0304, &place, format!("{word} is never undone"))
                .on_key()
                .also(step.place.key("kind"), Part::Value, word);
            findings.push(fault.help("remove `compensation`"));
        }
        let Some(Compensation::Block(block)) = &step.step.compensation else {
            continue;
        };
        match &block.action {
            CompensationAction::Action(_) if block.reason.is_some() => {
                let message = "a reason belongs to `action: none`";
                findings.push(Finding::new(Code::S0103, &place.key("reason"), message).on_key());
            }
            CompensationAction::None(_) => {
                let written = [
                    ("input", block.input.is_some()),
                    ("timeout", block.timeout.is_some()),
                    ("retry", !block.retry.is_empty()),
                    ("escalate_after", block.escalate_after.is_some()),
                ];
                for (key, _) in written.into_iter().filter(|(_, written)| *written) {
                    let message = format!("`{key}` has no meaning with `action: none`");
                    findings.push(Finding::new(Code::S0103, &place.key(key), message).on_key());
                }
            }
            CompensationAction::Action(_) => {}
        }
    }
}

pub(super) fn steps_after_it_are_retriable(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for (at, step) in check.outline.steps.iter().enumerate() {
        if kind(step) != Kind::Compensatable {
            continue;
        }
        if let Some(pivot) = pivot_before(check, at) {
            let message = format!(
                "`{}` comes after the pivot and is not retriable",
                step.step.step
            );
            let written = if step.step.kind.is_some() {
                "kind"
            } else {
                "step"
            };
            let fault = Finding::new(Code::S0305, &step.place.key(written), message).also(
                pivot.place.key("kind"),
                Part::Value,
                "no way back from here on",
            );
            findings.push(fault.help("add `kind: retriable`, or move it before the pivot"));
        }
    }
}

pub(super) fn retriable_steps_follow_it(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for (at, step) in check.outline.steps.iter().enumerate() {
        if kind(step) == Kind::Retriable && pivot_before(check, at).is_none() {
            let message = format!(
                "`{}` is retriable and no pivot comes before it",
                step.step.step
            );
            let fault = Finding::new(Code::S0305, &step.place.key("kind"), message);
            findings
                .push(fault.help(
                    "give it a `compensation` instead, or make the step before it the pivot",
                ));
        }
    }
}

pub(super) fn none_has_a_reason(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for step in &check.outline.steps {
        let silent = match &step.step.compensation {
            Some(Compensation::None(_)) => true,
            Some(Compensation::Block(block)) => {
                matches!(block.action, CompensationAction::None(_)) && block.reason.is_none()
            }
            Some(Compensation::Action(_)) | None => false,
        };
        if silent && kind(step) == Kind::Compensatable {
            let message = format!(
                "`{}` does not say why nothing needs undoing",
                step.step.step
            );
            let note = Finding::new(Code::N0702, &step.place.key("compensation"), message);
            findings.push(note.help("compensation: {action: none, reason: a read}"));
        }
    }
}
