//! Sagas as they may really go: `decide` is led through a plan by a list of numbers, and every journal on the way can be
//! folded, told, and brought back from its rows.

use std::{collections::BTreeSet, sync::Arc};

use proptest::{
    collection::vec,
    prelude::{Strategy, any},
};
use saga_core::{
    Decision, ErrorBody, Gate, Input, Op, Payload, Record, SagaId, SagaState, Timestamp,
    apply_record,
    command::{addressee, outstanding},
    decide,
    effect::Command,
    gate::Live,
    input::{Cancel, Intervention, Lost, Order, Outcome, Reply, Start},
};
use saga_dsl::{
    file,
    plan::{Plan, StepIx},
    types::Type,
};
use saga_engine::store::record::JournalRow;
use saga_server::story::fold::Picture;
use serde_json::{Value, json};

use crate::{edits::files, journal::is_told, run::fuzz};

/// Two groups, conditions, a pivot, what follows it, a deadline, an undo with an input of its own.
pub const VARIED: &str = "
saga: varied
version: 1
deadline: 10m
input: {n: int, flag: bool, note: optional string}
defaults: {timeout: 5s, retry: {max_attempts: 3, initial_delay: 1s}}
steps:
  - parallel:
      - sequence:
          - {step: a, action: one/work, input: [n], compensation: one/undo}
          - {step: b, action: two/work, input: {n: '${input.n + 1}'}, compensation: two/undo, when: input.flag}
      - step: c
        action: two/work
        input: {out: '${input.n}'}
        compensation: {action: two/undo, input: {key: '${self.key}'}}
  - {step: free, action: one/work, compensation: none}
  - {step: odd, action: one/work, input: {n: '${10 / input.n}'}, compensation: one/undo, at_least_once: true}
  - {step: p, kind: pivot, action: one/work, input: [steps.a.output]}
  - {step: r, kind: retriable, action: two/work, input: {n: '${steps.p.output.n}'}}
  - {step: last, kind: retriable, action: one/work, escalate_after: 1m}
";

#[test]
fn walk() {
    let mut sources = files("saga-dsl/tests", "good.saga.yaml");
    sources.extend(files("examples", ".saga.yaml"));
    let mut plans: Vec<Arc<Plan>> = sources
        .iter()
        .filter_map(|source| file::load("walk", source).plan)
        .map(Arc::new)
        .collect();
    assert!(plans.len() > 30, "only {} plans were made", plans.len());
    // The first number chooses the plan; the rich one is worth more looks than the others.
    let varied = file::load("varied.saga.yaml", VARIED.as_bytes());
    let varied = Arc::new(
        varied
            .plan
            .unwrap_or_else(|| panic!("{:#?}", varied.diagnostics)),
    );
    plans.extend(vec![varied; plans.len()]);
    let numbers = vec(any::<u8>(), 4..120);
    fuzz("walk", numbers.prop_map(|numbers| numbers), |numbers| {
        if let [plan, rest @ ..] = numbers {
            go(&plans[usize::from(*plan) % plans.len()], rest);
        }
    });
}

/// Journals of sagas of a plan, by numbers that are always the same: as the fixtures hold them.
pub fn journals(plan: &Arc<Plan>, count: u64) -> Vec<Value> {
    let mut chance: u64 = 7;
    let mut number = || {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        chance.to_be_bytes()[0]
    };
    let journal = |rows: Vec<JournalRow>| {
        let rows = rows.iter().map(|row| {
            let body: Value = serde_json::from_slice(&row.body).expect("JSON");
            json!({"seq": row.seq, "at": row.at, "body": body})
        });
        json!({"saga": SagaId::from_u128(42), "rows": rows.collect::<Vec<_>>()})
    };
    (0..count)
        .map(|_| journal(go(plan, &[(); 60].map(|()| number()))))
        .collect()
}

