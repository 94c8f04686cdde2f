//! What handlers answer, and what goes back to the orchestrator.
//!
//! Three words matter. *Refused* is a business no: definite, without effect, never retried.
//! *Failed* was rolled back and may be tried again; every ordinary error is that. *Needs operator*
//! is what a compensation says when no machine can do it.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use saga_proto::limits::{CODE_BYTES_MAX, ERROR_TEXT_BYTES_MAX};

/// Longer codes and messages are cut: an error that quotes a whole response must not burst a reply.
const MESSAGE_BYTES_MAX: usize = ERROR_TEXT_BYTES_MAX;

/// What a handler returns.
pub type Result<T> = std::result::Result<T, HandlerError>;

/// How an action ended; a handler that never accepts long work simply returns its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It took effect.
    Done(T),
    /// Work goes on outside the handler; [`Handle::complete`](crate::Handle::complete) tells the end.
    Accepted,
}

/// A stable code for machines and words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// For instance `card_declined`.
    pub code: Cow<'static, str>,
    /// What happened.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (mut code, mut message) = (code.into(), message.into());
        if code.len() > CODE_BYTES_MAX {
            code = code[..code.floor_char_boundary(CODE_BYTES_MAX)]
                .to_owned()
                .into();
        }
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Self { code, message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// A fault that was rolled back and may be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub fault: Fault,
    /// How long to wait; `None` leaves it to the step's policy.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            fault: Fault::new(code, message),
            retry_after: None,
        }
    }
}

/// Why a handler did not succeed.
///
/// Any [`std::error::Error`] becomes a retryable failure through `?`, with its chain of causes as the
/// message. This type is no `Error` itself: that is what makes the conversion possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerError(pub(crate) Stop);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    Failed(Failure),
    Refused(Fault),
    NeedsOperator(Fault),
}

impl<E: StdError + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self(Stop::Failed(Failure::new(
            "handler_error",
            with_causes(&error),
        )))
    }
}

/// An error's text and its causes', each told once: many errors repeat their cause in their own text.
pub(crate) fn with_causes(error: &dyn StdError) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    message
}

/// A business no. The step is refused: without effect, remembered, never retried; the saga compensates.
///
/// What the handler wrote through its transaction is rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject(Fault);

impl Reject {
    /// A refusal with a stable code and words for people.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Fault::new(code, message))
    }
}

impl From<Reject> for HandlerError {
    fn from(reject: Reject) -> Self {
        Self(Stop::Refused(reject.0))
    }
}

/// A retryable failure that says more than an ordinary error: its code, its delay, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry(Failure);

impl Retry {
    /// A failure with a stable code; the step's policy sets the delay.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Failure::new(code, message))
    }

    /// Asks to be tried again after `delay`.
    pub fn after(delay: Duration) -> Self {
        Self::new(
            "retry_later",
            "the participant asks to be tried again later",
        )
        .delay(delay)
    }

    /// Sets the delay until the next attempt.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }
}

impl From<Retry> for HandlerError {
    fn from(retry: Retry) -> Self {
        Self(Stop::Failed(retry.0))
    }
}

/// A compensation that no machine can do. It raises an incident and is rolled back.
///
/// From an action it is a mistake and treated as a retryable failure: an action that cannot be done
/// is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedsOperator(Fault);

impl NeedsOperator {
    /// Says to a person what is left to do.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Fault::new(code, message))
    }
}

impl From<NeedsOperator> for HandlerError {
    fn from(needs: NeedsOperator) -> Self {
        Self(Stop::NeedsOperator(needs.0))
    }
}

/// The answer to one command, as it travels to the orchestrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Action: took effect; the output as JSON.
    Succeeded(Bytes),
    /// Action, query, seal: a business no, without effect, sticky.
    Refused(Fault),
    /// Rolled back, may be tried again.
    Failed(Failure),
    /// Action: work goes on outside the handler.
    Accepted,
    /// In progress; ask again. For an action also the heartbeat.
    Running,
    /// Action: undone or sealed before it arrived.
    Blocked,
    /// The key was used with other content.
    Conflict,
    /// Action: came too late, nothing was done.
    Expired,
    /// Compensation: cannot be done by machine.
    NeedsOperator(Fault),
    /// Compensation: the action had no effect and never will.
    NothingToDo,
    /// Compensation: undone. Query, seal: was undone before.
    Compensated,
    /// Query: no row; the action may still arrive.
    Absent,
    /// Query, seal: took effect; the output as JSON.
    Done(Bytes),
    /// Query, seal: has not happened and never will.
    Sealed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("seat map unreadable")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_ordinary_error_is_retryable_and_keeps_its_causes() {
        let error = HandlerError::from(Outer(std::io::Error::other("disk gone")));
        let Stop::Failed(failure) = error.0 else {
            panic!("not retryable: {error:?}")
        };
        assert_eq!(failure.fault.message, "seat map unreadable: disk gone");
        assert_eq!(failure.retry_after, None);
    }

    #[test]
    fn endless_words_are_cut_between_characters() {
        let fault = Fault::new("é".repeat(100), "é".repeat(5_000));
        assert_eq!((fault.code.len(), fault.message.len()), (128, 4_096));
        let odd = Fault::new("c", format!("x{}", "é".repeat(5_000)));
        assert_eq!(odd.message.len(), 4_095);
    }

    #[test]
    fn reject_and_retry_convert_through_the_question_mark() {
        fn refuse() -> Result<()> {
            Err(Reject::new("flight_full", "no seat left"))?
        }
        fn later() -> Result<()> {
            Err(Retry::after(Duration::from_secs(3)))?
        }
        assert!(matches!(refuse(), Err(HandlerError(Stop::Refused(f))) if f.code == "flight_full"));
        assert!(
            matches!(later(), Err(HandlerError(Stop::Failed(f))) if f.retry_after == Some(Duration::from_secs(3)))
        );
    }
}
