//! What a participant says first: who is there, and what it serves. Nothing of it is believed unchecked.

use std::collections::BTreeSet;

use saga_dsl::names::check_id;
use saga_proto::{
    limits::{ACTIONS_MAX, SCHEMA_BYTES_MAX, SCHEMAS_BYTES_MAX},
    v1 as wire,
};

use saga_engine::directory::{Action, InboxKind, Registration};

/// Longest instance and inbox ids, in characters.
const ID_CHARS_MAX: usize = 200;

/// What is wrong with a hello; the words name the field and the rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Malformed {
    field: String,
    message: String,
}

fn malformed(field: impl Into<String>, message: impl ToString) -> Malformed {
    Malformed {
        field: field.into(),
        message: message.to_string(),
    }
}

/// Checks a hello.
///
/// # Errors
/// The first field that is not as it must be.
pub fn read(hello: wire::Hello) -> Result<Registration, Malformed> {
    let inbox_kind = match hello.inbox_kind() {
        wire::InboxKind::Transactional => InboxKind::Transactional,
        wire::InboxKind::Journaled => InboxKind::Journaled,
        wire::InboxKind::None => InboxKind::None,
        wire::InboxKind::Unspecified => {
            return Err(malformed(
                "inbox_kind",
                "say transactional, journaled or none",
            ));
        }
    };
    check_id(&hello.participant).map_err(|error| malformed("participant", error))?;
    id("instance", &hello.instance)?;
    id("inbox_id", &hello.inbox_id)?;
    if hello.sdk.chars().count() > ID_CHARS_MAX {
        return Err(malformed(
            "sdk",
            format!("at most {ID_CHARS_MAX} characters"),
        ));
    }
    if hello.actions.len() > ACTIONS_MAX {
        return Err(malformed(
            "actions",
            format!("{} are more than {ACTIONS_MAX}", hello.actions.len()),
        ));
    }
    let bytes = |action: &wire::Action| action.input_schema.len() + action.output_schema.len();
    let bytes: usize = hello.actions.iter().map(bytes).sum();
    if bytes > SCHEMAS_BYTES_MAX {
        let what =
            format!("their schemas have {bytes} bytes together, more than {SCHEMAS_BYTES_MAX}");
        return Err(malformed("actions", what));
    }
    let mut names = BTreeSet::new();
    let mut actions = Vec::with_capacity(hello.actions.len());
    for action in hello.actions {
        let action = read_action(action)?;
        if !names.insert(action.name.clone()) {
            return Err(malformed(
                format!("actions.{}", action.name),
                "is registered twice",
            ));
        }
        actions.push(action);
    }
    Ok(Registration {
        participant: hello.participant,
        instance: hello.instance,
        inbox_id: hello.inbox_id,
        inbox_kind,
        actions,
        sdk: hello.sdk.replace('\0', ""),
    })
}

fn id(field: &str, text: &str) -> Result<(), Malformed> {
    match text {
        "" => Err(malformed(field, "is missing")),
        _ if text.chars().count() > ID_CHARS_MAX => Err(malformed(
            field,
            format!("at most {ID_CHARS_MAX} characters"),
        )),
        _ if text.chars().any(char::is_control) => {
            Err(malformed(field, "holds a control character"))
        }
        _ => Ok(()),
    }
}

fn read_action(action: wire::Action) -> Result<Action, Malformed> {
    let field = |part: &str| format!("actions.{}{part}", action.name);
    check_id(&action.name).map_err(|error| malformed(field(""), error))?;
    if !action.undoes.is_empty() {
        check_id(&action.undoes).map_err(|error| malformed(field(".undoes"), error))?;
    }
    let compensation = match action.kind() {
        wire::ActionKind::Compensation => true,
        wire::ActionKind::Action | wire::ActionKind::Unspecified => false,
    };
    Ok(Action {
        compensation,
        input_schema: schema(&action.input_schema)
            .map_err(|e| malformed(field(".input_schema"), e))?,
        output_schema: schema(&action.output_schema)
            .map_err(|e| malformed(field(".output_schema"), e))?,
        undoes: (!action.undoes.is_empty()).then(|| action.undoes.clone()),
        name: action.name,
    })
}

