//! A tap in the wire between the participants and the orchestrator. It outlives both: it writes down every command that
//! was ever sent, makes the trouble that a trip asks for, and in the end sends all commands once more.
//!
//! What a trip asks for is the name of its customer, which stands in the input of each of its commands: see [`Trouble`].

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{Stream, StreamExt, stream};
use saga_proto::v1::{
    Command, CommandBatch, FromParticipant, Op, Reply, ReplyBatch, ToParticipant, Welcome,
    from_participant::Message as From,
    participant_service_client::ParticipantServiceClient,
    participant_service_server::{ParticipantService, ParticipantServiceServer},
    to_participant::Message as To,
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

use crate::processes::connect;

/// Commands in one message of the replay.
const REPLAY_BATCH: usize = 64;

/// What happens to the messages of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// So many commands of the action are lost on the way: unknown, and not done.
    LoseCommands(usize),
    /// So many replies of the action are lost: unknown, and done.
    LoseReplies(usize),
    /// So many replies of the undo are lost.
    LoseUndoReplies(usize),
    /// Commands of the action arrive after the step was undone, and only then.
    Late,
    /// Every command arrives twice.
    Twice,
}

impl Trouble {
    /// The customer who has it: `step trouble times`.
    pub fn customer(self, step: &str) -> String {
        let (word, times) = match self {
            Self::LoseCommands(times) => ("lose-commands", times),
            Self::LoseReplies(times) => ("lose-replies", times),
            Self::LoseUndoReplies(times) => ("lose-undo-replies", times),
            Self::Late => ("late", 0),
            Self::Twice => ("twice", 0),
        };
        format!("{step} {word} {times}")
    }

    /// The step and its trouble; `None` for customers without any.
    fn of(customer: &str) -> Option<(&str, Self)> {
        let mut words = customer.split(' ');
        let (step, word, times) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        let trouble = match word {
            "lose-commands" => Self::LoseCommands(times),
            "lose-replies" => Self::LoseReplies(times),
            "lose-undo-replies" => Self::LoseUndoReplies(times),
            "late" => Self::Late,
            "twice" => Self::Twice,
            other => panic!("no trouble is called {other}"),
        };
        Some((step, trouble))
    }
}

/// Commands by participant, in order.
type Commands = BTreeMap<String, Vec<Command>>;
/// A step of a saga.
type Key = (Vec<u8>, String);

/// A step that has trouble.
struct Troubled {
    trouble: Trouble,
    /// How often the trouble was made.
    times: usize,
    /// Commands that are to arrive late.
    held: Vec<Command>,
}

#[derive(Default)]
struct Seen {
    /// Every command that ever came from the orchestrator, by participant, in order.
    commands: Commands,
    troubled: HashMap<Key, Troubled>,
    /// How much trouble was made in all.
    made: usize,
    /// How many commands arrived after the undo of their step.
    late: usize,
}

/// What a tap has done.
pub struct Counts {
    /// Commands that came from the orchestrator.
    pub seen: usize,
    /// Messages that had trouble.
    pub made: usize,
    /// Commands that arrived after the undo of their step.
    pub late: usize,
}

struct Shared {
    /// Where the orchestrator listens.
    server: String,
    /// Where the participants are to dial.
    address: SocketAddr,
    seen: Mutex<Seen>,
    /// Commands to be sent once more, and how many of them were answered, by participant.
    replay: watch::Sender<Option<Arc<Commands>>>,
    answered: watch::Sender<BTreeMap<String, usize>>,
}

/// The tap; clones are the same.
#[derive(Clone)]
pub struct Tap(Arc<Shared>);

type Outbound = stream::BoxStream<'static, Result<ToParticipant, Status>>;

