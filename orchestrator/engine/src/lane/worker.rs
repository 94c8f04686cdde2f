//! The lane's loop.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use saga_core::{
    ErrorBody, Input, SagaId, Timestamp,
    input::{Intervention, Lost, Reply},
};
use saga_dsl::plan::StepIx;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    Settings,
    answer::{Answer, Why},
    batch::{Job, Pending},
    clock::Clock,
    dead_letters::Wards,
    gather::Gather,
    guards::Guards,
    intake::{Census, Incoming, Intake, InterveneJob, LinkCensus, LostCommand, Receipt, WatchJob},
    links::{Links, Takes},
    nonsense::{self, Lines, Stray},
    scribe::{self, Change},
    slot::Slot,
    starting::{Starter, Starting},
    timers::Timers,
    trouble::Troubles,
    visits::Visits,
    waiting::Waiting,
};
use crate::{
    definitions::Definitions,
    store::{self, Claim, CommitError, Journals, Lanes, tenure::Tenure},
};

/// Inputs that may wait to be decided before the lane takes no more messages.
const QUEUE_MAX: usize = 4_096;

pub(super) struct Worker {
    pub(super) store: Arc<dyn Lanes>,
    pub(super) definitions: Arc<Definitions>,
    pub(super) settings: Settings,
    pub(super) claim: Claim,
    /// The tenure under which the lane began. The lane does not outlive it, whatever it claims later.
    pub(super) tenure: Tenure,
    pub(super) clock: Clock,
    /// The store is asked what its clock shows.
    pub(super) asked: Option<BoxFuture<'static, Result<Option<Timestamp>, store::Error>>>,
    pub(super) sagas: HashMap<SagaId, Slot>,
    /// Sagas that could not be loaded; they do not stop the others.
    pub(super) broken: HashMap<SagaId, ErrorBody>,
    pub(super) timers: Timers,
    pub(super) links: Links,
    /// Participants with limits or breakers.
    pub(super) guards: Guards,
    /// What became of breakers, on its way to the store.
    pub(super) changes: mpsc::UnboundedSender<Change>,
    /// Inputs that are not decided yet.
    pub(super) queue: VecDeque<Job>,
    /// Sagas that have ended and are being read back.
    pub(super) visits: Visits,
    /// Keys and ids of starts whose commit is open, and the starts that wait for them.
    pub(super) starting: Starting,
    /// After a batch whose starts were asked for before: how many of its other inputs are to be decided again, alone.
    pub(super) proven: Option<usize>,
    /// Decided, not handed to the store yet.
    pub(super) pending: Pending,
    /// Sagas whose outstanding commands are to be sent again to a participant once their last decision is committed.
    pub(super) resend: Vec<(String, SagaId)>,
    /// Commands that a wire gave up and that wait to be sent again, alone.
    pub(super) wards: Wards,
    /// Being written.
    pub(super) writing: Option<Writing>,
    pub(super) commit_no: u64,
    /// Inputs in one batch; shrinks to find a row that the store refuses.
    pub(super) batch_inputs: usize,
    /// After a failed commit: when to try again, and how long to wait the next time.
    pub(super) pause: Option<Instant>,
    pub(super) pause_ms: u64,
    /// What is known of a store that takes no commits.
    pub(super) troubles: Troubles,
    /// How many inputs wait for a commit.
    pub(super) waiting: Waiting,
    /// Whether the next batch waits for more.
    gather: Gather,
    /// Lines about what makes no sense.
    pub(super) lines: Lines,
    /// Replies for sagas that are not open, where they are looked up.
    strays: Option<mpsc::Sender<Stray>>,
    stopping: Vec<oneshot::Sender<()>>,
    pub(super) stop: bool,
}

pub(super) struct Writing {
    pub(super) batch: Pending,
    pub(super) outcome: BoxFuture<'static, Result<(), CommitError>>,
}

