//! Registrations as JSON. Names and words are those of the protobuf message, without its prefixes.

use saga_proto::v1 as wire;
use serde::Deserialize;
use serde_json::Value;

use super::Unreadable;

#[derive(Deserialize)]
struct HelloJson {
    participant: String,
    instance: String,
    #[serde(default)]
    inbox_id: String,
    #[serde(default)]
    inbox_kind: String,
    // Of who drains or leaves, nobody asks what it serves.
    #[serde(default)]
    actions: Option<Vec<ActionJson>>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    sdk: String,
}

#[derive(Deserialize)]
struct ActionJson {
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    input_schema: Value,
    #[serde(default)]
    output_schema: Value,
    #[serde(default)]
    undoes: String,
}

/// Reads what an instance says of itself; `registers` when it does more than to drain or leave. Whether it may take
/// part is decided by whoever reads a registration of either form.
pub(in super::super) fn hello(body: &[u8], registers: bool) -> Result<wire::Hello, Unreadable> {
    let fault = |fault: String| Unreadable::Hello(fault);
    let said: HelloJson = serde_json::from_slice(body).map_err(|error| fault(error.to_string()))?;
    if registers && said.actions.is_none() {
        return Err(fault("missing field `actions`".to_owned()));
    }
    let inbox_kind = match said.inbox_kind.as_str() {
        "transactional" => wire::InboxKind::Transactional,
        "journaled" => wire::InboxKind::Journaled,
        "none" => wire::InboxKind::None,
        // Is refused, with the words that may stand there.
        _ => wire::InboxKind::Unspecified,
    };
    let actions = said
        .actions
        .unwrap_or_default()
        .into_iter()
        .map(action)
        .collect::<Result<_, _>>()?;
    Ok(wire::Hello {
        participant: said.participant,
        instance: said.instance,
        inbox_id: said.inbox_id,
        inbox_kind: inbox_kind.into(),
        actions,
        capabilities: said.capabilities,
        sdk: said.sdk,
    })
}

fn action(said: ActionJson) -> Result<wire::Action, Unreadable> {
    let kind = match said.kind.as_str() {
        "" | "action" => wire::ActionKind::Action,
        "compensation" => wire::ActionKind::Compensation,
        other => {
            return Err(Unreadable::Hello(format!(
                "actions.{}.kind: `{}` is neither `action` nor `compensation`",
                said.name,
                other.escape_debug()
            )));
        }
    };
    let schema = |schema: Value| match schema {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(wire::Action {
        name: said.name,
        kind: kind.into(),
        input_schema: schema(said.input_schema),
        output_schema: schema(said.output_schema),
        undoes: said.undoes,
    })
}
