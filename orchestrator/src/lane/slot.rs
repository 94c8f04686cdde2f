//! An open saga in the lane's memory.

use std::sync::Arc;

use saga_core::{SagaState, Timestamp, input::Op};
use saga_dsl::plan::{Plan, StepIx};
use tokio::sync::watch;

use super::intake::Listener;
use crate::store::record::{Face, RowStatus};

pub(super) struct Slot {
    pub(super) plan: Arc<Plan>,
    /// As decided; its last decisions may not be committed yet.
    pub(super) state: SagaState,
    /// Decisions that are committed.
    pub(super) committed: u64,
    /// The saga's entry among the timers.
    pub(super) armed: Option<Timestamp>,
    /// Which command went over which link.
    pub(super) routes: Vec<Route>,
    /// Told when the saga has ended.
    pub(super) listener: Option<Listener>,
    /// Told after each commit.
    pub(super) watch: Option<watch::Sender<u64>>,
}

/// A command on a link, until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) link: u64,
    pub(super) step: StepIx,
    pub(super) round: u32,
    pub(super) op: Op,
    pub(super) attempt: u32,
}

impl Slot {
    pub(super) fn new(plan: Arc<Plan>, state: SagaState, committed: u64) -> Self {
        Self { plan, state, committed, armed: None, routes: Vec::new(), listener: None, watch: None }
    }

    /// Remembers where a command went; an earlier attempt at the same is forgotten.
    pub(super) fn route(&mut self, route: Route) {
        self.unroute(route.step, route.op, route.round, u32::MAX);
        self.routes.push(route);
    }

    /// Forgets the commands of a step up to an attempt of a round: they are answered or overtaken.
    pub(super) fn unroute(&mut self, step: StepIx, op: Op, round: u32, attempt: u32) {
        self.routes.retain(|r| r.step != step || r.op != op || (r.round, r.attempt) > (round, attempt));
    }
}

/// The listed face of a state.
pub(super) fn face(state: &SagaState) -> Face {
    let status = match state.status {
        saga_core::Status::Running => RowStatus::Running,
        saga_core::Status::Compensating => RowStatus::Compensating,
        saga_core::Status::Completed => RowStatus::Completed,
        saga_core::Status::Compensated => RowStatus::Compensated,
        saga_core::Status::Abandoned => RowStatus::Abandoned,
    };
    let (incident, exceptions) = (!state.incidents.is_empty(), state.exceptions);
    Face { status, incident, exceptions, ended_at: state.ended_at }
}
