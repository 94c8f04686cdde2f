//! Operators' acts over the wire: what they lead to, what is refused, and what is written down.

use saga_proto::v1::{self as wire, operator_service_client::OperatorServiceClient};
use tonic::Code;

use super::rig::{Rig, TRIP, reply, soon, text, trip};

/// Its undo is for a person.
fn stubborn(command: &wire::Command) -> Option<wire::Reply> {
    let (op, action) = (command.op(), command.action.as_str());
    Some(match (op, action) {
        (wire::Op::Action, "charge") => reply(command, wire::Outcome::Refused),
        (wire::Op::Compensation, _) => reply(command, wire::Outcome::NeedsOperator),
        _ => reply(command, wire::Outcome::Succeeded),
    })
}

async fn stuck(rig: &Rig) -> String {
    rig.deploy(TRIP).await;
    rig.hotels(stubborn).await;
    let started = rig
        .sagas()
        .start_saga(trip("t-1"))
        .await
        .expect("started")
        .into_inner();
    let saga = text(&started.saga_id);
    let request = wire::GetSagaRequest { saga: saga.clone() };
    let mut watch = rig
        .sagas()
        .watch_saga(request)
        .await
        .expect("a stream")
        .into_inner();
    loop {
        let detail = soon(watch.message())
            .await
            .expect("pictures")
            .expect("it is open");
        if detail
            .summary
            .is_some_and(|summary| summary.mark == "incident")
        {
            return saga;
        }
    }
}

fn skip(saga: &str, step: &str) -> wire::SkipRequest {
    let (saga, step) = (saga.to_owned(), step.to_owned());
    wire::SkipRequest {
        saga,
        step,
        reason: "by hand".to_owned(),
        by: "ann".to_owned(),
        force: false,
        ..wire::SkipRequest::default()
    }
}

#[tokio::test]
async fn a_skip_ends_a_stuck_saga_and_is_written_down() {
    let rig = Rig::start().await;
    let saga = stuck(&rig).await;
    let mut operators = OperatorServiceClient::new(rig.channel.clone());
    let answer = operators
        .skip(skip(&saga, "reserve_hotel"))
        .await
        .expect("taken")
        .into_inner();
    let (summary, step) = (answer.saga.expect("a saga"), answer.step.expect("a step"));
    assert_eq!(
        (summary.status.as_str(), step.status.as_str()),
        ("compensated", "undo_skipped")
    );
    assert!(summary.exceptions && step.note.contains("operator"));
    let listed = rig
        .sagas()
        .list_sagas(wire::ListSagasRequest::default())
        .await
        .expect("a list");
    assert!(
        listed.into_inner().sagas[0].exceptions,
        "lists show it, too"
    );
    assert!(
        rig.get(&saga)
            .await
            .story
            .iter()
            .any(|s| s.contains("saga audit"))
    );
    let request = wire::ListAuditRequest {
        saga: saga.clone(),
        ..wire::ListAuditRequest::default()
    };
    let audit = operators
        .list_audit(request)
        .await
        .expect("a list")
        .into_inner();
    let [entry] = audit.entries.as_slice() else {
        panic!("{audit:?}")
    };
    assert_eq!(
        (
            entry.verb.as_str(),
            entry.step.as_str(),
            entry.by.as_str(),
            entry.reason.as_str()
        ),
        ("skip", "reserve_hotel", "ann (127.0.0.1)", "by hand")
    );
    let refused = operators
        .skip(skip(&saga, "reserve_hotel"))
        .await
        .expect_err("it has ended");
    assert!(
        refused.message().starts_with("A0410"),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_not_written_down() {
    let rig = Rig::start().await;
    let saga = stuck(&rig).await;
    let mut operators = OperatorServiceClient::new(rig.channel.clone());
    let no_step = operators
        .skip(skip(&saga, "reserve_hotels"))
        .await
        .expect_err("no such step");
    assert_eq!(
        (no_step.code(), &no_step.message()[..5]),
        (Code::NotFound, "A0407")
    );
    let unfit = operators
        .skip(skip(&saga, "charge_card"))
        .await
        .expect_err("it was refused");
    assert_eq!(
        (unfit.code(), &unfit.message()[..5]),
        (Code::FailedPrecondition, "A0412")
    );
    let silent = wire::SkipRequest {
        reason: " ".to_owned(),
        ..skip(&saga, "reserve_hotel")
    };
    let silent = operators.skip(silent).await.expect_err("no reason");
    assert_eq!(
        (silent.code(), &silent.message()[..5]),
        (Code::InvalidArgument, "A0400")
    );
    let resolve = |r#as: &str, output: &'static [u8]| wire::ResolveRequest {
        saga: saga.clone(),
        step: "reserve_hotel".to_owned(),
        r#as: r#as.to_owned(),
        output: output.into(),
        reason: "seen".to_owned(),
        ..wire::ResolveRequest::default()
    };
    for (request, code) in [
        (resolve("done", b""), "A0400"),
        (resolve("failed", b"{}"), "A0400"),
        (resolve("succeeded", b"{"), "A0400"),
        (resolve("succeeded", b"{}"), "A0412"),
    ] {
        let refused = operators.resolve(request).await.expect_err("refused");
        assert!(refused.message().starts_with(code), "{}", refused.message());
    }
    let audit = operators
        .list_audit(wire::ListAuditRequest::default())
        .await
        .expect("a list");
    assert_eq!(audit.into_inner().entries, []);
}

#[tokio::test]
async fn an_abandoned_saga_has_ended() {
    let rig = Rig::start().await;
    let saga = stuck(&rig).await;
    let mut operators = OperatorServiceClient::new(rig.channel.clone());
    let request = wire::AbandonRequest {
        saga: saga.clone(),
        reason: "settled".to_owned(),
        ..wire::AbandonRequest::default()
    };
    let answer = operators
        .abandon(request)
        .await
        .expect("taken")
        .into_inner();
    assert_eq!(answer.saga.expect("a saga").status, "abandoned");
    let detail = rig.get(&saga).await;
    assert!(
        detail.story[0].contains("was abandoned"),
        "{:?}",
        detail.story
    );
    let retry = wire::RetryRequest {
        saga,
        ..wire::RetryRequest::default()
    };
    let refused = operators.retry(retry).await.expect_err("it has ended");
    assert!(
        refused.message().contains("(abandoned)"),
        "{}",
        refused.message()
    );
}
