//! `CancelSaga`: asks a lane to undo a saga, and says what came of it.

use saga_core::{ActId, SagaId, Status, input::Cancel};
use saga_proto::v1 as wire;
use tokio::sync::oneshot;

use super::{
    Api, convert,
    error::{Code, Refusal},
    resolve::resolve,
    steering::{REASON_BYTES_MAX, act_id, done_before, ended, not_open, who},
};
use saga_engine::{
    document::clean_text,
    lane::intake::{CancelError, CancelJob, Cancelled, Intake},
};

pub(super) async fn cancel_saga(
    api: &Api,
    request: wire::CancelSagaRequest,
    from: String,
) -> Result<wire::CancelSagaResponse, Refusal> {
    let id = resolve(api, &request.saga).await?;
    let act = act_id(&request.act_id)?;
    match cancel(api, id, request, act, &from).await {
        Err(refusal) => match done_before(api, id, act).await {
            Some(status) => Ok(wire::CancelSagaResponse {
                saga_id: convert::id_bytes(id),
                disposition: led_to(status).to_owned(),
                status: status.word().to_owned(),
            }),
            None => Err(refusal),
        },
        answer => answer,
    }
}

/// What a cancel led to whose answer was missed, by where its saga stands now.
fn led_to(status: Status) -> &'static str {
    match status {
        Status::Compensating | Status::Compensated => "compensating",
        Status::Running | Status::Completed | Status::Abandoned => "settling",
    }
}

async fn cancel(
    api: &Api,
    id: SagaId,
    request: wire::CancelSagaRequest,
    act: Option<ActId>,
    from: &str,
) -> Result<wire::CancelSagaResponse, Refusal> {
    let (answer, answered) = oneshot::channel();
    let by = who(&request.by, from);
    let cancel = Cancel {
        reason: clean_text(request.reason, REASON_BYTES_MAX),
        by,
        act,
    };
    api.parts()
        .lane
        .send(Intake::Cancel(CancelJob { id, cancel, answer }))
        .await?;
    let (disposition, implied) = match answered.await.map_err(|_| api.no_answer())? {
        Ok(Cancelled::Compensating) => ("compensating", "compensating"),
        Ok(Cancelled::Settling) => ("settling", "running"),
        Ok(Cancelled::Already) => ("already", ""),
        Err(CancelError::NotOpen) => return Err(not_open(api, id).await?),
        Err(CancelError::Ended) => return Err(ended(api, id).await?),
        Err(CancelError::AfterPivot { pivot }) => {
            let message = format!(
                "the pivot `{pivot}` of saga {id} has taken effect, there is no way back; it goes on until it completes"
            );
            return Err(Refusal::new(Code::AfterPivot, message));
        }
        Err(CancelError::Unavailable) => return Err(api.closed()),
    };
    // Read back after the commit, so that what is shown is what is stored. The cancel is committed, whatever the read says.
    let status = match api.parts().store.saga(id).await {
        Ok(row) => row.map(|row| row.face.status.word()),
        Err(error) => {
            tracing::warn!(saga_id = %id, %error, "a saga that was cancelled cannot be read back");
            Some(implied)
        }
    };
    Ok(wire::CancelSagaResponse {
        saga_id: convert::id_bytes(id),
        disposition: disposition.to_owned(),
        status: status.unwrap_or_default().to_owned(),
    })
}
