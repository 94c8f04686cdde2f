//! The verbs that bring processes of their own: they prove what they promise, and leave nobody behind.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::process::Command;

use crate::processes::{program, until};

const LIMIT: Duration = Duration::from_secs(60);

async fn saga(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program("saga"))
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, output)
        .await
        .expect("it ends")
        .expect("it starts");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        output.status.success(),
        "{args:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), said)
}

#[tokio::test]
async fn the_demonstration_holds_its_promises_and_prints_plain_lines() {
    let (code, said) = saga(&["demo"]).await;
    assert_eq!(code, Some(0));
    assert!(!said.contains('\x1b'), "escape codes in a file: {said}");
    for wanted in [
        "card_declined",
        "tries 3",
        "was killed before it could say so",
        "guarantees held",
    ] {
        assert!(said.contains(wanted), "{wanted} is missing in: {said}");
    }
}

#[tokio::test]
async fn a_benchmark_reports_what_ended_and_that_nothing_was_lost() {
    for (mode, completed, compensated) in [(None, 300, 0), (Some("--compensate"), 0, 300)] {
        let mut args = vec![
            "bench",
            "--sagas",
            "300",
            "--concurrency",
            "32",
            "-o",
            "json",
        ];
        args.extend(mode);
        let (_, said) = saga(&args).await;
        let report: Value = serde_json::from_str(&said).expect("JSON");
        for (key, value) in [
            ("completed", completed),
            ("compensated", compensated),
            ("lost", 0),
            ("duplicated", 0),
        ] {
            assert_eq!(report[key], value, "{key} in {report:#}");
        }
        for key in [
            "sagas_per_s",
            "steps_per_s",
            "p50_ms",
            "p99_ms",
            "commits_per_s",
            "batch_mean",
        ] {
            assert!(
                report[key].as_f64().is_some_and(|figure| figure > 0.0),
                "{key} in {report:#}"
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn children_do_not_outlive_a_parent_that_is_killed() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut bench = Command::new(program("saga"))
        .args(["bench", "--sagas", "1000000"])
        // Killed, it cannot tidy up behind itself.
        .env("TMPDIR", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let id = bench.id().expect("it runs");
    let children = until("server and participants run", LIMIT, async || {
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        let children: Vec<u32> = children
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
            .collect();
        (children.len() == 2).then_some(children)
    })
    .await;
    bench.kill().await.expect("it ran until now");
    until("both children end", LIMIT, async || {
        children.iter().all(|child| is_gone(*child)).then_some(())
    })
    .await;
}

/// Ended, whether or not somebody has asked for its exit code yet.
#[cfg(target_os = "linux")]
fn is_gone(process: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
        return true;
    };
    // The state follows the name, which stands in brackets and may hold any character.
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}
