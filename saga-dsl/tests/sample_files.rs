//! The sample files as `saga lint` sees them: two are clean, two use what this release does not support.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use saga_dsl::{codes::Code, file, plan::Plan};

fn lint(name: &str) -> (file::Loaded, String) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(name);
    let loaded = file::load(name, &std::fs::read(path).unwrap());
    let lines: Vec<_> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    let lines = lines.join("\n");
    (loaded, lines)
}

#[test]
fn book_trip_is_clean() {
    let (loaded, lines) = lint("book_trip.saga.yaml");
    insta::assert_snapshot!(lines, @"book_trip.saga.yaml:21:17: note[N0701]: actions were not checked: nothing is known here of flights, hotels, notifications, payments");
    let plan = loaded.plan.unwrap();
    let again = Plan::from_canonical(&plan.definition.canonical_json()).unwrap();
    assert_eq!((again.hash, again.steps.len()), (plan.hash, 4));
    assert_eq!(again.deadline_ms, Some(15 * 60_000));
}

#[test]
fn ship_order_is_clean() {
    let (loaded, lines) = lint("ship_order.saga.yaml");
    insta::assert_snapshot!(lines, @"ship_order.saga.yaml:14:13: note[N0701]: actions were not checked: nothing is known here of carrier, warehouse");
    assert!(loaded.plan.is_some());
}

#[test]
fn what_is_not_supported_is_said_and_nothing_else() {
    for (name, shown) in [
        ("fulfil_order.saga.yaml", "fulfil_order"),
        ("lab_report.saga.yaml", "lab_report"),
    ] {
        let (loaded, lines) = lint(name);
        assert!(loaded.plan.is_none());
        let expected = [Code::S0109, Code::N0701, Code::N0702];
        let other = loaded
            .diagnostics
            .iter()
            .filter(|found| !expected.contains(&found.code));
        assert_eq!(other.count(), 0, "{lines}");
        insta::assert_snapshot!(shown, lines);
    }
}
