//! What a service writes: its name, its handlers, its inbox; and the handle for long work.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    future::Future,
    sync::{Arc, atomic::Ordering},
};

use saga_proto::limits::{ACTIONS_MAX, SCHEMA_BYTES_MAX, SCHEMAS_BYTES_MAX};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use crate::{
    command::{Op, StepKey},
    context::Ctx,
    execute::{AfterCommit, Core},
    handler::{ActionHandler, CompensationHandler, Registered, compensation_with, encode},
    inbox::{self, Claim, Completed, End, Inbox, Store},
    limit::Limit,
    reply::{Answer, Failure, Fault, HandlerError, Result, Stop},
    serve::{self, Budgets, Error, Links, signals},
    testing::Harness,
};

/// Environment variable that names the orchestrator.
const ENDPOINT_VARIABLE: &str = "SAGA_ENDPOINT";
const ENDPOINT_DEFAULT: &str = "grpc://127.0.0.1:7420";

/// A participant being put together; see the crate's first page for a whole one.
pub struct Participant<S: Store> {
    name: String,
    actions: HashMap<String, Registered<S>>,
    compensations: HashMap<String, Registered<S>>,
    undoes: HashMap<String, String>,
    last_compensation: Option<String>,
    inbox: Option<S::Inbox>,
    after_commit: Option<AfterCommit>,
    budgets: Budgets,
    links: Links,
    /// Mistakes of the builder's caller, told when it is put to use.
    mistakes: Vec<String>,
}

