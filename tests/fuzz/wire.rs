//! What comes off the participants' stream, on both sides of it: frames to hellos and replies in the orchestrator, frames
//! to commands in the SDK.

use std::sync::Arc;

use prost::Message;
use saga_core::{ErrorBody, Op, input::Outcome};
use saga_engine::lane::intake::Incoming;
use saga_participant::{Ctx, Memory, MemoryInbox, Participant, Reject, Undo, testing::Harness};
use saga_proto::v1::{self, from_participant::Message as From, to_participant::Message as To};
use saga_wire::{
    convert::{self, CODE_BYTES_MAX, MESSAGE_BYTES_MAX},
    hello,
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::{edits::edited, run::fuzz};

const WORDS: &[&str] = &[
    "\u{0}",
    "\u{1}",
    "\u{8}",
    "\n",
    "\u{12}",
    "\u{1a}",
    "\u{10}",
    "\u{18}",
    "a",
    "work",
    "hotels",
    "{}",
    "null",
    "{\"a\":1}",
    "refuse",
    "fail",
    "\u{7f}",
    "ü",
    "Ä-",
    "\u{c}\u{c}\u{c}\u{c}",
];

#[test]
fn reply() {
    let mut frames = vec![encoded(From::Hello(registration())); 6];
    frames.push(encoded(From::Draining(v1::Draining {})));
    for outcome in 0..=15 {
        let replies = vec![answer(1, outcome), answer(outcome, outcome)];
        frames.push(encoded(From::Replies(v1::ReplyBatch { replies })));
    }
    fuzz("reply", edited(frames, WORDS), |bytes| {
        let Ok(frame) = v1::FromParticipant::decode(bytes) else {
            return;
        };
        assert_eq!(
            v1::FromParticipant::decode(frame.encode_to_vec().as_slice()).as_ref(),
            Ok(&frame)
        );
        match frame.message {
            Some(From::Hello(hello)) => take_hello(hello),
            Some(From::Replies(batch)) => batch.replies.into_iter().for_each(take_reply),
            Some(From::Draining(_)) | None => {}
        }
    });
}

fn encoded(message: From) -> Vec<u8> {
    v1::FromParticipant {
        message: Some(message),
    }
    .encode_to_vec()
}

fn registration() -> v1::Hello {
    let action = |name: &str, kind: v1::ActionKind| v1::Action {
        name: name.to_owned(),
        kind: kind.into(),
        input_schema: r#"{"type":"object"}"#.to_owned(),
        output_schema: "true".to_owned(),
        undoes: "work".to_owned(),
    };
    v1::Hello {
        participant: "hotels".to_owned(),
        instance: "hotels-1".to_owned(),
        inbox_id: "5e1f".to_owned(),
        inbox_kind: v1::InboxKind::Transactional.into(),
        actions: vec![
            action("work", v1::ActionKind::Action),
            action("undo", v1::ActionKind::Compensation),
        ],
        capabilities: vec!["a".to_owned()],
        sdk: "rust/0.1.0".to_owned(),
    }
}

fn answer(op: i32, outcome: i32) -> v1::Reply {
    v1::Reply {
        saga_id: vec![7; 16].into(),
        step: "work".to_owned(),
        round: 1,
        op,
        attempt: 2,
        outcome,
        output: b"{\"a\":1}".to_vec().into(),
        error: Some(v1::ErrorBody {
            code: "no".to_owned(),
            message: "why".to_owned(),
            retry_after_ms: 5,
        }),
    }
}

fn take_hello(hello: v1::Hello) {
    let said = hello.clone();
    match hello::read(hello) {
        Ok(registration) => {
            assert_eq!(registration.participant, said.participant);
            assert_eq!(registration.actions.len(), said.actions.len());
            assert!(!registration.inbox_id.is_empty() && !registration.sdk.contains('\0'));
        }
        Err(malformed) => assert!(malformed.to_string().contains(": "), "{malformed}"),
    }
}

fn take_reply(reply: v1::Reply) {
    let said = reply.clone();
    let participant: Arc<str> = "hotels".into();
    let Ok(incoming) = convert::reply(&participant, reply) else {
        return;
    };
    let Incoming {
        saga_id,
        step,
        round,
        op,
        attempt,
        participant: from,
        outcome,
    } = incoming;
    assert_eq!(saga_id.to_bytes()[..], said.saga_id[..]);
    assert_eq!(
        (step, round, attempt, from),
        (said.step, said.round, said.attempt, participant)
    );
    assert!(matches!(
        op,
        Op::Action | Op::Compensation | Op::Query | Op::Seal
    ));
    match outcome {
        Outcome::Succeeded(output) | Outcome::Done(output) => {
            let text = if said.output.is_empty() {
                b"null"
            } else {
                &said.output[..]
            };
            assert_eq!(
                output.to_value(),
                serde_json::from_slice::<Value>(text).expect("what is let in is JSON")
            );
        }
        Outcome::Refused(error)
        | Outcome::Failed(error)
        | Outcome::Conflict(error)
        | Outcome::NeedsOperator(error)
        | Outcome::OutputNotTaken(error) => is_clean(&error),
        Outcome::Accepted
        | Outcome::Running
        | Outcome::Blocked
        | Outcome::Expired
        | Outcome::NothingToDo
        | Outcome::Compensated
        | Outcome::Absent
        | Outcome::Sealed => {}
    }
}

fn is_clean(error: &ErrorBody) {
    assert!(
        !error.code.is_empty() && error.code.len() <= CODE_BYTES_MAX,
        "{error:?}"
    );
    assert!(
        error.message.len() <= MESSAGE_BYTES_MAX,
        "{} bytes",
        error.message.len()
    );
    assert!(
        !error.code.contains('\0') && !error.message.contains('\0'),
        "{error:?}"
    );
    assert_ne!(error.retry_after_ms, Some(0));
}

#[test]
fn command() {
    let frames = (0..=5).map(|op| v1::ToParticipant {
        message: Some(To::Commands(commands(op))),
    });
    let frames = frames.map(|frame| frame.encode_to_vec()).collect();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    fuzz("command", edited(frames, WORDS), |bytes| {
        let Ok(frame) = v1::ToParticipant::decode(bytes) else {
            return;
        };
        assert_eq!(
            v1::ToParticipant::decode(frame.encode_to_vec().as_slice()).as_ref(),
            Ok(&frame)
        );
        if let Some(To::Commands(batch)) = frame.message {
            let harness = participant().test();
            for command in batch.commands {
                deliver(&runtime, &harness, command);
            }
        }
    });
}

fn commands(op: i32) -> v1::CommandBatch {
    let command = |op: i32, action: &str| v1::Command {
        saga_id: vec![7; 16].into(),
        step: "work".to_owned(),
        round: 1,
        op,
        attempt: 1,
        action: action.to_owned(),
        input: br#"{"input":{"a":1},"output":2,"action_key":"k"}"#.to_vec().into(),
        known: v1::Known::Unknown.into(),
        not_after_us: 0,
        retain_until_us: 1,
        fingerprint: 1,
        definition: "d".to_owned(),
        traceparent: String::new(),
        tracestate: String::new(),
        timeout_ms: 1_000,
    };
    v1::CommandBatch {
        commands: vec![
            command(1, "work"),
            command(op, "undo"),
            command(op, "refuse"),
            command(1, "fail"),
        ],
    }
}

fn participant() -> Participant<Memory> {
    Participant::new("hotels")
        .action("work", async |_: Ctx<Memory>, input: Value| Ok(input))
        .action("refuse", async |_: Ctx<Memory>, _: Value| {
            Err::<(), _>(Reject::new("no", "no").into())
        })
        .action("fail", async |_: Ctx<Memory>, _: Value| {
            Err::<(), _>(std::fmt::Error.into())
        })
        .compensation("undo", async |_: Ctx<Memory>, _: Undo<Value, Value>| Ok(()))
        .inbox(MemoryInbox::new())
}

/// A command is answered under its own name or not at all, and the second time as the first where that was definite.
fn deliver(runtime: &Runtime, harness: &Harness<Memory>, command: v1::Command) {
    let first = runtime.block_on(harness.deliver(command.clone()));
    let Ok(Some(reply)) = first else {
        let unanswered = command.op == i32::from(v1::Op::Forget);
        assert!(first.is_err() || unanswered, "{command:?} was not answered");
        return;
    };
    assert_eq!(
        (&reply.saga_id, &reply.step, reply.round, reply.op),
        (&command.saga_id, &command.step, command.round, command.op)
    );
    assert_ne!(reply.outcome(), v1::Outcome::Unspecified);
    let again = runtime
        .block_on(harness.deliver(command))
        .expect("read before")
        .expect("answered before");
    match reply.outcome() {
        v1::Outcome::Succeeded
        | v1::Outcome::Refused
        | v1::Outcome::Blocked
        | v1::Outcome::NothingToDo => {
            assert_eq!(
                (again.outcome, again.output, again.error),
                (reply.outcome, reply.output, reply.error)
            );
        }
        v1::Outcome::Unspecified
        | v1::Outcome::Failed
        | v1::Outcome::Accepted
        | v1::Outcome::Running
        | v1::Outcome::Conflict
        | v1::Outcome::Expired
        | v1::Outcome::NeedsOperator
        | v1::Outcome::Compensated
        | v1::Outcome::Absent
        | v1::Outcome::Done
        | v1::Outcome::Sealed => {}
    }
}
