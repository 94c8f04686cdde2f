//! After a restart, or when the lane must doubt its memory: open sagas are folded from their journals by the same
//! function that live runs use, and what was outstanding is sent again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use saga_core::{
    ErrorBody, Input, Record, SagaId, SagaState, Wait, apply_record,
    command::{addressee, may_repeat, outstanding, timeout_ms},
    input::Lost,
    rules::Rule,
};

use super::{
    batch::{Job, Pending},
    intake::Listener,
    links::Outbox,
    slot::{Route, Slot, face},
    worker::Worker,
};
use crate::{
    definitions::Definitions,
    link::Link,
    store::{
        self,
        record::{ChangeRow, Face, JournalRow, SagaRow},
    },
};

/// Sagas read at a time.
const PAGE: usize = 500;

impl Worker {
    /// Loads every open saga.
    pub(super) async fn recover(&mut self) -> Result<(), store::Error> {
        let mut after = None;
        loop {
            let rows = self.store.open_sagas(after, PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.id);
            let ids = rows.iter().map(|row| row.id).collect();
            let journals = self.store.journals(ids).await?;
            for (row, journal) in rows.iter().zip(journals) {
                match fold(row, &journal, &self.definitions) {
                    Ok(slot) => {
                        let told = face(&slot.state);
                        if told != row.face {
                            // As after a damage that is mended: the journal counts, and the list follows it.
                            self.pending.mark(ChangeRow {
                                id: row.id,
                                face: told,
                            });
                        }
                        self.resume(slot);
                    }
                    Err(error) => self.cannot_load(row, error),
                }
            }
        }
        self.recount();
        if !self.sagas.is_empty() || !self.broken.is_empty() {
            tracing::info!(
                open = self.sagas.len(),
                broken = self.broken.len(),
                "open sagas loaded"
            );
        }
        Ok(())
    }

    /// Nothing is on the wire after a restart: limits rest until a command is sent again, which is when its
    /// participant connects.
    fn resume(&mut self, mut slot: Slot) {
        let id = slot.state.id;
        slot.state.suspend_limits();
        for command in outstanding(&slot.plan, &slot.state) {
            if let Some((participant, _)) = addressee(&slot.plan, command.step, command.op)
                && self.settings.rules.keep(Rule::SendAgain)
            {
                self.links.await_resend(participant, id);
            }
        }
        self.sagas.insert(id, slot);
        self.rearm(id);
        // What waits for the gate says so again.
        self.queue.push_back(Job::Input {
            id,
            input: Input::Wake,
            answer: None,
        });
    }

    /// One saga that cannot be loaded is an incident of its own and does not stop the others.
    fn cannot_load(&mut self, row: &SagaRow, error: ErrorBody) {
        tracing::error!(saga_id = %row.id, %error, "a saga cannot be loaded");
        if !row.face.incident {
            self.pending.mark(ChangeRow {
                id: row.id,
                face: Face {
                    incident: true,
                    ..row.face
                },
            });
        }
        self.broken.insert(row.id, error);
    }

    /// A participant can be reached: what waits for it may go, and what was sent by a process that is gone is sent again.
    pub(super) fn connected(&mut self, link: Arc<dyn Link>) {
        let participant = link.participant().to_owned();
        self.links.connect(link);
        let now = self.clock.now();
        self.guards
            .connected(&participant, self.links.gate_mut(), now);
        self.call_waiting();
        let mut outbox = Outbox::default();
        for id in self.links.take_unsent(&participant) {
            self.send_again(id, &participant, &mut outbox);
        }
        outbox.send();
        let waiting = self.links.take_waiting(&participant);
        for id in waiting
            .into_iter()
            .filter(|_| self.settings.rules.keep(Rule::WakeOnConnect))
        {
            self.queue.push_back(Job::Input {
                id,
                input: Input::Wake,
                answer: None,
            });
        }
    }

    /// A link in the place of another: what was sent over that one is answered over this one. Limits that rested run
    /// anew.
    pub(super) fn replaced(&mut self, old: u64, link: Arc<dyn Link>) {
        let number = link.number();
        self.links.disconnect(old);
        let now = self.clock.now();
        let mut awake = Vec::new();
        for (&id, slot) in &mut self.sagas {
            for route in slot.routes.iter_mut().filter(|route| route.link == old) {
                route.link = number;
                let (step, op) = (route.step, route.op);
                if slot.state.rests(step, op) {
                    slot.state
                        .set_limit(step, op, now.plus_ms(timeout_ms(&slot.plan, step, op)));
                    awake.push(id);
                }
            }
        }
        awake.into_iter().for_each(|id| self.rearm(id));
        self.connected(link);
    }

