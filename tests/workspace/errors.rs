//! Whether every code has its page in `docs/errors/`, and whether the page says what the code and its tests say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use saga_wire::refusal;
use serde::Deserialize;

use crate::{
    commands::saga,
    documents::links,
    tree::{files, root, text},
};

const FOLDER: &str = "docs/errors/";
const FAULTS: &str = "saga-dsl/tests/faults";
/// Too large for a sample file.
const WITHOUT_SAMPLE: &str = "S0002";

/// What `saga explain` tells about a code.
#[derive(Debug, Deserialize)]
struct Article {
    kind: String,
    code: String,
    title: String,
    #[serde(default)]
    text: String,
}

fn articles() -> Vec<Article> {
    let output = Command::new(saga())
        .args(["explain", "-o", "json"])
        .output()
        .expect("saga runs");
    let mut articles: Vec<Article> =
        serde_json::from_slice(&output.stdout).expect("a list of codes");
    articles.retain(|article| article.kind == "code");
    assert!(
        articles.len() > 50,
        "only {} codes were found",
        articles.len()
    );
    articles
}

fn page(code: &str) -> Option<String> {
    text(&format!("{FOLDER}{code}.md"))
}

/// The text on one line, for lines are broken differently in sources and pages.
fn unbroken(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The code blocks of a page, by the word behind their fence.
fn blocks(page: &str) -> BTreeMap<&str, String> {
    let mut blocks = BTreeMap::new();
    let mut open: Option<(&str, Vec<&str>)> = None;
    for line in page.lines() {
        open = match (line.strip_prefix("```"), open) {
            (Some(word), None) => Some((word, Vec::new())),
            (Some(_), Some((word, lines))) => {
                blocks.insert(word, lines.join("\n"));
                None
            }
            (None, Some((word, mut lines))) => {
                lines.push(line);
                Some((word, lines))
            }
            (None, None) => None,
        };
    }
    blocks
}

#[test]
fn every_code_has_a_page_that_says_what_explain_says() {
    let mut faults = Vec::new();
    for Article {
        code, title, text, ..
    } in articles()
    {
        let Some(page) = page(&code) else {
            faults.push(format!("{code}: no page"));
            continue;
        };
        if page.lines().next() != Some(&*format!("# {code}: {title}")) {
            faults.push(format!("{code}: the first line is not `# {code}: {title}`"));
        }
        if !unbroken(&page).contains(&unbroken(&text)) {
            faults.push(format!("{code}: the explanation is another one: {text}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_page_belongs_to_a_code_and_stands_in_the_index() {
    let index = format!("{FOLDER}README.md");
    let codes: BTreeMap<String, String> = articles()
        .into_iter()
        .map(|article| (format!("{}.md", article.code), article.title))
        .collect();
    let pages: BTreeSet<String> = files()
        .iter()
        .filter_map(|path| path.strip_prefix(FOLDER))
        .filter(|page| *page != "README.md")
        .map(str::to_owned)
        .collect();
    assert_eq!(pages, codes.keys().cloned().collect());
    let index = text(&index).expect("the index is there");
    let listed: BTreeSet<String> = links(&index).into_iter().collect();
    assert_eq!(listed, pages);
    for (page, title) in &codes {
        assert!(
            index.contains(&format!("]({page}): {title}\n")),
            "{page} stands there with another title"
        );
    }
}

/// Whether a page shows the sample in that folder: file, output, and what the mended twin changes.
fn shows(page: &str, case: &str) -> bool {
    let read = |file: &str| {
        let bytes = fs::read(root().join(FAULTS).join(case).join(file)).expect("a sample");
        String::from_utf8_lossy(&bytes).replace('\0', "␀")
    };
    let (bad, good, snapshot) = (
        read("bad.saga.yaml"),
        read("good.saga.yaml"),
        read("bad.snap"),
    );
    let output = snapshot
        .splitn(3, "---\n")
        .last()
        .unwrap_or_default()
        .trim_matches('\n');
    let blocks = blocks(page);
    let is_output = blocks.get("text").is_some_and(|shown| shown == output);
    let in_file = |shown: &str, file: &str| {
        shown
            .split("# …")
            .all(|part| file.contains(part.trim_matches('\n')))
    };
    // A page without a diff shows either a whole file or says in words what to do.
    let is_file = blocks
        .get("yaml")
        .is_some_and(|shown| in_file(shown, &bad) || in_file(shown, &good));
    let is_mended = blocks.get("diff").is_none_or(|diff| {
        diff.lines()
            .filter(|line| *line != "…")
            .all(|line| match line.split_at(1) {
                ("-", line) => bad.lines().any(|known| known == line),
                ("+", line) => good.lines().any(|known| known == line),
                (_, line) => {
                    bad.lines().any(|known| known == line)
                        && good.lines().any(|known| known == line)
                }
            })
    });
    is_output && is_file && is_mended
}

#[test]
fn samples_are_those_of_the_tests() {
    let mut cases: Vec<String> = fs::read_dir(root().join(FAULTS))
        .expect("samples")
        .map(|entry| {
            entry
                .expect("a folder")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    cases.sort();
    let mut faults = Vec::new();
    for code in saga_dsl::codes::Code::ALL.iter().map(|code| code.as_str()) {
        let mut own = cases
            .iter()
            .filter(|case| case.split('_').next() == Some(code));
        let page = page(code).unwrap_or_default();
        if code != WITHOUT_SAMPLE && !own.any(|case| shows(&page, case)) {
            faults.push(code);
        }
    }
    assert!(
        faults.is_empty(),
        "pages whose sample is not, or no more, one of {FAULTS}: {faults:?}"
    );
}

#[test]
fn pages_of_refusals_say_what_was_asked_why_not_and_what_to_do() {
    for row in refusal::CODES {
        let page = page(row.text).expect("a page");
        for heading in ["## Asked\n", "## Refused, because\n", "## What to do\n"] {
            assert!(
                page.contains(heading),
                "{}: no `{}`",
                row.text,
                heading.trim()
            );
        }
        let advice = ["**Retry", "**Stop", "**Mend", "**Call a person", "**retry"];
        assert!(
            advice.iter().any(|word| page.contains(word)),
            "{}: no advice",
            row.text
        );
        // `InvalidArgument` here is `INVALID_ARGUMENT` on the wire.
        let status = format!("`{:?}`", row.grpc).to_uppercase();
        assert!(
            page.replace('_', "").contains(&status),
            "{}: the status is {status}",
            row.text
        );
    }
}
