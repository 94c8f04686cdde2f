//! Who plays the participants.

use std::{collections::BTreeMap, future::Future};

use saga_core::{Command, Op, SagaId, input::Outcome};
use saga_dsl::test_file::Answer;
use serde_json::Value;

/// A command as it reaches a participant.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Who is asked.
    pub participant: &'a str,
    /// For what.
    pub action: &'a str,
    /// Id of the step.
    pub step: &'a str,
    /// The command.
    pub command: &'a Command,
    /// Its lifetime has passed.
    pub expired: bool,
    /// Name of the definition.
    pub definition: &'a str,
    /// What the action returns, where nothing real is there to return something.
    pub sample: &'a Value,
}

impl Call<'_> {
    /// `participant/action`, and what is asked where it is no plain call.
    #[must_use]
    pub fn name(&self) -> String {
        match self.command.op {
            Op::Action | Op::Compensation => format!("{}/{}", self.participant, self.action),
            Op::Query => format!("{}/{} (question)", self.participant, self.action),
            Op::Seal => format!("{}/{} (seal)", self.participant, self.action),
        }
    }
}

/// Business effects of one step, counted where they were committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    /// How often its action took effect.
    pub acted: u32,
    /// How often its undo did.
    pub undone: u32,
}

/// Participants that can be asked. They keep their own inbox: what reaches them twice takes effect once.
pub trait Cast {
    /// Answers a command. `told` is what the handler must do, if one is run; `None`: what it does by itself.
    fn take(&mut self, call: &Call<'_>, told: Option<&Answer>) -> impl Future<Output = Outcome>;

    /// The business effects of a saga by step id, from a ledger that has no unique keys.
    fn effects(&mut self, saga: SagaId) -> impl Future<Output = BTreeMap<String, Effects>>;
}
