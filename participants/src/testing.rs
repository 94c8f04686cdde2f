//! A harness that calls a participant's handlers without a server: twice, out of order, too late.
//!
//! ```no_run
//! # use saga_participant::{Answer, Participant, Sqlite};
//! # async fn doc(flights: Participant<Sqlite>) {
//! let flights = flights.test();
//! let booked = flights.call("reserve", serde_json::json!({"flight": "LH1"})).times(2).await;
//! assert!(matches!(booked, Answer::Succeeded(_)));
//! assert_eq!(flights.undo("cancel").await, Answer::Compensated);
//! assert_eq!(flights.call("reserve", serde_json::json!({"flight": "LH1"})).await, Answer::Blocked);
//!
//! flights.next_step(); // a fresh key
//! assert_eq!(flights.undo("cancel").await, Answer::NothingToDo);
//! # }
//! ```

use std::{
    future::IntoFuture,
    hash::{DefaultHasher, Hash, Hasher},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use saga_proto::v1;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    command::{Ask, Known, Op, StepKey},
    execute::Core,
    inbox::Store,
    reply::Answer,
    serve::{Sink, convert},
};

pub use crate::serve::convert::Unreadable;

/// Stands where the orchestrator would: it keeps one step, and sends it what the test says.
pub struct Harness<S: Store> {
    core: Arc<Core<S>>,
    step: Mutex<Step>,
}

/// The step under test, as an orchestrator would remember it.
#[derive(Debug)]
struct Step {
    key: StepKey,
    attempt: u32,
    input: Value,
    output: Option<Value>,
}

impl Step {
    fn fresh(number: u32) -> Self {
        let key = StepKey {
            saga_id: Uuid::now_v7(),
            step: format!("step{number}").into(),
            round: 1,
        };
        Self {
            key,
            attempt: 0,
            input: Value::Null,
            output: None,
        }
    }
}

impl<S: Store> Harness<S> {
    pub(crate) fn new(core: Arc<Core<S>>) -> Self {
        Self {
            core,
            step: Mutex::new(Step::fresh(1)),
        }
    }

    /// Goes on with a step that no command has named yet.
    pub fn next_step(&self) {
        *self.step() = Step::fresh(2);
    }

    /// The key of the step under test.
    pub fn key(&self) -> StepKey {
        self.step().key.clone()
    }

