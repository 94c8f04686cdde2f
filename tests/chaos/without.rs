//! The harness with something taken away: were it not to fail then, its success would say nothing.

use crate::{
    audit,
    trips::{Aftermath, Chaos, listed},
};

/// Without an inbox, whatever arrives twice is done twice, and what comes after its undo is done too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_inbox_the_audit_finds_double_effects() {
    let chaos = Chaos { forgetful_hotels: true, honest: false, ..Chaos::ALL_IN_ORDER };
    let Aftermath { dir, tap, participants: _participants } = chaos.run().await;
    let violations = audit::violations(dir.path());
    let broken = audit::broken(&violations);
    assert!(broken.contains("I1") && broken.contains("I5"), "{}", listed(&violations));
    assert!(
        violations.iter().all(|violation| !violation.found.contains("flights")),
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