impl Worker {
    pub(super) async fn begin(
        claim: Claim,
        store: Arc<dyn Lanes>,
        definitions: Arc<Definitions>,
        settings: Settings,
    ) -> Result<Self, store::Error> {
        let left = store
            .breakers()
            .await?
            .into_iter()
            .filter(|row| row.face.open)
            .collect();
        let clock = Clock::new(
            settings.wall,
            settings.boot,
            settings.look_every,
            claim.last_commit_at,
        );
        let strays = settings
            .looks_up_strays
            .then(|| nonsense::look_up(Arc::clone(&store) as Arc<dyn Journals>));
        let (changes, written) = mpsc::unbounded_channel();
        tokio::spawn(scribe::write(Arc::clone(&store), written));
        let limits = definitions.limits();
        let mut worker = Self {
            asked: None,
            guards: Guards::new(settings.rules, limits, left, changes.clone(), clock.now()),
            clock,
            changes,
            commit_no: claim.last_commit_no,
            tenure: claim.tenure.clone(),
            claim,
            store,
            definitions,
            settings,
            sagas: HashMap::new(),
            broken: HashMap::new(),
            timers: Timers::default(),
            links: Links::default(),
            queue: VecDeque::new(),
            visits: Visits::default(),
            starting: Starting::default(),
            proven: None,
            resend: Vec::new(),
            wards: Wards::default(),
            pending: Pending::default(),
            writing: None,
            batch_inputs: settings.batch_inputs_max,
            pause: None,
            pause_ms: 0,
            troubles: Troubles::new(),
            waiting: Waiting::default(),
            gather: Gather::new(Instant::now()),
            lines: Lines::default(),
            strays,
            stopping: Vec::new(),
            stop: false,
        };
        worker.recover().await?;
        Ok(worker)
    }

    pub(super) fn partitions(&self) -> u16 {
        u16::try_from(self.claim.fences.len()).unwrap_or(u16::MAX)
    }

    pub(super) async fn run(mut self, mut intake: mpsc::Receiver<Intake>) {
        let mut messages = Vec::new();
        let tenure = self.tenure.clone();
        loop {
            // Read from the clock: after a stop of the process nothing may be decided on what was known before.
            if !tenure.holds() {
                tracing::warn!("the store belongs to somebody else: the lane stops where it is");
                return;
            }
            self.fire_timers();
            self.decide_queue();
            self.submit();
            self.attend_wards();
            if self.is_finished() {
                break;
            }
            let wake = self.next_wake();
            tokio::select! {
                // What is committed is released before anything new is taken.
                biased;
                () = tenure.ended() => {}
                outcome = written(&mut self.writing) => self.written(outcome).await,
                () = sleep_until(self.pause) => self.pause = None,
                () = sleep_until(self.troubles.late()) => self.commit_is_late(),
                () = sleep_until(self.gather.until()) => self.gather.end(),
                shown = answered(&mut self.asked) => self.store_clock(shown),
                read = self.visits.next() => self.visited(read),
                () = sleep_until(wake) => {}
                count = intake.recv_many(&mut messages, 64), if self.takes_messages() => {
                    if count == 0 {
                        self.stop = true;
                    }
                    for message in messages.drain(..) {
                        self.take(message);
                    }
                }
            }
        }
        for done in self.stopping {
            // Whoever asked may have gone.
            done.send(()).ok();
        }
    }

    fn takes_messages(&self) -> bool {
        !self.stop && self.has_room()
    }

