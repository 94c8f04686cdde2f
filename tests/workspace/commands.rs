//! Whether the commands that documents tell people to type exist, with the options they are given.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::tree::{cargo, files_ending, packages, root, text};

/// A command line of a document, and where it stands.
struct Line {
    place: String,
    words: Vec<String>,
}

/// The command lines in the `sh` blocks of a document: comments dropped, continued lines joined, variables that are
/// set in front left out.
fn command_lines(page: &str, document: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut in_shell = false;
    let mut open: Option<Line> = None;
    for (number, line) in (1..).zip(document.lines()) {
        let line = line.trim();
        if let Some(fence) = line.strip_prefix("```") {
            in_shell = fence == "sh";
            continue;
        }
        if !in_shell {
            continue;
        }
        let mut current = open.take().unwrap_or(Line {
            place: format!("{page}:{number}"),
            words: Vec::new(),
        });
        let continued = line.ends_with('\\');
        let code = line.trim_end_matches('\\');
        let code = code
            .split(" #")
            .next()
            .filter(|code| !code.starts_with('#'))
            .unwrap_or_default();
        let words = code
            .split_whitespace()
            .map(|word| word.trim_matches(['\'', '"']).to_owned());
        current.words.extend(words);
        if continued {
            open = Some(current);
            continue;
        }
        let is_variable = |word: &String| {
            word.split_once('=')
                .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        };
        let start = current.words.iter().position(|word| !is_variable(word));
        if let Some(start) = start {
            lines.push(Line {
                words: current.words.split_off(start),
                ..current
            });
        }
    }
    lines
}

fn documented() -> Vec<Line> {
    files_ending(".md")
        .iter()
        .flat_map(|page| command_lines(page, &text(page).expect("documents are UTF-8")))
        .collect()
}

/// The `saga` of this tree, built if it has to be, once.
pub(crate) fn saga() -> &'static Path {
    static SAGA: OnceLock<PathBuf> = OnceLock::new();
    SAGA.get_or_init(|| {
        let mut arguments = vec!["build", "--quiet", "--package", "saga-cli", "--bin", "saga"];
        let exe = std::env::current_exe().expect("the test's own path");
        // target/<profile>/deps/workspace-<hash>
        let folder = exe.ancestors().nth(2).expect("a target folder");
        if folder.ends_with("release") {
            arguments.push("--release");
        }
        cargo(&arguments);
        folder.join(format!("saga{}", std::env::consts::EXE_SUFFIX))
    })
}

/// What a verb's `--help` says; the verb may be two words (`definitions list`).
fn help(verb: &[&str]) -> Result<String, String> {
    let output = Command::new(saga())
        .args(verb)
        .arg("--help")
        .output()
        .expect("saga runs");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    // Anything else than this verb's own page means that the word was not taken for a verb.
    if output.status.success() && help.contains(&format!("Usage: saga {}", verb.join(" "))) {
        Ok(help)
    } else {
        Err(format!("there is no `saga {}`", verb.join(" ")))
    }
}

/// Verbs that act on other things than sagas are two words.
const NOUNS: [&str; 2] = ["definitions", "participants"];

/// Checks `saga VERB …`.
fn check_saga(
    words: &[&str],
    helps: &mut BTreeMap<String, Result<String, String>>,
) -> Result<(), String> {
    let Some(&verb) = words.first() else {
        return Err("`saga` without a verb".to_owned());
    };
    let is_noun = NOUNS.contains(&verb) && words.get(1).is_some_and(|word| !word.starts_with('-'));
    let (verb, rest) = words.split_at(if is_noun { 2 } else { 1 });
    let help = helps
        .entry(verb.join(" "))
        .or_insert_with(|| help(verb))
        .clone()?;
    for word in rest {
        // What follows a pipe belongs to somebody else.
        if ["|", "&&", ";", ">"].contains(word) {
            break;
        }
        let option = word.split('=').next().unwrap_or(word);
        let is_option = option.starts_with('-') && option.len() > 1;
        let known = help
            .split(|c: char| c.is_whitespace() || c == ',' || c == '=')
            .any(|known| known == option);
        if is_option && !known {
            return Err(format!("`saga {}` has no {option}", verb.join(" ")));
        }
    }
    Ok(())
}

