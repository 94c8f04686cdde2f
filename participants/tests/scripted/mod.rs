//! An orchestrator that says what the test tells it, over real sockets.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part; a test may panic"
)]

use std::{future::Future, net::SocketAddr, time::Duration};

use saga_participant::{Error, Participant};
use saga_proto::v1::{
    Command, CommandBatch, FromParticipant, Hello, Op, Reply, ToParticipant, Welcome,
    from_participant::Message as From,
    participant_service_server::{ParticipantService, ParticipantServiceServer},
    to_participant::Message as To,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// No wait of these tests comes near it unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens in time")
}

/// One stream as the orchestrator holds it.
pub struct Conversation {
    pub from: Streaming<FromParticipant>,
    pub to: mpsc::Sender<Result<ToParticipant, Status>>,
}

impl Conversation {
    pub async fn hear(&mut self) -> Option<From> {
        soon(self.from.message())
            .await
            .unwrap()
            .map(|message| message.message.expect("not empty"))
    }

    pub async fn hello(&mut self) -> Hello {
        match self.hear().await {
            Some(From::Hello(hello)) => hello,
            other => panic!("expected hello, heard {other:?}"),
        }
    }

    pub async fn replies(&mut self) -> Vec<Reply> {
        match self.hear().await {
            Some(From::Replies(batch)) => batch.replies,
            other => panic!("expected replies, heard {other:?}"),
        }
    }

    pub async fn reply(&mut self) -> Reply {
        let mut replies = self.replies().await;
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0)
    }

    pub async fn say(&self, message: To) {
        self.to
            .send(Ok(ToParticipant {
                message: Some(message),
            }))
            .await
            .unwrap();
    }

    pub async fn command(&self, commands: Vec<Command>) {
        self.say(To::Commands(CommandBatch { commands })).await;
    }
}

pub struct Scripted(mpsc::Sender<Conversation>);

#[tonic::async_trait]
impl ParticipantService for Scripted {
    type ConnectStream = ReceiverStream<Result<ToParticipant, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<FromParticipant>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (to, said) = mpsc::channel(16);
        let conversation = Conversation {
            from: request.into_inner(),
            to,
        };
        self.0
            .send(conversation)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(said)))
    }
}

pub struct Orchestrator {
    pub address: SocketAddr,
    pub conversations: mpsc::Receiver<Conversation>,
}

impl Orchestrator {
    pub async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let (sender, conversations) = mpsc::channel(4);
        tokio::spawn(
            Server::builder()
                .add_service(ParticipantServiceServer::new(Scripted(sender)))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Self {
            address,
            conversations,
        }
    }

    pub async fn next(&mut self) -> Conversation {
        soon(self.conversations.recv())
            .await
            .expect("the server runs")
    }

    /// The next stream, its hello answered.
    pub async fn welcome(&mut self) -> (Conversation, Hello) {
        self.welcome_with(vec![self.address.to_string()]).await
    }

    pub async fn welcome_with(&mut self, addresses: Vec<String>) -> (Conversation, Hello) {
        let mut conversation = self.next().await;
        let hello = conversation.hello().await;
        let welcome = Welcome {
            orchestrator: self.address.to_string(),
            addresses,
            ..Default::default()
        };
        conversation.say(To::Welcome(welcome)).await;
        (conversation, hello)
    }
}

/// A participant that serves until it is told to stop.
pub struct Serving {
    pub stop: oneshot::Sender<()>,
    pub ended: JoinHandle<Result<(), Error>>,
}

impl Serving {
    pub fn start<S: saga_participant::Store>(
        participant: Participant<S>,
        address: SocketAddr,
    ) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let ended = tokio::spawn(async move {
            participant
                .serve(&format!("grpc://{address}"), shutdown)
                .await
        });
        Self { stop, ended }
    }

    pub async fn end(self) -> Result<(), Error> {
        let _ = self.stop.send(());
        soon(self.ended).await.unwrap()
    }
}

pub fn command(step: &str, op: Op, action: &str, input: &str) -> Command {
    Command {
        saga_id: vec![7; 16].into(),
        step: step.to_owned(),
        round: 1,
        op: op as i32,
        attempt: 1,
        action: action.to_owned(),
        input: input.to_owned().into(),
        fingerprint: 42,
        ..Default::default()
    }
}
