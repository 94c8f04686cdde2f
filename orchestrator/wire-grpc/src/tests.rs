//! The stream over real sockets, against a lane that the test plays.

#![allow(clippy::expect_used)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use saga_core::{
    Gate, Input, Op, Partition, Payload, SagaId, SagaState, Timestamp, decide,
    input::{Outcome, Start},
};
use saga_dsl::{
    builder::{Saga, step},
    plan::Plan,
};
use saga_proto::limits::{
    DOCUMENT_BYTES_MAX, MESSAGE_BYTES_MAX, SCHEMA_BYTES_MAX, SCHEMAS_BYTES_MAX,
};
use saga_proto::v1::{
    self as wire, FromParticipant, ToParticipant, from_participant,
    participant_service_client::ParticipantServiceClient,
    participant_service_server::ParticipantServiceServer, to_participant,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status, Streaming, transport::server::TcpIncoming};

use super::Participants;
use saga_engine::{
    directory::Directory,
    lane::{Handle, intake::Intake},
    link::{Link, Outgoing},
    store::Store,
};
use saga_store_sqlite::SqliteStore;

struct Rig {
    address: String,
    lane: mpsc::Receiver<Intake>,
    directory: Arc<Directory>,
    closing: CancellationToken,
    _dir: TempDir,
}

async fn rig() -> Rig {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&dir.path().join("saga.db")).expect("a store"));
    let directory = Arc::new(Directory::load(store).await.expect("readable"));
    let (sender, lane) = mpsc::channel(16);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let closing = CancellationToken::new();
    let service = Participants::new(
        Handle::new(sender, 32),
        Arc::clone(&directory),
        address,
        closing.clone(),
        TaskTracker::new(),
    );
    let service =
        ParticipantServiceServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(server);
    Rig {
        address: format!("http://{address}"),
        lane,
        directory,
        closing,
        _dir: dir,
    }
}

/// A participant's end of a stream.
struct Client {
    out: mpsc::Sender<FromParticipant>,
    inbound: Streaming<ToParticipant>,
}

impl Client {
    async fn open(rig: &Rig) -> Self {
        let channel =
            tonic::transport::Endpoint::from_shared(rig.address.clone()).expect("an address");
        let channel = channel.connect().await.expect("a connection");
        let (out, outbound) = mpsc::channel(16);
        let mut client = ParticipantServiceClient::new(channel);
        let inbound = client
            .connect(ReceiverStream::new(outbound))
            .await
            .expect("a stream")
            .into_inner();
        Self { out, inbound }
    }

    /// Says hello; the welcome or the refusal.
    async fn hello(rig: &Rig, hello: wire::Hello) -> Result<Self, Status> {
        let mut client = Self::open(rig).await;
        client.say(from_participant::Message::Hello(hello)).await;
        match client.next().await?.expect("an answer") {
            to_participant::Message::Welcome(welcome) => {
                assert_eq!(welcome.addresses, [rig.address.replace("http", "grpc")]);
                Ok(client)
            }
            to_participant::Message::Commands(_) => panic!("commands before the welcome"),
        }
    }

    async fn say(&self, message: from_participant::Message) {
        self.out
            .send(FromParticipant {
                message: Some(message),
            })
            .await
            .expect("the stream is open");
    }

