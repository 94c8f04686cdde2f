//! Every screen in a terminal of 80 columns, with names as long as they may be: no line is wider, no word is broken.

use std::collections::BTreeSet;

use saga_proto::v1::{
    AuditEntry, Breaker, BreakerState, DefinitionInfo, InboxKind, Incident, InstanceInfo,
    ParticipantInfo, SagaSummary,
};
use unicode_width::UnicodeWidthStr;

use super::{
    output::{Frame, bare},
    sample,
};
use crate::operator::{audit, breakers, definitions, describe, history, list, participants};

const WIDTH: u16 = 80;
const FRAME: Frame = Frame {
    width: Some(WIDTH),
    now_us: sample::NOW_US,
};
/// Sixty-four letters.
const LONG: &str = "a_name_that_is_as_long_as_the_name_of_a_step_may_be_0123456789ab";
const SHORT: &str = "reserve_hotel";
const PROSE: &str = "operator: the outcome is unknown since payments timed out, and nobody else can tell what became of it";

/// Holds a screen against the texts that it shows.
fn fits(what: &str, screen: &str, texts: &[&str]) {
    let screen = bare(screen);
    for line in screen.lines() {
        assert!(
            line.width() < usize::from(WIDTH),
            "{what}: {} columns: {line}\n{screen}",
            line.width()
        );
    }
    let whole: BTreeSet<&str> = texts
        .iter()
        .flat_map(|text| text.split_whitespace())
        .collect();
    // What ends in a mark is cut, and says so; everything else is a word of a text.
    for word in screen.split_whitespace() {
        let broken = whole
            .iter()
            .any(|text| text.len() > word.len() && word.len() > 4 && text.starts_with(word));
        let stands = whole.contains(word);
        assert!(!broken || stands, "{what}: `{word}` is broken\n{screen}");
    }
}

fn summary(name: &str, step: &str) -> SagaSummary {
    SagaSummary {
        id: "01JD8W3K5TZZZZ00000X2QAC4M".into(),
        name: name.into(),
        version: 3,
        status: "running".into(),
        mark: "incident".into(),
        key: "trip-4711".into(),
        step: step.into(),
        tries: 12,
        started_at_us: sample::NOW_US - 7_380_000_000,
        next: PROSE.into(),
        ..SagaSummary::default()
    }
}

#[test]
fn list_fits() {
    for (name, step) in [("book_trip", SHORT), ("fulfil_order", LONG), (LONG, SHORT)] {
        let one = [summary(name, step), summary(name, step)];
        let several = [summary(name, step), summary("lab_report", SHORT)];
        for sagas in [&one, &several] {
            fits("list", &list::screen(sagas, false, FRAME), &[PROSE, SHORT]);
        }
        let shown = bare(&list::screen(&one, false, FRAME));
        assert!(shown.contains("outcome is unknown"), "{shown}");
    }
}

#[test]
fn describe_fits_and_keeps_its_timeline() {
    for step in [SHORT, LONG] {
        let mut detail = sample::compensating();
        detail.steps[0].id = step.into();
        detail.steps[0].note = PROSE.into();
        detail.incidents.push(Incident {
            code: "undo_stuck".into(),
            step: step.into(),
            message: PROSE.into(),
            since_us: detail.now_us - 5_000_000,
        });
        let frame = Frame {
            now_us: detail.now_us,
            ..FRAME
        };
        let shown = describe::screen(&detail, frame);
        fits("describe", &shown, &[PROSE, step]);
        assert!(shown.contains('█') && shown.contains('▒'), "{shown}");
    }
}

#[test]
fn history_fits() {
    for step in [SHORT, LONG] {
        let shown = history::drawn(step, PROSE, WIDTH);
        fits("history", &shown, &[PROSE, step]);
    }
}

#[test]
fn participants_fit() {
    for name in ["flights", LONG] {
        let instance = InstanceInfo {
            instance: format!("{name}-1"),
            ..InstanceInfo::default()
        };
        let participant = ParticipantInfo {
            name: name.into(),
            inbox_kind: InboxKind::Transactional.into(),
            actions: ["cancel", "reserve", "confirm", "rebook", "refund"]
                .map(str::to_owned)
                .into(),
            instances: vec![instance.clone(), instance],
            outstanding: 1_234,
            waiting: 1_837,
            last_seen_us: sample::NOW_US - 900_000_000,
            ..ParticipantInfo::default()
        };
        let shown = participants::screen(&[participant], false, FRAME);
        fits(
            "participants",
            &shown,
            &["cancel, reserve, confirm, rebook, refund"],
        );
    }
}

#[test]
fn breakers_definitions_and_audit_fit() {
    for name in ["payments", LONG] {
        let breaker = Breaker {
            participant: name.into(),
            action: "charge".into(),
            state: BreakerState::Open.into(),
            since_us: sample::NOW_US - 12_000_000,
            open_until_us: sample::NOW_US + 8_000_000,
            now_us: sample::NOW_US,
            reason: "14 of 20 calls failed within 30s".into(),
            calls: 20,
            failed: 14,
            waiting: 1_837,
            ..Breaker::default()
        };
        let shown = breakers::screen(&[breaker], false, FRAME);
        fits("breakers", &shown, &["14 of 20 calls failed within 30s"]);
        let definition = DefinitionInfo {
            name: name.into(),
            version: 2,
            hash: "6f1d2c3b4a5968778695a4b3c2d1e0ff".into(),
            deployed_at_us: sample::NOW_US - 7_380_000_000,
            open_sagas: 1_204,
            steps: 4,
            description: PROSE.into(),
        };
        fits(
            "definitions",
            &definitions::screen(&[definition], false, FRAME),
            &[PROSE],
        );
        let entry = AuditEntry {
            at_us: sample::NOW_US - 61_000_000,
            saga_id: vec![7; 16].into(),
            seq: 4,
            verb: "resolve_succeeded".into(),
            step: name.into(),
            by: "ann (127.0.0.1)".into(),
            reason: PROSE.into(),
            forced: true,
        };
        fits("audit", &audit::screen(&[entry], false, FRAME), &[PROSE]);
    }
}
