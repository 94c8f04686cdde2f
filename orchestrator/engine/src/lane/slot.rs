//! An open saga in the lane's memory.

use std::sync::Arc;

use saga_core::{
    ErrorBody, Op, SagaState, Timestamp,
    command::{addressee, outstanding_at},
    effect::Command,
    input::{Outcome, Reply},
    state::{ActionState, Ask, StepState, UndoState},
};
use saga_dsl::plan::{Plan, StepIx};
use tokio::sync::watch;

use super::intake::Listener;
use crate::store::record::Face;

/// How long a saga's timers rest after trouble, at first and at most, in milliseconds.
const HELD_MS_MIN: u64 = 1_000;
const HELD_MS_MAX: u64 = 60_000;

pub(super) struct Slot {
    pub(super) plan: Arc<Plan>,
    /// As decided; its last decisions may not be committed yet.
    pub(super) state: SagaState,
    /// Decisions that are committed.
    pub(super) committed: u64,
    /// The saga's entry among the timers.
    pub(super) armed: Option<Timestamp>,
    /// A `Due` of this saga is in the queue. It has no entry among the timers until that is decided.
    pub(super) due_waits: bool,
    /// After trouble: its timers rest until then.
    held_until: Timestamp,
    /// And the next time for so long.
    held_ms: u64,
    /// Some of its steps ask participants with limits or breakers.
    pub(super) guarded: bool,
    /// Its commands that count there.
    pub(super) tickets: Vec<Ticket>,
    /// The last of each kind that ended, should that be taken back.
    pub(super) ended: Vec<Ticket>,
    /// Its steps that wait there.
    pub(super) held: Vec<(StepIx, Op)>,
    /// Which command went over which link.
    pub(super) routes: Vec<Route>,
    /// Connections that were lost since a step was last answered.
    losses: Vec<Losses>,
    /// What a broker gave up since a step was last answered: it may kill whoever takes it.
    suspected: Vec<Suspected>,
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
    /// When it went out first.
    pub(super) since: Timestamp,
    /// It was given up once, and went out again by itself.
    pub(super) alone: bool,
    /// So often was it delivered before to somebody who was gone before it was answered.
    pub(super) deaths: u32,
}

/// A step whose commands a broker gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Suspected {
    pub(super) step: StepIx,
    pub(super) op: Op,
    /// When the first of them went out.
    pub(super) since: Timestamp,
    /// So often was one delivered to somebody who was gone before it was answered.
    pub(super) deaths: u32,
}

/// Connections that ended one after the other with the same step's command on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Losses {
    step: StepIx,
    op: Op,
    count: u32,
    /// The longest time from the sending of the command to the end of the connection, in milliseconds.
    longest_ms: u64,
}

/// A command that counts at a guarded participant, from its decision to the one that ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) step: StepIx,
    pub(super) op: Op,
    pub(super) round: u32,
    pub(super) attempt: u32,
    /// Of its breaker; 0: it is not known to which it belongs.
    pub(super) generation: u64,
    /// Its end counted before the batch was taken back, and does not count again.
    pub(super) spent: bool,
}

impl Ticket {
    /// For the last sending at a step.
    pub(super) fn of(state: &SagaState, step: StepIx, op: Op, generation: u64) -> Self {
        let (round, attempt) = state.steps.get(step.at()).map_or((0, 0), |at| match op {
            Op::Action => (at.round, at.attempts),
            Op::Compensation => (at.round, at.undo_attempts),
            Op::Query | Op::Seal => (at.round, at.asks),
        });
        Self {
            step,
            op,
            round,
            attempt,
            generation,
            spent: false,
        }
    }

    /// Is it for the same command?
    pub(super) fn same(self, other: Self) -> bool {
        Self {
            generation: other.generation,
            spent: other.spent,
            ..self
        } == other
    }
}

impl Slot {
    pub(super) fn new(plan: Arc<Plan>, state: SagaState, committed: u64) -> Self {
        Self {
            plan,
            state,
            committed,
            armed: None,
            due_waits: false,
            held_until: Timestamp(0),
            held_ms: HELD_MS_MIN,
            guarded: false,
            tickets: Vec::new(),
            ended: Vec::new(),
            held: Vec::new(),
            routes: Vec::new(),
            losses: Vec::new(),
            suspected: Vec::new(),
            listener: None,
            watch: None,
        }
    }

