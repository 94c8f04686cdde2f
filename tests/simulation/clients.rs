//! Clients: they start sagas, some under keys and some twice, cancel them and follow them.
//!
//! What operators do is in `operators.rs`.

use std::{collections::BTreeMap, sync::Arc};

use saga_core::{
    Partition, Payload, SagaId, Status,
    input::{Cancel, Start},
};
use saga_dsl::plan::Plan;
use saga_engine::lane::intake::{
    CancelError, CancelJob, Cancelled, End, Ended, Intake, Listener, StartJob, Started, WatchJob,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    chance::Chance,
    guards::Ledger,
    plans::{LOOSE, SOUND},
    story::{Violation, ensure},
    vault::PARTITIONS,
    weather::{POISONS, Poison},
    world::{Event, FAULTS_MS, Shared, World},
};

/// A wish for a saga, repeated until it is answered.
pub struct Client {
    id: SagaId,
    plan: Arc<Plan>,
    input: Payload,
    input_hash: [u8; 32],
    key: Option<Arc<str>>,
    pub answered: bool,
}

/// The first moment in the ids of a world's sagas.
const BEGIN_MS: u64 = 1_800_000_000_000;

impl World {
    /// Draws what will happen without anybody's doing.
    pub fn prepare(&mut self, pool: &[Arc<Plan>]) {
        let count = [1, 1, 1, 2, 2, 3, 4][usize::try_from(self.chance.below(7)).unwrap_or(0)];
        let few = if self.chance.percent(70) { 1 } else { 2 };
        for _ in 0..few {
            let plan = self.chance.pick(pool);
            self.definitions.insert(Arc::clone(plan));
            self.plans.push(Arc::clone(plan));
        }
        self.guards = Ledger::new(self.definitions.limits());
        let guarded = !self.definitions.limits().is_empty();
        // Who is to wait for somebody needs somebody to wait for.
        let count = if guarded {
            count + self.chance.below(4)
        } else {
            count
        };
        if guarded && self.chance.percent(30) {
            for _ in 0..self.chance.between(1, 3) {
                self.within(8_000, Event::Steer);
            }
        }
        for number in 0..count {
            self.wish(number);
        }
        if self.weather.crash > 0 {
            for name in SOUND.into_iter().chain([LOOSE]) {
                for _ in 0..self.chance.below(3) {
                    self.within(FAULTS_MS, Event::Flip(name));
                }
                if self.chance.percent(10) {
                    self.within(FAULTS_MS, Event::Drain(name));
                }
                if self.chance.percent(10) {
                    self.within(FAULTS_MS, Event::Rest(name));
                }
            }
            // Without a word to the process that runs.
            if self.chance.percent(15) {
                let ms = self.chance.between(1, 3_000);
                self.after(ms, Event::Spawn);
                if self.chance.percent(60) {
                    self.within(4_000, Event::Kill(0));
                }
            }
            if self.chance.percent(10) {
                self.within(5_000, Event::Stop);
            }
            if self.chance.percent(8) {
                let (client, word) = (self.chance.below(count), *self.chance.pick(&POISONS));
                let saga = self.clients[usize::try_from(client).unwrap_or(0)].id;
                self.poison = Some(Poison { saga, word });
            }
        }
        self.after(0, Event::Spawn);
        self.after(FAULTS_MS, Event::Heal);
    }

