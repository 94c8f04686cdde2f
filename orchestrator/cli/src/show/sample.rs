//! Fixed answers of a server, for the tests of screens.

use saga_proto::v1::{Fault, Incident, SagaDetail, SagaSummary, StepDetail};

/// The moment at which the pictures were taken.
pub const NOW_US: i64 = 1_780_000_000_000_000;
const SECOND: i64 = 1_000_000;

fn ago(seconds: i64) -> i64 {
    NOW_US - seconds * SECOND
}

fn summary(status: &str, started_seconds_ago: i64) -> SagaSummary {
    SagaSummary {
        id: "01JD8W3K5TZZZZ00000X2QAC4M".into(),
        name: "book_trip".into(),
        version: 1,
        status: status.into(),
        key: "trip-4711".into(),
        started_at_us: ago(started_seconds_ago),
        ..SagaSummary::default()
    }
}

fn step(id: &str, kind: &str, action: &str, status: &str) -> StepDetail {
    StepDetail {
        id: id.into(),
        kind: kind.into(),
        action: action.into(),
        status: status.into(),
        round: 1,
        ..StepDetail::default()
    }
}

fn parallel(step: StepDetail, compensation: &str) -> StepDetail {
    StepDetail {
        depth: 1,
        groups: vec!["parallel".into()],
        compensation: compensation.into(),
        tries: 1,
        started_at_us: ago(41),
        settled_at_us: ago(39),
        ..step
    }
}

/// A card was declined; one of two reservations is still being undone.
pub fn compensating() -> SagaDetail {
    SagaDetail {
        summary: Some(SagaSummary {
            step: "reserve_hotel".into(),
            tries: 4,
            next: "retry in 8s: hotels/cancel 503".into(),
            next_due_us: NOW_US + 8 * SECOND,
            labels: [("team".to_owned(), "trips".to_owned())].into(),
            ..summary("compensating", 41)
        }),
        input: br#"{"trip_id":"trip-4711"}"#.as_slice().into(),
        failure: Some(Fault {
            code: "card_declined".into(),
            message: "insufficient funds".into(),
            step: "charge_card".into(),
        }),
        deadline_us: NOW_US + 859 * SECOND,
        steps: vec![
            StepDetail {
                undo_tries: 1,
                undo_started_at_us: ago(30),
                undo_settled_at_us: ago(29),
                ..parallel(
                    step(
                        "reserve_flight",
                        "compensatable",
                        "flights/reserve",
                        "compensated",
                    ),
                    "flights/cancel",
                )
            },
            StepDetail {
                undo_tries: 4,
                undo_started_at_us: ago(30),
                next_due_us: NOW_US + 8 * SECOND,
                note: "hotels/cancel: 503 service unavailable".into(),
                output: br#"{"room":12}"#.as_slice().into(),
                ..parallel(
                    step(
                        "reserve_hotel",
                        "compensatable",
                        "hotels/reserve",
                        "undo_backing_off",
                    ),
                    "hotels/cancel",
                )
            },
            StepDetail {
                tries: 1,
                started_at_us: ago(39),
                settled_at_us: ago(30),
                error: Some(Fault {
                    code: "card_declined".into(),
                    message: "insufficient funds".into(),
                    step: String::new(),
                }),
                ..step("charge_card", "pivot", "payments/charge", "refused")
            },
            step(
                "send_confirmation",
                "retriable",
                "notifications/send",
                "pending",
            ),
        ],
        story: vec![
            "charge_card was refused by payments, so everything before it is undone.".into(),
            "hotels/cancel failed 4 times and is tried again until it succeeds.".into(),
        ],
        seq: 17,
        now_us: NOW_US,
        definition_hash: "6f1d".into(),
        ..SagaDetail::default()
    }
}

/// Everything went well.
pub fn completed() -> SagaDetail {
    let done = |id: &str, kind: &str, action: &str, from: i64, to: i64| StepDetail {
        tries: 1,
        started_at_us: ago(from),
        settled_at_us: ago(to),
        ..step(id, kind, action, "succeeded")
    };
    SagaDetail {
        summary: Some(SagaSummary {
            ended_at_us: ago(50),
            ..summary("completed", 60)
        }),
        output: br#"{"receipt":"r-1"}"#.as_slice().into(),
        deadline_us: NOW_US,
        steps: vec![
            done("charge_card", "pivot", "payments/charge", 60, 54),
            done(
                "send_confirmation",
                "retriable",
                "notifications/send",
                54,
                50,
            ),
        ],
        seq: 5,
        now_us: NOW_US,
        ..SagaDetail::default()
    }
}

/// An operator is needed.
pub fn incident() -> SagaDetail {
    SagaDetail {
        summary: Some(SagaSummary {
            mark: "incident".into(),
            next: "operator: query of payments/charge had no answer".into(),
            ..summary("running", 7_380)
        }),
        incidents: vec![Incident {
            code: "pivot_unknown".into(),
            step: "charge_card".into(),
            message: "payments does not say whether the card was charged".into(),
            since_us: ago(7_200),
        }],
        steps: vec![StepDetail {
            tries: 12,
            started_at_us: ago(7_380),
            note: "payments timed out".into(),
            ..step("charge_card", "pivot", "payments/charge", "unknown")
        }],
        cancel_reason: "customer called".into(),
        seq: 30,
        now_us: NOW_US,
        ..SagaDetail::default()
    }
}
