//! The run of one case: a saga, a clock that jumps to what comes next, messages under way, crashes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use saga_core::{
    Command, Effect, ErrorBody, Event, Gate, Input, Op, Partition, Payload, Record, Rejected,
    SagaId, SagaState, Timestamp, apply_record,
    command::{addressee, may_repeat, outstanding, timeout_ms},
    decide,
    gate::Live,
    input::{Cancel, Outcome, Reply, Start},
    state::UndoState,
};
use saga_dsl::{
    plan::{Plan, StepIx},
    test_file::Answer,
};
use serde_json::Value;

use super::{
    case::{Case, Side, Twist},
    cast::{Call, Cast, Effects},
    chance::Chance,
    checks,
    judge::Line,
};
use saga_server::story::{events::describe, why::reason, words};

/// When every trial begins: some day, the same for all.
pub(super) const BEGIN: Timestamp = Timestamp(1_800_000_000_000_000);
/// Far more inputs than any trial takes.
const INPUTS_MAX: u32 = 20_000;
/// Lines of a story that are kept; what repeats itself beyond is of no use to anybody.
const STORY_MAX: usize = 400;

/// Something under way.
#[derive(Debug, Clone)]
enum Message {
    Start,
    Command(Command),
    Reply(Reply),
    Cancel,
    /// The gate may have opened.
    Wake,
    /// After a crash.
    Resume,
}

/// One run.
pub(super) struct World<'a, C> {
    pub plan: &'a Arc<Plan>,
    pub case: &'a Case,
    pub seed: u64,
    pub cast: &'a mut C,
    pub state: SagaState,
    pub now: Timestamp,
    pub story: Vec<Line>,
    /// What must always hold and did not.
    pub faults: Vec<String>,
    /// Calls in the order in which they arrived.
    pub calls: Vec<String>,
    /// Steps whose undo was sent, decision by decision.
    pub undos: Vec<Vec<StepIx>>,
    /// What a cancel was answered.
    pub cancel: Option<Result<(), Rejected>>,
    pub effects: BTreeMap<String, Effects>,
    /// Every incident that was raised.
    pub incidents: Vec<saga_core::event::Incident>,
    /// When the first one was raised that no machine mends.
    pub parked_at: Option<Timestamp>,
    chance: Chance,
    journal: Vec<(Timestamp, String)>,
    wire: BTreeMap<(Timestamp, u64), Message>,
    number: u64,
    /// Outstanding since before a crash, to be sent again.
    unsent: BTreeSet<(StepIx, Op)>,
    first_sent: BTreeMap<(StepIx, Side), Timestamp>,
    held: Vec<Command>,
    sent: Vec<Command>,
    answered: Vec<Reply>,
    crashed: BTreeSet<String>,
}

impl<'a, C: Cast> World<'a, C> {
    pub fn new(plan: &'a Arc<Plan>, case: &'a Case, seed: u64, cast: &'a mut C) -> Self {
        let mut chance = Chance::of(seed, &case.name);
        let id = SagaId::new(1_800_000_000_000, Partition(0), chance.next());
        Self {
            plan,
            case,
            seed,
            cast,
            state: SagaState::unborn(id),
            now: BEGIN,
            story: Vec::new(),
            faults: Vec::new(),
            calls: Vec::new(),
            undos: Vec::new(),
            cancel: None,
            effects: BTreeMap::new(),
            incidents: Vec::new(),
            parked_at: None,
            chance,
            journal: Vec::new(),
            wire: BTreeMap::new(),
            number: 0,
            unsent: BTreeSet::new(),
            first_sent: BTreeMap::new(),
            held: Vec::new(),
            sent: Vec::new(),
            answered: Vec::new(),
            crashed: BTreeSet::new(),
        }
    }

    /// Runs until nothing is under way and no timer is armed, then sends everything once more.
    pub async fn run(&mut self) {
        self.after(0, Message::Start);
        for twist in &self.case.twists {
            if let Twist::Unserved { until_ms, .. } | Twist::Absent { until_ms, .. } = twist {
                self.after(*until_ms, Message::Wake);
            }
        }
        self.converge().await;
        self.effects = self.cast.effects(self.state.id).await;
        if self.state.status.is_end() {
            self.replay().await;
        }
    }

