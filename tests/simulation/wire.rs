//! Between the orchestrator and its participants: what is sent may be lost, late, twice or held back for long.

use std::sync::Arc;

use saga_core::{Command, ErrorBody, Op, Payload, Wait, command::addressee, input::Outcome};
use saga_dsl::{definition::Kind, plan::Plan};
use saga_engine::{
    lane::intake::{GivenUp, Incoming, Intake, LostCommand, Receipt},
    link::{Link, Outgoing},
};

use tokio::sync::mpsc;

use super::{
    participants::{Call, Key, key},
    plans::{LOOSE, SOUND},
    story::{Violation, ensure},
    world::{Event, FAULTS_MS, Shared, World},
};

/// A link as the world sees it.
pub struct Line {
    pub incarnation: usize,
    pub participant: &'static str,
    pub up: bool,
}

/// A link as a lane sees it.
struct SimLink {
    shared: Shared,
    number: u64,
    incarnation: usize,
    participant: &'static str,
    actions: Vec<String>,
    transactional: bool,
}

impl Link for SimLink {
    fn number(&self) -> u64 {
        self.number
    }
    fn participant(&self) -> &str {
        self.participant
    }
    fn actions(&self) -> &[String] {
        &self.actions
    }
    fn transactional(&self) -> bool {
        self.transactional
    }
    fn send(&self, commands: Vec<Outgoing>) {
        let mut world = self.shared.lock();
        for outgoing in commands {
            // It may die before each, and after each.
            if !world.boundary(self.incarnation) {
                return;
            }
            let checked = world.check_sent(&outgoing);
            world.check(checked);
            world.carry(self.number, outgoing.command);
            if !world.boundary(self.incarnation) {
                return;
            }
        }
        self.shared.wake();
    }
}

impl World {
    /// I8, I18, I20: only what is committed is sent, and always the same.
    fn check_sent(&mut self, outgoing: &Outgoing) -> Result<(), Violation> {
        let command = &outgoing.command;
        let saga = self.vault.sagas.get(&command.saga_id);
        let decided = (command.step.0, command.round, command.op, command.attempt);
        let committed = saga.is_some_and(|saga| saga.decided.contains(&decided));
        ensure!(
            committed,
            "I18",
            "on the wire and not committed: {command:?}"
        );
        let kind = outgoing.plan.steps[command.step.at()].kind;
        match command.op {
            Op::Compensation => {
                ensure!(kind == Kind::Compensatable, "I8", "undo of a {kind:?} step")
            }
            // Any step whose round an operator closes is sealed.
            Op::Query => ensure!(kind == Kind::Pivot, "I8", "a {kind:?} step is asked"),
            Op::Seal => {}
            Op::Action => {}
        }
        let first = self
            .first_sent
            .entry((key(command), command.op))
            .or_insert_with(|| command.clone());
        let same = Command {
            attempt: first.attempt,
            ..command.clone()
        };
        // Another payload for an undo is another command under its key, as ordered.
        let edited = command.op == Op::Compensation
            && saga.is_some_and(|saga| saga.edited.contains(&command.step.0));
        ensure!(
            edited || same == *first,
            "I20",
            "the same key, another content: {command:?} after {first:?}"
        );
        Ok(())
    }

    fn carry(&mut self, link: u64, command: Command) {
        self.story
            .mix_number(u64::from(command.step.0) << 32 | u64::from(command.attempt));
        self.story.mix_number(self.now_ms() ^ command.fingerprint);
        let (saga, step) = (command.saga_id, command.step.0);
        self.tell(format_args!(
            "link {link}: {:?} of {saga}/{step}, attempt {}",
            command.op, command.attempt
        ));
        self.sent.push(command.clone());
        let (weather, loose) = (self.weather, self.is_loose(&command));
        if !self.lines.get(&link).is_some_and(|line| line.up) || self.chance.percent(weather.drop) {
            return;
        }
        if self.chance.percent(weather.forged) {
            self.forge(link, &command);
        }
        if command.op == Op::Action && !loose && self.chance.percent(weather.late_actions) {
            self.late
                .entry(key(&command))
                .or_default()
                .push((link, command));
            return;
        }
        if self.chance.percent(weather.dead) {
            // Who died of it may have done its work before.
            self.within(
                2 * FAULTS_MS,
                Event::Dead {
                    command: command.clone(),
                },
            );
            if self.chance.percent(60) {
                return;
            }
        }
        // A second copy at somebody without an inbox is a second effect, which is not promised otherwise.
        if self.chance.percent(weather.twice) && !loose {
            let ms = self.latency();
            self.after(
                ms,
                Event::Command {
                    link,
                    command: command.clone(),
                },
            );
        }
        let ms = self.latency();
        self.after(ms, Event::Command { link, command });
    }