    /// Whether the queue takes another input. If it does not, the batch is full, too, and its commit makes room.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MAX
    }

    fn is_finished(&self) -> bool {
        self.stop
            && self.writing.is_none()
            && self.pending.is_empty()
            && self.queue.is_empty()
            && self.visits.is_empty()
    }

    pub(super) fn take(&mut self, message: Intake) {
        match message {
            Intake::Starts(jobs) => self
                .queue
                .extend(jobs.into_iter().map(|job| Job::Start(Starter::new(job)))),
            Intake::Replies(replies) => replies
                .into_iter()
                .for_each(|reply| self.take_reply(reply, None)),
            Intake::Delivery { replies, receipt } => {
                replies
                    .into_iter()
                    .for_each(|reply| self.take_reply(reply, Some(receipt.clone())));
            }
            Intake::Lost { lost, receipt } => {
                lost.into_iter()
                    .for_each(|lost| self.take_lost(lost, receipt.clone()));
            }
            Intake::DeadLetters {
                dead,
                given_up,
                receipt,
            } => self.take_dead(dead, given_up, &receipt),
            Intake::Cancel(job) => {
                let (id, answer) = (job.id, Some(Answer::Cancel(job.answer)));
                self.queue.push_back(Job::Input {
                    id,
                    input: Input::Cancel(job.cancel),
                    answer,
                });
            }
            Intake::Intervene(job) => self.take_intervention(job),
            Intake::Watch(job) => self.watch(job),
            Intake::Connected(link) => self.connected(link),
            Intake::Draining { link } => self.links.drain(link),
            Intake::Suspended { link } => self.suspended(link),
            Intake::Disconnected { link } => self.disconnected(link),
            Intake::Replaced { link, by } => self.replaced(link, by),
            Intake::Broker(unheard) => self.broker(unheard),
            // Whoever asked may have gone, here and below.
            Intake::Reach {
                participant,
                answer,
            } => drop(answer.send(self.links.reach(&participant))),
            Intake::Census(answer) => drop(answer.send(self.census())),
            Intake::Breakers(answer) => drop(answer.send(self.breakers())),
            Intake::Posts { saga, answer } => {
                let now = self.clock.now();
                let posts = self.guards.posts.iter();
                let reports = posts.map(|(name, post)| post.report(name, saga, now));
                // Whoever asked may have gone.
                answer.send(reports.collect()).ok();
            }
            Intake::SteerBreaker(job) => self.steer_breaker(job),
            Intake::Limits => {
                let limits = self.definitions.limits();
                self.guards.set_limits(&limits, self.clock.now());
                self.recount();
            }
            Intake::Stop(done) => {
                self.stopping.push(done);
                self.stop = true;
            }
        }
    }

    fn take_reply(&mut self, reply: Incoming, receipt: Option<Receipt>) {
        if let (Some(strays), false) = (&self.strays, self.sagas.contains_key(&reply.saga_id)) {
            let stray = Stray {
                saga_id: reply.saga_id,
                step: reply.step.clone(),
                participant: Arc::clone(&reply.participant),
                at: self.clock.now(),
            };
            // More of them than can be looked up are passed over.
            strays.try_send(stray).ok();
        }
        let Some(step) = self.step_of(reply.saga_id, &reply.step) else {
            receipt.into_iter().for_each(Receipt::part_done);
            return;
        };
        if let Some(slot) = self.sagas.get_mut(&reply.saga_id) {
            slot.forget_losses(step, reply.op);
        }
        let input = Input::Reply(Reply {
            participant: reply.participant,
            step,
            round: reply.round,
            op: reply.op,
            attempt: reply.attempt,
            outcome: reply.outcome,
        });
        self.queue.push_back(Job::Input {
            id: reply.saga_id,
            input,
            answer: receipt.map(Answer::Receipt),
        });
    }

    pub(super) fn take_lost(&mut self, lost: LostCommand, receipt: Option<Receipt>) {
        let Some(step) = self.step_of(lost.saga_id, &lost.step) else {
            receipt.into_iter().for_each(Receipt::part_done);
            return;
        };
        let LostCommand {
            saga_id: id,
            round,
            op,
            attempt,
            unsent,
            error,
            ..
        } = lost;
        if let Some(slot) = self.sagas.get_mut(&id) {
            slot.unroute(step, op, round, attempt);
            slot.end_rest(step, op, round, attempt, self.clock.now());
        }
        self.rearm(id);
        let input = Input::Lost(Lost {
            step,
            round,
            op,
            attempt,
            unsent,
            error,
        });
        self.queue.push_back(Job::Input {
            id,
            input,
            answer: receipt.map(Answer::Receipt),
        });
    }

    /// The step that a message names, if the saga is open and has it.
    fn step_of(&mut self, saga_id: SagaId, step: &str) -> Option<StepIx> {
        let Some(slot) = self.sagas.get(&saga_id) else {
            // Ended, or never here: a late copy of an answer that was taken before.
            tracing::debug!(%saga_id, step, "message for a saga that is not open");
            return None;
        };
        let ix = slot.plan.step_ix(step);
        if ix.is_none()
            && let Some(left_out) = self.lines.may_write(self.clock.now())
        {
            tracing::warn!(
                %saga_id, step, left_out,
                "message for a step that the plan does not have"
            );
        }
        ix
    }

    fn take_intervention(&mut self, job: InterveneJob) {
        let InterveneJob {
            id,
            step,
            order,
            reason,
            by,
            force,
            act,
            answer,
        } = job;
        let answer = Answer::Intervene(answer);
        // A saga that is not here is looked for when the input is decided; no verb about a step concerns it.
        let slot = self.sagas.get(&id);
        if slot.is_none() && step.is_some() {
            answer.refuse(Why::NotOpen);
            return;
        }
        let ix = step
            .as_deref()
            .zip(slot)
            .map(|(step, slot)| slot.plan.step_ix(step));
        if let (Some(None), Some(step)) = (ix, step) {
            answer.refuse(Why::NoSuchStep { step });
            return;
        }
        let input = Input::Intervene(Intervention {
            order,
            step: ix.flatten(),
            reason,
            by,
            force,
            act,
        });
        self.queue.push_back(Job::Input {
            id,
            input,
            answer: Some(answer),
        });
    }

    fn watch(&mut self, job: WatchJob) {
        let receiver = self.sagas.get_mut(&job.id).map(|slot| {
            let committed = slot.committed;
            slot.watch
                .get_or_insert_with(|| watch::channel(committed).0)
                .subscribe()
        });
        // Whoever asked may have gone.
        job.answer.send(receiver).ok();
    }

    fn census(&self) -> Census {
        let mut links: Vec<LinkCensus> = self
            .links
            .entries()
            .iter()
            .map(|e| LinkCensus {
                link: e.link.number(),
                outstanding: 0,
                draining: e.takes == Takes::NoneDraining,
                held: e.takes == Takes::NoneHeld,
            })
            .collect();
        for route in self.sagas.values().flat_map(|slot| &slot.routes) {
            if let Some(link) = links.iter_mut().find(|link| link.link == route.link) {
                link.outstanding += 1;
            }
        }
        Census {
            open: self.sagas.len(),
            links,
            waiting: self.waiting(),
            broken: self
                .broken
                .iter()
                .map(|(id, error)| (*id, error.clone()))
                .collect(),
        }
    }

    /// Sagas that wait for a participant, whatever holds them.
    fn waiting(&self) -> Vec<(String, usize)> {
        let mut waiting: BTreeMap<String, usize> = self
            .links
            .waiting()
            .map(|(name, ids)| (name.clone(), ids.len()))
            .collect();
        for (name, post) in &self.guards.posts {
            let held: usize = post.points.values().map(|point| point.waiting()).sum();
            if held > 0 {
                *waiting.entry(name.clone()).or_default() += held;
            }
        }
        waiting.into_iter().collect()
    }

    /// Hands the decided batch to the store, if the store has none of ours.
    pub(super) fn submit(&mut self) {
        // A store in trouble is asked with an empty batch when there is no other: its trouble must not outlast its cause.
        let probes = self.troubles.is_told() && !self.stop;
        if self.writing.is_some() || self.pause.is_some() || (self.pending.is_empty() && !probes) {
            return;
        }
        if self.gather.holds(self.pending.decisions()) && !self.stop {
            return;
        }
        let mut batch = std::mem::take(&mut self.pending);
        self.proven = self.proven.filter(|left| *left > 0);
        if !batch.has_rows() && !probes {
            // Every input was refused or repeated: there is nothing to wait for.
            self.release(batch);
            return;
        }
        self.release_early(&mut batch);
        self.commit_no += 1;
        let rows = batch.take_rows(self.commit_no, &self.claim.fences);
        self.gather.submitted(Instant::now());
        self.troubles.submitted(Instant::now());
        let store = Arc::clone(&self.store);
        let outcome = Box::pin(async move { store.commit(rows).await });
        self.writing = Some(Writing { batch, outcome });
    }

    pub(super) async fn written(&mut self, outcome: Result<(), CommitError>) {
        let Some(Writing { batch, .. }) = self.writing.take() else {
            return;
        };
        self.troubles.answered();
        match outcome {
            Ok(()) => {
                self.pause_ms = 0;
                self.untroubled();
                self.batch_inputs = (self.batch_inputs * 2).min(self.settings.batch_inputs_max);
                // The store is idle: the next batch goes out before this one's effects are carried out. One without rows
                // has nothing to write and is released in its turn.
                self.gather
                    .written(self.pending.decisions(), Instant::now());
                if self.pending.has_rows() {
                    self.submit();
                }
                self.release(batch);
            }
            Err(error) => self.not_written(batch, error).await,
        }
        self.send_deferred();
    }
}

async fn written(writing: &mut Option<Writing>) -> Result<(), CommitError> {
    match writing {
        Some(writing) => (&mut writing.outcome).await,
        None => std::future::pending().await,
    }
}

async fn answered<T>(asked: &mut Option<BoxFuture<'static, T>>) -> T {
    match asked {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
