//! The other side of a saga: tells it what happened, hears what it sends, and checks each timer on its way.

use std::collections::BTreeSet;

use saga_dsl::{
    builder::Saga,
    plan::{Plan, StepIx},
};
use serde_json::{Value, json};

use crate::{
    Command, Effect, Event, Gate, Input, Record, Rejected, SagaId, SagaState, Status, Timestamp,
    apply_record,
    command::{addressee, outstanding, outstanding_at, timeout_ms},
    decide,
    gate::Live,
    ground::Op,
    ids::Partition,
    input::{Cancel, Intervention, Lost, Order, Outcome, Reply, Unfit},
    scope::status_word,
};

use super::{done, error, start};

/// A saga and those who talk to it.
pub(super) struct Conversation {
    pub(super) plan: Plan,
    pub(super) state: SagaState,
    pub(super) gate: Gate,
    pub(super) now: Timestamp,
    /// Sent since it was last looked at.
    pub(super) sent: Vec<Command>,
    pub(super) journal: Vec<(Timestamp, Record)>,
}

impl Conversation {
    /// Everybody is there; nothing has begun.
    pub(super) fn about(saga: Saga) -> Self {
        let plan = Plan::from_definition(saga.build().expect("a definition")).expect("a plan");
        let state = SagaState::unborn(SagaId::new(1, Partition(0), 7));
        let gate = Gate::default();
        let now = Timestamp(1_000_000_000);
        let mut talk = Self {
            plan,
            state,
            gate,
            now,
            sent: Vec::new(),
            journal: Vec::new(),
        };
        for participant in ["shop", "bank"] {
            talk.gate
                .participants
                .insert(participant.into(), talk.live(participant));
        }
        talk
    }

    pub(super) fn begun(saga: Saga) -> Self {
        Self::begun_with(saga, &json!({}))
    }

    pub(super) fn begun_with(saga: Saga, input: &Value) -> Self {
        let mut talk = Self::about(saga);
        talk.tell(start(input)).expect("it begins");
        talk
    }

    pub(super) fn live(&self, participant: &str) -> Live {
        let mut actions = BTreeSet::new();
        for ix in 0..self.plan.steps.len() {
            let ix = StepIx(u16::try_from(ix).expect("few"));
            for op in [Op::Action, Op::Compensation] {
                if let Some((_, action)) =
                    addressee(&self.plan, ix, op).filter(|(p, _)| *p == participant)
                {
                    actions.insert(action.to_owned());
                }
            }
        }
        Live {
            actions,
            transactional: true,
        }
    }

    /// An input; answers what was recorded.
    #[track_caller]
    pub(super) fn tell(&mut self, input: Input) -> Result<Vec<Event>, Rejected> {
        let decision = decide(&self.plan, &self.state, &input, &self.gate, self.now)?;
        if !decision.events.is_empty() {
            let record = Record {
                v: Record::VERSION,
                events: decision.events.clone(),
            };
            assert_eq!(
                apply_record(self.state.clone(), &record, self.now),
                decision.state
            );
            self.journal.push((self.now, record));
        }
        self.state = decision.state;
        for effect in decision.effects {
            match effect {
                Effect::Send(command) => self.sent.push(command),
                Effect::Extend { step, due } => {
                    let op = self.state.steps[step.at()]
                        .outstanding()
                        .expect("something is outstanding");
                    self.state.set_limit(step, op, due);
                }
                Effect::Await { .. } => {}
                Effect::Announce => assert!(self.state.status.is_end()),
            }
        }
        Ok(decision.events)
    }

    /// The commands since the last look: `a`, `a#2` for a second attempt, `a@2` for a second round, `undo a`, `query p`, `seal p`.
    #[track_caller]
    pub(super) fn sends(&mut self, expected: &[&str]) -> &mut Self {
        let names: Vec<String> = std::mem::take(&mut self.sent)
            .iter()
            .map(|c| self.name(c))
            .collect();
        assert_eq!(names, expected);
        self
    }