    async fn converge(&mut self) {
        for _ in 0..INPUTS_MAX {
            let due = self.state.next_due();
            let arrives = self.wire.first_key_value().map(|((at, _), _)| *at);
            match (due, arrives) {
                (None, None) => return,
                (Some(due), arrives) if arrives.is_none_or(|at| due < at) => {
                    self.now = self.now.max(due);
                    let before = (self.journal.len(), self.crashed.len());
                    self.take(Input::Due);
                    let moved = before != (self.journal.len(), self.crashed.len());
                    if !moved && self.state.next_due().is_some_and(|due| due <= self.now) {
                        return self.fault("a timer fires and leads nowhere");
                    }
                }
                (_, _) => {
                    let Some(((at, _), message)) = self.wire.pop_first() else {
                        return;
                    };
                    self.now = self.now.max(at);
                    self.deliver(message).await;
                }
            }
        }
        self.fault(format!(
            "no end in sight after {} inputs and {}",
            INPUTS_MAX,
            words::span(BEGIN, self.now)
        ));
    }

    async fn deliver(&mut self, message: Message) {
        match message {
            Message::Start => {
                let input = Payload::from_value(self.case.scenario.input.clone());
                self.take(Input::Start(Start {
                    input,
                    key: None,
                    labels: BTreeMap::new(),
                }));
            }
            Message::Command(command) => {
                if let Some(reply) = self.participate(&command).await {
                    let ms = self.latency();
                    self.after(ms, Message::Reply(reply));
                }
            }
            Message::Reply(reply) => self.take(Input::Reply(reply)),
            Message::Cancel => {
                let cancel = Cancel {
                    reason: "the trial says so".into(),
                    by: "the trial".into(),
                    act: None,
                };
                self.take(Input::Cancel(cancel));
            }
            Message::Wake => self.take(Input::Wake),
            Message::Resume => {
                self.resend();
                self.take(Input::Wake);
            }
        }
    }

    /// What the shell says about sending now.
    fn gate(&self) -> Gate {
        let mut gate = Gate::default();
        for planned in &self.plan.steps {
            let undo = planned
                .compensation
                .as_ref()
                .map(|c| (&c.participant, &c.action));
            let called = (&planned.action.participant, &planned.action.action);
            let unserved = self.withheld(|twist| match twist {
                Twist::Unserved { step, .. } => self
                    .plan
                    .step(*step)
                    .is_some_and(|step| (&step.action.participant, &step.action.action) == called),
                _ => false,
            });
            let served = Some(called).filter(|_| !unserved);
            for (participant, action) in [served, undo].into_iter().flatten() {
                let absent = self.withheld(|twist| match twist {
                    Twist::Absent { step, .. } => self
                        .plan
                        .step(*step)
                        .is_some_and(|s| s.action.participant == *participant),
                    _ => false,
                });
                if absent {
                    continue;
                }
                let live = gate
                    .participants
                    .entry(participant.clone())
                    .or_insert_with(Live::default);
                live.transactional = true;
                live.actions.insert(action.clone());
            }
        }
        gate
    }

    fn withheld(&self, about: impl Fn(&Twist) -> bool) -> bool {
        self.case
            .twists
            .iter()
            .filter(|twist| about(twist))
            .any(|twist| match twist {
                Twist::Unserved { until_ms, .. } | Twist::Absent { until_ms, .. } => {
                    self.now < BEGIN.plus_ms(*until_ms)
                }
                Twist::Twice(_)
                | Twist::Late(_)
                | Twist::AfterUndo(_)
                | Twist::Crash { .. }
                | Twist::Cancel { .. } => false,
            })
    }

