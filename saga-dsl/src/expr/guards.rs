//! What conditions such as `has(input.note) && …` make known to be present.

use super::{
    Root,
    ast::{Kind, Node},
};

/// Paths that are present when `node` has this truth.
pub(super) fn facts(node: &Node, truth: bool, roots: &[Root]) -> Vec<String> {
    match (&node.kind, truth) {
        (Kind::Has(path), true) => path_of(path, roots).into_iter().collect(),
        (Kind::Not(operand), _) => facts(operand, !truth, roots),
        (Kind::And(operands), true) | (Kind::Or(operands), false) => operands
            .iter()
            .flat_map(|operand| facts(operand, truth, roots))
            .collect(),
        _ => Vec::new(),
    }
}

/// A name for a path of fields that begins at a root or a loop variable.
pub(super) fn path_of(node: &Node, roots: &[Root]) -> Option<String> {
    match &node.kind {
        Kind::Root(number) => roots.get(*number).map(Root::to_string),
        // No root's name holds a `#`.
        Kind::Variable(depth) => Some(format!("#{depth}")),
        Kind::Field(target, name) => Some(format!("{}.{name}", path_of(target, roots)?)),
        Kind::Index(target, index) => match &index.kind {
            Kind::Text(name) => Some(format!("{}.{name}", path_of(target, roots)?)),
            _ => None,
        },
        _ => None,
    }
}
