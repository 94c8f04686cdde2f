//! From queued inputs to the rows of a batch.

use std::{
    collections::hash_map::Entry,
    panic::{AssertUnwindSafe, catch_unwind},
};

use saga_core::{
    Decision, ErrorBody, Gate, Input, Rejected, Rules, SagaId, SagaState, Timestamp, decide_under,
};
use saga_dsl::plan::Plan;

use super::{
    answer::{Answer, Why, cancelled},
    batch::{Job, Release},
    intake::{End, Ended, StartJob, Started},
    repeat::is_same_input,
    slot::{Slot, face},
    starting::Starter,
    worker::Worker,
};

impl Worker {
    /// Decides what waits, as far as the batch has room.
    pub(super) fn decide_queue(&mut self) {
        while self.pending.jobs.len() < self.batch_inputs
            && self.pending.bytes() < self.settings.batch_bytes_max
        {
            match self.proven {
                Some(0) if self.pending.is_empty() => self.proven = None,
                Some(0) => return,
                Some(left) => self.proven = Some(left - 1),
                None => {}
            }
            match self.queue.pop_front() {
                Some(Job::Start(starter)) => {
                    if let Some(starter) = self.starting.admit(starter) {
                        self.decide_start(starter);
                    }
                }
                Some(Job::Input { id, input, answer }) => self.decide_input(id, input, answer),
                None => return,
            }
        }
    }

    fn decide_start(&mut self, starter: Box<Starter>) {
        let job = &starter.job;
        if let Some(slot) = self.sagas.get(&job.id) {
            // The id comes of the request, so this is the same request again, or a mistake.
            let same_name = slot.plan.definition.saga == job.plan.definition.saga;
            let begun_with = slot.state.birth.as_ref().map(|birth| &birth.input);
            let started = if same_name && begun_with.is_some_and(|input| is_same_input(job, input))
            {
                Started::Existing {
                    id: job.id,
                    status: face(&slot.state).status,
                }
            } else {
                Started::KeyConflict { id: job.id }
            };
            self.starting.finish(&starter, None, None, &mut self.queue);
            answer_start(starter.job, started);
            return;
        }
        let now = self.moment();
        let state = SagaState::unborn(job.id);
        let input = Input::Start(job.start.clone());
        match decide_safely(
            self.settings.rules,
            &job.plan,
            &state,
            &input,
            self.links.gate(),
            now,
        ) {
            Ok(decision) => self.begin_saga(starter, decision, now),
            Err(refusal) => {
                tracing::error!(saga_id = %job.id, ?refusal, "a start could not be decided");
                self.starting.refuse(&starter, &mut self.queue);
                answer_start(starter.job, Started::Unavailable);
            }
        }
    }

    /// Now, for a decision; the gate says what participants' clocks may show.
    fn moment(&mut self) -> Timestamp {
        self.links.gate_mut().latest = Some(self.clock.latest());
        self.clock.now()
    }

    fn begin_saga(&mut self, starter: Box<Starter>, decision: Decision, now: Timestamp) {
        let job = &starter.job;
        let id = job.id;
        let mut slot = Slot::new(job.plan.clone(), decision.state, 0);
        slot.guarded = self.guards.concern(&slot.plan);
        if slot.guarded {
            self.guards.close_for(
                &mut slot,
                (None, &decision.events),
                self.links.gate_mut(),
                now,
            );
        }
        self.pending.keep(id, None);
        self.pending
            .add(&slot, None, decision.events, now, Some(job.input_hash));
        let release = Release {
            id,
            seq: slot.state.seq,
            effects: decision.effects,
            connects: self.links.connects(),
            job: self.pending.jobs.len(),
            cancelled: None,
        };
        self.pending.releases.push(release);
        self.sagas.insert(id, slot);
        self.rearm(id);
        self.pending.jobs.push(Job::Start(starter));
        self.call_waiting();
    }

