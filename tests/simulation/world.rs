//! One world: some sagas, the processes that run them, a store, participants, and whatever is on its way between them.
//!
//! Everything that happens by chance is drawn from one seed and happens at a virtual time. The lanes are the real ones
//! and run as tasks of a runtime whose clock jumps to the next timer; the world hands them their messages at the
//! moments that its queue says.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use saga_core::{Command, Op, SagaId, Timestamp};
use saga_dsl::plan::Plan;
use saga_engine::{
    definitions::Definitions,
    lane::intake::Incoming,
    store::{
        CommitError,
        record::{AuditRow, Batch, BreakerRow},
    },
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use super::{
    chance::Chance,
    checks,
    clients::Client,
    guards::Ledger,
    heard::Heard,
    lanes::Incarnation,
    participants::{Inboxes, Key, Mood},
    rules::{Habit, Kept},
    store::{Course, Fate},
    story::{Story, Violation},
    transitions::Transition,
    vault::{Refused, Vault, Witness},
    weather::{Poison, Weather},
    wire::Line,
};

/// Milliseconds until all faults stop.
pub const FAULTS_MS: u64 = 20_000;
/// Far more than any retry, deadline or alarm takes: until then every saga has ended or called for an operator.
const PATIENCE_MS: u64 = 3 * 60 * 60 * 1_000;
/// Nothing has moved for so long: nothing will.
const REST: Duration = Duration::from_secs(3);
/// The wall clock when a world begins.
const BEGIN_US: i64 = 1_800_000_000_000_000;
/// More than any world needs; one that needs more runs in circles.
const EVENTS_MAX: u64 = 200_000;

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The wall clock of the world on this thread.
pub fn wall() -> Timestamp {
    let elapsed = BEGUN.get().map_or(0, |begun| begun.elapsed().as_micros());
    Timestamp(BEGIN_US + i64::try_from(elapsed).unwrap_or(0))
}

/// The clock that moves the lanes on.
pub fn boot() -> i64 {
    wall().0 - BEGIN_US
}

/// Something on its way.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client asks for a saga, again until it is answered.
    Start(usize),
    /// A client wants a saga undone.
    Cancel(SagaId),
    /// An operator intervenes, with or without sense.
    Operator(SagaId),
    /// A client follows a saga.
    Watch(SagaId),
    /// A command reaches its participant.
    Command { link: u64, command: Command },
    /// It comes back, for nobody could deal with it.
    Dead { command: Command },
    /// An answer reaches an orchestrator.
    Reply {
        link: u64,
        incoming: Incoming,
        forged: bool,
    },
    /// Work that a participant had accepted shows a sign of life.
    Heartbeat { key: Key, link: u64 },
    /// It comes to its end.
    Finish { key: Key, link: u64 },
    /// A participant comes or goes.
    Flip(&'static str),
    /// It wants no more commands, and goes soon.
    Drain(&'static str),
    /// Nothing travels to or from it.
    Rest(&'static str),
    /// It does again.
    Stir(&'static str),
    /// A link ends.
    Cut(u64),
    /// An operator trips or resets a breaker.
    Steer,
    /// A process begins, whether or not another still runs.
    Spawn,
    /// A process is killed.
    Kill(usize),
    /// A process is asked to end.
    Stop,
    /// All faults stop.
    Heal,
}

pub struct World {
    pub seed: u64,
    pub chance: Chance,
    pub kept: Kept,
    pub weather: Weather,
    pub mood: Mood,
    pub poison: Option<Poison>,
    pub healed: bool,
    pub definitions: Arc<Definitions>,
    pub plans: Vec<Arc<Plan>>,
    pub vault: Vault,
    /// Earlier contents, for a store that forgets.
    pub snapshots: Vec<Vault>,
    pub inboxes: Inboxes,
    pub heard: Heard,
    pub guards: Ledger,
    pub lanes: Vec<Incarnation>,
    pub lines: BTreeMap<u64, Line>,
    pub clients: Vec<Client>,
    /// First sending of each command, to hold the later ones against.
    pub first_sent: BTreeMap<(Key, Op), Command>,
    /// Every command that was put on a wire, and every answer, to be sent once more in the end.
    pub sent: Vec<Command>,
    pub answered: Vec<Incoming>,
    /// Actions that are kept back until their undo was there.
    pub late: BTreeMap<Key, Vec<(u64, Command)>>,
    pub queue: BTreeMap<(u64, u64), Event>,
    pub story: Story,
    pub violation: Option<Violation>,
    pub transitions: Option<BTreeSet<Transition>>,
    /// Rare things that happened.
    pub rare: BTreeSet<&'static str>,
    pub begun: Instant,
    /// How often operators helped sagas that nothing else moved.
    pub helped: u32,
    number: u64,
    events: u64,
    commits: u64,
}

/// A world that lanes, links and stores share.
#[derive(Clone)]
pub struct Shared(Arc<Common>);

struct Common {
    world: Mutex<World>,
    woken: Notify,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue has changed, or the world may be at rest.
    pub fn wake(&self) {
        self.0.woken.notify_one();
    }
}

/// What is to be told of a seed.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    pub seed: u64,
    pub kept: Kept,
    /// Participants answer at random, which frees the ledger of all promises, but not the orchestrator.
    pub liar: bool,
    pub told: bool,
    pub transitions: bool,
}

impl World {
    pub fn begin(script: Script, pool: &[Arc<Plan>]) -> Shared {
        let mut chance = Chance::new(script.seed);
        let (weather, mood) = Weather::draw(&mut chance, script.liar);
        let begun = Instant::now();
        BEGUN.set(Some(begun));
        let mut world = Self {
            seed: script.seed,
            chance,
            kept: script.kept,
            weather,
            mood,
            poison: None,
            healed: false,
            definitions: Arc::new(Definitions::default()),
            plans: Vec::new(),
            vault: Vault::default(),
            snapshots: Vec::new(),
            inboxes: Inboxes::default(),
            heard: Heard::default(),
            guards: Ledger::default(),
            lanes: Vec::new(),
            lines: BTreeMap::new(),
            clients: Vec::new(),
            first_sent: BTreeMap::new(),
            sent: Vec::new(),
            answered: Vec::new(),
            late: BTreeMap::new(),
            queue: BTreeMap::new(),
            story: Story::new(script.told),
            violation: None,
            transitions: script.transitions.then(BTreeSet::new),
            rare: BTreeSet::new(),
            begun,
            helped: 0,
            number: 0,
            events: 0,
            commits: 0,
        };
        world.prepare(pool);
        Shared(Arc::new(Common {
            world: Mutex::new(world),
            woken: Notify::new(),
        }))
    }

    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn now(&self) -> Timestamp {
        wall()
    }

    pub fn after(&mut self, ms: u64, event: Event) {
        self.number += 1;
        self.queue.insert((self.now_ms() + ms, self.number), event);
    }

    pub fn within(&mut self, ms: u64, event: Event) {
        let ms = self.chance.below(ms.max(1));
        self.after(ms, event);
    }

    /// Keeps the first promise that was broken.
    pub fn check<T>(&mut self, checked: Result<T, Violation>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(violation) => {
                self.violation.get_or_insert(violation);
                None
            }
        }
    }

    pub fn tell(&mut self, line: std::fmt::Arguments<'_>) {
        if self.story.is_told() {
            let ms = self.now_ms();
            self.story.line(ms, line);
        }
    }

    /// The number of commits so far, if nothing moves.
    fn rest(&self) -> Option<u64> {
        let rests = self.healed
            && self.queue.is_empty()
            && self.clients.iter().all(|client| client.answered)
            && self.vault.sagas.values().all(|saga| {
                saga.state.status.is_end()
                    || (checks::is_parked(&saga.state) && saga.state.next_due().is_none())
            });
        rests.then_some(self.commits)
    }

    /// What becomes of a commit, and how long it takes.
    pub fn course(&mut self, batch: &Batch) -> Course {
        let weather = self.weather;
        let fate = if batch.journal.is_empty() {
            Fate::Good
        } else if self.chance.percent(weather.commit_unavailable) {
            Fate::Unavailable
        } else if self.chance.percent(weather.commit_unknown) {
            if self.chance.percent(50) {
                Fate::WrittenButUnknown
            } else {
                Fate::LostAndUnknown
            }
        } else {
            Fate::Good
        };
        let (mut before_ms, mut after_ms) = (0, 0);
        if self.chance.percent(weather.slow_commit) {
            let longest = if self.chance.percent(10) { 700 } else { 12 };
            (before_ms, after_ms) = (self.chance.below(longest), self.chance.below(longest));
        }
        if matches!(fate, Fate::LostAndUnknown | Fate::WrittenButUnknown) {
            self.tell(format_args!("the next commit will be {fate:?}"));
            self.rare.insert("commit of unknown fate");
        }
        Course {
            fate,
            before_ms,
            after_ms,
        }
    }

    /// How long a read takes, and whether it works.
    pub fn read_course(&mut self) -> (u64, bool) {
        let weather = self.weather;
        let wait_ms = if self.chance.percent(weather.slow_commit) {
            self.chance.below(40)
        } else {
            0
        };
        (
            wait_ms,
            !self.chance.percent(weather.commit_unavailable / 2),
        )
    }

    pub fn commit(&mut self, incarnation: usize, batch: &Batch) -> Result<(), CommitError> {
        if let Some(poison) = self.poison {
            let word = poison.word.as_bytes();
            let hit = batch.journal.iter().any(|row| {
                row.saga_id == poison.saga && row.body.windows(word.len()).any(|text| text == word)
            });
            if hit {
                self.rare.insert("refused row");
                return Err(CommitError::Data("poison".to_owned()));
            }
        }
        if !self.kept.keep(Habit::DurableStore) {
            self.snapshots.push(self.vault.clone());
        }
        let mut witness = Witness {
            definitions: &self.definitions,
            heard: &self.heard,
            kept: self.kept,
            incarnation,
            guards: &mut self.guards,
            transitions: self.transitions.as_mut(),
        };
        let written = self.vault.commit(batch, &mut witness);
        self.note_commit(incarnation, batch, &written);
        match written {
            Ok(()) => Ok(()),
            Err(Refused::Error(error)) => Err(error),
            Err(Refused::Broken(violation)) => {
                self.violation.get_or_insert(violation);
                Err(CommitError::Unavailable("a promise is broken".into()))
            }
        }
    }

    /// What became of a breaker is written.
    pub fn put_breaker(&mut self, incarnation: usize, row: BreakerRow, audit: Option<AuditRow>) {
        let ms = self.now_ms();
        self.tell(format_args!("lane {incarnation} writes {row:?}"));
        self.story.mix_number(ms);
        self.story.mix(format!("{row:?}{audit:?}").as_bytes());
        self.guards.turned(incarnation, &row, ms);
        let place = (row.participant.clone(), row.action.clone());
        let newer = self
            .vault
            .breakers
            .get(&place)
            .is_none_or(|o| o.face.generation <= row.face.generation);
        if newer {
            self.vault.breakers.insert(place, row);
        }
    }

    fn note_commit(&mut self, incarnation: usize, batch: &Batch, written: &Result<(), Refused>) {
        self.commits += 1;
        match written {
            Err(Refused::Error(CommitError::Fenced(_))) => self.rare.insert("fenced"),
            Err(Refused::Error(CommitError::StartsExist(_))) => {
                self.rare.insert("start asked for before")
            }
            Ok(()) | Err(_) => false,
        };
        self.story.mix_number(self.now_ms());
        for row in &batch.journal {
            self.story.mix_number(row.seq);
            self.story.mix(&row.body);
            if !self.story.is_told() {
                continue;
            }
            let outcome = match written {
                Ok(()) => "written".to_owned(),
                Err(Refused::Error(error)) => error.to_string(),
                Err(Refused::Broken(violation)) => violation.check.to_owned(),
            };
            let (ms, body) = (self.now_ms(), String::from_utf8_lossy(&row.body));
            self.story.line(
                ms,
                format_args!(
                    "lane {incarnation} commits {}#{} {body}: {outcome}",
                    row.saga_id, row.seq
                ),
            );
        }
    }
}

/// Runs a world until nothing moves any more, or a promise is broken.
pub async fn run(shared: &Shared) {
    loop {
        let rest = shared.lock().rest();
        if let Some(commits) = rest {
            // What was handed over last may still be on its way through the lane.
            sleep(REST).await;
            let helped = {
                let mut world = shared.lock();
                let rests = world.rest() == Some(commits);
                if rests && !world.help(shared) {
                    return;
                }
                rests
            };
            if helped {
                // What was ordered shall be under way before anybody looks again.
                sleep(REST).await;
            }
        }
        let (wake, over) = {
            let mut world = shared.lock();
            if world.violation.is_some() {
                return;
            }
            let now = world.now_ms();
            let over = now >= PATIENCE_MS || world.events > EVENTS_MAX;
            let next = world
                .queue
                .first_key_value()
                .map_or(PATIENCE_MS, |((ms, _), _)| *ms);
            if over {
                world.impatient();
            }
            (world.begun + Duration::from_millis(next), over)
        };
        if over {
            return;
        }
        tokio::select! {
            biased;
            () = shared.0.woken.notified() => continue,
            () = sleep_until(wake) => {}
        }
        let mut world = shared.lock();
        let now = world.now_ms();
        while let Some((&(at, number), _)) = world.queue.first_key_value() {
            if at > now || world.violation.is_some() {
                break;
            }
            let Some(event) = world.queue.remove(&(at, number)) else {
                break;
            };
            world.events += 1;
            world.happen(shared, event);
        }
    }
}

impl World {
    /// I13: by now every saga should have ended, or have called for an operator.
    fn impatient(&mut self) {
        let unanswered = self
            .clients
            .iter()
            .filter(|client| !client.answered)
            .count();
        let stuck = self
            .vault
            .sagas
            .values()
            .find(|saga| !saga.state.status.is_end() && !checks::is_parked(&saga.state))
            .map(|saga| format!("{:#?}", saga.state));
        let parked = stuck.is_none() && unanswered == 0 && self.events <= EVENTS_MAX;
        if !parked {
            let seen = format!(
                "no end in sight: {unanswered} starts unanswered, {} messages under way, {}",
                self.queue.len(),
                stuck.as_deref().unwrap_or("no saga open")
            );
            self.violation
                .get_or_insert(Violation { check: "I13", seen });
        }
    }

    fn happen(&mut self, shared: &Shared, event: Event) {
        match event {
            Event::Start(client) => self.ask_for_saga(shared, client),
            Event::Cancel(id) => self.cancel(shared, id),
            Event::Operator(id) => self.intervene(shared, id),
            Event::Watch(id) => self.watch(shared, id),
            Event::Command { link, command } => self.participate(link, command),
            Event::Dead { command } => self.dead_letter(&command),
            Event::Reply {
                link,
                incoming,
                forged,
            } => self.reply(link, incoming, forged),
            Event::Heartbeat { key, link } => self.heartbeat(key, link),
            Event::Finish { key, link } => self.finish(key, link),
            Event::Flip(name) => self.flip(shared, name),
            Event::Drain(name) => self.drain(name),
            Event::Rest(name) => self.fall_silent(name),
            Event::Stir(name) => self.speak_again(shared, name),
            Event::Cut(link) => self.cut(link),
            Event::Steer => self.steer_breaker(),
            Event::Spawn => self.spawn(shared),
            Event::Kill(incarnation) => self.kill(incarnation),
            Event::Stop => self.stop(shared),
            Event::Heal => self.heal(shared),
        }
    }
}
