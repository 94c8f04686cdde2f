//! The typed front: a definition written in Rust, by the same model as a file.
//!
//! ```
//! use saga_dsl::builder::{Saga, parallel, step};
//!
//! let definition = Saga::new("book_trip", 1)
//!     .deadline("15m")
//!     .item(parallel([
//!         step("reserve_flight").action("flights/reserve").pick(["flight"]).compensation("flights/cancel"),
//!         step("reserve_hotel").action("hotels/reserve").pick(["hotel"]).compensation("hotels/cancel"),
//!     ]))
//!     .step(step("charge_card").action("payments/charge").pivot())
//!     .build()?;
//! assert_eq!(definition.steps.len(), 2);
//! # Ok::<(), saga_dsl::builder::BuildError>(())
//! ```
//!
//! Texts that must have a form (names, durations) are read when they are given; the first that has not
//! is reported by [`Saga::build`]. Whether the definition makes sense is for the checks to say.

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::{
    definition::{
        ActionName, Compensation, CompensationAction, CompensationBlock, Defaults, Definition,
        Duration, Input, Kind, MaxAttempts, NoCompensation, Node, Parallel, Retry, Sequence, Step,
        Unlimited, Verb,
    },
    names,
    types::Type,
};

/// Something given to the builder has not the form that it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct BuildError {
    /// Where: `steps.reserve.timeout`.
    pub place: String,
    /// What is wrong with it.
    pub message: String,
}

/// A definition in the making.
#[derive(Debug, Clone)]
pub struct Saga {
    definition: Definition,
    error: Option<BuildError>,
}

/// An item of a list of steps: made of a [`StepBuilder`], of [`parallel`] or of [`sequence`].
#[derive(Debug, Clone)]
pub struct Item {
    node: Node,
    error: Option<BuildError>,
}

impl Saga {
    /// A definition without steps.
    #[must_use]
    pub fn new(name: &str, version: u32) -> Self {
        let error = names::check_id(name).err().map(|error| BuildError {
            place: "saga".to_owned(),
            message: error.to_string(),
        });
        let definition = Definition {
            saga: name.to_owned(),
            version,
            format: 1,
            description: None,
            labels: Default::default(),
            idempotency_key: None,
            deadline: None,
            input: Default::default(),
            output: None,
            participants: Default::default(),
            defaults: Defaults::default(),
            steps: Vec::new(),
        };
        Self { definition, error }
    }

    /// A type of the start payload.
    #[must_use]
    pub fn input(mut self, field: &str, ty: Type) -> Self {
        self.definition.input.insert(field.to_owned(), ty);
        self
    }

    /// The key of a start, a text with `${…}` over `input`.
    #[must_use]
    pub fn idempotency_key(mut self, text: &str) -> Self {
        self.definition.idempotency_key = Some(text.to_owned());
        self
    }

    /// A label, copied to each saga.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.definition
            .labels
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// The time a saga may take: `15m`.
    #[must_use]
    pub fn deadline(mut self, text: &str) -> Self {
        self.definition.deadline = duration(&mut self.error, "deadline", text);
        self
    }

    /// How much a participant may be asked.
    #[must_use]
    pub fn participant(mut self, name: &str, limits: crate::limits::Participant) -> Self {
        self.definition.participants.insert(name.to_owned(), limits);
        self
    }

    /// What steps take over when they do not say.
    #[must_use]
    pub fn defaults(mut self, defaults: Defaults) -> Self {
        self.definition.defaults = defaults;
        self
    }

    /// The result: a JSON value whose texts may hold `${…}`.
    #[must_use]
    pub fn output(mut self, value: Value) -> Self {
        self.definition.output = Some(value);
        self
    }

    /// The next step.
    #[must_use]
    pub fn step(self, step: StepBuilder) -> Self {
        self.item(step)
    }

