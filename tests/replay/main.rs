//! Old journals replay for ever: the journals that a release wrote, folded by the code of today.
//!
//! `tests/fixtures/journal-1/` was written by release 0.1.0 for sagas of its `definition.json`. Fixtures are added, never
//! changed: a journal that no longer folds to what it meant is a broken promise, not an old test. Three of them have the rows of
//! `completed.json` with a contradiction in their midst: `contradicted.json` as that release recorded it, the others as it is
//! recorded since contradictions outlive their sagas.

#![allow(
    clippy::expect_used,
    reason = "a fixture that cannot be read is a failure"
)]

use std::{fs, path::PathBuf};

use saga_core::{
    Payload, Record, SagaId, SagaState, Status, Timestamp, apply_record, command::outstanding,
    scope::status_word,
};
use saga_dsl::plan::Plan;
use serde::Deserialize;

#[derive(Deserialize)]
struct Journal {
    saga: SagaId,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    seq: u64,
    at: Timestamp,
    body: Record,
}

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/journal-1")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The saga as its journal leaves it, with the words of its steps.
fn replayed(name: &str) -> (SagaState, Vec<&'static str>) {
    let plan =
        Plan::from_canonical(read("definition.json").trim_end()).expect("the definition loads");
    let journal: Journal = serde_json::from_str(&read(name)).expect("the journal is read");
    let state = journal
        .rows
        .iter()
        .fold(SagaState::unborn(journal.saga), |state, row| {
            assert_eq!(row.seq, state.seq + 1);
            apply_record(state, &row.body, row.at)
        });
    assert_eq!(state.steps.len(), plan.steps.len());
    assert!(
        !state.status.is_end() || outstanding(&plan, &state).is_empty(),
        "an ended saga owes nothing"
    );
    let words = state.steps.iter().map(status_word).collect();
    (state, words)
}

#[test]
fn a_completed_saga() {
    let (state, steps) = replayed("completed.json");
    assert_eq!(state.status, Status::Completed);
    assert_eq!(steps, ["succeeded"; 4]);
    let output = state.output.as_ref().map(Payload::text);
    assert_eq!(
        output,
        Some(r#"{"flight":"F-0002","hotel":"H-0002","receipt":"R-0002"}"#)
    );
}

#[test]
fn a_saga_whose_pivot_was_refused() {
    let (state, steps) = replayed("refused.json");
    assert_eq!(state.status, Status::Compensated);
    assert_eq!(steps, ["compensated", "compensated", "refused", "pending"]);
    assert_eq!(
        state
            .failure
            .as_ref()
            .map(|failure| failure.error.code.as_str()),
        Some("card_declined")
    );
}

#[test]
fn a_saga_with_retries() {
    let (state, steps) = replayed("retried.json");
    assert_eq!(state.status, Status::Completed);
    assert_eq!(steps, ["succeeded"; 4]);
    assert_eq!(
        state
            .steps
            .iter()
            .map(|step| step.attempts)
            .collect::<Vec<_>>(),
        [1, 3, 1, 1]
    );
}

#[test]
fn a_saga_that_was_cancelled_while_it_waited() {
    let (state, steps) = replayed("cancelled.json");
    assert_eq!(state.status, Status::Compensated);
    assert_eq!(steps, ["waiting", "waiting", "pending", "pending"]);
    assert_eq!(state.cancel.as_deref(), Some("changed my mind"));
}

#[test]
fn a_contradiction_that_ended_with_its_saga() {
    let (state, steps) = replayed("contradicted.json");
    assert_eq!(
        (state.status, steps),
        (Status::Completed, vec!["succeeded"; 4])
    );
    assert!(state.incidents.is_empty() && !state.exceptions);
}

#[test]
fn a_contradiction_that_outlived_its_saga() {
    let (state, _) = replayed("contradicted_lasting.json");
    assert_eq!(
        (state.status, state.incidents.len()),
        (Status::Completed, 1)
    );
    assert!(state.exceptions);
}

#[test]
fn a_contradiction_that_was_acknowledged() {
    let (state, _) = replayed("acknowledged.json");
    assert_eq!(
        (state.status, state.incidents.len()),
        (Status::Completed, 0)
    );
    assert!(state.exceptions);
}

#[test]
fn an_open_saga_that_waits() {
    let (state, steps) = replayed("waiting.json");
    assert_eq!(state.status, Status::Running);
    assert_eq!(steps, ["waiting", "waiting", "pending", "pending"]);
    assert!(
        state.next_due().is_some(),
        "an open saga has a timer or an outstanding command"
    );
}