impl Tap {
    /// Opens it in front of the orchestrator at `server`.
    pub async fn open(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let tap = Self(Arc::new(Shared {
            server,
            address,
            seen: Mutex::default(),
            replay: watch::Sender::new(None),
            answered: watch::Sender::default(),
        }));
        let service = ParticipantServiceServer::new(tap.clone());
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener)),
        );
        tap
    }

    /// As participants are told it.
    pub fn endpoint(&self) -> String {
        format!("grpc://{}", self.0.address)
    }

    /// As channels are told it.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        let seen = self.seen();
        Counts {
            seen: seen.commands.values().map(Vec::len).sum(),
            made: seen.made,
            late: seen.late,
        }
    }

    /// Sends every command once more, in another order, and waits until all are answered. The orchestrator must be gone.
    /// Returns how many there were.
    pub async fn replay(&self) -> usize {
        let mut commands = self.seen().commands.clone();
        let mut chance: u64 = 0x5eed;
        for own in commands.values_mut() {
            for at in (1..own.len()).rev() {
                chance = chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                own.swap(
                    at,
                    usize::try_from(chance >> 33).expect("31 bits") % (at + 1),
                );
            }
        }
        let wanted: BTreeMap<String, usize> = commands
            .iter()
            .map(|(name, own)| (name.clone(), own.len()))
            .collect();
        self.0.replay.send_replace(Some(Arc::new(commands)));
        let mut answered = self.0.answered.subscribe();
        while *answered.borrow_and_update() != wanted {
            let moved = tokio::time::timeout(crate::client::STALL_LIMIT, answered.changed()).await;
            assert!(
                moved.is_ok(),
                "no more answers: {:?} of {wanted:?}",
                *self.0.answered.borrow()
            );
        }
        wanted.values().sum()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes commands down and says what arrives of them.
    fn commands(&self, participant: &str, batch: CommandBatch) -> Vec<Command> {
        let mut seen = self.seen();
        let mut arriving = Vec::new();
        for command in batch.commands {
            seen.commands
                .entry(participant.to_owned())
                .or_default()
                .push(command.clone());
            let Some(trouble) = seen.trouble(&command) else {
                arriving.push(command);
                continue;
            };
            let is_action = command.op() == Op::Action;
            let made = match trouble.trouble {
                Trouble::LoseCommands(times) if is_action && trouble.times < times => true,
                Trouble::Late if is_action => {
                    trouble.held.push(command);
                    true
                }
                Trouble::Twice => {
                    arriving.extend([command.clone(), command]);
                    true
                }
                Trouble::LoseCommands(_)
                | Trouble::LoseReplies(_)
                | Trouble::LoseUndoReplies(_)
                | Trouble::Late => {
                    arriving.push(command);
                    false
                }
            };
            trouble.times += usize::from(made);
            seen.made += usize::from(made);
        }
        arriving
    }

    /// Says which replies arrive, and which commands were waiting for one of them.
    fn replies(&self, replies: Vec<Reply>) -> (Vec<Reply>, Vec<Command>) {
        let mut seen = self.seen();
        let (mut arriving, mut late) = (Vec::new(), Vec::new());
        for reply in replies {
            let key = (reply.saga_id.to_vec(), reply.step.clone());
            let Some(trouble) = seen.troubled.get_mut(&key) else {
                arriving.push(reply);
                continue;
            };
            let lost = match (trouble.trouble, reply.op()) {
                (Trouble::LoseReplies(times), Op::Action)
                | (Trouble::LoseUndoReplies(times), Op::Compensation) => trouble.times < times,
                (Trouble::Late, Op::Compensation) => {
                    late.append(&mut trouble.held);
                    false
                }
                _ => false,
            };
            trouble.times += usize::from(lost);
            seen.made += usize::from(lost);
            if !lost {
                arriving.push(reply);
            }
        }
        seen.late += late.len();
        (arriving, late)
    }
}

impl Seen {
    /// The trouble of a command's step, if it has any.
    fn trouble(&mut self, command: &Command) -> Option<&mut Troubled> {
        let key = (command.saga_id.to_vec(), command.step.clone());
        if !self.troubled.contains_key(&key) {
            let input: Value = serde_json::from_slice(&command.input).ok()?;
            let customer = input
                .get("customer_id")
                .or_else(|| input.pointer("/input/customer_id"));
            let (step, trouble) = Trouble::of(customer?.as_str()?)?;
            if step != command.step {
                return None;
            }
            self.troubled.insert(
                key.clone(),
                Troubled {
                    trouble,
                    times: 0,
                    held: Vec::new(),
                },
            );
        }
        self.troubled.get_mut(&key)
    }
}

#[tonic::async_trait]
impl ParticipantService for Tap {
    type ConnectStream = Outbound;

