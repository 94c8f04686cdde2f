//! Wiring: what is started in which order, and how it goes down again.
//!
//! ```text
//! up:    store ──► definitions, participants ──► lane ──► bind ──► services ──► health says serving
//! down:  health says not serving, no new starts or connections ──► lane commits what is in flight and stops
//!        ──► streams end ──► store closes
//! ```

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use saga_core::Rules;
use saga_dsl::{limits::Participant, plan::Plan};
use saga_proto::v1::{
    definition_service_server::DefinitionServiceServer, operator_service_server::OperatorServiceServer,
    participant_directory_server::ParticipantDirectoryServer,
    participant_service_server::ParticipantServiceServer, saga_service_server::SagaServiceServer,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    api::{Api, Parts},
    config::{self, Config},
    definitions::Definitions,
    lane,
    store::{
        self, Store, chronicle::Chronicle, postgres::PostgresStore, screens::Screens, sqlite::SqliteStore,
    },
    transport::{
        amqp,
        directory::{BrokerTrouble, Directory},
        grpc::Participants,
    },
};

/// Name under which health tells of the road over the broker.
pub const BROKER_SERVICE: &str = "saga.broker";
/// Largest message in or out, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that a client may send on a stream before it waits for us.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Bytes that a client may send on a connection before it waits for us.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// A connection without a sign of life for so long is asked for one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// And closed when none comes within so long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the lane may take to commit what it has taken; a store that is away would hold it for ever.
const LANE_STOPS_WITHIN: Duration = Duration::from_secs(15);
/// How often a process that stands by tries to claim the store.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long clients may take to let go of their streams.
const STREAMS_END_WITHIN: Duration = Duration::from_secs(5);

/// Why the server does not start, or went down.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store does not open.
    #[error("store {path}: {source}")]
    Store {
        /// The file.
        path: String,
        /// Why.
        source: store::Error,
    },
    /// The address is in use.
    #[error(
        "cannot listen on {address}: the address is in use, perhaps by another `saga serve`; stop that one, or choose \
         another address with --listen"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The services cannot be put together.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The lane ended without being asked.
    #[error("the lane stopped by itself; the log names the reason")]
    LaneStopped,
    /// The transport failed.
    #[error("the transport failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Starts servers.
pub struct Server;

/// A server that answers.
pub struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    done: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cancel it to bring the server down in order.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Waits until it is down.
    ///
    /// # Errors
    /// When it went down for another reason than [`Running::shutdown`], or could not close its store.
    pub async fn join(self) -> Result<(), Error> {
        match self.done.await {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

impl Server {
    /// Starts a server; it answers when this returns.
    ///
    /// # Errors
    /// See [`Error`]; nothing is left running then.
    pub async fn start(config: Config) -> Result<Running, Error> {
        Self::start_under(Rules::ALL, config).await
    }

    /// As [`Server::start`], with the rules that are kept; for mutants.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_under(rules: Rules, config: Config) -> Result<Running, Error> {
        let (store, chronicle) = open_store(&config.store).await?;
        match Self::serve(rules, &config, Arc::clone(&store), chronicle).await {
            Ok(running) => Ok(running),
            Err(error) => {
                // The first error is the one to tell.
                let _ = store.close().await;
                Err(error)
            }
        }
    }

    async fn serve(
        rules: Rules,
        config: &Config,
        store: Arc<dyn Store>,
        chronicle: Arc<dyn Chronicle>,
    ) -> Result<Running, Error> {
        let wrap = |source| Error::Store { path: config.store.to_string(), source };
        // Before the lane: an address in use is the commonest mistake, and must not cost a claim.
        let listener = bind(config.listen).await?;
        let address =
            listener.local_addr().map_err(|source| Error::Bind { address: config.listen, source })?;
        let definitions = Arc::new(load_definitions(&*store, config.limits.clone()).await.map_err(wrap)?);
        let directory = Arc::new(Directory::load(Arc::clone(&store)).await.map_err(wrap)?);
        let settings = lane::Settings { rules, ..lane::Settings::default() };
        let (lane, lane_done) = loop {
            match lane::spawn(Arc::clone(&store), Arc::clone(&definitions), settings).await {
                Ok(spawned) => break spawned,
                Err(store::Error::Owned) => sleep(LOOK_EVERY).await,
                Err(source) => return Err(wrap(source)),
            }
        };
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let participants =
            Participants::new(lane.clone(), Arc::clone(&directory), address, closing.clone(), tasks.clone());
        let api = Api::new(Parts {
            store: Screens::new(Arc::clone(&store)),
            lane: lane.clone(),
            definitions: Arc::clone(&definitions),
            directory: Arc::clone(&directory),
            closing: closing.clone(),
            tasks: tasks.clone(),
        });
        if let Some(broker) = config.broker.clone() {
            let parts = amqp::Parts {
                lane: lane.clone(),
                directory: Arc::clone(&directory),
                definitions: Arc::clone(&definitions),
                chronicle,
                door: Arc::new(api.clone()),
                closing: closing.clone(),
            };
            amqp::spawn(broker, parts, &tasks);
        }
        let (router, health) = services(&api, participants).await?;
        if config.broker.is_some() {
            tasks.spawn(report_broker(directory.broker(), health.clone(), closing.clone()));
        }
        let shutdown = CancellationToken::new();
        let up =
            Up { api, lane, lane_done, store, closing, tasks, health, store_path: config.store.to_string() };
        let done = tokio::spawn(up.run(router, listener, shutdown.clone()));
        Ok(Running { address, shutdown, done })
    }
}

/// The store, and its journal as it was committed.
async fn open_store(place: &config::Store) -> Result<(Arc<dyn Store>, Arc<dyn Chronicle>), Error> {
    let wrap = |source| Error::Store { path: place.to_string(), source };
    match place {
        config::Store::Sqlite(path) => {
            let file = path.to_owned();
            let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&file)).await;
            let opened = opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            let store = Arc::new(opened.map_err(wrap)?);
            Ok((Arc::clone(&store) as _, store))
        }
        config::Store::Postgres { url, unsafe_durability } => {
            let store = Arc::new(PostgresStore::open(url, *unsafe_durability).await.map_err(wrap)?);
            Ok((Arc::clone(&store) as _, store))
        }
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

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::AddressInUse { address },
        _ => Error::Bind { address, source },
    })
}

