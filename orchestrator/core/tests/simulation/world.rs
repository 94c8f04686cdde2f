//! One saga, its participants, the wire between them, crashes, and a clock that jumps to what comes next.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::{
    Command, Effect, ErrorBody, Event, Gate, Input, Partition, Payload, Record, Rejected, SagaId, SagaState,
    Timestamp, apply_record,
    command::{addressee, may_repeat, outstanding, outstanding_op, timeout_ms},
    decide,
    gate::Live,
    input::{Cancel, Lost, Op, Outcome, Reply, Start},
};
use saga_dsl::{
    definition::Kind,
    plan::{Plan, StepIx},
};

use super::{
    chance::Chance,
    checks,
    participants::{Answer, Inboxes, Mood},
    plans::{LOOSE, SOUND},
};

/// Milliseconds until all faults stop.
const FAULTS_MS: u64 = 20_000;
/// Far more than any story takes.
const STEPS_MAX: u32 = 5_000;

/// Something under way.
#[derive(Debug, Clone)]
enum Message {
    Start,
    Command(Command),
    Reply(Reply),
    Lost(Lost),
    /// Work that a participant had accepted comes to its end.
    Finish(StepIx, u32),
    /// A participant comes or goes.
    Flip(&'static str),
    Crash,
    Cancel,
    Trouble,
    /// An input that means nothing: it must do no harm.
    Idle(Input),
    Heal,
}

/// How rough the world is, in percent.
#[derive(Debug, Clone, Copy)]
struct Weather {
    drop: u64,
    twice: u64,
    held: u64,
    crash: u64,
    liar: u64,
}

pub struct World<'p> {
    plan: &'p Plan,
    chance: Chance,
    weather: Weather,
    mood: Mood,
    healed: bool,
    pub now: Timestamp,
    pub state: SagaState,
    pub journal: Vec<(Timestamp, String)>,
    pub kinds: BTreeSet<String>,
    gate: Gate,
    inboxes: Inboxes,
    wire: BTreeMap<(Timestamp, u64), Message>,
    number: u64,
    crashes: u64,
    sent: Vec<Command>,
    answered: Vec<Reply>,
    /// Attempts that were ever put on the wire.
    on_wire: BTreeSet<(StepIx, Op, u32)>,
    /// Outstanding since before a crash, to be sent again when the participant is there.
    unsent: BTreeSet<(StepIx, Op)>,
}

impl<'p> World<'p> {
    /// `liar`: participants answer at random, which frees the ledger of all promises, but not the orchestrator.
    pub fn new(plan: &'p Plan, seed: u64, liar: bool) -> Self {
        let mut chance = Chance::new(seed);
        let rough = chance.below(4);
        let mut percent = |most: u64| if rough == 0 { 0 } else { chance.below(most + 1) };
        let weather = Weather {
            drop: percent(30),
            twice: percent(30),
            held: percent(30),
            crash: percent(10),
            liar: if liar { 40 } else { 0 },
        };
        let mood = Mood {
            refuse: percent(20),
            fail: percent(40),
            accept: percent(20),
            operator: percent(10),
            refuse_retriable: percent(8),
        };
        let now = Timestamp(1_800_000_000_000_000);
        let state = SagaState::unborn(SagaId::new(1_800_000_000_000, Partition(0), seed));
        let mut world = Self {
            plan,
            chance,
            weather,
            mood,
            healed: false,
            now,
            state,
            journal: Vec::new(),
            kinds: BTreeSet::new(),
            gate: Gate::default(),
            inboxes: Inboxes::default(),
            wire: BTreeMap::new(),
            number: 0,
            crashes: 0,
            sent: Vec::new(),
            answered: Vec::new(),
            on_wire: BTreeSet::new(),
            unsent: BTreeSet::new(),
        };
        world.prepare();
        world
    }

    fn prepare(&mut self) {
        for name in SOUND.into_iter().chain([LOOSE]) {
            if self.chance.percent(90) {
                self.connect(name, true);
            }
            for _ in 0..self.chance.below(3) {
                self.within(FAULTS_MS, Message::Flip(name));
            }
        }
        if self.chance.percent(25) {
            for _ in 0..self.chance.between(1, 2) {
                let span = *self.chance.pick(&[500, 3_000, FAULTS_MS]);
                self.within(span, Message::Cancel);
            }
        }
        for _ in 0..self.chance.below(3) {
            self.within(3_000, Message::Crash);
        }
        if self.chance.percent(3) {
            self.within(3_000, Message::Trouble);
        }
        for input in [Input::Due, Input::Wake] {
            self.within(2_000, Message::Idle(input));
        }
        self.after(0, Message::Start);
        self.after(FAULTS_MS, Message::Heal);
    }

