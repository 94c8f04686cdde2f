//! A reply in the plain form.

use bytes::Bytes;
use lapin::BasicProperties;
use saga_proto::v1 as wire;
use serde::Deserialize;

use super::{
    OPS, OUTCOMES, Unreadable,
    headers::{Headers, one_of, saga_id},
};

/// Reads a reply. A body that is not what it should be is no reason to drop it: the outcome counts, and the error says
/// what was wrong with the body, so that who wrote the participant sees it where the saga is shown.
pub(in super::super) fn reply(
    properties: &BasicProperties,
    body: &[u8],
) -> Result<wire::Reply, Unreadable> {
    let headers = Headers::of(properties)?;
    let outcome = one_of(
        &headers,
        "header saga-outcome",
        &OUTCOMES,
        "an outcome of the protocol",
    )?;
    let op = one_of(&headers, "header saga-op", &OPS, "the op of the command")?;
    let mut reply = wire::Reply {
        saga_id: saga_id(properties)?.to_bytes().to_vec().into(),
        step: headers.text("header saga-step")?.to_owned(),
        round: headers.count("header saga-round")?,
        op: op.into(),
        attempt: headers.count("header saga-attempt")?,
        outcome: outcome.into(),
        output: Bytes::new(),
        error: None,
    };
    match outcome {
        wire::Outcome::Succeeded | wire::Outcome::Done => {
            reply.output = Bytes::copy_from_slice(body)
        }
        wire::Outcome::Refused
        | wire::Outcome::Failed
        | wire::Outcome::Conflict
        | wire::Outcome::NeedsOperator => reply.error = error(body),
        wire::Outcome::Accepted
        | wire::Outcome::Running
        | wire::Outcome::Blocked
        | wire::Outcome::Expired
        | wire::Outcome::NothingToDo
        | wire::Outcome::Compensated
        | wire::Outcome::Absent
        | wire::Outcome::Sealed
        | wire::Outcome::Unspecified => {}
    }
    Ok(reply)
}

#[derive(Deserialize)]
struct ErrorJson {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

fn error(body: &[u8]) -> Option<wire::ErrorBody> {
    if body.is_empty() {
        return None;
    }
    Some(match serde_json::from_slice(body) {
        Ok(ErrorJson {
            code,
            message,
            retry_after_ms,
        }) => wire::ErrorBody {
            code,
            message,
            retry_after_ms: retry_after_ms.unwrap_or(0),
        },
        Err(fault) => wire::ErrorBody {
            code: "bad_error".to_owned(),
            message: format!(
                "the body of the reply is not {{\"code\": text, \"message\": text, \"retry_after_ms\"?: number}}: {fault}"
            ),
            retry_after_ms: 0,
        },
    })
}