fn schema(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(format!(
            "{} bytes are more than {SCHEMA_BYTES_MAX}",
            text.len()
        ));
    }
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(_) | serde_json::Value::Bool(_)) => Ok(Some(text.to_owned())),
        Ok(_) => Err("a JSON Schema is an object, true or false".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> wire::Hello {
        wire::Hello {
            participant: "hotels".to_owned(),
            instance: "hotels-1".to_owned(),
            inbox_id: "5e1f".to_owned(),
            inbox_kind: wire::InboxKind::Transactional.into(),
            actions: vec![action("reserve")],
            capabilities: Vec::new(),
            sdk: "rust/0.1.0".to_owned(),
        }
    }

    fn action(name: &str) -> wire::Action {
        wire::Action {
            name: name.to_owned(),
            input_schema: "{}".to_owned(),
            ..wire::Action::default()
        }
    }

    fn fault(hello: wire::Hello) -> String {
        read(hello).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_good_hello_is_taken_as_it_is() {
        let registration = read(hello()).expect("good");
        assert_eq!(registration.participant, "hotels");
        assert_eq!(registration.actions[0].input_schema.as_deref(), Some("{}"));
        assert_eq!(registration.actions[0].output_schema, None);
    }

    /// Actions whose schemas have so many bytes together.
    fn with_schemas(bytes: usize) -> wire::Hello {
        let schema = |bytes: usize| format!("{{\"title\":\"{}\"}}", "x".repeat(bytes - 12));
        let (whole, rest) = (bytes / SCHEMA_BYTES_MAX, bytes % SCHEMA_BYTES_MAX);
        let sizes = std::iter::repeat_n(SCHEMA_BYTES_MAX, whole).chain((rest > 0).then_some(rest));
        let named = |(at, bytes)| wire::Action {
            input_schema: schema(bytes),
            ..action(&format!("a{at}"))
        };
        wire::Hello {
            actions: sizes.enumerate().map(named).collect(),
            ..hello()
        }
    }

    #[test]
    fn schemas_are_bounded_one_by_one_and_together() {
        assert!(read(with_schemas(SCHEMAS_BYTES_MAX)).is_ok());
        let mut more = with_schemas(SCHEMAS_BYTES_MAX);
        more.actions[0].output_schema = "true".to_owned();
        let expected = "actions: their schemas have 2097156 bytes together, more than 2097152";
        assert_eq!(fault(more), expected);
        let mut larger = with_schemas(SCHEMA_BYTES_MAX);
        larger.actions[0].input_schema += " ";
        assert_eq!(
            fault(larger),
            "actions.a0.input_schema: 262145 bytes are more than 262144"
        );
    }

    /// As a client writes it that puts a schema into JSON as a text and escapes whatever is not ASCII.
    #[test]
    fn the_largest_registration_fits_a_message_in_every_form() {
        use prost::Message;
        use saga_proto::limits::MESSAGE_BYTES_MAX;
        let packed = with_schemas(SCHEMAS_BYTES_MAX);
        assert!(packed.encoded_len() < MESSAGE_BYTES_MAX);
        let escaped = "\\u00e9".repeat(SCHEMAS_BYTES_MAX / 2);
        let names =
            "{\"name\":\"\",\"kind\":\"compensation\",\"undoes\":\"\",\"input_schema\":\"\"},"
                .len()
                + 2 * 63;
        assert!(escaped.len() + ACTIONS_MAX * names < MESSAGE_BYTES_MAX);
    }

    #[test]
    fn every_fault_names_its_field() {
        let with = |change: fn(&mut wire::Hello)| {
            let mut hello = hello();
            change(&mut hello);
            fault(hello)
        };
        assert_eq!(
            with(|h| h.inbox_kind = 9),
            "inbox_kind: say transactional, journaled or none"
        );
        assert!(with(|h| h.participant = "Hotels".to_owned()).starts_with("participant: "));
        assert_eq!(with(|h| h.instance.clear()), "instance: is missing");
        assert_eq!(
            with(|h| h.inbox_id = "x".repeat(201)),
            "inbox_id: at most 200 characters"
        );
        assert_eq!(
            with(|h| h.inbox_id = "a\0".to_owned()),
            "inbox_id: holds a control character"
        );
        assert_eq!(
            with(|h| h.actions.push(action("reserve"))),
            "actions.reserve: is registered twice"
        );
        assert!(
            with(|h| h.actions = vec![action("a"); 1_001]).starts_with("actions: 1001 are more")
        );
        assert!(
            with(|h| h.actions[0].input_schema = "{".to_owned()).contains("input_schema: not JSON")
        );
        assert!(with(|h| h.actions[0].output_schema = "3".to_owned()).contains("a JSON Schema is"));
        assert!(
            with(|h| h.actions[0].undoes = "B".to_owned()).starts_with("actions.reserve.undoes: ")
        );
    }
}
