//! Who may know whom. The arrows are those of `ARCHITECTURE.md`.

use crate::tree::{cargo, packages};

/// Each package of ours with those that it may know, in tests too.
const PACKAGES: [(&str, &[&str]); 15] = [
    ("saga-dsl", &[]),
    ("saga-proto", &[]),
    ("saga-participant", &["saga-proto"]),
    ("saga-examples", &["saga-participant", "saga-dsl"]),
    ("saga-core", &["saga-dsl"]),
    // The embedded store is for its benchmark alone.
    (
        "saga-engine",
        &["saga-core", "saga-dsl", "saga-store-sqlite"],
    ),
    ("saga-store-sqlite", &["saga-core", "saga-engine"]),
    ("saga-store-postgres", &["saga-core", "saga-engine"]),
    (
        "saga-wire",
        &["saga-core", "saga-dsl", "saga-engine", "saga-proto"],
    ),
    // The embedded store is for its tests alone.
    (
        "saga-wire-grpc",
        &[
            "saga-core",
            "saga-dsl",
            "saga-engine",
            "saga-proto",
            "saga-store-sqlite",
            "saga-wire",
        ],
    ),
    (
        "saga-wire-amqp",
        &[
            "saga-core",
            "saga-dsl",
            "saga-engine",
            "saga-proto",
            "saga-wire",
        ],
    ),
    (
        "saga-server",
        &[
            "saga-core",
            "saga-dsl",
            "saga-engine",
            "saga-proto",
            "saga-store-postgres",
            "saga-store-sqlite",
            "saga-wire",
            "saga-wire-amqp",
            "saga-wire-grpc",
        ],
    ),
    // The only one of the orchestrator that knows the SDK (decision 0012).
    (
        "saga-lab",
        &[
            "saga-core",
            "saga-dsl",
            "saga-examples",
            "saga-participant",
            "saga-server",
        ],
    ),
    (
        "saga-cli",
        &[
            "saga-core",
            "saga-dsl",
            "saga-engine",
            // For its tests alone.
            "saga-examples",
            "saga-lab",
            "saga-proto",
            "saga-server",
            "saga-store-postgres",
            "saga-store-sqlite",
            "saga-wire",
            "saga-wire-amqp",
        ],
    ),
    (
        "saga-tests",
        &[
            "saga-core",
            "saga-dsl",
            "saga-engine",
            "saga-examples",
            "saga-lab",
            "saga-participant",
            "saga-proto",
            "saga-server",
            "saga-store-postgres",
            "saga-store-sqlite",
            "saga-wire",
            "saga-wire-amqp",
            "saga-wire-grpc",
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
