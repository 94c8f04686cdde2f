//! Whether the page of guarantees tells the truth about what shows them: every promise names tests, and they are there.

use std::collections::BTreeSet;

use crate::tree::{files_ending, text};

/// The names of all tests: functions with the attribute, and those that a macro makes from a list.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files_ending(".rs") {
        let source = text(&path).expect("sources are UTF-8");
        let made_by_macro = source.contains("macro_rules!") && source.contains("#[tokio::test");
        let mut attribute = false;
        for line in source.lines().map(str::trim) {
            if line == "#[test]" || line.starts_with("#[tokio::test") {
                attribute = true;
            } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| attribute) {
                names.insert(word(rest).to_owned());
                attribute = false;
            } else if made_by_macro {
                let name = word(line);
                if matches!(line[name.len()..].trim_start().get(..1), Some("," | "=")) {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    names
}

fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

#[test]
fn every_promise_names_tests_that_are_there() {
    let page = text("docs/explanation/guarantees.md").expect("UTF-8");
    let promised = page
        .split("## ")
        .find(|part| part.starts_with("Promised\n"))
        .expect("what is promised");
    let tests = tests();
    let mut faults = Vec::new();
    let mut rows = 0;
    for row in promised.lines().filter(|line| line.starts_with("| **")) {
        rows += 1;
        let shown_by = row
            .trim_end_matches(" |")
            .rsplit(" | ")
            .next()
            .unwrap_or_default();
        let names: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        let promise = row.split("**").nth(1).unwrap_or_default();
        if names.is_empty() {
            faults.push(format!("{promise} names no test"));
        }
        faults.extend(
            names
                .iter()
                .filter(|name| !tests.contains(**name))
                .map(|name| format!("{promise} {name} is not there")),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(rows >= 15, "only {rows} promises were read");
}

#[test]
fn tests_are_found_whoever_makes_them() {
    let tests = tests();
    // With an attribute, and from the lists of the two macros.
    for name in [
        "tests_are_found_whoever_makes_them",
        "lists_filter",
        "sqlite_never_acts_twice",
    ] {
        assert!(tests.contains(name), "{name}");
    }
    assert!(!tests.contains("files_ending") && !tests.contains("word"));
}
