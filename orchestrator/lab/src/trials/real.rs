//! Real handlers in this process, on their real inboxes, tried with the same cases.
//!
//! What a handler cannot be told to do (refuse, fail) is answered in its place and never reaches it; a refusal given
//! in its place is remembered, as its inbox would.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use saga_core::{
    ErrorBody, Op as CoreOp, Payload, SagaId, effect::Known as CoreKnown, input::Outcome,
};
use saga_dsl::test_file::{Answer as Told, Words};
use saga_participant::{
    Answer, Failure, Fault, Known, Op, StepKey, Store,
    inbox::Ask,
    testing::{Harness, bare},
};
use uuid::Uuid;

use super::cast::{Call, Cast, Effects};

type Answering = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;
type Counting = Pin<Box<dyn Future<Output = BTreeMap<String, Effects>> + Send>>;

/// Participants of the SDK without a server.
pub struct Real {
    participants: BTreeMap<String, Box<dyn Fn(Ask) -> Answering + Send>>,
    ledger: Box<dyn Fn(SagaId) -> Counting + Send>,
    refused: BTreeMap<(SagaId, String, u32), ErrorBody>,
}

impl Real {
    /// `ledger` counts what is really there, by step id: not what the participants say, but what they did.
    pub fn new<F, Fut>(ledger: F) -> Self
    where
        F: Fn(SagaId) -> Fut + Send + 'static,
        Fut: Future<Output = BTreeMap<String, Effects>> + Send + 'static,
    {
        let ledger = Box::new(move |saga| -> Counting { Box::pin(ledger(saga)) });
        Self {
            participants: BTreeMap::new(),
            ledger,
            refused: BTreeMap::new(),
        }
    }

    /// With the participant that saga files call `name`.
    #[must_use]
    pub fn with<S: Store>(mut self, name: impl Into<String>, participant: Harness<S>) -> Self {
        let participant = Arc::new(participant);
        let answer = move |ask: Ask| -> Answering {
            let participant = Arc::clone(&participant);
            Box::pin(async move { participant.deliver_ask(ask).await })
        };
        self.participants.insert(name.into(), Box::new(answer));
        self
    }
}

impl Cast for Real {
    async fn take(&mut self, call: &Call<'_>, told: Option<&Told>) -> Outcome {
        let command = call.command;
        let key = (command.saga_id, call.step.to_owned(), command.round);
        if let Some(error) = self.refused.get(&key) {
            return match command.op {
                CoreOp::Action | CoreOp::Query | CoreOp::Seal => Outcome::Refused(error.clone()),
                CoreOp::Compensation => Outcome::NothingToDo,
            };
        }
        match (told, command.op) {
            (Some(Told::Refuse(words)), CoreOp::Action) => {
                self.refused.insert(key, error(words));
                return Outcome::Refused(error(words));
            }
            (Some(Told::Fail(words, after)), CoreOp::Action | CoreOp::Compensation) => {
                return Outcome::Failed(ErrorBody {
                    retry_after_ms: *after,
                    ..error(words)
                });
            }
            (Some(Told::Refuse(words) | Told::NeedsOperator(words)), CoreOp::Compensation) => {
                return Outcome::NeedsOperator(error(words));
            }
            (Some(Told::NeedsOperator(words)), CoreOp::Action) => {
                return Outcome::Failed(error(words));
            }
            (Some(_) | None, _) => {}
        }
        let Some(participant) = self.participants.get(call.participant) else {
            return Outcome::Failed(ErrorBody::new(
                "unknown_participant",
                "no such participant takes part in the trial",
            ));
        };
        match participant(ask(call)).await {
            Some(answer) => outcome(answer),
            None => Outcome::Running,
        }
    }

    async fn effects(&mut self, saga: SagaId) -> BTreeMap<String, Effects> {
        (self.ledger)(saga).await
    }
}

fn error(words: &Words) -> ErrorBody {
    ErrorBody::new(words.code.as_str(), words.message.as_str())
}

fn ask(call: &Call<'_>) -> Ask {
    let command = call.command;
    let saga_id = Uuid::from_bytes(command.saga_id.to_bytes());
    let key = StepKey {
        saga_id,
        step: call.step.into(),
        round: command.round,
    };
    let op = match command.op {
        CoreOp::Action => Op::Action,
        CoreOp::Compensation => Op::Compensation,
        CoreOp::Query => Op::Query,
        CoreOp::Seal => Op::Seal,
    };
    Ask {
        attempt: command.attempt,
        action: call.action.to_owned(),
        input: Bytes::copy_from_slice(command.input.text().as_bytes()),
        known: match command.known {
            Some(CoreKnown::Done) => Known::Done,
            Some(CoreKnown::Unknown) | None => Known::Unknown,
        },
        // The inbox reads a real clock, so that a lifetime in virtual time is over or has no end.
        not_after_us: i64::from(call.expired),
        retain_until_us: i64::MAX,
        fingerprint: command.fingerprint,
        definition: call.definition.to_owned(),
        ..bare(key, op)
    }
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Succeeded(output) => {
            payload(&output).map_or_else(Outcome::Failed, Outcome::Succeeded)
        }
        Answer::Done(output) => payload(&output).map_or_else(Outcome::Failed, Outcome::Done),
        Answer::Refused(fault) => Outcome::Refused(of_fault(fault)),
        Answer::Failed(Failure { fault, retry_after }) => {
            let retry_after_ms =
                retry_after.and_then(|after| u64::try_from(after.as_millis()).ok());
            Outcome::Failed(ErrorBody {
                retry_after_ms,
                ..of_fault(fault)
            })
        }
        Answer::Accepted => Outcome::Accepted,
        Answer::Running => Outcome::Running,
        Answer::Blocked => Outcome::Blocked,
        Answer::Conflict => Outcome::Conflict(ErrorBody::new(
            "conflict",
            "the key was used with other content",
        )),
        Answer::Expired => Outcome::Expired,
        Answer::NeedsOperator(fault) => Outcome::NeedsOperator(of_fault(fault)),
        Answer::NothingToDo => Outcome::NothingToDo,
        Answer::Compensated => Outcome::Compensated,
        Answer::Absent => Outcome::Absent,
        Answer::Sealed => Outcome::Sealed,
    }
}

fn of_fault(fault: Fault) -> ErrorBody {
    ErrorBody::new(fault.code, fault.message)
}

fn payload(output: &[u8]) -> Result<Payload, ErrorBody> {
    Payload::from_bytes(output)
        .map_err(|error| ErrorBody::new("output_not_json", error.to_string()))
}
