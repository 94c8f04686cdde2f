//! `Acknowledge`: take note of the incidents that nothing else settles.

use saga_core::input::Order;
use saga_proto::v1 as wire;

use super::{
    Api,
    error::Refusal,
    steering::{Act, act, act_id},
};

pub(super) async fn acknowledge(
    api: &Api,
    request: wire::AcknowledgeRequest,
    from: &str,
) -> Result<wire::InterventionResponse, Refusal> {
    let id = act_id(&request.act_id)?;
    let wire::AcknowledgeRequest {
        saga, reason, by, ..
    } = request;
    act(
        api,
        Act {
            saga,
            step: String::new(),
            order: Order::Acknowledge,
            reason,
            by,
            force: false,
            id,
        },
        from,
    )
    .await
}
