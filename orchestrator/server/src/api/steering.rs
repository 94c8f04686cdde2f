//! What all acts of operators share: who asks, the way to the lane and back, and what is shown afterwards.

use saga_core::{
    ActId, Payload, SagaId, Status,
    input::{Order, Unfit},
};
use saga_proto::v1 as wire;
use tokio::sync::oneshot;
use tonic::Request;

use super::{
    Api, convert,
    error::{Code, Refusal},
    input::one_field_each,
    picture, resolve,
};
use saga_engine::{
    document::{self, clean_text},
    lane::intake::{Intake, InterveneError, InterveneJob},
};

/// Longest reason, in bytes; longer ones are cut.
pub(super) const REASON_BYTES_MAX: usize = 1_024;
/// Longest name of who asks, in bytes; longer ones are cut.
const NAME_BYTES_MAX: usize = 128;

/// An act, before it is known which saga is meant.
pub(super) struct Act {
    pub(super) saga: String,
    /// Empty: the whole saga.
    pub(super) step: String,
    pub(super) order: Order,
    pub(super) reason: String,
    pub(super) by: String,
    pub(super) force: bool,
    /// The client's name for it.
    pub(super) id: Option<ActId>,
}

/// The client's name for an act; `None` when it gave none.
pub(super) fn act_id(bytes: &[u8]) -> Result<Option<ActId>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id = ActId::from_bytes(bytes);
    id.map(Some).ok_or_else(|| {
        let message = format!("act_id: it has {} bytes; a UUID has 16", bytes.len());
        Refusal::new(Code::Malformed, message)
    })
}

/// Where the saga stands, if the act is done and committed. The journal answers, so a restart changes nothing. What cannot
/// be read counts as not done: the caller has an answer of its own.
pub(super) async fn done_before(api: &Api, id: SagaId, act: Option<ActId>) -> Option<Status> {
    act?;
    let seen = picture::load(api, id).await.ok()?;
    let done = seen
        .folded
        .is_ok_and(|picture| picture.state.has_acted(act));
    done.then_some(seen.row.face.status)
}

/// Answers an act that is refused: with the saga as it is, if the same act was done before.
pub(super) async fn unless_done(
    api: &Api,
    (saga, step): (&str, &str),
    act: Option<ActId>,
    refusal: Refusal,
) -> Result<wire::InterventionResponse, Refusal> {
    if act.is_none() {
        return Err(refusal);
    }
    let Ok(id) = resolve::resolve(api, saga).await else {
        return Err(refusal);
    };
    match done_before(api, id, act).await {
        Some(_) => Ok(seen_after(api, id, Some(step)).await),
        None => Err(refusal),
    }
}

/// `FindAct`: whether an act is done.
pub(super) async fn find_act(
    api: &Api,
    request: wire::FindActRequest,
) -> Result<wire::FindActResponse, Refusal> {
    let act = act_id(&request.act_id)?.ok_or_else(|| {
        Refusal::new(
            Code::Malformed,
            "act_id: it is empty; name the act that is meant",
        )
    })?;
    let id = resolve::resolve(api, &request.saga).await?;
    let done = match picture::load(api, id).await?.folded {
        Ok(picture) => picture.state.has_acted(Some(act)),
        Err(fault) => {
            let message = format!("the history of saga {id} cannot be read: {fault}");
            return Err(Refusal::new(Code::NotRunning, message));
        }
    };
    Ok(wire::FindActResponse { done })
}

/// Where a call comes from.
pub(super) fn address<T>(request: &Request<T>) -> String {
    request
        .remote_addr()
        .map_or_else(|| "unknown".to_owned(), |addr| addr.ip().to_string())
}

/// Who asks: what the client says, which nobody checks in this release, with where it came from.
pub(super) fn who(says: &str, from: &str) -> String {
    let says = clean_text(says.trim().to_owned(), NAME_BYTES_MAX);
    if says.is_empty() {
        from.to_owned()
    } else {
        format!("{says} ({from})")
    }
}

/// A reason that must be given.
pub(super) fn needs_reason(reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() {
        return Err(Refusal::new(
            Code::Malformed,
            "reason: it is empty; say why, for the record",
        ));
    }
    Ok(())
}

/// A step that must be named.
pub(super) fn needs_step(step: &str) -> Result<(), Refusal> {
    if step.is_empty() {
        return Err(Refusal::new(
            Code::Malformed,
            "step: it is empty; name the step that is meant",
        ));
    }
    Ok(())
}

/// A document in a request; `None` when it is empty.
pub(super) fn document(field: &str, bytes: &[u8]) -> Result<Option<Payload>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let document = document::read(bytes).map_err(|fault| {
        let refusal = Refusal::from(fault);
        Refusal::new(refusal.code, refusal.message.replacen("input", field, 1))
    })?;
    one_field_each(field, &document)?;
    Ok(Some(document))
}