    fn take(&mut self, input: Input) {
        let decided = decide(self.plan, &self.state, &input, &self.gate(), self.now);
        if matches!(input, Input::Cancel(_)) {
            if let Err(rejected) = &decided {
                self.tell(None, format!("the cancel is refused: {rejected}"));
            }
            self.cancel = Some(decided.as_ref().map(|_| ()).map_err(Clone::clone));
        }
        let Ok(decision) = decided else { return };
        self.faults
            .extend(checks::decision(self.plan, &self.state, &decision));
        if self.strikes(&decision.events, true) {
            // Nothing was committed, and whoever brought the input brings it again.
            match input {
                Input::Start(_) => self.after(5, Message::Start),
                Input::Cancel(_) => self.after(5, Message::Cancel),
                Input::Reply(_)
                | Input::Lost(_)
                | Input::Due
                | Input::Wake
                | Input::Intervene(_)
                | Input::Trouble(_) => {}
            }
            return self.restart();
        }
        if !decision.events.is_empty() {
            self.commit(&decision.events, &decision.state);
        }
        self.state = decision.state;
        self.follow(&decision.events);
        if self.strikes(&decision.events, false) {
            return self.restart();
        }
        for effect in decision.effects {
            match effect {
                Effect::Send(command) => self.send(command),
                Effect::Extend { step, due } => {
                    if let Some(op) = self
                        .state
                        .steps
                        .get(step.at())
                        .and_then(saga_core::state::StepState::outstanding)
                    {
                        self.state.set_limit(step, op, due);
                    }
                }
                // The gate of a trial opens at a known time, and what then waits is woken.
                Effect::Await { .. } | Effect::Announce => {}
            }
        }
    }

    fn commit(&mut self, events: &[Event], after: &SagaState) {
        let record = Record {
            v: Record::VERSION,
            events: events.to_vec(),
        };
        match serde_json::to_string(&record) {
            Ok(text) => self.journal.push((self.now, text)),
            Err(error) => self.fault(format!(
                "a decision that cannot be written as JSON: {error}"
            )),
        }
        if apply_record(self.state.clone(), &record, self.now) != *after {
            self.fault("the journal is not the state (I14)");
        }
        let mut undone = Vec::new();
        for event in events {
            let line = describe(self.plan, event, self.now);
            let text = match event {
                // The reason belongs to the story; the event alone names only the error.
                Event::Failing(failure) => {
                    let picture = self.picture(after);
                    format!("the saga compensates: {}", reason(&picture, failure))
                }
                _ => line.text,
            };
            self.tell(line.step, text);
            match event {
                Event::UndoDispatched(undo) if undo.attempt == 1 => undone.push(undo.step),
                Event::IncidentRaised(incident) => {
                    self.incidents.push(incident.clone());
                    if incident.kind.needs_a_person() {
                        self.parked_at.get_or_insert(self.now);
                    }
                }
                _ => {}
            }
        }
        if !undone.is_empty() {
            self.undos.push(undone);
        }
    }

    fn picture(&self, state: &SagaState) -> saga_server::story::fold::Picture {
        saga_server::story::fold::Picture {
            plan: Arc::clone(self.plan),
            state: state.clone(),
            troubles: Vec::new(),
            held: [].into(),
            stalled: BTreeMap::new(),
            turned_at: None,
        }
    }

