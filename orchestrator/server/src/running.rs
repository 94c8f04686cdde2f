//! Wiring: what is started in which order, and how it goes down again.
//!
//! ```text
//! up:    store ──► bind ──► claim ──► what an owner has (`ownership.rs`) ──► health says serving
//! by:    another process owns the store: calls are refused, the claim is tried again and again
//! lost:  health says not serving, calls are refused ──► lane, roads and streams end at once ──► by
//! down:  health says not serving, no new starts or connections ──► lane commits what is in flight and stops
//!        ──► streams end ──► store closes
//! ```

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt;
use saga_core::Rules;
use saga_proto::v1::{
    definition_service_server::DefinitionServiceServer,
    operator_service_server::OperatorServiceServer,
    participant_directory_server::ParticipantDirectoryServer,
    participant_service_server::ParticipantServiceServer, saga_service_server::SagaServiceServer,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::server::HealthReporter;
use tower::layer::util::{Identity, Stack};

use crate::front::{Front, Standing};
use crate::keepalive::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use crate::ownership::{Ownership, Setup};
use crate::turns::InTurns;
use crate::{
    api::{
        Api,
        store_trouble::{Lane, StoreTroubleLayer},
    },
    clock_health,
    config::{self, Config},
    health,
};
use saga_engine::store::{self, Store, chronicle::Chronicle};
use saga_store_postgres::PostgresStore;
use saga_store_sqlite::SqliteStore;
use saga_wire_grpc::Participants;

/// Bytes that a client may send on a stream before it waits for us.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Bytes that a client may send on a connection before it waits for us.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
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
    standing: watch::Receiver<Standing>,
    done: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// True while it owns the store; else it stands by.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.standing.borrow().is_owner()
    }

    /// Waits until it owns the store. Returns without that when the server has gone down.
    pub async fn owns(&self) {
        // An error: the server has gone down, and its end is told by [`Running::join`].
        let _ = self.standing.clone().wait_for(Standing::is_owner).await;
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
    /// Starts a server; it listens when this returns. It owns the store then, or stands by because another process does:
    /// [`Running::is_owner`] tells.
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
        match Self::serve(rules, config, Arc::clone(&store), chronicle).await {
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
        config: Config,
        store: Arc<dyn Store>,
        chronicle: Arc<dyn Chronicle>,
    ) -> Result<Running, Error> {
        // Before the claim: an address in use is the commonest mistake, and must not cost one.
        let listener = bind(config.listen).await?;
        let address = listener.local_addr().map_err(|source| Error::Bind {
            address: config.listen,
            source,
        })?;
        let setup = Setup {
            rules,
            config,
            address,
            store,
            chronicle,
        };
        let first = match Ownership::begin(&setup).await {
            Ok(ownership) => Some(ownership),
            Err(store::Error::Owned) => None,
            Err(source) => {
                return Err(Error::Store {
                    path: setup.config.store.to_string(),
                    source,
                });
            }
        };
        let (standing, followed) =
            watch::channel(Standing::By("this server has just started".into()));
        let (lane, trouble) = watch::channel(None);
        let (router, health) = services(&followed, StoreTroubleLayer::new(trouble))?;
        let shutdown = CancellationToken::new();
        let up = Up {
            setup,
            standing,
            lane,
            health,
        };
        match &first {
            Some(ownership) => up.owns(ownership).await,
            None => up.stands_by(&store::Error::Owned.to_string()).await,
        }
        let done = tokio::spawn(up.run(first, router, listener, shutdown.clone()));
        Ok(Running {
            address,
            shutdown,
            standing: followed,
            done,
        })
    }
}

/// The store, and its journal as it was committed.
async fn open_store(place: &config::Store) -> Result<(Arc<dyn Store>, Arc<dyn Chronicle>), Error> {
    let wrap = |source| Error::Store {
        path: place.to_string(),
        source,
    };
    match place {
        config::Store::Sqlite(path) => {
            let file = path.to_owned();
            let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&file)).await;
            let opened =
                opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            let store = Arc::new(opened.map_err(wrap)?);
            Ok((Arc::clone(&store) as _, store))
        }
        config::Store::Postgres {
            url,
            unsafe_durability,
        } => {
            let store = Arc::new(
                PostgresStore::open(url, *unsafe_durability)
                    .await
                    .map_err(wrap)?,
            );
            Ok((Arc::clone(&store) as _, store))
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::AddressInUse { address },
            _ => Error::Bind { address, source },
        })
}

/// All services, under the layer that concerns every call.
type Services = Router<Stack<StoreTroubleLayer, Identity>>;

/// The services behind their fronts, and health, which tells of them.
fn services(
    standing: &watch::Receiver<Standing>,
    trouble: StoreTroubleLayer,
) -> Result<(Services, HealthReporter), Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(saga_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let router = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(trouble)
        .add_service(health)
        .add_service(reflection)
        .add_service(Front::<SagaServiceServer<Api>>::new(standing.clone()))
        .add_service(Front::<DefinitionServiceServer<Api>>::new(standing.clone()))
        .add_service(Front::<OperatorServiceServer<Api>>::new(standing.clone()))
        .add_service(Front::<ParticipantDirectoryServer<Api>>::new(
            standing.clone(),
        ))
        .add_service(Front::<ParticipantServiceServer<Participants>>::new(
            standing.clone(),
        ));
    Ok((router, reporter))
}

/// Why a server does not go on as it is.
enum Turn {
    /// It was told to go down.
    Told,
    /// It lost the store.
    Lost,
    /// It cannot go on.
    Failed(Error),
}

type Transport = JoinHandle<Result<(), tonic::transport::Error>>;