    /// The next item.
    #[must_use]
    pub fn item(mut self, item: impl Into<Item>) -> Self {
        let item = item.into();
        self.definition.steps.push(item.node);
        self.error = self.error.or(item.error);
        self
    }

    /// The definition.
    ///
    /// # Errors
    /// The first thing given that had not its form.
    pub fn build(self) -> Result<Definition, BuildError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.definition),
        }
    }
}

/// Items that run together.
pub fn parallel<I: Into<Item>>(children: impl IntoIterator<Item = I>) -> Item {
    let (children, error) = items(children);
    Item {
        node: Node::Parallel(Parallel {
            when: None,
            parallel: children,
        }),
        error,
    }
}

/// Items that run one after the other, as one branch of a [`parallel`].
pub fn sequence<I: Into<Item>>(children: impl IntoIterator<Item = I>) -> Item {
    let (children, error) = items(children);
    Item {
        node: Node::Sequence(Sequence {
            when: None,
            sequence: children,
        }),
        error,
    }
}

fn items<I: Into<Item>>(children: impl IntoIterator<Item = I>) -> (Vec<Node>, Option<BuildError>) {
    let mut error = None;
    let mut nodes = Vec::new();
    for child in children {
        let child = child.into();
        nodes.push(child.node);
        error = error.or(child.error);
    }
    (nodes, error)
}

impl Item {
    /// CEL; false skips the item and all that is inside.
    #[must_use]
    pub fn when(mut self, expression: &str) -> Self {
        let when = Some(expression.to_owned());
        match &mut self.node {
            Node::Parallel(group) => group.when = when,
            Node::Sequence(group) => group.when = when,
            Node::Step(step) => step.when = when,
        }
        self
    }
}

impl From<StepBuilder> for Item {
    fn from(builder: StepBuilder) -> Self {
        Self {
            node: Node::Step(Box::new(builder.step)),
            error: builder.error,
        }
    }
}

/// A step that has its id and not yet its verb.
#[derive(Debug, Clone)]
pub struct NamedStep {
    id: String,
}

/// Begins a step.
#[must_use]
pub fn step(id: &str) -> NamedStep {
    NamedStep { id: id.to_owned() }
}

impl NamedStep {
    /// Makes it a command to a participant: `participant/action`.
    #[must_use]
    pub fn action(self, name: &str) -> StepBuilder {
        let mut error = names::check_id(&self.id).err().map(|error| BuildError {
            place: format!("steps.{}", self.id),
            message: error.to_string(),
        });
        let action = action_name(&mut error, &format!("steps.{}.action", self.id), name);
        let step = Step {
            step: self.id,
            description: None,
            kind: None,
            when: None,
            verb: Verb::Action {
                action,
                input: None,
            },
            compensation: None,
            timeout: None,
            retry: Retry::default(),
            escalate_after: None,
            at_least_once: false,
        };
        StepBuilder { step, error }
    }
}

/// A step in the making.
#[derive(Debug, Clone)]
pub struct StepBuilder {
    step: Step,
    error: Option<BuildError>,
}

impl StepBuilder {
    /// The point of no return.
    #[must_use]
    pub fn pivot(mut self) -> Self {
        self.step.kind = Some(Kind::Pivot);
        self
    }

    /// After the pivot, retried until it succeeds.
    #[must_use]
    pub fn retriable(mut self) -> Self {
        self.step.kind = Some(Kind::Retriable);
        self
    }

    /// CEL; false skips the step.
    #[must_use]
    pub fn when(mut self, expression: &str) -> Self {
        self.step.when = Some(expression.to_owned());
        self
    }

