//! Times: zeros, contradictions, and whether they fit each other.

use super::Check;
use crate::{
    codes::Code,
    definition::{Compensation, Duration, Kind, MaxAttempts, Retry},
    finding::Finding,
    place::{Part, Place, Segment},
    plan::resolve,
};

/// Every retry policy that was written.
fn policies<'a>(check: &Check<'a>) -> Vec<(&'a Retry, Place)> {
    let defaults = &check.definition.defaults;
    let place = Place::default().key("defaults");
    let mut all = vec![
        (&defaults.retry, place.key("retry")),
        (
            &defaults.compensation_retry,
            place.key("compensation_retry"),
        ),
    ];
    for outlined in &check.outline.steps {
        all.push((&outlined.step.retry, outlined.place.key("retry")));
        if let Some(Compensation::Block(block)) = &outlined.step.compensation {
            all.push((
                &block.retry,
                outlined.place.key("compensation").key("retry"),
            ));
        }
    }
    all
}

/// Every duration that was written.
fn durations(check: &Check<'_>) -> Vec<(Duration, Place)> {
    let top = Place::default();
    let defaults = top.key("defaults");
    let mut all = vec![
        (check.definition.deadline, top.key("deadline")),
        (check.definition.defaults.timeout, defaults.key("timeout")),
    ];
    for outlined in &check.outline.steps {
        let (step, place) = (outlined.step, &outlined.place);
        all.push((step.timeout, place.key("timeout")));
        all.push((step.escalate_after, place.key("escalate_after")));
        if let Some(Compensation::Block(block)) = &step.compensation {
            let place = place.key("compensation");
            all.push((block.timeout, place.key("timeout")));
            all.push((block.escalate_after, place.key("escalate_after")));
        }
    }
    for (retry, place) in policies(check) {
        all.push((retry.initial_delay, place.key("initial_delay")));
        all.push((retry.max_delay, place.key("max_delay")));
        all.push((retry.max_elapsed, place.key("max_elapsed")));
    }
    all.into_iter()
        .filter_map(|(duration, place)| Some((duration?, place)))
        .collect()
}

pub(super) fn are_not_zero(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for (duration, place) in durations(check) {
        if duration.is_zero() {
            let message = match place.0.last() {
                Some(Segment::Key(key)) => format!("`{key}: 0` makes no sense"),
                Some(Segment::Index(_)) | None => "zero makes no sense here".to_owned(),
            };
            let fault = Finding::new(Code::S0104, &place, message);
            findings.push(fault.help("give a time, or remove the key"));
        }
    }
}

/// Only where both stand side by side: a default gives way to what a step says.
pub(super) fn delays_agree(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for (retry, place) in policies(check) {
        if let (Some(initial), Some(max)) = (retry.initial_delay, retry.max_delay)
            && initial > max
        {
            let message = format!("`initial_delay` {initial} is longer than `max_delay` {max}");
            let fault = Finding::new(Code::S0104, &place.key("initial_delay"), message);
            findings.push(
                fault
                    .also(place.key("max_delay"), Part::Value, "the longest delay")
                    .help("the first delay is the shortest: lower it, or raise `max_delay`"),
            );
        }
    }
}

pub(super) fn multipliers_grow(check: &Check<'_>, findings: &mut Vec<Finding>) {
    for (retry, place) in policies(check) {
        if retry
            .multiplier
            .is_some_and(|multiplier| !multiplier.is_finite() || multiplier <= 1.0)
        {
            let fault = Finding::new(
                Code::S0103,
                &place.key("multiplier"),
                "`multiplier` is above 1",
            );
            findings.push(fault.help("for delays that do not grow write `backoff: fixed`"));
        }
        if retry.max_attempts == Some(MaxAttempts::Times(0)) {
            let message = "`max_attempts` is at least 1: the first attempt counts";
            findings.push(Finding::new(
                Code::S0103,
                &place.key("max_attempts"),
                message,
            ));
        }
    }
}

/// One attempt of each step on the longest path up to the pivot must fit.
pub(super) fn timeouts_fit_the_deadline(check: &Check<'_>, findings: &mut Vec<Finding>) {
    let Some(deadline) = check.definition.deadline else {
        return;
    };
    let mut longest: Vec<u64> = Vec::new();
    for outlined in &check.outline.steps {
        let own = match outlined.step.kind.unwrap_or(Kind::Compensatable) {
            Kind::Compensatable | Kind::Pivot => {
                resolve::timeout_ms(outlined.step.timeout, &check.definition.defaults)
            }
            Kind::Retriable => 0,
        };
        let before = outlined
            .after
            .iter()
            .filter_map(|at| longest.get(*at))
            .max()
            .copied()
            .unwrap_or(0);
        longest.push(before.saturating_add(own));
    }
    let longest = Duration {
        ms: longest.into_iter().max().unwrap_or(0),
    };
    if longest > deadline {
        let message =
            format!("`deadline` is {deadline}, and the `timeout` of each step together {longest}");
        let fault = Finding::new(Code::W0601, &Place::default().key("deadline"), message);
        findings.push(fault.help("shorten the timeouts, or give the saga more time"));
    }
}

pub(super) fn compensations_go_on(check: &Check<'_>, findings: &mut Vec<Finding>) {
    let defaults = Place::default().key("defaults").key("compensation_retry");
    let mut all = vec![(&check.definition.defaults.compensation_retry, defaults)];
    for outlined in &check.outline.steps {
        if let Some(Compensation::Block(block)) = &outlined.step.compensation {
            all.push((
                &block.retry,
                outlined.place.key("compensation").key("retry"),
            ));
        }
    }
    for (retry, place) in all {
        if let Some(MaxAttempts::Times(times)) = retry.max_attempts {
            let message = format!(
                "with `max_attempts: {times}` this compensation gives up and waits for an operator"
            );
            let fault = Finding::new(Code::W0605, &place.key("max_attempts"), message);
            findings.push(fault.help("leave it out, and use `escalate_after` to call an operator"));
        }
    }
}