    /// When the saga is to be looked at next.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.state.next_due().map(|due| due.max(self.held_until))
    }

    /// Lets the saga's timers rest, longer each time.
    pub(super) fn hold(&mut self, now: Timestamp) {
        self.held_until = now.plus_ms(self.held_ms);
        self.held_ms = (self.held_ms * 2).min(HELD_MS_MAX);
    }

    /// The participants that its steps wait for.
    pub(super) fn awaited(&self) -> Vec<String> {
        let waiting = |step: &StepState| match (&step.undo, &step.action) {
            (UndoState::Waiting { .. }, _) => Some(Op::Compensation),
            (_, ActionState::Waiting { .. }) => Some(Op::Action),
            (
                _,
                ActionState::Asking {
                    seal,
                    ask: Ask::Waiting,
                },
            ) => Some(if *seal { Op::Seal } else { Op::Query }),
            (
                UndoState::None
                | UndoState::Sent { .. }
                | UndoState::BackingOff { .. }
                | UndoState::Done { .. }
                | UndoState::Skipped
                | UndoState::Stuck { .. },
                ActionState::Pending
                | ActionState::Skipped
                | ActionState::Sent { .. }
                | ActionState::BackingOff { .. }
                | ActionState::Asking {
                    ask: Ask::Sent { .. } | Ask::Again { .. },
                    ..
                }
                | ActionState::Succeeded(_)
                | ActionState::Refused(_)
                | ActionState::Failed { .. }
                | ActionState::Sealed,
            ) => None,
        };
        let steps = (0..).map(StepIx).zip(&self.state.steps);
        let addressed = steps.filter_map(|(ix, step)| addressee(&self.plan, ix, waiting(step)?));
        addressed
            .map(|(participant, _)| participant.to_owned())
            .collect()
    }

    /// Notes that a connection ended with a command on it; what to say of it.
    pub(super) fn lose(&mut self, route: &Route, now: Timestamp) -> ErrorBody {
        let held_ms = u64::try_from(now.0.saturating_sub(route.since.0)).unwrap_or(0) / 1_000;
        let (step, op) = (route.step, route.op);
        let known = self
            .losses
            .iter()
            .position(|losses| (losses.step, losses.op) == (step, op));
        let at = known.unwrap_or_else(|| {
            self.losses.push(Losses {
                step,
                op,
                count: 0,
                longest_ms: 0,
            });
            self.losses.len() - 1
        });
        let losses = &mut self.losses[at];
        losses.count += 1;
        losses.longest_ms = losses.longest_ms.max(held_ms);
        match losses.count {
            1 => ErrorBody::new(
                "connection_lost",
                "the participant's connection ended before it answered",
            ),
            count => ErrorBody::new(
                "instances_lost",
                format!(
                    "{count} connections in a row ended within {} of taking it: it may kill the process that takes it",
                    seconds(losses.longest_ms)
                ),
            ),
        }
    }

    /// A step was answered: whoever took its command lives.
    pub(super) fn forget_losses(&mut self, step: StepIx, op: Op) {
        self.losses
            .retain(|losses| (losses.step, losses.op) != (step, op));
        self.suspected
            .retain(|suspected| (suspected.step, suspected.op) != (step, op));
    }

    /// A command of the step was given up for good.
    pub(super) fn suspect(&mut self, now: Suspected) {
        self.suspected
            .retain(|before| (before.step, before.op) != (now.step, now.op));
        self.suspected.push(now);
    }

    /// What is known of the step's commands that were given up, since it was last answered.
    pub(super) fn suspected(&self, step: StepIx, op: Op) -> Option<Suspected> {
        self.suspected
            .iter()
            .find(|suspected| (suspected.step, suspected.op) == (step, op))
            .copied()
    }

    /// Remembers where a command went; an earlier attempt at the same is forgotten.
    pub(super) fn route(&mut self, route: Route) {
        self.unroute(route.step, route.op, route.round, u32::MAX);
        self.routes.push(route);
    }

    /// A command is on no wire any more. If its limit rested, it has passed: should what follows from the loss come to
    /// nothing, since the store refuses the row, the saga still has a timer.
    pub(super) fn end_rest(
        &mut self,
        step: StepIx,
        op: Op,
        round: u32,
        attempt: u32,
        now: Timestamp,
    ) {
        if self.state.rests(step, op) && self.awaits(step, op, round, attempt) {
            self.state.set_limit(step, op, now);
        }
    }

    /// Is this very attempt outstanding? A route may be of an earlier one, whose time is over.
    pub(super) fn awaits(&self, step: StepIx, op: Op, round: u32, attempt: u32) -> bool {
        let is =
            |command: Command| (command.op, command.round, command.attempt) == (op, round, attempt);
        outstanding_at(&self.plan, &self.state, step).is_some_and(is)
    }

    /// Does it end the waiting for what was sent, with the saga as it is now? What comes from a stranger, answers nothing
    /// that was sent, or makes no sense there, does not: only the end of its wire tells then that a command is lost.
    pub(super) fn is_answered(&self, reply: &Reply, now: &SagaState) -> bool {
        let sent = Ticket::of(&self.state, reply.step, reply.op, 0);
        let asked = addressee(&self.plan, reply.step, reply.op);
        let is = |c: Command| (c.op, c.round, c.attempt) == (reply.op, reply.round, reply.attempt);
        asked.is_some_and(|(participant, _)| *participant == *reply.participant)
            && (reply.round, reply.attempt) <= (sent.round, sent.attempt)
            // An action that was accepted goes on whatever becomes of the wire. A compensation is at work on the wire it
            // came by: `accepted` only asks for more time.
            && ((reply.op == Op::Action && matches!(reply.outcome, Outcome::Accepted))
                || !outstanding_at(&self.plan, now, reply.step).is_some_and(is))
    }

    /// Forgets the commands of a step up to an attempt of a round: they are answered or overtaken.
    pub(super) fn unroute(&mut self, step: StepIx, op: Op, round: u32, attempt: u32) {
        self.routes
            .retain(|r| r.step != step || r.op != op || (r.round, r.attempt) > (round, attempt));
    }
}

/// A time in whole seconds, at least one.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}s", ms.div_ceil(1_000).max(1))
}

/// The listed face of a state.
pub(super) fn face(state: &SagaState) -> Face {
    let status = state.status;
    let (incident, exceptions) = (!state.incidents.is_empty(), state.exceptions);
    Face {
        status,
        incident,
        exceptions,
        ended_at: state.ended_at,
    }
}