    /// A command comes back to whoever is there now, as often as it was not acknowledged.
    pub fn dead_letter(&mut self, command: &Command) {
        let Some(incarnation) = self.current() else {
            return;
        };
        let step = self
            .plan_of(key(command))
            .and_then(|plan| plan.step(command.step).map(|s| s.id.clone()));
        let Some(step) = step else { return };
        self.tell(format_args!(
            "dead letter: {:?} of {}/{step}",
            command.op, command.saga_id
        ));
        let Command {
            saga_id,
            round,
            op,
            attempt,
            ..
        } = *command;
        let error = ErrorBody::new("dead_letter", "");
        let dead = vec![LostCommand {
            saga_id,
            step,
            round,
            op,
            attempt,
            unsent: false,
            error,
        }];
        let given_up = GivenUp {
            packed: true,
            deliveries: Some(2),
        };
        let receipt = Receipt::new(0, 1, mpsc::unbounded_channel().0);
        self.hand(
            incarnation,
            Intake::DeadLetters {
                dead,
                given_up,
                receipt,
            },
        );
    }

    fn latency(&mut self) -> u64 {
        let held = self.weather.held;
        if self.chance.percent(held) {
            self.chance.below(2 * FAULTS_MS)
        } else {
            self.chance.between(1, 60)
        }
    }

    fn plan_of(&self, key: Key) -> Option<Arc<Plan>> {
        self.vault
            .sagas
            .get(&key.0)
            .map(|saga| Arc::clone(&saga.plan))
    }

    pub fn is_loose(&self, command: &Command) -> bool {
        self.plan_of(key(command))
            .is_some_and(|plan| plan.steps[command.step.at()].at_least_once)
    }

    fn call(&self, key: Key) -> Option<Call> {
        let plan = self.plan_of(key)?;
        let step = plan.steps.get(usize::from(key.1))?;
        let retriable = step.kind == Kind::Retriable;
        Some(Call {
            retriable,
            loose: step.at_least_once,
            now: self.now(),
            mood: self.mood,
        })
    }

    /// A command reaches its participant.
    pub fn participate(&mut self, link: u64, command: Command) {
        // What was on its way over a link that ended has perhaps arrived all the same.
        if !self.lines.get(&link).is_some_and(|line| line.up)
            && !self.healed
            && self.chance.percent(50)
        {
            return;
        }
        let key = key(&command);
        let Some(call) = self.call(key) else { return };
        let taken = self
            .inboxes
            .take(&command, call, self.kept, &mut self.chance);
        let Some(taken) = self.check(taken) else {
            return;
        };
        if taken.accepted {
            self.within(3_000, Event::Finish { key, link });
            if self.chance.percent(40) {
                self.within(1_000, Event::Heartbeat { key, link });
            }
        }
        if matches!(command.op, Op::Compensation | Op::Seal)
            && let Some(late) = self.late.remove(&key)
        {
            for (link, action) in late {
                self.within(
                    200,
                    Event::Command {
                        link,
                        command: action.clone(),
                    },
                );
                self.within(
                    2_000,
                    Event::Command {
                        link,
                        command: action,
                    },
                );
            }
        }
        self.answer(link, key, command.op, command.attempt, taken.outcome);
    }

    pub fn heartbeat(&mut self, key: Key, link: u64) {
        if let Some(attempt) = self.inboxes.running(key) {
            self.answer(link, key, Op::Action, attempt, Outcome::Running);
            if self.chance.percent(60) {
                self.within(1_000, Event::Heartbeat { key, link });
            }
        }
    }

    pub fn finish(&mut self, key: Key, link: u64) {
        let Some(call) = self.call(key) else { return };
        let finished = self.inboxes.finish(key, call, self.kept, &mut self.chance);
        if let Some(Some((attempt, outcome))) = self.check(finished) {
            self.answer(link, key, Op::Action, attempt, outcome);
        }
    }

