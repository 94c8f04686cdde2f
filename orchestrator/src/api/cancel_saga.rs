//! `CancelSaga`: asks a lane to undo a saga, and says what came of it.

use saga_core::input::Cancel;
use saga_proto::v1 as wire;
use tokio::sync::oneshot;

use super::{
    Api, convert,
    error::{Code, Refusal},
    resolve::resolve,
};
use crate::{
    document::clean_text,
    lane::intake::{CancelError, CancelJob, Cancelled, Intake},
};

/// Longest reason, in bytes; longer ones are cut.
const REASON_BYTES_MAX: usize = 1_024;

pub(super) async fn cancel_saga(
    api: &Api,
    request: wire::CancelSagaRequest,
    by: String,
) -> Result<wire::CancelSagaResponse, Refusal> {
    let id = resolve(api, &request.saga).await?;
    let (answer, answered) = oneshot::channel();
    let cancel = Cancel { reason: clean_text(request.reason, REASON_BYTES_MAX), by };
    api.parts().lane.send(Intake::Cancel(CancelJob { id, cancel, answer })).await?;
    let ended = |status: &str| {
        Refusal::new(Code::Ended, format!("saga {id} has ended ({status}); nothing is left to cancel"))
    };
    let disposition = match answered.await.unwrap_or(Err(CancelError::Unavailable)) {
        Ok(Cancelled::Compensating) => "compensating",
        Ok(Cancelled::Settling) => "settling",
        Ok(Cancelled::Already) => "already",
        Err(CancelError::NotOpen | CancelError::Ended) => {
            let row = api.parts().store.saga(id).await?;
            let row = row.ok_or_else(|| Refusal::new(Code::NoSuchSaga, format!("no saga {id}")))?;
            if row.face.status.is_open() {
                let message =
                    format!("saga {id} is open, but nothing runs it; the server's log names the reason");
                return Err(Refusal::new(Code::NotRunning, message));
            }
            return Err(ended(convert::status_word(row.face.status)));
        }
        Err(CancelError::AfterPivot { pivot }) => {
            let message = format!(
                "the pivot `{pivot}` of saga {id} has taken effect, there is no way back; it goes on until it completes"
            );
            return Err(Refusal::new(Code::AfterPivot, message));
        }
        Err(CancelError::Unavailable) => return Err(Refusal::shutting_down()),
    };
    // Read back after the commit, so that what is shown is what is stored.
    let status = api.parts().store.saga(id).await?.map(|row| convert::status_word(row.face.status));
    Ok(wire::CancelSagaResponse {
        saga_id: convert::id_bytes(id),
        disposition: disposition.to_owned(),
        status: status.unwrap_or_default().to_owned(),
    })
}
