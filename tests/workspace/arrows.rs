//! Who may know whom. The arrows are those of `ARCHITECTURE.md`.

use crate::tree::{cargo, files_ending, packages, text};

/// Each package of ours with those that it may know, in tests too.
const PACKAGES: [(&str, &[&str]); 7] = [
    ("saga-dsl", &[]),
    ("saga-core", &["saga-dsl"]),
    ("saga-proto", &[]),
    ("saga-participant", &["saga-proto"]),
    ("saga-examples", &["saga-participant", "saga-dsl"]),
    // The SDK serves verbs that bring participants of their own, and the trials: see `the_server_knows_no_sdk`.
    (
        "saga-orchestrator",
        &[
            "saga-core",
            "saga-dsl",
            "saga-proto",
            "saga-examples",
            "saga-participant",
        ],
    ),
    (
        "saga-tests",
        &[
            "saga-core",
            "saga-dsl",
            "saga-proto",
            "saga-participant",
            "saga-examples",
            "saga-orchestrator",
        ],
    ),
];

/// Crates that bring a runtime, a wire, a store or chance, and so have no place in a decision or in the language.
const IMPURE: [&str; 14] = [
    "tokio",
    "async-std",
    "smol",
    "mio",
    "hyper",
    "tonic",
    "prost",
    "rusqlite",
    "sqlx",
    "libsqlite3-sys",
    "rand",
    "fastrand",
    "getrandom",
    "uuid",
];

/// Folders of the orchestrator, and what their files do not mention.
///
/// Tests are exempt: a lane's test may well run on the real SQLite.
const FOLDERS: [(&str, &[&str]); 6] = [
    (
        "orchestrator/src/trials/",
        &[
            "crate::lane",
            "crate::transport",
            "crate::store",
            "crate::api",
            "crate::cli",
            "saga_proto",
            "saga_examples",
            "tonic",
            "rusqlite",
        ],
    ),
    (
        "orchestrator/src/store/",
        &[
            "crate::lane",
            "crate::transport",
            "crate::api",
            "crate::cli",
            "crate::observe",
            "saga_proto",
            "tonic",
        ],
    ),
    (
        "orchestrator/src/lane/",
        &[
            "store::sqlite",
            "transport::grpc",
            "transport::amqp",
            "lapin",
            "crate::api",
            "crate::cli",
            "crate::observe",
            "saga_proto",
            "tonic",
        ],
    ),
    (
        "orchestrator/src/transport/",
        &["store::sqlite", "crate::api", "crate::cli", "rusqlite"],
    ),
    (
        "orchestrator/src/observe/",
        &[
            "store::sqlite",
            "crate::api",
            "crate::cli",
            "saga_proto",
            "tonic",
            "rusqlite",
        ],
    ),
    (
        "orchestrator/src/api/",
        &["store::sqlite", "crate::cli", "rusqlite"],
    ),
];

#[test]
fn packages_know_only_whom_they_may() {
    let packages = packages();
    let mut names: Vec<&str> = packages.iter().map(|package| &*package.name).collect();
    let mut listed = PACKAGES.map(|(name, _)| name);
    names.sort_unstable();
    listed.sort_unstable();
    assert_eq!(
        names, listed,
        "a new package needs its arrows here and in ARCHITECTURE.md"
    );
    for package in &packages {
        let (_, allowed) = PACKAGES
            .iter()
            .find(|(name, _)| *name == package.name)
            .expect("listed");
        for known in &package.knows {
            assert!(
                allowed.contains(&&**known),
                "{} must not know {known}",
                package.name
            );
        }
    }
}

#[test]
fn decisions_and_language_have_no_runtime_no_store_and_no_chance() {
    for package in ["saga-dsl", "saga-core"] {
        let tree = cargo(&[
            "tree",
            "--package",
            package,
            "--edges",
            "normal",
            "--prefix",
            "none",
        ]);
        let tree = String::from_utf8(tree.stdout).expect("text");
        let crates: Vec<&str> = tree
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert!(
            crates.contains(&"serde"),
            "the tree of {package} was not read: {tree}"
        );
        for impure in IMPURE {
            assert!(!crates.contains(&impure), "{package} depends on {impure}");
        }
    }
}

#[test]
fn layers_of_the_orchestrator_know_only_what_is_below_them() {
    let mut faults = Vec::new();
    for path in files_ending(".rs") {
        let Some((_, forbidden)) = FOLDERS.iter().find(|(folder, _)| path.starts_with(folder))
        else {
            continue;
        };
        if path.contains("/tests/") || path.ends_with("/tests.rs") {
            continue;
        }
        let source = text(&path).expect("sources are UTF-8");
        for (number, line) in (1..).zip(source.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            faults.extend(
                forbidden
                    .iter()
                    .filter(|name| mentions(code, name))
                    .map(|name| format!("{path}:{number}: mentions {name}")),
            );
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_server_knows_no_sdk() {
    // Verbs that bring participants of their own; trials play them behind the SDK's barrier (decision 0012). The template
    // is a text there, which `saga new` writes for others to compile.
    let may = [
        "orchestrator/src/cli/demo",
        "orchestrator/src/cli/bench",
        "orchestrator/src/cli/dev/mock",
        "orchestrator/src/cli/new/template",
        "orchestrator/src/trials/",
    ];
    let mut faults = Vec::new();
    for path in files_ending(".rs")
        .into_iter()
        .filter(|path| path.starts_with("orchestrator/src/"))
    {
        if may.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        let source = text(&path).expect("sources are UTF-8");
        let code = source
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        if code
            .into_iter()
            .any(|code| mentions(code, "saga_participant") || mentions(code, "saga_examples"))
        {
            faults.push(path);
        }
    }
    assert!(
        faults.is_empty(),
        "these mention the SDK or the examples:\n{}",
        faults.join("\n")
    );
}

/// Does the line mention the path, and not merely a longer word that begins or ends like it?
fn mentions(code: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        !code[..at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word)
    })
}

#[test]
fn words_are_told_from_parts_of_words() {
    assert!(mentions("use tonic::Status;", "tonic"));
    assert!(mentions(
        "use crate::store::sqlite::SqliteStore;",
        "store::sqlite"
    ));
    assert!(!mentions("let tonics = monotonic();", "tonic"));
}
