//! `Abandon`: end a saga as it is.

use saga_core::input::Order;
use saga_proto::v1 as wire;

use super::{
    Api,
    error::Refusal,
    steering::{Act, act, act_id, needs_reason},
};

pub(super) async fn abandon(
    api: &Api,
    request: wire::AbandonRequest,
    from: &str,
) -> Result<wire::InterventionResponse, Refusal> {
    needs_reason(&request.reason)?;
    let id = act_id(&request.act_id)?;
    let wire::AbandonRequest {
        saga, reason, by, ..
    } = request;
    act(
        api,
        Act {
            saga,
            step: String::new(),
            order: Order::Abandon,
            reason,
            by,
            force: false,
            id,
        },
        from,
    )
    .await
}