    /// What a case lets happen once something has been decided.
    fn follow(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::StepDispatched(sent) => {
                    let cancels = self.case.twists.contains(&Twist::Cancel {
                        step: sent.step,
                        attempt: sent.attempt,
                    });
                    if cancels && self.cancel.is_none() {
                        self.after(0, Message::Cancel);
                    }
                }
                Event::UndoDone(done)
                    if self.case.twists.contains(&Twist::AfterUndo(done.step)) =>
                {
                    self.release(done.step);
                }
                Event::PivotSealed(sealed)
                    if self.case.twists.contains(&Twist::AfterUndo(sealed.step)) =>
                {
                    self.release(sealed.step);
                }
                _ => {}
            }
        }
    }

    fn release(&mut self, step: StepIx) {
        let (now, later) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.step == step);
        self.held = later;
        let now: Vec<Command> = now;
        for command in now {
            let ms = self.latency();
            self.after(ms, Message::Command(command));
        }
    }

    /// Does the orchestrator die at this decision? Once at each kind of decision about the step.
    fn strikes(&mut self, events: &[Event], before_commit: bool) -> bool {
        let wanted = self.case.twists.iter().find_map(|twist| match twist {
            Twist::Crash { step, before } if *before == before_commit => Some(*step),
            _ => None,
        });
        let Some(step) = wanted else { return false };
        let about: Vec<&str> = events
            .iter()
            .map(|event| describe(self.plan, event, self.now))
            .filter(|line| line.step == Some(step))
            .map(|line| line.kind)
            .collect();
        if about.is_empty() || !self.crashed.insert(about.join(" ")) {
            return false;
        }
        let when = if before_commit {
            "before it commits"
        } else {
            "right after it committed"
        };
        self.tell(
            Some(step),
            format!("the orchestrator dies {when}: {}", about.join(", ")),
        );
        true
    }

    /// The process is gone: what is left is the journal, and the commands that are on their way.
    fn restart(&mut self) {
        let mut state = SagaState::unborn(self.state.id);
        for (at, text) in &self.journal {
            match serde_json::from_str::<Record>(text) {
                Ok(record) => state = apply_record(state, &record, *at),
                Err(error) => {
                    return self.fault(format!("a journal row cannot be read again: {error}"));
                }
            }
        }
        state.suspend_limits();
        self.state = state;
        self.wire
            .retain(|_, message| !matches!(message, Message::Reply(_)));
        self.unsent = outstanding(self.plan, &self.state)
            .iter()
            .map(|c| (c.step, c.op))
            .collect();
        let ms = self.latency();
        self.after(ms, Message::Resume);
    }

    /// Sends what was outstanding before a crash, as its participants connect again.
    fn resend(&mut self) {
        let gate = self.gate();
        for command in outstanding(self.plan, &self.state) {
            let (step, op) = (command.step, command.op);
            let reachable = addressee(self.plan, step, op)
                .is_some_and(|(to, _)| gate.participants.contains_key(to));
            if !reachable || !self.unsent.remove(&(step, op)) {
                continue;
            }
            self.state
                .set_limit(step, op, self.now.plus_ms(timeout_ms(self.plan, step, op)));
            if may_repeat(self.plan, step, op) {
                self.send(command);
            }
        }
    }

    fn send(&mut self, command: Command) {
        self.sent.push(command.clone());
        if let Some(side) = Side::of(command.op) {
            self.first_sent
                .entry((command.step, side))
                .or_insert(self.now);
        }
        let step = command.step;
        if command.op == Op::Action {
            let late = self.case.twists.contains(&Twist::Late(step)) && command.attempt == 1;
            if late || self.case.twists.contains(&Twist::AfterUndo(step)) {
                self.tell(
                    Some(step),
                    format!("attempt {} is held up on its way", command.attempt),
                );
                self.held.push(command);
                return;
            }
        }
        if self.answer_of(&command) == Some(Answer::Silent(false)) {
            let what = if command.op == Op::Compensation {
                "undo"
            } else {
                "attempt"
            };
            self.tell(
                Some(step),
                format!("{what} {} is lost on its way", command.attempt),
            );
            return;
        }
        if self.case.twists.contains(&Twist::Twice(step)) {
            let ms = self.latency();
            self.after(ms, Message::Command(command.clone()));
        }
        let ms = self.latency();
        self.after(ms, Message::Command(command));
    }

    fn answer_of(&self, command: &Command) -> Option<Answer> {
        let side = Side::of(command.op)?;
        let first = self
            .first_sent
            .get(&(command.step, side))
            .copied()
            .unwrap_or(self.now);
        let since_ms = u64::try_from((self.now.0 - first.0) / 1_000).unwrap_or(0);
        self.case
            .script
            .answer(command.step, side, command.attempt, since_ms)
            .cloned()
    }

    /// A command arrives; `None`: nobody hears the answer.
    async fn participate(&mut self, command: &Command) -> Option<Reply> {
        let (participant, action) = addressee(self.plan, command.step, command.op)?;
        let step = words::step(self.plan, command.step);
        let nothing = Value::Object(serde_json::Map::new());
        let call = Call {
            participant,
            action,
            step,
            command,
            expired: command.not_after.is_some_and(|limit| limit < self.now),
            definition: &self.plan.definition.saga,
            sample: self.case.scenario.outputs.get(step).unwrap_or(&nothing),
        };
        if matches!(command.op, Op::Action | Op::Compensation) {
            self.calls.push(call.name());
        }
        let told = self.answer_of(command);
        let outcome = self.cast.take(&call, told.as_ref()).await;
        let name = call.name();
        let lost = matches!(told, Some(Answer::Silent(_)));
        let heard = if lost { ", and the answer is lost" } else { "" };
        self.tell(
            Some(command.step),
            format!("{name} {}{heard}", said(&outcome)),
        );
        let reply = Reply {
            participant: participant.into(),
            step: command.step,
            round: command.round,
            op: command.op,
            attempt: command.attempt,
            outcome,
        };
        if lost {
            return None;
        }
        self.answered.push(reply.clone());
        if self.case.twists.contains(&Twist::Twice(command.step)) {
            let ms = self.latency();
            self.after(ms, Message::Reply(reply.clone()));
        }
        Some(reply)
    }

    /// I22: what was held up arrives, and every message ever sent comes once more. Nothing may move.
    async fn replay(&mut self) {
        let (state, effects) = (self.state.clone(), self.effects.clone());
        let held = std::mem::take(&mut self.held);
        let sent = std::mem::take(&mut self.sent);
        for command in held.into_iter().chain(sent) {
            let planned = self.plan.step(command.step);
            let undone = self
                .state
                .steps
                .get(command.step.at())
                .is_some_and(|s| s.undo != UndoState::None);
            // What nothing undoes may still land after the saga went back: its author said that this does no harm.
            let harmless = planned.is_some_and(|step| step.compensation.is_none()) && !undone;
            let arrived = effects
                .get(words::step(self.plan, command.step))
                .is_some_and(|e| e.acted > 0);
            if harmless && !arrived && command.op == Op::Action {
                continue;
            }
            self.participate(&command).await;
        }
        for reply in std::mem::take(&mut self.answered) {
            if !matches!(
                decide(
                    self.plan,
                    &self.state,
                    &Input::Reply(reply),
                    &self.gate(),
                    self.now
                ),
                Err(Rejected::Stale)
            ) {
                self.fault("a message moved the saga after its end (I22)");
            }
        }
        let after = self.cast.effects(self.state.id).await;
        for (step, effects) in &after {
            if self.effects.get(step).copied().unwrap_or_default() != *effects {
                self.fault(format!(
                    "`{step}`: a message that came late or again took effect (I22): {effects:?}"
                ));
            }
        }
        if self.state != state {
            self.fault("the saga moved after its end (I22)");
        }
    }

    fn latency(&mut self) -> u64 {
        self.chance.between(1, 9)
    }

    fn after(&mut self, ms: u64, message: Message) {
        self.number += 1;
        self.wire
            .insert((self.now.plus_ms(ms), self.number), message);
    }

    fn tell(&mut self, step: Option<StepIx>, text: String) {
        if self.story.len() < STORY_MAX {
            let step = step.map(|ix| words::step(self.plan, ix).to_owned());
            self.story.push(Line {
                after_ms: self.elapsed_ms(),
                step,
                text,
            });
        }
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from((self.now.0 - BEGIN.0) / 1_000).unwrap_or(0)
    }

    fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }
}

