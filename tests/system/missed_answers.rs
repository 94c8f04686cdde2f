//! The answer to an act is lost between the server's commit and the client: the command asks again by itself, and the act
//! is done once.

use std::process::{Output, Stdio};

use saga_proto::v1::{ListAuditRequest, SagaDetail};
use saga_tests::{
    Gate, Instance, Rig, Say, Script,
    client::{status, step},
    eventually,
    proxy::Proxy,
    served::{Served, program},
    within,
};
use serde_json::json;

use crate::files::{PAIR, SINGLE, WHOLE};

/// What is said when the first answer is missed.
const AGAIN: &str = "asking again";

async fn saga(proxy: &Proxy, arguments: &[&str]) -> Output {
    let running = tokio::process::Command::new(program("saga"))
        .args(arguments)
        .env("SAGA_ENDPOINT", format!("grpc://{}", proxy.address()))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    within(&format!("the end of saga {arguments:?}"), running)
        .await
        .expect("it runs")
}

/// Runs the act; its first answer is lost once the act is committed.
async fn missed(rig: &Rig, arguments: &[&str]) -> String {
    let proxy = Proxy::before(rig.address()).await;
    proxy.hold_answers_to("lost-answer");
    let arguments = [arguments, &["--reason", "lost-answer", "--yes"]].concat();
    let lose = async {
        proxy.held().await;
        eventually("the act in the store", || async {
            (audited(rig).await == 1).then_some(())
        })
        .await;
        proxy.cut();
    };
    let (ran, ()) = tokio::join!(saga(&proxy, &arguments), lose);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&ran.stdout).into_owned(),
        String::from_utf8_lossy(&ran.stderr).into_owned(),
    );
    assert!(ran.status.success(), "{arguments:?}: {stdout}{stderr}");
    assert!(stderr.contains(AGAIN), "{arguments:?}: {stderr}");
    assert_eq!(audited(rig).await, 1, "{arguments:?} is done once");
    stdout
}

async fn audited(rig: &Rig) -> usize {
    let mut operators = rig.clients.operators();
    let list = operators.list_audit(ListAuditRequest::default()).await;
    list.expect("a list").into_inner().entries.len()
}

/// A saga whose last step is refused, again and again.
async fn refused(rig: &Rig) -> ([Instance; 2], String) {
    let left = Script::plain(rig, "left").act("act", |call| match call.step.as_str() {
        "last" => Say::Refuse("no_such_customer"),
        _ => Say::Succeed(json!({})),
    });
    let right = Script::plain(rig, "right");
    let instances = [left.serve(rig).await, right.serve(rig).await];
    rig.clients.deploy(WHOLE).await;
    let id = rig.clients.begin("whole", json!({"n": 0})).await;
    let is_refused = |seen: &SagaDetail| !seen.incidents.is_empty();
    rig.clients.until(&id, "an incident", is_refused).await;
    (instances, id)
}

#[tokio::test]
async fn a_retry_whose_answer_is_lost_begins_one_round() {
    let rig = Rig::start().await;
    let (_instances, id) = refused(&rig).await;
    missed(&rig, &["retry", &id, "last"]).await;
    let again = |seen: &SagaDetail| step(seen, "last").round == 2 && !seen.incidents.is_empty();
    let seen = rig.clients.until(&id, "refused again", again).await;
    assert_eq!(step(&seen, "last").round, 2);
}

#[tokio::test]
async fn a_skip_whose_answer_is_lost_is_reported_as_done() {
    let rig = Rig::start().await;
    let (_instances, id) = refused(&rig).await;
    let said = missed(&rig, &["skip", &id, "last"]).await;
    assert!(said.contains("skipped"), "{said}");
    assert_eq!(status(&rig.clients.ended(&id).await), "completed");
}

#[tokio::test]
async fn a_resolve_whose_answer_is_lost_is_reported_as_done() {
    let rig = Rig::start().await;
    let (_instances, id) = refused(&rig).await;
    let said = missed(&rig, &["resolve", &id, "last", "--as", "succeeded"]).await;
    assert!(said.contains("completed"), "{said}");
}

#[tokio::test]
async fn an_abandon_whose_answer_is_lost_is_reported_as_done() {
    let rig = Rig::start().await;
    let (_instances, id) = refused(&rig).await;
    let said = missed(&rig, &["abandon", &id]).await;
    assert!(said.contains("abandoned"), "{said}");
}

#[tokio::test]
async fn a_cancel_whose_answer_is_lost_says_what_it_led_to() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let held = gate.clone();
    let left = Script::plain(&rig, "left");
    let right = Script::plain(&rig, "right").act("act", move |_| {
        Say::Hang(held.clone(), Box::new(Say::Succeed(json!({}))))
    });
    let _instances = [left.serve(&rig).await, right.serve(&rig).await];
    rig.clients.deploy(PAIR).await;
    let id = rig.clients.begin("pair", json!({"n": 0})).await;
    let in_flight = |seen: &SagaDetail| step(seen, "second").status == "running";
    rig.clients.until(&id, "the second step", in_flight).await;
    let said = missed(&rig, &["cancel", &id]).await;
    assert!(said.contains("goes back"), "{said}");
    gate.open();
    assert_eq!(status(&rig.clients.ended(&id).await), "compensated");
}

#[tokio::test]
async fn an_act_is_found_when_the_server_dies_before_its_answer() {
    let mut served = Served::start(&[]).await;
    served.clients.deploy(SINGLE).await;
    let id = served
        .clients
        .begin("single", json!({"n": 1, "tags": []}))
        .await;
    let proxy = Proxy::before(served.address()).await;
    proxy.hold_answers_to("lost-answer");
    let abandon = ["abandon", &id, "--yes", "--reason", "lost-answer"];
    let lose = async {
        proxy.held().await;
        served.clients.ended(&id).await;
        served.kill_and_revive().await;
        proxy.cut();
    };
    let (ran, ()) = tokio::join!(saga(&proxy, &abandon), lose);
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("abandoned"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_start_is_asked_for_again_until_it_is_known() {
    let mut served = Served::start(&[]).await;
    served.clients.deploy(SINGLE).await;
    let proxy = Proxy::before(served.address()).await;
    for more in [
        &["--key", "lost-answer"][..],
        &["--label", "why=lost-answer"],
    ] {
        proxy.hold_answers_to("lost-answer");
        let start = [&["start", "single", "-f", "n=1", "-f", "tags=[]"], more].concat();
        let before = served.clients.list(Default::default()).await.open_total;
        let lose = async {
            proxy.held().await;
            eventually("the saga", || async {
                let list = served.clients.list(Default::default()).await;
                (list.open_total == before + 1).then_some(())
            })
            .await;
            served.program.kill().await;
            proxy.cut();
            // Longer than a start that reached nobody is sent again for.
            tokio::time::sleep(std::time::Duration::from_secs(9)).await;
            served.revive().await;
        };
        let (ran, ()) = tokio::join!(saga(&proxy, &start), lose);
        assert!(ran.status.success(), "{ran:?}");
        let list = served.clients.list(Default::default()).await;
        assert_eq!(list.open_total, before + 1, "one saga was started");
        let id = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
        assert_eq!(list.sagas[0].id, id);
    }
}
