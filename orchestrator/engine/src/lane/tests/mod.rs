//! The lane against a real SQLite store, with participants played in the process.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod broken_roads;
mod circles;
mod clocks;
mod duplicates;
mod faults;
mod flaky;
mod flow;
mod idle;
/// The naive store that engines are compared with: a lane must not notice the difference.
#[path = "../../../../../tests/conformance/model.rs"]
mod model;
mod trouble;
mod wires;

use std::{sync::Arc, time::Duration};

use saga_core::{
    Op, Partition, Payload, SagaId, Status,
    input::{Outcome, Start},
};
use saga_dsl::{
    builder::{Saga, step},
    plan::Plan,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Handle, Settings,
    intake::{End, Ended, Incoming, Intake, Listener, StartJob, Started},
};
use model::Model;

use crate::{
    definitions::Definitions,
    link::{Link, Outgoing},
    store::Lanes,
};

/// A link whose other end is in the test.
pub(super) struct TestLink {
    number: u64,
    participant: String,
    actions: Vec<String>,
    sent: mpsc::UnboundedSender<Outgoing>,
}

impl Link for TestLink {
    fn number(&self) -> u64 {
        self.number
    }
    fn participant(&self) -> &str {
        &self.participant
    }
    fn actions(&self) -> &[String] {
        &self.actions
    }
    fn transactional(&self) -> bool {
        true
    }
    fn send(&self, commands: Vec<Outgoing>) {
        for command in commands {
            self.sent.send(command).ok();
        }
    }
}

pub(super) async fn connect(
    lane: &Handle,
    number: u64,
    participant: &str,
) -> mpsc::UnboundedReceiver<Outgoing> {
    let (sent, received) = mpsc::unbounded_channel();
    let actions = ["a", "b", "undo_a", "undo_b"].map(str::to_owned).to_vec();
    let link = TestLink {
        number,
        participant: participant.into(),
        actions,
        sent,
    };
    lane.send(Intake::Connected(Arc::new(link)))
        .await
        .expect("the lane runs");
    received
}

/// Two steps, each with an undo, at the participant `p`.
pub(super) fn plan() -> Arc<Plan> {
    let definition = Saga::new("two_steps", 1)
        .step(step("first").action("p/a").compensation("p/undo_a"))
        .step(step("second").action("p/b").compensation("p/undo_b"))
        .build()
        .expect("a valid definition");
    Arc::new(Plan::from_definition(definition).expect("a valid plan"))
}

pub(super) fn definitions(plan: &Arc<Plan>) -> Arc<Definitions> {
    let definitions = Definitions::default();
    definitions.insert(Arc::clone(plan));
    Arc::new(definitions)
}

/// What a lane leaves behind for the next one.
pub(super) type Disk = Arc<Model>;

pub(super) async fn lane(disk: &Disk, plan: &Arc<Plan>) -> (Handle, tokio::task::JoinHandle<()>) {
    let store: Arc<dyn Lanes> = Arc::clone(disk) as _;
    super::spawn(store, definitions(plan), Settings::default())
        .await
        .expect("a lane")
}

pub(super) fn id(n: u64) -> SagaId {
    SagaId::new(1_700_000_000_000, Partition(3), n)
}

/// A start, with the receivers of its beginning and of its end.
pub(super) fn start(
    plan: &Arc<Plan>,
    id: SagaId,
    key: Option<&str>,
) -> (
    StartJob,
    oneshot::Receiver<Started>,
    mpsc::UnboundedReceiver<Ended>,
) {
    let (started, is_started) = oneshot::channel();
    let (sink, ended) = mpsc::unbounded_channel();
    let input = Payload::from_bytes(b"{}").expect("JSON");
    let job = StartJob {
        id,
        plan: Arc::clone(plan),
        start: Start {
            input,
            key: key.map(Into::into),
            labels: Default::default(),
        },
        input_hash: [7; 32],
        started: Some(started),
        ended: Some(Listener { tag: 1, sink }),
        waits: Default::default(),
        holds: Default::default(),
    };
    (job, is_started, ended)
}

pub(super) fn reply(to: &Outgoing, outcome: Outcome) -> Incoming {
    let command = &to.command;
    let planned = to.plan.step(command.step).expect("a step of the plan");
    Incoming {
        saga_id: command.saga_id,
        step: planned.id.clone(),
        round: command.round,
        op: command.op,
        attempt: command.attempt,
        participant: planned.action.participant.as_str().into(),
        outcome,
    }
}

pub(super) fn success(to: &Outgoing) -> Outcome {
    match to.command.op {
        Op::Compensation => Outcome::Compensated,
        Op::Action | Op::Query | Op::Seal => {
            Outcome::Succeeded(Payload::from_bytes(br#"{"ok":true}"#).expect("JSON"))
        }
    }
}

/// Waits, but not for ever.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = Option<T>>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect(what)
        .expect(what)
}

pub(super) fn status(ended: &Ended) -> Status {
    match &ended.end {
        End::Over { status, .. } => *status,
        End::NotNew(started) => panic!("not started: {started:?}"),
    }
}
