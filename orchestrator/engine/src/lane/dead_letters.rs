//! Commands that a broker gave up to deliver: whoever took the message died of it, or sent it back.
//!
//! In a message with many commands one may be the culprit, and nobody knows which; a culprit also takes along what its
//! process had beside it, in other messages. So each is sent once more as the same attempt: alone, and of one participant
//! one at a time, so that whoever dies dies of that one. Given up a second time, a command counts as unknown, and further
//! attempts at the same go alone at once. A command in the plain form travelled alone from the beginning: it counts as
//! unknown at once, unless somebody sent it back.
//!
//! Nothing of this is journaled. The command is outstanding by the journal before, between and after: a process that dies
//! here leaves the dead letter unacknowledged or the command outstanding, and whoever comes after it sends the command
//! again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use saga_core::{
    ErrorBody, Op, SagaId, Timestamp,
    command::{addressee, may_repeat, outstanding_at, timeout_ms},
    effect::Command,
    state::ActionState,
};
use saga_dsl::plan::StepIx;

use super::{
    intake::{GivenUp, LostCommand, Receipt},
    links::Outbox,
    slot::{Route, Slot, Suspected, seconds},
    worker::Worker,
};
use crate::link::Outgoing;

/// Suspects by participant.
pub(super) type Wards = BTreeMap<String, Ward>;

/// The suspects of one participant.
#[derive(Default)]
pub(super) struct Ward {
    waiting: VecDeque<Suspect>,
    /// Sent alone, and neither answered nor given up yet.
    out: Option<Suspect>,
}

/// A command that was given up once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suspect {
    id: SagaId,
    step: StepIx,
    round: u32,
    op: Op,
    attempt: u32,
    /// When it went out first.
    since: Timestamp,
    deaths: u32,
}

impl Suspect {
    fn is(&self, route: &Route) -> bool {
        let of = |r: &Route| (r.step, r.op, r.round, r.attempt);
        of(route) == (self.step, self.op, self.round, self.attempt)
    }
}

impl Worker {
    pub(super) fn take_dead(
        &mut self,
        dead: Vec<LostCommand>,
        given_up: GivenUp,
        receipt: &Receipt,
    ) {
        for mut dead in dead {
            if self.suspect(&dead, given_up) {
                receipt.clone().part_done();
            } else {
                self.tell_deaths(&mut dead, given_up);
                self.take_lost(dead, Some(receipt.clone()));
            }
        }
        self.attend_wards();
    }

    /// Lets it wait for its turn to be sent alone. False when it counts as lost.
    fn suspect(&mut self, dead: &LostCommand, given_up: GivenUp) -> bool {
        let id = dead.saga_id;
        let Some(slot) = self.sagas.get_mut(&id) else {
            return false;
        };
        let Some(step) = slot.plan.step_ix(&dead.step) else {
            return false;
        };
        if waits_for_somebody(slot, step, dead) {
            return true;
        }
        if !given_up.packed && given_up.deliveries.is_some() {
            return false;
        }
        let Some((
            route,
            Command {
                round, op, attempt, ..
            },
        )) = first_time(slot, step, dead)
        else {
            return false;
        };
        let Some((participant, _)) = addressee(&slot.plan, step, op) else {
            return false;
        };
        let deaths = given_up.deliveries.unwrap_or(0);
        let suspect = Suspect {
            id,
            step,
            round,
            op,
            attempt,
            since: route.since,
            deaths,
        };
        self.wards
            .entry(participant.to_owned())
            .or_default()
            .waiting
            .push_back(suspect);
        slot.unroute(step, op, round, attempt);
        // It is on no wire until its turn comes.
        if let Some(step) = slot.state.steps.get_mut(step.at()) {
            step.suspend_limit();
        }
        self.rearm(id);
        true
    }

    /// A further attempt at what was given up before waits for its turn, so that it does not take along who waits there.
    pub(super) fn send_in_turn(&mut self, command: &Command) -> bool {
        let Some(slot) = self.sagas.get_mut(&command.saga_id) else {
            return false;
        };
        let Command {
            saga_id: id,
            step,
            round,
            op,
            attempt,
            ..
        } = *command;
        let Some(Suspected { since, deaths, .. }) = slot.suspected(step, op) else {
            return false;
        };
        if !may_repeat(&slot.plan, step, op) {
            return false;
        }
        let Some((participant, _)) = addressee(&slot.plan, step, op) else {
            return false;
        };
        let suspect = Suspect {
            id,
            step,
            round,
            op,
            attempt,
            since,
            deaths,
        };
        self.wards
            .entry(participant.to_owned())
            .or_default()
            .waiting
            .push_back(suspect);
        if let Some(step) = slot.state.steps.get_mut(step.at()) {
            step.suspend_limit();
        }
        self.rearm(id);
        true
    }

    /// Sends the next suspect of every participant that has none on its way.
    pub(super) fn attend_wards(&mut self) {
        if self.wards.is_empty() {
            return;
        }
        let mut wards = std::mem::take(&mut self.wards);
        let mut outbox = Outbox::default();
        for (participant, ward) in &mut wards {
            if ward
                .out
                .as_ref()
                .is_some_and(|suspect| self.is_out(suspect))
            {
                continue;
            }
            ward.out = None;
            while let Some(suspect) = ward.waiting.pop_front() {
                if self.send_alone(participant, &suspect, &mut outbox) {
                    ward.out = Some(suspect);
                    break;
                }
            }
        }
        wards.retain(|_, ward| ward.out.is_some());
        self.wards = wards;
        outbox.send();
    }

