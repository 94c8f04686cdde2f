//! Whether documents hold together: links lead somewhere, every page can be found, decisions are numbered.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use crate::tree::{files, files_ending, root, text};

/// Targets of the links of a document, without those inside code.
pub(crate) fn links(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if in_code {
            continue;
        }
        // Every second part stands between backquotes.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        let mut rest = &*prose;
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, behind)) = after.split_once(')') else {
                break;
            };
            found.push(target.to_owned());
            rest = behind;
        }
    }
    found
}

/// The file or folder that a link of `page` leads to, relative to the root; `None` for the web and for places on the
/// page itself.
fn target(page: &str, link: &str) -> Option<PathBuf> {
    let path = link.split('#').next().unwrap_or_default();
    if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
        return None;
    }
    let mut target = PathBuf::new();
    for part in Path::new(page)
        .parent()
        .unwrap_or(Path::new(""))
        .join(path)
        .components()
    {
        match part {
            Component::ParentDir => assert!(target.pop(), "{page}: {link} leads out of the tree"),
            Component::Normal(name) => target.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(target)
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    let mut checked = 0;
    for page in files_ending(".md") {
        for link in links(&text(&page).expect("documents are UTF-8")) {
            let Some(target) = target(&page, &link) else {
                continue;
            };
            checked += 1;
            if !root().join(&target).exists() {
                faults.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "these links lead nowhere:\n{}",
        faults.join("\n")
    );
    assert!(checked > 20, "only {checked} links were found");
}

#[test]
fn every_page_of_the_docs_stands_in_their_index() {
    let index = "docs/README.md";
    let listed: Vec<PathBuf> = links(&text(index).expect("UTF-8"))
        .iter()
        .filter_map(|link| target(index, link))
        .collect();
    let missing: Vec<String> = files()
        .into_iter()
        .filter(|path| path.starts_with("docs/") && path.ends_with(".md") && path != index)
        // One page a code, found by `saga explain`, and the form for new decisions.
        .filter(|path| !path.starts_with("docs/errors/") && !path.contains("/0000-"))
        .filter(|path| !listed.contains(&PathBuf::from(path)))
        .collect();
    assert!(
        missing.is_empty(),
        "{index} does not list\n{}",
        missing.join("\n")
    );
}

#[test]
fn decisions_are_numbered_without_gaps_and_say_what_they_must() {
    let decisions: Vec<String> = files()
        .into_iter()
        .filter(|path| path.starts_with("docs/decisions/"))
        .collect();
    for (number, path) in decisions.iter().enumerate() {
        assert!(
            path.starts_with(&format!("docs/decisions/{number:04}-")),
            "{path} should be number {number:04}"
        );
        let decision = text(path).expect("UTF-8");
        for heading in ["## Situation", "## Decision", "## Consequences"] {
            assert!(decision.contains(heading), "{path} has no `{heading}`");
        }
    }
    assert!(decisions.len() > 1, "no decisions were found");
}

/// What stands between backquotes in the prose of a document.
fn code_spans(document: &str) -> Vec<String> {
    let mut in_block = false;
    let mut spans = Vec::new();
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    spans
}

#[test]
fn files_that_documents_name_are_there() {
    let files = files();
    let folders: BTreeSet<&str> = files
        .iter()
        .filter_map(|path| path.split_once('/'))
        .map(|(top, _)| top)
        .collect();
    let mut faults = Vec::new();
    let mut checked = 0;
    for page in files_ending(".md") {
        for span in code_spans(&text(&page).expect("UTF-8")) {
            let is_path = span
                .split_once('/')
                .is_some_and(|(top, _)| folders.contains(top));
            if !is_path || span.contains([' ', '*', '<', '$']) {
                continue;
            }
            checked += 1;
            if !root().join(&span).exists() {
                faults.push(format!("{page}: `{span}`"));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "these are not there:\n{}",
        faults.join("\n")
    );
    assert!(checked > 50, "only {checked} names of files were found");
}

/// A page that says what the tests do not use is right only while it lists all that they use.
#[test]
fn the_page_on_testing_names_every_suite_and_every_server() {
    let page = text("docs/explanation/testing.md").expect("UTF-8");
    let manifest = text("tests/Cargo.toml").expect("UTF-8");
    let suites = manifest
        .split("[[test]]")
        .skip(1)
        .filter_map(|suite| suite.split('"').nth(1));
    let suites: Vec<String> = suites.map(|name| format!("(`tests/{name}/`)")).collect();
    // A server of the system is started from where its package keeps the programs.
    let places = ["\"/usr/lib/", "\"/usr/sbin/"];
    let starts = |path: &String| {
        text(path).is_some_and(|source| places.iter().any(|place| source.contains(place)))
    };
    let rig = files()
        .into_iter()
        .filter(|path| path.starts_with("tests/rig/") && path.ends_with(".rs"));
    let servers: Vec<String> = rig
        .filter(starts)
        .map(|path| format!("| `{path}` |"))
        .collect();
    assert!(
        suites.len() >= 8 && servers.len() >= 2,
        "{suites:?} {servers:?}"
    );
    let missing: Vec<_> = suites
        .iter()
        .chain(&servers)
        .filter(|name| !page.contains(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/explanation/testing.md does not name {missing:?}"
    );
}

#[test]
fn limits_stand_where_the_reference_says() {
    let page = "docs/reference/limits.md";
    let mut faults = Vec::new();
    let mut checked = 0;
    for line in text(page).expect("UTF-8").lines() {
        let Some((before, path)) = line.split_once("` in `") else {
            continue;
        };
        let (Some(name), Some(path)) = (before.rsplit('`').next(), path.split('`').next()) else {
            continue;
        };
        checked += 1;
        let there =
            root().join(path).is_file() && text(path).is_some_and(|source| source.contains(name));
        if !there {
            faults.push(format!("{name} is not in {path}"));
        }
    }
    assert!(faults.is_empty(), "{page}:\n{}", faults.join("\n"));
    assert!(checked > 20, "only {checked} limits were read");
}

#[test]
fn code_is_not_taken_for_links() {
    let page = "see [a](b.md) and `[c](d.md)`\n```\n[e](f.md)\n```\n[g](h.md#i), [j](k)";
    assert_eq!(links(page), ["b.md", "h.md#i", "k"]);
}
