//! `Skip`: go on without a step, or without its undo.

use saga_core::input::Order;
use saga_proto::v1 as wire;

use super::{
    Api,
    error::Refusal,
    steering::{Act, act, act_id, needs_reason, needs_step},
};

pub(super) async fn skip(
    api: &Api,
    request: wire::SkipRequest,
    from: &str,
) -> Result<wire::InterventionResponse, Refusal> {
    needs_step(&request.step)?;
    needs_reason(&request.reason)?;
    let id = act_id(&request.act_id)?;
    let wire::SkipRequest {
        saga,
        step,
        reason,
        by,
        force,
        ..
    } = request;
    act(
        api,
        Act {
            saga,
            step,
            order: Order::Skip,
            reason,
            by,
            force,
            id,
        },
        from,
    )
    .await
}
