//! `Resolve`: say what became of a step that nobody else can tell of.

use saga_core::{Payload, input::Order};
use saga_proto::v1 as wire;

use super::{
    Api,
    error::{Code, Refusal},
    steering::{Act, act, act_id, document, needs_reason, needs_step},
};

pub(super) async fn resolve_step(
    api: &Api,
    request: wire::ResolveRequest,
    from: &str,
) -> Result<wire::InterventionResponse, Refusal> {
    needs_step(&request.step)?;
    needs_reason(&request.reason)?;
    let output = document("output", &request.output)?;
    let order = match (request.r#as.as_str(), output) {
        ("succeeded", output) => {
            let null = || Payload::from_value(serde_json::Value::Null);
            Order::ResolveSucceeded {
                output: output.unwrap_or_else(null),
            }
        }
        ("failed", None) => Order::ResolveFailed,
        ("failed", Some(_)) => {
            return Err(Refusal::new(
                Code::Malformed,
                "output: a step that failed has none",
            ));
        }
        (other, _) => {
            let shown = saga_engine::document::clean_text(other.to_owned(), 64);
            return Err(Refusal::new(
                Code::Malformed,
                format!("as: `{shown}` is neither `succeeded` nor `failed`"),
            ));
        }
    };
    let id = act_id(&request.act_id)?;
    let wire::ResolveRequest {
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
