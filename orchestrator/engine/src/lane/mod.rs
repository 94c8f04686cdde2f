//! Lanes: they take inputs, decide, commit, and only then act.
//!
//! A lane is one task that owns partitions. It takes whatever inputs are there, decides each on the state in memory,
//! and writes all decisions in one transaction. While a batch is being written, the next one is decided and grows; so
//! batches are small when little happens and large under load, without any timer. What a decision asks for (commands,
//! answers, announcements) is done after its commit and never before.
//!
//! Until a commit is known, a batch keeps its inputs and the states from before it. When a commit fails, everything goes
//! back to where it was and the inputs are decided again.
//!
//! In reading order: `intake.rs` (what reaches a lane), `worker.rs` (the loop), `slot.rs` (a saga in memory), `batch.rs`,
//! `starting.rs` (starts that wait for others),
//! `decider.rs` (from input to rows), `answer.rs` (to who steers), `release.rs` (after a commit), `failure.rs` (after a failed one), `trouble.rs`
//! (a store that takes no commits, for those who wait), `repeat.rs` (a start that comes again), `recovery.rs`
//! (after a restart), `dead_letters.rs` (what a broker gave up), `waiting.rs` (how much waits for a commit), `links.rs` (who is connected), `guards.rs`, `post.rs` and
//! `recount.rs` (how much they may be asked), `steer.rs` and `scribe.rs` (breakers by hand, and in the store), `timers.rs`,
//! `due.rs` (when the lane wakes by itself), `clock.rs`, `probes.rs` (replies that are for no saga), `nonsense.rs` (what of it
//! is logged), `visits.rs` (sagas that have ended, read back for a verb).

mod answer;
mod batch;
pub mod clock;
mod dead_letters;
mod decider;
mod due;
mod failure;
mod gather;
mod guards;
pub mod intake;
mod links;
mod nonsense;
mod post;
pub mod probes;
mod recount;
mod recovery;
mod release;
mod repeat;
mod scribe;
mod slot;
mod starting;
mod steer;
#[cfg(test)]
mod tests;
mod timers;
mod trouble;
mod visits;
pub mod waiting;
mod worker;

use std::{sync::Arc, time::Duration};

use saga_core::{Rules, SagaId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    definitions::Definitions,
    store::{self, Claim, Lanes, tenure::Tenure, trouble::Trouble},
};
use clock::{Boot, LaneClock, Wall};
use intake::{Intake, StartJob};
use probes::{Probe, Probes};
use starting::{Joined, Lines};
use waiting::Waiting;

/// Limits of a lane, and what it stands on.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Inputs in one batch, at most.
    pub batch_inputs_max: usize,
    /// Bytes of journal rows after which a batch takes no more.
    pub batch_bytes_max: usize,
    /// Messages that wait before senders do.
    pub intake_messages_max: usize,
    /// The rules that are kept: all of them, except in mutants.
    pub rules: Rules,
    /// The wall clock.
    pub wall: Wall,
    /// The clock that moves the lane's on.
    pub boot: Boot,
    /// How often the lane looks at them.
    pub look_every: Duration,
    /// Whether replies for sagas that are not open are looked up in the store, to log those for sagas that never were.
    pub looks_up_strays: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_inputs_max: 1_000,
            batch_bytes_max: 8 * 1024 * 1024,
            intake_messages_max: 256,
            rules: Rules::ALL,
            wall: clock::system,
            boot: clock::boot,
            look_every: clock::LOOK_EVERY,
            looks_up_strays: false,
        }
    }
}

/// The way to a lane. Clones share it.
#[derive(Clone)]
pub struct Handle {
    intake: mpsc::Sender<Intake>,
    partitions: u16,
    probes: Probes,
    trouble: watch::Receiver<Option<Trouble>>,
    tenure: Tenure,
    clock: LaneClock,
    waiting: Waiting,
    /// `None`: a test plays the lane.
    lines: Option<Lines>,
}

/// The lane has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the lane has stopped")]
pub struct Stopped;

impl Handle {
    /// A handle around a channel, for tests that play the lane.
    #[must_use]
    pub fn new(intake: mpsc::Sender<Intake>, partitions: u16) -> Self {
        Self {
            intake,
            partitions,
            probes: Probes::default(),
            trouble: watch::channel(None).1,
            tenure: Tenure::unlimited(),
            clock: LaneClock::default(),
            waiting: Waiting::default(),
            lines: None,
        }
    }