/// Leads a saga where the numbers say, and returns its journal.
pub fn go(plan: &Arc<Plan>, numbers: &[u8]) -> Vec<JournalRow> {
    let id = SagaId::from_u128(42);
    let mut walk = Walk {
        plan,
        state: SagaState::unborn(id),
        now: Timestamp(1_000_000_000_000_000),
        rows: Vec::new(),
    };
    let input = sample(
        &Type::Object(plan.definition.input.clone()),
        numbers.first().copied().unwrap_or(0),
    );
    let start = Start {
        input: Payload::from_value(input),
        key: None,
        labels: plan.definition.labels.clone(),
    };
    walk.take(
        &Input::Start(start),
        &gate(plan, numbers.first().copied().unwrap_or(0)),
    );
    for choice in numbers.chunks(3) {
        let [what, which, how] = [0, 1, 2].map(|at| choice.get(at).copied().unwrap_or(0));
        let input = walk.input(what, which, how);
        walk.take(&input, &gate(plan, how));
    }
    let picture =
        Picture::fold(Arc::clone(plan), id, &walk.rows).expect("a journal that was just written");
    assert_eq!(
        picture.state, walk.state,
        "the journal tells of another state than the live run"
    );
    is_told(&picture, walk.now);
    walk.rows
}

struct Walk<'a> {
    plan: &'a Arc<Plan>,
    state: SagaState,
    now: Timestamp,
    rows: Vec<JournalRow>,
}

impl Walk<'_> {
    /// Decides and remembers as a lane does.
    fn take(&mut self, input: &Input, gate: &Gate) {
        let Ok(decision) = decide(self.plan, &self.state, input, gate, self.now) else {
            return;
        };
        let Decision {
            events,
            effects: _,
            state,
        } = decision;
        if events.is_empty() {
            self.state = state;
            return;
        }
        let record = Record {
            v: Record::VERSION,
            events,
        };
        let body = serde_json::to_vec(&record).expect("a record is JSON");
        let read: Record = serde_json::from_slice(&body).expect("what was written can be read");
        assert_eq!(read, record);
        assert_eq!(
            apply_record(self.state.clone(), &read, self.now),
            state,
            "{record:?}"
        );
        let seq = state.seq;
        self.rows.push(JournalRow {
            saga_id: state.id,
            seq,
            at: self.now,
            body,
        });
        self.state = state;
        let picture =
            Picture::fold(Arc::clone(self.plan), self.state.id, &self.rows).expect("a journal");
        is_told(&picture, self.now);
    }

    fn input(&mut self, what: u8, which: u8, how: u8) -> Input {
        let commands = outstanding(self.plan, &self.state);
        let chosen = commands
            .get(usize::from(which) % commands.len().max(1))
            .cloned();
        let passing = u64::from(how) * 10;
        self.now = self.now.plus_ms(passing);
        match (what % 16, chosen) {
            (0..=8, Some(command)) => self.reply(&command, how),
            (9, Some(command)) => self.lost(&command, how),
            (10, _) => Input::Cancel(Cancel {
                reason: "changed my mind".to_owned(),
                by: String::new(),
                act: None,
            }),
            (11, _) => Input::Trouble(ErrorBody::new("panic", "as the walk says")),
            (12, _) => Input::Wake,
            (13, _) => self.intervention(which, how),
            _ => {
                // The clock goes to where something is due, or a little past it.
                self.now = self
                    .state
                    .next_due()
                    .map_or(self.now, |due| due.max(self.now))
                    .plus_ms(passing);
                Input::Due
            }
        }
    }

    /// Mostly an answer that makes sense, at times one to an earlier attempt or from somebody else.
    fn reply(&self, command: &Command, how: u8) -> Input {
        let (participant, _) =
            addressee(self.plan, command.step, command.op).unwrap_or(("nobody", ""));
        let error = ErrorBody::new("no", "as the walk says");
        let output = || {
            Payload::from_value(
                json!({"n": how, "confirmation": "c", "receipt": "r", "tracking": "t"}),
            )
        };
        let outcome = match (command.op, how % 16) {
            (Op::Action, 0..=7) => Outcome::Succeeded(output()),
            (Op::Compensation, 0..=7) => Outcome::Compensated,
            (Op::Query | Op::Seal, 0..=2) => Outcome::Done(output()),
            (Op::Query, 3..=7) => Outcome::Absent,
            (Op::Seal, 3..=7) => Outcome::Sealed,
            (_, 8) => Outcome::Refused(error),
            (_, 9 | 10) => Outcome::Failed(ErrorBody {
                retry_after_ms: Some(50),
                ..error
            }),
            (_, 11) if command.op != Op::Compensation => Outcome::OutputNotTaken(error),
            (_, 11) => Outcome::Accepted,
            (_, 12) => Outcome::Running,
            (_, 13) => Outcome::Blocked,
            (_, 14) => Outcome::NothingToDo,
            (_, _) if how > 127 => Outcome::NeedsOperator(error),
            (_, _) => Outcome::Conflict(error),
        };
        let attempt = if how % 32 == 31 {
            command.attempt.saturating_sub(1)
        } else {
            command.attempt
        };
        let from = if how % 64 == 63 {
            "stranger"
        } else {
            participant
        };
        let (step, round, op) = (command.step, command.round, command.op);
        Input::Reply(Reply {
            participant: from.into(),
            step,
            round,
            op,
            attempt,
            outcome,
        })
    }

    fn intervention(&self, which: u8, how: u8) -> Input {
        let payload = || Payload::from_value(json!({"n": how}));
        let order = match how % 6 {
            0 => Order::Retry { input: None },
            1 => Order::Retry {
                input: Some(payload()),
            },
            2 => Order::Skip,
            3 => Order::ResolveSucceeded { output: payload() },
            4 => Order::ResolveFailed,
            _ => Order::Abandon,
        };
        let steps = u16::try_from(self.plan.steps.len()).unwrap_or(u16::MAX);
        // One number more than there are steps means the whole saga.
        let step = Some(u16::from(which) % (steps + 1))
            .filter(|at| *at < steps)
            .map(StepIx);
        let (reason, by) = ("as the walk says".to_owned(), String::new());
        Input::Intervene(Intervention {
            order,
            step,
            reason,
            by,
            force: how >= 128,
            act: None,
        })
    }

    fn lost(&self, command: &Command, how: u8) -> Input {
        let Command {
            step,
            round,
            op,
            attempt,
            ..
        } = *command;
        let error = ErrorBody::new("connection_lost", "as the walk says");
        Input::Lost(Lost {
            step,
            round,
            op,
            attempt,
            unsent: how.is_multiple_of(2),
            error,
        })
    }
}