async fn services(api: &Api, participants: Participants) -> Result<(Router, HealthReporter), Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(saga_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
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
    let participants = ParticipantServiceServer::new(participants)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    set_all(&reporter, ServingStatus::Serving).await;
    let router = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(health)
        .add_service(reflection)
        .add_service(sagas)
        .add_service(definitions)
        .add_service(operators)
        .add_service(directory)
        .add_service(participants);
    Ok((router, reporter))
}

async fn set_all(reporter: &HealthReporter, status: ServingStatus) {
    let services = [
        "",
        "saga.v1.SagaService",
        "saga.v1.DefinitionService",
        "saga.v1.OperatorService",
        "saga.v1.ParticipantDirectory",
        "saga.v1.ParticipantService",
    ];
    for service in services {
        reporter.set_service_status(service, status).await;
    }
}

/// Keeps the health of [`BROKER_SERVICE`] what the road over the broker is. The server itself is well without it: sagas
/// begin, wait and are shown.
async fn report_broker(
    mut broker: watch::Receiver<Option<BrokerTrouble>>,
    health: HealthReporter,
    closing: CancellationToken,
) {
    loop {
        let serving = match broker.borrow_and_update().is_none() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        health.set_service_status(BROKER_SERVICE, serving).await;
        tokio::select! {
            changed = broker.changed() => if changed.is_err() {
                return;
            },
            () = closing.cancelled() => return,
        }
    }
}

/// Everything that goes down again, in its order.
struct Up {
    api: Api,
    lane: lane::Handle,
    lane_done: JoinHandle<()>,
    store: Arc<dyn Store>,
    closing: CancellationToken,
    tasks: TaskTracker,
    health: HealthReporter,
    store_path: String,
}

impl Up {
    async fn run(
        mut self,
        router: Router,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let no_more = CancellationToken::new();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let mut transport =
            tokio::spawn(router.serve_with_incoming_shutdown(incoming, no_more.clone().cancelled_owned()));
        let mut cause = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            _ = &mut self.lane_done => Err(Error::LaneStopped),
            ended = &mut transport => match ended {
                Ok(ended) => ended.map_err(Error::from),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
        };
        tracing::info!("draining");
        set_all(&self.health, ServingStatus::NotServing).await;
        self.api.drain();
        no_more.cancel();
        if timeout(LANE_STOPS_WITHIN, self.lane.stop()).await.is_err() {
            tracing::error!(
                "the store takes no commits; what is not committed was promised to nobody and is given up"
            );
            self.lane_done.abort();
        }
        self.closing.cancel();
        self.tasks.close();
        let streams_end = async {
            self.tasks.wait().await;
            if !transport.is_finished() {
                // Its error would tell of a connection that we close anyway.
                let _ = (&mut transport).await;
            }
        };
        if timeout(STREAMS_END_WITHIN, streams_end).await.is_err() {
            tracing::warn!("some clients did not let go of their streams; they are cut off");
            transport.abort();
        }
        let closed = self.store.close().await;
        if let (Ok(()), Err(source)) = (&cause, closed) {
            cause = Err(Error::Store { path: self.store_path, source });
        }
        tracing::info!("down");
        cause
    }
}
