//! The life of one stream: hello, admission, replies, and one word to the lane when it is over.

use std::{sync::Arc, time::Duration};

use saga_proto::v1::{FromParticipant, Hello, ReplyBatch, Welcome, from_participant::Message};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    Context,
    link::GrpcLink,
    outgoing::{Admitted, Outbound},
};
use saga_engine::{
    clock,
    directory::{Directory, Heard, Instance, NotAdmitted, Road},
    lane::{self, intake::Intake},
};
use saga_wire::{
    convert, hello,
    refusal::{Code, Refusal},
};

/// How long a client may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Begins a session; it lives until either half ends.
pub(super) fn open(
    context: Arc<Context>,
    inbound: Streaming<FromParticipant>,
    peer: String,
) -> Outbound {
    let (admit, admitted) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let close = CancellationToken::new();
    let outbound = Outbound::new(admitted, ended, close.clone().drop_guard());
    let sessions = context.sessions.clone();
    sessions.spawn(async move {
        if let Err(status) = run(&context, inbound, peer, admit, close).await {
            // Fails only when the client is gone, and then there is nobody to tell.
            let _ = end.send(status);
        }
    });
    outbound
}

async fn run(
    context: &Context,
    mut inbound: Streaming<FromParticipant>,
    peer: String,
    admit: oneshot::Sender<Admitted>,
    close: CancellationToken,
) -> Result<(), Status> {
    let hello = tokio::select! {
        hello = timeout(HELLO_WITHIN, first(&mut inbound)) => {
            hello.map_err(|_| refuse(format!("no hello within {HELLO_WITHIN:?}")))??
        }
        () = close.cancelled() => return Ok(()),
        () = context.closing.cancelled() => return Err(closed(&context.lane)),
    };
    let registration = hello::read(hello).map_err(refuse)?;
    let now = clock::now();
    context
        .directory
        .admit(&registration, now)
        .await
        .map_err(not_admitted)?;

    let (commands, to_send) = mpsc::unbounded_channel();
    let link = context.directory.next_link();
    let participant: Arc<str> = registration.participant.as_str().into();
    let actions: Vec<String> = registration
        .actions
        .iter()
        .map(|action| action.name.clone())
        .collect();
    let grpc_link = GrpcLink {
        number: link,
        participant: Arc::clone(&participant),
        actions: actions.clone(),
        transactional: registration.inbox_kind == saga_engine::directory::InboxKind::Transactional,
        commands,
    };
    context
        .lane
        .send(Intake::Connected(Arc::new(grpc_link)))
        .await
        .map_err(|_| closed(&context.lane))?;
    let heard = Heard::new(now);
    let session = Session {
        link,
        participant,
        lane: context.lane.clone(),
        directory: Arc::clone(&context.directory),
        heard: heard.clone(),
    };
    context.directory.connect(Instance {
        // A stream leads to one instance and to no other.
        seat: link,
        link,
        participant: registration.participant,
        instance: registration.instance,
        sdk: registration.sdk,
        peer,
        road: Road::Stream,
        connected_at: now,
        heard,
        leaving: false,
        actions,
        close: close.clone(),
    });
    tracing::info!(participant = &*session.participant, link, "connected");
    let welcome = Welcome {
        orchestrator: context.orchestrator.clone(),
        capabilities: Vec::new(),
        addresses: context.addresses.clone(),
    };
    if admit
        .send(Admitted {
            welcome,
            commands: to_send,
        })
        .is_err()
    {
        return Ok(());
    }
    tokio::select! {
        end = session.receive(&mut inbound) => end,
        () = close.cancelled() => Err(Status::aborted("the session was given up: the instance connected again")),
        () = context.closing.cancelled() => Err(closed(&context.lane)),
    }
}

async fn first(inbound: &mut Streaming<FromParticipant>) -> Result<Hello, Status> {
    match inbound.message().await? {
        Some(FromParticipant {
            message: Some(Message::Hello(hello)),
        }) => Ok(hello),
        Some(_) | None => Err(refuse("the first message of a session is hello")),
    }
}

/// A registered session. Dropping it, however that comes about, is what tells the lane and the directory.
struct Session {
    link: u64,
    participant: Arc<str>,
    lane: lane::Handle,
    directory: Arc<Directory>,
    heard: Heard,
}

impl Session {
    async fn receive(&self, inbound: &mut Streaming<FromParticipant>) -> Result<(), Status> {
        let mut dropped: u64 = 0;
        while let Some(message) = inbound.message().await? {
            self.heard.note(clock::now());
            let intake = match message.message {
                Some(Message::Replies(replies)) => {
                    Intake::Replies(self.replies(replies, &mut dropped))
                }
                Some(Message::Draining(_)) => {
                    self.directory.leave(self.link);
                    Intake::Draining { link: self.link }
                }
                Some(Message::Hello(_)) => return Err(refuse("hello was said before")),
                // A kind of message that this release does not know.
                None => continue,
            };
            // Waits while the lane is full; the stream's window then holds the participant back.
            self.lane
                .send(intake)
                .await
                .map_err(|_| closed(&self.lane))?;
        }
        Ok(())
    }

    fn replies(&self, batch: ReplyBatch, dropped: &mut u64) -> Vec<lane::intake::Incoming> {
        let mut taken = Vec::with_capacity(batch.replies.len());
        for reply in batch.replies {
            match convert::reply(&self.participant, reply) {
                Ok(incoming) => taken.push(incoming),
                Err(nonsense) => {
                    *dropped += 1;
                    // Every power of two, so that a participant gone mad does not fill the log.
                    if dropped.is_power_of_two() {
                        tracing::warn!(
                            participant = &*self.participant,
                            link = self.link,
                            dropped = *dropped,
                            "replies make no sense and are dropped: {nonsense}"
                        );
                    }
                }
            }
        }
        taken
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.directory.disconnect(self.link);
        tracing::info!(
            participant = &*self.participant,
            link = self.link,
            "disconnected"
        );
        self.lane
            .send_soon(Intake::Disconnected { link: self.link });
    }
}

fn refuse(why: impl ToString) -> Status {
    Refusal::new(Code::Hello, why.to_string()).into()
}

fn not_admitted(error: NotAdmitted) -> Status {
    match error {
        NotAdmitted::OtherInbox { .. } => Refusal::new(Code::OtherInbox, error.to_string()).into(),
        NotAdmitted::Store(error) => Refusal::from(error).into(),
    }
}

/// Why a session ends that the participant did not end.
fn closed(lane: &lane::Handle) -> Status {
    Refusal::closed(lane.tenure()).into()
}
