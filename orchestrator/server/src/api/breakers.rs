//! `ListBreakers`, `TripBreaker`, `ResetBreaker`: circuit breakers as the lane has them.

use saga_core::SagaId;
use saga_dsl::{names, near_miss::near_miss};
use saga_proto::v1 as wire;
use tokio::sync::oneshot;

use super::{
    Api,
    error::{Code, Refusal},
    sizes,
    steering::{REASON_BYTES_MAX, needs_reason, who},
};
use saga_engine::{
    breaker::Phase,
    directory::stored_actions,
    document::clean_text,
    lane::intake::{BreakerJob, BreakerOrder, BreakerReport, BreakerSteered, Intake, PostReport},
};

pub(super) async fn list_breakers(
    api: &Api,
    request: &wire::ListBreakersRequest,
) -> Result<wire::ListBreakersResponse, Refusal> {
    let mut reports = reports(api).await?;
    reports.sort_unstable_by(|a, b| (&a.participant, &a.action).cmp(&(&b.participant, &b.action)));
    // The token is the last breaker of the page before: `participant/action`.
    let after = request.page_token.split_once('/').unwrap_or_default();
    let rest = reports
        .iter()
        .filter(|report| (&*report.participant, &*report.action) > after);
    let (breakers, more) = sizes::page(rest.map(breaker), request.page_size);
    let next = breakers
        .last()
        .filter(|_| more)
        .map(|last| format!("{}/{}", last.participant, last.action));
    Ok(wire::ListBreakersResponse {
        next_page_token: next.unwrap_or_default(),
        breakers,
    })
}

pub(super) async fn trip_breaker(
    api: &Api,
    request: wire::TripBreakerRequest,
    from: &str,
) -> Result<wire::Breaker, Refusal> {
    let wire::TripBreakerRequest {
        participant,
        action,
        for_ms,
        reason,
        by,
    } = request;
    needs_reason(&reason)?;
    is_known(api, &participant, &action).await?;
    let order = BreakerOrder::Trip {
        for_ms: (for_ms > 0).then_some(for_ms),
    };
    steer(api, (participant, action), order, (reason, who(&by, from))).await
}

pub(super) async fn reset_breaker(
    api: &Api,
    request: wire::ResetBreakerRequest,
    from: &str,
) -> Result<wire::Breaker, Refusal> {
    let wire::ResetBreakerRequest {
        participant,
        action,
        reason,
        by,
    } = request;
    needs_reason(&reason)?;
    is_known(api, &participant, &action).await?;
    steer(
        api,
        (participant, action),
        BreakerOrder::Reset,
        (reason, who(&by, from)),
    )
    .await
}

/// Every limit, from the lane, and the place of a saga among those that wait for it.
pub(super) async fn posts(api: &Api, saga: Option<SagaId>) -> Result<Vec<PostReport>, Refusal> {
    let (answer, answered) = oneshot::channel();
    let ask = Intake::Posts { saga, answer };
    api.parts().lane.send(ask).await?;
    answered.await.map_err(|_| api.closed())
}

/// The limits of a participant as its definitions and the server's file have them.
pub(super) fn limits(api: &Api, post: &PostReport) -> Vec<wire::LimitInfo> {
    let settings = api.parts().definitions.settings_of(&post.participant);
    settings
        .into_iter()
        .filter(|(setting, ..)| *setting != "circuit_breaker")
        .map(|(setting, value, owner)| wire::LimitInfo {
            setting: setting.to_owned(),
            value,
            owner,
            in_flight: post.in_flight,
            waiting: u64::try_from(post.waiting).unwrap_or(u64::MAX),
        })
        .collect()
}

/// Every breaker, from the lane.
pub(super) async fn reports(api: &Api) -> Result<Vec<BreakerReport>, Refusal> {
    let (answer, answered) = oneshot::channel();
    api.parts().lane.send(Intake::Breakers(answer)).await?;
    answered.await.map_err(|_| api.closed())
}