/// Checks `cargo run …` and whatever follows it.
fn check_cargo_run(
    words: &[&str],
    helps: &mut BTreeMap<String, Result<String, String>>,
) -> Result<(), String> {
    let after = |names: [&str; 2]| {
        words
            .iter()
            .position(|word| names.contains(word))
            .and_then(|at| words.get(at + 1))
            .copied()
    };
    let packages = packages();
    let package = after(["-p", "--package"]);
    if let Some(package) = package
        && !packages.iter().any(|known| known.name == package)
    {
        return Err(format!("there is no package {package}"));
    }
    if let Some(bin) = after(["--bin", "--bin"]) {
        let chosen = packages
            .iter()
            .filter(|known| package.is_none_or(|name| name == known.name));
        let found = chosen
            .flat_map(|known| &known.bins)
            .any(|known| known == bin);
        return if found {
            Ok(())
        } else {
            Err(format!("there is no program {bin}"))
        };
    }
    match words.iter().position(|word| *word == "--") {
        Some(at) => check_saga(&words[at + 1..], helps),
        None => Err("it starts `saga` without a verb".to_owned()),
    }
}

#[test]
fn documented_commands_exist() {
    let mut faults = Vec::new();
    let mut helps = BTreeMap::new();
    let lines = documented();
    for line in &lines {
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        let checked = match words.split_first() {
            Some((&"saga", rest)) => check_saga(rest, &mut helps),
            Some((&"cargo", rest)) if rest.first() == Some(&"run") => {
                check_cargo_run(&rest[1..], &mut helps)
            }
            Some((program, _)) if program.starts_with("scripts/") => {
                if root().join(program).is_file() {
                    Ok(())
                } else {
                    Err("it is not there".to_owned())
                }
            }
            Some(_) | None => Ok(()),
        };
        if let Err(fault) = checked {
            faults.push(format!("{}: {}: {fault}", line.place, words.join(" ")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        lines.len() > 10,
        "only {} commands were found in the documents",
        lines.len()
    );
}

#[test]
fn commands_that_messages_name_exist() {
    let mut faults = Vec::new();
    let mut helps = BTreeMap::new();
    let mut checked = 0;
    for path in files_ending(".rs")
        .into_iter()
        .filter(|path| !path.starts_with("tests/"))
    {
        for (number, line) in (1..).zip(text(&path).expect("sources are UTF-8").lines()) {
            for (at, _) in line.match_indices("`saga ") {
                let Some((command, _)) = line[at + 1..].split_once('`') else {
                    continue;
                };
                // What is filled in may stand in braces or in capitals; only words are compared.
                let words: Vec<&str> = command.split_whitespace().skip(1).collect();
                if words
                    .first()
                    .is_some_and(|word| word.starts_with(['<', '{']))
                {
                    continue;
                }
                checked += 1;
                if let Err(fault) = check_saga(&words, &mut helps) {
                    faults.push(format!("{path}:{number}: {command}: {fault}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        checked > 10,
        "only {checked} commands were found in the sources"
    );
}

#[test]
fn machines_run_the_command_of_the_readme() {
    let readme = text("README.md").expect("UTF-8");
    let commands = command_lines("README.md", &readme);
    let is_test = |line: &Line| {
        line.words
            .first()
            .is_some_and(|word| word == "scripts/test")
    };
    assert!(
        commands.iter().any(is_test),
        "the README does not name scripts/test"
    );
    assert!(
        text(".ci/run")
            .expect("UTF-8")
            .lines()
            .any(|line| line == "exec scripts/test")
    );
}

#[cfg(unix)]
#[test]
fn scripts_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    for path in [".ci/run", "scripts/test"] {
        let mode = root()
            .join(path)
            .metadata()
            .expect("it is there")
            .permissions()
            .mode();
        assert!(mode & 0o111 == 0o111, "{path} is not executable: {mode:o}");
        let parsed = Command::new("bash")
            .arg("-n")
            .arg(root().join(path))
            .status()
            .expect("bash runs");
        assert!(parsed.success(), "{path} is not a script");
    }
}

#[test]
fn command_lines_are_read_as_a_shell_would() {
    let page = "```sh\nA=b saga list --all   # everything\nsaga start x \\\n  -f a=1 --watch\n# nothing\n```\n```yaml\nsaga: x\n```";
    let lines: Vec<Vec<String>> = command_lines("page", page)
        .into_iter()
        .map(|line| line.words)
        .collect();
    assert_eq!(
        lines,
        [
            vec!["saga", "list", "--all"],
            vec!["saga", "start", "x", "-f", "a=1", "--watch"]
        ]
    );
}
