//! A private server: in this process, on a free port, on a file in a folder that goes away.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use saga_server::{
    Error, Running, Server,
    config::{Config, Store as Place},
};
use saga_wire_amqp::Broker;
use tempfile::TempDir;

use crate::{
    broker_log::Vhost,
    client::Clients,
    host::Host,
    ports::Port,
    postgres, rabbitmq,
    wait::{eventually, within},
};

/// A server, what it keeps, and clients for it.
pub struct Rig {
    /// Calls it.
    pub clients: Clients,
    folder: TempDir,
    store: Place,
    /// Reserved while the server is down and about to be revived, too.
    port: Port,
    broker: Option<Broker>,
    server: Option<(Running, Host)>,
    /// Dropped last: it looks into the broker's log.
    vhost: Option<Vhost>,
}

impl Rig {
    /// Starts a server on an empty store: in SQLite, or in PostgreSQL where `SAGA_TEST_STORE=postgres`. Participants dial
    /// it, or meet it at a broker where `SAGA_TEST_BROKER=amqp`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = match std::env::var("SAGA_TEST_STORE").as_deref() {
            Ok("postgres") => postgres::database_place().await,
            Ok(other) => panic!("SAGA_TEST_STORE is `{other}`; it may be `postgres`"),
            Err(_) => Place::Sqlite(folder.path().join("saga.db")),
        };
        Self::start_on(folder, place).await
    }

    /// Starts a server on an empty SQLite file, wherever other tests keep their sagas.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_on_a_file() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("saga.db");
        Self::start_in(folder, store).await
    }

    /// Starts a server on the store in `store`; `folder` is for the databases of participants.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_in(folder: TempDir, store: PathBuf) -> Self {
        Self::start_on(folder, Place::Sqlite(store)).await
    }

    async fn start_on(folder: TempDir, store: Place) -> Self {
        let broker = match std::env::var("SAGA_TEST_BROKER").as_deref() {
            Ok("amqp") => Some(rabbitmq::vhost().await),
            Ok(other) => panic!("SAGA_TEST_BROKER is `{other}`; it may be `amqp`"),
            Err(_) => None,
        };
        Self::start_with(folder, store, broker).await
    }

    /// Starts a server on an empty PostgreSQL database, wherever other tests keep their sagas.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_in_a_database(url: String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_on(
            folder,
            Place::Postgres {
                url,
                unsafe_durability: false,
            },
        )
        .await
    }

    /// Starts a server that participants dial, wherever other tests have theirs: for tests of what the end of a stream
    /// tells. Over a broker, a command outlives whoever took it.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_on_streams() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Place::Sqlite(folder.path().join("saga.db"));
        Self::start_with(folder, store, None).await
    }

    /// Starts a server on an empty SQLite file and at a broker, wherever other tests have their participants.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_at_a_broker(vhost: Vhost) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Place::Sqlite(folder.path().join("saga.db"));
        Self::start_with(folder, store, Some(vhost)).await
    }

    async fn start_with(folder: TempDir, store: Place, vhost: Option<Vhost>) -> Self {
        let broker = vhost
            .as_deref()
            .map(|url| Broker::at(url).expect("a broker's URL"));
        Self::start_by(folder, store, broker, vhost).await
    }

    /// Starts a server on an empty SQLite file that tells of its sagas at a broker.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with_events(vhost: &Vhost) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Place::Sqlite(folder.path().join("saga.db"));
        let broker = Broker {
            events: true,
            ..Broker::at(vhost).expect("a broker's URL")
        };
        Self::start_by(folder, store, Some(broker), Some(vhost.clone())).await
    }

    async fn start_by(
        folder: TempDir,
        store: Place,
        broker: Option<Broker>,
        vhost: Option<Vhost>,
    ) -> Self {
        let port = Port::reserve();
        let listen = port.address();
        let config = Config {
            listen,
            store: store.clone(),
            broker: broker.clone(),
            limits: [].into(),
        };
        let server = launch(config).await.expect("the server starts");
        within("the server to own its store", server.0.owns()).await;
        Self {
            clients: Clients::new(listen),
            folder,
            store,
            port,
            broker,
            server: Some(server),
            vhost,
        }
    }

    /// Where participants find it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.broker.as_ref().map_or_else(
            || format!("grpc://{}", self.port.address()),
            |broker| broker.url.clone(),
        )
    }

    /// Announces an error in the broker's log that this test causes; without a broker there is none.
    pub fn causes(&self, words: &'static str) {
        if let Some(vhost) = &self.vhost {
            vhost.causes(words);
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The file of its store.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn store(&self) -> &Path {
        match &self.store {
            Place::Sqlite(path) => path,
            Place::Postgres { .. } => panic!("the store is a database, not a file"),
        }
    }

    /// A folder that goes away with the rig.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Brings the server down in order.
    ///
    /// # Panics
    /// When it does not end in time, or says that something went wrong.
    pub async fn stop(&mut self) {
        let (running, _host) = self.server.take().expect("it runs");
        running.shutdown().cancel();
        within("the end of the server", running.join())
            .await
            .expect("an end in order");
    }

    /// Asks the server to end, and gives it away for others to wait for.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn begin_stop(&mut self) -> (Running, Host) {
        let server = self.server.take().expect("it runs");
        server.0.shutdown().cancel();
        server
    }

    /// Drops the server where it stands: tasks, sockets, whatever it had in memory.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill(&mut self) {
        drop(self.server.take().expect("it runs"));
    }

    /// Starts a server on the same store and address.
    ///
    /// # Panics
    /// When it does not start in time.
    pub async fn revive(&mut self) {
        assert!(self.server.is_none(), "it still runs");
        let (store, broker) = (self.store.clone(), self.broker.clone());
        let config = Config {
            listen: self.port.address(),
            store,
            broker,
            limits: [].into(),
        };
        let server = eventually("the server to start again", || async {
            match launch(config.clone()).await {
                Ok(server) => Some(server),
                // The threads of a killed server take a moment to let go of file and port.
                Err(Error::Store { .. } | Error::AddressInUse { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        // The lease of a server that was killed runs out first.
        within("the server to own its store", server.0.owns()).await;
        self.server = Some(server);
    }

    /// Brings the server down in order and starts it again.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.revive().await;
    }
}

/// Starts a server on a runtime of its own.
///
/// # Errors
/// Those of the server.
///
/// # Panics
/// When the start itself panics.
pub async fn launch(config: Config) -> Result<(Running, Host), Error> {
    let host = Host::new("server");
    let running = host
        .spawn(Server::start(config))
        .await
        .expect("starting does not panic")?;
    Ok((running, host))
}