impl<S: Store> Participant<S> {
    /// A participant under the name that saga files write before the slash.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            actions: HashMap::new(),
            compensations: HashMap::new(),
            undoes: HashMap::new(),
            last_compensation: None,
            inbox: None,
            after_commit: None,
            budgets: Budgets::default(),
            links: Links::default(),
            mistakes: Vec::new(),
        }
    }

    /// Serves the action `name` with `handler`.
    #[must_use]
    pub fn action<M>(mut self, name: impl Into<String>, handler: impl ActionHandler<S, M>) -> Self {
        let name = name.into();
        match self.actions.entry(name) {
            Slot::Occupied(slot) => self
                .mistakes
                .push(format!("action `{}` is there twice", slot.key())),
            Slot::Vacant(slot) => drop(slot.insert(handler.register())),
        }
        self
    }

    /// Serves the compensation `name` with a handler that is typed by the action it undoes.
    #[must_use]
    pub fn compensation<M>(
        self,
        name: impl Into<String>,
        handler: impl CompensationHandler<S, M>,
    ) -> Self {
        self.register_compensation(name.into(), handler.register())
    }

    /// Serves the compensation `name` with a handler whose input the saga file gives.
    #[must_use]
    pub fn compensation_with<I, F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Ctx<S>, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
        I: DeserializeOwned + JsonSchema + Send + 'static,
    {
        self.register_compensation(name.into(), compensation_with(handler))
    }

    /// Says which action the compensation before it undoes, so that saga files can be checked for it.
    #[must_use]
    pub fn undoes(mut self, action: impl Into<String>) -> Self {
        match self.last_compensation.clone() {
            Some(compensation) => drop(self.undoes.insert(compensation, action.into())),
            None => self
                .mistakes
                .push("`undoes` stands before any compensation".to_owned()),
        }
        self
    }

    /// Keeps the inbox there; required.
    #[must_use]
    pub fn inbox<I>(mut self, inbox: I) -> Self
    where
        I: Inbox<Store = S>,
        S: Store<Inbox = I>,
    {
        self.inbox = Some(inbox);
        self
    }

    /// How many actions run at once (256 by default), and how many of undo, query and seal beside them
    /// (64 by default). Zero counts as one.
    #[must_use]
    pub fn concurrency(mut self, forward: usize, undo: usize) -> Self {
        self.budgets = Budgets {
            forward: forward.max(1),
            undo: undo.max(1),
            ..self.budgets
        };
        self
    }

    /// Over a broker, takes one command a message, in the plain form, and answers one a message, for whoever looks into
    /// the queues with tools of their own. It costs most of the throughput.
    #[must_use]
    pub fn one_a_message(mut self) -> Self {
        self.budgets.together = false;
        self
    }

    /// How long running handlers may take to finish after the shutdown began; 25 s by default.
    #[must_use]
    pub fn drain_within(mut self, limit: std::time::Duration) -> Self {
        self.budgets.drain = limit;
        self
    }

    /// For tests and demonstrations: `hook` runs after each local commit and before the reply is handed
    /// to the writer. A process that dies in it has acted and never said so.
    #[must_use]
    pub fn after_commit<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(StepKey, Op) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.after_commit = Some(Arc::new(move |key, op| Box::pin(hook(key, op))));
        self
    }

    /// The name that saga files write before the slash.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A handle that tells the end of accepted work, also of work that an earlier process accepted;
    /// take it after `inbox` and before `serve`. Handlers have it from [`Ctx::handle`].
    ///
    /// # Errors
    /// [`Error::Mistake`] when no inbox was set.
    pub fn handle(&self) -> std::result::Result<Handle<S>, Error> {
        let inbox = self.inbox.clone().ok_or_else(|| self.without_inbox())?;
        Ok(Handle::new(inbox, self.links.clone(), None))
    }

    /// Serves the orchestrator that `SAGA_ENDPOINT` names (`grpc://127.0.0.1:7420` by default), or the broker
    /// (`amqp://` or `amqps://`) where it is met, until SIGTERM or SIGINT, then drains. A broker's password may be in
    /// the file that `SAGA_ENDPOINT_PASSWORD_FILE` names, certificates to check it against in `SAGA_ENDPOINT_CA`.
    ///
    /// A handler that is still there after the drain may block a thread, which the runtime would wait for without end: the
    /// process is ended a moment after this returns, unless it has ended by then.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_from_env(mut self) -> std::result::Result<(), Error> {
        let endpoint =
            std::env::var(ENDPOINT_VARIABLE).unwrap_or_else(|_| ENDPOINT_DEFAULT.to_owned());
        let shutdown = signals()?;
        let budgets = std::mem::take(&mut self.budgets);
        let core = Arc::new(self.build()?);
        let served = serve::serve(core.clone(), &endpoint, budgets, shutdown).await;
        let left = core.blocked.load(Ordering::Relaxed);
        if left > 0 {
            serve::end_process(&core.name, left);
        }
        served
    }

    /// Serves the orchestrator at `endpoint` until `shutdown` completes: connects, connects again
    /// for as long as it takes, and drains in the end.
    ///
    /// # Errors
    /// [`Error::Mistake`] for a participant that is not whole, [`Error::Endpoint`] for an unreadable
    /// endpoint, [`Error::Refused`] when the orchestrator refuses the registration, [`Error::Stuck`] when a handler
    /// blocks the inbox for good.
    pub async fn serve(
        mut self,
        endpoint: &str,
        shutdown: impl Future<Output = ()> + Send,
    ) -> std::result::Result<(), Error> {
        let budgets = std::mem::take(&mut self.budgets);
        serve::serve(Arc::new(self.build()?), endpoint, budgets, shutdown).await
    }

    /// A harness that calls the handlers without a server.
    ///
    /// # Panics
    /// When the participant is not whole (no inbox, an action registered twice).
    pub fn test(self) -> Harness<S> {
        match self.build() {
            Ok(core) => Harness::new(Arc::new(core)),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn build(self) -> std::result::Result<Core<S>, Error> {
        if let Some(mistake) = self.mistakes.into_iter().next() {
            return Err(Error::Mistake {
                participant: self.name,
                mistake,
            });
        }
        if let Some(mistake) = too_large(self.actions.iter().chain(&self.compensations)) {
            return Err(Error::Mistake {
                participant: self.name,
                mistake,
            });
        }
        let Some(inbox) = self.inbox else {
            return Err(without_inbox(self.name));
        };
        Ok(Core {
            name: self.name,
            inbox,
            actions: self.actions,
            compensations: self.compensations,
            undoes: self.undoes,
            after_commit: self.after_commit,
            links: self.links,
            stuck: CancellationToken::new(),
            blocked: Arc::default(),
        })
    }

    fn register_compensation(mut self, name: String, handler: Registered<S>) -> Self {
        match self.compensations.entry(name.clone()) {
            Slot::Occupied(_) => self
                .mistakes
                .push(format!("compensation `{name}` is there twice")),
            Slot::Vacant(slot) => drop(slot.insert(handler)),
        }
        self.last_compensation = Some(name);
        self
    }

    fn without_inbox(&self) -> Error {
        without_inbox(self.name.clone())
    }
}

/// What no orchestrator would take of a registration.
fn too_large<'a, S: Store>(
    served: impl Iterator<Item = (&'a String, &'a Registered<S>)>,
) -> Option<String> {
    let (mut count, mut bytes) = (0, 0);
    for (
        name,
        Registered {
            input_schema,
            output_schema,
            ..
        },
    ) in served
    {
        let largest = input_schema.len().max(output_schema.len());
        if largest > SCHEMA_BYTES_MAX {
            return Some(format!(
                "a schema of `{name}` has {largest} bytes, {SCHEMA_BYTES_MAX} are allowed"
            ));
        }
        (count, bytes) = (count + 1, bytes + input_schema.len() + output_schema.len());
    }
    if count > ACTIONS_MAX {
        return Some(format!(
            "it serves {count} actions, {ACTIONS_MAX} are allowed"
        ));
    }
    let mistake = || {
        format!(
            "the schemas of its actions have {bytes} bytes together, {SCHEMAS_BYTES_MAX} are allowed"
        )
    };
    (bytes > SCHEMAS_BYTES_MAX).then(mistake)
}

