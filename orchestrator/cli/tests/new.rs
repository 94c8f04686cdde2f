//! `saga new` as a person types it, and what can be done with what it makes.
//!
//! The template's own saga and participant are run by the system tests. That Cargo builds the package takes minutes, so
//! it is done when `SAGA_TEST_NEW=1` asks for it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may as well say so"
)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn saga(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saga"));
    command
        .env_remove("SAGA_ENDPOINT")
        .env_remove("CLICOLOR_FORCE");
    let output = command.current_dir(folder).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}");
    output
}

#[test]
fn what_is_made_is_right_and_can_be_built_from_this_tree() {
    let dir = tempfile::tempdir().unwrap();
    saga(dir.path(), &["new", "order"]);
    let folder = dir.path().join("order");
    let linted = saga(
        &folder,
        &[
            "lint",
            "order.saga.yaml",
            "--deny",
            "warnings",
            "-o",
            "json",
        ],
    );
    let faults: Vec<serde_json::Value> = serde_json::from_slice(&linted.stdout).unwrap();
    assert!(
        faults.iter().all(|fault| fault["severity"] == "note"),
        "{faults:?}"
    );
    saga(&folder, &["fmt", "--check"]);
    saga(&folder, &["graph", "order.saga.yaml"]);

    // What the system tests compile and run is what is written, but for the name.
    let template = include_str!("../src/author/new/template/main.rs");
    assert_eq!(
        fs::read_to_string(folder.join("src/main.rs")).unwrap(),
        template.replace("my_saga", "order")
    );
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../participants")
        .canonicalize()
        .unwrap();
    assert!(
        manifest.contains(&format!("path = \"{}\"", sdk.display())),
        "{manifest}"
    );
    if std::env::var_os("SAGA_TEST_NEW").is_some() {
        build(&folder);
    }
}

/// Builds the package with the versions of this tree.
fn build(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--offline"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        cargo.status.success(),
        "{}",
        String::from_utf8_lossy(&cargo.stderr)
    );
    assert!(folder.join("target/debug/order_participant").exists());
}