/// Brings the act to the saga's lane, and reads back what is committed.
pub(super) async fn act(
    api: &Api,
    act: Act,
    from: &str,
) -> Result<wire::InterventionResponse, Refusal> {
    let id = resolve::resolve(api, &act.saga).await?;
    let step = Some(clean_text(act.step, 256)).filter(|step| !step.is_empty());
    let (answer, answered) = oneshot::channel();
    let job = InterveneJob {
        id,
        step: step.clone(),
        order: act.order,
        reason: clean_text(act.reason, REASON_BYTES_MAX),
        by: who(&act.by, from),
        force: act.force,
        act: act.id,
        answer,
    };
    api.parts().lane.send(Intake::Intervene(job)).await?;
    match answered.await.map_err(|_| api.no_answer())? {
        Ok(()) => {}
        Err(error) => {
            let refusal = refusal(api, id, error).await;
            return unless_done(
                api,
                (&act.saga, step.as_deref().unwrap_or("")),
                act.id,
                refusal,
            )
            .await;
        }
    }
    Ok(seen_after(api, id, step.as_deref()).await)
}

/// The saga as it is committed after an act.
async fn seen_after(api: &Api, id: SagaId, step: Option<&str>) -> wire::InterventionResponse {
    let seen = match picture::load(api, id).await {
        Ok(seen) => seen,
        Err(error) => {
            // The act is committed; that nobody can look at it now does not undo it.
            tracing::warn!(saga_id = %id, %error, "a saga that was steered cannot be read back");
            return wire::InterventionResponse {
                saga: None,
                step: None,
                now_us: api.parts().lane.clock().now().0,
            };
        }
    };
    let detail = convert::detail_by(&seen, api.parts().lane.clock());
    let step = step.and_then(|name| detail.steps.into_iter().find(|step| step.id == name));
    wire::InterventionResponse {
        saga: detail.summary,
        step,
        now_us: detail.now_us,
    }
}

async fn refusal(api: &Api, id: SagaId, error: InterveneError) -> Refusal {
    match error {
        InterveneError::NotOpen => not_open(api, id).await.unwrap_or_else(|e| e),
        InterveneError::Ended => ended(api, id).await.unwrap_or_else(|e| e),
        InterveneError::NoSuchStep { step } => {
            Refusal::new(Code::NoSuchStep, format!("saga {id} has no step `{step}`"))
        }
        InterveneError::Unfit(unfit @ Unfit::NeedsForce { .. }) => {
            Refusal::new(Code::NeedsForce, unfit.to_string())
        }
        InterveneError::Unfit(unfit) => Refusal::new(Code::Unfit, unfit.to_string()),
        InterveneError::Unavailable => api.closed(),
    }
}

/// The lane has decided the saga's end. While the commit of that is under way the store still has it open.
pub(super) async fn ended(api: &Api, id: SagaId) -> Result<Refusal, Refusal> {
    let row = api.parts().store.saga(id).await?;
    if row.is_some_and(|row| row.face.status.is_open()) {
        let message = format!(
            "saga {id} ends by what was asked before and is not committed yet; nothing was changed"
        );
        return Ok(Refusal::new(Code::Ended, message));
    }
    not_open(api, id).await
}

/// Why a saga that no lane has cannot be steered.
pub(super) async fn not_open(api: &Api, id: SagaId) -> Result<Refusal, Refusal> {
    let row = api.parts().store.saga(id).await?;
    let row = row.ok_or_else(|| Refusal::new(Code::NoSuchSaga, format!("no saga {id}")))?;
    if row.face.status.is_open() {
        let message =
            format!("saga {id} is open, but nothing runs it; the server's log names the reason");
        return Ok(Refusal::new(Code::NotRunning, message));
    }
    let status = row.face.status.word();
    Ok(Refusal::new(
        Code::Ended,
        format!("saga {id} has ended ({status}); nothing can be changed any more"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_stands_with_where_it_came_from() {
        assert_eq!(who(" ann ", "127.0.0.1"), "ann (127.0.0.1)");
        assert_eq!(who("", "127.0.0.1"), "127.0.0.1");
        assert!(who(&"x".repeat(500), "::1").len() < 150);
    }

    #[test]
    fn a_document_is_named_by_its_field() {
        assert_eq!(document("output", b""), Ok(None));
        let refusal = document("output", b"{").expect_err("not JSON");
        assert_eq!(refusal.code, Code::Malformed);
        assert!(
            refusal.message.starts_with("output: "),
            "{}",
            refusal.message
        );
    }
}
