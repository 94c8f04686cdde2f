//! One saga, its participants, the wire between them, crashes, and a clock that jumps to what comes next.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::{
    Command, Effect, ErrorBody, Event, Gate, Input, Partition, Payload, Record, Rejected, SagaId, SagaState,
    Timestamp, apply, apply_record,
    command::{outstanding, outstanding_op},
    decide,
    input::{Cancel, Lost, Op, Reply, Start},
};
use saga_dsl::{
    definition::Kind,
    plan::{Plan, StepIx},
};

use super::{
    chance::Chance,
    checks,
    participants::{Inboxes, Mood},
    plans::{LOOSE, SOUND},
    transitions::{self, Transition},
};

/// Milliseconds until all faults stop.
pub(super) const FAULTS_MS: u64 = 20_000;
/// Far more than any story takes.
const STEPS_MAX: u32 = 5_000;

/// Something under way.
#[derive(Debug, Clone)]
pub(super) enum Message {
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
    /// An operator intervenes, with or without sense.
    Operator,
    Trouble,
    /// An input that means nothing: it must do no harm.
    Idle(Input),
    Heal,
}

/// How rough the world is, in percent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    pub(super) drop: u64,
    pub(super) twice: u64,
    pub(super) held: u64,
    pub(super) crash: u64,
    pub(super) liar: u64,
}

pub struct World<'p> {
    pub(super) plan: &'p Plan,
    pub(super) chance: Chance,
    pub(super) weather: Weather,
    pub(super) mood: Mood,
    /// The start payload: decides which conditions hold, and whether an expression finds what it reads.
    input: serde_json::Value,
    pub(super) healed: bool,
    pub now: Timestamp,
    pub state: SagaState,
    pub journal: Vec<(Timestamp, String)>,
    pub kinds: BTreeSet<String>,
    pub transitions: BTreeSet<Transition>,
    pub(super) gate: Gate,
    pub(super) inboxes: Inboxes,
    pub(super) wire: BTreeMap<(Timestamp, u64), Message>,
    pub(super) number: u64,
    pub(super) crashes: u64,
    /// How often an operator has helped a saga that nothing else moved.
    pub(super) helped: u32,
    pub(super) sent: Vec<Command>,
    pub(super) answered: Vec<Reply>,
    /// Attempts that were ever put on the wire.
    pub(super) on_wire: BTreeSet<(StepIx, u32, Op, u32)>,
    /// Outstanding since before a crash, to be sent again when the participant is there.
    pub(super) unsent: BTreeSet<(StepIx, Op)>,
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
        let mut input = serde_json::json!({"x": chance.percent(50), "y": chance.percent(80)});
        if chance.percent(70) {
            input["z"] = serde_json::json!(1);
        }
        let mut percent = |most: u64| if rough == 0 { 0 } else { chance.below(most + 1) };
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
            input,
            healed: false,
            now,
            state,
            journal: Vec::new(),
            kinds: BTreeSet::new(),
            transitions: BTreeSet::new(),
            gate: Gate::default(),
            inboxes: Inboxes::default(),
            wire: BTreeMap::new(),
            number: 0,
            crashes: 0,
            helped: 0,
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
        if self.chance.percent(40) {
            for _ in 0..self.chance.between(1, 16) {
                let span = *self.chance.pick(&[500, 3_000, FAULTS_MS]);
                self.within(span, Message::Operator);
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

    pub(super) fn after(&mut self, ms: u64, message: Message) {
        self.number += 1;
        self.wire.insert((self.now.plus_ms(ms), self.number), message);
    }

    pub(super) fn within(&mut self, ms: u64, message: Message) {
        let ms = self.chance.below(ms);
        self.after(ms, message);
    }

    /// Runs until nothing is under way and no timer is armed.
    pub fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            let due = self.state.next_due();
            let arrives = self.wire.first_key_value().map(|((at, _), _)| *at);
            match (due, arrives) {
                (None, None) if self.is_left_alone() => return,
                (None, None) => self.help(),
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
                let input = Payload::from_value(self.input.clone());
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
            Message::Operator => self.intervene(),
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

    pub(super) fn take(&mut self, input: Input) {
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
                Input::Lost(_) | Input::Due | Input::Wake | Input::Intervene(_) | Input::Trouble(_) => {}
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

    pub(super) fn strikes(&mut self) -> bool {
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
        let mut state = self.state.clone();
        for event in events {
            let next = apply(state.clone(), event, self.now);
            self.transitions.extend(transitions::between(&state, &next));
            state = next;
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
        // Until another process takes over.
        if !self.healed && self.chance.percent(30) {
            self.now = self.now.plus_ms(self.chance.below(5_000));
        }
        let mut state = SagaState::unborn(self.state.id);
        for (at, text) in &self.journal {
            let record: Record = serde_json::from_str(text).expect("what was written can be read");
            state = apply_record(state, &record, *at);
        }
        state.suspend_limits();
        self.state.suspend_limits();
        assert_eq!(state, self.state, "I14: the journal is not the state");
        self.state = state;
        // What the process knew of its connections is gone with it.
        self.wire.retain(|_, message| !matches!(message, Message::Lost(_)));
        self.unsent.clear();
        for command in outstanding(self.plan, &self.state) {
            self.unsent.insert((command.step, command.op));
        }
        self.resend();
        self.after(0, Message::Idle(Input::Due));
    }

    /// I21: the same words from somebody else, or for another round, change nothing.
    fn reply(&mut self, reply: Reply) {
        let forged = Reply { participant: "mallory".into(), ..reply.clone() };
        let other_round = Reply { round: reply.round + 1, ..reply.clone() };
        let early = Reply { attempt: u32::MAX, ..reply.clone() };
        let over = self.state.steps.get(reply.step.at()).is_some_and(|step| reply.round < step.round);
        // How many attempts a round had that is over, nobody remembers.
        for bad in [Some(forged), Some(other_round).filter(|_| !over), Some(early).filter(|_| !over)]
            .into_iter()
            .flatten()
        {
            let taken = decide(self.plan, &self.state, &Input::Reply(bad), &self.gate, self.now);
            assert!(taken.is_err(), "I21: {taken:?}");
        }
        self.take(Input::Reply(reply));
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
        assert_eq!(state, self.state, "I22");
        // What an operator left open may still land.
        assert!(
            state.exceptions || ledger == self.inboxes.ledger,
            "I22: {ledger:?} {:?}",
            self.inboxes.ledger
        );
    }
}