    fn wish(&mut self, number: u64) {
        let plan = Arc::clone(self.chance.pick(&self.plans));
        let partition =
            Partition(u16::try_from(self.chance.below(u64::from(PARTITIONS))).unwrap_or(0));
        let id = SagaId::new(
            BEGIN_MS + number,
            partition,
            self.seed.wrapping_mul(31) + number,
        );
        let input = input(&mut self.chance);
        let key = self
            .chance
            .percent(40)
            .then(|| Arc::from(format!("key-{}", number % 2)));
        let span = if number == 0 {
            1
        } else {
            *self.chance.pick(&[10, 1_000, 8_000])
        };
        let client = self.clients.len();
        self.add(id, &plan, input.clone(), key.clone());
        self.within(span, Event::Start(client));
        if self.chance.percent(20) {
            // The same again, under another id or with another input.
            let again = match self.chance.below(3) {
                0 => (id, input.clone()),
                1 => (
                    SagaId::new(BEGIN_MS + 1_000 + number, partition, self.seed),
                    input,
                ),
                _ => (
                    SagaId::new(BEGIN_MS + 2_000 + number, partition, self.seed),
                    self::input(&mut self.chance),
                ),
            };
            self.add(again.0, &plan, again.1, key);
            let span = *self.chance.pick(&[20, 2_000]);
            self.within(span, Event::Start(client + 1));
        }
        if self.chance.percent(20) {
            for _ in 0..self.chance.between(1, 2) {
                let span = *self.chance.pick(&[500, 3_000, FAULTS_MS]);
                self.within(span, Event::Cancel(id));
            }
        }
        if self.chance.percent(35) {
            for _ in 0..self.chance.between(1, 10) {
                let span = *self.chance.pick(&[500, 3_000, FAULTS_MS]);
                self.within(span, Event::Operator(id));
            }
        }
        if self.chance.percent(10) {
            self.within(5_000, Event::Watch(id));
        }
    }

    fn add(&mut self, id: SagaId, plan: &Arc<Plan>, input: Payload, key: Option<Arc<str>>) {
        let mut input_hash = [0; 32];
        for (slot, byte) in input_hash.iter_mut().zip(input.text().bytes().rev()) {
            *slot = byte;
        }
        self.clients.push(Client {
            id,
            plan: Arc::clone(plan),
            input,
            input_hash,
            key,
            answered: false,
        });
    }

    /// A client asks for its saga, and again until somebody answers.
    pub fn ask_for_saga(&mut self, shared: &Shared, client: usize) {
        if self.clients[client].answered {
            return;
        }
        let wait_ms = self.chance.between(100, 900);
        self.after(wait_ms, Event::Start(client));
        let Some(incarnation) = self.current() else {
            return;
        };
        let (answer, answered) = oneshot::channel();
        let (sink, mut ends) = mpsc::unbounded_channel();
        let asked = &self.clients[client];
        let start = Start {
            input: asked.input.clone(),
            key: asked.key.clone(),
            labels: BTreeMap::new(),
        };
        let job = StartJob {
            id: asked.id,
            plan: Arc::clone(&asked.plan),
            start,
            input_hash: asked.input_hash,
            started: Some(answer),
            ended: Some(Listener {
                tag: client as u64,
                sink,
            }),
            waits: Default::default(),
            holds: Default::default(),
        };
        self.tell(format_args!("client {client} asks lane {incarnation}"));
        self.hand(incarnation, Intake::Starts(vec![job]));
        let shared = shared.clone();
        tokio::spawn(async move {
            if let Ok(started) = answered.await {
                shared.lock().started(incarnation, client, &started);
                shared.wake();
            }
            while let Some(ended) = ends.recv().await {
                let mut world = shared.lock();
                let checked = world.check_end(&ended);
                world.check(checked);
            }
        });
    }

    fn started(&mut self, incarnation: usize, client: usize, started: &Started) {
        // An answer is an effect like any other.
        if !self.boundary(incarnation) {
            return;
        }
        self.tell(format_args!("client {client} is told: {started:?}"));
        let checked = self.check_started(client, started);
        self.check(checked);
        // It may have asked twice, and a first answer that is definite is not taken back by a second that is not.
        self.clients[client].answered |= !matches!(started, Started::Unavailable);
    }

