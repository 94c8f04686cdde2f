//! Saga files of the tests. An attempt may take longer than any test waits, so that nothing is saved by a timeout.

/// One compensatable step.
pub const SINGLE: &str = r#"
saga: single
version: 1
input: {n: int, text: optional string, tags: [string]}
defaults:
  timeout: 50s
  retry: {initial_delay: 20ms, max_delay: 100ms, max_attempts: 10}
  compensation_retry: {initial_delay: 20ms, max_delay: 100ms}
steps:
  - {step: first, action: left/act, input: {n: '${input.n}', text: "${has(input.text) ? input.text : ''}"}, compensation: left/undo}
"#;

/// Compensatable, pivot, retriable, at two participants.
pub const WHOLE: &str = "
saga: whole
version: 1
input: {n: int}
defaults:
  timeout: 50s
  retry: {initial_delay: 20ms, max_delay: 100ms}
  compensation_retry: {initial_delay: 20ms, max_delay: 100ms}
steps:
  - {step: first, action: left/act, input: [n], compensation: left/undo}
  - {step: pivot, kind: pivot, action: right/act, input: [n]}
  - {step: last, kind: retriable, action: left/act, input: [n]}
";

/// Two compensatable steps after each other, at two participants.
pub const PAIR: &str = "
saga: pair
version: 1
input: {n: int}
defaults:
  timeout: 50s
  retry: {initial_delay: 20ms, max_delay: 100ms}
  compensation_retry: {initial_delay: 20ms, max_delay: 100ms}
steps:
  - {step: first, action: left/act, input: [n], compensation: left/undo}
  - {step: second, action: right/act, input: [n], compensation: right/undo}
";

/// [`PAIR`] at participants whose inbox forgets.
pub const PAIR_AT_LEAST_ONCE: &str = "
saga: pair
version: 1
input: {n: int}
defaults:
  timeout: 50s
  retry: {initial_delay: 20ms, max_delay: 100ms}
  compensation_retry: {initial_delay: 20ms, max_delay: 100ms}
steps:
  - {step: first, action: left/act, input: [n], compensation: left/undo, at_least_once: true}
  - {step: second, action: right/act, input: [n], compensation: right/undo, at_least_once: true}
";
