//! The orchestrator's processes: each incarnation runs the real lane, until it dies at some effect.

use std::sync::Arc;

use saga_engine::lane::{self, Settings, intake::Intake};
use tokio::task::AbortHandle;

use super::{
    participants::Mood,
    rules::Habit,
    store::Handle as StoreHandle,
    story::Violation,
    weather::Weather,
    world::{Event, Shared, World, boot, wall},
};

/// One life of the orchestrator's process.
pub struct Incarnation {
    /// False: whatever its tasks still do comes to nothing.
    pub alive: bool,
    /// There once it has recovered.
    pub handle: Option<lane::Handle>,
    tasks: Vec<AbortHandle>,
    /// Effects it had so far.
    effects: u64,
    /// The effect at which it dies.
    dies_at: Option<u64>,
    /// It was asked to end.
    stopping: bool,
}

impl World {
    /// An effect is about to happen, or has just happened. False: the incarnation is dead, and it has not.
    pub fn boundary(&mut self, incarnation: usize) -> bool {
        let lane = &mut self.lanes[incarnation];
        if lane.alive {
            lane.effects += 1;
            if lane.dies_at.is_some_and(|at| lane.effects >= at) {
                self.die(incarnation);
            }
        }
        self.lanes[incarnation].alive
    }

    pub fn is_alive(&self, incarnation: usize) -> bool {
        self.lanes[incarnation].alive
    }

    /// The incarnation that new messages go to: the newest that can take any.
    pub fn current(&self) -> Option<usize> {
        self.lanes
            .iter()
            .rposition(|lane| lane.alive && !lane.stopping && lane.handle.is_some())
    }

    fn die(&mut self, incarnation: usize) {
        let lane = &mut self.lanes[incarnation];
        if !lane.alive {
            return;
        }
        lane.alive = false;
        let effects = lane.effects;
        self.tell(format_args!("lane {incarnation} dies at effect {effects}"));
        self.rare.insert("crash");
        self.forget_commits();
        for line in self
            .lines
            .values_mut()
            .filter(|line| line.incarnation == incarnation)
        {
            line.up = false;
        }
        // Its tasks end at the next event; what they do until then comes to nothing.
        self.after(0, Event::Kill(incarnation));
        if !self.lanes.iter().any(|lane| lane.alive) {
            let pause_ms = if self.healed { 1 } else { 3_000 };
            self.within(pause_ms, Event::Spawn);
        }
    }

    /// A store that is not durable loses the last commits with the machine.
    fn forget_commits(&mut self) {
        if self.kept.keep(Habit::DurableStore) || self.snapshots.is_empty() {
            return;
        }
        let lost = usize::try_from(self.chance.below(3))
            .unwrap_or(0)
            .min(self.snapshots.len());
        if let Some(earlier) = self
            .snapshots
            .len()
            .checked_sub(lost)
            .and_then(|at| self.snapshots.get(at))
        {
            self.vault = earlier.clone();
        }
    }

    pub fn kill(&mut self, incarnation: usize) {
        if incarnation >= self.lanes.len() {
            return;
        }
        self.die(incarnation);
        for task in self.lanes[incarnation].tasks.drain(..) {
            task.abort();
        }
    }

    /// A process begins. One that still runs is not told: that is what the fence is for.
    pub fn spawn(&mut self, shared: &Shared) {
        if self.lanes.iter().any(|lane| lane.alive) {
            self.rare.insert("two owners");
        }
        let crash = self.weather.crash;
        let dies_at = (!self.healed && self.chance.percent(crash)).then(|| {
            let far = if self.chance.percent(30) { 12 } else { 120 };
            self.chance.between(1, far)
        });
        let incarnation = self.lanes.len();
        let lane = Incarnation {
            alive: true,
            handle: None,
            tasks: Vec::new(),
            effects: 0,
            dies_at,
            stopping: false,
        };
        self.lanes.push(lane);
        self.tell(format_args!("lane {incarnation} begins"));
        let ms = self.now_ms();
        self.guards.begins(incarnation, ms);
        let batch_inputs_max = *self.chance.pick(&[1, 2, 4, 16, 1_000]);
        let (rules, look_every) = (self.kept.rules, std::time::Duration::from_secs(3_600));
        let settings = Settings {
            batch_inputs_max,
            rules,
            wall,
            boot,
            look_every,
            ..Settings::default()
        };
        let store = Arc::new(StoreHandle {
            shared: shared.clone(),
            incarnation,
        });
        let definitions = Arc::clone(&self.definitions);
        let shared = shared.clone();
        let task = tokio::spawn(async move {
            match lane::spawn(store, definitions, settings).await {
                Ok((handle, running)) => {
                    let tenure = handle.tenure().clone();
                    shared
                        .lock()
                        .came_up(&shared, incarnation, handle, running.abort_handle());
                    let panicked = running.await.is_err_and(|error| error.is_panic());
                    match tenure.has_ended() && !panicked {
                        // A process that lost the store gives everything up; here it is as good as dead.
                        true => shared.lock().die(incarnation),
                        false => shared.lock().went_down(incarnation, panicked),
                    }
                }
                Err(_) => shared.lock().did_not_come_up(incarnation),
            }
            shared.wake();
        });
        self.lanes[incarnation].tasks.push(task.abort_handle());
    }

