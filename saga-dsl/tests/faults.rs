//! Every fault that can be told, each shown as its author would see it.
//!
//! `faults/<CODE>_<name>/` holds a file that has the fault and its near twin that has not. With a `catalog.json`
//! beside them both are checked against those actions, with a `good.catalog.json` the twin alone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use saga_dsl::{
    check::{ActionSchema, Catalog},
    codes::Code,
    diagnostic::Severity,
    file::{self, Loaded},
    types::Type,
};

struct Actions(BTreeMap<String, ActionSchema>);

impl Actions {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let written: BTreeMap<String, BTreeMap<String, Type>> =
            serde_json::from_str(&text).unwrap();
        let schema = |types: &BTreeMap<String, Type>| ActionSchema {
            input: types["input"].clone(),
            output: types["output"].clone(),
        };
        Self(
            written
                .iter()
                .map(|(name, types)| (name.clone(), schema(types)))
                .collect(),
        )
    }
}

impl Catalog for Actions {
    fn action(&self, participant: &str, action: &str) -> Option<ActionSchema> {
        self.0.get(&format!("{participant}/{action}")).cloned()
    }

    fn actions(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    let mut cases: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    cases
}

fn name(case: &Path) -> String {
    case.file_name().unwrap().to_string_lossy().into_owned()
}

fn code(case: &Path) -> Code {
    name(case).split('_').next().unwrap().parse().unwrap()
}

fn load(case: &Path, file: &str) -> (Loaded, String) {
    let bytes = fs::read(case.join(file)).unwrap();
    let own = format!("{}.catalog.json", file.split('.').next().unwrap());
    let catalogs = [case.join(own), case.join("catalog.json")];
    let catalog = catalogs
        .iter()
        .find(|catalog| catalog.exists())
        .map(|catalog| Actions::read(catalog));
    let loaded = file::load_with(
        file,
        &bytes,
        catalog.as_ref().map(|actions| actions as &dyn Catalog),
    );
    let readable = bytes
        .utf8_chunks()
        .next()
        .map(|chunk| chunk.valid().to_owned())
        .unwrap_or_default();
    (loaded, readable)
}

#[test]
fn bad_files_show_their_fault() {
    let mut missing = Vec::new();
    for case in cases() {
        let (loaded, source) = load(&case, "bad.saga.yaml");
        if !loaded
            .diagnostics
            .iter()
            .any(|found| found.code == code(&case))
        {
            missing.push(name(&case));
        }
        let shown = loaded.diagnostics.iter().filter(|found| {
            // The remark that every file without a catalog gets is shown once.
            found.code != Code::N0701 || code(&case) == Code::N0701
        });
        let shown: Vec<_> = shown.map(|found| found.render(&source, false)).collect();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&case);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("bad", shown.join("\n\n")));
    }
    assert_eq!(missing, Vec::<String>::new(), "cases without their code");
}

#[test]
fn their_near_twins_are_accepted() {
    let mut faults = Vec::new();
    for case in cases() {
        let (loaded, _) = load(&case, "good.saga.yaml");
        let errors = loaded.diagnostics.iter().filter(|found| {
            let remark = found.code == Code::N0701 && code(&case) != Code::N0701;
            (found.severity == Severity::Error || found.code == code(&case)) && !remark
        });
        faults.extend(errors.map(|found| format!("{}: {found}", name(&case))));
        if loaded.plan.is_none() {
            faults.push(format!("{}: no plan", name(&case)));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn every_code_has_a_case() {
    let shown: BTreeSet<_> = cases().iter().map(|case| code(case)).collect();
    // A file beyond the limit is made by a test of its own.
    let missing: Vec<_> = Code::ALL
        .iter()
        .filter(|code| !shown.contains(code) && **code != Code::S0002)
        .collect();
    assert_eq!(missing, Vec::<&Code>::new());
}

/// Lines of one text that the other does not have, counted as often as they stand there.
fn only_in(one: &str, other: &str) -> usize {
    let mut left: Vec<&str> = other.lines().collect();
    let is_new = |line: &&str| match left.iter().position(|known| known == line) {
        Some(at) => {
            left.swap_remove(at);
            false
        }
        None => true,
    };
    one.lines().filter(is_new).count()
}

/// How many lines a pair differs in, on the side where there are more of them.
fn distance(case: &Path) -> usize {
    let read =
        |file: &str| String::from_utf8_lossy(&fs::read(case.join(file)).unwrap()).into_owned();
    let (bad, good) = (read("bad.saga.yaml"), read("good.saga.yaml"));
    only_in(&bad, &good).max(only_in(&good, &bad))
}

/// A rule that only tells wholly different files apart would pass a test with distant twins.
#[test]
fn every_code_has_a_twin_that_differs_in_two_lines_at_most() {
    const NEAR_LINES_MAX: usize = 2;
    // Another encoding, whole constructs, or no file at all, beside a near pair of the same code.
    const FAR: [&str; 5] = [
        "S0001_utf16",
        "S0007_empty",
        "S0007_second_document",
        "S0008_brackets",
        "S0109_constructs",
    ];
    const LINES_MAX: usize = 5;
    let mut near = BTreeSet::new();
    let mut distant = Vec::new();
    for case in cases() {
        let lines = distance(&case);
        if lines <= NEAR_LINES_MAX {
            near.insert(code(&case));
        }
        if lines > LINES_MAX && !FAR.contains(&&*name(&case)) {
            distant.push(format!("{}: {lines} lines", name(&case)));
        }
        // A remark about what is not known here goes away with the catalog, not with a line of the file.
        assert!(
            lines > 0 || code(&case) == Code::N0701,
            "{}: the twins are the same file",
            name(&case)
        );
    }
    assert_eq!(distant, Vec::<String>::new(), "twins that are none");
    let without: Vec<_> = Code::ALL
        .iter()
        .filter(|code| !near.contains(code) && **code != Code::S0002)
        .collect();
    assert_eq!(without, Vec::<&Code>::new(), "codes without a near twin");
}
