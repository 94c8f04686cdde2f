//! Between the messages of the wire and the types of the engine. On the hot path: nothing is copied twice.

use std::sync::Arc;

use bytes::Bytes;
use saga_core::{
    ErrorBody, Op, Payload, SagaId, command::addressee, effect::Known, input::Outcome,
};
use saga_proto::{limits, v1 as wire};

use saga_engine::{
    document::{self, clean_text},
    lane::intake::Incoming,
    link::Outgoing,
};

/// Longest message of an error, in bytes; longer ones are cut.
pub const MESSAGE_BYTES_MAX: usize = limits::ERROR_TEXT_BYTES_MAX;
/// Longest code of an error, in bytes.
pub const CODE_BYTES_MAX: usize = limits::CODE_BYTES_MAX;

// The core, which knows no wire, holds what it makes to the sizes of the contract.
const _: () = assert!(saga_core::limits::DOCUMENT_BYTES_MAX == limits::DOCUMENT_BYTES_MAX);
const _: () = assert!(saga_core::limits::UNDO_BYTES_MAX == limits::UNDO_BYTES_MAX);

/// A command as the participant gets it.
pub fn command(outgoing: &Outgoing) -> wire::Command {
    let Outgoing {
        plan,
        command,
        alone: _,
    } = outgoing;
    let step = plan.step(command.step).map_or("", |step| step.id.as_str());
    let action = addressee(plan, command.step, command.op).map_or("", |(_, action)| action);
    wire::Command {
        saga_id: Bytes::copy_from_slice(&command.saga_id.to_bytes()),
        step: step.to_owned(),
        round: command.round,
        op: op_to_wire(command.op).into(),
        attempt: command.attempt,
        action: action.to_owned(),
        input: Bytes::copy_from_slice(command.input.text().as_bytes()),
        known: match command.known {
            None => wire::Known::Unspecified,
            Some(Known::Done) => wire::Known::Done,
            Some(Known::Unknown) => wire::Known::Unknown,
        }
        .into(),
        not_after_us: command.not_after.map_or(0, |at| at.0),
        retain_until_us: command.retain_until.0,
        fingerprint: command.fingerprint,
        definition: plan.definition.saga.clone(),
        traceparent: String::new(),
        tracestate: String::new(),
        timeout_ms: command.timeout_ms,
    }
}

/// About how many bytes a command takes on the wire.
pub fn command_bytes(outgoing: &Outgoing) -> usize {
    const ENVELOPE: usize = 192;
    outgoing.command.input.text().len() + ENVELOPE
}

fn op_to_wire(op: Op) -> wire::Op {
    match op {
        Op::Action => wire::Op::Action,
        Op::Compensation => wire::Op::Compensation,
        Op::Query => wire::Op::Query,
        Op::Seal => wire::Op::Seal,
    }
}

/// Why a reply was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// The saga's id has another length.
    #[error("the saga id is not 16 bytes")]
    SagaId,
    /// Nothing that could have been asked.
    #[error("the op is missing, unknown, or never answered")]
    Op,
    /// Nothing that could have been answered.
    #[error("the outcome is missing or unknown")]
    Outcome,
}

/// A reply as the lane takes it. Who answered is the session's word, never the message's.
///
/// # Errors
/// [`Nonsense`] when it cannot be told which command it answers, or how.
pub fn reply(participant: &Arc<str>, reply: wire::Reply) -> Result<Incoming, Nonsense> {
    let saga_id = SagaId::from_bytes(&reply.saga_id).ok_or(Nonsense::SagaId)?;
    let op = match reply.op() {
        wire::Op::Action => Op::Action,
        wire::Op::Compensation => Op::Compensation,
        wire::Op::Query => Op::Query,
        wire::Op::Seal => Op::Seal,
        wire::Op::Unspecified | wire::Op::Forget => return Err(Nonsense::Op),
    };
    let outcome = match reply.outcome() {
        wire::Outcome::Unspecified => return Err(Nonsense::Outcome),
        wire::Outcome::Succeeded => output(&reply.output, Outcome::Succeeded),
        wire::Outcome::Done => output(&reply.output, Outcome::Done),
        wire::Outcome::Refused => Outcome::Refused(error(reply.error)),
        wire::Outcome::Failed => Outcome::Failed(error(reply.error)),
        wire::Outcome::Conflict => Outcome::Conflict(error(reply.error)),
        wire::Outcome::NeedsOperator => Outcome::NeedsOperator(error(reply.error)),
        wire::Outcome::Accepted => Outcome::Accepted,
        wire::Outcome::Running => Outcome::Running,
        wire::Outcome::Blocked => Outcome::Blocked,
        wire::Outcome::Expired => Outcome::Expired,
        wire::Outcome::NothingToDo => Outcome::NothingToDo,
        wire::Outcome::Compensated => Outcome::Compensated,
        wire::Outcome::Absent => Outcome::Absent,
        wire::Outcome::Sealed => Outcome::Sealed,
    };
    Ok(Incoming {
        saga_id,
        step: reply.step,
        round: reply.round,
        op,
        attempt: reply.attempt,
        participant: Arc::clone(participant),
        outcome,
    })
}