    /// Nothing travels over a link, so no answer can be late: the limits of what was sent over it rest.
    pub(super) fn suspended(&mut self, link: u64) {
        self.links.hold(link);
        let mut asleep = Vec::new();
        for (&id, slot) in &mut self.sagas {
            for at in 0..slot.routes.len() {
                let Route {
                    link: of,
                    step,
                    round,
                    op,
                    attempt,
                    ..
                } = slot.routes[at];
                if of != link || !slot.awaits(step, op, round, attempt) {
                    continue;
                }
                if let Some(step) = slot.state.steps.get_mut(step.at()) {
                    step.suspend_limit();
                    asleep.push(id);
                }
            }
        }
        asleep.into_iter().for_each(|id| self.rearm(id));
    }

    /// The broker went away, or came back, or takes nothing: whoever waits says anew for what.
    pub(super) fn broker(&mut self, unheard: Option<Wait>) {
        if self.links.set_unheard(unheard) {
            for id in self.links.take_all_waiting() {
                self.queue.push_back(Job::Input {
                    id,
                    input: Input::Wake,
                    answer: None,
                });
            }
        }
    }

    /// Sends what is outstanding at a participant and on no wire. A limit runs from the sending, so it begins anew.
    fn send_again(&mut self, id: SagaId, participant: &str, outbox: &mut Outbox) {
        let now = self.clock.now();
        let Some(slot) = self.sagas.get_mut(&id) else {
            return;
        };
        if slot.state.seq != slot.committed {
            // What is outstanding may not be committed yet, and then must not be sent; it is looked at again when it is.
            self.resend.push((participant.to_owned(), id));
            return;
        }
        let mut commands = Vec::new();
        for command in outstanding(&slot.plan, &slot.state) {
            let (step, op) = (command.step, command.op);
            let Some((to, action)) = addressee(&slot.plan, step, op) else {
                continue;
            };
            if to != participant {
                continue;
            }
            let routed = slot
                .routes
                .iter()
                .any(|route| route.step == step && route.op == op);
            // What may not be repeated waits for its limit as if it had been sent, and counts as unknown then.
            let repeats = !routed && may_repeat(&slot.plan, step, op);
            let link = if repeats {
                self.links.pick(participant, action, op)
            } else {
                None
            };
            if repeats && link.is_none() {
                // Nobody here serves it yet. It may have been sent before the restart, so it is not unsent: it waits.
                self.links.await_resend(participant, id);
                continue;
            }
            slot.state
                .set_limit(step, op, now.plus_ms(command.timeout_ms));
            commands.extend(link.map(|link| (link, command)));
        }
        self.rearm(id);
        for (link, command) in commands {
            self.send_over(&link, command, outbox);
        }
    }

    /// Sends again what had to wait for a commit to be known.
    pub(super) fn send_deferred(&mut self) {
        let mut outbox = Outbox::default();
        for (participant, id) in std::mem::take(&mut self.resend) {
            self.send_again(id, &participant, &mut outbox);
        }
        outbox.send();
    }

    /// What was sent over the link and not answered is lost: nobody can say what became of it.
    pub(super) fn disconnected(&mut self, link: u64) {
        self.links.disconnect(link);
        let now = self.clock.now();
        let mut lost_inputs = Vec::new();
        for (&id, slot) in &mut self.sagas {
            let mut at = 0;
            while at < slot.routes.len() {
                if slot.routes[at].link != link {
                    at += 1;
                    continue;
                }
                let route = slot.routes.swap_remove(at);
                slot.end_rest(route.step, route.op, route.round, route.attempt, now);
                let lost = Lost {
                    step: route.step,
                    round: route.round,
                    op: route.op,
                    attempt: route.attempt,
                    unsent: false,
                    error: slot.lose(&route, now),
                };
                lost_inputs.push((id, lost));
            }
        }
        // In an order that does not hang on the map's: the same run, the same journal.
        lost_inputs.sort_by_key(|(id, lost)| (*id, lost.step));
        for (id, lost) in lost_inputs {
            self.rearm(id);
            self.queue.push_back(Job::Input {
                id,
                input: Input::Lost(lost),
                answer: None,
            });
        }
    }

