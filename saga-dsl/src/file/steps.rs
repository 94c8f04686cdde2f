//! The tree as the model: items of a list of steps.
//!
//! Places of the model and of the tree must agree, so nothing is ever left out of a list: what cannot be read
//! becomes an empty group, and what lacks its verb a step that asks for nothing.

use super::{
    keys, model, scalar,
    tree::{Content, Node as Tree},
    unsupported,
    walk::{Fields, Walk},
};
use crate::{
    check::GROUPS_MAX,
    codes::Code,
    definition::{
        ActionName, Compensation, CompensationAction, CompensationBlock, Input, Kind,
        NoCompensation, Node, Parallel, Retry, Sequence, Step, Verb,
    },
    finding::Finding,
    place::{Place, Segment},
};

/// Keys of which an item has exactly one.
pub(crate) const VERBS: &[&str] = &[
    "action", "parallel", "sequence", "choose", "for_each", "saga", "signal", "timer",
];

pub(crate) const KINDS: &[(&str, Kind)] = &[
    ("compensatable", Kind::Compensatable),
    ("pivot", Kind::Pivot),
    ("retriable", Kind::Retriable),
];

/// The items of a list.
pub(super) fn steps(walk: &mut Walk, node: &Tree, place: &Place, depth: usize) -> Vec<Node> {
    let key = match place.0.last() {
        Some(Segment::Key(key)) => key.as_str(),
        Some(Segment::Index(_)) | None => "steps",
    };
    let Some(items) = walk.list(node, place, &format!("`{key}`")) else {
        walk.incomplete = true;
        walk.lost_steps = true;
        return Vec::new();
    };
    if items.is_empty() {
        walk.report(Finding::new(
            Code::S0103,
            place,
            "a list of steps has at least one",
        ));
    }
    items
        .iter()
        .enumerate()
        .map(|(at, item)| self::item(walk, item, &place.at(at), depth))
        .collect()
}

fn item(walk: &mut Walk, node: &Tree, place: &Place, depth: usize) -> Node {
    let empty = Node::Sequence(Sequence {
        when: None,
        sequence: Vec::new(),
    });
    if !matches!(node.content, Content::Map(_)) {
        walk.wrong_shape(node, place, "a step is a map");
        walk.incomplete = true;
        walk.lost_steps |= node.is_uncertain();
        return empty;
    }
    let verbs: Vec<&str> = VERBS
        .iter()
        .copied()
        .filter(|verb| node.get(verb).is_some())
        .collect();
    if let [first, second, ..] = verbs.as_slice() {
        let message = format!("a step does one thing, and this has `{first}` and `{second}`");
        walk.report(Finding::new(Code::S0105, &place.key(*second), message).on_key());
    }
    let group = match verbs.first().copied() {
        Some("parallel") => "parallel",
        Some("sequence") => "sequence",
        Some("choose" | "for_each") => {
            report_unsupported(walk, node, place, &verbs);
            return empty;
        }
        Some("saga" | "signal" | "timer") => {
            report_unsupported(walk, node, place, &verbs);
            return stand_in(walk, node, place);
        }
        _ => return Node::Step(Box::new(step(walk, node, place, &verbs))),
    };
    if depth >= GROUPS_MAX {
        let message = format!("groups nest at most {GROUPS_MAX} deep");
        walk.report(Finding::new(Code::S0008, &place.key(group), message).on_key());
        walk.incomplete = true;
        return empty;
    }
    let known = [keys::GROUP, &verbs].concat();
    let fields = walk.fields(node, place, &format!("a `{group}` group"), &known);
    let when = fields.as_ref().and_then(|fields| expression(walk, fields));
    let children = node
        .get(group)
        .map(|entry| steps(walk, &entry.value, &place.key(group), depth + 1));
    let children = children.unwrap_or_default();
    if group == "parallel" {
        Node::Parallel(Parallel {
            when,
            parallel: children,
        })
    } else {
        Node::Sequence(Sequence {
            when,
            sequence: children,
        })
    }
}

