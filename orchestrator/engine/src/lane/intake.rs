//! What reaches a lane, and how its answers travel back.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use saga_core::{
    ActId, ErrorBody, Op, Payload, SagaId, Status, Timestamp, Wait,
    event::Failure,
    input::{Cancel, Order, Outcome, Start, Unfit},
};
use saga_dsl::{
    limits::{BreakerPolicy, Limits},
    plan::Plan,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::waiting::Ticket;
use crate::{breaker::Phase, input_hash::InputHash, link::Link, store::record::BreakerFace};

/// A message to a lane.
pub enum Intake {
    /// Begin sagas.
    Starts(Vec<StartJob>),
    /// Participants answered.
    Replies(Vec<Incoming>),
    /// Participants answered, over a wire that keeps a message until it is told that it was dealt with.
    Delivery {
        /// The answers in the message.
        replies: Vec<Incoming>,
        /// Made for as many answers.
        receipt: Receipt,
    },
    /// Commands that will not be answered.
    Lost {
        /// Which.
        lost: Vec<LostCommand>,
        /// Made for as many commands, where a wire wants to be told.
        receipt: Option<Receipt>,
    },
    /// Commands that a wire of its own accord gave up to deliver. Each that travelled with others is sent once more, alone;
    /// given up again, it is lost.
    DeadLetters {
        /// Which.
        dead: Vec<LostCommand>,
        /// How.
        given_up: GivenUp,
        /// Made for as many commands.
        receipt: Receipt,
    },
    /// Undo a saga.
    Cancel(CancelJob),
    /// An operator intervenes.
    Intervene(InterveneJob),
    /// Tell me when this saga changes.
    Watch(WatchJob),
    /// A participant instance can be reached.
    Connected(Arc<dyn Link>),
    /// It wants no new commands; what is outstanding will be answered.
    Draining {
        /// [`Link::number`].
        link: u64,
    },
    /// Nothing travels over it now, to or fro: no new commands, and the limits of what is outstanding rest until another
    /// link takes its place.
    Suspended {
        /// [`Link::number`].
        link: u64,
    },
    /// It is gone; what was sent over it and not answered is lost.
    Disconnected {
        /// [`Link::number`].
        link: u64,
    },
    /// Another link takes the place of one that is draining: what was sent over that one is answered over this one.
    Replaced {
        /// [`Link::number`] of the old one.
        link: u64,
        /// The new one.
        by: Arc<dyn Link>,
    },
    /// The ways to a participant, for who sends it commands of no saga.
    Reach {
        /// Its name.
        participant: String,
        /// Gets those that take commands now.
        answer: oneshot::Sender<Vec<Arc<dyn Link>>>,
    },
    /// Whether participants can be heard by way of the broker, or why not.
    Broker(Option<Wait>),
    /// Who is connected, and what is outstanding.
    Census(oneshot::Sender<Census>),
    /// Every breaker.
    Breakers(oneshot::Sender<Vec<BreakerReport>>),
    /// The limits of every participant that has any, and the place of a saga among those that wait.
    Posts {
        /// The saga.
        saga: Option<SagaId>,
        /// Told at once.
        answer: oneshot::Sender<Vec<PostReport>>,
    },
    /// An operator trips or resets a breaker.
    SteerBreaker(BreakerJob),
    /// Definitions were registered: other limits may hold.
    Limits,
    /// Finish what is in flight, commit it, and stop.
    Stop(oneshot::Sender<()>),
}

/// A saga to begin. Its id is settled before, so that the start can be repeated.
pub struct StartJob {
    /// The id; its partition belongs to the lane.
    pub id: SagaId,
    /// The plan.
    pub plan: Arc<Plan>,
    /// The facts.
    pub start: Start,
    /// Tells this start's input from others.
    pub input_hash: InputHash,
    /// Told once the start is committed or refused.
    pub started: Option<oneshot::Sender<Started>>,
    /// Told when the saga has ended.
    pub ended: Option<Listener>,
    /// Counts it while it waits; [`Handle::send`](super::Handle::send) sets it.
    pub waits: Ticket,
    /// The names that no other start can have now; [`Handle::send`](super::Handle::send) sets it.
    pub holds: Holds,
}

/// Which of its names a start holds. Another start that asks for one of them waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holds {
    pub(super) key: bool,
    pub(super) id: bool,
}

