//! The tree as the model: the keys of a file, apart from those of steps.

use std::collections::BTreeMap;

use super::{
    keys,
    tree::{Content, Node},
    walk::{Fields, Walk},
};
use crate::{
    codes::Code,
    definition::{Backoff, Defaults, Definition, Jitter, MaxAttempts, Retry, Unlimited},
    finding::Finding,
    place::Place,
    types::{Type, is_field_name},
};

pub(crate) const BACKOFFS: &[(&str, Backoff)] = &[
    ("exponential", Backoff::Exponential),
    ("linear", Backoff::Linear),
    ("fixed", Backoff::Fixed),
];
pub(crate) const JITTERS: &[(&str, Jitter)] = &[
    ("full", Jitter::Full),
    ("equal", Jitter::Equal),
    ("none", Jitter::None),
];

/// A definition read as far as the file allows; with findings it is fit for further checks only.
pub(super) fn definition(walk: &mut Walk, tree: &Node) -> Option<Definition> {
    let top = Place::default();
    let fields = walk.fields(tree, &top, "a saga file", keys::FILE)?;
    walk.incomplete |= tree.torn;
    let saga = walk.require(&fields, "saga", "a saga file");
    let saga = saga
        .and_then(|(node, place)| walk.id(node, &place, "`saga`"))
        .unwrap_or_default();
    let version = walk.require(&fields, "version", "a saga file");
    let version = version
        .and_then(|(node, place)| walk.count(node, &place, "`version`", 1))
        .unwrap_or(1);
    let steps = walk.require(&fields, "steps", "a saga file");
    let format = fields
        .get("format")
        .and_then(|(node, place)| walk.count(node, &place, "`format`", 1));
    if let Some(format) = format.filter(|format| *format != 1) {
        let message = format!("this release reads format 1, not {format}");
        let fault = Finding::new(Code::S0109, &top.key("format"), message);
        walk.report(fault.help("remove the line: what this release reads is format 1"));
    }
    Some(Definition {
        saga: saga.to_owned(),
        version,
        format: 1,
        description: text(walk, &fields, "description"),
        labels: labels(walk, &fields),
        idempotency_key: text(walk, &fields, "idempotency_key"),
        deadline: fields
            .get("deadline")
            .and_then(|(node, place)| walk.duration(node, &place)),
        input: types(walk, &fields, "input"),
        output: fields.get("output").and_then(|(node, place)| {
            walk.map(node, &place, "`output`")?;
            walk.value(node, &place)
        }),
        participants: super::participants::participants(walk, &fields),
        defaults: defaults(walk, &fields),
        steps: steps
            .map(|(node, place)| super::steps::steps(walk, node, &place, 0))
            .unwrap_or_default(),
    })
}

pub(super) fn text(walk: &mut Walk, fields: &Fields<'_>, key: &str) -> Option<String> {
    let (node, place) = fields.get(key)?;
    walk.text(node, &place, &format!("`{key}`"))
        .map(str::to_owned)
}

fn labels(walk: &mut Walk, fields: &Fields<'_>) -> BTreeMap<String, String> {
    let Some((node, place)) = fields.get("labels") else {
        return BTreeMap::new();
    };
    let Some(labels) = walk.map(node, &place, "`labels`") else {
        return BTreeMap::new();
    };
    let mut texts = BTreeMap::new();
    for entry in labels.entries() {
        if let Some(text) = walk.text(&entry.value, &place.key(&entry.key), "a label") {
            texts.insert(entry.key.clone(), text.to_owned());
        }
    }
    texts
}

/// Declared fields: each with its type.
fn types(walk: &mut Walk, fields: &Fields<'_>, key: &str) -> BTreeMap<String, Type> {
    let Some((node, place)) = fields.get(key) else {
        return BTreeMap::new();
    };
    let Some(declared) = walk.map(node, &place, &format!("`{key}`")) else {
        return BTreeMap::new();
    };
    let mut types = BTreeMap::new();
    for entry in declared.entries() {
        let place = place.key(&entry.key);
        if !is_field_name(&entry.key) {
            let message =
                "fields are named with letters, digits and _, and begin with a letter or _";
            walk.report(Finding::new(Code::S0103, &place, message).on_key());
        }
        // A field with a bad type stays a field: reading it is no second fault.
        let ty = walk
            .value(&entry.value, &place)
            .map(|value| Type::from_value(&value));
        let ty = match ty {
            Some(Ok(ty)) => ty,
            None => Type::Any,
            Some(Err(fault)) => {
                let mut finding =
                    Finding::new(Code::S0103, &place.pointer(&fault.place), fault.message);
                finding.help = fault.help;
                walk.report(finding);
                Type::Any
            }
        };
        types.insert(entry.key.clone(), ty);
    }
    types
}