    fn decide_input(&mut self, id: SagaId, input: Input, answer: Option<Answer>) {
        let Some(slot) = self.sagas.get_mut(&id) else {
            self.guards
                .leave(id, self.links.gate_mut(), self.clock.now());
            self.visit(id, input, answer);
            return;
        };
        if matches!(input, Input::Due) {
            slot.due_waits = false;
        }
        let now = self.clock.now();
        self.links.gate_mut().latest = Some(self.clock.latest());
        let guarded = slot.guarded;
        if guarded {
            self.guards.open_for(id, self.links.gate_mut(), now);
        }
        let decided = decide_safely(
            self.settings.rules,
            &slot.plan,
            &slot.state,
            &input,
            self.links.gate(),
            now,
        );
        let decision = match decided {
            Ok(decision) => decision,
            Err(Refusal::Rejected(rejected)) => {
                self.undecided(id, guarded, now);
                self.note_rejected(id, &input, &rejected);
                refuse(answer, Why::Rejected(rejected));
                self.dismiss(id);
                return;
            }
            Err(Refusal::Panicked) => {
                self.undecided(id, guarded, now);
                let error = ErrorBody::new("internal", "deciding panicked; the input was dropped");
                if matches!(input, Input::Trouble(_)) {
                    // The incident would be decided again at once, and for ever.
                    self.set_aside(id, error);
                } else {
                    self.trouble(id, error);
                }
                refuse(answer, Why::Unavailable);
                return;
            }
        };
        if let Input::Reply(reply) = &input
            && slot.is_answered(reply, &decision.state)
        {
            slot.unroute(reply.step, reply.op, reply.round, reply.attempt);
        }
        let cancelled = answer
            .is_some()
            .then(|| cancelled(&decision.state, changes_or_did(&input, &decision)));
        let release = Release {
            id,
            seq: decision.state.seq,
            effects: decision.effects,
            connects: self.links.connects(),
            job: self.pending.jobs.len(),
            cancelled,
        };
        if decision.events.is_empty() && answer.is_none() {
            if guarded {
                self.guards
                    .close_for(slot, (Some(&input), &[]), self.links.gate_mut(), now);
                self.call_waiting();
            }
            self.carry_out_now(release);
            // A state that no rule of this engine makes: it would be due again at once, and for ever.
            let stays_due = self
                .sagas
                .get(&id)
                .and_then(|slot| slot.state.next_due())
                .is_some_and(|due| due <= now);
            if stays_due && matches!(input, Input::Due) {
                self.trouble(
                    id,
                    ErrorBody::new("internal", "it is due, and no rule says what to do"),
                );
            }
            // The timer that brought a `Due` is spent, even if a sign of life has moved the limit meanwhile.
            self.rearm(id);
            return;
        }
        if !decision.events.is_empty() {
            let before = std::mem::replace(&mut slot.state, decision.state);
            if guarded {
                let told = (Some(&input), &decision.events[..]);
                self.guards
                    .close_for(slot, told, self.links.gate_mut(), now);
            }
            self.pending
                .add(slot, Some(&before), decision.events, now, None);
            self.pending.keep(id, Some(before));
        } else if guarded {
            self.guards
                .close_for(slot, (Some(&input), &[]), self.links.gate_mut(), now);
        }
        self.rearm(id);
        self.pending.releases.push(release);
        self.pending.jobs.push(Job::Input { id, input, answer });
        if guarded {
            self.call_waiting();
        }
    }

    /// Nothing was decided: room that was kept for the saga is free again.
    fn undecided(&mut self, id: SagaId, guarded: bool, now: Timestamp) {
        if let (true, Some(slot)) = (guarded, self.sagas.get_mut(&id)) {
            self.guards
                .close_for(slot, (None, &[]), self.links.gate_mut(), now);
            self.call_waiting();
        }
    }

    /// Wakes those for whom room is kept at a participant with limits or breakers.
    pub(super) fn call_waiting(&mut self) {
        for id in self.guards.take_woken() {
            self.queue.push_back(Job::Input {
                id,
                input: Input::Wake,
                answer: None,
            });
        }
    }