async fn steer(
    api: &Api,
    (participant, action): (String, String),
    order: BreakerOrder,
    (reason, by): (String, String),
) -> Result<wire::Breaker, Refusal> {
    let (answer, answered) = oneshot::channel();
    let name = format!("{participant}/{action}");
    let reason = clean_text(reason, REASON_BYTES_MAX);
    let job = BreakerJob {
        participant,
        action,
        order,
        by,
        reason,
        answer,
    };
    api.parts().lane.send(Intake::SteerBreaker(job)).await?;
    match answered.await.map_err(|_| api.no_answer())? {
        BreakerSteered::Done(report) => Ok(breaker(&report)),
        BreakerSteered::NotOpen => Err(Refusal::new(
            Code::BreakerNotOpen,
            format!("the breaker of {name} is not open"),
        )),
    }
}

/// A name that nobody knows is misspelt: a breaker that holds nothing back helps nobody.
async fn is_known(api: &Api, participant: &str, action: &str) -> Result<(), Refusal> {
    for (field, name) in [("participant", participant), ("action", action)] {
        names::check_id(name).map_err(|why| {
            Refusal::new(
                Code::Malformed,
                format!("{field}: `{}`: {why}", clean_text(name.to_owned(), 64)),
            )
        })?;
    }
    let mut known: Vec<String> = Vec::new();
    for plan in api.parts().definitions.all() {
        for step in &plan.steps {
            known.push(format!(
                "{}/{}",
                step.action.participant, step.action.action
            ));
            known.extend(
                step.compensation
                    .as_ref()
                    .map(|c| format!("{}/{}", c.participant, c.action)),
            );
        }
    }
    for row in api.parts().directory.known().await {
        known.extend(
            stored_actions(&row)
                .into_iter()
                .map(|action| format!("{}/{}", row.name, action.name)),
        );
    }
    let name = format!("{participant}/{action}");
    if known.contains(&name) {
        return Ok(());
    }
    let meant = near_miss(&name, known.iter().map(String::as_str));
    let meant = meant
        .map(|meant| format!("; did you mean `{meant}`?"))
        .unwrap_or_default();
    Err(Refusal::new(
        Code::NoSuchAction,
        format!("no definition and no participant has the action `{name}`{meant}"),
    ))
}

fn breaker(report: &BreakerReport) -> wire::Breaker {
    let state = match report.phase {
        Phase::Closed => wire::BreakerState::Closed,
        Phase::Open { .. } => wire::BreakerState::Open,
        Phase::HalfOpen { .. } => wire::BreakerState::HalfOpen,
        Phase::Recovering { .. } => wire::BreakerState::Recovering,
    };
    let until = match report.phase {
        Phase::Open { until } => until,
        Phase::Closed | Phase::HalfOpen { .. } | Phase::Recovering { .. } => None,
    };
    wire::Breaker {
        participant: report.participant.clone(),
        action: report.action.clone(),
        state: state.into(),
        since_us: report.face.since.0,
        open_until_us: until.map_or(0, |until| until.0),
        generation: report.face.generation,
        by: report.face.by.clone(),
        reason: report.face.reason.clone(),
        calls: report.calls,
        failed: report.failed,
        waiting: u64::try_from(report.waiting).unwrap_or(u64::MAX),
        policy: report.policy.map(|policy| wire::BreakerPolicy {
            failure_percent: policy.failure_percent.into(),
            window_ms: policy.window_ms,
            min_calls: policy.min_calls,
            open_for_ms: policy.open_for_ms,
            half_open_calls: policy.half_open_calls,
        }),
        now_us: report.now.0,
        last_error: report.last.as_ref().map(|last| wire::Fault {
            code: last.error.code.clone(),
            message: last.error.message.clone(),
            step: String::new(),
        }),
        last_error_times: report.last.as_ref().map_or(0, |last| last.times),
    }
}