    async fn connect(
        &self,
        request: Request<Streaming<FromParticipant>>,
    ) -> Result<Response<Outbound>, Status> {
        let mut inbound = request.into_inner();
        let hello = match inbound.message().await?.and_then(|first| first.message) {
            Some(From::Hello(hello)) => hello,
            Some(_) | None => return Err(Status::invalid_argument("hello comes first")),
        };
        let participant = hello.participant.clone();
        let replay = self.0.replay.borrow().clone();
        if let Some(commands) = replay {
            let own = commands.get(&participant).cloned().unwrap_or_default();
            return Ok(Response::new(self.play(participant, inbound, own)));
        }
        let gone = || Status::unavailable("the orchestrator is gone");
        let channel = connect(&self.0.server).await.ok_or_else(gone)?;
        let (to_server, from_tap) = mpsc::unbounded_channel();
        // Both ends of the channel are here.
        let _ = to_server.send(FromParticipant {
            message: Some(From::Hello(hello)),
        });
        let mut client = ParticipantServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let from_server = client.connect(queue(from_tap)).await?.into_inner();
        let (to_participant, outbound) = mpsc::unbounded_channel();

        tokio::spawn(
            self.clone()
                .carry_up(inbound, to_server, to_participant.clone()),
        );
        tokio::spawn(
            self.clone()
                .carry_down(participant, from_server, to_participant),
        );
        Ok(Response::new(queue(outbound).boxed()))
    }
}

type ToParticipants = mpsc::UnboundedSender<Result<ToParticipant, Status>>;

impl Tap {
    /// Carries what the participant says. Ends with it or, as nobody takes what it says any more, with the orchestrator.
    async fn carry_up(
        self,
        mut inbound: Streaming<FromParticipant>,
        to_server: mpsc::UnboundedSender<FromParticipant>,
        to_participant: ToParticipants,
    ) {
        while let Ok(Some(message)) = inbound.message().await {
            let message = match message.message {
                Some(From::Replies(batch)) => {
                    let (replies, late) = self.replies(batch.replies);
                    if !late.is_empty() {
                        // A participant that has gone gets them in the end, with all others.
                        let _ = to_participant.send(Ok(sending(late)));
                    }
                    From::Replies(ReplyBatch { replies })
                }
                Some(other) => other,
                None => continue,
            };
            if to_server
                .send(FromParticipant {
                    message: Some(message),
                })
                .is_err()
            {
                return;
            }
        }
    }

    /// Carries what the orchestrator says, until either is gone.
    async fn carry_down(
        self,
        participant: String,
        mut from_server: Streaming<ToParticipant>,
        to_participant: ToParticipants,
    ) {
        let why = loop {
            let message = match from_server.message().await {
                Ok(Some(message)) => message,
                Ok(None) => break Status::unavailable("the orchestrator is gone"),
                Err(status) => break status,
            };
            let message = match message.message {
                Some(To::Commands(batch)) => sending(self.commands(&participant, batch)),
                // The participants must not find the way around the tap.
                Some(To::Welcome(welcome)) => ToParticipant {
                    message: Some(To::Welcome(Welcome {
                        addresses: Vec::new(),
                        ..welcome
                    })),
                },
                None => continue,
            };
            if to_participant.send(Ok(message)).is_err() {
                return;
            }
        };
        let _ = to_participant.send(Err(why));
    }

    /// Plays the orchestrator: sends commands and counts the replies.
    fn play(
        &self,
        participant: String,
        mut inbound: Streaming<FromParticipant>,
        commands: Vec<Command>,
    ) -> Outbound {
        let (sender, outbound) = mpsc::unbounded_channel();
        let welcome = Welcome {
            orchestrator: "replay".to_owned(),
            ..Welcome::default()
        };
        // The receiver is here.
        let _ = sender.send(Ok(ToParticipant {
            message: Some(To::Welcome(welcome)),
        }));
        for batch in commands.chunks(REPLAY_BATCH) {
            let _ = sender.send(Ok(sending(batch.to_vec())));
        }
        let tap = self.clone();
        tokio::spawn(async move {
            // Held, or the stream would end.
            let _sender = sender;
            while let Ok(Some(message)) = inbound.message().await {
                if let Some(From::Replies(batch)) = message.message {
                    let count = batch.replies.len();
                    tap.0.answered.send_modify(|answered| {
                        *answered.entry(participant.clone()).or_default() += count
                    });
                }
            }
        });
        queue(outbound).boxed()
    }
}

fn sending(commands: Vec<Command>) -> ToParticipant {
    ToParticipant {
        message: Some(To::Commands(CommandBatch { commands })),
    }
}

fn queue<T: Send + 'static>(
    receiver: mpsc::UnboundedReceiver<T>,
) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|item| (item, receiver))
    })
}
