//! `Retry`: try again now.

use saga_core::input::Order;
use saga_proto::v1 as wire;

use super::{
    Api,
    error::{Code, Refusal},
    preview_retry,
    steering::{Act, act, act_id, document, unless_done},
};

pub(super) async fn retry(
    api: &Api,
    request: wire::RetryRequest,
    from: &str,
) -> Result<wire::InterventionResponse, Refusal> {
    let input = document("input", &request.input)?;
    if input.is_some() && request.step.is_empty() {
        return Err(Refusal::new(
            Code::Malformed,
            "input: another payload needs a step that it is for",
        ));
    }
    let id = act_id(&request.act_id)?;
    if let Some(input) = &input
        && let Err(refusal) = preview_retry::fits(api, &request.saga, &request.step, input).await
    {
        return unless_done(api, (&request.saga, &request.step), id, refusal).await;
    }
    let order = Order::Retry { input };
    let wire::RetryRequest {
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
            order,
            reason,
            by,
            force,
            id,
        },
        from,
    )
    .await
}
