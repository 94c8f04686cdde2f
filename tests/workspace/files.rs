//! How sources look: sizes, first lines, lints, and nothing of the machine they were written on.

use crate::tree::{files, files_ending, packages, text};

#[test]
fn every_module_opens_with_its_purpose() {
    let faults: Vec<String> = files_ending(".rs")
        .into_iter()
        // The modules of tests stand beside what they test and are named after it.
        .filter(|path| !path.ends_with("/tests.rs"))
        .filter(|path| !text(path).expect("sources are UTF-8").starts_with("//! "))
        .collect();
    assert!(
        faults.is_empty(),
        "these open without `//!`:\n{}",
        faults.join("\n")
    );
}

#[test]
fn every_package_takes_the_lints_and_the_licence_of_the_workspace() {
    for package in packages() {
        let manifest = text(&format!("{}/Cargo.toml", package.folder)).expect("a manifest is text");
        for line in [
            "[lints]\nworkspace = true",
            "license.workspace = true",
            "publish.workspace = true",
        ] {
            assert!(manifest.contains(line), "{}: no `{line}`", package.name);
        }
    }
    let workspace = text("Cargo.toml").expect("a manifest is text");
    assert!(workspace.contains("unsafe_code = \"forbid\""));
}

#[test]
fn one_package_alone_says_what_plain_cargo_run_starts() {
    let defaults: Vec<String> = packages()
        .into_iter()
        .filter_map(|package| package.default_run)
        .collect();
    assert_eq!(
        defaults,
        ["saga"],
        "`cargo run` at the root takes the only default there is"
    );
}

#[test]
fn unreviewed_snapshots_are_not_kept() {
    let pending: Vec<String> = files()
        .into_iter()
        .filter(|path| path.ends_with(".pending-snap") || path.ends_with(".snap.new"))
        .collect();
    assert!(pending.is_empty(), "{}", pending.join("\n"));
}

#[test]
fn banned_crates_are_not_locked() {
    let policy = text("deny.toml").expect("deny.toml is text");
    let banned: Vec<&str> = policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split('"').next())
        .collect();
    assert!(
        banned.contains(&"backoff"),
        "the bans of deny.toml were not read: {banned:?}"
    );
    let lock = text("Cargo.lock").expect("Cargo.lock is text");
    for name in banned {
        assert!(
            !lock.contains(&format!("name = \"{name}\"\n")),
            "{name} is banned by deny.toml"
        );
    }
}

#[test]
fn nothing_speaks_of_somebodys_machine() {
    let folders = ["home", "root", "Users", "work"].map(|name| format!("/{name}/"));
    let mut faults = Vec::new();
    for path in files() {
        let Some(text) = text(&path) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            for folder in &folders {
                // Absolute paths only: a folder of that name inside another is nobody's home.
                let absolute = line.match_indices(&**folder).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-/}".contains(c))
                });
                if absolute {
                    faults.push(format!("{path}:{number}: {folder}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