    /// Hands a message over; waits while the lane has more than it can take.
    ///
    /// # Errors
    /// [`Stopped`] when the lane takes no more.
    pub async fn send(&self, message: Intake) -> Result<(), Stopped> {
        match self.probes.divert(message) {
            None => Ok(()),
            Some(Intake::Starts(jobs)) => self.send_starts(jobs).await,
            Some(message) => self.intake.send(message).await.map_err(|_| Stopped),
        }
    }

    /// Starts that have to wait for another one do so without a place in the intake; the others get one first, and then
    /// their names, so that a caller that goes away while it waits leaves no name behind.
    async fn send_starts(&self, mut jobs: Vec<StartJob>) -> Result<(), Stopped> {
        jobs.iter_mut()
            .for_each(|job| job.waits = self.waiting.start());
        let Some(lines) = &self.lines else {
            let message = Intake::Starts(jobs);
            return self.intake.send(message).await.map_err(|_| Stopped);
        };
        let jobs = loop {
            let starts_leave = lines.starts_leave();
            match lines.join(jobs) {
                Joined::All(others) => break others,
                Joined::Full(others) => jobs = others,
                Joined::Ended => return Err(Stopped),
            }
            starts_leave.await;
        };
        if jobs.is_empty() {
            return Ok(());
        }
        let place = self.intake.reserve().await.map_err(|_| Stopped)?;
        let jobs = lines.enter(jobs);
        if !jobs.is_empty() {
            place.send(Intake::Starts(jobs));
        }
        Ok(())
    }

    /// Hands a message over without waiting, where there is no room to wait: on the way out of a scope.
    pub fn send_soon(&self, message: Intake) {
        if let Err(mpsc::error::TrySendError::Full(message)) = self.intake.try_send(message) {
            let intake = self.intake.clone();
            // A closed lane needs no message any more.
            tokio::spawn(async move { intake.send(message).await.ok() });
        }
    }

    /// Listens for the replies to commands of a test, which no lane gets to see.
    #[must_use]
    pub fn probe(&self, test: SagaId) -> Probe {
        self.probes.open(test)
    }

    /// Why the store takes no commits, and since when; `None` while it does, or while nothing is to be written. The
    /// answer does not wait for the lane, which may be waiting for the store. Later changes come through the receiver.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.trouble.clone()
    }

    /// How many inputs wait for a commit.
    #[must_use]
    pub fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// The claim that the lane works under. The lane ends with it.
    #[must_use]
    pub fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// The clock that the lane decides by. Screens go by it, too.
    #[must_use]
    pub fn clock(&self) -> &LaneClock {
        &self.clock
    }

    /// Number of partitions that sagas are spread over.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// Asks the lane to finish and waits until everything it had taken is committed.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.send(Intake::Stop(done)).await.is_ok() {
            // An error means that the lane has gone already.
            stopped.await.ok();
        }
    }
}

/// Claims the store's partitions for a lane.
///
/// # Errors
/// Those of [`Lanes::claim`].
pub async fn claim(store: &dyn Lanes) -> Result<Claim, store::Error> {
    store.claim(uuid::Uuid::now_v7().as_u128()).await
}

/// Claims the store's partitions, resumes their open sagas and starts the lane.
///
/// # Errors
/// When the store cannot be claimed or read.
pub async fn spawn(
    store: Arc<dyn Lanes>,
    definitions: Arc<Definitions>,
    settings: Settings,
) -> Result<(Handle, tokio::task::JoinHandle<()>), store::Error> {
    let claim = claim(&*store).await?;
    spawn_on(claim, store, definitions, settings).await
}

/// As [`spawn`], under a claim that was made before. The lane stops at once when the claim ends: callers that wait then
/// get no answer.
///
/// # Errors
/// When the store cannot be read.
pub async fn spawn_on(
    claim: Claim,
    store: Arc<dyn Lanes>,
    definitions: Arc<Definitions>,
    settings: Settings,
) -> Result<(Handle, tokio::task::JoinHandle<()>), store::Error> {
    let (sender, intake) = mpsc::channel(settings.intake_messages_max);
    let tenure = claim.tenure.clone();
    let worker = worker::Worker::begin(claim, store, definitions, settings).await?;
    let mut handle = Handle::new(sender, worker.partitions());
    handle.trouble = worker.troubles.subscribe();
    handle.tenure = tenure;
    handle.clock = worker.clock.shown();
    handle.waiting = worker.waiting.clone();
    handle.lines = Some(worker.starting.lines());
    Ok((handle, tokio::spawn(worker.run(intake))))
}
