//! What the formatter changes and what it leaves, example by example and over every file of the tests.

mod random;

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{order::Shape, *};
use crate::file::keys;

fn formatted(source: &str) -> String {
    match format("x.saga.yaml", source.as_bytes()) {
        Ok(text) => text,
        Err(error) => panic!("{error}: {source}\n{error:?}"),
    }
}

/// Formats, and holds that a second time changes nothing.
fn settled(source: &str) -> String {
    let once = formatted(source);
    assert_eq!(formatted(&once), once, "formatted twice:\n{source}");
    once
}

#[test]
fn spaces_indentation_and_dashes() {
    let source = "saga:   trip\nversion: 1\nsteps:\n- step: a\n  action:  p/do\n  input: [ x,y ,  z]\n  compensation: { action: p/undo,timeout: 5s }\n-   when: x\n    parallel:\n        -  step: b\n           action: p/do   \n\n\n\n        -  {step: c, action: p/do}\n\n\n";
    insta::assert_snapshot!(settled(source), @r"
    saga: trip
    version: 1
    steps:
      - step: a
        action: p/do
        input: [x, y, z]
        compensation: {action: p/undo, timeout: 5s}
      - when: x
        parallel:
          - step: b
            action: p/do

          - {step: c, action: p/do}
    ");
}

#[test]
fn keys_are_sorted_and_take_their_comments_along() {
    let source = "# about this file\n\n# which version\nversion: 1\nsteps:\n  # the first\n  - action: p/do   # served by p\n    # what undoes it\n    compensation:\n      # not long\n      timeout: 5s\n      action: p/undo\n    zebra: 1\n    # its name\n    step: a\n    # at the end of a\n  # behind the steps\n# the name\nsaga: trip\n# last\n";
    insta::assert_snapshot!(settled(source), @r"
    # about this file

    # the name
    saga: trip
    # which version
    version: 1
    steps:
      # the first
      # its name
      - step: a
        action: p/do   # served by p
        # what undoes it
        compensation:
          action: p/undo
          # not long
          timeout: 5s
        zebra: 1
        # at the end of a
      # behind the steps
    # last
    ");
}

#[test]
fn comments_beside_lines() {
    let source = "saga: trip # a name\nversion: 1     # in a column\ndeadline: 15m  # in a column\nlabels:    # of the saga\n    team: a     # short\n    more:\n      # on its way\n      b\nsteps: # all\n  - # before a\n    step: a # one\n    when: ${x} # y\n    action: p/do\n    input:\n      t: a ${x} # cut\n  - step: b                   # far\n";
    insta::assert_snapshot!(settled(source), @r"
    saga: trip  # a name
    version: 1     # in a column
    labels:    # of the saga
      team: a       # short
      # on its way
      more: b
    deadline: 15m  # in a column
    steps:  # all
      # before a
      - step: a  # one
        when: ${x}  # y
        action: p/do
        input:
          t: a ${x} # cut
      - step: b                   # far
    ");
}

#[test]
fn brackets_over_several_lines_become_a_block() {
    let source = "saga: t\ninput: {a: string, # first\n  # second\n  b: {c: int,\n d: [int]},\n\n e: [{f: int}]} # all\nlabels: {\n  # nothing\n}\nsteps: [\n {step: a, action: p/do}, # one\n  [x: y,\n   z] # two\n ]\n";
    insta::assert_snapshot!(settled(source), @r"
    saga: t
    # nothing
    labels: {}
    input:  # all
      a: string  # first
      # second
      b:
        c: int
        d: [int]

      e: [{f: int}]
    steps:
      - {step: a, action: p/do}  # one
      - - x: y
        - z
        # two
    ");
}

#[test]
fn texts_are_copied_and_words_lose_their_quotes() {
    let source = "saga: \"trip\"\nversion: 1\n\"description\": 'it''s'\nlabels: {a: \"true\", b: 'Yes', c: \"1\", d: \"x y\", e: 'word', f: \"p/do\", g: \"${x}\"}\noutput:\n   a: |  # kept as it is\n       one  \n         two\n\n       three\n\n   b: >-\n    folded\n\n\n    text\n   c: \"double \\\n       quoted\n\n       text\"   # behind\n   d: plain\n     text\n\n     goes on\n   e: |2\n       far\n      near\n   f: |+\n     kept\n\n   g: 'single\n     quoted'\n";
    insta::assert_snapshot!(settled(source), @r#"
    saga: trip
    version: 1
    description: 'it''s'
    labels: {a: "true", b: 'Yes', c: "1", d: "x y", e: word, f: p/do, g: "${x}"}
    output:
      a: |  # kept as it is
        one  
          two

        three

      b: >-
        folded


        text
      c: "double \
        quoted

        text"      # behind
      d: plain
        text

        goes on
      e: |2
          far
         near
      f: |+
        kept

      g: 'single
        quoted'
    "#);
}

#[test]
fn line_ends_marks_and_a_file_of_one_line() {
    assert_eq!(
        settled("\u{feff}saga: t\r\nversion: 1\r\n"),
        "saga: t\nversion: 1\n"
    );
    assert_eq!(settled("---\nsaga: t\n...\n# end"), "saga: t\n# end\n");
    assert_eq!(
        settled("{version: 1,   saga: t}  # all"),
        "{saga: t, version: 1}  # all\n"
    );
    assert_eq!(
        settled("? saga\n: t\n\"a\\nb\": 1\n"),
        "saga: t\n\"a\\nb\": 1\n"
    );
    assert_eq!(
        settled("a:\n-\n- b:\n  # c\n- []\n"),
        "a:\n  -\n  - b:\n    # c\n  - []\n"
    );
}

#[test]
fn a_file_of_tests_has_an_order_of_its_own() {
    let source = "cases:\n- expect:\n    calls: [b/y, a/x]\n    status: compensated\n  answers: {p/do: {refuse: no}}\n  case: refused\nsaga: trip.saga.yaml\n";
    insta::assert_snapshot!(settled(source), @r"
    saga: trip.saga.yaml
    cases:
      - case: refused
        answers: {p/do: {refuse: no}}
        expect:
          status: compensated
          calls: [b/y, a/x]
    ");
}

#[test]
fn a_text_with_faults_is_left_alone() {
    for (source, code) in [
        ("saga: [", Code::S0003),
        ("- saga", Code::S0108),
        ("saga: !t x", Code::S0004),
        ("saga: &a x\nversion: *a", Code::S0005),
        ("saga: a\nsaga: b", Code::S0106),
        ("", Code::S0007),
        ("a: 1\n---\nb: 1", Code::S0007),
        ("a: \u{7}", Code::S0001),
    ] {
        let found = match format("x", source.as_bytes()) {
            Err(FormatError::Faults(found)) => found,
            other => panic!("{source}: {other:?}"),
        };
        assert!(
            found.iter().any(|found| found.code == code),
            "{source}: {found:?}"
        );
    }
}

#[test]
fn another_meaning_is_noticed() {
    let source =
        "saga: t\nversion: 1  # one\nsteps:\n  - {step: a, action: p/do, compensation: none}\n";
    assert_eq!(difference(source, source), None);
    for (other, what) in [
        (source.replace("version: 1", "version: 2"), "a value"),
        (source.replace("version: 1", "version: \"1\""), "a value"),
        (source.replace("# one", "# two"), "a comment"),
        (source.replace("  # one", ""), "a comment"),
        (source.replace(", compensation: none", ""), "a value"),
        (
            source.replace("saga: t", "saga: ["),
            "it could no longer be read",
        ),
    ] {
        assert_eq!(difference(source, &other), Some(what), "{other}");
    }
    let cut = "output: {a: x}\nb: a ${x} # c\n";
    assert_eq!(
        difference(cut, &cut.replace(" # c", "  # c")),
        Some("a warning")
    );
}

#[test]
fn the_order_names_the_keys_of_the_language() {
    for (shape, known) in [
        (Shape::File, keys::FILE),
        (Shape::Step, keys::STEP),
        (Shape::Step, keys::GROUP),
    ] {
        for key in known {
            assert!(
                shape.keys().contains(key),
                "{key} has no place in {shape:?}"
            );
        }
    }
    let ordered: Vec<&str> = [order::FILE, order::STEP].concat();
    let elsewhere = ["on_conflict", "wait"];
    for key in crate::file::unsupported::UNSUPPORTED
        .iter()
        .filter(|key| !elsewhere.contains(key))
    {
        assert!(ordered.contains(key), "{key} has no place");
    }
}

/// Every YAML file of the workspace that is about sagas.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let mut folders: Vec<PathBuf> = ["examples", "saga-dsl", "orchestrator", "tests"]
        .iter()
        .map(|folder| root.join(folder))
        .collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry"))
        {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_file_of_the_workspace_keeps_its_meaning_and_settles_at_once() {
    let mut read = 0;
    for path in files() {
        let bytes = fs::read(&path).expect("readable");
        let once = match format("x", &bytes) {
            Ok(once) => once,
            Err(FormatError::Faults(found)) => {
                assert!(!found.is_empty(), "{}", path.display());
                continue;
            }
            Err(error @ FormatError::Changed(_)) => panic!("{}: {error}", path.display()),
        };
        read += 1;
        assert_eq!(formatted(&once), once, "{}", path.display());
        let codes = |bytes: &[u8]| {
            let mut codes: Vec<_> = load("x", bytes)
                .diagnostics
                .iter()
                .map(|found| found.code)
                .collect();
            codes.sort_unstable();
            codes
        };
        assert_eq!(codes(&bytes), codes(once.as_bytes()), "{}", path.display());
    }
    assert!(read > 50, "{read} files");
}

#[test]
fn the_examples_are_formatted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    for path in files()
        .into_iter()
        .filter(|path| path.starts_with(root.join("examples")))
    {
        let text = fs::read_to_string(&path).expect("readable");
        assert_eq!(settled(&text), text, "{}", path.display());
    }
}
