//! A live screen of a saga to which nothing happens: what it says of time stays true.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use saga_tests::{
    eventually,
    served::{Served, program},
};
use serde_json::json;

use crate::files::SINGLE;

/// What stands before a span of time on the screen of a saga that waits.
const BEFORE: &str = "It has been running for ";

/// The spans that the screen showed in its sentences, one after the other.
fn spans(shown: &str) -> BTreeSet<String> {
    shown
        .split(BEFORE)
        .skip(1)
        .filter_map(|rest| rest.split(['.', ',', '\n', '\r']).next())
        .map(|span| span.trim().to_owned())
        .collect()
}

#[tokio::test]
async fn sentences_about_time_move_on_by_themselves() {
    let served = Served::start(&[]).await;
    served.clients.deploy(SINGLE).await;
    let id = served
        .clients
        .begin("single", json!({"n": 1, "tags": []}))
        .await;
    let typed = served.folder().join("screen");
    // A terminal of its own, as `script` gives one.
    let watch = format!("{} watch {id}", program("saga").display());
    let _watching = tokio::process::Command::new("script")
        .args(["-qfec", &watch])
        .arg(&typed)
        .env("SAGA_ENDPOINT", format!("grpc://{}", served.address()))
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("`script` of util-linux is there");
    let story = served.clients.get(&id).await.story.join(" ");
    assert!(story.contains(BEFORE), "{story}");
    eventually("three spans of time on the screen", || async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let shown = std::fs::read(&typed).unwrap_or_default();
        let shown = spans(&String::from_utf8_lossy(&shown));
        (shown.len() >= 3).then_some(())
    })
    .await;
}
