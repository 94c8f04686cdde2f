//! Conversations: a saga begins, commands are expected, answers are given, and where it stands is told.
//!
//! Every step `x` of [`step`] is served by `shop` (`shop/x`, undone by `shop/undo_x`), has ten seconds for an attempt
//! and two attempts a second apart. [`pivot`] and [`retriable`] are served by `bank` and go on for ever.

mod acknowledging;
mod acts;
mod admission;
mod conversation;
mod failing;
mod forward;
mod intervening;
mod output_not_taken;
mod pivot;
mod retriable;
mod retrying;
mod sizes;
mod strangers;
mod undoing;
mod wire_table;

use std::collections::BTreeMap;

use saga_dsl::{
    builder::{self, Saga, StepBuilder},
    definition::{Backoff, Duration, Jitter, MaxAttempts, Retry, Unlimited},
    plan::StepIx,
};
use serde_json::{Value, json};

use crate::{
    Command, ErrorBody, Event, Input, Payload, Rejected, Status,
    gate::Live,
    ground::Op,
    input::{Cancel, Lost, Outcome, Reply, Start},
};
use conversation::Conversation;

fn retry(max_attempts: MaxAttempts) -> Retry {
    Retry {
        max_attempts: Some(max_attempts),
        backoff: Some(Backoff::Fixed),
        initial_delay: Some(Duration { ms: 1_000 }),
        jitter: Some(Jitter::None),
        non_retryable: vec!["hopeless".into()],
        ..Retry::default()
    }
}

fn unlimited() -> Retry {
    retry(MaxAttempts::Unlimited(Unlimited::Unlimited))
}

fn step(id: &str) -> StepBuilder {
    plain(id).compensation_block(&format!("shop/undo_{id}"), |undo| {
        undo.timeout = Some(Duration { ms: 10_000 });
        undo.retry = unlimited();
    })
}

/// A step without an undo.
fn plain(id: &str) -> StepBuilder {
    builder::step(id)
        .action(&format!("shop/{id}"))
        .timeout("10s")
        .retry(retry(MaxAttempts::Times(2)))
}

fn pivot(id: &str) -> StepBuilder {
    builder::step(id)
        .action(&format!("bank/{id}"))
        .timeout("10s")
        .retry(unlimited())
        .pivot()
}

fn retriable(id: &str) -> StepBuilder {
    builder::step(id)
        .action(&format!("bank/{id}"))
        .timeout("10s")
        .retry(unlimited())
        .retriable()
}

fn done(output: &Value) -> Outcome {
    Outcome::Succeeded(Payload::from_value(output.clone()))
}

fn error(code: &str) -> ErrorBody {
    ErrorBody::new(code, "")
}

fn start(input: &Value) -> Input {
    Input::Start(Start {
        input: Payload::from_value(input.clone()),
        key: None,
        labels: BTreeMap::new(),
    })
}

/// Kinds of events, for exact sequences.
fn kinds(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| match serde_json::to_value(event).expect("JSON") {
            Value::Object(fields) => fields.keys().next().cloned().unwrap_or_default(),
            other => other.to_string(),
        })
        .collect()
}
