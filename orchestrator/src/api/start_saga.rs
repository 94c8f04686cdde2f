//! `StartSaga`: begins one saga and answers once the start is committed.

use bytes::Bytes;
use saga_core::SagaId;
use saga_proto::v1 as wire;
use tokio::sync::oneshot;

use super::{
    Api, convert,
    error::{Code, Refusal},
    prepare::prepare,
};
use crate::lane::intake::{Intake, Started};

pub(super) async fn start_saga(
    api: &Api,
    request: wire::StartSagaRequest,
) -> Result<wire::StartSagaResponse, Refusal> {
    api.open()?;
    let mut job = prepare(api, request)?;
    let id = job.id;
    let (started, answer) = oneshot::channel();
    job.started = Some(started);
    api.parts().lane.send(Intake::Starts(vec![job])).await?;
    let response = |id: SagaId, created, status: &str| wire::StartSagaResponse {
        saga_id: Bytes::copy_from_slice(&id.to_bytes()),
        created,
        status: status.to_owned(),
    };
    match answer.await.map_err(|_| api.no_answer())? {
        Started::Created => Ok(response(id, true, "running")),
        Started::Existing { id, status } => Ok(response(id, false, convert::status_word(status))),
        Started::KeyConflict { id } => Err(key_conflict(id)),
        Started::Unavailable => Err(api.closed()),
    }
}

/// The key, or the request id, belongs to a saga with other input.
pub(super) fn key_conflict(first: SagaId) -> Refusal {
    Refusal::new(
        Code::KeyConflict,
        format!(
            "saga {first} was started with this key or request id and other input; repeat its input, or choose another key"
        ),
    )
}