    async fn next(&mut self) -> Result<Option<to_participant::Message>, Status> {
        let message = soon(self.inbound.message()).await?;
        Ok(message.map(|message| message.message.expect("a known message")))
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("in time")
}

fn hello(instance: &str, inbox: &str, kind: wire::InboxKind) -> wire::Hello {
    let action = |name: &str| wire::Action {
        name: name.to_owned(),
        ..wire::Action::default()
    };
    wire::Hello {
        participant: "hotels".to_owned(),
        instance: instance.to_owned(),
        inbox_id: inbox.to_owned(),
        inbox_kind: kind.into(),
        actions: vec![action("reserve"), action("cancel")],
        ..wire::Hello::default()
    }
}

use wire::InboxKind::{None as Memory, Transactional};

async fn connected(rig: &mut Rig) -> Arc<dyn Link> {
    match soon(rig.lane.recv()).await.expect("a message") {
        Intake::Connected(link) => link,
        _ => panic!("not a link"),
    }
}

async fn disconnected(rig: &mut Rig) -> u64 {
    match soon(rig.lane.recv()).await.expect("a message") {
        Intake::Disconnected { link } => link,
        _ => panic!("not the end of a link"),
    }
}

/// The first command of a saga whose input is `text`.
fn outgoing(text: &str) -> Outgoing {
    let definition = Saga::new("stay", 1)
        .step(
            step("reserve")
                .action("hotels/reserve")
                .input(serde_json::json!({"note": text}))
                .compensation("hotels/cancel"),
        )
        .build()
        .expect("valid");
    let plan = Arc::new(Plan::from_definition(definition).expect("valid"));
    let mut gate = Gate::default();
    let live = saga_core::gate::Live {
        actions: ["reserve".to_owned()].into(),
        transactional: true,
    };
    gate.participants.insert("hotels".to_owned(), live);
    let start = Start {
        input: Payload::from_bytes(b"{}").expect("JSON"),
        key: None,
        labels: Default::default(),
    };
    let id = SagaId::new(1_780_000_000_000, Partition(1), 7);
    let state = SagaState::unborn(id);
    let decision =
        decide(&plan, &state, &Input::Start(start), &gate, Timestamp(5)).expect("a start");
    let command = saga_core::command::outstanding(&plan, &decision.state)
        .pop()
        .expect("a command");
    Outgoing {
        plan,
        command,
        alone: false,
    }
}

#[tokio::test]
async fn commands_go_out_and_replies_come_back_under_the_name_of_the_session() {
    let mut rig = rig().await;
    let mut client = Client::hello(&rig, hello("h-1", "inbox-1", Transactional))
        .await
        .expect("welcome");
    let link = connected(&mut rig).await;
    assert_eq!((link.participant(), link.transactional()), ("hotels", true));
    assert_eq!(link.actions(), ["reserve", "cancel"]);

    link.send(vec![outgoing("a"), outgoing("b")]);
    let Some(to_participant::Message::Commands(batch)) = client.next().await.expect("open") else {
        panic!("no commands")
    };
    assert_eq!(batch.commands.len(), 2);
    let command = &batch.commands[0];
    assert_eq!(
        (
            command.step.as_str(),
            command.action.as_str(),
            command.attempt
        ),
        ("reserve", "reserve", 1)
    );
    assert_eq!(
        (&command.input[..], command.definition.as_str()),
        (&br#"{"note":"a"}"#[..], "stay")
    );

    let reply = wire::Reply {
        saga_id: command.saga_id.clone(),
        step: command.step.clone(),
        round: command.round,
        op: command.op,
        attempt: command.attempt,
        outcome: wire::Outcome::Succeeded.into(),
        output: Bytes::from_static(b"{}"),
        error: None,
    };
    let nonsense = wire::Reply {
        outcome: 77,
        ..reply.clone()
    };
    let replies = wire::ReplyBatch {
        replies: vec![nonsense, reply],
    };
    client
        .say(from_participant::Message::Replies(replies))
        .await;
    let Some(Intake::Replies(replies)) = soon(rig.lane.recv()).await else {
        panic!("no replies")
    };
    assert_eq!(replies.len(), 1, "nonsense is dropped");
    assert_eq!(
        (&*replies[0].participant, replies[0].op),
        ("hotels", Op::Action)
    );
    assert!(matches!(replies[0].outcome, Outcome::Succeeded(_)));

    client
        .say(from_participant::Message::Draining(wire::Draining {}))
        .await;
    let number = link.number();
    assert!(
        matches!(soon(rig.lane.recv()).await, Some(Intake::Draining { link }) if link == number)
    );
}

#[tokio::test]
async fn large_commands_travel_in_several_messages() {
    let mut rig = rig().await;
    let mut client = Client::hello(&rig, hello("h-1", "inbox-1", Transactional))
        .await
        .expect("welcome");
    let link = connected(&mut rig).await;
    let large = "x".repeat(400 * 1024);
    link.send((0..5).map(|_| outgoing(&large)).collect());
    link.send((0..150).map(|_| outgoing("small")).collect());
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 155 {
        let Some(to_participant::Message::Commands(batch)) = client.next().await.expect("open")
        else {
            panic!("closed")
        };
        sizes.push(batch.commands.len());
    }
    assert_eq!(sizes, [2, 2, 64, 64, 23]);
}

#[tokio::test]
async fn an_output_beyond_its_size_fails_its_command_and_the_stream_lives() {
    let mut rig = rig().await;
    let mut client = Client::hello(&rig, hello("h-1", "inbox-1", Transactional))
        .await
        .expect("welcome");
    let link = connected(&mut rig).await;
    link.send(vec![outgoing("a")]);
    let Some(to_participant::Message::Commands(batch)) = client.next().await.expect("open") else {
        panic!("no commands")
    };
    let command = &batch.commands[0];
    let reply = |bytes: usize| wire::Reply {
        saga_id: command.saga_id.clone(),
        step: command.step.clone(),
        round: command.round,
        op: command.op,
        attempt: command.attempt,
        outcome: wire::Outcome::Succeeded.into(),
        output: Bytes::from(format!("\"{}\"", "x".repeat(bytes - 2))),
        error: None,
    };
    let sizes = [
        DOCUMENT_BYTES_MAX,
        DOCUMENT_BYTES_MAX + 1,
        5 * DOCUMENT_BYTES_MAX,
    ];
    let replies = wire::ReplyBatch {
        replies: sizes.map(reply).into(),
    };
    client
        .say(from_participant::Message::Replies(replies))
        .await;
    let Some(Intake::Replies(replies)) = soon(rig.lane.recv()).await else {
        panic!("no replies")
    };
    let [largest, larger, huge] = &replies[..] else {
        panic!("{replies:?}")
    };
    assert!(
        matches!(&largest.outcome, Outcome::Succeeded(output) if output.text().len() == DOCUMENT_BYTES_MAX)
    );
    for reply in [larger, huge] {
        let Outcome::OutputNotTaken(error) = &reply.outcome else {
            panic!("{:?}", reply.outcome)
        };
        assert!(
            error.code == "bad_output" && error.message.contains("more than the limit of 1048576"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_largest_registration_is_taken_and_a_larger_one_is_refused_in_words() {
    let rig = rig().await;
    let schema = format!("{{\"title\":\"{}\"}}", "x".repeat(SCHEMA_BYTES_MAX - 12));
    let with = |count: usize| {
        let action = |at| wire::Action {
            name: format!("a{at}"),
            input_schema: schema.clone(),
            ..Default::default()
        };
        let actions = (0..count).map(action).collect();
        wire::Hello {
            actions,
            ..hello("h-1", "inbox-1", Transactional)
        }
    };
    let most = SCHEMAS_BYTES_MAX / SCHEMA_BYTES_MAX;
    let refused = Client::hello(&rig, with(most + 1))
        .await
        .err()
        .expect("refused");
    assert!(
        refused
            .message()
            .starts_with("A0424 actions: their schemas have"),
        "{}",
        refused.message()
    );
    Client::hello(&rig, with(most)).await.expect("welcome");
}

#[tokio::test]
async fn the_lane_hears_once_that_a_participant_is_gone() {
    let mut rig = rig().await;
    let client = Client::hello(&rig, hello("h-1", "inbox-1", Transactional))
        .await
        .expect("welcome");
    let first = connected(&mut rig).await.number();
    assert_eq!(rig.directory.connected().len(), 1);
    drop(client);
    assert_eq!(disconnected(&mut rig).await, first);
    assert!(rig.directory.connected().is_empty());
    // Whatever else was under way would have come before this.
    let _second = Client::hello(&rig, hello("h-2", "inbox-1", Transactional))
        .await
        .expect("welcome");
    assert_ne!(connected(&mut rig).await.number(), first);
}

#[tokio::test]
async fn a_second_inbox_is_refused_but_a_memory_inbox_may_be_new() {
    let mut rig = rig().await;
    let client = Client::hello(&rig, hello("h-1", "memory-1", Memory))
        .await
        .expect("welcome");
    connected(&mut rig).await;
    drop(client);
    disconnected(&mut rig).await;
    let _client = Client::hello(&rig, hello("h-2", "inbox-1", Transactional))
        .await
        .expect("replaces memory");
    connected(&mut rig).await;
    for kind in [Transactional, Memory] {
        let refused = Client::hello(&rig, hello("h-3", "inbox-2", kind))
            .await
            .err()
            .expect("refused");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(
            refused.message().starts_with("A0425 participant `hotels`"),
            "{}",
            refused.message()
        );
        assert!(
            refused.message().contains("inbox-1 (transactional)"),
            "{}",
            refused.message()
        );
    }
    let _same = Client::hello(&rig, hello("h-3", "inbox-1", Transactional))
        .await
        .expect("the same inbox");
}

#[tokio::test]
async fn a_process_that_connects_again_ends_its_older_stream() {
    let mut rig = rig().await;
    let mut older = Client::hello(&rig, hello("h-1", "inbox-1", Transactional))
        .await
        .expect("welcome");
    let first = connected(&mut rig).await.number();
    let _newer = Client::hello(&rig, hello("h-1", "inbox-1", Transactional))
        .await
        .expect("welcome");
    let second = connected(&mut rig).await.number();
    assert_eq!(older.next().await.expect_err("ended").code(), Code::Aborted);
    assert_eq!(disconnected(&mut rig).await, first);
    let links: Vec<u64> = rig
        .directory
        .connected()
        .iter()
        .map(|instance| instance.link)
        .collect();
    assert_eq!(links, [second]);
}

#[tokio::test]
async fn nothing_but_a_good_hello_opens_a_session() {
    let rig = rig().await;
    let bad = Client::hello(&rig, hello("", "inbox-1", Transactional))
        .await
        .err()
        .expect("refused");
    assert_eq!(
        (bad.code(), bad.message()),
        (Code::InvalidArgument, "A0424 instance: is missing")
    );
    let mut early = Client::open(&rig).await;
    early
        .say(from_participant::Message::Draining(wire::Draining {}))
        .await;
    assert_eq!(
        early.next().await.expect_err("refused").message(),
        "A0424 the first message of a session is hello"
    );
}

#[tokio::test]
async fn closing_ends_every_stream_with_a_word() {
    let mut rig = rig().await;
    let mut client = Client::hello(&rig, hello("h-1", "inbox-1", Transactional))
        .await
        .expect("welcome");
    let number = connected(&mut rig).await.number();
    rig.closing.cancel();
    assert_eq!(
        client.next().await.expect_err("ended").code(),
        Code::Unavailable
    );
    assert_eq!(disconnected(&mut rig).await, number);
}
