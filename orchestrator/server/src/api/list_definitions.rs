//! `ListDefinitions`: what is registered, and how many open sagas each version has.

use std::collections::BTreeMap;

use saga_proto::v1 as wire;

use super::{
    Api, convert,
    error::{Code, Refusal},
    sizes,
};

pub(super) async fn list_definitions(
    api: &Api,
    request: &wire::ListDefinitionsRequest,
) -> Result<wire::ListDefinitionsResponse, Refusal> {
    let after = page_token(&request.page_token)?;
    let store = &api.parts().store;
    let open: BTreeMap<(String, u32), u64> = store
        .open_per_definition()
        .await?
        .into_iter()
        .map(|(name, version, count)| ((name, version), count))
        .collect();
    let mut rows = store.definitions().await?;
    rows.sort_unstable_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
    let rest = rows.into_iter().filter(|row| {
        after
            .as_ref()
            .is_none_or(|(name, version)| (&row.name, row.version) > (name, *version))
    });
    let entries = rest.map(|row| {
        let plan = api.parts().definitions.get(&row.name, row.version);
        let description = plan.as_ref().map_or_else(
            || Some("(cannot be loaded; the server's log names the reason)".to_owned()),
            |plan| plan.definition.description.clone(),
        );
        wire::DefinitionInfo {
            hash: convert::hash_text(&row.hash),
            deployed_at_us: row.deployed_at.0,
            open_sagas: open
                .get(&(row.name.clone(), row.version))
                .copied()
                .unwrap_or(0),
            steps: plan.map_or(0, |plan| {
                u32::try_from(plan.steps.len()).unwrap_or(u32::MAX)
            }),
            description: description.unwrap_or_default(),
            name: row.name,
            version: row.version,
        }
    });
    let (definitions, more) = sizes::page(entries, request.page_size);
    let next = definitions
        .last()
        .filter(|_| more)
        .map(|last| format!("{}@{}", last.name, last.version));
    Ok(wire::ListDefinitionsResponse {
        next_page_token: next.unwrap_or_default(),
        definitions,
    })
}

/// The last definition of the page before: `name@version`.
fn page_token(token: &str) -> Result<Option<(String, u32)>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let last = token
        .rsplit_once('@')
        .and_then(|(name, version)| Some((name.to_owned(), version.parse().ok()?)));
    last.map(Some)
        .ok_or_else(|| Refusal::new(Code::Malformed, "page_token: not from a page of this list"))
}