/// A server that listens.
struct Up {
    setup: Setup,
    standing: watch::Sender<Standing>,
    /// The lane of the claim in force, for answers that tell of the store.
    lane: watch::Sender<Option<Arc<Lane>>>,
    health: HealthReporter,
}

impl Up {
    async fn run(
        self,
        first: Option<Ownership>,
        router: Services,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let no_more = CancellationToken::new();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let incoming = incoming.map(|stream| stream.map(InTurns::new));
        let mut transport = tokio::spawn(
            router.serve_with_incoming_shutdown(incoming, no_more.clone().cancelled_owned()),
        );
        let mut next = first;
        let (turn, ownership) = loop {
            let mut ownership = match next.take() {
                Some(ownership) => ownership,
                None => tokio::select! {
                    claimed = self.stand_by() => match claimed {
                        Ok(ownership) => ownership,
                        Err(error) => break (Turn::Failed(error), None),
                    },
                    turn = ends(&shutdown, &mut transport) => break (turn, None),
                },
            };
            let turn = tokio::select! {
                biased;
                () = ownership.tenure.ended() => Turn::Lost,
                turn = ends(&shutdown, &mut transport) => turn,
                _ = &mut ownership.lane_done => match ownership.tenure.holds() {
                    true => Turn::Failed(Error::LaneStopped),
                    false => Turn::Lost,
                },
            };
            match turn {
                Turn::Lost => self.lost(ownership).await,
                Turn::Told | Turn::Failed(_) => break (turn, Some(ownership)),
            }
        };
        let cause = match turn {
            Turn::Failed(error) => Err(error),
            Turn::Told | Turn::Lost => Ok(()),
        };
        self.go_down(cause, ownership, no_more, transport).await
    }

    /// Tries to claim the store until it succeeds.
    async fn stand_by(&self) -> Result<Ownership, Error> {
        let mut told = String::new();
        loop {
            match Ownership::begin(&self.setup).await {
                Ok(ownership) => {
                    tracing::info!(store = %self.setup.config.store, "this process owns the store now");
                    self.owns(&ownership).await;
                    return Ok(ownership);
                }
                Err(
                    error @ (store::Error::Owned
                    | store::Error::Unavailable(_)
                    | store::Error::Busy { .. }),
                ) => {
                    let why = error.to_string();
                    if why != told {
                        self.stands_by(&why).await;
                        told = why;
                    }
                }
                Err(source) => {
                    return Err(Error::Store {
                        path: self.setup.config.store.to_string(),
                        source,
                    });
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn owns(&self, ownership: &Ownership) {
        let (routes, tenure) = (ownership.routes(), ownership.tenure.clone());
        if self.setup.config.broker.is_some() {
            let (broker, health) = (ownership.broker(), self.health.clone());
            ownership.tasks.spawn(health::report_broker(
                broker,
                health,
                ownership.closing.clone(),
            ));
        }
        let clock = clock_health::report(
            ownership.clock(),
            self.health.clone(),
            ownership.closing.clone(),
        );
        ownership.tasks.spawn(clock);
        let (trouble, health) = (ownership.trouble(), self.health.clone());
        ownership.tasks.spawn(health::report_store(
            trouble,
            health,
            ownership.closing.clone(),
        ));
        self.lane.send_replace(Some(ownership.told()));
        self.standing
            .send_replace(Standing::Owner { routes, tenure });
        health::serving(&self.health).await;
    }

    async fn stands_by(&self, why: &str) {
        tracing::info!(store = %self.setup.config.store, why, "standing by");
        self.standing.send_replace(Standing::By(why.into()));
        self.lane.send_replace(None);
        health::not_serving(&self.health, true, self.setup.config.broker.is_some()).await;
    }

    /// Ends everything that only an owner does.
    async fn lost(&self, ownership: Ownership) {
        // It may only have run out; calls that wait are answered by its end.
        ownership.tenure.end("the claim on the store has run out");
        let why = ownership.tenure.why();
        tracing::error!(
            why,
            "this process does not own the store any more: everything that an owner does ends"
        );
        self.stands_by(why).await;
        ownership.give_up().await;
    }

    async fn go_down(
        self,
        mut cause: Result<(), Error>,
        ownership: Option<Ownership>,
        no_more: CancellationToken,
        mut transport: Transport,
    ) -> Result<(), Error> {
        tracing::info!("draining");
        health::not_serving(&self.health, false, self.setup.config.broker.is_some()).await;
        no_more.cancel();
        if let Some(ownership) = &ownership {
            ownership.drain().await;
        }
        let streams_end = async {
            if let Some(ownership) = &ownership {
                ownership.tasks.wait().await;
            }
            if !transport.is_finished() {
                // Its error would tell of a connection that we close anyway.
                let _ = (&mut transport).await;
            }
        };
        if timeout(STREAMS_END_WITHIN, streams_end).await.is_err() {
            tracing::warn!("some clients did not let go of their streams; they are cut off");
            transport.abort();
        }
        let closed = self.setup.store.close().await;
        if let (Ok(()), Err(source)) = (&cause, closed) {
            cause = Err(Error::Store {
                path: self.setup.config.store.to_string(),
                source,
            });
        }
        tracing::info!("down");
        cause
    }
}

/// Waits for what ends a server whether it owns the store or not.
async fn ends(shutdown: &CancellationToken, transport: &mut Transport) -> Turn {
    tokio::select! {
        () = shutdown.cancelled() => Turn::Told,
        ended = transport => match ended {
            Ok(Ok(())) => Turn::Told,
            Ok(Err(error)) => Turn::Failed(error.into()),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        },
    }
}