/// An outcome with an output. The effect stands even if the output is not let in; a repetition would bring the same one.
fn output(bytes: &Bytes, outcome: fn(Payload) -> Outcome) -> Outcome {
    // A handler that returns nothing may send nothing.
    let bytes = if bytes.is_empty() {
        b"null"
    } else {
        &bytes[..]
    };
    match document::read(bytes) {
        Ok(payload) => outcome(payload),
        Err(fault) => Outcome::OutputNotTaken(ErrorBody::new(
            "bad_output",
            format!("the output is not taken: {fault}"),
        )),
    }
}

fn error(error: Option<wire::ErrorBody>) -> ErrorBody {
    let Some(error) = error else {
        return ErrorBody::new("unspecified", "");
    };
    let code = clean_text(error.code, CODE_BYTES_MAX);
    ErrorBody {
        code: if code.is_empty() {
            "unspecified".to_owned()
        } else {
            code
        },
        message: clean_text(error.message, MESSAGE_BYTES_MAX),
        retry_after_ms: (error.retry_after_ms > 0).then_some(error.retry_after_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn succeeded(output: &'static [u8]) -> wire::Reply {
        wire::Reply {
            saga_id: Bytes::from_static(&[7; 16]),
            step: "charge".to_owned(),
            round: 1,
            op: wire::Op::Action.into(),
            attempt: 2,
            outcome: wire::Outcome::Succeeded.into(),
            output: Bytes::from_static(output),
            error: None,
        }
    }

    fn taken(message: wire::Reply) -> Result<Outcome, Nonsense> {
        reply(&Arc::from("payments"), message).map(|incoming| incoming.outcome)
    }

    #[test]
    fn outputs_are_documents_and_an_absent_one_is_null() {
        let null = Payload::from_value(serde_json::Value::Null);
        assert_eq!(taken(succeeded(b"")), Ok(Outcome::Succeeded(null)));
        let Ok(Outcome::OutputNotTaken(error)) = taken(succeeded(b"{oops")) else {
            panic!("must fail")
        };
        assert_eq!(error.code, "bad_output");
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(
            taken(wire::Reply {
                saga_id: Bytes::new(),
                ..succeeded(b"")
            }),
            Err(Nonsense::SagaId)
        );
        assert_eq!(
            taken(wire::Reply {
                op: 5,
                ..succeeded(b"")
            }),
            Err(Nonsense::Op)
        );
        assert_eq!(
            taken(wire::Reply {
                outcome: 99,
                ..succeeded(b"")
            }),
            Err(Nonsense::Outcome)
        );
    }

    #[test]
    fn errors_are_cut_and_cleaned() {
        let body = wire::ErrorBody {
            code: String::new(),
            message: "x\0".repeat(5_000),
            retry_after_ms: 0,
        };
        let message = wire::Reply {
            outcome: wire::Outcome::Refused.into(),
            error: Some(body),
            ..succeeded(b"")
        };
        let Ok(Outcome::Refused(error)) = taken(message) else {
            panic!("must be refused")
        };
        assert_eq!(
            (error.code.as_str(), error.message.len()),
            ("unspecified", MESSAGE_BYTES_MAX)
        );
        assert!(!error.message.contains('\0') && error.retry_after_ms.is_none());
    }
}