    /// Claims anew and reads everything back: the store, not the memory, says what was committed.
    pub(super) async fn reload(&mut self) {
        self.count_waiting();
        let old = std::mem::take(&mut self.sagas);
        self.timers = super::timers::Timers::default();
        self.links.forget_sagas();
        self.resend.clear();
        // What is read back gets its timers and its look anew; a second one would be queued at every reload.
        self.queue.retain(|job| !job.is_due() && !job.is_wake());
        self.wards.clear();
        // Who owned the sagas meanwhile may have sent what this lane did not.
        for job in &mut self.queue {
            if let Job::Input {
                input: Input::Lost(lost),
                ..
            } = job
            {
                lost.unsent = false;
            }
        }
        while let Err(error) = self.claim_again().await {
            if matches!(error, store::Error::Owned) {
                self.tenure.end("another process took the store over");
            }
            if self.tenure.has_ended() {
                return;
            }
            tracing::error!(%error, "the store cannot be read back; trying again");
            self.troubled(error.into());
            // What half a reading found is as old as that claim.
            self.sagas.clear();
            self.pending = Pending::default();
            self.queue.retain(|job| !job.is_wake());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // The claim was a commit.
        self.untroubled();
        self.keep_contacts(old).await;
    }

    async fn claim_again(&mut self) -> Result<(), store::Error> {
        self.claim = super::claim(&*self.store).await?;
        self.commit_no = self.commit_no.max(self.claim.last_commit_no);
        self.clock.not_before(self.claim.last_commit_at);
        self.recover().await
    }

    /// Moves over what the memory knew and the store does not: who listens, and what is on which wire.
    async fn keep_contacts(&mut self, old: HashMap<SagaId, Slot>) {
        let mut old: Vec<(SagaId, Slot)> = old.into_iter().collect();
        old.sort_by_key(|(id, _)| *id);
        for (id, old) in old {
            match (self.sagas.get_mut(&id), old.listener) {
                (Some(slot), listener) => {
                    slot.tickets = old.tickets;
                    slot.ended = old.ended;
                    slot.listener = listener;
                    slot.watch = old.watch;
                    slot.routes = old.routes;
                }
                (None, Some(listener)) => self.announce_from_store(id, old.plan, listener).await,
                (None, None) => {}
            }
        }
        self.recount();
        let participants: Vec<String> = self.links.gate().participants.keys().cloned().collect();
        let mut outbox = Outbox::default();
        for participant in participants {
            for id in self.links.take_unsent(&participant) {
                self.send_again(id, &participant, &mut outbox);
            }
        }
        outbox.send();
    }

    /// The commit whose fate was unknown had ended the saga.
    async fn announce_from_store(
        &mut self,
        id: SagaId,
        plan: Arc<saga_dsl::plan::Plan>,
        listener: Listener,
    ) {
        let journal = match self.store.journal(id, 0, usize::MAX).await {
            Ok(journal) => journal,
            Err(error) => {
                tracing::error!(saga_id = %id, %error, "the end of a saga cannot be read back");
                return;
            }
        };
        match replay(id, &journal) {
            Ok(state) => {
                let mut slot = Slot::new(plan, state, 0);
                slot.listener = Some(listener);
                self.sagas.insert(id, slot);
                self.announce(id);
            }
            Err(error) => {
                tracing::error!(saga_id = %id, %error, "the end of a saga cannot be read back")
            }
        }
    }
}

/// A saga from its row and journal.
fn fold(
    row: &SagaRow,
    journal: &[JournalRow],
    definitions: &Definitions,
) -> Result<Slot, ErrorBody> {
    let plan = definitions.get(&row.name, row.version).ok_or_else(|| {
        ErrorBody::new(
            "no_definition",
            format!("definition {}@{} cannot be loaded", row.name, row.version),
        )
    })?;
    if plan.hash != row.hash {
        let what = format!(
            "{}@{} is not the definition that the saga was started with",
            row.name, row.version
        );
        return Err(ErrorBody::new("other_definition", what));
    }
    let state = replay(row.id, journal)?;
    if state.steps.len() != plan.steps.len() {
        return Err(ErrorBody::new(
            "other_definition",
            "the journal has another number of steps than the plan",
        ));
    }
    let committed = state.seq;
    Ok(Slot::new(plan, state, committed))
}

/// The state that a journal tells of.
pub(super) fn replay(id: SagaId, journal: &[JournalRow]) -> Result<SagaState, ErrorBody> {
    let mut state = SagaState::unborn(id);
    for row in journal {
        if row.seq != state.seq + 1 {
            return Err(ErrorBody::new(
                "journal_gap",
                format!("row {} follows row {}", row.seq, state.seq),
            ));
        }
        let record: Record = serde_json::from_slice(&row.body).map_err(|error| {
            ErrorBody::new("journal_unreadable", format!("row {}: {error}", row.seq))
        })?;
        if record.v > Record::VERSION {
            let what = format!(
                "row {} was written by a newer release (version {})",
                row.seq, record.v
            );
            return Err(ErrorBody::new("journal_too_new", what));
        }
        state = apply_record(state, &record, row.at);
    }
    if state.birth.is_none() {
        return Err(ErrorBody::new(
            "journal_empty",
            "the journal does not begin with a start",
        ));
    }
    Ok(state)
}
