//! A connection in the middle that can be told to swallow answers (what was asked arrives, and nobody hears of it) or to
//! stall (nothing passes, and nobody is told).

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
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
    /// What a question holds whose answer is held back.
    marker: Mutex<Option<String>>,
    /// Told when such a question has passed.
    held: Notify,
    /// Ends the connection that is held.
    cut: Notify,
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

    /// Holds back every answer on the connection on which a question passes that holds `marker`, until [`Proxy::cut`]. Holds
    /// one connection; those after it pass.
    pub fn hold_answers_to(&self, marker: &str) {
        *self.state.marker() = Some(marker.to_owned());
    }

    /// Waits until such a question has passed.
    pub async fn held(&self) {
        self.state.held.notified().await;
    }

    /// Ends the connection that is held; its answers are lost.
    pub fn cut(&self) {
        self.state.cut.notify_one();
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
    fn marker(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.marker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the answers to this question are to be held.
    fn holds(&self, question: &[u8]) -> bool {
        let mut marker = self.marker();
        let found = marker.as_ref().is_some_and(|marker| {
            let marker = marker.as_bytes();
            question.windows(marker.len()).any(|part| part == marker)
        });
        if found {
            *marker = None;
            self.held.notify_one();
        }
        found
    }

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
    let held = AtomicBool::new(false);
    let questions = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(count) = from_client.read(&mut buffer).await else {
                return;
            };
            state.moves().await;
            if state.holds(&buffer[..count]) {
                held.store(true, Ordering::SeqCst);
            }
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
            if held.load(Ordering::SeqCst) {
                state.cut.notified().await;
                return;
            }
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
