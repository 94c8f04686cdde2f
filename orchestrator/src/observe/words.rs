//! Spans of time and names as sentences use them.

use saga_core::{ErrorBody, Timestamp, gate::Wait};
use saga_dsl::plan::{Plan, StepIx};

use crate::{breaker::Phase, lane::intake::BreakerReport};

/// The span between two moments in at most two units: `850ms`, `8s`, `14m 19s`, `2h 3m`, `3d 2h`.
/// A span that runs backwards counts as none.
#[must_use]
pub fn span(from: Timestamp, to: Timestamp) -> String {
    let ms = u64::try_from(to.0.saturating_sub(from.0).max(0) / 1_000).unwrap_or(0);
    let (s, m, h, d) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit} {small}{small_unit}"),
    };
    match (d, h, m, s) {
        (0, 0, 0, 0) => format!("{ms}ms"),
        (0, 0, 0, _) => format!("{s}s"),
        (0, 0, _, _) => two(m, "m", s % 60, "s"),
        (0, _, _, _) => two(h, "h", m % 60, "m"),
        _ => two(d, "d", h % 24, "h"),
    }
}

/// `in 8s`, or `now` when the moment has come.
#[must_use]
pub fn until(now: Timestamp, due: Timestamp) -> String {
    if due <= now {
        "now".to_owned()
    } else {
        format!("in {}", span(now, due))
    }
}

/// Id of a step.
#[must_use]
pub fn step(plan: &Plan, ix: StepIx) -> &str {
    plan.step(ix).map_or("?", |step| step.id.as_str())
}

/// `participant/action` of a step's way forward.
#[must_use]
pub fn action(plan: &Plan, ix: StepIx) -> String {
    plan.step(ix).map_or_else(String::new, |s| {
        format!("{}/{}", s.action.participant, s.action.action)
    })
}

/// `participant/action` of a step's way back; empty when there is none.
#[must_use]
pub fn compensation(plan: &Plan, ix: StepIx) -> String {
    let undo = plan.step(ix).and_then(|step| step.compensation.as_ref());
    undo.map_or_else(String::new, |c| format!("{}/{}", c.participant, c.action))
}

/// Where a breaker stands that holds a step back for this reason; `None` where something else holds it back.
#[must_use]
pub fn breaker(report: &BreakerReport, reason: Option<Wait>) -> Option<String> {
    if !matches!(reason, Some(Wait::BreakerOpen | Wait::BreakerRecovering)) {
        return None;
    }
    let name = format!("breaker {}/{}", report.participant, report.action);
    Some(match report.phase {
        Phase::Open { until: Some(until) } => {
            format!("{name} open, probe {}", self::until(report.now, until))
        }
        Phase::Open { until: None } => {
            format!("{name} open until it is reset, by {}", report.face.by)
        }
        Phase::HalfOpen { .. } => format!("{name} half open, one probe at a time"),
        Phase::Recovering { cohort, .. } => {
            format!(
                "{name} recovering, {cohort} at a time, {} wait",
                report.waiting
            )
        }
        Phase::Closed => format!("{name} closed"),
    })
}

/// An error in a sentence: `card_declined "insufficient funds"`.
#[must_use]
pub fn error(error: &ErrorBody) -> String {
    if error.message.is_empty() {
        error.code.clone()
    } else {
        format!("{} \"{}\"", error.code, error.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units() {
        let of = |ms: i64| span(Timestamp(0), Timestamp(ms * 1_000));
        assert_eq!(of(-5), "0ms");
        assert_eq!(of(850), "850ms");
        assert_eq!(of(8_999), "8s");
        assert_eq!(of(60_000), "1m");
        assert_eq!(of(859_000), "14m 19s");
        assert_eq!(of(7_380_000), "2h 3m");
        assert_eq!(of(266_400_000), "3d 2h");
        assert_eq!(until(Timestamp(5), Timestamp(5)), "now");
    }
}