    fn after(&mut self, ms: u64, message: Message) {
        self.number += 1;
        self.wire.insert((self.now.plus_ms(ms), self.number), message);
    }

    fn within(&mut self, ms: u64, message: Message) {
        let ms = self.chance.below(ms);
        self.after(ms, message);
    }

    /// Runs until nothing is under way and no timer is armed.
    pub fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            let due = self.state.next_due();
            let arrives = self.wire.first_key_value().map(|((at, _), _)| *at);
            match (due, arrives) {
                (None, None) => return,
                (Some(due), arrives) if arrives.is_none_or(|at| due < at) => {
                    self.now = self.now.max(due);
                    self.due();
                }
                (_, _) => {
                    let Some(((at, _), message)) = self.wire.pop_first() else { return };
                    self.now = self.now.max(at);
                    self.deliver(message);
                }
            }
        }
        panic!("I13: no end in sight: {:#?}", self.state);
    }

    /// A timer that fires leads somewhere, or the same timer would fire for ever.
    fn due(&mut self) {
        let before = (self.journal.len(), self.crashes);
        self.take(Input::Due);
        let moved = before != (self.journal.len(), self.crashes);
        let waits = self.state.next_due().is_none_or(|due| due > self.now);
        assert!(moved || waits, "a timer that leads nowhere: {:#?}", self.state);
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Start => {
                let input = Payload::from_value(serde_json::json!({}));
                self.take(Input::Start(Start { input, key: None, labels: BTreeMap::new() }));
            }
            Message::Command(command) => self.participate(&command),
            Message::Reply(reply) => self.reply(reply),
            Message::Lost(lost) => self.take(Input::Lost(lost)),
            Message::Finish(step, round) => self.finish(step, round),
            Message::Flip(name) => self.flip(name),
            Message::Crash => self.restart(),
            Message::Cancel => {
                self.take(Input::Cancel(Cancel { reason: "changed my mind".into(), by: "ann".into() }));
            }
            Message::Trouble => self.take(Input::Trouble(ErrorBody::new("panic", ""))),
            Message::Idle(input) => self.take(input),
            Message::Heal => {
                self.healed = true;
                self.mood = Mood::HEALED;
                self.weather = Weather { drop: 0, twice: 0, held: 0, crash: 0, liar: 0 };
                for name in SOUND.into_iter().chain([LOOSE]) {
                    self.connect(name, false);
                }
            }
        }
    }

    fn take(&mut self, input: Input) {
        let Ok(decision) = decide(self.plan, &self.state, &input, &self.gate, self.now) else { return };
        checks::decision(self.plan, &self.state, &decision);
        if self.state.status.is_end() {
            assert!(
                decision.events.is_empty() && decision.effects.is_empty(),
                "I11, I22: {input:?} moved an ended saga"
            );
        }
        if self.strikes() {
            // Before the commit: nothing has happened, and whoever brought the input brings it again.
            match input {
                Input::Start(_) => self.after(5, Message::Start),
                Input::Reply(reply) => self.after(5, Message::Reply(reply)),
                Input::Cancel(_) => self.after(5, Message::Cancel),
                Input::Lost(_) | Input::Due | Input::Wake | Input::Trouble(_) => {}
            }
            self.restart();
            return;
        }
        if !decision.events.is_empty() {
            self.commit(&decision.events, &decision.state);
        }
        self.state = decision.state;
        if self.strikes() {
            self.restart();
            return;
        }
        for effect in decision.effects {
            self.perform(effect);
        }
    }

    fn strikes(&mut self) -> bool {
        let crash = self.weather.crash;
        self.chance.percent(crash) && self.chance.percent(30)
    }

    fn commit(&mut self, events: &[Event], after: &SagaState) {
        let record = Record { v: Record::VERSION, events: events.to_vec() };
        assert_eq!(
            &apply_record(self.state.clone(), &record, self.now),
            after,
            "I14: the fold is not the state"
        );
        let text = serde_json::to_string(&record).expect("a record is JSON");
        for event in events {
            let value = serde_json::to_value(event).expect("an event is JSON");
            self.kinds.extend(value.as_object().into_iter().flat_map(|o| o.keys().cloned()));
        }
        self.journal.push((self.now, text));
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send(command) => self.send(command),
            Effect::Extend { step, due } => {
                if let Some(op) = self.state.steps.get(step.at()).and_then(outstanding_op) {
                    self.state.set_limit(step, op, due);
                }
            }
            Effect::Await { participant } => {
                assert!(SOUND.contains(&&*participant) || participant == LOOSE);
            }
            Effect::Announce => assert!(self.state.status.is_end()),
        }
    }

    /// The process is gone: what is left is the journal.
    fn restart(&mut self) {
        self.crashes += 1;
        let mut state = SagaState::unborn(self.state.id);
        for (at, text) in &self.journal {
            let record: Record = serde_json::from_str(text).expect("what was written can be read");
            state = apply_record(state, &record, *at);
        }
        state.suspend_limits();
        self.state.suspend_limits();
        assert_eq!(state, self.state, "I14: the journal is not the state");
        self.state = state;
        self.unsent.clear();
        for command in outstanding(self.plan, &self.state) {
            self.unsent.insert((command.step, command.op));
        }
        self.resend();
        self.after(0, Message::Idle(Input::Due));
    }

    /// Sends what was outstanding before the crash, as far as its participants are there.
    fn resend(&mut self) {
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

    fn send(&mut self, command: Command) {
        let attempt = (command.step, command.op, command.attempt);
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

    fn transmit(&mut self, command: Command) {
        self.on_wire.insert((command.step, command.op, command.attempt));
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

    fn latency(&mut self) -> u64 {
        let held = self.weather.held;
        if self.chance.percent(held) { self.chance.below(2 * FAULTS_MS) } else { self.chance.between(1, 60) }
    }

    fn is_loose(&self, step: StepIx) -> bool {
        self.plan.steps[step.at()].at_least_once
    }

    fn participate(&mut self, command: &Command) {
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

    fn finish(&mut self, step: StepIx, round: u32) {
        let retriable = self.plan.steps[step.at()].kind == Kind::Retriable;
        if let Some((attempt, outcome)) =
            self.inboxes.finish(step, round, retriable, self.mood, &mut self.chance)
        {
            self.answer(step, round, Op::Action, attempt, outcome);
        }
    }

    fn answer(&mut self, step: StepIx, round: u32, op: Op, attempt: u32, outcome: Outcome) {
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

    fn lie(&mut self) -> Outcome {
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

    /// I21: the same words from somebody else, or for another round, change nothing.
    fn reply(&mut self, reply: Reply) {
        let forged = Reply { participant: "mallory".into(), ..reply.clone() };
        let other_round = Reply { round: reply.round + 1, ..reply.clone() };
        let early = Reply { attempt: u32::MAX, ..reply.clone() };
        for bad in [forged, other_round, early] {
            let taken = decide(self.plan, &self.state, &Input::Reply(bad), &self.gate, self.now);
            assert!(taken.is_err(), "I21: {taken:?}");
        }
        self.take(Input::Reply(reply));
    }

    fn flip(&mut self, name: &'static str) {
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
    fn connect(&mut self, name: &'static str, partly: bool) {
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

    /// The promises, once nothing moves any more.
    pub fn judge(&mut self) {
        assert!(self.state.status.is_end() || checks::is_parked(&self.state), "I13: {:#?}", self.state);
        checks::ledger(self.plan, &self.state, &self.inboxes);
        if self.state.status.is_end() {
            self.replay();
        }
    }

    /// I22: every message ever sent, once more.
    fn replay(&mut self) {
        let (state, ledger) = (self.state.clone(), self.inboxes.ledger.clone());
        for command in std::mem::take(&mut self.sent) {
            // What nothing undoes may still land: its author said that this does no harm.
            let step = &self.plan.steps[command.step.at()];
            let harmless = step.kind == Kind::Compensatable && step.compensation.is_none();
            if !self.is_loose(command.step) && !harmless {
                self.participate(&command);
            }
        }
        for reply in std::mem::take(&mut self.answered) {
            let taken = decide(self.plan, &self.state, &Input::Reply(reply), &self.gate, self.now);
            assert_eq!(taken, Err(Rejected::Stale));
        }
        assert_eq!((state, ledger), (self.state.clone(), self.inboxes.ledger.clone()), "I22");
    }
}

fn lost(command: &Command, unsent: bool) -> Lost {
    let error = ErrorBody::new("lost", "the connection is gone");
    Lost { step: command.step, round: command.round, op: command.op, attempt: command.attempt, unsent, error }
}

fn name_of(participant: &str) -> &'static str {
    SOUND.into_iter().find(|name| *name == participant).unwrap_or(LOOSE)
}
