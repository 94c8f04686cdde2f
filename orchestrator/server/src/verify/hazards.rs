//! What is tried, one function a hazard. The replies that are asked for are those of the table in
//! `docs/reference/wire-protocol.md`.

use futures_util::future::BoxFuture;
use saga_core::{effect::Known, input::Outcome};

use super::stage::{Stage, Stop, action, query, seal, undo};

/// A hazard.
pub(super) struct Hazard {
    pub(super) name: &'static str,
    /// What must hold.
    pub(super) rule: &'static str,
    /// It sends a compensation.
    pub(super) undoes: bool,
    pub(super) run: for<'a> fn(&'a mut Stage) -> BoxFuture<'a, Result<(), Stop>>,
}

/// A row of [`ALL`]: its function is boxed here, so that the functions below read as what they are.
macro_rules! hazard {
    ($name:ident, $undoes:expr, $rule:expr) => {
        Hazard {
            name: stringify!($name),
            rule: $rule,
            undoes: $undoes,
            run: |stage| Box::pin($name(stage)),
        }
    };
}

/// In the order in which they are tried.
pub(super) const ALL: [Hazard; 13] = [
    hazard!(
        duplicate_action,
        false,
        "an action that comes again is answered again, with the same output"
    ),
    hazard!(
        two_at_once,
        false,
        "of two copies at the same moment one acts, and both are answered alike"
    ),
    hazard!(
        other_input,
        false,
        "the same key with another input is a conflict, and nothing is done"
    ),
    hazard!(
        unknown_action,
        false,
        "an action that is not served fails and leaves no row behind"
    ),
    hazard!(
        expired_action,
        false,
        "an action that comes after its time does nothing"
    ),
    hazard!(
        questions_before,
        false,
        "a query writes nothing: the action may still come, and then it is told of"
    ),
    hazard!(seal_before_action, false, "what was sealed never happens"),
    hazard!(
        undo_before_action,
        true,
        "an undo that comes first finds nothing, and keeps the action out for good"
    ),
    hazard!(
        late_action,
        true,
        "an action that comes after its undo is kept out"
    ),
    hazard!(
        duplicate_undo,
        true,
        "an undo that comes again is answered again"
    ),
    hazard!(
        undo_of_unknown,
        true,
        "an undo is done where its action was, whatever the orchestrator knows of it"
    ),
    hazard!(questions_after_undo, true, "query and seal tell of an undo"),
    hazard!(
        lost_inbox,
        true,
        "an undo of what is known to be done, and of which there is no trace, calls a person"
    ),
];

const SAME: &str = "succeeded with the same output";
const DONE: &str = "done with the same output";

fn blocked(outcome: &Outcome) -> bool {
    *outcome == Outcome::Blocked
}

fn nothing_to_do(outcome: &Outcome) -> bool {
    *outcome == Outcome::NothingToDo
}

fn compensated(outcome: &Outcome) -> bool {
    *outcome == Outcome::Compensated
}

fn sealed(outcome: &Outcome) -> bool {
    *outcome == Outcome::Sealed
}

fn absent(outcome: &Outcome) -> bool {
    *outcome == Outcome::Absent
}

async fn duplicate_action(stage: &mut Stage) -> Result<(), Stop> {
    stage.act().await?;
    stage.expect_output(action(1), SAME).await?;
    stage.expect_output(action(2), SAME).await
}

async fn two_at_once(stage: &mut Stage) -> Result<(), Stop> {
    stage.act_at_once().await?;
    stage.expect_output(action(3), SAME).await
}

async fn other_input(stage: &mut Stage) -> Result<(), Stop> {
    stage.act().await?;
    let other = action(2).with_other_input();
    stage
        .expect(other, "conflict", |outcome| {
            matches!(outcome, Outcome::Conflict(_))
        })
        .await?;
    stage.expect_output(query(1), DONE).await
}

async fn unknown_action(stage: &mut Stage) -> Result<(), Stop> {
    let unknown = action(1).of_a_stranger();
    stage
        .expect(unknown, "failed", |outcome| {
            matches!(outcome, Outcome::Failed(_))
        })
        .await?;
    stage
        .expect(query(1).of_a_stranger(), "absent", absent)
        .await
}

async fn expired_action(stage: &mut Stage) -> Result<(), Stop> {
    stage
        .expect(action(1).too_late(), "expired", |outcome| {
            *outcome == Outcome::Expired
        })
        .await?;
    stage.expect(query(1), "absent", absent).await
}

async fn questions_before(stage: &mut Stage) -> Result<(), Stop> {
    stage.expect(query(1), "absent", absent).await?;
    stage.act().await?;
    stage.expect_output(query(2), DONE).await?;
    stage.expect_output(seal(3), DONE).await
}

async fn seal_before_action(stage: &mut Stage) -> Result<(), Stop> {
    stage.expect(seal(1), "sealed", sealed).await?;
    stage.expect(seal(2), "sealed", sealed).await?;
    stage.expect(query(3), "sealed", sealed).await?;
    stage.expect(action(1), "blocked", blocked).await
}

async fn undo_before_action(stage: &mut Stage) -> Result<(), Stop> {
    stage
        .expect(undo(1, Known::Unknown), "nothing_to_do", nothing_to_do)
        .await?;
    stage.expect(action(1), "blocked", blocked).await?;
    stage
        .expect(undo(2, Known::Unknown), "nothing_to_do", nothing_to_do)
        .await?;
    stage.expect(query(1), "sealed", sealed).await
}

async fn late_action(stage: &mut Stage) -> Result<(), Stop> {
    stage.act().await?;
    stage
        .expect(undo(1, Known::Done), "compensated", compensated)
        .await?;
    stage.expect(action(1), "blocked", blocked).await?;
    stage.expect(action(2), "blocked", blocked).await
}

async fn duplicate_undo(stage: &mut Stage) -> Result<(), Stop> {
    stage.act().await?;
    stage
        .expect(undo(1, Known::Done), "compensated", compensated)
        .await?;
    stage
        .expect(undo(1, Known::Done), "compensated", compensated)
        .await?;
    stage
        .expect(undo(2, Known::Done), "compensated", compensated)
        .await
}

async fn undo_of_unknown(stage: &mut Stage) -> Result<(), Stop> {
    stage.act().await?;
    stage
        .expect(undo(1, Known::Unknown), "compensated", compensated)
        .await
}

async fn questions_after_undo(stage: &mut Stage) -> Result<(), Stop> {
    stage.act().await?;
    stage
        .expect(undo(1, Known::Done), "compensated", compensated)
        .await?;
    stage.expect(query(1), "compensated", compensated).await?;
    stage.expect(seal(2), "compensated", compensated).await
}

async fn lost_inbox(stage: &mut Stage) -> Result<(), Stop> {
    let calls = |outcome: &Outcome| matches!(outcome, Outcome::NeedsOperator(_));
    stage
        .expect(undo(1, Known::Done), "needs_operator", calls)
        .await
}
