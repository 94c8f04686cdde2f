//! Between the wire's messages and the kit's own words; nothing else knows both.

use std::{sync::Arc, time::Duration};

use saga_proto::v1;
use uuid::Uuid;

use crate::{
    command::{Ask, Known, Op, StepKey},
    execute::Core,
    inbox::{Inbox, Kind, Store},
    reply::{Answer, Failure, Fault},
};

/// A command that cannot be read, so that nobody could be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The saga's id has another length.
    #[error("the saga id has {0} bytes instead of 16")]
    SagaId(usize),
    /// The number of an operation that a later version may know.
    #[error("operation {0} is unknown to this version")]
    Op(i32),
}

pub(crate) fn ask(command: v1::Command) -> Result<Ask, Unreadable> {
    let saga_id = Uuid::from_slice(&command.saga_id)
        .map_err(|_| Unreadable::SagaId(command.saga_id.len()))?;
    let op = match v1::Op::try_from(command.op) {
        Ok(v1::Op::Action) => Op::Action,
        Ok(v1::Op::Compensation) => Op::Compensation,
        Ok(v1::Op::Query) => Op::Query,
        Ok(v1::Op::Seal) => Op::Seal,
        Ok(v1::Op::Forget) => Op::Forget,
        Ok(v1::Op::Unspecified) | Err(_) => return Err(Unreadable::Op(command.op)),
    };
    let known = if command.known() == v1::Known::Done {
        Known::Done
    } else {
        Known::Unknown
    };
    Ok(Ask {
        key: StepKey {
            saga_id,
            step: Arc::from(command.step),
            round: command.round,
        },
        op,
        attempt: command.attempt,
        action: command.action,
        input: command.input,
        known,
        not_after_us: command.not_after_us,
        retain_until_us: command.retain_until_us,
        fingerprint: command.fingerprint,
        definition: command.definition,
        traceparent: command.traceparent,
        timeout: Duration::from_millis(command.timeout_ms),
    })
}

pub(crate) fn reply(key: &StepKey, op: Op, attempt: u32, answer: Answer) -> v1::Reply {
    let mut reply = v1::Reply {
        saga_id: key.saga_id.as_bytes().to_vec().into(),
        step: key.step.to_string(),
        round: key.round,
        op: wire_op(op) as i32,
        attempt,
        ..v1::Reply::default()
    };
    let outcome = match answer {
        Answer::Succeeded(output) => {
            reply.output = output;
            v1::Outcome::Succeeded
        }
        Answer::Done(output) => {
            reply.output = output;
            v1::Outcome::Done
        }
        Answer::Refused(fault) => {
            reply.error = Some(error_body(fault, None));
            v1::Outcome::Refused
        }
        Answer::NeedsOperator(fault) => {
            reply.error = Some(error_body(fault, None));
            v1::Outcome::NeedsOperator
        }
        Answer::Failed(Failure { fault, retry_after }) => {
            reply.error = Some(error_body(fault, retry_after));
            v1::Outcome::Failed
        }
        Answer::Accepted => v1::Outcome::Accepted,
        Answer::Running => v1::Outcome::Running,
        Answer::Blocked => v1::Outcome::Blocked,
        Answer::Conflict => v1::Outcome::Conflict,
        Answer::Expired => v1::Outcome::Expired,
        Answer::NothingToDo => v1::Outcome::NothingToDo,
        Answer::Compensated => v1::Outcome::Compensated,
        Answer::Absent => v1::Outcome::Absent,
        Answer::Sealed => v1::Outcome::Sealed,
    };
    reply.outcome = outcome as i32;
    reply
}

fn error_body(fault: Fault, retry_after: Option<Duration>) -> v1::ErrorBody {
    // Zero on the wire leaves the delay to the policy, so an explicit one is at least a millisecond.
    let retry_after_ms = retry_after.map_or(0, |delay| {
        u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1)
    });
    v1::ErrorBody {
        code: fault.code.into_owned(),
        message: fault.message,
        retry_after_ms,
    }
}

fn wire_op(op: Op) -> v1::Op {
    match op {
        Op::Action => v1::Op::Action,
        Op::Compensation => v1::Op::Compensation,
        Op::Query => v1::Op::Query,
        Op::Seal => v1::Op::Seal,
        Op::Forget => v1::Op::Forget,
    }
}

pub(crate) fn hello<S: Store>(core: &Core<S>, instance: &str) -> v1::Hello {
    let actions = core.actions.iter().map(|(name, handler)| v1::Action {
        name: name.clone(),
        kind: v1::ActionKind::Action as i32,
        input_schema: handler.input_schema.clone(),
        output_schema: handler.output_schema.clone(),
        undoes: String::new(),
    });
    let compensations = core.compensations.iter().map(|(name, handler)| v1::Action {
        name: name.clone(),
        kind: v1::ActionKind::Compensation as i32,
        input_schema: handler.input_schema.clone(),
        output_schema: handler.output_schema.clone(),
        undoes: core.undoes.get(name).cloned().unwrap_or_default(),
    });
    let mut actions: Vec<_> = actions.chain(compensations).collect();
    // A registration that differs only in order would look like a change.
    actions.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let inbox_kind = match core.inbox.kind() {
        Kind::Transactional => v1::InboxKind::Transactional,
        Kind::None => v1::InboxKind::None,
    };
    v1::Hello {
        participant: core.name.clone(),
        instance: instance.to_owned(),
        inbox_id: core.inbox.id().to_owned(),
        inbox_kind: inbox_kind as i32,
        actions,
        capabilities: vec!["batch".to_owned()],
        sdk: concat!("rust/", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_without_a_proper_key_or_operation_is_unreadable() {
        let command = v1::Command {
            saga_id: vec![1; 15].into(),
            op: 1,
            ..Default::default()
        };
        assert!(matches!(ask(command), Err(Unreadable::SagaId(15))));
        let command = v1::Command {
            saga_id: vec![1; 16].into(),
            op: 99,
            ..Default::default()
        };
        assert!(matches!(ask(command), Err(Unreadable::Op(99))));
    }

    #[test]
    fn a_failure_carries_its_delay_and_echoes_the_key() {
        let key = StepKey {
            saga_id: Uuid::from_u128(7),
            step: "pay".into(),
            round: 2,
        };
        let failure = Failure {
            retry_after: Some(Duration::from_micros(10)),
            ..Failure::new("busy", "come back")
        };
        let reply = reply(&key, Op::Action, 3, Answer::Failed(failure));
        assert_eq!((&*reply.step, reply.round, reply.attempt), ("pay", 2, 3));
        assert_eq!(reply.saga_id.as_ref(), key.saga_id.as_bytes());
        let error = reply.error.expect("a failure says why");
        assert_eq!((&*error.code, error.retry_after_ms), ("busy", 1));
    }
}
