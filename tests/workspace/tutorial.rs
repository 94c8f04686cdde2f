//! Whether the tutorial's saga file is judged as the tutorial shows it.

use std::{fs, process::Command};

use crate::{commands::saga, tree::text};

const PAGE: &str = "docs/tutorial/first-saga.md";

/// The code blocks of one language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&*fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

/// What `saga lint` prints about a file of that content, and whether it is sound.
fn lint(content: &str) -> (String, bool) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("order.saga.yaml"), content).expect("it is written");
    let mut lint = Command::new(saga());
    let output = lint
        .args(["lint", "order.saga.yaml"])
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    let printed = [output.stdout, output.stderr].concat();
    (
        String::from_utf8(printed).expect("UTF-8"),
        output.status.success(),
    )
}

#[test]
fn the_first_file_has_the_faults_that_are_shown_and_the_mended_one_has_none() {
    let page = text(PAGE).expect("UTF-8");
    let [bad, steps] = &*blocks(&page, "yaml") else {
        panic!("{PAGE} shows a file and its mended steps")
    };
    let (printed, is_sound) = lint(bad);
    assert!(!is_sound);
    assert_eq!(blocks(&page, "text").first(), Some(&printed));
    let (head, _) = bad.split_once("steps:\n").expect("the file has steps");
    let (printed, is_sound) = lint(&format!("{head}{steps}"));
    assert!(is_sound, "{printed}");
}
