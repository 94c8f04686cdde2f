//! What the shell says about sending now, as plain data.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::input::Op;

/// Who can be reached at the moment of a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// Connected participants by name.
    pub participants: BTreeMap<String, Live>,
    /// Why nobody can be heard who comes by way of the broker; `None`: everybody can.
    pub unheard: Option<Wait>,
}

/// A participant with at least one live instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Actions and compensations that its live instances serve.
    pub actions: BTreeSet<String>,
    /// Whether its inbox shares a transaction with the business writes.
    pub transactional: bool,
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
        })
    }
}

impl Gate {
    /// May a command go out now?
    ///
    /// # Errors
    /// The reason to wait.
    pub fn admit(&self, participant: &str, action: &str, op: Op, at_least_once: bool) -> Result<(), Wait> {
        let live = self.participants.get(participant).ok_or(self.unheard.unwrap_or(Wait::NoParticipant))?;
        match op {
            Op::Action | Op::Compensation if !live.actions.contains(action) => Err(Wait::NoAction),
            // An inbox that may have forgotten proves nothing: neither what it has not seen nor what it seals.
            Op::Action | Op::Query | Op::Seal if !live.transactional && !at_least_once => {
                Err(Wait::NotTransactional)
            }
            // Undo of what was sent is never held back by the kind of the inbox.
            Op::Action | Op::Compensation | Op::Query | Op::Seal => Ok(()),
        }
    }
}
