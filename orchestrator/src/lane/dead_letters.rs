//! Commands that a broker gave up to deliver: whoever took the message died of it, or sent it back.
//!
//! In a message with many commands one may be the culprit, and nobody knows which. So each is sent once more, alone and
//! as the same attempt; the culprit comes back a second time, and only it counts as unknown. Nothing of this is
//! journaled. The command is outstanding by the journal before, between and after: a process that dies here leaves the
//! dead letter unacknowledged or the command outstanding, and whoever comes after it sends the command again.

use std::sync::Arc;

use saga_core::{
    command::{addressee, may_repeat, outstanding_at, timeout_ms},
    effect::Command,
    state::ActionState,
};
use saga_dsl::plan::StepIx;

use super::{
    intake::{LostCommand, Receipt},
    links::Outbox,
    slot::{Route, Slot},
    worker::Worker,
};
use crate::transport::Outgoing;

impl Worker {
    pub(super) fn take_dead(&mut self, dead: Vec<LostCommand>, receipt: &Receipt) {
        let mut outbox = Outbox::default();
        for dead in dead {
            if self.send_alone(&dead, &mut outbox) {
                receipt.clone().part_done();
            } else {
                self.take_lost(dead, Some(receipt.clone()));
            }
        }
        outbox.send();
    }

    /// Sends it once more, by itself, with a limit that runs anew. False when it counts as lost.
    fn send_alone(&mut self, dead: &LostCommand, outbox: &mut Outbox) -> bool {
        let id = dead.saga_id;
        let Some(slot) = self.sagas.get_mut(&id) else { return false };
        let Some(step) = slot.plan.step_ix(&dead.step) else { return false };
        if waits_for_somebody(slot, step, dead) {
            return true;
        }
        let Some(command) = first_time(slot, step, dead) else { return false };
        let Command { step, round, op, attempt, .. } = command;
        let plan = Arc::clone(&slot.plan);
        let Some((participant, action)) = addressee(&plan, step, op) else { return false };
        slot.unroute(step, op, round, attempt);
        if let Some(link) = self.links.pick(participant, action, op) {
            tracing::info!(saga_id = %id, step = dead.step, attempt, "a dead letter is sent again, alone");
            let limit = self.clock.now().plus_ms(timeout_ms(&plan, step, op));
            slot.state.set_limit(step, op, limit);
            slot.route(Route { link: link.number(), step, round, op, attempt, alone: true });
            outbox.push(&link, Outgoing { plan: Arc::clone(&plan), command, alone: true });
        } else {
            // As after a restart: on no wire, and sent when somebody comes.
            if let Some(step) = slot.state.steps.get_mut(step.at()) {
                step.suspend_limit();
            }
            self.links.await_resend(participant, id);
        }
        self.rearm(id);
        true
    }
}

/// Is the command on no wire, as after a restart? Then it is sent when somebody comes, and the letter tells nothing new.
fn waits_for_somebody(slot: &Slot, step: StepIx, dead: &LostCommand) -> bool {
    let routed = slot.routes.iter().any(|route| (route.step, route.op) == (step, dead.op));
    !routed && slot.state.rests(step, dead.op) && outstanding(slot, step, dead).is_some()
}

/// The command that was given up, if it is on the wire and was not given up before.
fn first_time(slot: &Slot, step: StepIx, dead: &LostCommand) -> Option<Command> {
    let LostCommand { round, op, attempt, .. } = *dead;
    let same = |r: &&Route| (r.step, r.op, r.round, r.attempt) == (step, op, round, attempt);
    slot.routes.iter().find(same).filter(|route| !route.alone)?;
    outstanding(slot, step, dead)
}

/// The command that was given up, if it is what is outstanding and may be repeated.
fn outstanding(slot: &Slot, step: StepIx, dead: &LostCommand) -> Option<Command> {
    let accepted =
        matches!(slot.state.steps.get(step.at())?.action, ActionState::Sent { accepted: true, .. });
    if accepted || !may_repeat(&slot.plan, step, dead.op) {
        return None;
    }
    let command = outstanding_at(&slot.plan, &slot.state, step)?;
    let is = (command.round, command.op, command.attempt) == (dead.round, dead.op, dead.attempt);
    is.then_some(command)
}