    /// Something is wrong with this saga and only with this one: it becomes an incident.
    pub(super) fn trouble(&mut self, id: SagaId, error: ErrorBody) {
        tracing::error!(saga_id = %id, %error, "a saga is in trouble, the others go on");
        let now = self.clock.now();
        if let Some(slot) = self.sagas.get_mut(&id) {
            // Its input is gone. If that was a timer, the same would happen at once, and for ever; if it was a wake-up, the
            // next one must find the saga waiting.
            slot.hold(now);
            for participant in slot.awaited() {
                self.links.await_participant(participant, id);
            }
        }
        self.queue.push_front(Job::Input {
            id,
            input: Input::Trouble(error),
            answer: None,
        });
    }

    /// A line for what makes no sense; what comes late is no news.
    fn note_rejected(&mut self, id: SagaId, input: &Input, rejected: &Rejected) {
        match rejected {
            Rejected::WrongParticipant { .. }
            | Rejected::Nonsense
            | Rejected::NeverSent
            | Rejected::NoSuchStep(_) => {
                if let Some(left_out) = self.lines.may_write(self.clock.now()) {
                    tracing::warn!(
                        saga_id = %id, %rejected, reply = %address(input), left_out,
                        "input rejected"
                    );
                }
            }
            Rejected::Begun
            | Rejected::NotBegun
            | Rejected::Ended { .. }
            | Rejected::AfterPivot { .. }
            | Rejected::Unfit(_)
            | Rejected::Stale => {
                tracing::debug!(saga_id = %id, %rejected, ?input, "input rejected");
            }
        }
    }

    pub(super) fn rearm(&mut self, id: SagaId) {
        if let Entry::Occupied(mut slot) = self.sagas.entry(id) {
            let slot = slot.get_mut();
            if slot.due_waits {
                return;
            }
            let due = slot.due();
            self.timers.arm(id, &mut slot.armed, due);
        }
    }
}

enum Refusal {
    Rejected(Rejected),
    Panicked,
}

impl std::fmt::Debug for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rejected(rejected) => write!(f, "{rejected}"),
            Self::Panicked => f.write_str("deciding panicked"),
        }
    }
}

/// One bad saga never stops the others: a panic is that saga's trouble.
fn decide_safely(
    rules: Rules,
    plan: &Plan,
    state: &SagaState,
    input: &Input,
    gate: &Gate,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    match catch_unwind(AssertUnwindSafe(|| {
        decide_under(rules, plan, state, input, gate, now)
    })) {
        Ok(decided) => decided.map_err(Refusal::Rejected),
        Err(_) => Err(Refusal::Panicked),
    }
}

/// Whether the input changes the saga now, or did when it was sent before.
fn changes_or_did(input: &Input, decision: &Decision) -> bool {
    let before = match input {
        Input::Cancel(cancel) => decision.state.has_acted(cancel.act),
        Input::Start(_)
        | Input::Reply(_)
        | Input::Lost(_)
        | Input::Due
        | Input::Wake
        | Input::Intervene(_)
        | Input::Trouble(_) => false,
    };
    before || !decision.events.is_empty()
}

/// Which command a reply claims to answer, for the log.
fn address(input: &Input) -> String {
    match input {
        Input::Reply(reply) => {
            let (step, round, attempt) = (reply.step.0, reply.round, reply.attempt);
            format!(
                "{:?} of step {step}, round {round}, attempt {attempt}",
                reply.op
            )
            .to_lowercase()
        }
        Input::Start(_)
        | Input::Lost(_)
        | Input::Due
        | Input::Wake
        | Input::Cancel(_)
        | Input::Intervene(_)
        | Input::Trouble(_) => String::new(),
    }
}

/// Tells who waits for an answer that nothing was changed, and why.
pub(super) fn refuse(answer: Option<Answer>, why: Why) {
    if let Some(answer) = answer {
        answer.refuse(why);
    }
}

/// Tells whoever started a saga that it did not begin, and why.
pub(super) fn answer_start(job: StartJob, started: Started) {
    if let Some(listener) = job.ended {
        let ended = Ended {
            tag: listener.tag,
            id: job.id,
            end: End::NotNew(started.clone()),
        };
        // Whoever asked may have gone.
        listener.sink.send(ended).ok();
    }
    if let Some(answer) = job.started {
        answer.send(started).ok();
    }
}
