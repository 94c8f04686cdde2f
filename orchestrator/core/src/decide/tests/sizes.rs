//! Documents beyond their size: the step that asked for too much says so, with part and size, and nothing else suffers.

use super::*;
use crate::{
    event::IncidentKind,
    limits::{DOCUMENT_BYTES_MAX, TOO_LARGE, UNDO_BYTES_MAX},
};
use saga_dsl::definition::Input as Payloads;

/// A JSON text of so many bytes.
fn text(bytes: usize) -> Value {
    Value::from("x".repeat(bytes - 2))
}

/// A step that is asked for `{"doc": …}` of so many bytes.
fn doubled(id: &str) -> StepBuilder {
    step(id).input(json!({"doc": "${input.doc}"}))
}

fn input_for(bytes: usize) -> Value {
    json!({"doc": text(bytes - json!({"doc": 0}).to_string().len() + 1)})
}

#[track_caller]
fn names(error: &ErrorBody, part: &str, bytes: usize, limit: usize) {
    assert_eq!(error.code, TOO_LARGE, "{error}");
    let sizes = format!("{bytes} bytes are more than the limit of {limit}");
    assert!(
        error.message.starts_with(part) && error.message.ends_with(&sizes),
        "{error}"
    );
}

#[test]
fn the_largest_input_is_sent_and_a_larger_one_fails_its_step() {
    let mut talk = Conversation::begun_with(
        Saga::new("s", 1).step(doubled("a")),
        &input_for(DOCUMENT_BYTES_MAX),
    );
    talk.sends(&["a"]).is(Status::Running);

    let saga = Saga::new("s", 1).step(step("a")).step(doubled("b"));
    let mut talk = Conversation::begun_with(saga, &input_for(DOCUMENT_BYTES_MAX + 1));
    talk.succeeds("a")
        .is(Status::Compensating)
        .sends(&["a", "undo a"]);
    let failure = talk.state.failure.clone().expect("a failure");
    assert_eq!(failure.step, Some(talk.ix("b")));
    names(
        &failure.error,
        "input of `b`",
        DOCUMENT_BYTES_MAX + 1,
        DOCUMENT_BYTES_MAX,
    );
}

#[test]
fn after_the_pivot_a_larger_input_is_an_incident_of_its_step() {
    let saga = Saga::new("s", 1)
        .step(pivot("p"))
        .step(retriable("r").input(json!({"doc": "${input.doc}"})));
    let mut talk = Conversation::begun_with(saga, &input_for(DOCUMENT_BYTES_MAX + 1));
    talk.succeeds("p").calls(&["expression r"]);
    names(
        &talk.state.incidents[0].incident.error,
        "input of `r`",
        DOCUMENT_BYTES_MAX + 1,
        DOCUMENT_BYTES_MAX,
    );
    talk.sends(&["p"]);
    let smaller = Some(Payload::from_value(json!({"doc": "less"})));
    talk.orders(
        crate::input::Order::Retry { input: smaller },
        Some("r"),
        false,
    )
    .expect("mended");
    talk.sends(&["r"]).succeeds("r").is(Status::Completed);
}

#[test]
fn an_undo_carries_the_largest_input_and_output() {
    let saga = Saga::new("s", 1).step(doubled("a")).step(step("b"));
    let mut talk = Conversation::begun_with(saga, &input_for(DOCUMENT_BYTES_MAX));
    talk.answers("a", done(&text(DOCUMENT_BYTES_MAX)))
        .refuses("b")
        .is(Status::Compensating);
    let payload = talk
        .sent
        .last()
        .map(|command| command.input.text().len())
        .expect("an undo");
    assert!(
        (2 * DOCUMENT_BYTES_MAX..=UNDO_BYTES_MAX).contains(&payload),
        "{payload}"
    );
    talk.answers("a", Outcome::Compensated)
        .is(Status::Compensated);
}