    /// I17, and nothing is promised that is not written.
    fn check_started(&self, client: usize, started: &Started) -> Result<(), Violation> {
        let asked = &self.clients[client];
        let (id, same) = match started {
            Started::Created => (asked.id, true),
            Started::Existing { id, .. } => (*id, true),
            Started::KeyConflict { id } => (*id, false),
            Started::Unavailable => return Ok(()),
        };
        let saga = self.vault.sagas.get(&id);
        ensure!(
            saga.is_some(),
            "I18",
            "client {client} is told {started:?}, and it is not written"
        );
        if let Some(saga) = saga {
            let equal = saga.input_hash == asked.input_hash;
            ensure!(
                equal == same,
                "I17",
                "client {client} is told {started:?}, of {:?}",
                saga.row
            );
            let named = saga.row.id == asked.id || saga.row.key.as_deref() == asked.key.as_deref();
            ensure!(
                named,
                "I17",
                "client {client} is told {started:?}, of {:?}",
                saga.row
            );
        }
        Ok(())
    }

    fn check_end(&self, ended: &Ended) -> Result<(), Violation> {
        if let End::Over { status, .. } = &ended.end {
            let written = self
                .vault
                .sagas
                .get(&ended.id)
                .map(|saga| saga.state.status);
            ensure!(
                status.is_end() && written == Some(*status),
                "I18",
                "an end is announced that is not written: {ended:?}, {written:?}"
            );
        }
        Ok(())
    }

    pub fn cancel(&mut self, shared: &Shared, id: SagaId) {
        let Some(incarnation) = self.current() else {
            return;
        };
        let (answer, answered) = oneshot::channel();
        let cancel = Cancel {
            reason: "changed my mind".to_owned(),
            by: "ann".to_owned(),
            act: None,
        };
        self.tell(format_args!("{id} shall be undone"));
        self.hand(
            incarnation,
            Intake::Cancel(CancelJob { id, cancel, answer }),
        );
        let shared = shared.clone();
        tokio::spawn(async move {
            if let Ok(answer) = answered.await {
                let mut world = shared.lock();
                if world.boundary(incarnation) {
                    let checked = world.check_cancelled(id, &answer);
                    world.check(checked);
                }
                shared.wake();
            }
        });
    }

    fn check_cancelled(
        &self,
        id: SagaId,
        answer: &Result<Cancelled, CancelError>,
    ) -> Result<(), Violation> {
        let status = self.vault.sagas.get(&id).map(|saga| saga.state.status);
        let written = match answer {
            Ok(Cancelled::Compensating) => {
                matches!(
                    status,
                    Some(Status::Compensating | Status::Compensated | Status::Abandoned)
                )
            }
            Ok(Cancelled::Settling | Cancelled::Already) => status.is_some(),
            Err(_) => true,
        };
        ensure!(
            written,
            "I18",
            "a cancel is answered {answer:?}, and the saga is {status:?}"
        );
        Ok(())
    }

    /// A watcher never hears of a decision before it is written.
    pub fn watch(&mut self, shared: &Shared, id: SagaId) {
        let Some(incarnation) = self.current() else {
            return;
        };
        let (answer, answered) = oneshot::channel();
        self.hand(incarnation, Intake::Watch(WatchJob { id, answer }));
        let shared = shared.clone();
        tokio::spawn(async move {
            let Ok(Some(mut watch)) = answered.await else {
                return;
            };
            while watch.changed().await.is_ok() {
                let told = *watch.borrow_and_update();
                let mut world = shared.lock();
                let written = world.vault.sagas.get(&id).map_or(0, |saga| saga.state.seq);
                if told > written {
                    let seen = format!("decision {told} of {id} is told, {written} are written");
                    world
                        .violation
                        .get_or_insert(Violation { check: "I18", seen });
                }
            }
        });
    }
}

fn input(chance: &mut Chance) -> Payload {
    let mut input = serde_json::json!({"x": chance.percent(50), "y": chance.percent(80)});
    if chance.percent(70) {
        input["z"] = serde_json::json!(1);
    }
    Payload::from_value(input)
}