    /// Calls an action.
    ///
    /// # Panics
    /// When `input` is no JSON.
    pub fn call(&self, action: &str, input: impl Serialize) -> Call<'_, S> {
        let input = serde_json::to_value(input).expect("a test's input is JSON");
        self.step().input = input.clone();
        self.ask(Op::Action, action, &input)
    }

    /// Undoes the action, with what an orchestrator would know of it.
    pub fn undo(&self, compensation: &str) -> Call<'_, S> {
        let step = self.step();
        let mut body = json!({"input": step.input, "action_key": step.key.to_string()});
        if let Some(output) = &step.output {
            body["output"] = output.clone();
        }
        drop(step);
        self.ask(Op::Compensation, compensation, &body)
    }

    /// Undoes the action with an input of its own.
    ///
    /// # Panics
    /// When `input` is no JSON.
    pub fn undo_with(&self, compensation: &str, input: impl Serialize) -> Call<'_, S> {
        let input = serde_json::to_value(input).expect("a test's input is JSON");
        self.ask(Op::Compensation, compensation, &input)
    }

    /// Asks what became of the action.
    pub fn query(&self) -> Call<'_, S> {
        self.ask(Op::Query, "", &Value::Null)
    }

    /// Asks what became of the action, and forbids it if nothing did.
    pub fn seal(&self) -> Call<'_, S> {
        self.ask(Op::Seal, "", &Value::Null)
    }

    /// Lets the inbox row go.
    pub async fn forget(&self) {
        let ask = self.ask(Op::Forget, "", &Value::Null).ask;
        self.core.execute(&Arc::new(ask), &Sink::nowhere()).await;
    }

    /// Executes a command of any saga as it came off the wire, recorded or made up, and returns what would go
    /// back; `None` where nobody waits for an answer. The step under test is left alone.
    ///
    /// # Errors
    /// [`Unreadable`] where a connected participant would drop the command.
    pub async fn deliver(&self, command: v1::Command) -> Result<Option<v1::Reply>, Unreadable> {
        let ask = Arc::new(convert::ask(command)?);
        let answered = self.core.execute(&ask, &Sink::nowhere()).await;
        Ok(answered.map(|(attempt, answer)| convert::reply(&ask.key, ask.op, attempt, answer)))
    }

    /// Delivers a command as it stands, whatever step it is about; `None` where nobody waits for an answer.
    pub async fn deliver_ask(&self, ask: Ask) -> Option<Answer> {
        self.core
            .execute(&Arc::new(ask), &Sink::nowhere())
            .await
            .map(|(_, answer)| answer)
    }

    fn ask(&self, op: Op, action: &str, input: &Value) -> Call<'_, S> {
        let step = self.step();
        let known = if step.output.is_some() {
            Known::Done
        } else {
            Known::Unknown
        };
        let input = Bytes::from(input.to_string());
        let mut hasher = DefaultHasher::new();
        (op, action, &input).hash(&mut hasher);
        let ask = Ask {
            action: action.to_owned(),
            input,
            known,
            fingerprint: hasher.finish(),
            ..command(step.key.clone(), op)
        };
        Call {
            harness: self,
            ask,
            times: 1,
            attempt: None,
        }
    }

    fn step(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One command of a test; awaiting it sends it.
#[must_use = "nothing is sent until it is awaited"]
pub struct Call<'a, S: Store> {
    harness: &'a Harness<S>,
    ask: Ask,
    times: u32,
    attempt: Option<u32>,
}

impl<S: Store> Call<'_, S> {
    /// Sends the same command so often; the last answer counts.
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Sends it as that attempt, instead of counting on.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// For an undo: what the orchestrator claims to know.
    pub fn known(mut self, known: Known) -> Self {
        self.ask.known = known;
        self
    }

    /// Sends it after its time.
    pub fn expired(mut self) -> Self {
        self.ask.not_after_us = 1;
        self
    }

    /// Every answer, in order.
    pub async fn answers(self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for _ in 0..self.times {
            let mut ask = self.ask.clone();
            ask.attempt = self.attempt.unwrap_or_else(|| {
                let mut step = self.harness.step();
                step.attempt += 1;
                step.attempt
            });
            let answered = self
                .harness
                .core
                .execute(&Arc::new(ask), &Sink::nowhere())
                .await;
            let Some((_, answer)) = answered else {
                continue;
            };
            if let Answer::Succeeded(output) = &answer {
                self.harness.step().output = serde_json::from_slice(output).ok();
            }
            answers.push(answer);
        }
        answers
    }
}

impl<'a, S: Store> IntoFuture for Call<'a, S> {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.answers()
                .await
                .pop()
                .expect("times is at least one, and only `forget` has no answer")
        })
    }
}

/// A bare command without limits, to be filled in and [delivered](Harness::deliver).
pub fn bare(key: StepKey, op: Op) -> Ask {
    command(key, op)
}

fn command(key: StepKey, op: Op) -> Ask {
    Ask {
        key,
        op,
        attempt: 1,
        action: String::new(),
        input: Bytes::new(),
        known: Known::Unknown,
        not_after_us: 0,
        retain_until_us: 0,
        fingerprint: 0,
        definition: String::new(),
        traceparent: String::new(),
        timeout: Duration::ZERO,
    }
}

/// A bare command about `step` of one and the same saga.
#[cfg(test)]
pub(crate) fn ask(step: &str, op: Op) -> Ask {
    command(
        StepKey {
            saga_id: Uuid::from_u128(1),
            step: step.into(),
            round: 1,
        },
        op,
    )
}