    /// The payload, picked by name.
    #[must_use]
    pub fn pick<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.payload(Input::Pick(names.into_iter().map(str::to_owned).collect()))
    }

    /// The payload, an object whose texts may hold `${…}`.
    #[must_use]
    pub fn input(mut self, value: Value) -> Self {
        let Value::Object(fields) = value else {
            let place = self.place("input");
            let message = "a payload is an object".to_owned();
            self.error = self.error.or(Some(BuildError { place, message }));
            return self;
        };
        self.payload(Input::Value(fields))
    }

    fn payload(mut self, payload: Input) -> Self {
        let Verb::Action { input, .. } = &mut self.step.verb;
        *input = Some(payload);
        self
    }

    /// What undoes it: `participant/action`.
    #[must_use]
    pub fn compensation(mut self, name: &str) -> Self {
        let place = self.place("compensation");
        let action = action_name(&mut self.error, &place, name);
        self.step.compensation = Some(Compensation::Action(action));
        self
    }

    /// What undoes it, with a payload, a retry policy or a limit of its own.
    #[must_use]
    pub fn compensation_block(
        mut self,
        name: &str,
        fill: impl FnOnce(&mut CompensationBlock),
    ) -> Self {
        let place = self.place("compensation.action");
        let action = CompensationAction::Action(action_name(&mut self.error, &place, name));
        let mut block = empty_block(action);
        fill(&mut block);
        self.step.compensation = Some(Compensation::Block(Box::new(block)));
        self
    }

    /// Nothing needs undoing, because of the reason given.
    #[must_use]
    pub fn no_compensation(mut self, reason: &str) -> Self {
        let mut block = empty_block(CompensationAction::None(NoCompensation::None));
        block.reason = Some(reason.to_owned());
        self.step.compensation = Some(Compensation::Block(Box::new(block)));
        self
    }

    /// Limit of one attempt: `10s`.
    #[must_use]
    pub fn timeout(mut self, text: &str) -> Self {
        let place = self.place("timeout");
        self.step.timeout = duration(&mut self.error, &place, text);
        self
    }

    /// The retry policy, as far as it differs from the defaults.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.step.retry = retry;
        self
    }

    /// Attempts in all, the first one included.
    #[must_use]
    pub fn max_attempts(mut self, times: u32) -> Self {
        self.step.retry.max_attempts = Some(MaxAttempts::Times(times));
        self
    }

    /// Attempts without a limit.
    #[must_use]
    pub fn unlimited_attempts(mut self) -> Self {
        self.step.retry.max_attempts = Some(MaxAttempts::Unlimited(Unlimited::Unlimited));
        self
    }

    /// When an incident is raised while retries go on: `15m`.
    #[must_use]
    pub fn escalate_after(mut self, text: &str) -> Self {
        let place = self.place("escalate_after");
        self.step.escalate_after = duration(&mut self.error, &place, text);
        self
    }

    /// Accepts that the action may take effect more than once.
    #[must_use]
    pub fn at_least_once(mut self) -> Self {
        self.step.at_least_once = true;
        self
    }

    fn place(&self, key: &str) -> String {
        format!("steps.{}.{key}", self.step.step)
    }
}

fn empty_block(action: CompensationAction) -> CompensationBlock {
    CompensationBlock {
        action,
        reason: None,
        input: None,
        timeout: None,
        retry: Retry::default(),
        escalate_after: None,
    }
}

fn duration(error: &mut Option<BuildError>, place: &str, text: &str) -> Option<Duration> {
    match text.parse() {
        Ok(duration) => Some(duration),
        Err(fault) => {
            let fault: crate::duration::DurationError = fault;
            error.get_or_insert(BuildError {
                place: place.to_owned(),
                message: fault.to_string(),
            });
            None
        }
    }
}

/// Where the name is bad the error is kept and the definition never leaves the builder.
fn action_name(error: &mut Option<BuildError>, place: &str, text: &str) -> ActionName {
    text.parse().unwrap_or_else(|fault: names::NameError| {
        error.get_or_insert(BuildError {
            place: place.to_owned(),
            message: fault.to_string(),
        });
        ActionName {
            participant: text.to_owned(),
            action: String::new(),
        }
    })
}
