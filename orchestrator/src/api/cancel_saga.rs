//! `CancelSaga`: asks a lane to undo a saga, and says what came of it.

use saga_core::input::Cancel;
use saga_proto::v1 as wire;
use tokio::sync::oneshot;

use super::{
    Api, convert,
    error::{Code, Refusal},
    resolve::resolve,
    steering::{REASON_BYTES_MAX, not_open, who},
};
use crate::{
    document::clean_text,
    lane::intake::{CancelError, CancelJob, Cancelled, Intake},
};

pub(super) async fn cancel_saga(
    api: &Api,
    request: wire::CancelSagaRequest,
    from: String,
) -> Result<wire::CancelSagaResponse, Refusal> {
    let id = resolve(api, &request.saga).await?;
    let (answer, answered) = oneshot::channel();
    let by = who(&request.by, &from);
    let cancel = Cancel { reason: clean_text(request.reason, REASON_BYTES_MAX), by };
    api.parts().lane.send(Intake::Cancel(CancelJob { id, cancel, answer })).await?;
    let disposition = match answered.await.unwrap_or(Err(CancelError::Unavailable)) {
        Ok(Cancelled::Compensating) => "compensating",
        Ok(Cancelled::Settling) => "settling",
        Ok(Cancelled::Already) => "already",
        Err(CancelError::NotOpen | CancelError::Ended) => return Err(not_open(api, id).await?),
        Err(CancelError::AfterPivot { pivot }) => {
            let message = format!(
                "the pivot `{pivot}` of saga {id} has taken effect, there is no way back; it goes on until it completes"
            );
            return Err(Refusal::new(Code::AfterPivot, message));
        }
        Err(CancelError::Unavailable) => return Err(api.closed()),
    };
    // Read back after the commit, so that what is shown is what is stored.
    let status = api.parts().store.saga(id).await?.map(|row| convert::status_word(row.face.status));
    Ok(wire::CancelSagaResponse {
        saga_id: convert::id_bytes(id),
        disposition: disposition.to_owned(),
        status: status.unwrap_or_default().to_owned(),
    })
}
