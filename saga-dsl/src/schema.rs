//! The JSON Schema (draft-07) of saga files, for editors: completion, descriptions, and slips shown while typing.
//!
//! It is never stricter than the reader: what loads without errors is valid, scalars taken as the reader takes them. It is less strict where a rule
//! is about more than one place (names, expressions, the pivot); those are for [`crate::check`]. The words and
//! limits come from the tables that the reader uses, and tests keep the keys of both equal.

#[cfg(test)]
mod checker;
#[cfg(test)]
pub(crate) mod page;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::{
    definition::Duration,
    file::{
        keys,
        model::{BACKOFFS, JITTERS},
        steps::KINDS,
    },
    limits,
    names::ID_CHARS_MAX,
    plan::resolve,
    types::SCALARS,
};

/// A key with the shape of its value and what it means.
type Property = (&'static str, Value, String);

/// The schema of a saga file of this release.
#[must_use]
pub fn schema() -> Value {
    let mut schema = file();
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Saga file, format 1");
    schema["definitions"] = json!({
        "id": id(),
        "participant_action": participant_action(),
        "duration": duration(),
        "type": ty(),
        "fields": fields("^[A-Za-z_][A-Za-z0-9_]*$"),
        "expression": {"type": ["string", "boolean", "number"]},
        "step_input": step_input(),
        "participants": {"type": "object", "propertyNames": reference("id"), "additionalProperties": reference("participant")},
        "participant": participant(),
        "circuit_breaker": circuit_breaker(),
        "retry": retry(),
        "defaults": defaults(),
        "compensation": compensation(),
        "compensation_block": compensation_block(),
        "steps": {"type": "array", "minItems": 1, "items": reference("item")},
        "item": {"anyOf": [reference("step"), reference("parallel"), reference("sequence")]},
        "step": step(),
        "parallel": group("parallel", "Children that run all at once: steps, or `sequence` groups."),
        "sequence": group("sequence", "Children that run one after the other, as one branch of a `parallel`."),
    });
    schema
}

fn file() -> Value {
    let format = "Version of the grammar of this file.";
    let labels = "Names and texts copied to each saga, for filtering.";
    let key = "Text with `${…}` over `input`: a second start with the same result returns the first saga.";
    let deadline = "Time for the whole saga. Before the pivot its passing compensates, after it an incident is raised.";
    let output =
        "The result, with `${…}`. Without it: the outputs of the succeeded top-level steps by id.";
    object(
        &["saga", "version", "steps"],
        vec![
            property("saga", reference("id"), "Name of the saga."),
            property(
                "version",
                count(),
                "Version, from 1. What is registered under it never changes.",
            ),
            property("format", json!({"const": 1}), format),
            property("description", text(), "For people."),
            property(
                "labels",
                json!({"type": "object", "additionalProperties": text()}),
                labels,
            ),
            property(
                "idempotency_key",
                json!({"type": "string", "pattern": "\\$\\{"}),
                key,
            ),
            property("deadline", reference("duration"), deadline),
            property(
                "input",
                fields("^[A-Za-z_][A-Za-z0-9_]*$"),
                "Types of the start payload, which is checked at the start.",
            ),
            property("output", json!({"type": "object"}), output),
            property(
                "participants",
                reference("participants"),
                "How much each participant may be asked, by name.",
            ),
            property(
                "defaults",
                reference("defaults"),
                "What holds for every step that does not say.",
            ),
            property(
                "steps",
                reference("steps"),
                "Steps and groups, one after the other.",
            ),
        ],
    )
}

fn defaults() -> Value {
    let retry = "Retry of actions. Its `max_attempts` binds compensatable steps only.";
    object(
        &[],
        vec![
            property("timeout", reference("duration"), timeout()),
            property("retry", reference("retry"), retry),
            property(
                "compensation_retry",
                reference("retry"),
                "Retry of compensations.",
            ),
        ],
    )
}

fn participant() -> Value {
    let in_flight = "Commands that may be outstanding there at once, of all sagas together.";
    let rate = "Commands that may be sent there in a second (`50/s`), minute or hour.";
    let breaker = "When to stop asking for a while. Each action has a breaker of its own; `{}` takes the defaults.";
    object(
        &[],
        vec![
            property("max_in_flight", count(), in_flight),
            property(
                "rate_limit",
                json!({"type": "string", "pattern": "^[1-9][0-9]{0,6}/(s|m|h)$"}),
                rate,
            ),
            property("circuit_breaker", reference("circuit_breaker"), breaker),
        ],
    )
}

fn circuit_breaker() -> Value {
    let share = json!({"type": "string", "pattern": "^(100|[1-9][0-9]?)%$"});
    let rate = format!(
        "It opens when this share of the calls in the window failed or timed out; refusals are answers. Default {}%.",
        limits::FAILURE_PERCENT
    );
    let window = format!(
        "It looks back over this span. Default {}.",
        ms(limits::WINDOW_MS)
    );
    let calls = format!(
        "And not before there were so many calls. Default {}.",
        limits::MIN_CALLS
    );
    let open = format!(
        "It stays open for so long, then probes. Default {}.",
        ms(limits::OPEN_FOR_MS)
    );
    let probes = format!(
        "Probes, one after the other, that must succeed before it closes. Default {}.",
        limits::HALF_OPEN_CALLS
    );
    object(
        &[],
        vec![
            property("failure_rate", share, rate),
            property("window", reference("duration"), window),
            property("min_calls", count(), calls),
            property("open_for", reference("duration"), open),
            property("half_open_calls", count(), probes),
        ],
    )
}

fn retry() -> Value {
    let attempts = format!(
        "Attempts in all, the first one included. Default {} for compensatable steps; `unlimited` for pivots, \
         retriable steps and compensations.",
        resolve::MAX_ATTEMPTS
    );
    let initial = format!(
        "Delay before the second attempt. Default {}.",
        ms(resolve::INITIAL_DELAY_MS)
    );
    let longest = format!(
        "Delays never exceed it. Default {}.",
        ms(resolve::MAX_DELAY_MS)
    );
    let growth = format!(
        "Growth of exponential backoff, above 1. Default {}.",
        resolve::MULTIPLIER
    );
    let multiplier = json!({"type": "number", "exclusiveMinimum": 1});
    object(
        &[],
        vec![
            property(
                "max_attempts",
                json!({"anyOf": [count(), {"const": "unlimited"}]}),
                attempts,
            ),
            property(
                "backoff",
                words(BACKOFFS),
                "How delays grow. Default exponential.",
            ),
            property("initial_delay", reference("duration"), initial),
            property("max_delay", reference("duration"), longest),
            property("multiplier", multiplier, growth),
            property(
                "jitter",
                words(JITTERS),
                "How delays are spread. Default full.",
            ),
            property(
                "max_elapsed",
                reference("duration"),
                "No attempt begins later than this after the first one.",
            ),
            property(
                "non_retryable",
                texts(),
                "Error codes that end the retries.",
            ),
        ],
    )
}

fn step() -> Value {
    let kind = "compensatable (default): can be undone. pivot: the point of no return. retriable: stands after the \
                pivot and is tried until it succeeds.";
    let when = "Expression that is true or false. When false, the step is skipped.";
    let undo =
        "What undoes the step: `participant/action`, `none`, or a map. Needed before the pivot.";
    let inbox = "The step may also go to a participant whose inbox is not transactional.";
    object(
        &["step", "action"],
        vec![
            property(
                "step",
                reference("id"),
                "Name of the step, unique in the file.",
            ),
            property("description", text(), "For people."),
            property("kind", words(KINDS), kind),
            property("when", reference("expression"), when),
            property(
                "action",
                reference("participant_action"),
                "Command to a participant.",
            ),
            property("input", reference("step_input"), step_input_about()),
            property("compensation", reference("compensation"), undo),
            property("timeout", reference("duration"), timeout()),
            property(
                "retry",
                reference("retry"),
                "Retry of the action, over `defaults.retry` key by key.",
            ),
            property("escalate_after", reference("duration"), escalate_after()),
            property("at_least_once", json!({"type": "boolean"}), inbox),
        ],
    )
}

fn compensation_block() -> Value {
    let action = json!({"anyOf": [{"const": "none"}, reference("participant_action")]});
    let retry = "Retry of the compensation, over `defaults.compensation_retry` key by key.";
    object(
        &["action"],
        vec![
            property("action", action, "Command that undoes the step, or `none`."),
            property(
                "reason",
                text(),
                "With `action: none`: why nothing needs undoing.",
            ),
            property("input", reference("step_input"), step_input_about()),
            property("timeout", reference("duration"), timeout()),
            property("retry", reference("retry"), retry),
            property("escalate_after", reference("duration"), escalate_after()),
        ],
    )
}

fn group(verb: &'static str, about: &str) -> Value {
    let when = "Expression that is true or false. When false, the whole group is skipped.";
    let properties = vec![
        property(verb, reference("steps"), about),
        property("when", reference("expression"), when),
    ];
    object(&[verb], properties)
}

fn id() -> Value {
    json!({"type": "string", "pattern": format!("^{}$", id_pattern()), "not": {"enum": keys::RESERVED}})
}

fn id_pattern() -> String {
    format!("[a-z][a-z0-9_]{{0,{}}}", ID_CHARS_MAX - 1)
}

fn participant_action() -> Value {
    let id = id_pattern();
    json!({"type": "string", "pattern": format!("^{id}/{id}$")})
}

/// Every unit may be absent in the pattern, so the length says that one is there.
fn duration() -> Value {
    let units = ["d", "h", "m", "s", "ms"]
        .map(|unit| format!("([0-9]+(\\.[0-9]+)?{unit})?"))
        .concat();
    json!({
        "type": "string",
        "minLength": 1,
        "pattern": format!("^{units}$"),
        "description": "A span of time: 200ms, 15m, 1h30m, 3d.",
    })
}

/// The enumeration is for completion; the pattern also allows what the reader does, more than one space.
fn ty() -> Value {
    let names = SCALARS.map(|(name, _)| name);
    let written: Vec<_> = names
        .iter()
        .map(|name| (*name).to_owned())
        .chain(names.map(|n| format!("optional {n}")))
        .collect();
    let pattern = format!("^\\s*(optional\\s+)?({})\\s*$", names.join("|"));
    json!({"anyOf": [
        {"enum": written},
        {"type": "string", "pattern": pattern},
        {"type": "array", "minItems": 1, "maxItems": 1, "items": reference("type")},
        reference("fields"),
    ]})
}

fn fields(name_pattern: &str) -> Value {
    json!({
        "type": "object",
        "propertyNames": {"pattern": name_pattern},
        "additionalProperties": reference("type"),
    })
}

fn step_input() -> Value {
    json!({"anyOf": [texts(), {"type": "object"}]})
}

fn step_input_about() -> &'static str {
    "What is sent: a list of names (`amount` is `input.amount`, or a path such as `steps.x.output.y`), or a map with \
     `${…}`."
}

