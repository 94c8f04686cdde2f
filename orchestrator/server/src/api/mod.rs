//! The services that clients call: one file per call, wire types stop at `convert.rs`.
//!
//! Starts and acts of operators go to the lane; everything that is shown is read from the store, so it is committed.

mod abandon;
mod acknowledge;
mod breakers;
mod cancel_saga;
mod convert;
mod deploy;
mod door;
mod followers;
mod get_definition;
mod get_saga;
mod history;
mod input;
mod list_audit;
mod list_definitions;
mod list_participants;
mod list_sagas;
mod picture;
mod prepare;
mod preview_retry;
mod resolve;
mod resolve_step;
mod retry;
mod run_sagas;
mod sizes;
mod skip;
mod start_saga;
mod steering;
pub mod store_trouble;
#[cfg(test)]
mod tests;
mod verify_participant;
mod watch_saga;

pub use saga_wire::refusal as error;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::Stream;
use saga_proto::v1::{
    self as wire, definition_service_server::DefinitionService,
    operator_service_server::OperatorService, participant_directory_server::ParticipantDirectory,
    saga_service_server::SagaService,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

use crate::screens::Screens;
use error::Refusal;
use input::InputTypes;
use saga_engine::{definitions::Definitions, directory::Directory, lane};

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Every service for clients. Clones share it.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
}

/// What the calls work with.
pub struct Parts {
    /// Committed state.
    pub store: Screens,
    /// The way to the lane.
    pub lane: lane::Handle,
    /// Plans by name and version.
    pub definitions: Arc<Definitions>,
    /// Who takes part.
    pub directory: Arc<Directory>,
    /// Cancelled when the server closes its streams.
    pub closing: CancellationToken,
    /// Counts the tasks of open streams.
    pub tasks: TaskTracker,
}

struct Shared {
    parts: Parts,
    input_types: InputTypes,
    draining: AtomicBool,
}

impl Api {
    /// The services over their parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let shared = Shared {
            parts,
            input_types: InputTypes::default(),
            draining: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// From now on starts are refused; everything else goes on.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    fn parts(&self) -> &Parts {
        &self.shared.parts
    }

    /// Refuses while draining, and once the store is lost.
    fn open(&self) -> Result<(), Refusal> {
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(Refusal::shutting_down());
        }
        if self.parts().lane.tenure().holds() {
            Ok(())
        } else {
            Err(self.closed())
        }
    }

    /// The lane, or a task, took an act and ended without an answer: a commit may have been under way.
    fn no_answer(&self) -> Refusal {
        let tenure = self.parts().lane.tenure();
        if tenure.holds() {
            Refusal::no_answer()
        } else {
            Refusal::closed(tenure)
        }
    }

    /// Why the server goes on with nothing.
    fn closed(&self) -> Refusal {
        Refusal::closed(self.parts().lane.tenure())
    }
}

#[tonic::async_trait]
impl SagaService for Api {
    async fn start_saga(
        &self,
        request: Request<wire::StartSagaRequest>,
    ) -> Result<Response<wire::StartSagaResponse>, Status> {
        Ok(Response::new(
            start_saga::start_saga(self, request.into_inner()).await?,
        ))
    }

    type RunSagasStream = run_sagas::Outcomes;

    async fn run_sagas(
        &self,
        request: Request<Streaming<wire::RunSagasRequest>>,
    ) -> Result<Response<Self::RunSagasStream>, Status> {
        self.open()?;
        Ok(Response::new(run_sagas::run_sagas(
            self,
            request.into_inner(),
        )))
    }

    async fn get_saga(
        &self,
        request: Request<wire::GetSagaRequest>,
    ) -> Result<Response<wire::SagaDetail>, Status> {
        Ok(Response::new(
            get_saga::get_saga(self, &request.into_inner()).await?,
        ))
    }

    async fn list_sagas(
        &self,
        request: Request<wire::ListSagasRequest>,
    ) -> Result<Response<wire::ListSagasResponse>, Status> {
        Ok(Response::new(
            list_sagas::list_sagas(self, request.into_inner()).await?,
        ))
    }

    type WatchSagaStream = Answers<wire::SagaDetail>;

    async fn watch_saga(
        &self,
        request: Request<wire::GetSagaRequest>,
    ) -> Result<Response<Self::WatchSagaStream>, Status> {
        Ok(Response::new(
            watch_saga::watch_saga(self, &request.into_inner()).await?,
        ))
    }

    async fn history(
        &self,
        request: Request<wire::HistoryRequest>,
    ) -> Result<Response<wire::HistoryResponse>, Status> {
        Ok(Response::new(
            history::history(self, &request.into_inner()).await?,
        ))
    }

    async fn cancel_saga(
        &self,
        request: Request<wire::CancelSagaRequest>,
    ) -> Result<Response<wire::CancelSagaResponse>, Status> {
        let from = steering::address(&request);
        Ok(Response::new(
            cancel_saga::cancel_saga(self, request.into_inner(), from).await?,
        ))
    }
}

