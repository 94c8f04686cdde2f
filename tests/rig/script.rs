//! Participants that do what a test tells them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use saga_participant::{
    Ctx, Memory, MemoryInbox, Op, Participant, Reject, Result as Handled, Retry, Sqlite,
    SqliteInbox, StepKey, Store, Undo,
};
use saga_proto::v1::ListParticipantsRequest;
use serde_json::{Value, json};

use crate::{
    gate::Gate,
    instance::Instance,
    ledger::{self, Effect, Kind},
    server::Rig,
    wait::eventually,
};

/// A call of a handler, as it begins.
#[derive(Debug, Clone)]
pub struct Call {
    /// Name of the action or compensation.
    pub action: String,
    /// The saga, in the usual form of a UUID.
    pub saga: String,
    /// Path of the step.
    pub step: String,
    /// As the command says.
    pub attempt: u32,
    /// How many calls of this action this saga's step had before.
    pub before: usize,
    /// The action's input; for a compensation that of the action it undoes.
    pub input: Value,
    /// For a compensation: the output of the action, if it is known.
    pub output: Option<Value>,
}

/// What a handler is to do.
#[derive(Clone)]
pub enum Say {
    /// Take effect; the output.
    Succeed(Value),
    /// A business no, with this code. From a compensation: it cannot be done by machine.
    Refuse(&'static str),
    /// Roll back, with this code.
    Fail(&'static str),
    /// Wait at the gate, then do the rest.
    Hang(Gate, Box<Say>),
    /// Panic.
    Panic,
}

type Answer = Arc<dyn Fn(&Call) -> Say + Send + Sync>;
type AfterCommit = Arc<dyn Fn(&StepKey, Op) -> Option<Gate> + Send + Sync>;

/// A scripted participant: its answers, what it was asked, what it did. Clones are the same.
#[derive(Clone)]
pub struct Script {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    endpoint: String,
    database: PathBuf,
    memory: MemoryInbox,
    actions: Mutex<BTreeMap<String, Answer>>,
    compensations: Mutex<BTreeMap<String, Answer>>,
    after_commit: Mutex<Option<AfterCommit>>,
    calls: Mutex<Vec<Call>>,
    /// The ledger of what has no database.
    effects: Mutex<Vec<Effect>>,
}

fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A handler that panics on purpose holds no lock, so nothing here is half done.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Script {
    /// A participant of the rig that serves nothing yet.
    #[must_use]
    pub fn new(rig: &Rig, name: &str) -> Self {
        Self::new_at(&rig.endpoint(), rig.folder(), name)
    }

    /// A participant of a server or a broker, with its database in a folder, that serves nothing yet.
    #[must_use]
    pub fn new_at(endpoint: &str, folder: &Path, name: &str) -> Self {
        Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                endpoint: endpoint.to_owned(),
                database: folder.join(format!("{name}.db")),
                memory: MemoryInbox::new(),
                actions: Mutex::default(),
                compensations: Mutex::default(),
                after_commit: Mutex::default(),
                calls: Mutex::default(),
                effects: Mutex::default(),
            }),
        }
    }

    /// The same participant, serving another server.
    ///
    /// # Panics
    /// When it is shared already.
    #[must_use]
    pub fn at(mut self, endpoint: &str) -> Self {
        endpoint.clone_into(
            &mut Arc::get_mut(&mut self.inner)
                .expect("not shared yet")
                .endpoint,
        );
        self
    }

    /// A participant that serves the action `act` and the compensation `undo`, both of which succeed.
    #[must_use]
    pub fn plain(rig: &Rig, name: &str) -> Self {
        Self::plain_at(&rig.endpoint(), rig.folder(), name)
    }

    /// The same, of a server or a broker, with its database in a folder.
    #[must_use]
    pub fn plain_at(endpoint: &str, folder: &Path, name: &str) -> Self {
        Self::new_at(endpoint, folder, name)
            .succeed("act")
            .undo("undo", |_| Say::Succeed(Value::Null))
    }

    /// Serves an action; said again, it is another answer from now on.
    #[must_use]
    pub fn act(self, action: &str, answer: impl Fn(&Call) -> Say + Send + Sync + 'static) -> Self {
        held(&self.inner.actions).insert(action.to_owned(), Arc::new(answer));
        self
    }

    /// Serves a compensation; said again, it is another answer from now on.
    #[must_use]
    pub fn undo(
        self,
        compensation: &str,
        answer: impl Fn(&Call) -> Say + Send + Sync + 'static,
    ) -> Self {
        held(&self.inner.compensations).insert(compensation.to_owned(), Arc::new(answer));
        self
    }

    /// The action succeeds and returns which saga and step it was.
    #[must_use]
    pub fn succeed(self, action: &str) -> Self {
        self.act(action, |call| {
            Say::Succeed(json!({"step": call.step, "saga": call.saga}))
        })
    }

    /// The action is refused.
    #[must_use]
    pub fn refuse(self, action: &str, code: &'static str) -> Self {
        self.act(action, move |_| Say::Refuse(code))
    }

    /// The action fails so many times in each step, then succeeds.
    #[must_use]
    pub fn fail_times(self, action: &str, times: usize) -> Self {
        self.act(action, move |call| {
            if call.before < times {
                Say::Fail("busy")
            } else {
                Say::Succeed(json!({"tries": call.before}))
            }
        })
    }

    /// The action waits at the gate, then succeeds.
    #[must_use]
    pub fn hang_until(self, action: &str, gate: &Gate) -> Self {
        let gate = gate.clone();
        self.act(action, move |_| {
            Say::Hang(gate.clone(), Box::new(Say::Succeed(Value::Null)))
        })
    }

    /// After each local commit and before the reply: where the hook gives a gate, the reply waits there.
    #[must_use]
    pub fn hold_replies(
        self,
        hook: impl Fn(&StepKey, Op) -> Option<Gate> + Send + Sync + 'static,
    ) -> Self {
        *held(&self.inner.after_commit) = Some(Arc::new(hook));
        self
    }

    /// The handler calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        held(&self.inner.calls).clone()
    }

    /// How often an action or compensation was called.
    #[must_use]
    pub fn count(&self, action: &str) -> usize {
        held(&self.inner.calls)
            .iter()
            .filter(|call| call.action == action)
            .count()
    }

    /// What it did, in order, by the database and by memory.
    #[must_use]
    pub fn ledger(&self) -> Vec<Effect> {
        let mut effects = ledger::read(&self.inner.database);
        effects.extend(held(&self.inner.effects).iter().cloned());
        effects
    }

    /// The ledger as `step` and `-step`, for tests of a single saga.
    #[must_use]
    pub fn deeds(&self) -> Vec<String> {
        let sign = |effect: &Effect| if effect.kind == Kind::Done { "" } else { "-" };
        self.ledger()
            .iter()
            .map(|effect| format!("{}{}", sign(effect), effect.step))
            .collect()
    }

    /// Serves on an SQLite inbox, shared by all instances of this script; returns when it is connected.
    ///
    /// # Panics
    /// When it is not connected in time.
    pub async fn serve(&self, rig: &Rig) -> Instance {
        let known = connected(rig, &self.inner.name).await;
        let instance = self.launch_sqlite();
        self.await_connection(rig, known).await;
        instance
    }

    /// Serves on a memory inbox, shared by all instances of this script; returns when it is connected.
    ///
    /// # Panics
    /// When it is not connected in time.
    pub async fn serve_from_memory(&self, rig: &Rig) -> Instance {
        let known = connected(rig, &self.inner.name).await;
        let participant = self.participant::<Memory>(&self.inner.memory);
        let instance = Instance::start(&self.inner.endpoint, async move { participant });
        self.await_connection(rig, known).await;
        instance
    }

    /// Serves on an SQLite inbox without waiting for the connection.
    #[must_use]
    pub fn launch_sqlite(&self) -> Instance {
        Instance::start(&self.inner.endpoint, self.clone().on_sqlite())
    }

    /// The same, before the broker has queues for it.
    #[must_use]
    pub fn launch_unprepared(&self) -> Instance {
        Instance::start_unprepared(&self.inner.endpoint, self.clone().on_sqlite())
    }

    async fn on_sqlite(self) -> Participant<Sqlite> {
        let inbox = SqliteInbox::open(&self.inner.database)
            .await
            .expect("the inbox opens");
        inbox
            .migrate(ledger::SCHEMA)
            .await
            .expect("the ledger is made");
        self.participant::<Sqlite>(&inbox)
    }

    async fn await_connection(&self, rig: &Rig, known: Vec<String>) {
        let name = &self.inner.name;
        // An instance that was killed may still be listed.
        let is_new = |instance: &String| !known.contains(instance);
        let there = || async { connected(rig, name).await.iter().any(is_new).then_some(()) };
        eventually(&format!("{name} to connect"), there).await;
    }

    fn participant<S: Ledger>(&self, inbox: &S::Inbox) -> Participant<S> {
        let mut participant = Participant::<S>::new(&self.inner.name).inbox(inbox.clone());
        let actions: Vec<String> = held(&self.inner.actions).keys().cloned().collect();
        for action in actions {
            let (script, name) = (self.clone(), action.clone());
            participant = participant.action(action, move |ctx: Ctx<S>, input: Value| {
                let (script, name) = (script.clone(), name.clone());
                async move { script.handle(&ctx, &name, Kind::Done, input, None).await }
            });
        }
        let compensations: Vec<String> = held(&self.inner.compensations).keys().cloned().collect();
        for compensation in compensations {
            let (script, name) = (self.clone(), compensation.clone());
            participant = participant.compensation(
                compensation,
                move |ctx: Ctx<S>, undo: Undo<Value, Value>| {
                    let (script, name) = (script.clone(), name.clone());
                    async move {
                        script
                            .handle(&ctx, &name, Kind::Undone, undo.input, undo.output)
                            .await
                            .map(drop)
                    }
                },
            );
        }
        let script = self.clone();
        participant.after_commit(move |key, op| {
            let hook = held(&script.inner.after_commit).clone();
            async move {
                if let Some(gate) = hook.and_then(|hook| hook(&key, op)) {
                    gate.pass().await;
                }
            }
        })
    }

    async fn handle<S: Ledger>(
        &self,
        ctx: &Ctx<S>,
        action: &str,
        kind: Kind,
        input: Value,
        output: Option<Value>,
    ) -> Handled<Value> {
        let (saga, step) = (ctx.saga_id().to_string(), ctx.step().to_owned());
        let answers = if kind == Kind::Done {
            &self.inner.actions
        } else {
            &self.inner.compensations
        };
        let answer = held(answers)
            .get(action)
            .cloned()
            .expect("what is served has an answer");
        let call = {
            let mut calls = held(&self.inner.calls);
            let same =
                |call: &&Call| call.action == action && call.saga == saga && call.step == step;
            let before = calls.iter().filter(same).count();
            let (action, attempt) = (action.to_owned(), ctx.attempt());
            let call = Call {
                action,
                saga: saga.clone(),
                step: step.clone(),
                attempt,
                before,
                input,
                output,
            };
            calls.push(call.clone());
            call
        };
        let mut say = answer(&call);
        loop {
            say = match say {
                Say::Hang(gate, then) => {
                    gate.pass().await;
                    *then
                }
                Say::Succeed(output) => {
                    S::note(ctx, self, Effect { saga, step, kind }).await?;
                    return Ok(output);
                }
                Say::Refuse(code) => return Err(Reject::new(code, "as the script says").into()),
                Say::Fail(code) => {
                    // What is rolled back must not be seen in the ledger.
                    S::note_in_vain(ctx, Effect { saga, step, kind }).await?;
                    return Err(Retry::new(code, "as the script says").into());
                }
                Say::Panic => panic!("as the script says"),
            };
        }
    }
}

