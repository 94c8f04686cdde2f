//! The harness with something taken away: were it not to fail then, its success would say nothing.
//!
//! The server under test is `tests/under_test/`: the same code, and one rule of `saga_core::Rules` is not kept.

use std::collections::BTreeSet;

use crate::{
    audit::{self, Violation},
    trips::{Aftermath, Chaos, listed},
};

/// What the audit finds when a server runs without a rule.
async fn found_without(
    server: &'static [&'static str],
    server_kills: usize,
) -> (BTreeSet<&'static str>, Vec<Violation>) {
    let chaos = Chaos {
        server,
        server_kills,
        honest: false,
        ..Chaos::ALL_IN_ORDER
    };
    let Aftermath {
        dir,
        participants: _participants,
        ..
    } = chaos.run().await;
    let violations = audit::violations(dir.path());
    println!("{server:?}:\n{}", listed(&violations));
    (audit::broken(&violations), violations)
}

/// With every rule, the program of these tests finds nothing: what it finds without one is due to that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_rule_the_audit_finds_nothing() {
    let (broken, violations) = found_without(&["saga-under-test", "serve"], 1).await;
    assert!(broken.is_empty(), "{}", listed(&violations));
}

/// A reservation whose answers were lost stays, and the trip calls itself compensated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_undo_of_the_unknown_something_is_left_over() {
    let (broken, violations) = found_without(
        &["saga-under-test", "serve", "--without", "undo-unknown"],
        0,
    )
    .await;
    assert_eq!(broken, BTreeSet::from(["I5"]), "{}", listed(&violations));
    assert!(
        violations
            .iter()
            .all(|left| left.found.contains("step=reserve_")),
        "{}",
        listed(&violations)
    );
}

/// A card is charged for a trip that goes back: the cancel came while the charge was on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_settling_the_pivot_a_card_is_charged_for_nothing() {
    let (broken, violations) = found_without(
        &["saga-under-test", "serve", "--without", "settle-pivot"],
        0,
    )
    .await;
    assert_eq!(broken, BTreeSet::from(["I5"]), "{}", listed(&violations));
    assert!(
        violations
            .iter()
            .any(|left| left.found.contains("step=charge_card")),
        "{}",
        listed(&violations)
    );
}

/// What was outstanding when the server died is never answered, and nobody is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sending_again_trips_stand_still_after_a_kill() {
    let (broken, violations) =
        found_without(&["saga-under-test", "serve", "--without", "send-again"], 1).await;
    assert_eq!(broken, BTreeSet::from(["I12"]), "{}", listed(&violations));
}

/// Without an inbox, whatever arrives twice is done twice, and what comes after its undo is done too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_inbox_the_audit_finds_double_effects() {
    let chaos = Chaos {
        forgetful_hotels: true,
        honest: false,
        ..Chaos::ALL_IN_ORDER
    };
    let Aftermath {
        dir,
        tap,
        participants: _participants,
    } = chaos.run().await;
    let violations = audit::violations(dir.path());
    let broken = audit::broken(&violations);
    assert!(
        broken.contains("I1") && broken.contains("I5"),
        "{}",
        listed(&violations)
    );
    assert!(
        violations
            .iter()
            .all(|violation| !violation.found.contains("flights")),
        "{}",
        listed(&violations)
    );

    let before = audit::effects(dir.path());
    tap.replay().await;
    assert_ne!(
        audit::effects(dir.path()).len(),
        before.len(),
        "commands again should have been carried out again"
    );
}
