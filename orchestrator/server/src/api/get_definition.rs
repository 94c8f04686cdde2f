//! `GetDefinition`: one definition in its canonical form, for those who check an input before they send it.

use saga_proto::v1 as wire;

use super::{Api, error::Refusal, prepare::find_plan};

pub(super) fn get_definition(
    api: &Api,
    request: &wire::GetDefinitionRequest,
) -> Result<wire::GetDefinitionResponse, Refusal> {
    let plan = find_plan(&api.parts().definitions, &request.name, request.version)?;
    Ok(wire::GetDefinitionResponse {
        name: plan.definition.saga.clone(),
        version: plan.definition.version,
        definition: plan.definition.canonical_json().into_bytes().into(),
    })
}
