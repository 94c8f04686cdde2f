//! Whether `docs/reference/saga-file.md` says what the schema and the reader say: every key in its table, with its
//! words and its default, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::schema;
use crate::{
    codes::Code,
    file::{self, unsupported::UNSUPPORTED},
    limits,
    plan::resolve,
    types::SCALARS,
};

const PAGE: &str = include_str!("../../../docs/reference/saga-file.md");
const LIMITS: &str = include_str!("../../../docs/reference/limits.md");

/// A page's sections by their headings.
pub(crate) fn sections(page: &str) -> BTreeMap<&str, &str> {
    let section = |text| str::split_once(text, '\n');
    page.split("\n## ").skip(1).filter_map(section).collect()
}

/// The cells of a section's table, without head and rule.
pub(crate) fn rows(section: &str) -> Vec<Vec<&str>> {
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// What stands in backticks.
pub(crate) fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Section of the page, and the object of the schema that it is about.
fn objects() -> Vec<(&'static str, Value)> {
    let schema = schema();
    let of = |name: &str| schema["definitions"][name].clone();
    let mut groups = of("parallel");
    groups["properties"]["sequence"] = of("sequence")["properties"]["sequence"].clone();
    groups["required"] = serde_json::json!(["parallel", "sequence"]);
    vec![
        ("The file", schema.clone()),
        ("A step", of("step")),
        ("Groups", groups),
        ("A compensation", of("compensation_block")),
        ("Participants", of("participant")),
        ("Circuit breaker", of("circuit_breaker")),
        ("Retry", of("retry")),
        ("Defaults", of("defaults")),
    ]
}

#[test]
fn every_key_of_the_schema_is_on_the_page_and_the_other_way_round() {
    let page = sections(PAGE);
    for (heading, object) in objects() {
        let properties = object["properties"].as_object().expect("properties");
        let in_schema: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        let rows = rows(page[heading]);
        let on_page: Vec<&str> = rows.iter().flat_map(|row| quoted(row[0])).collect();
        assert_eq!(
            on_page.iter().copied().collect::<BTreeSet<_>>(),
            in_schema,
            "{heading}"
        );
        assert_eq!(
            on_page.len(),
            in_schema.len(),
            "{heading}: a key stands twice"
        );
        assert!(
            rows.iter().all(|row| row.len() == 5),
            "{heading}: five cells each"
        );
    }
}

#[test]
fn required_keys_defaults_and_words_are_those_of_the_reader() {
    let page = sections(PAGE);
    let built_in = |ms: u64| super::ms(ms).to_string();
    let timeout = format!(
        "`defaults.timeout`, else `{}`",
        built_in(resolve::TIMEOUT_MS)
    );
    let attempts = format!(
        "`{}` for compensatable steps; `unlimited` for ",
        resolve::MAX_ATTEMPTS
    );
    let defaults = [
        ("A step", "timeout", timeout.clone()),
        ("A compensation", "timeout", timeout),
        (
            "Defaults",
            "timeout",
            format!("`{}`", built_in(resolve::TIMEOUT_MS)),
        ),
        (
            "A step",
            "escalate_after",
            format!("`{}`", built_in(resolve::ESCALATE_AFTER_MS)),
        ),
        (
            "A compensation",
            "escalate_after",
            format!("`{}`", built_in(resolve::ESCALATE_AFTER_MS)),
        ),
        (
            "Circuit breaker",
            "failure_rate",
            format!("`{}%`", limits::FAILURE_PERCENT),
        ),
        (
            "Circuit breaker",
            "window",
            format!("`{}`", built_in(limits::WINDOW_MS)),
        ),
        (
            "Circuit breaker",
            "min_calls",
            format!("`{}`", limits::MIN_CALLS),
        ),
        (
            "Circuit breaker",
            "open_for",
            format!("`{}`", built_in(limits::OPEN_FOR_MS)),
        ),
        (
            "Circuit breaker",
            "half_open_calls",
            format!("`{}`", limits::HALF_OPEN_CALLS),
        ),
        ("A step", "kind", "`compensatable`".to_owned()),
        ("Retry", "max_attempts", attempts),
        (
            "Retry",
            "initial_delay",
            format!("`{}`", built_in(resolve::INITIAL_DELAY_MS)),
        ),
        (
            "Retry",
            "max_delay",
            format!("`{}`", built_in(resolve::MAX_DELAY_MS)),
        ),
        ("Retry", "multiplier", format!("`{}`", resolve::MULTIPLIER)),
        ("Retry", "backoff", "`exponential`".to_owned()),
        ("Retry", "jitter", "`full`".to_owned()),
    ];
    for (heading, object) in objects() {
        let required: Vec<&str> = object["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for row in rows(page[heading]) {
            let (key, words, default) = (quoted(row[0])[0], row[1], row[2]);
            assert_eq!(
                default == "required",
                required.contains(&key),
                "{heading}, {key}: {default}"
            );
            let about = &object["properties"][key];
            let said = about["description"]
                .as_str()
                .is_some_and(|text| text.contains("Default ") || text.contains("(default)"));
            let expected = defaults
                .iter()
                .find(|(section, known, _)| (*section, *known) == (heading, key));
            match expected {
                Some((.., expected)) => {
                    assert!(
                        default.starts_with(&**expected),
                        "{heading}, {key}: {default}"
                    )
                }
                None => {
                    assert!(
                        !said,
                        "{heading}, {key}: the schema has a default that this test does not know"
                    )
                }
            }
            let allowed = about["enum"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            let allowed: Vec<&str> = allowed.collect();
            if !allowed.is_empty() {
                assert_eq!(quoted(words), allowed, "{heading}, {key}");
            }
        }
    }
}

/// The defaults of the table hold: what it says about a file that says nothing.
#[test]
fn a_file_that_says_nothing_gets_the_built_in_defaults() {
    let source = "saga: s\nversion: 1\nsteps:\n  - {step: a, action: p/do, compensation: p/undo}\n  \
                  - {step: b, kind: pivot, action: p/do}\n";
    let plan = file::load("s", source.as_bytes()).plan.expect("a plan");
    let (first, pivot) = (&plan.steps[0], &plan.steps[1]);
    let undo = first.compensation.as_ref().expect("a compensation");
    assert_eq!(
        [first.action.timeout_ms, undo.timeout_ms],
        [resolve::TIMEOUT_MS; 2]
    );
    assert_eq!(
        [first.escalate_after_ms, undo.escalate_after_ms],
        [resolve::ESCALATE_AFTER_MS; 2]
    );
    assert_eq!(first.action.retry.max_attempts, Some(resolve::MAX_ATTEMPTS));
    assert_eq!(
        [pivot.action.retry.max_attempts, undo.retry.max_attempts],
        [None, None]
    );
    assert!(!first.at_least_once && plan.deadline_ms.is_none());
}

#[test]
fn what_is_refused_is_listed() {
    let rows = rows(sections(PAGE)["Not yet"]);
    let listed: Vec<&str> = rows.iter().flat_map(|row| quoted(row[1])).collect();
    let mut listed_once = listed.clone();
    listed_once.sort_unstable();
    let mut refused = UNSUPPORTED.to_vec();
    refused.sort_unstable();
    assert_eq!(listed_once, refused);
}

#[test]
fn types_are_those_of_the_reader() {
    let rows = rows(sections(PAGE)["Types"]);
    let words: Vec<&str> = rows.iter().map(|row| quoted(row[0])[0]).collect();
    let scalars: Vec<&str> = SCALARS.iter().map(|(name, _)| *name).collect();
    assert_eq!(words[..scalars.len()], scalars);
    assert_eq!(words[scalars.len()..], ["[T]", "{field: T}", "optional T"]);
}

#[test]
fn every_code_that_is_named_exists_and_every_fault_of_a_file_is_named() {
    let pages = [PAGE, include_str!("../../../docs/reference/expressions.md")].concat();
    let words = pages.split(|c: char| !c.is_ascii_alphanumeric());
    let is_code = |word: &&str| {
        word.len() == 5
            && word.starts_with(['S', 'W', 'N'])
            && word[1..].bytes().all(|b| b.is_ascii_digit())
    };
    let named: BTreeSet<&str> = words.filter(is_code).collect();
    // Only a server can find them.
    let of_deploy = ["S0501", "W0602"];
    // Of any text, and of limits.
    let general = ["S0001", "S0002", "S0003", "S0007", "S0008", "N0701"];
    let known = Code::ALL.iter().map(|code| code.as_str());
    let expected: BTreeSet<&str> = known
        .filter(|code| !general.contains(code))
        .chain(of_deploy)
        .collect();
    assert_eq!(named, expected);
}

#[test]
fn the_limits_are_those_of_the_code() {
    let row = |what: &str| {
        let found = LIMITS
            .lines()
            .find(|line| line.starts_with(&format!("| {what} |")));
        found
            .unwrap_or_else(|| panic!("no row `{what}`"))
            .split(" | ")
            .nth(1)
            .expect("a value")
    };
    assert_eq!(row("size"), format!("{} KiB", file::FILE_BYTES_MAX / 1024));
    assert_eq!(
        row("names and ids"),
        format!("{} characters", crate::names::ID_CHARS_MAX)
    );
    assert_eq!(
        row("groups in groups"),
        crate::check::GROUPS_MAX.to_string()
    );
    assert_eq!(
        row("faults reported at once"),
        crate::check::FINDINGS_MAX.to_string()
    );
    assert_eq!(
        row("`timeout`"),
        format!("{} s", resolve::TIMEOUT_MS / 1000)
    );
    assert_eq!(
        row("`retry.initial_delay`"),
        format!("{} ms", resolve::INITIAL_DELAY_MS)
    );
    assert_eq!(
        row("`retry.max_delay`"),
        format!("{} s", resolve::MAX_DELAY_MS / 1000)
    );
    assert_eq!(
        row("`escalate_after`"),
        format!("{} min", resolve::ESCALATE_AFTER_MS / 60_000)
    );
    assert_eq!(
        row("`retry.max_attempts`, compensatable actions"),
        resolve::MAX_ATTEMPTS.to_string()
    );
    assert_eq!(
        row("values made by one evaluation"),
        format!("{} MiB", crate::expr::BYTES_MAX >> 20)
    );
}