    pub(super) fn name(&self, command: &Command) -> String {
        let id = &self.plan.steps[command.step.at()].id;
        let verb = match command.op {
            Op::Action => "",
            Op::Compensation => "undo ",
            Op::Query => "query ",
            Op::Seal => "seal ",
        };
        let again = if command.attempt > 1 {
            format!("#{}", command.attempt)
        } else {
            String::new()
        };
        let round = if command.round > 1 {
            format!("@{}", command.round)
        } else {
            String::new()
        };
        format!("{verb}{id}{round}{again}")
    }

    pub(super) fn ix(&self, id: &str) -> StepIx {
        self.plan.step_ix(id).expect("a step of this saga")
    }

    /// An answer to what is outstanding at a step.
    #[track_caller]
    pub(super) fn answers(&mut self, id: &str, outcome: Outcome) -> &mut Self {
        let ix = self.ix(id);
        let command = outstanding_at(&self.plan, &self.state, ix).expect("nothing is outstanding");
        self.answers_to(id, command.op, command.attempt, outcome)
            .expect("the answer is taken");
        self
    }

    /// An answer to an attempt of long ago.
    #[track_caller]
    pub(super) fn answers_to(
        &mut self,
        id: &str,
        op: Op,
        attempt: u32,
        outcome: Outcome,
    ) -> Result<Vec<Event>, Rejected> {
        let round = self.state.steps[self.ix(id).at()].round;
        self.answers_in(id, round, op, attempt, outcome)
    }

    /// An answer to a round of long ago.
    #[track_caller]
    pub(super) fn answers_in(
        &mut self,
        id: &str,
        round: u32,
        op: Op,
        attempt: u32,
        outcome: Outcome,
    ) -> Result<Vec<Event>, Rejected> {
        let ix = self.ix(id);
        let (participant, _) = addressee(&self.plan, ix, op).expect("somebody was asked");
        let reply = Reply {
            participant: participant.into(),
            step: ix,
            round,
            op,
            attempt,
            outcome,
        };
        self.tell(Input::Reply(reply))
    }

    /// An operator intervenes.
    #[track_caller]
    pub(super) fn orders(
        &mut self,
        order: Order,
        id: Option<&str>,
        force: bool,
    ) -> Result<Vec<Event>, Unfit> {
        let step = id.map(|id| self.ix(id));
        let (reason, by) = ("because".to_owned(), "ann".to_owned());
        match self.tell(Input::Intervene(Intervention {
            order,
            step,
            reason,
            by,
            force,
            act: None,
        })) {
            Ok(events) => Ok(events),
            Err(Rejected::Unfit(unfit)) => Err(unfit),
            Err(other) => panic!("{other}"),
        }
    }

    #[track_caller]
    pub(super) fn retries(&mut self, id: &str) -> &mut Self {
        self.orders(Order::Retry { input: None }, Some(id), false)
            .expect("taken");
        self
    }

    #[track_caller]
    pub(super) fn skips(&mut self, id: &str) -> &mut Self {
        self.orders(Order::Skip, Some(id), false).expect("taken");
        self
    }

    #[track_caller]
    pub(super) fn succeeds(&mut self, id: &str) -> &mut Self {
        self.answers(id, done(&json!({"by": id})))
    }

    #[track_caller]
    pub(super) fn refuses(&mut self, id: &str) -> &mut Self {
        self.answers(id, Outcome::Refused(error("sold_out")))
    }

    #[track_caller]
    pub(super) fn fails(&mut self, id: &str) -> &mut Self {
        self.answers(id, Outcome::Failed(error("busy")))
    }

    #[track_caller]
    pub(super) fn undone(&mut self, id: &str) -> &mut Self {
        self.answers(id, Outcome::Compensated)
    }

