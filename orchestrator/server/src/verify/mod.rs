//! Tries a live participant: sends it what a broker, a crash or an impatient orchestrator may send, and says whether it
//! answers as it must.
//!
//! The commands belong to no saga. Their ids begin with `7TEST0SAGA` and can be those of no saga; what comes back is kept
//! away from the lanes (`lane/probes.rs`) and is journaled nowhere. What can be seen is what a participant *says*: one
//! that acts twice and answers the second time as it did the first is not found out.
//!
//! In reading order: `hazards.rs` (what is tried), `stage.rs` (commands and replies).

mod hazards;
mod stage;

use std::{sync::Arc, time::Duration};

use saga_core::{Payload, SagaId};
use saga_dsl::{builder, plan::Plan};
use tokio::sync::{mpsc, oneshot};

use saga_engine::{
    lane::{self, intake::Intake},
    link::Link,
};
use stage::{Stage, Stop};

/// An action that nobody serves.
const STRANGER: &str = "saga_verify_unknown";

/// What is tried.
#[derive(Debug, Clone)]
pub struct Target {
    /// The participant.
    pub participant: String,
    /// Its action, without its name.
    pub action: String,
    /// What undoes it.
    pub compensation: Option<String>,
    /// What the action succeeds with.
    pub input: Payload,
    /// How long a reply may take.
    pub wait: Duration,
}

/// What a participant did about one hazard.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Stable name.
    pub hazard: &'static str,
    /// What must hold.
    pub rule: &'static str,
    /// Whether it did.
    pub judged: Judged,
    /// Why it is no pass; empty for one.
    pub note: String,
    /// The saga id of its commands.
    pub test: SagaId,
    /// What was sent and what came, in order.
    pub exchanges: Vec<Exchange>,
}

/// How a hazard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// The rule held.
    Pass,
    /// It did not.
    Fail,
    /// It could not be tried.
    NotApplicable,
}

/// A command and its reply, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What was sent.
    pub sent: String,
    /// What came.
    pub came: String,
    /// What should have come.
    pub expected: String,
    /// Whether it did.
    pub ok: bool,
}

/// What all hazards of one run share.
struct Site {
    target: Target,
    plan: Arc<Plan>,
}

/// A run's id: its hazards have ids of their own, which differ from it in the last byte.
#[must_use]
pub fn run_id() -> SagaId {
    SagaId::for_test(uuid::Uuid::now_v7().as_u128() & !0xFF)
}

fn id_of(run: SagaId, hazard: usize) -> SagaId {
    SagaId::for_test(run.as_u128() | u128::try_from(hazard + 1).unwrap_or(0))
}

/// Tries every hazard, one after the other, until nobody wants to know any more.
///
/// # Errors
/// When a name is none that a saga file could hold.
pub async fn run(
    target: Target,
    run: SagaId,
    lane: &lane::Handle,
    verdicts: &mpsc::Sender<Verdict>,
) -> Result<(), builder::BuildError> {
    let plan = Arc::new(plan(&target)?);
    let site = Arc::new(Site { target, plan });
    for (number, hazard) in hazards::ALL.iter().enumerate() {
        let test = id_of(run, number);
        let mut stage = Stage::new(
            Arc::clone(&site),
            test,
            lane.probe(test),
            reach(lane, &site).await,
        );
        let ended = if stage.is_empty() {
            Err(Stop::Failed(
                "no instance of the participant is connected any more".to_owned(),
            ))
        } else if hazard.undoes && site.target.compensation.is_none() {
            Err(Stop::NotApplicable("no compensation was named".to_owned()))
        } else {
            (hazard.run)(&mut stage).await
        };
        stage.clean_up().await;
        let (judged, note) = match ended {
            Ok(()) => (Judged::Pass, String::new()),
            Err(Stop::Failed(note)) => (Judged::Fail, note),
            Err(Stop::NotApplicable(note)) => (Judged::NotApplicable, note),
        };
        let (hazard, rule) = (hazard.name, hazard.rule);
        let verdict = Verdict {
            hazard,
            rule,
            judged,
            note,
            test,
            exchanges: stage.exchanges(),
        };
        if verdicts.send(verdict).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn reach(lane: &lane::Handle, site: &Site) -> Vec<Arc<dyn Link>> {
    let (answer, answered) = oneshot::channel();
    let participant = site.target.participant.clone();
    if lane
        .send(Intake::Reach {
            participant,
            answer,
        })
        .await
        .is_err()
    {
        return Vec::new();
    }
    answered.await.unwrap_or_default()
}

/// Commands are made of plans; this one is never stored, deployed or run.
fn plan(target: &Target) -> Result<Plan, builder::BuildError> {
    let name = |action: &str| format!("{}/{action}", target.participant);
    let limit = format!("{}ms", target.wait.as_millis().max(1));
    let verify = builder::step("verify")
        .action(&name(&target.action))
        .timeout(&limit);
    let verify = match &target.compensation {
        Some(compensation) => verify.compensation(&name(compensation)),
        None => verify.no_compensation("none was named"),
    };
    let stranger = builder::step("stranger")
        .action(&name(STRANGER))
        .timeout(&limit)
        .no_compensation("unknown");
    let definition = builder::Saga::new("verify_participant", 1)
        .step(verify)
        .step(stranger)
        .build()?;
    Plan::from_definition(definition).map_err(|error| builder::BuildError {
        place: error.place,
        message: error.message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hazard_has_an_id_of_its_own_that_no_saga_has() {
        let run = run_id();
        let mut ids: Vec<_> = (0..hazards::ALL.len())
            .map(|hazard| id_of(run, hazard))
            .collect();
        assert!(ids.iter().all(|id| id.is_test()) && !ids.contains(&run));
        ids.dedup();
        assert_eq!(ids.len(), hazards::ALL.len());
    }

    #[test]
    fn a_name_that_no_file_could_hold_is_refused() {
        let target = Target {
            participant: "hotels".to_owned(),
            action: "Reserve a room".to_owned(),
            compensation: None,
            input: Payload::from_value(serde_json::json!({})),
            wait: Duration::from_secs(1),
        };
        assert!(plan(&target).is_err());
        assert!(
            plan(&Target {
                action: "reserve".to_owned(),
                ..target
            })
            .is_ok()
        );
    }
}