#[tonic::async_trait]
impl OperatorService for Api {
    async fn retry(
        &self,
        request: Request<wire::RetryRequest>,
    ) -> Result<Response<wire::InterventionResponse>, Status> {
        let from = steering::address(&request);
        Ok(Response::new(
            retry::retry(self, request.into_inner(), &from).await?,
        ))
    }

    async fn preview_retry(
        &self,
        request: Request<wire::PreviewRetryRequest>,
    ) -> Result<Response<wire::PreviewRetryResponse>, Status> {
        Ok(Response::new(
            preview_retry::preview_retry(self, request.into_inner()).await?,
        ))
    }

    async fn skip(
        &self,
        request: Request<wire::SkipRequest>,
    ) -> Result<Response<wire::InterventionResponse>, Status> {
        let from = steering::address(&request);
        Ok(Response::new(
            skip::skip(self, request.into_inner(), &from).await?,
        ))
    }

    async fn resolve(
        &self,
        request: Request<wire::ResolveRequest>,
    ) -> Result<Response<wire::InterventionResponse>, Status> {
        let from = steering::address(&request);
        Ok(Response::new(
            resolve_step::resolve_step(self, request.into_inner(), &from).await?,
        ))
    }

    async fn abandon(
        &self,
        request: Request<wire::AbandonRequest>,
    ) -> Result<Response<wire::InterventionResponse>, Status> {
        let from = steering::address(&request);
        Ok(Response::new(
            abandon::abandon(self, request.into_inner(), &from).await?,
        ))
    }

    async fn find_act(
        &self,
        request: Request<wire::FindActRequest>,
    ) -> Result<Response<wire::FindActResponse>, Status> {
        Ok(Response::new(
            steering::find_act(self, request.into_inner()).await?,
        ))
    }

    async fn acknowledge(
        &self,
        request: Request<wire::AcknowledgeRequest>,
    ) -> Result<Response<wire::InterventionResponse>, Status> {
        let from = steering::address(&request);
        Ok(Response::new(
            acknowledge::acknowledge(self, request.into_inner(), &from).await?,
        ))
    }

    type VerifyParticipantStream = Answers<wire::HazardVerdict>;

    async fn verify_participant(
        &self,
        request: Request<wire::VerifyParticipantRequest>,
    ) -> Result<Response<Self::VerifyParticipantStream>, Status> {
        let from = steering::address(&request);
        let request = request.into_inner();
        Ok(Response::new(
            verify_participant::verify_participant(self, request, &from).await?,
        ))
    }

    async fn list_breakers(
        &self,
        request: Request<wire::ListBreakersRequest>,
    ) -> Result<Response<wire::ListBreakersResponse>, Status> {
        Ok(Response::new(
            breakers::list_breakers(self, request.get_ref()).await?,
        ))
    }

    async fn trip_breaker(
        &self,
        request: Request<wire::TripBreakerRequest>,
    ) -> Result<Response<wire::Breaker>, Status> {
        let from = steering::address(&request);
        Ok(Response::new(
            breakers::trip_breaker(self, request.into_inner(), &from).await?,
        ))
    }

    async fn reset_breaker(
        &self,
        request: Request<wire::ResetBreakerRequest>,
    ) -> Result<Response<wire::Breaker>, Status> {
        let from = steering::address(&request);
        Ok(Response::new(
            breakers::reset_breaker(self, request.into_inner(), &from).await?,
        ))
    }

    async fn list_audit(
        &self,
        request: Request<wire::ListAuditRequest>,
    ) -> Result<Response<wire::ListAuditResponse>, Status> {
        Ok(Response::new(
            list_audit::list_audit(self, request.into_inner()).await?,
        ))
    }
}

#[tonic::async_trait]
impl DefinitionService for Api {
    async fn deploy(
        &self,
        request: Request<wire::DeployRequest>,
    ) -> Result<Response<wire::DeployResponse>, Status> {
        Ok(Response::new(
            deploy::deploy(self, request.into_inner()).await?,
        ))
    }

    async fn list_definitions(
        &self,
        request: Request<wire::ListDefinitionsRequest>,
    ) -> Result<Response<wire::ListDefinitionsResponse>, Status> {
        Ok(Response::new(
            list_definitions::list_definitions(self, request.get_ref()).await?,
        ))
    }

    async fn get_definition(
        &self,
        request: Request<wire::GetDefinitionRequest>,
    ) -> Result<Response<wire::GetDefinitionResponse>, Status> {
        Ok(Response::new(get_definition::get_definition(
            self,
            &request.into_inner(),
        )?))
    }
}

#[tonic::async_trait]
impl ParticipantDirectory for Api {
    async fn list_participants(
        &self,
        request: Request<wire::ListParticipantsRequest>,
    ) -> Result<Response<wire::ListParticipantsResponse>, Status> {
        Ok(Response::new(
            list_participants::list_participants(self, request.get_ref()).await?,
        ))
    }
}