/// Everybody is there, mostly.
pub fn gate(plan: &Plan, how: u8) -> Gate {
    let mut gate = Gate::default();
    for step in &plan.steps {
        let undo = step
            .compensation
            .as_ref()
            .map(|undo| (&undo.participant, &undo.action));
        for (participant, action) in undo
            .into_iter()
            .chain([(&step.action.participant, &step.action.action)])
        {
            let new = || Live {
                actions: BTreeSet::new(),
                transactional: how % 8 != 1,
            };
            gate.participants
                .entry(participant.clone())
                .or_insert_with(new)
                .actions
                .insert(action.clone());
        }
    }
    if how % 8 == 2 {
        gate.participants.pop_first();
    }
    gate
}

/// A value of a type.
fn sample(ty: &Type, how: u8) -> Value {
    match ty {
        Type::String => "text".into(),
        Type::Int => (i64::from(how) % 4).into(),
        Type::Double => 1.5.into(),
        Type::Bool => (how.is_multiple_of(2)).into(),
        Type::Bytes => "YWI=".into(),
        Type::Timestamp => "2026-01-31T10:00:00Z".into(),
        Type::Duration => "1h".into(),
        Type::Any | Type::Null => Value::Null,
        Type::List(item) => vec![sample(item, how); usize::from(how % 3)].into(),
        Type::Object(fields) => fields
            .iter()
            .map(|(name, ty)| (name.clone(), sample(ty, how)))
            .collect(),
        Type::Optional(inner) if how.is_multiple_of(2) => sample(inner, how),
        Type::Optional(_) => Value::Null,
    }
}
