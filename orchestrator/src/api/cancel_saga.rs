//! `CancelSaga`: asks a lane to undo a saga, and says what came of it.

use saga_core::input::Cancel;
use saga_proto::v1 as wire;
use tokio::sync::oneshot;

use super::{
    Api, convert,
    error::{Code, Refusal},
    resolve::resolve,
    steering::{REASON_BYTES_MAX, ended, not_open, who},
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
    let cancel = Cancel {
        reason: clean_text(request.reason, REASON_BYTES_MAX),
        by,
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
        Ok(row) => row.map(|row| convert::status_word(row.face.status)),
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
