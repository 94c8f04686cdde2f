//! Whether `docs/reference/expressions.md` says what the parser and the checker know.

use std::collections::BTreeSet;

use crate::{
    check::{OWN_FIELDS, SAGA_FIELDS},
    expr::{
        BYTES_MAX, Expr, STEPS_MAX,
        ast::{LoopKind, Operator},
        functions::Function,
        names::LOOPS_MAX,
        parser::{DEPTH_MAX, LENGTH_MAX},
    },
    file,
    schema::page::{quoted, rows, sections},
};

const PAGE: &str = include_str!("../../../../docs/reference/expressions.md");

#[test]
fn every_function_is_on_the_page_and_each_example_parses() {
    let rows = rows(sections(PAGE)["Functions"]);
    let on_page: Vec<&str> = rows.iter().map(|row| quoted(row[0])[0]).collect();
    let functions = Function::ALL.iter().map(|function| function.name());
    let loops = LoopKind::NAMES.iter().map(|(name, _)| *name);
    let known: BTreeSet<&str> = functions.chain(loops).chain(["has", "matches"]).collect();
    assert_eq!(on_page.iter().copied().collect::<BTreeSet<_>>(), known);
    assert_eq!(on_page.len(), known.len(), "one row each");
    for row in &rows {
        let name = quoted(row[0])[0];
        for example in quoted(row[1])
            .into_iter()
            .filter(|example| example.contains('('))
        {
            assert!(example.contains(&format!("{name}(")), "{name}: {example}");
            assert!(Expr::parse(example).is_ok(), "{name}: {example}");
        }
    }
}

#[test]
fn a_method_is_shown_as_a_method() {
    for row in rows(sections(PAGE)["Functions"]) {
        let name = quoted(row[0])[0];
        let Some(function) = Function::named(name) else {
            continue;
        };
        let examples = quoted(row[1]);
        let global = examples
            .iter()
            .any(|example| example.starts_with(&format!("{name}(")));
        let method = examples
            .iter()
            .any(|example| example.contains(&format!(".{name}(")));
        assert_eq!(
            (global, method),
            (function.is_global(), function.is_method()),
            "{name}"
        );
    }
}

#[test]
fn every_operator_is_on_the_page() {
    let rows = rows(sections(PAGE)["Operators"]);
    let mut on_page: BTreeSet<&str> = rows.iter().flat_map(|row| quoted(row[0])).collect();
    // A table cannot hold it in backticks.
    assert!(rows.iter().any(|row| row[0] == "<code>&#124;&#124;</code>"));
    for special in ["? :", "&&", "!", ".", "[]"] {
        assert!(on_page.remove(special), "{special}");
    }
    let binary = [
        Operator::Add,
        Operator::Subtract,
        Operator::Multiply,
        Operator::Divide,
        Operator::Remainder,
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
        Operator::In,
    ];
    assert_eq!(
        on_page,
        binary.iter().map(|operator| operator.symbol()).collect()
    );
}

/// A saga whose compensation reads a name, guarded, after a step `x`.
fn faults_of(name: &str) -> Vec<String> {
    let source = format!(
        "saga: s\nversion: 1\ninput: {{a: string}}\nsteps:\n  - {{step: x, action: p/do, compensation: none}}\n  \
         - step: y\n    action: p/do\n    compensation:\n      action: p/undo\n      input:\n        \
         v: \"${{has({name}) ? 'a' : 'b'}}\"\n"
    );
    let found = file::load("s", source.as_bytes()).diagnostics;
    found
        .iter()
        .filter(|found| found.code.as_str().starts_with("S02"))
        .map(ToString::to_string)
        .collect()
}

#[test]
fn every_name_can_be_read_and_no_other() {
    let rows = rows(sections(PAGE)["What can be read"]);
    let on_page: BTreeSet<&str> = rows.iter().map(|row| quoted(row[0])[0]).collect();
    let saga = SAGA_FIELDS.iter().map(|field| format!("saga.{field}"));
    let own = OWN_FIELDS.iter().map(|field| format!("self.{field}"));
    let step = ["output", "status", "error"].map(|what| format!("steps.x.{what}"));
    let known: BTreeSet<String> = saga
        .chain(own)
        .chain(step)
        .chain(["input".to_owned()])
        .collect();
    assert_eq!(on_page, known.iter().map(String::as_str).collect());
    for name in &on_page {
        let path = if *name == "input" { "input.a" } else { name };
        assert_eq!(faults_of(path), Vec::<String>::new(), "{name}");
    }
    for other in ["saga.status", "self.attempt", "steps.z.output", "now.x"] {
        assert_ne!(faults_of(other), Vec::<String>::new(), "{other}");
    }
}

#[test]
fn the_limits_are_those_of_the_parser_and_of_the_budget() {
    let rows = rows(sections(PAGE)["Limits"]);
    let values: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    let expected = [
        format!("{LENGTH_MAX} bytes"),
        DEPTH_MAX.to_string(),
        LOOPS_MAX.to_string(),
        STEPS_MAX.to_string(),
        format!("{} MiB", BYTES_MAX >> 20),
    ];
    assert_eq!(values, expected);
}