fn report_unsupported(walk: &mut Walk, node: &Tree, place: &Place, verbs: &[&str]) {
    walk.incomplete = true;
    for verb in verbs.iter().filter(|verb| node.get(verb).is_some()) {
        if matches!(*verb, "choose" | "for_each" | "saga" | "signal" | "timer") {
            walk.report(unsupported::fault(verb, &place.key(*verb)));
        }
    }
}

/// A step whose verb this release does not know, so that others may still read it.
fn stand_in(walk: &mut Walk, node: &Tree, place: &Place) -> Node {
    let fields = walk.map(node, place, "a step");
    let id = fields.as_ref().and_then(|fields| fields.get("step"));
    let id = id
        .and_then(|(node, place)| walk.id(node, &place, "`step`"))
        .unwrap_or_default()
        .to_owned();
    let mut step = blank(id);
    if let Some(fields) = &fields {
        step.kind = kind(walk, fields);
        step.when = expression(walk, fields);
    }
    Node::Step(Box::new(step))
}

fn blank(id: String) -> Step {
    let nobody = ActionName {
        participant: String::new(),
        action: String::new(),
    };
    Step {
        step: id,
        description: None,
        kind: None,
        when: None,
        verb: Verb::Action {
            action: nobody,
            input: None,
        },
        compensation: None,
        timeout: None,
        retry: Retry::default(),
        escalate_after: None,
        at_least_once: false,
    }
}

fn kind(walk: &mut Walk, fields: &Fields<'_>) -> Option<Kind> {
    let (node, place) = fields.get("kind")?;
    let kind = walk.choice(node, &place, KINDS);
    if kind.is_none() {
        // It may have been meant as the pivot.
        walk.incomplete = true;
        walk.doubtful.insert(fields.place.clone());
    }
    kind
}

/// `when` may look like a boolean or a number and is an expression nevertheless.
fn expression(walk: &mut Walk, fields: &Fields<'_>) -> Option<String> {
    let (node, place) = fields.get("when")?;
    walk.word(node, &place, "`when` is an expression")
        .map(str::to_owned)
}

fn step(walk: &mut Walk, node: &Tree, place: &Place, verbs: &[&str]) -> Step {
    let before = walk.findings.len();
    // A second verb was reported already.
    let known = [keys::STEP, verbs].concat();
    let Some(fields) = walk.fields(node, place, "a step", &known) else {
        return blank(String::new());
    };
    explain_removed_keys(walk, &fields);
    if walk.findings.len() > before || fields.is_uncertain() {
        walk.doubtful.insert(place.clone());
    }
    let id = walk.require(&fields, "step", "a step");
    // What reads the step by an id that cannot be read makes no second fault.
    walk.lost_steps |= id.as_ref().is_none_or(|(node, _)| node.is_uncertain());
    let id = id
        .and_then(|(node, place)| walk.id(node, &place, "`step`"))
        .unwrap_or_default();
    let mut step = blank(id.to_owned());
    if !fields.has("action") && !fields.may_have("action") {
        let message = "this step does nothing: it has no `action`";
        let fault = Finding::new(Code::S0105, place, message);
        walk.report(fault.help(
            "add `action: participant/action`, or make it a group: `parallel:`, `sequence:`",
        ));
    }
    let action = fields
        .get_meant("action")
        .and_then(|(node, place)| walk.action(node, &place, "`action`"));
    let Verb::Action {
        action: name,
        input,
    } = &mut step.verb;
    if let Some(action) = action {
        *name = action;
    }
    *input = self::input(walk, &fields);
    step.description = model::text(walk, &fields, "description");
    step.kind = kind(walk, &fields);
    step.when = expression(walk, &fields);
    step.compensation = fields
        .get("compensation")
        .map(|(node, place)| compensation(walk, node, &place));
    step.timeout = fields
        .get("timeout")
        .and_then(|(node, place)| walk.duration(node, &place));
    step.retry = model::retry(walk, &fields, "retry");
    step.escalate_after = fields
        .get("escalate_after")
        .and_then(|(node, place)| walk.duration(node, &place));
    step.at_least_once = fields
        .get("at_least_once")
        .and_then(|(node, place)| walk.flag(node, &place, "`at_least_once`"))
        .unwrap_or(false);
    step
}