/// The instances of a participant that the server has a connection to.
pub async fn connected(rig: &Rig, name: &str) -> Vec<String> {
    let mut directory = rig.clients.directory.clone();
    let Ok(answer) = directory
        .list_participants(ListParticipantsRequest::default())
        .await
    else {
        return Vec::new();
    };
    let participants = answer.into_inner().participants;
    let of_that_name = participants.into_iter().filter(|p| p.name == name);
    of_that_name
        .flat_map(|p| p.instances)
        .map(|instance| instance.instance)
        .collect()
}

/// Where a kind of inbox has its ledger.
trait Ledger: Store {
    fn note(
        ctx: &Ctx<Self>,
        script: &Script,
        effect: Effect,
    ) -> impl Future<Output = Handled<()>> + Send;
    fn note_in_vain(ctx: &Ctx<Self>, effect: Effect) -> impl Future<Output = Handled<()>> + Send;
}

impl Ledger for Sqlite {
    async fn note(ctx: &Ctx<Self>, _: &Script, effect: Effect) -> Handled<()> {
        Self::note_in_vain(ctx, effect).await
    }

    async fn note_in_vain(ctx: &Ctx<Self>, effect: Effect) -> Handled<()> {
        let mut tx = ctx.tx().await?;
        sqlx::query("insert into ledger (saga, step, undone) values (?, ?, ?)")
            .bind(effect.saga)
            .bind(effect.step)
            .bind(effect.kind == Kind::Undone)
            .execute(&mut *tx)
            .await?;
        Ok(())
    }
}

impl Ledger for Memory {
    async fn note(_: &Ctx<Self>, script: &Script, effect: Effect) -> Handled<()> {
        held(&script.inner.effects).push(effect);
        Ok(())
    }

    async fn note_in_vain(_: &Ctx<Self>, _: Effect) -> Handled<()> {
        Ok(())
    }
}