/// An answer in words.
fn said(outcome: &Outcome) -> String {
    let with = |what: &str, error: &ErrorBody| format!("{what} {}", words::error(error));
    match outcome {
        Outcome::Succeeded(output) => format!("has done it: {}", output.text()),
        Outcome::Refused(error) => with("refuses:", error),
        Outcome::Failed(error) => with("fails and rolls back:", error),
        Outcome::Accepted => "has accepted it".to_owned(),
        Outcome::Running => "is still at it".to_owned(),
        Outcome::Blocked => "keeps it out: it was undone or sealed before".to_owned(),
        Outcome::Conflict(error) => with("answers conflict:", error),
        Outcome::Expired => "lets it be: its time has passed".to_owned(),
        Outcome::NeedsOperator(error) => with("needs an operator:", error),
        Outcome::NothingToDo => "has nothing to undo, and keeps the action out".to_owned(),
        Outcome::Compensated => "has undone it".to_owned(),
        Outcome::Absent => "knows nothing of it".to_owned(),
        Outcome::Done(_) => "says that it was done".to_owned(),
        Outcome::OutputNotTaken(error) => {
            with("has done it, and its output cannot be taken:", error)
        }
        Outcome::Sealed => "has sealed it: it never happened and never will".to_owned(),
    }
}
