//! Words that inputs, events, state and gate share. They import nothing of each other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a command asks of the participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Run the action.
    Action,
    /// Undo it.
    Compensation,
    /// What became of it?
    Query,
    /// As a query, but if it has not happened, it never may.
    Seal,
}

/// Why a step may not be sent now. It waits, and no attempt is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// No live instance of the participant.
    NoParticipant,
    /// The live instances do not serve the action.
    NoAction,
    /// Effects there may happen more than once, and the file does not accept that.
    NotTransactional,
    /// The action might still arrive; it is undone when its time has passed.
    ActionMayArrive,
    /// The broker between us and the participant cannot be reached.
    BrokerAway,
    /// The broker between us and the participant is short of memory or disk, and takes nothing.
    BrokerBlocked,
    /// The action's breaker is open, or one probe is on its way and decides.
    BreakerOpen,
    /// The action's breaker has closed, and who waited is let through a few at a time.
    BreakerRecovering,
    /// As many commands are outstanding at the participant as may be.
    MaxInFlight,
    /// As many commands were sent to the participant as may be in a while.
    RateLimited,
}

impl Wait {
    /// Whether a limit or a breaker holds the step back, and not who is connected.
    #[must_use]
    pub fn is_guarded(self) -> bool {
        match self {
            Self::BreakerOpen | Self::BreakerRecovering | Self::MaxInFlight | Self::RateLimited => {
                true
            }
            Self::NoParticipant
            | Self::NoAction
            | Self::NotTransactional
            | Self::ActionMayArrive
            | Self::BrokerAway
            | Self::BrokerBlocked => false,
        }
    }
}

/// What operators can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Try again now.
    Retry,
    /// Try again with another payload.
    RetryEdited,
    /// Go on without the step, or without its undo.
    Skip,
    /// It took effect.
    ResolveSucceeded,
    /// It did not.
    ResolveFailed,
    /// End the saga as it is.
    Abandon,
    /// Take note of what nothing settles.
    Acknowledge,
}

impl Verb {
    /// Its stable name, as journals and the audit list have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RetryEdited => "retry_edited",
            Self::Skip => "skip",
            Self::ResolveSucceeded => "resolve_succeeded",
            Self::ResolveFailed => "resolve_failed",
            Self::Abandon => "abandon",
            Self::Acknowledge => "acknowledge",
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoParticipant => "no live participant",
            Self::NoAction => "the participant does not serve this action",
            Self::NotTransactional => {
                "the participant's inbox is not transactional and the step does not say `at_least_once: true`"
            }
            Self::ActionMayArrive => "the action may still arrive, undo waits until its time has passed",
            Self::BrokerAway => "the broker cannot be reached",
            Self::BrokerBlocked => "the broker takes no messages (memory or disk alarm)",
            Self::BreakerOpen => "its breaker is open",
            Self::BreakerRecovering => {
                "its breaker has just closed, and who waited is let through a few at a time"
            }
            Self::MaxInFlight => "the participant has as many commands as its `max_in_flight` allows",
            Self::RateLimited => "the participant has been sent as many commands as its `rate_limit` allows",
        })
    }
}