/// Keys that other tools have on a step and that would break guarantees here.
fn explain_removed_keys(walk: &mut Walk, fields: &Fields<'_>) {
    let keys = [
        (
            "idempotency_key",
            "steps get their keys from the engine; a key of your business is ordinary input",
        ),
        (
            "deadline",
            "limit the time of all attempts with `retry: {max_elapsed: …}`",
        ),
        (
            "depends_on",
            "a list of steps is a sequence; what may run together stands in `parallel:`",
        ),
        (
            "participant",
            "the participant is part of the action: `action: participant/action`",
        ),
    ];
    for (key, help) in keys.iter().filter(|(key, _)| fields.has(key)) {
        let place = fields.place.key(*key);
        let fault = walk
            .findings
            .iter_mut()
            .rev()
            .find(|fault| fault.place == place);
        if let Some(fault) = fault {
            fault.help = Some((*help).to_owned());
        }
    }
}

fn input(walk: &mut Walk, fields: &Fields<'_>) -> Option<Input> {
    let (node, place) = fields.get("input")?;
    match &node.content {
        Content::List(_) => Some(Input::Pick(model::texts(walk, node, &place, "`input`"))),
        Content::Map(_) => match walk.value(node, &place) {
            Some(serde_json::Value::Object(value)) => Some(Input::Value(value)),
            _ => None,
        },
        Content::Scalar(_) | Content::Empty | Content::Broken => {
            walk.wrong_shape(node, &place, "`input` is a list of names or a map");
            None
        }
    }
}

/// Also where it cannot be read it stays a compensation: that there is none would be a second fault.
fn compensation(walk: &mut Walk, node: &Tree, place: &Place) -> Compensation {
    let nobody = || ActionName {
        participant: String::new(),
        action: String::new(),
    };
    match &node.content {
        Content::Scalar(scalar) if scalar.text == "none" => {
            Compensation::None(NoCompensation::None)
        }
        Content::Map(_) => Compensation::Block(Box::new(block(walk, node, place))),
        Content::Scalar(scalar) if scalar::value(scalar) != Ok(serde_json::Value::Null) => {
            let name = walk.action(node, place, "`compensation`");
            Compensation::Action(name.unwrap_or_else(nobody))
        }
        Content::Scalar(_) | Content::List(_) | Content::Empty | Content::Broken => {
            walk.wrong_shape(
                node,
                place,
                "`compensation` is an action, the word `none`, or a map",
            );
            Compensation::Action(nobody())
        }
    }
}

fn block(walk: &mut Walk, node: &Tree, place: &Place) -> CompensationBlock {
    let nobody = ActionName {
        participant: String::new(),
        action: String::new(),
    };
    let mut block = CompensationBlock {
        action: CompensationAction::Action(nobody),
        reason: None,
        input: None,
        timeout: None,
        retry: Retry::default(),
        escalate_after: None,
    };
    let Some(fields) = walk.fields(node, place, "`compensation`", keys::COMPENSATION) else {
        return block;
    };
    if let Some((node, place)) = walk.require(&fields, "action", "`compensation`") {
        let none = matches!(&node.content, Content::Scalar(scalar) if scalar.text == "none");
        if none {
            block.action = CompensationAction::None(NoCompensation::None);
        } else if let Some(name) = walk.action(node, &place, "`action`") {
            block.action = CompensationAction::Action(name);
        }
    }
    block.reason = model::text(walk, &fields, "reason");
    block.input = input(walk, &fields);
    block.timeout = fields
        .get("timeout")
        .and_then(|(node, place)| walk.duration(node, &place));
    block.retry = model::retry(walk, &fields, "retry");
    block.escalate_after = fields
        .get("escalate_after")
        .and_then(|(node, place)| walk.duration(node, &place));
    block
}