fn compensation() -> Value {
    json!({"anyOf": [
        {"const": "none"},
        reference("participant_action"),
        reference("compensation_block"),
    ]})
}

fn timeout() -> String {
    format!(
        "Limit of one attempt; after it the outcome is unknown. Default {}.",
        ms(resolve::TIMEOUT_MS)
    )
}

fn escalate_after() -> String {
    let default = ms(resolve::ESCALATE_AFTER_MS);
    format!("Time until an incident is raised while retries go on. Default {default}.")
}

fn ms(ms: u64) -> Duration {
    Duration { ms }
}

fn text() -> Value {
    json!({"type": "string"})
}

fn texts() -> Value {
    json!({"type": "array", "items": text()})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": u32::MAX})
}

fn words<T>(table: &[(&str, T)]) -> Value {
    json!({"enum": table.iter().map(|(word, _)| *word).collect::<Vec<_>>()})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{name}")})
}

/// In draft-07 whatever stands beside a `$ref` is ignored, so a description needs `allOf`.
fn property(key: &'static str, shape: Value, about: impl Into<String>) -> Property {
    let shape = if shape.get("$ref").is_some() {
        json!({"allOf": [shape]})
    } else {
        shape
    };
    (key, shape, about.into())
}

/// A map with these keys and no others.
fn object(required: &[&str], properties: Vec<Property>) -> Value {
    let described = |(key, mut shape, about): Property| {
        shape["description"] = Value::from(about);
        (key.to_owned(), shape)
    };
    let properties: Map<_, _> = properties.into_iter().map(described).collect();
    let mut object =
        json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}
