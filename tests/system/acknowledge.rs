//! A contradiction outlives its saga: it is listed until an operator acknowledges it, also after a restart, on each store.

use saga_proto::v1 as wire;
use saga_tests::{Gate, Rig, Script, client::code, client::status, postgres::database};
use serde_json::json;

/// Two steps side by side, so that the saga is open while the first, which was left out, takes effect after all.
const FILE: &str = "
saga: broken_promise
version: 1
input: {n: int}
defaults: {timeout: 50s}
steps:
  - parallel:
      - {step: a, action: late/act, compensation: late/undo, at_least_once: true}
      - {step: b, action: hung/act, compensation: hung/undo, at_least_once: true}
";

/// A saga that has completed although a participant contradicted what was said of a step.
async fn completed_with_a_contradiction(rig: &Rig) -> String {
    let (early, end) = (Gate::new(), Gate::new());
    let late = Script::plain(rig, "late").hang_until("act", &early);
    let hung = Script::plain(rig, "hung").hang_until("act", &end);
    let (_late, _hung) = (
        late.serve_from_memory(rig).await,
        hung.serve_from_memory(rig).await,
    );
    rig.clients.deploy(FILE).await;
    let id = rig.clients.begin("broken_promise", json!({"n": 1})).await;
    early.arrived(1).await;
    end.arrived(1).await;
    let skip = wire::SkipRequest {
        saga: id.clone(),
        step: "a".to_owned(),
        reason: "not needed".to_owned(),
        force: true,
        ..wire::SkipRequest::default()
    };
    rig.clients.operators().skip(skip).await.expect("taken");
    early.open();
    rig.clients
        .until(&id, "a contradiction", |seen| {
            seen.incidents.iter().any(|i| i.code == "contradiction")
        })
        .await;
    end.open();
    let seen = rig.clients.ended(&id).await;
    assert_eq!(status(&seen), "completed");
    id
}

async fn listed(rig: &Rig) -> Vec<wire::SagaSummary> {
    let request = wire::ListSagasRequest {
        mark: "incident".to_owned(),
        ..wire::ListSagasRequest::default()
    };
    rig.clients.list(request).await.sagas
}

async fn acknowledge(rig: &Rig, id: &str) -> Result<wire::InterventionResponse, tonic::Status> {
    let request = wire::AcknowledgeRequest {
        saga: id.to_owned(),
        reason: "refunded".to_owned(),
        by: "ann".to_owned(),
        ..wire::AcknowledgeRequest::default()
    };
    let answer = rig.clients.operators().acknowledge(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn stays_until_it_is_acknowledged(mut rig: Rig) {
    let id = completed_with_a_contradiction(&rig).await;
    for _ in 0..2 {
        let seen = rig.clients.get(&id).await;
        let summary = seen.summary.clone().unwrap_or_default();
        assert_eq!((&*summary.mark, summary.exceptions), ("incident", true));
        assert!(
            summary.next.starts_with("operator: acknowledge a"),
            "{}",
            summary.next
        );
        assert_eq!(seen.incidents.len(), 1);
        let story = seen.story.join("\n");
        assert!(story.contains("`saga acknowledge "), "{story}");
        let all = listed(&rig).await;
        assert_eq!(all.len(), 1);
        assert_eq!((&*all[0].id, &*all[0].next), (&*id, &*summary.next));
        rig.restart().await;
    }

    let retry = wire::RetryRequest {
        saga: id.clone(),
        ..wire::RetryRequest::default()
    };
    let refused = rig.clients.operators().retry(retry).await;
    assert_eq!(code(&refused.expect_err("it has ended")), "A0410");

    // Several at once: one is written, and the others find nothing left.
    let (one, two, three) = tokio::join!(
        acknowledge(&rig, &id),
        acknowledge(&rig, &id),
        acknowledge(&rig, &id)
    );
    let all = [one, two, three];
    assert_eq!(all.iter().filter(|answer| answer.is_ok()).count(), 1);
    for answer in all {
        match answer {
            Ok(answer) => {
                let saga = answer.saga.unwrap_or_default();
                assert_eq!((&*saga.status, &*saga.mark), ("completed", ""));
                assert!(saga.exceptions, "the mark stays for good");
            }
            Err(refused) => assert!(["A0410", "A0412"].contains(&&*code(&refused)), "{refused}"),
        }
    }
    assert_eq!(
        code(&acknowledge(&rig, &id).await.expect_err("nothing is left")),
        "A0412"
    );
    assert_eq!(listed(&rig).await, []);
    let request = wire::ListAuditRequest {
        saga: id.clone(),
        ..wire::ListAuditRequest::default()
    };
    let audit = rig
        .clients
        .operators()
        .list_audit(request)
        .await
        .expect("a list");
    let acts: Vec<_> = audit.into_inner().entries;
    assert_eq!(
        (&*acts[0].verb, &*acts[0].reason),
        ("acknowledge", "refunded")
    );
    assert_eq!(
        acts.iter().filter(|act| act.verb == "acknowledge").count(),
        1
    );
    rig.restart().await;
    let seen = rig.clients.get(&id).await;
    assert_eq!((seen.incidents.len(), status(&seen)), (0, "completed"));
}

#[tokio::test]
async fn a_contradiction_stays_until_it_is_acknowledged() {
    stays_until_it_is_acknowledged(Rig::start_on_a_file().await).await;
}

#[tokio::test]
async fn a_contradiction_stays_until_it_is_acknowledged_in_postgresql() {
    stays_until_it_is_acknowledged(Rig::start_in_a_database(database().await).await).await;
}

#[tokio::test]
async fn a_saga_that_never_was_cannot_be_acknowledged() {
    let rig = Rig::start().await;
    let refused = acknowledge(&rig, "01M7YE4ESJE0FVKDW8KFSWE5GW").await;
    assert_eq!(code(&refused.expect_err("nobody knows it")), "A0404");
}