#[test]
fn an_undo_beyond_its_size_is_stuck_and_others_go_on() {
    let undo = builder::step("a")
        .action("shop/a")
        .timeout("10s")
        .retry(retry(MaxAttempts::Times(2)));
    let thrice = ["a", "b", "c"]
        .map(|field| (field.to_owned(), json!("${input.doc}")))
        .into_iter()
        .collect();
    let undo = undo.compensation_block("shop/undo_a", |undo| {
        undo.timeout = Some(Duration { ms: 10_000 });
        undo.input = Some(Payloads::Value(thrice));
    });
    let saga = Saga::new("s", 1).step(step("z")).step(undo).step(step("b"));
    let mut talk = Conversation::begun_with(saga, &input_for(DOCUMENT_BYTES_MAX));
    talk.succeeds("z")
        .succeeds("a")
        .refuses("b")
        .calls(&["undo_stuck a"])
        .shows("a", "undo_stuck");
    let incident = &talk.state.incidents[0].incident;
    assert_eq!(incident.kind, IncidentKind::UndoStuck);
    assert!(
        incident
            .error
            .message
            .ends_with(&format!("the limit of {UNDO_BYTES_MAX}")),
        "{}",
        incident.error
    );
    let smaller = Some(Payload::from_value(json!("less")));
    talk.orders(
        crate::input::Order::Retry { input: smaller },
        Some("a"),
        false,
    )
    .expect("mended");
    talk.answers("a", Outcome::Compensated)
        .answers("z", Outcome::Compensated)
        .is(Status::Compensated);
}

/// Steps `a` and `b`, whose outputs are the saga's output.
fn completed(bytes: usize) -> Conversation {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("a")).step(step("b")));
    let around = json!({"a": 0, "b": 0}).to_string().len() - 2;
    talk.answers("a", done(&text(bytes / 2)))
        .answers("b", done(&text(bytes - bytes / 2 - around)));
    talk
}

#[test]
fn the_largest_default_output_is_kept() {
    let talk = completed(DOCUMENT_BYTES_MAX);
    assert_eq!(talk.state.status, Status::Completed);
    assert_eq!(
        talk.state.output.as_ref().map(|output| output.text().len()),
        Some(DOCUMENT_BYTES_MAX)
    );
    assert_eq!(talk.state.output_error, None);
}

#[test]
fn a_larger_default_output_completes_without_one_and_says_why() {
    let talk = completed(DOCUMENT_BYTES_MAX + 1);
    assert_eq!(
        (talk.state.status, &talk.state.output),
        (Status::Completed, &None)
    );
    let error = talk.state.output_error.as_deref().expect("it says why");
    names(
        error,
        "the outputs of all steps together",
        DOCUMENT_BYTES_MAX + 1,
        DOCUMENT_BYTES_MAX,
    );
}

#[test]
fn a_written_output_beyond_its_size_completes_without_one() {
    let saga = Saga::new("s", 1)
        .step(step("a"))
        .output(json!({"x": "${input.doc}"}));
    let mut talk = Conversation::begun_with(saga, &input_for(DOCUMENT_BYTES_MAX + 2 + 1));
    talk.succeeds("a").is(Status::Completed);
    let error = talk.state.output_error.as_deref().expect("it says why");
    names(error, "output", DOCUMENT_BYTES_MAX + 1, DOCUMENT_BYTES_MAX);
}

/// As a journal of an older release has it.
fn with_stored_input(talk: &mut Conversation, id: &str, bytes: usize) {
    let at = talk.ix(id).at();
    talk.state.steps[at].input = Some(Payload::from_value(text(bytes)));
}

#[test]
fn an_input_of_an_older_release_that_no_road_takes_ends_its_step() {
    let mut talk = Conversation::begun(Saga::new("s", 1).step(step("z")).step(step("a")));
    talk.succeeds("z").sends(&["z", "a"]);
    with_stored_input(&mut talk, "a", UNDO_BYTES_MAX + 1);
    talk.loses("a", false)
        .passes(1_000)
        .is(Status::Compensating);
    let failure = talk.state.failure.clone().expect("a failure");
    names(
        &failure.error,
        "payload of the command",
        UNDO_BYTES_MAX + 1,
        UNDO_BYTES_MAX,
    );
    // Nobody knows of the attempt before, so it is undone; its undo would have to carry the same input.
    talk.calls(&["undo_stuck a"]);
}
