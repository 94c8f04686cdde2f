//! A connection in the middle that can be told to swallow answers (what was asked arrives, and nobody hears of it) or to
//! stall (nothing passes, and nobody is told).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};

/// A proxy before a server.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    stalled: watch::Sender<bool>,
    swallow: AtomicBool,
    /// Told when an answer was swallowed.
    swallowed: Notify,
}

impl Proxy {
    /// Listens on a free port, and passes on to `server` until the runtime ends.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A server that is not there closes the connection, as it would without us.
                let Ok(upstream) = TcpStream::connect(server).await else {
                    continue;
                };
                tokio::spawn(pass(client, upstream, Arc::clone(&shared)));
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the first answer on any connection is swallowed, and that connection is cut.
    pub fn swallow_answers(&self) {
        self.state.swallow.store(true, Ordering::SeqCst);
    }

    /// Passes everything on again.
    pub fn pass_on(&self) {
        self.state.swallow.store(false, Ordering::SeqCst);
    }

    /// From now on nothing passes in either direction, on old and new connections, until [`Proxy::go_on`].
    pub fn stall(&self) {
        self.state.stalled.send_replace(true);
    }

    /// What was held passes, late and whole.
    pub fn go_on(&self) {
        self.state.stalled.send_replace(false);
    }

    /// Waits until an answer was swallowed.
    pub async fn swallowed(&self) {
        self.state.swallowed.notified().await;
    }
}

impl State {
    /// Waits while nothing passes.
    async fn moves(&self) {
        // The sender lives in `self`.
        self.stalled
            .subscribe()
            .wait_for(|stalled| !stalled)
            .await
            .ok();
    }
}

async fn pass(client: TcpStream, upstream: TcpStream, state: Arc<State>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    let questions = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(count) = from_client.read(&mut buffer).await else {
                return;
            };
            state.moves().await;
            // Either side may go; then so does the other.
            if count == 0 || to_server.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(count) = from_server.read(&mut buffer).await else {
                return;
            };
            state.moves().await;
            if count == 0 {
                return;
            }
            if state.swallow.load(Ordering::SeqCst) {
                state.swallowed.notify_one();
                return;
            }
            if to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = questions => {}
        () = answers => {}
    }
}
