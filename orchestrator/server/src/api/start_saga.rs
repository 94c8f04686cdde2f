//! `StartSaga`: begins one saga and answers once the start is committed.

use bytes::Bytes;
use saga_core::SagaId;
use saga_proto::v1 as wire;
use tokio::sync::oneshot;

use super::{
    Api,
    error::{Code, Refusal},
    prepare::prepare,
};
use saga_engine::lane::{
    intake::{Intake, Started},
    waiting::Waiting,
};

/// Starts that wait for a commit before further calls for one are refused, as each takes some kilobytes while it waits.
const STARTS_WAITING_MAX: usize = 131_072;

pub(super) async fn start_saga(
    api: &Api,
    request: wire::StartSagaRequest,
) -> Result<wire::StartSagaResponse, Refusal> {
    api.open()?;
    has_room(api.parts().lane.waiting())?;
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
        Started::Existing { id, status } => Ok(response(id, false, status.word())),
        Started::KeyConflict { id } => Err(key_conflict(id)),
        Started::Unavailable => Err(api.closed()),
    }
}

/// Refuses a start when as many wait as may.
pub(super) fn has_room(waiting: &Waiting) -> Result<(), Refusal> {
    let waiting = waiting.starts();
    if waiting < STARTS_WAITING_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        Code::Crowded,
        format!(
            "{waiting} starts wait to be committed, and no more may; nothing was started, try again in a moment"
        ),
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_refused_while_too_many_wait() {
        let waiting = Waiting::default();
        let mut tickets: Vec<_> = (0..STARTS_WAITING_MAX).map(|_| waiting.start()).collect();
        let refusal = has_room(&waiting).expect_err("a refusal");
        assert_eq!(refusal.code, Code::Crowded);
        tickets.pop();
        assert_eq!(has_room(&waiting), Ok(()));
    }
}
