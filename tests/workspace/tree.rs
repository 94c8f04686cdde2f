//! What is there: the tracked files, the packages as cargo sees them, the commands of cargo itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("tests/ stands in the workspace")
        .to_owned()
}

/// The tracked files, and those that are about to be: paths relative to the root, with `/`.
pub(crate) fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut files = match listed {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .expect("paths are UTF-8")
            .lines()
            .map(str::to_owned)
            .collect(),
        // A copy without its history: then everything that is there counts.
        Ok(_) | Err(_) => walk(&root(), ""),
    };
    // What was removed and not yet committed is still listed.
    files.retain(|path: &String| root().join(path).is_file());
    files.sort();
    assert!(
        files.iter().any(|path| path == "Cargo.toml"),
        "the workspace is not where it is looked for"
    );
    files
}

fn walk(dir: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let entry = entry.expect("a readable folder");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let path = format!("{prefix}{name}");
        let is_dir = entry.file_type().expect("a file type").is_dir();
        match &*name {
            "target" | ".git" => {}
            _ if is_dir => found.extend(walk(&entry.path(), &format!("{path}/"))),
            _ => found.push(path),
        }
    }
    found
}

/// The tracked files with this ending.
pub(crate) fn files_ending(suffix: &str) -> Vec<String> {
    files()
        .into_iter()
        .filter(|path| path.ends_with(suffix))
        .collect()
}

/// The text of a file; `None` for what is not text.
pub(crate) fn text(path: &str) -> Option<String> {
    String::from_utf8(fs::read(root().join(path)).expect("a tracked file can be read")).ok()
}

/// Runs the cargo that runs this test, without network.
pub(crate) fn cargo(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// One of our packages.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Folder relative to the root.
    pub(crate) folder: String,
    /// Our own packages that it depends on, for building, running and testing alike.
    pub(crate) knows: Vec<String>,
    pub(crate) bins: Vec<String>,
    pub(crate) default_run: Option<String>,
}

/// Our packages, from `cargo metadata`.
pub(crate) fn packages() -> Vec<Package> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: Vec<&str> = packages
        .iter()
        .map(|package| string(&package["name"]))
        .collect();
    packages
        .iter()
        .map(|package| {
            let manifest = Path::new(string(&package["manifest_path"]));
            let folder = manifest
                .parent()
                .expect("a folder")
                .strip_prefix(root())
                .expect("a member stands inside");
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let targets = package["targets"].as_array().expect("targets");
            let is_bin = |target: &&Value| {
                target["kind"]
                    .as_array()
                    .is_some_and(|kinds| kinds.contains(&"bin".into()))
            };
            Package {
                name: string(&package["name"]).to_owned(),
                folder: folder.to_str().expect("UTF-8").to_owned(),
                knows: dependencies
                    .iter()
                    .map(|dependency| string(&dependency["name"]))
                    .filter(|name| ours.contains(name))
                    .map(str::to_owned)
                    .collect(),
                bins: targets
                    .iter()
                    .filter(is_bin)
                    .map(|target| string(&target["name"]).to_owned())
                    .collect(),
                default_run: package["default_run"].as_str().map(str::to_owned),
            }
        })
        .collect()
}

fn string(value: &Value) -> &str {
    value.as_str().expect("a text")
}