impl Holds {
    /// A start with a key, ready to be decided.
    pub(super) const ALL: Self = Self {
        key: true,
        id: true,
    };
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It is committed.
    Created,
    /// The key or the request id was used before, with the same definition name and input: this is that saga.
    Existing {
        /// That saga.
        id: SagaId,
        /// Where it stands.
        status: Status,
    },
    /// The key was used before with other input.
    KeyConflict {
        /// That saga.
        id: SagaId,
    },
    /// The lane stopped, or could not take it. Nothing was started.
    Unavailable,
}

/// Where the end of a saga is reported.
#[derive(Clone)]
pub struct Listener {
    /// Echoed.
    pub tag: u64,
    /// Unbounded, so that a slow listener never holds the lane back; whoever makes one bounds the number of sagas
    /// that it waits for.
    pub sink: mpsc::UnboundedSender<Ended>,
}

/// The end of a saga, or of the attempt to start it.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Of the [`Listener`].
    pub tag: u64,
    /// The saga.
    pub id: SagaId,
    /// How it ended.
    pub end: End,
}

/// How a saga ended.
#[derive(Debug, Clone)]
pub enum End {
    /// It ran to an end state.
    Over {
        /// Completed or compensated.
        status: Status,
        /// The output of a completed saga.
        output: Option<Payload>,
        /// Why a completed saga has no output.
        output_error: Option<Arc<ErrorBody>>,
        /// Why it was compensated.
        failure: Option<Arc<Failure>>,
        /// Id of the step where the failure arose.
        failed_step: Option<String>,
    },
    /// The start was not new; its end must be asked for.
    NotNew(Started),
}

/// A reply as a transport took it off the wire.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The saga.
    pub saga_id: SagaId,
    /// Path of the step.
    pub step: String,
    /// Round of the key.
    pub round: u32,
    /// What was asked.
    pub op: Op,
    /// Which sending.
    pub attempt: u32,
    /// Who answered, as the transport attests it.
    pub participant: Arc<str>,
    /// What became of it.
    pub outcome: Outcome,
}

/// A command that will not be answered, as a transport knows it.
#[derive(Debug, Clone)]
pub struct LostCommand {
    /// The saga.
    pub saga_id: SagaId,
    /// Path of the step.
    pub step: String,
    /// Round of the key.
    pub round: u32,
    /// What was asked.
    pub op: Op,
    /// Which sending.
    pub attempt: u32,
    /// True when it certainly never reached the participant.
    pub unsent: bool,
    /// Why.
    pub error: ErrorBody,
}

/// How a wire gave a message up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp {
    /// Its commands travelled in a form in which there may be several, so that one may be the culprit.
    pub packed: bool,
    /// It was delivered so often, and whoever took it was gone before it was answered. `None`: it was sent back.
    pub deliveries: Option<u32>,
}

/// Tells a wire that everything in a message has been dealt with: what was decided because of it is committed, or
/// there was nothing to decide. A receipt that is only dropped tells nothing, and the message comes again.
#[derive(Debug, Clone)]
pub struct Receipt {
    message: Arc<Message>,
}

#[derive(Debug)]
struct Message {
    number: u64,
    left: AtomicUsize,
    done: mpsc::UnboundedSender<u64>,
}

impl Receipt {
    /// A receipt for the message of that number, which holds so many parts; `done` gets the number in the end.
    #[must_use]
    pub fn new(number: u64, parts: usize, done: mpsc::UnboundedSender<u64>) -> Self {
        Self {
            message: Arc::new(Message {
                number,
                left: AtomicUsize::new(parts),
                done,
            }),
        }
    }

    /// One part has been dealt with.
    pub fn part_done(self) {
        if self.message.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Fails when the wire is gone, which then has forgotten the message too.
            self.message.done.send(self.message.number).ok();
        }
    }
}

/// A cancel and its answer.
pub struct CancelJob {
    /// The saga.
    pub id: SagaId,
    /// Reason and person.
    pub cancel: Cancel,
    /// Told after the commit.
    pub answer: oneshot::Sender<Result<Cancelled, CancelError>>,
}

/// What a cancel led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// Undo has begun, or is over already.
    Compensating,
    /// The pivot is in flight and is settled first.
    Settling,
    /// It was on its way back before.
    Already,
}

/// Why a cancel was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// Not among the open sagas; the store knows whether it ended or never was.
    #[error("the saga is not open")]
    NotOpen,
    /// There is no way back.
    #[error("the pivot `{pivot}` has taken effect, there is no way back")]
    AfterPivot {
        /// The pivot.
        pivot: String,
    },
    /// It ended.
    #[error("the saga has ended")]
    Ended,
    /// The lane stopped.
    #[error("the server is shutting down")]
    Unavailable,
}