fn without_inbox(participant: String) -> Error {
    let mistake =
        "it has no inbox; `.inbox(SqliteInbox::open(path).await?)` gives it one".to_owned();
    Error::Mistake {
        participant,
        mistake,
    }
}

/// Tells how accepted work goes on and ends. Cheap to clone.
pub struct Handle<S: Store> {
    inbox: S::Inbox,
    links: Links,
    run: Option<Run>,
}

/// The run of a handler that a [`Handle`] was taken in.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) key: StepKey,
    pub(crate) limit: Option<Arc<Limit>>,
    /// Of an action's handler: what its accepted work is known by.
    pub(crate) claim: Option<Claim>,
}

impl<S: Store> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self {
            inbox: self.inbox.clone(),
            links: self.links.clone(),
            run: self.run.clone(),
        }
    }
}

impl<S: Store> Handle<S> {
    pub(crate) fn new(inbox: S::Inbox, links: Links, run: Option<Run>) -> Self {
        Self { inbox, links, run }
    }

    /// Stores the end of accepted work and tells the orchestrator. A reply that gets lost is no loss:
    /// the orchestrator asks again, and the inbox answers.
    ///
    /// An error that is no [`Reject`](crate::Reject) frees the key, so that the action may be tried again.
    ///
    /// A handle from [`Ctx::handle`] tells the end of the work that its own handler accepted, and of no other: when the work
    /// was handed over meanwhile, because its worker seemed to be gone, the end is refused. A handle from
    /// [`Participant::handle`] tells the end of whatever work the key has.
    ///
    /// # Errors
    /// When the key has no accepted work, the work was handed over, the inbox fails, or the output is too large (nothing is
    /// stored then).
    pub async fn complete<O: Serialize>(
        &self,
        key: &StepKey,
        result: Result<O>,
    ) -> std::result::Result<(), CompleteError> {
        let (end, answer) = match result {
            Ok(output) => {
                let output =
                    encode(&output).map_err(|failure| CompleteError::Output(failure.fault))?;
                (End::Done(output.clone()), Answer::Succeeded(output))
            }
            Err(HandlerError(Stop::Refused(fault))) => {
                (End::Refused(fault.clone()), Answer::Refused(fault))
            }
            Err(HandlerError(Stop::Failed(failure))) => (End::RolledBack, Answer::Failed(failure)),
            Err(HandlerError(Stop::NeedsOperator(fault))) => (
                End::RolledBack,
                Answer::Failed(Failure {
                    fault,
                    retry_after: None,
                }),
            ),
        };
        let own = self.run.as_ref().filter(|run| run.key == *key);
        let claim = own.and_then(|run| run.claim.as_ref());
        match self.inbox.complete(key, claim, end).await? {
            Completed::Stored(attempt) => {
                self.links.tell(key, attempt, answer);
                Ok(())
            }
            Completed::NotRunning => Err(CompleteError::NotRunning(key.clone())),
            Completed::HandedOver => Err(CompleteError::HandedOver(key.clone())),
        }
    }

    /// Tells the orchestrator that the accepted work for `attempt` goes on.
    pub fn heartbeat(&self, key: &StepKey, attempt: u32) {
        let own = self.run.as_ref().filter(|run| run.key == *key);
        if let Some(limit) = own.and_then(|run| run.limit.as_ref()) {
            limit.extend();
        }
        self.links.tell(key, attempt, Answer::Running);
    }
}

/// Why the end of accepted work was not stored.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    /// The key was never accepted, or has been completed before.
    #[error("{0} has no accepted work to complete")]
    NotRunning(StepKey),
    /// No sign of life came from the worker in time, and the work was handed to a handler again: that one tells the end.
    #[error("the accepted work of {0} was handed to another handler; this end of it is not taken")]
    HandedOver(StepKey),
    /// The output is too large or no JSON.
    #[error("{0}")]
    Output(Fault),
    /// The inbox failed; try again.
    #[error(transparent)]
    Inbox(#[from] inbox::Error),
}