    fn answer(&mut self, link: u64, key: Key, op: Op, attempt: u32, outcome: Outcome) {
        let Some(mut incoming) = self.incoming(key, op, attempt, outcome) else {
            return;
        };
        let (saga, step, outcome) = (key.0, key.1, &incoming.outcome);
        self.tell(format_args!(
            "{op:?} of {saga}/{step}, attempt {attempt}: {outcome:?}"
        ));
        let weather = self.weather;
        if self.chance.percent(weather.liar) {
            incoming.outcome = self.lie();
            let less = u32::try_from(self.chance.below(3)).unwrap_or(0);
            incoming.attempt = (incoming.attempt + 1).saturating_sub(less);
        }
        self.answered.push(incoming.clone());
        if self.chance.percent(weather.drop) {
            return;
        }
        if self.chance.percent(weather.twice) {
            let ms = self.latency();
            self.after(
                ms,
                Event::Reply {
                    link,
                    incoming: incoming.clone(),
                    forged: false,
                },
            );
        }
        let ms = self.latency();
        self.after(
            ms,
            Event::Reply {
                link,
                incoming,
                forged: false,
            },
        );
    }

    fn incoming(&self, key: Key, op: Op, attempt: u32, outcome: Outcome) -> Option<Incoming> {
        let plan = self.plan_of(key)?;
        let step = saga_dsl::plan::StepIx(key.1);
        let (participant, _) = addressee(&plan, step, op)?;
        let path = plan.step(step)?.id.clone();
        let participant = participant.into();
        Some(Incoming {
            saga_id: key.0,
            step: path,
            round: key.2,
            op,
            attempt,
            participant,
            outcome,
        })
    }