    /// Is it on the wire, alone, and still waited for?
    fn is_out(&self, suspect: &Suspect) -> bool {
        let Suspect {
            step,
            op,
            round,
            attempt,
            ..
        } = *suspect;
        self.sagas.get(&suspect.id).is_some_and(|slot| {
            slot.awaits(step, op, round, attempt)
                && slot
                    .routes
                    .iter()
                    .any(|route| route.alone && suspect.is(route))
        })
    }

    /// Sends it once more, by itself, with a limit that runs anew. False when there is nothing to send, or nobody to send
    /// it to.
    fn send_alone(&mut self, participant: &str, suspect: &Suspect, outbox: &mut Outbox) -> bool {
        let Suspect {
            id,
            step,
            round,
            op,
            attempt,
            since,
            deaths,
        } = *suspect;
        let Some(slot) = self.sagas.get_mut(&id) else {
            return false;
        };
        // Overtaken by an answer, an operator, or another sending. An earlier attempt, whose time is over, may still have its
        // route.
        if slot.routes.iter().any(|route| suspect.is(route))
            || !slot.awaits(step, op, round, attempt)
        {
            return false;
        }
        let plan = Arc::clone(&slot.plan);
        let Some(command) = outstanding_at(&plan, &slot.state, step) else {
            return false;
        };
        let Some((_, action)) = addressee(&plan, step, op) else {
            return false;
        };
        let Some(link) = self.links.pick(participant, action, op) else {
            // As after a restart: on no wire, and sent when somebody comes.
            self.links.await_resend(participant, id);
            return false;
        };
        tracing::info!(saga_id = %id, step = step.0, attempt, "a dead letter is sent again, alone");
        let limit = self.clock.now().plus_ms(timeout_ms(&plan, step, op));
        slot.state.set_limit(step, op, limit);
        slot.route(Route {
            link: link.number(),
            step,
            round,
            op,
            attempt,
            since,
            alone: true,
            deaths,
        });
        outbox.push(
            &link,
            Outgoing {
                plan: Arc::clone(&plan),
                command,
                alone: true,
            },
        );
        self.rearm(id);
        true
    }

    /// Says of a command that kills whoever takes it how often it did so, as far as the broker can tell.
    fn tell_deaths(&mut self, dead: &mut LostCommand, given_up: GivenUp) {
        let Some(slot) = self.sagas.get_mut(&dead.saga_id) else {
            return;
        };
        let Some(step) = slot.plan.step_ix(&dead.step) else {
            return;
        };
        let LostCommand {
            round, op, attempt, ..
        } = *dead;
        let same = |r: &&Route| (r.step, r.op, r.round, r.attempt) == (step, op, round, attempt);
        let Some(&route) = slot.routes.iter().find(same) else {
            return;
        };
        // Who counts deliveries sends back what was delivered once when it was sent alone; the broker calls that a return.
        let killed = route.deaths + given_up.deliveries.unwrap_or(0) > 0;
        let last = given_up.deliveries.unwrap_or(u32::from(route.alone));
        let deaths = if killed { route.deaths + last } else { 0 };
        slot.suspect(Suspected {
            step,
            op,
            since: route.since,
            deaths,
        });
        if !killed {
            return;
        }
        let span_ms =
            u64::try_from(self.clock.now().0.saturating_sub(route.since.0)).unwrap_or(0) / 1_000;
        dead.error = ErrorBody::new(
            "instances_lost",
            format!(
                "taken {deaths} times within {}, and each time gone before it answered: it may kill the process that \
                 takes it",
                seconds(span_ms)
            ),
        );
    }
}

/// Is the command on no wire, as after a restart? Then it is sent when somebody comes, and the letter tells nothing new.
fn waits_for_somebody(slot: &Slot, step: StepIx, dead: &LostCommand) -> bool {
    let of = (step, dead.op, dead.round, dead.attempt);
    let routed = slot
        .routes
        .iter()
        .any(|r| (r.step, r.op, r.round, r.attempt) == of);
    !routed && slot.state.rests(step, dead.op) && outstanding(slot, step, dead).is_some()
}

/// The command that was given up and the way it went, if it is on the wire and was not given up before.
fn first_time(slot: &Slot, step: StepIx, dead: &LostCommand) -> Option<(Route, Command)> {
    let LostCommand {
        round, op, attempt, ..
    } = *dead;
    let same = |r: &&Route| (r.step, r.op, r.round, r.attempt) == (step, op, round, attempt);
    let route = slot.routes.iter().find(same).filter(|route| !route.alone)?;
    Some((*route, outstanding(slot, step, dead)?))
}

/// The command that was given up, if it is what is outstanding and may be repeated.
fn outstanding(slot: &Slot, step: StepIx, dead: &LostCommand) -> Option<Command> {
    let accepted = matches!(
        slot.state.steps.get(step.at())?.action,
        ActionState::Sent { accepted: true, .. }
    );
    if accepted || !may_repeat(&slot.plan, step, dead.op) {
        return None;
    }
    let command = outstanding_at(&slot.plan, &slot.state, step)?;
    let is = (command.round, command.op, command.attempt) == (dead.round, dead.op, dead.attempt);
    is.then_some(command)
}
