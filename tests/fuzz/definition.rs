//! Stored definitions: canonical JSON to a plan that runs, without any check. What a later release finds fault with must go
//! on loading, so nobody behind it may trust what the checks would have refused.

use std::sync::Arc;

use saga_dsl::{check::check_definition, definition::Definition, file, graph, plan::Plan};
use serde_json::Value;

use crate::{
    edits::{files, grafted},
    run::fuzz,
    walk,
};

#[test]
fn definition() {
    let sources = files("saga-dsl/tests", "good.saga.yaml")
        .into_iter()
        .chain(files("examples", ".saga.yaml"));
    let sources = sources.chain([walk::VARIED.as_bytes().to_vec()]);
    let stored = sources.filter_map(|source| {
        let definition = file::load("stored", &source).definition?;
        serde_json::from_str(&definition.canonical_json()).ok()
    });
    fuzz("definition", grafted(stored.collect()), target);
}

pub fn target(bytes: &[u8]) {
    // Whatever reads, in canonical form: an edit seldom leaves it in that form itself.
    let Ok(definition) = serde_json::from_slice::<Definition>(bytes) else {
        return;
    };
    let json = definition.canonical_json();
    let again = Definition::from_canonical_json(&json).expect("what was written can be read");
    assert_eq!(again.canonical_json(), json);
    assert!(serde_json::from_str::<Value>(&json).is_ok());
    for found in check_definition(&definition, None) {
        assert!(
            found.span.is_none() && !found.message.contains('\n'),
            "{found:?}"
        );
        assert!(found.render("", false).contains(found.code.as_str()));
    }
    let Ok(plan) = Plan::from_canonical(&json) else {
        return;
    };
    for drawn in [
        graph::ascii(&plan, Some(80)),
        graph::mermaid(&plan),
        graph::dot(&plan),
    ] {
        assert!(!drawn.contains('\0'));
    }
    let numbers: Vec<u8> = bytes
        .iter()
        .step_by(bytes.len() / 90 + 1)
        .copied()
        .collect();
    walk::go(&Arc::new(plan), &numbers);
}
