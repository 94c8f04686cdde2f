//! `ListDefinitions`: what is registered, and how many open sagas each version has.

use std::collections::BTreeMap;

use saga_proto::v1 as wire;

use super::{Api, convert, error::Refusal};

pub(super) async fn list_definitions(api: &Api) -> Result<wire::ListDefinitionsResponse, Refusal> {
    let store = &api.parts().store;
    let open: BTreeMap<(String, u32), u64> = store
        .open_per_definition()
        .await?
        .into_iter()
        .map(|(name, version, count)| ((name, version), count))
        .collect();
    let rows = store.definitions().await?;
    let definitions = rows
        .into_iter()
        .map(|row| {
            let plan = api.parts().definitions.get(&row.name, row.version);
            let description = plan.as_ref().map_or_else(
                || Some("(cannot be loaded; the server's log names the reason)".to_owned()),
                |plan| plan.definition.description.clone(),
            );
            wire::DefinitionInfo {
                hash: convert::hash_text(&row.hash),
                deployed_at_us: row.deployed_at.0,
                open_sagas: open.get(&(row.name.clone(), row.version)).copied().unwrap_or(0),
                steps: plan.map_or(0, |plan| u32::try_from(plan.steps.len()).unwrap_or(u32::MAX)),
                description: description.unwrap_or_default(),
                name: row.name,
                version: row.version,
            }
        })
        .collect();
    Ok(wire::ListDefinitionsResponse { definitions })
}
