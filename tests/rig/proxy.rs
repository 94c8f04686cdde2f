//! A connection in the middle that can be told to swallow answers: what was asked arrives, and nobody hears of it.

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
    sync::Notify,
};

/// A proxy before a server.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
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
                let Ok(upstream) = TcpStream::connect(server).await else { continue };
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

    /// Waits until an answer was swallowed.
    pub async fn swallowed(&self) {
        self.state.swallowed.notified().await;
    }
}

async fn pass(client: TcpStream, upstream: TcpStream, state: Arc<State>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    let questions = async {
        // Either side may go; then so does the other.
        tokio::io::copy(&mut from_client, &mut to_server).await.ok();
    };
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(count) = from_server.read(&mut buffer).await else { return };
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