    /// I21: words that nobody said who may say them.
    fn forge(&mut self, link: u64, command: &Command) {
        let outcome = match (command.op, self.chance.below(2)) {
            (Op::Action, 0) => {
                Outcome::Succeeded(Payload::from_value(serde_json::json!({"step": 0})))
            }
            (Op::Action, _) => Outcome::Refused(ErrorBody::new("forged", "")),
            (Op::Compensation, 0) => Outcome::Compensated,
            (Op::Compensation, _) => Outcome::NothingToDo,
            (Op::Query | Op::Seal, 0) => {
                Outcome::Done(Payload::from_value(serde_json::json!({"step": 0})))
            }
            (Op::Query | Op::Seal, _) => Outcome::Sealed,
        };
        let Some(mut incoming) = self.incoming(key(command), command.op, command.attempt, outcome)
        else {
            return;
        };
        match self.chance.below(3) {
            0 => incoming.participant = "mallory".into(),
            // Further off than any operator opens rounds.
            1 => incoming.round += 1_000,
            _ => incoming.attempt = u32::MAX,
        }
        self.within(
            100,
            Event::Reply {
                link,
                incoming,
                forged: true,
            },
        );
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
            Outcome::OutputNotTaken(ErrorBody::new("whatever", "")),
        ];
        self.chance.pick(&lies).clone()
    }

    /// An answer reaches the process that asked, or the one that came after it.
    pub fn reply(&mut self, link: u64, incoming: Incoming, forged: bool) {
        let asked = self
            .lines
            .get(&link)
            .map(|line| line.incarnation)
            .filter(|at| self.is_alive(*at));
        let Some(incarnation) = asked.or_else(|| self.current()) else {
            return;
        };
        if asked.is_none() && !self.healed && self.chance.percent(50) {
            return;
        }
        if !forged
            && let Some(step) = self
                .plan_of((incoming.saga_id, 0, 1))
                .and_then(|p| p.step_ix(&incoming.step))
        {
            self.heard.note(step, &incoming);
        }
        self.hand(incarnation, Intake::Replies(vec![incoming]));
    }

    /// Every participant comes to the newest process, sooner or later.
    pub fn everybody_comes(&mut self, shared: &Shared) {
        for name in SOUND.into_iter().chain([LOOSE]) {
            if self.healed {
                self.connect(shared, name, false);
            } else {
                let ms = if self.chance.percent(15) { 5_000 } else { 30 };
                self.within(ms, Event::Flip(name));
            }
        }
    }

    pub fn flip(&mut self, shared: &Shared, name: &'static str) {
        let Some(current) = self.current() else {
            return;
        };
        if self.healed {
            return;
        }
        let up = |line: &Line| line.up && line.participant == name && line.incarnation == current;
        let there: Vec<u64> = self
            .lines
            .iter()
            .filter(|(_, line)| up(line))
            .map(|(number, _)| *number)
            .collect();
        if there.is_empty() {
            self.connect(shared, name, true);
            if self.chance.percent(15) {
                self.connect(shared, name, true);
            }
            return;
        }
        for link in there {
            self.cut(link);
        }
        self.within(3_000, Event::Flip(name));
    }

    /// A link ends, and its lane is told.
    pub fn cut(&mut self, link: u64) {
        let Some(line) = self.lines.get_mut(&link).filter(|line| line.up) else {
            return;
        };
        line.up = false;
        let incarnation = line.incarnation;
        self.tell(format_args!("link {link} ends"));
        self.hand(incarnation, Intake::Disconnected { link });
    }

    pub fn drain(&mut self, name: &'static str) {
        if self.healed {
            return;
        }
        let up = |line: &Line| line.up && line.participant == name;
        let there: Vec<(u64, usize)> = self
            .lines
            .iter()
            .filter(|(_, l)| up(l))
            .map(|(number, l)| (*number, l.incarnation))
            .collect();
        for (link, incarnation) in there {
            self.hand(incarnation, Intake::Draining { link });
            self.within(400, Event::Cut(link));
        }
        self.within(1_000, Event::Flip(name));
    }

    /// As when a broker takes nothing: what is on its way stays where it is, and nothing more goes out.
    pub fn fall_silent(&mut self, name: &'static str) {
        let Some(incarnation) = self.current().filter(|_| !self.healed) else {
            return;
        };
        for link in self.links_of(name, incarnation) {
            self.tell(format_args!("link {link} rests"));
            self.hand(incarnation, Intake::Suspended { link });
        }
        self.hand(incarnation, Intake::Broker(Some(Wait::BrokerBlocked)));
        self.within(2_000, Event::Stir(name));
    }

    /// It takes messages again; perhaps the participant is not there any more.
    pub fn speak_again(&mut self, shared: &Shared, name: &'static str) {
        let Some(incarnation) = self.current().filter(|_| !self.healed) else {
            return;
        };
        for old in self.links_of(name, incarnation) {
            if self.chance.percent(30) {
                self.cut(old);
                continue;
            }
            if let Some(line) = self.lines.get_mut(&old) {
                line.up = false;
            }
            let by = self.line(shared, incarnation, name, true);
            self.hand(incarnation, Intake::Replaced { link: old, by });
        }
        self.hand(incarnation, Intake::Broker(None));
    }

    fn links_of(&self, name: &'static str, incarnation: usize) -> Vec<u64> {
        let is =
            |line: &Line| line.up && line.participant == name && line.incarnation == incarnation;
        self.lines
            .iter()
            .filter(|(_, line)| is(line))
            .map(|(number, _)| *number)
            .collect()
    }

    /// A participant can be reached; with `partly`, perhaps not for everything.
    fn connect(&mut self, shared: &Shared, name: &'static str, partly: bool) {
        let Some(incarnation) = self.current() else {
            return;
        };
        if !partly {
            let old: Vec<u64> = self
                .lines
                .iter()
                .filter(|(_, l)| l.participant == name)
                .map(|(n, _)| *n)
                .collect();
            for link in old {
                self.cut(link);
            }
            self.hand(incarnation, Intake::Broker(None));
        }
        let link = self.line(shared, incarnation, name, partly);
        self.hand(incarnation, Intake::Connected(link));
    }

    fn line(
        &mut self,
        shared: &Shared,
        incarnation: usize,
        name: &'static str,
        partly: bool,
    ) -> Arc<SimLink> {
        let mut actions = Vec::new();
        for step in self.plans.iter().flat_map(|plan| &plan.steps) {
            let undo = step
                .compensation
                .as_ref()
                .map(|c| (&c.participant, &c.action));
            for (participant, action) in
                [Some((&step.action.participant, &step.action.action)), undo]
                    .into_iter()
                    .flatten()
            {
                if participant == name
                    && !actions.contains(action)
                    && !(partly && self.chance.percent(4))
                {
                    actions.push(action.clone());
                }
            }
        }
        let transactional = name != LOOSE && !(partly && self.chance.percent(4));
        let number = self.lines.len() as u64 + 1;
        self.lines.insert(
            number,
            Line {
                incarnation,
                participant: name,
                up: true,
            },
        );
        self.tell(format_args!(
            "link {number} to {name} for lane {incarnation}"
        ));
        let shared = shared.clone();
        Arc::new(SimLink {
            shared,
            number,
            incarnation,
            participant: name,
            actions,
            transactional,
        })
    }
}