    fn came_up(
        &mut self,
        shared: &Shared,
        incarnation: usize,
        handle: lane::Handle,
        task: AbortHandle,
    ) {
        let lane = &mut self.lanes[incarnation];
        lane.handle = Some(handle);
        lane.tasks.push(task);
        self.tell(format_args!("lane {incarnation} is up"));
        self.everybody_comes(shared);
    }

    fn did_not_come_up(&mut self, incarnation: usize) {
        let lane = &mut self.lanes[incarnation];
        lane.alive = false;
        self.tell(format_args!("lane {incarnation} does not come up"));
        if !self.lanes.iter().any(|lane| lane.alive) {
            self.within(500, Event::Spawn);
        }
    }

    fn went_down(&mut self, incarnation: usize, panicked: bool) {
        let lane = &self.lanes[incarnation];
        if panicked || (lane.alive && !lane.stopping) {
            let seen = format!("lane {incarnation} ended by itself, in panic: {panicked}");
            self.violation.get_or_insert(Violation {
                check: "panic",
                seen,
            });
        }
    }

    /// Asks the current process to end in order; the next one begins when it has.
    pub fn stop(&mut self, shared: &Shared) {
        let Some(incarnation) = self.current().filter(|_| !self.healed) else {
            return;
        };
        let lane = &mut self.lanes[incarnation];
        let Some(handle) = lane.handle.clone() else {
            return;
        };
        lane.stopping = true;
        self.tell(format_args!("lane {incarnation} is asked to stop"));
        let shared = shared.clone();
        let task = tokio::spawn(async move {
            handle.stop().await;
            shared.lock().die(incarnation);
            shared.wake();
        });
        self.lanes[incarnation].tasks.push(task.abort_handle());
    }

    /// All faults stop: one process, all participants, no more accidents. What is late still comes.
    pub fn heal(&mut self, shared: &Shared) {
        self.tell(format_args!("all faults stop"));
        self.healed = true;
        (self.weather, self.mood, self.poison) = (Weather::CALM, Mood::HEALED, None);
        let newest = self.lanes.len() - 1;
        for lane in &mut self.lanes {
            lane.dies_at = None;
        }
        // Who was asked to stop shall be gone, too. Where two fought for the partitions, either may have the last word and
        // the other not know it, so one begins anew.
        let rivals = self.rare.contains("two owners");
        for incarnation in 0..self.lanes.len() {
            let lane = &self.lanes[incarnation];
            if lane.alive && (incarnation < newest || lane.stopping || rivals) {
                self.kill(incarnation);
            }
        }
        let spawns = self
            .queue
            .values()
            .any(|event| matches!(event, Event::Spawn));
        if !self.lanes.iter().any(|lane| lane.alive) && !spawns {
            self.after(0, Event::Spawn);
        }
        for (key, held) in std::mem::take(&mut self.late) {
            for (link, command) in held {
                let _ = key;
                self.within(40_000, Event::Command { link, command });
            }
        }
        self.everybody_comes(shared);
    }

    /// Hands a message to an incarnation, if it takes any.
    pub fn hand(&self, incarnation: usize, message: Intake) {
        let lane = &self.lanes[incarnation];
        if let (true, Some(handle)) = (lane.alive, &lane.handle) {
            handle.send_soon(message);
        }
    }
}
