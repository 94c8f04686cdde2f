//! Calls of the API, shortened for tests.

use std::net::SocketAddr;

use saga_core::SagaId;
use saga_proto::v1::{
    CancelSagaRequest, CancelSagaResponse, DeployRequest, DeployResponse, GetSagaRequest,
    HistoryEvent, HistoryRequest, ListSagasRequest, ListSagasResponse, SagaDetail, SagaFile,
    StartSagaRequest, StartSagaResponse, StepDetail,
    definition_service_client::DefinitionServiceClient,
    operator_service_client::OperatorServiceClient,
    participant_directory_client::ParticipantDirectoryClient,
    saga_service_client::SagaServiceClient,
};
use serde_json::Value;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::wait::eventually_or;

/// A client of each service over one connection, which is made anew when it is lost.
#[derive(Clone)]
pub struct Clients {
    /// The connection.
    pub channel: Channel,
    /// Sagas.
    pub sagas: SagaServiceClient<Channel>,
    /// Definitions.
    pub definitions: DefinitionServiceClient<Channel>,
    /// Participants.
    pub directory: ParticipantDirectoryClient<Channel>,
}

/// The request for a saga of the newest version.
#[must_use]
pub fn start(name: &str, input: Value) -> StartSagaRequest {
    StartSagaRequest {
        name: name.to_owned(),
        input: input.to_string().into(),
        ..Default::default()
    }
}

/// The letters of an id.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn id_of(bytes: &[u8]) -> String {
    SagaId::from_bytes(bytes)
        .expect("an id has sixteen bytes")
        .to_string()
}

/// A document.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

impl Clients {
    /// Clients for the server there; the connection is made with the first call.
    ///
    /// # Panics
    /// When the address is none.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.connect_lazy();
        Self {
            sagas: SagaServiceClient::new(channel.clone()),
            definitions: DefinitionServiceClient::new(channel.clone()),
            directory: ParticipantDirectoryClient::new(channel.clone()),
            channel,
        }
    }

    /// Offers files for deployment.
    ///
    /// # Panics
    /// When the call fails.
    pub async fn offer(&self, files: &[&str], dry_run: bool) -> DeployResponse {
        let files = files.iter().enumerate().map(|(at, text)| SagaFile {
            path: format!("{at}.saga.yaml"),
            content: text.to_string().into(),
        });
        let request = DeployRequest {
            files: files.collect(),
            dry_run,
        };
        self.definitions
            .clone()
            .deploy(request)
            .await
            .expect("deploy answers")
            .into_inner()
    }

    /// Deploys a file.
    ///
    /// # Panics
    /// When it has faults.
    pub async fn deploy(&self, file: &str) {
        let answer = self.offer(&[file], false).await;
        assert!(answer.accepted, "{}", rendered(&answer));
    }

    /// Starts a saga.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn try_start(&self, request: StartSagaRequest) -> Result<StartSagaResponse, Status> {
        Ok(self.sagas.clone().start_saga(request).await?.into_inner())
    }

    /// Starts a saga and returns its id.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn begin(&self, name: &str, input: Value) -> String {
        id_of(
            &self
                .try_start(start(name, input))
                .await
                .expect("a start")
                .saga_id,
        )
    }

    /// The picture of a saga.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn try_get(&self, saga: &str) -> Result<SagaDetail, Status> {
        let request = GetSagaRequest {
            saga: saga.to_owned(),
        };
        Ok(self.sagas.clone().get_saga(request).await?.into_inner())
    }

    /// The picture of a saga.
    ///
    /// # Panics
    /// When there is none.
    pub async fn get(&self, saga: &str) -> SagaDetail {
        self.try_get(saga).await.expect("a picture")
    }

    /// Waits until the picture of a saga is as `is` wants it.
    ///
    /// # Panics
    /// When it does not come to that in time; the message tells its story.
    pub async fn until(
        &self,
        saga: &str,
        what: &str,
        is: impl Fn(&SagaDetail) -> bool,
    ) -> SagaDetail {
        eventually_or(&format!("saga {saga}: {what}"), async || {
            // A server that is being restarted does not answer.
            let seen = self
                .try_get(saga)
                .await
                .map_err(|status| status.to_string())?;
            if is(&seen) {
                Ok(seen)
            } else {
                Err(seen.story.join(" "))
            }
        })
        .await
    }

    /// Waits until a saga has ended.
    pub async fn ended(&self, saga: &str) -> SagaDetail {
        self.until(saga, "its end", |seen| {
            !matches!(status(seen), "running" | "compensating")
        })
        .await
    }

    /// Every event of a saga, read in pages of 7.
    ///
    /// # Panics
    /// When the calls fail or the pages have gaps.
    pub async fn history(&self, saga: &str) -> Vec<HistoryEvent> {
        let mut events: Vec<HistoryEvent> = Vec::new();
        loop {
            let after_seq = events.last().map_or(0, |event| event.seq);
            let request = HistoryRequest {
                saga: saga.to_owned(),
                after_seq,
                page_size: 7,
                ..Default::default()
            };
            let page = self
                .sagas
                .clone()
                .history(request)
                .await
                .expect("a history")
                .into_inner();
            for event in page.events {
                let last = events.last().map_or(0, |event| event.seq);
                assert!(
                    event.seq == last || event.seq == last + 1,
                    "{saga}: {} follows {last}",
                    event.seq
                );
                events.push(event);
            }
            if !page.more {
                return events;
            }
        }
    }

    /// Cancels a saga.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn cancel(&self, saga: &str) -> Result<CancelSagaResponse, Status> {
        let request = CancelSagaRequest {
            saga: saga.to_owned(),
            reason: "changed my mind".to_owned(),
            by: String::new(),
            ..CancelSagaRequest::default()
        };
        Ok(self.sagas.clone().cancel_saga(request).await?.into_inner())
    }

    /// Acts of operators.
    #[must_use]
    pub fn operators(&self) -> OperatorServiceClient<Channel> {
        OperatorServiceClient::new(self.channel.clone())
    }

    /// One page of sagas.
    ///
    /// # Panics
    /// When the call fails.
    pub async fn list(&self, request: ListSagasRequest) -> ListSagasResponse {
        self.sagas
            .clone()
            .list_sagas(request)
            .await
            .expect("a list")
            .into_inner()
    }
}

/// The status of a saga.
#[must_use]
pub fn status(seen: &SagaDetail) -> &str {
    seen.summary
        .as_ref()
        .map_or("", |summary| summary.status.as_str())
}

/// A step of a saga.
///
/// # Panics
/// When it has none of that name.
#[must_use]
pub fn step<'a>(seen: &'a SagaDetail, id: &str) -> &'a StepDetail {
    seen.steps
        .iter()
        .find(|step| step.id == id)
        .expect("a step of that name")
}

/// The diagnostics of a deployment.
#[must_use]
pub fn rendered(answer: &DeployResponse) -> String {
    answer
        .diagnostics
        .iter()
        .map(|found| found.rendered.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The stable code of a refusal, which its message must begin with.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn code(status: &Status) -> String {
    let code = status
        .metadata()
        .get("saga-code")
        .expect("a refusal has its code")
        .to_str()
        .expect("ASCII");
    assert!(
        status.message().starts_with(code),
        "{code} is the first word of: {}",
        status.message()
    );
    code.to_owned()
}
