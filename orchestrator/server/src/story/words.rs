//! Spans of time and names as sentences use them.

use saga_core::{ErrorBody, Timestamp, Wait};
use saga_dsl::plan::{Plan, StepIx};

use saga_engine::{
    breaker::Phase,
    lane::intake::{BreakerReport, LastFailure, PostReport},
};

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
    let last = report
        .last
        .as_ref()
        .map_or_else(String::new, |last| format!("; last: {}", failures(last)));
    let stands = match report.phase {
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
    };
    Some(format!("{stands}{last}"))
}

/// `http_503 "backend answered 503" (5×)`.
#[must_use]
pub fn failures(last: &LastFailure) -> String {
    match last.times {
        0 | 1 => error(&last.error),
        times => format!("{} ({times}×)", error(&last.error)),
    }
}

/// `rate_limit 30/m (order_fulfilment@3), place 57 of 58, about 1m 55s`.
#[must_use]
pub fn limit(setting: &str, value: &str, owner: &str, post: &PostReport) -> String {
    let place = post.place.map_or_else(String::new, |place| {
        format!(", place {place} of {}", post.waiting.max(place))
    });
    let more = match (setting, post.limits.rate_limit, post.place) {
        ("rate_limit", Some(rate), Some(place)) => {
            let interval = i64::try_from(rate.interval_us()).unwrap_or(i64::MAX);
            let before = i64::try_from(place).unwrap_or(i64::MAX).saturating_sub(1);
            let first = post.next.0.max(post.now.0);
            let at = first.saturating_add(interval.saturating_mul(before));
            format!(", about {}", span(post.now, Timestamp(at)))
        }
        ("max_in_flight", ..) => format!(", {} in flight", post.in_flight),
        (..) => String::new(),
    };
    format!("{setting} {value} ({owner}){place}{more}")
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
    use saga_dsl::limits::Limits;

    use super::*;

    #[test]
    fn a_limit_names_value_owner_place_and_time() {
        let post = PostReport {
            participant: "stock".into(),
            limits: Limits {
                rate_limit: "30/m".parse().ok(),
                ..Limits::default()
            },
            in_flight: 2,
            waiting: 58,
            place: Some(57),
            next: Timestamp(3_000_000),
            now: Timestamp(0),
        };
        assert_eq!(
            limit("rate_limit", "30/m", "order_fulfilment@3", &post),
            "rate_limit 30/m (order_fulfilment@3), place 57 of 58, about 1m 55s"
        );
        assert_eq!(
            limit("max_in_flight", "2", "the server's file of limits", &post),
            "max_in_flight 2 (the server's file of limits), place 57 of 58, 2 in flight"
        );
    }

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
