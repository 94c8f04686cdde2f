//! What a process does as the owner of its store, from one claim to its end: lane, roads to participants, services.
//!
//! All of it is made after the claim, from what the store holds then, and dropped together when the claim ends. Nothing
//! of it is kept for the next claim.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use saga_core::Rules;
use saga_dsl::{limits::Participant, plan::Plan};
use saga_proto::v1::{
    definition_service_server::DefinitionServiceServer,
    operator_service_server::OperatorServiceServer,
    participant_directory_server::ParticipantDirectoryServer,
    participant_service_server::ParticipantServiceServer, saga_service_server::SagaServiceServer,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;

use crate::{
    api::{Api, Parts, store_trouble},
    config::Config,
    screens::Screens,
};
use saga_engine::{
    definitions::Definitions,
    directory::{BrokerTrouble, Directory},
    lane::{self, clock::LaneClock},
    store::{self, Store, chronicle::Chronicle, tenure::Tenure, trouble::Trouble},
};
use saga_proto::limits::MESSAGE_BYTES_MAX;
use saga_wire_amqp as amqp;
use saga_wire_grpc::Participants;

/// How long the lane may take to commit what it has taken; a store that is away would hold it for ever.
const LANE_STOPS_WITHIN: Duration = Duration::from_secs(15);
/// How long the tasks of a claim that has ended may take to go away before they are left to themselves.
const ROADS_END_WITHIN: Duration = Duration::from_secs(2);

/// What a process has whether it owns the store or not.
pub(crate) struct Setup {
    pub(crate) rules: Rules,
    pub(crate) config: Config,
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) chronicle: Arc<dyn Chronicle>,
}

/// Everything that is there while a claim holds.
pub(crate) struct Ownership {
    pub(crate) tenure: Tenure,
    pub(crate) lane_done: JoinHandle<()>,
    pub(crate) closing: CancellationToken,
    pub(crate) tasks: TaskTracker,
    api: Api,
    participants: Participants,
    lane: lane::Handle,
    directory: Arc<Directory>,
}

impl Ownership {
    /// Claims the store and begins to own it.
    ///
    /// # Errors
    /// Those of the store; [`store::Error::Owned`] while another process owns it.
    pub(crate) async fn begin(setup: &Setup) -> Result<Self, store::Error> {
        let Setup {
            rules,
            config,
            address,
            store,
            chronicle,
        } = setup;
        let claim = lane::claim(&**store).await?;
        let (tenure, number) = (
            claim.tenure.clone(),
            claim.fences.first().map_or(0, |fence| fence.epoch),
        );
        // Read after the claim: whoever owned the store before may have changed it until then.
        let definitions = Arc::new(load_definitions(&**store, config.limits.clone()).await?);
        let directory = Arc::new(Directory::load(store.clone()).await?);
        let settings = lane::Settings {
            rules: *rules,
            looks_up_strays: true,
            ..lane::Settings::default()
        };
        let (lane, lane_done) =
            lane::spawn_on(claim, store.clone(), Arc::clone(&definitions), settings).await?;
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let participants = Participants::new(
            lane.clone(),
            Arc::clone(&directory),
            *address,
            closing.clone(),
            tasks.clone(),
        );
        let api = Api::new(Parts {
            store: Screens::new(Arc::clone(store)),
            lane: lane.clone(),
            definitions: Arc::clone(&definitions),
            directory: Arc::clone(&directory),
            closing: closing.clone(),
            tasks: tasks.clone(),
        });
        if let Some(broker) = config.broker.clone() {
            let parts = amqp::Parts {
                lane: lane.clone(),
                claim: number,
                store: store.clone(),
                directory: Arc::clone(&directory),
                definitions,
                chronicle: Arc::clone(chronicle),
                door: Arc::new(api.clone()),
                closing: closing.clone(),
            };
            amqp::spawn(broker, parts, &tasks);
        }
        Ok(Self {
            tenure,
            lane_done,
            closing,
            tasks,
            api,
            participants,
            lane,
            directory,
        })
    }

    /// The services of this claim.
    pub(crate) fn routes(&self) -> Routes {
        let api = &self.api;
        let sagas = SagaServiceServer::new(api.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let definitions = DefinitionServiceServer::new(api.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let operators = OperatorServiceServer::new(api.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let directory = ParticipantDirectoryServer::new(api.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let participants = ParticipantServiceServer::new(self.participants.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Routes::new(sagas)
            .add_service(definitions)
            .add_service(operators)
            .add_service(directory)
            .add_service(participants)
            .prepare()
    }

    /// The clock that the lane decides by.
    pub(crate) fn clock(&self) -> LaneClock {
        self.lane.clock().clone()
    }

    /// What every answer tells of the store.
    pub(crate) fn told(&self) -> Arc<store_trouble::Lane> {
        store_trouble::Lane::of(&self.lane)
    }

    /// Why the store takes no commits, followed.
    pub(crate) fn trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.lane.trouble()
    }

    /// How it stands with the broker, followed.
    pub(crate) fn broker(&self) -> watch::Receiver<Option<BrokerTrouble>> {
        self.directory.broker()
    }

    /// Starts are refused from now on, and what the lane has taken is committed.
    pub(crate) async fn drain(&self) {
        self.api.drain();
        if timeout(LANE_STOPS_WITHIN, self.lane.stop()).await.is_err() {
            tracing::error!(
                "the store takes no commits; what is not committed was promised to nobody and is given up"
            );
            self.lane_done.abort();
        }
        self.close();
    }

    /// Ends everything where it stands: the claim is over.
    pub(crate) async fn give_up(self) {
        self.lane_done.abort();
        self.close();
        if timeout(ROADS_END_WITHIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "some roads of the claim that has ended do not let go; they can do no harm"
            );
        }
    }

    fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
    }
}

/// Makes every stored definition ready. One that does not load is skipped; its sagas cannot run, others can.
async fn load_definitions(
    store: &dyn Store,
    limits: BTreeMap<String, Participant>,
) -> Result<Definitions, store::Error> {
    let definitions = Definitions::under(limits);
    for row in store.definitions().await? {
        match Plan::from_canonical(&row.canonical) {
            Ok(plan) if plan.hash == row.hash => definitions.insert(Arc::new(plan)),
            Ok(_) => {
                tracing::error!(
                    name = row.name,
                    version = row.version,
                    "a definition has another hash than recorded"
                );
            }
            Err(error) => {
                tracing::error!(name = row.name, version = row.version, %error, "a definition does not load");
            }
        }
    }
    Ok(definitions)
}
