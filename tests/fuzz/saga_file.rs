//! Saga files: bytes to a tree, a model, findings and a plan.

use saga_dsl::{
    definition::Definition,
    diagnostic::{Diagnostic, LineIndex, Severity},
    file::{self, FILE_BYTES_MAX},
    graph,
    plan::Plan,
};

use crate::{
    edits::{edited, files},
    run::fuzz,
};

const WORDS: &[&str] = &[
    "saga: ",
    "version: ",
    "input: ",
    "steps:\n",
    "- step: ",
    "action: ",
    "compensation: ",
    "none",
    "kind: pivot",
    "kind: retriable",
    "parallel:\n",
    "sequence:\n",
    "when: ",
    "choose: ",
    "for_each: ",
    "after: []",
    "output: ",
    "deadline: ",
    "timeout: ",
    "retry: ",
    "defaults: ",
    "max_attempts: ",
    "backoff: ",
    "idempotency_key: ",
    "at_least_once: true",
    "escalate_after: ",
    "labels: ",
    "format: ",
    "string",
    "int",
    "optional ",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "? ",
    "\n",
    "  ",
    "\t",
    "#",
    " # ",
    "|\n",
    ">-\n",
    "&a ",
    "*a",
    "<<: ",
    "!tag ",
    "!!str ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "null",
    "~",
    "yes",
    "0",
    "-1",
    "1e9",
    "0x1f",
    "99999999999999999999",
    "15m",
    "0s",
    "\"",
    "'",
    "\\",
    "${",
    "}",
    "${input.a}",
    "${steps.a.output.b}",
    "${self.output}",
    "has(",
    ")",
    " && ",
    " || ",
    "'\u{0}'",
    "\u{feff}",
    "ü",
    "\r",
    "\u{2028}",
    "a",
    "a/b",
];

#[test]
fn saga_file() {
    let mut originals = files("saga-dsl/tests", ".saga.yaml");
    originals.extend(files("examples", ".saga.yaml"));
    fuzz("saga_file", edited(originals, WORDS), target);
}

pub fn target(bytes: &[u8]) {
    let loaded = file::load("case.saga.yaml", bytes);
    let source = readable(bytes);
    loaded
        .diagnostics
        .iter()
        .for_each(|found| holds_together(found, &source));

    let errors = loaded
        .diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .count();
    assert_eq!(loaded.has_errors(), errors > 0);
    assert_eq!(
        loaded.plan.is_some(),
        errors == 0,
        "a file without an error makes a plan, and no other does"
    );
    if let Some(definition) = &loaded.definition {
        is_canonical(definition);
    }
    let again = file::load("case.saga.yaml", bytes);
    assert_eq!(
        again.diagnostics, loaded.diagnostics,
        "the same file, other findings"
    );
    if let Some(plan) = &loaded.plan {
        assert_eq!(Some(&plan.definition), loaded.definition.as_ref());
        is_ready(plan);
    }
}

/// As much of a file as a diagnostic can speak of.
fn readable(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(FILE_BYTES_MAX)];
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => start
            .utf8_chunks()
            .next()
            .map_or("", |chunk| chunk.valid())
            .to_owned(),
    }
}

/// A diagnostic speaks of a place that is there, and can be shown.
fn holds_together(found: &Diagnostic, source: &str) {
    let span = found
        .span
        .clone()
        .expect("what came from a text has a place in it");
    assert!(span.start <= span.end, "{found}: {span:?}");
    assert!(
        source.get(span.clone()).is_some(),
        "{found}: {span:?} is no piece of {} bytes",
        source.len()
    );
    let place = LineIndex::of(source).line_and_column(source, span.start);
    assert_eq!((found.line, found.column), place, "{found}");
    assert!(
        !found.message.is_empty() && !found.message.contains('\n'),
        "{found:?}"
    );
    for colour in [false, true] {
        let shown = found.render(source, colour);
        assert!(shown.contains(found.code.as_str()), "{shown}");
    }
}

fn is_canonical(definition: &Definition) {
    let json = definition.canonical_json();
    let again = Definition::from_canonical_json(&json).expect("what was written can be read");
    assert_eq!(again, *definition);
    assert_eq!(again.content_hash(), definition.content_hash());
}

fn is_ready(plan: &Plan) {
    let again =
        Plan::from_canonical(&plan.definition.canonical_json()).expect("a stored definition loads");
    assert_eq!(
        (again.hash, again.steps.len()),
        (plan.hash, plan.steps.len())
    );
    for (at, step) in plan.steps.iter().enumerate() {
        assert!(
            step.after.iter().all(|before| before.at() < at),
            "{} waits for a later step",
            step.id
        );
        assert_eq!(plan.step_ix(&step.id).map(|ix| ix.at()), Some(at));
    }
    for drawn in [
        graph::ascii(plan, Some(80)),
        graph::mermaid(plan),
        graph::dot(plan),
    ] {
        assert!(drawn.contains(&plan.steps[0].id), "{drawn}");
    }
}
