//! Between the orchestrator and its participants: what is sent may be lost, late, twice or held back for long.

use saga_core::{
    Command, ErrorBody, Input, Payload,
    command::{addressee, may_repeat, outstanding, timeout_ms},
    gate::Live,
    input::{Lost, Op, Outcome, Reply},
};
use saga_dsl::{definition::Kind, plan::StepIx};

use super::{
    participants::Answer,
    plans::{LOOSE, SOUND},
    world::{FAULTS_MS, Message, World},
};

impl World<'_> {
    /// Sends what was outstanding before the crash, as far as its participants are there.
    pub(super) fn resend(&mut self) {
        for command in outstanding(self.plan, &self.state) {
            let key = (command.step, command.op);
            let (participant, _) = addressee(self.plan, command.step, command.op).expect("outstanding");
            if !self.unsent.contains(&key) || !self.gate.participants.contains_key(participant) {
                continue;
            }
            self.unsent.remove(&key);
            let limit = self.now.plus_ms(timeout_ms(self.plan, command.step, command.op));
            self.state.set_limit(command.step, command.op, limit);
            if may_repeat(self.plan, command.step, command.op) {
                self.transmit(command);
            }
        }
    }

    pub(super) fn send(&mut self, command: Command) {
        let attempt = (command.step, command.round, command.op, command.attempt);
        if !self.healed && !self.on_wire.contains(&attempt) && self.chance.percent(3) {
            let (participant, _) = addressee(self.plan, command.step, command.op).expect("sent");
            let name = name_of(participant);
            self.gate.participants.remove(name);
            self.within(500, Message::Flip(name));
            self.after(0, Message::Lost(lost(&command, true)));
            return;
        }
        self.transmit(command);
    }

    pub(super) fn transmit(&mut self, command: Command) {
        self.on_wire.insert((command.step, command.round, command.op, command.attempt));
        if let Some(first) =
            self.sent.iter().find(|c| (c.step, c.op, c.round) == (command.step, command.op, command.round))
        {
            let same = Command { attempt: first.attempt, ..command.clone() };
            assert_eq!(&same, first, "I20: a command is the same at every sending");
        }
        self.sent.push(command.clone());
        let weather = self.weather;
        if self.chance.percent(weather.drop) {
            if self.chance.percent(50) {
                self.within(300, Message::Lost(lost(&command, false)));
            }
            return;
        }
        // A second copy at somebody without an inbox is a second effect, which is not promised otherwise.
        if self.chance.percent(weather.twice) && !self.is_loose(command.step) {
            let ms = self.latency();
            self.after(ms, Message::Command(command.clone()));
        }
        let ms = self.latency();
        self.after(ms, Message::Command(command));
    }

    pub(super) fn latency(&mut self) -> u64 {
        let held = self.weather.held;
        if self.chance.percent(held) { self.chance.below(2 * FAULTS_MS) } else { self.chance.between(1, 60) }
    }

    pub(super) fn is_loose(&self, step: StepIx) -> bool {
        self.plan.steps[step.at()].at_least_once
    }

    pub(super) fn participate(&mut self, command: &Command) {
        let retriable = self.plan.steps[command.step.at()].kind == Kind::Retriable;
        let (now, mood) = (self.now, self.mood);
        let answer = if self.is_loose(command.step) {
            Answer::Reply(self.inboxes.take_loose(command, retriable, now, mood, &mut self.chance))
        } else {
            self.inboxes.take(command, retriable, now, mood, &mut self.chance)
        };
        let outcome = match answer {
            Answer::Reply(outcome) => outcome,
            Answer::Accepted => {
                self.within(3_000, Message::Finish(command.step, command.round));
                Outcome::Accepted
            }
        };
        self.answer(command.step, command.round, command.op, command.attempt, outcome);
    }

    pub(super) fn finish(&mut self, step: StepIx, round: u32) {
        let retriable = self.plan.steps[step.at()].kind == Kind::Retriable;
        if let Some((attempt, outcome)) =
            self.inboxes.finish(step, round, retriable, self.mood, &mut self.chance)
        {
            self.answer(step, round, Op::Action, attempt, outcome);
        }
    }

    pub(super) fn answer(&mut self, step: StepIx, round: u32, op: Op, attempt: u32, outcome: Outcome) {
        let (participant, _) = addressee(self.plan, step, op).expect("it was asked");
        let mut reply = Reply { participant: participant.into(), step, round, op, attempt, outcome };
        let weather = self.weather;
        if self.chance.percent(weather.liar) {
            reply.outcome = self.lie();
            reply.attempt = reply.attempt.saturating_add(1)
                - u32::try_from(self.chance.below(3)).unwrap_or(0).min(reply.attempt + 1);
        }
        self.answered.push(reply.clone());
        if self.chance.percent(weather.drop) {
            return;
        }
        if self.chance.percent(weather.twice) {
            let ms = self.latency();
            self.after(ms, Message::Reply(reply.clone()));
        }
        let ms = self.latency();
        self.after(ms, Message::Reply(reply));
    }

    pub(super) fn lie(&mut self) -> Outcome {
        let error = ErrorBody::new("whatever", "");
        let output = Payload::from_value(serde_json::json!(0));
        let lies = [
            Outcome::Succeeded(output.clone()),
            Outcome::Refused(error.clone()),
            Outcome::Failed(error.clone()),
            Outcome::Accepted,
            Outcome::Running,
            Outcome::Blocked,
            Outcome::Conflict(error.clone()),
            Outcome::Expired,
            Outcome::NeedsOperator(error),
            Outcome::NothingToDo,
            Outcome::Compensated,
            Outcome::Absent,
            Outcome::Done(output),
            Outcome::Sealed,
        ];
        self.chance.pick(&lies).clone()
    }

    pub(super) fn flip(&mut self, name: &'static str) {
        if self.healed {
            return;
        }
        if self.gate.participants.remove(name).is_none() {
            self.connect(name, true);
            return;
        }
        for command in outstanding(self.plan, &self.state) {
            let (participant, _) = addressee(self.plan, command.step, command.op).expect("outstanding");
            let noticed = self.chance.percent(70) && !self.unsent.contains(&(command.step, command.op));
            if participant == name && noticed {
                self.after(0, Message::Lost(lost(&command, false)));
            }
        }
        self.within(3_000, Message::Flip(name));
    }

    /// A participant can be reached; with `partly`, perhaps not for everything.
    pub(super) fn connect(&mut self, name: &'static str, partly: bool) {
        let plan = self.plan;
        let mut live = Live { transactional: name != LOOSE, ..Live::default() };
        for step in &plan.steps {
            let undo = step.compensation.as_ref().map(|c| (&c.participant, &c.action));
            for (participant, action) in
                [Some((&step.action.participant, &step.action.action)), undo].into_iter().flatten()
            {
                if participant == name && !(partly && self.chance.percent(5)) {
                    live.actions.insert(action.clone());
                }
            }
        }
        if partly && self.chance.percent(5) {
            live.transactional = false;
        }
        self.gate.participants.insert(name.to_owned(), live);
        self.resend();
        self.take(Input::Wake);
    }
}

fn lost(command: &Command, unsent: bool) -> Lost {
    let error = ErrorBody::new("lost", "the connection is gone");
    Lost { step: command.step, round: command.round, op: command.op, attempt: command.attempt, unsent, error }
}

fn name_of(participant: &str) -> &'static str {
    SOUND.into_iter().find(|name| *name == participant).unwrap_or(LOOSE)
}