/// An operator's intervention and its answer.
pub struct InterveneJob {
    /// The saga.
    pub id: SagaId,
    /// Id of the step; `None`: the whole saga.
    pub step: Option<String>,
    /// What.
    pub order: Order,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Take the operator's word where a proof is not to be had.
    pub force: bool,
    /// The client's name for this act; the same when it is sent again.
    pub act: Option<ActId>,
    /// Told after the commit.
    pub answer: oneshot::Sender<Result<(), InterveneError>>,
}

/// Why an intervention was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterveneError {
    /// Not among the open sagas; the store knows whether it ended or never was.
    #[error("the saga is not open")]
    NotOpen,
    /// Its plan has no such step.
    #[error("it has no step `{step}`")]
    NoSuchStep {
        /// As written.
        step: String,
    },
    /// It makes no sense where the saga stands.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It ended.
    #[error("the saga has ended")]
    Ended,
    /// The lane stopped, or could not decide it.
    #[error("the server is shutting down")]
    Unavailable,
}

/// A breaker as it stands.
#[derive(Debug, Clone)]
pub struct BreakerReport {
    /// Before the slash.
    pub participant: String,
    /// After the slash.
    pub action: String,
    /// Where it stands.
    pub phase: Phase,
    /// Since when, and why.
    pub face: BreakerFace,
    /// What it goes by; `None`: operators alone open it.
    pub policy: Option<BreakerPolicy>,
    /// Calls in the window when the last one was counted.
    pub calls: u32,
    /// How many of them failed.
    pub failed: u32,
    /// Sagas that wait for it, or for room at its participant.
    pub waiting: usize,
    /// How the last call failed that did.
    pub last: Option<LastFailure>,
    /// The lane's clock, which `face` goes by.
    pub now: Timestamp,
}

/// How calls of an action failed lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// The error of the last one.
    pub error: ErrorBody,
    /// Calls in a row that failed with this very error, whatever succeeded in between.
    pub times: u32,
}

/// The limits of a participant, and who waits for them.
#[derive(Debug, Clone)]
pub struct PostReport {
    /// The participant.
    pub participant: String,
    /// What it may be sent.
    pub limits: Limits,
    /// Commands that are outstanding there.
    pub in_flight: u32,
    /// Sagas that wait for room there.
    pub waiting: usize,
    /// Where the saga stands among them that was asked about, from 1.
    pub place: Option<usize>,
    /// When the next command may go by the rate.
    pub next: Timestamp,
    /// The lane's clock.
    pub now: Timestamp,
}

/// An operator's word about a breaker, and its answer.
pub struct BreakerJob {
    /// Before the slash.
    pub participant: String,
    /// After the slash.
    pub action: String,
    /// What.
    pub order: BreakerOrder,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Told when it is written.
    pub answer: oneshot::Sender<BreakerSteered>,
}

/// What an operator wants of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerOrder {
    /// Open it.
    Trip {
        /// For so many milliseconds; `None`: until it is reset.
        for_ms: Option<u64>,
    },
    /// Close it.
    Reset,
}

/// What came of it.
#[derive(Debug, Clone)]
pub enum BreakerSteered {
    /// It is done and written.
    Done(Box<BreakerReport>),
    /// It was not open: nothing was changed.
    NotOpen,
}

/// A wish to follow a saga.
pub struct WatchJob {
    /// The saga.
    pub id: SagaId,
    /// Gets a receiver of the number of committed decisions; `None` when the saga is not open.
    /// The channel closes when the saga has ended.
    pub answer: oneshot::Sender<Option<watch::Receiver<u64>>>,
}

/// Who is connected, and what is outstanding.
#[derive(Debug, Clone, Default)]
pub struct Census {
    /// Sagas in memory.
    pub open: usize,
    /// One entry per connected instance.
    pub links: Vec<LinkCensus>,
    /// Sagas that wait for a participant, by its name.
    pub waiting: Vec<(String, usize)>,
    /// Sagas that could not be loaded, and why.
    pub broken: Vec<(SagaId, ErrorBody)>,
}

/// A connected instance.
#[derive(Debug, Clone)]
pub struct LinkCensus {
    /// [`Link::number`].
    pub link: u64,
    /// Commands that were sent over it and not answered.
    pub outstanding: usize,
    /// It wants no new commands.
    pub draining: bool,
    /// Nothing travels over it now, whatever the participant wants.
    pub held: bool,
}
