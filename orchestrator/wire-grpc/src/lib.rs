//! The gRPC wire: a participant keeps one stream open, commands go out on it and replies come back.
//!
//! ```text
//! hello ──► checked, inbox admitted ──► link handed to the lane ──► welcome
//! lane ──► link ──► batches on the stream        replies ──► lane (waits while the lane is full)
//! end of the stream, for whatever reason ──► the lane hears `Disconnected`, once
//! ```

mod link;
mod outgoing;
mod session;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use saga_proto::v1::{
    FromParticipant, ToParticipant, participant_service_server::ParticipantService,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

use saga_engine::directory::Directory;
use saga_engine::lane;

/// The service that participants connect to.
#[derive(Clone)]
pub struct Participants {
    context: Arc<Context>,
}

/// What every session needs.
struct Context {
    lane: lane::Handle,
    directory: Arc<Directory>,
    /// Name of this orchestrator instance.
    orchestrator: String,
    /// Addresses of every live orchestrator instance.
    addresses: Vec<String>,
    /// Cancelled when the server closes its streams.
    closing: CancellationToken,
    sessions: TaskTracker,
}

impl Participants {
    /// A service in front of a lane. `closing` ends every stream; `sessions` counts them.
    #[must_use]
    pub fn new(
        lane: lane::Handle,
        directory: Arc<Directory>,
        address: SocketAddr,
        closing: CancellationToken,
        sessions: TaskTracker,
    ) -> Self {
        let orchestrator = format!("{address}");
        // Listening everywhere is no address that a participant could dial; it knows one that works.
        let everywhere = address.ip().is_unspecified();
        let addresses = if everywhere {
            Vec::new()
        } else {
            vec![format!("grpc://{address}")]
        };
        Self {
            context: Arc::new(Context {
                lane,
                directory,
                orchestrator,
                addresses,
                closing,
                sessions,
            }),
        }
    }
}

#[tonic::async_trait]
impl ParticipantService for Participants {
    type ConnectStream = outgoing::Outbound;

    async fn connect(
        &self,
        request: Request<Streaming<FromParticipant>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let peer = request
            .remote_addr()
            .map(|addr| addr.to_string())
            .unwrap_or_default();
        let outbound = session::open(Arc::clone(&self.context), request.into_inner(), peer);
        Ok(Response::new(outbound))
    }
}

/// A message to the participant, or the status that closes the stream.
type ToClient = Result<ToParticipant, Status>;
