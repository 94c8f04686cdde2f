//! `VerifyParticipant`: fires hazards at a live participant, under ids that no saga has.
//!
//! Who asks must have said that the action may really happen, and stands in the audit list before the first command is
//! sent. Only actions that the participant registered are sent, and one that it certainly did not.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use saga_core::Payload;
use saga_proto::v1 as wire;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Answers, Api,
    error::{Code, Refusal},
    steering,
};
use crate::verify::{self, Exchange, Judged, Target, Verdict};
use saga_engine::{
    clock, directory::stored_actions, document::clean_text, store::record::AuditRow,
};

/// How long a reply may take, where the request says nothing, in milliseconds.
const WAIT_MS: u32 = 10_000;
/// The longest that may be asked for, in milliseconds.
const WAIT_MS_MAX: u32 = 60_000;

pub(super) async fn verify_participant(
    api: &Api,
    request: wire::VerifyParticipantRequest,
    from: &str,
) -> Result<Answers<wire::HazardVerdict>, Refusal> {
    api.open()?;
    let target = target(&request)?;
    registered(api, &target).await?;
    let run = verify::run_id();
    let audit = AuditRow {
        saga_id: run,
        seq: 0,
        at: clock::now(),
        verb: "verify".to_owned(),
        step: Some(format!("{}/{}", target.participant, target.action)),
        who: steering::who(&request.by, from),
        reason: clean_text(request.reason, steering::REASON_BYTES_MAX),
        forced: false,
    };
    api.parts().store.put_audit(audit).await?;
    let (verdicts, judged) = mpsc::channel(1);
    let (lane, closing) = (api.parts().lane.clone(), api.parts().closing.clone());
    api.parts().tasks.spawn(async move {
        tokio::select! {
            ran = verify::run(target, run, &lane, &verdicts) => if let Err(error) = ran {
                tracing::error!(%error, "names that are registered cannot be sent");
            },
            () = closing.cancelled() => {}
        }
    });
    let next = |mut judged: mpsc::Receiver<Verdict>| async {
        let verdict = judged.recv().await?;
        Some((Ok(to_wire(verdict)), judged))
    };
    Ok(stream::unfold(judged, next).boxed())
}

fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::Malformed, message)
}

fn target(request: &wire::VerifyParticipantRequest) -> Result<Target, Refusal> {
    if !request.effects_are_real {
        return Err(malformed(
            "effects_are_real: the action really happens; say that you know, and choose an input that does no harm",
        ));
    }
    if request.wait_ms > WAIT_MS_MAX {
        return Err(malformed(format!(
            "wait_ms: {} is more than {WAIT_MS_MAX}",
            request.wait_ms
        )));
    }
    let wait_ms = if request.wait_ms == 0 {
        WAIT_MS
    } else {
        request.wait_ms
    };
    let input = steering::document("input", &request.input)?;
    Ok(Target {
        participant: request.participant.clone(),
        action: request.action.clone(),
        compensation: (!request.compensation.is_empty()).then(|| request.compensation.clone()),
        input: input.unwrap_or_else(|| Payload::from_value(json!({}))),
        wait: Duration::from_millis(wait_ms.into()),
    })
}

/// The participant must be there, and serve what is to be sent.
async fn registered(api: &Api, target: &Target) -> Result<(), Refusal> {
    let directory = &api.parts().directory;
    let known = directory
        .known()
        .await
        .into_iter()
        .find(|row| row.name == target.participant);
    let name = &target.participant;
    let Some(row) = known.filter(|_| directory.is_connected(name)) else {
        let message = format!(
            "no instance of participant `{}` is connected",
            clean_text(name.clone(), 64)
        );
        return Err(Refusal::new(Code::NotConnected, message));
    };
    let actions = stored_actions(&row);
    let names = |compensation: bool| {
        let of_kind = actions
            .iter()
            .filter(move |action| action.compensation == compensation);
        of_kind
            .map(|action| action.name.as_str())
            .collect::<Vec<_>>()
    };
    let serves = |field: &str, asked: &str, served: Vec<&str>| {
        if served.contains(&asked) {
            return Ok(());
        }
        let asked = clean_text(asked.to_owned(), 64);
        Err(malformed(format!(
            "{field}: {name} serves no `{asked}`; it serves {}",
            served.join(", ")
        )))
    };
    serves("action", &target.action, names(false))?;
    target
        .compensation
        .as_ref()
        .map_or(Ok(()), |asked| serves("compensation", asked, names(true)))
}

fn to_wire(verdict: Verdict) -> wire::HazardVerdict {
    let word = match verdict.judged {
        Judged::Pass => "pass",
        Judged::Fail => "fail",
        Judged::NotApplicable => "not_applicable",
    };
    let exchange = |Exchange {
                        sent,
                        came,
                        expected,
                        ok,
                    }| wire::Exchange {
        sent,
        came,
        expected,
        ok,
    };
    wire::HazardVerdict {
        hazard: verdict.hazard.to_owned(),
        rule: verdict.rule.to_owned(),
        verdict: word.to_owned(),
        note: verdict.note,
        test_id: verdict.test.to_bytes().to_vec().into(),
        exchanges: verdict.exchanges.into_iter().map(exchange).collect(),
    }
}