fn defaults(walk: &mut Walk, fields: &Fields<'_>) -> Defaults {
    let Some((node, place)) = fields.get("defaults") else {
        return Defaults::default();
    };
    let Some(fields) = walk.fields(node, &place, "`defaults`", keys::DEFAULTS) else {
        return Defaults::default();
    };
    Defaults {
        timeout: fields
            .get("timeout")
            .and_then(|(node, place)| walk.duration(node, &place)),
        retry: retry(walk, &fields, "retry"),
        compensation_retry: retry(walk, &fields, "compensation_retry"),
    }
}

pub(super) fn retry(walk: &mut Walk, fields: &Fields<'_>, key: &str) -> Retry {
    let Some((node, place)) = fields.get(key) else {
        return Retry::default();
    };
    let before = walk.findings.len();
    let Some(fields) = walk.fields(node, &place, &format!("`{key}`"), keys::RETRY) else {
        if let (Content::Scalar(scalar), Some(fault)) =
            (&node.content, walk.findings.get_mut(before))
            && scalar.text.parse::<u32>().is_ok()
        {
            fault.help = Some(format!("write `{key}: {{max_attempts: {}}}`", scalar.text));
        }
        return Retry::default();
    };
    let duration = |walk: &mut Walk, key: &str| {
        fields
            .get(key)
            .and_then(|(node, place)| walk.duration(node, &place))
    };
    Retry {
        max_attempts: fields
            .get("max_attempts")
            .and_then(|(node, place)| max_attempts(walk, node, &place)),
        backoff: fields
            .get("backoff")
            .and_then(|(node, place)| walk.choice(node, &place, BACKOFFS)),
        initial_delay: duration(walk, "initial_delay"),
        max_delay: duration(walk, "max_delay"),
        multiplier: fields
            .get("multiplier")
            .and_then(|(node, place)| multiplier(walk, node, &place)),
        jitter: fields
            .get("jitter")
            .and_then(|(node, place)| walk.choice(node, &place, JITTERS)),
        max_elapsed: duration(walk, "max_elapsed"),
        non_retryable: fields
            .get("non_retryable")
            .map(|(node, place)| texts(walk, node, &place, "`non_retryable`"))
            .unwrap_or_default(),
    }
}

fn max_attempts(walk: &mut Walk, node: &Node, place: &Place) -> Option<MaxAttempts> {
    if let Content::Scalar(scalar) = &node.content
        && scalar.text == "unlimited"
    {
        return Some(MaxAttempts::Unlimited(Unlimited::Unlimited));
    }
    let found = walk
        .count(node, place, "`max_attempts`", 1)
        .map(MaxAttempts::Times);
    if let (None, Some(fault)) = (found, walk.findings.last_mut()) {
        fault
            .help
            .get_or_insert_with(|| "for no limit write `unlimited`".to_owned());
    }
    found
}

fn multiplier(walk: &mut Walk, node: &Node, place: &Place) -> Option<f64> {
    match walk.value(node, place)? {
        serde_json::Value::Number(number) => number.as_f64(),
        _ => {
            walk.wrong_shape(node, place, "`multiplier` is a number");
            None
        }
    }
}

pub(super) fn texts(walk: &mut Walk, node: &Node, place: &Place, what: &str) -> Vec<String> {
    let Some(items) = walk.list(node, place, what) else {
        return Vec::new();
    };
    let mut texts = Vec::new();
    for (at, item) in items.iter().enumerate() {
        // A stand-in keeps the places of those after it.
        let text = walk
            .text(item, &place.at(at), "each entry")
            .unwrap_or_default();
        texts.push(text.to_owned());
    }
    texts
}
