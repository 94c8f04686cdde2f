//! A server on a port of its own, and a scripted participant.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use saga_proto::v1::{
    self as wire, FromParticipant, definition_service_client::DefinitionServiceClient,
    from_participant, participant_directory_client::ParticipantDirectoryClient,
    participant_service_client::ParticipantServiceClient, saga_service_client::SagaServiceClient,
    to_participant,
};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::{Running, Server, config::Config};

pub(super) const TRIP: &str = "
saga: book_trip
version: 1
labels: {team: travel}
idempotency_key: ${input.trip}
input: {trip: string, customer: string}
steps:
  - step: reserve_hotel
    action: hotels/reserve
    input: [customer]
    compensation: hotels/cancel
  - step: charge_card
    kind: pivot
    action: hotels/charge
    input: [customer]
output: {room: \"${steps.reserve_hotel.output.room}\"}
";

pub(super) const PING: &str = "
saga: ping
version: 1
steps:
  - step: touch
    action: hotels/reserve
    compensation: hotels/cancel
";

pub(super) struct Rig {
    pub(super) server: Running,
    pub(super) channel: Channel,
    pub(super) dir: TempDir,
}

impl Rig {
    pub(super) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory")).await
    }

    pub(super) async fn start_in(dir: TempDir) -> Self {
        let server = Server::start(config(dir.path())).await.expect("a server");
        let endpoint =
            Endpoint::from_shared(format!("http://{}", server.address())).expect("an address");
        let channel = endpoint.connect().await.expect("a connection");
        Self {
            server,
            channel,
            dir,
        }
    }

    /// Brings the server down in order; the directory stays.
    pub(super) async fn stop(self) -> TempDir {
        self.server.shutdown().cancel();
        soon(self.server.join()).await.expect("down in order");
        self.dir
    }

    pub(super) fn sagas(&self) -> SagaServiceClient<Channel> {
        SagaServiceClient::new(self.channel.clone())
    }

    pub(super) fn participants(&self) -> ParticipantDirectoryClient<Channel> {
        ParticipantDirectoryClient::new(self.channel.clone())
    }

    pub(super) fn definitions(&self) -> DefinitionServiceClient<Channel> {
        DefinitionServiceClient::new(self.channel.clone())
    }

    pub(super) async fn deploy(&self, text: &str) -> wire::DeployResponse {
        let file = wire::SagaFile {
            path: "a.saga.yaml".to_owned(),
            content: Bytes::from(text.to_owned()),
        };
        let request = wire::DeployRequest {
            files: vec![file],
            dry_run: false,
        };
        self.definitions()
            .deploy(request)
            .await
            .expect("an answer")
            .into_inner()
    }

    pub(super) async fn get(&self, saga: &str) -> wire::SagaDetail {
        let request = wire::GetSagaRequest {
            saga: saga.to_owned(),
        };
        self.sagas()
            .get_saga(request)
            .await
            .expect("a saga")
            .into_inner()
    }

    /// Connects `hotels`, which answers each command with what `script` says; `None` leaves it unanswered.
    pub(super) async fn hotels(
        &self,
        script: fn(&wire::Command) -> Option<wire::Reply>,
    ) -> JoinHandle<()> {
        let (out, outbound) = mpsc::channel(64);
        let action = |name: &str| wire::Action {
            name: name.to_owned(),
            ..wire::Action::default()
        };
        let hello = wire::Hello {
            participant: "hotels".to_owned(),
            instance: "hotels-1".to_owned(),
            inbox_id: "inbox-1".to_owned(),
            inbox_kind: wire::InboxKind::Transactional.into(),
            actions: ["reserve", "cancel", "charge"].map(action).to_vec(),
            sdk: "test/0".to_owned(),
            ..wire::Hello::default()
        };
        let say = |message| FromParticipant {
            message: Some(message),
        };
        out.send(say(from_participant::Message::Hello(hello)))
            .await
            .expect("room");
        let mut client = ParticipantServiceClient::new(self.channel.clone());
        let mut inbound = client
            .connect(ReceiverStream::new(outbound))
            .await
            .expect("a stream")
            .into_inner();
        let welcome = inbound.message().await.expect("welcome").expect("welcome");
        assert!(matches!(
            welcome.message,
            Some(to_participant::Message::Welcome(_))
        ));
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                let Some(to_participant::Message::Commands(batch)) = message.message else {
                    continue;
                };
                // One to a message: several large ones would not fit.
                for reply in batch.commands.iter().filter_map(script) {
                    let replies = from_participant::Message::Replies(wire::ReplyBatch {
                        replies: vec![reply],
                    });
                    if out.send(say(replies)).await.is_err() {
                        return;
                    }
                }
            }
        })
    }
}

pub(super) fn config(dir: &Path) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        store: dir.join("saga.db").into(),
        broker: None,
        limits: [].into(),
    }
}

pub(super) fn reply(command: &wire::Command, outcome: wire::Outcome) -> wire::Reply {
    let output: &[u8] = match outcome {
        wire::Outcome::Succeeded => br#"{"room":"12a"}"#,
        _ => b"",
    };
    wire::Reply {
        saga_id: command.saga_id.clone(),
        step: command.step.clone(),
        round: command.round,
        op: command.op,
        attempt: command.attempt,
        outcome: outcome.into(),
        output: Bytes::copy_from_slice(output),
        error: None,
    }
}

/// Does everything that is asked.
pub(super) fn willing(command: &wire::Command) -> Option<wire::Reply> {
    let outcome = match command.op() {
        wire::Op::Compensation => wire::Outcome::Compensated,
        _ => wire::Outcome::Succeeded,
    };
    Some(reply(command, outcome))
}

/// Refuses to charge.
pub(super) fn declining(command: &wire::Command) -> Option<wire::Reply> {
    if command.action != "charge" {
        return willing(command);
    }
    let error = wire::ErrorBody {
        code: "card_declined".to_owned(),
        message: "insufficient funds".to_owned(),
        retry_after_ms: 0,
    };
    Some(wire::Reply {
        error: Some(error),
        ..reply(command, wire::Outcome::Refused)
    })
}

/// Never answers.
pub(super) fn silent(_: &wire::Command) -> Option<wire::Reply> {
    None
}

pub(super) fn start(name: &str, input: &str) -> wire::StartSagaRequest {
    wire::StartSagaRequest {
        name: name.to_owned(),
        input: Bytes::from(input.to_owned()),
        ..Default::default()
    }
}

pub(super) fn trip(trip: &str) -> wire::StartSagaRequest {
    start(
        "book_trip",
        &format!(r#"{{"trip":"{trip}","customer":"c-1"}}"#),
    )
}

/// The id as text.
pub(super) fn text(id: &[u8]) -> String {
    saga_core::SagaId::from_bytes(id)
        .expect("16 bytes")
        .to_string()
}

pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("in time")
}