    /// The command at a step is lost.
    #[track_caller]
    pub(super) fn loses(&mut self, id: &str, unsent: bool) -> &mut Self {
        let ix = self.ix(id);
        let command = outstanding_at(&self.plan, &self.state, ix).expect("nothing is outstanding");
        let (op, attempt) = (command.op, command.attempt);
        self.tell(Input::Lost(Lost {
            step: ix,
            round: 1,
            op,
            attempt,
            unsent,
            error: error("connection"),
        }))
        .expect("the loss is taken");
        self
    }

    /// Time passes; every timer fires on its way, and each leads somewhere.
    #[track_caller]
    pub(super) fn passes(&mut self, ms: u64) -> &mut Self {
        let until = self.now.plus_ms(ms);
        let mut timers = 0;
        while let Some(due) = self.state.next_due().filter(|due| *due <= until) {
            timers += 1;
            assert!(timers < 1_000, "timers without end");
            self.now = self.now.max(due);
            let events = self.tell(Input::Due).expect("a timer is never rejected");
            let waits = self.state.next_due().is_none_or(|due| due > self.now);
            assert!(!events.is_empty() || waits, "a timer that leads nowhere");
        }
        self.now = until;
        self
    }

    pub(super) fn leaves(&mut self, participant: &str) -> &mut Self {
        self.gate.participants.remove(participant);
        self
    }

    #[track_caller]
    pub(super) fn comes(&mut self, participant: &str) -> &mut Self {
        self.gate
            .participants
            .insert(participant.into(), self.live(participant));
        self.tell(Input::Wake).expect("taken");
        self
    }

    #[track_caller]
    pub(super) fn cancel(&mut self) -> Result<Vec<Event>, Rejected> {
        self.tell(Input::Cancel(Cancel {
            reason: "changed my mind".into(),
            by: "ann".into(),
            act: None,
        }))
    }

    /// The process dies; another one folds the journal and sends again what is outstanding.
    #[track_caller]
    pub(super) fn restarts(&mut self) -> &mut Self {
        let mut state = SagaState::unborn(self.state.id);
        for (at, record) in &self.journal {
            let text = serde_json::to_string(record).expect("JSON");
            state = apply_record(state, &serde_json::from_str(&text).expect("a record"), *at);
        }
        state.suspend_limits();
        self.state = state;
        for command in outstanding(&self.plan, &self.state) {
            let limit = self
                .now
                .plus_ms(timeout_ms(&self.plan, command.step, command.op));
            self.state.set_limit(command.step, command.op, limit);
            self.sent.push(command);
        }
        self
    }

    #[track_caller]
    pub(super) fn is(&mut self, status: Status) -> &mut Self {
        assert_eq!(self.state.status, status);
        self
    }

    /// Where a step stands, as screens show it.
    #[track_caller]
    pub(super) fn shows(&mut self, id: &str, word: &str) -> &mut Self {
        assert_eq!(status_word(&self.state.steps[self.ix(id).at()]), word);
        self
    }

    /// Open incidents as `kind` or `kind step`.
    #[track_caller]
    pub(super) fn calls(&mut self, expected: &[&str]) -> &mut Self {
        let name = |ix: StepIx| format!(" {}", self.plan.steps[ix.at()].id);
        let open: Vec<String> = self
            .state
            .incidents
            .iter()
            .map(|open| {
                let kind = serde_json::to_value(open.incident.kind).expect("JSON");
                format!(
                    "{}{}",
                    kind.as_str().expect("a word"),
                    open.incident.step.map(name).unwrap_or_default()
                )
            })
            .collect();
        assert_eq!(open, expected);
        self
    }

    /// The payload of the last command.
    #[track_caller]
    pub(super) fn payload(&self) -> Value {
        self.sent
            .last()
            .expect("something was sent")
            .input
            .to_value()
    }

    /// How many decisions are on record.
    pub(super) fn decisions(&self) -> u64 {
        assert_eq!(self.state.seq, self.journal.len() as u64);
        self.state.seq
    }
}
