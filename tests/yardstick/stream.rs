//! Commands and replies over one gRPC stream without an engine: the contract's own messages, one command each.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use saga_proto::v1::{
    CommandBatch, FromParticipant, ReplyBatch, ToParticipant, from_participant,
    participant_service_client::ParticipantServiceClient,
    participant_service_server::{ParticipantService, ParticipantServiceServer},
    to_participant,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    broker::{Echoed, wire_command, wire_reply},
    journal::median_ms,
};

const WARM_UP: Duration = Duration::from_millis(500);

/// A driver, which is the server of the stream, and a peer in a process of its own.
pub(crate) struct Echo {
    orders: mpsc::UnboundedSender<(usize, Duration, mpsc::UnboundedSender<Echoed>)>,
    _peer: tokio::process::Child,
}

type Orders = mpsc::UnboundedReceiver<(usize, Duration, mpsc::UnboundedSender<Echoed>)>;

impl Echo {
    pub(crate) async fn open() -> Self {
        let (orders, ordered) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let service = ParticipantServiceServer::new(Driver {
            ordered: std::sync::Mutex::new(Some(ordered)),
        });
        let server = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let peer = tokio::process::Command::new(
            std::env::current_exe().expect("a program knows where it is"),
        )
        .args(["--peer", &address])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn();
        Self {
            orders,
            _peer: peer.expect("the peer starts"),
        }
    }

    /// Keeps `depth` commands in flight for `time`.
    pub(crate) async fn run(&self, depth: usize, time: Duration) -> Echoed {
        let (done, mut echoed) = mpsc::unbounded_channel();
        self.orders.send((depth, time, done)).expect("a driver");
        echoed.recv().await.expect("a figure")
    }
}

struct Driver {
    ordered: std::sync::Mutex<Option<Orders>>,
}

#[tonic::async_trait]
impl ParticipantService for Driver {
    type ConnectStream = BoxStream<'static, Result<ToParticipant, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<FromParticipant>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let ordered = self
            .ordered
            .lock()
            .ok()
            .and_then(|mut ordered| ordered.take());
        let ordered = ordered.ok_or_else(|| Status::already_exists("one peer is enough"))?;
        let (out, outgoing) = mpsc::unbounded_channel();
        tokio::spawn(drive(ordered, request.into_inner(), out));
        Ok(Response::new(
            UnboundedReceiverStream::new(outgoing).map(Ok).boxed(),
        ))
    }
}

async fn drive(
    mut ordered: Orders,
    mut replies: Streaming<FromParticipant>,
    out: mpsc::UnboundedSender<ToParticipant>,
) {
    let ask = || {
        let commands = CommandBatch {
            commands: vec![wire_command()],
        };
        // A peer that is gone shows at the next reply.
        out.send(ToParticipant {
            message: Some(to_participant::Message::Commands(commands)),
        })
        .ok();
    };
    while let Some((depth, time, done)) = ordered.recv().await {
        (0..depth).for_each(|_| ask());
        let (began, mut counting, mut count) = (Instant::now(), None, 0_u64);
        let (mut sent, mut times) = (Instant::now(), Vec::new());
        loop {
            let Ok(Some(_)) = replies.message().await else {
                return;
            };
            times.push(sent.elapsed());
            sent = Instant::now();
            count += 1;
            match counting {
                None if began.elapsed() > WARM_UP => {
                    counting = Some(Instant::now());
                    count = 0;
                    times.clear();
                }
                Some(since) if since.elapsed() > time => {
                    let rate = count as f64 / since.elapsed().as_secs_f64();
                    for _ in 1..depth {
                        let Ok(Some(_)) = replies.message().await else {
                            return;
                        };
                    }
                    done.send(Echoed {
                        rate,
                        p50_ms: median_ms(times),
                    })
                    .ok();
                    break;
                }
                None | Some(_) => {}
            }
            ask();
        }
    }
}

/// The other end: answers every command with a message.
pub(crate) async fn peer(address: &str) {
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = channel.tcp_nodelay(true).connect().await.expect("a driver");
    let (out, outgoing) = mpsc::unbounded_channel();
    let stream = ParticipantServiceClient::new(channel)
        .connect(UnboundedReceiverStream::new(outgoing))
        .await;
    let mut commands = stream.expect("a stream").into_inner();
    let answer = || {
        let replies = ReplyBatch {
            replies: vec![wire_reply()],
        };
        out.send(FromParticipant {
            message: Some(from_participant::Message::Replies(replies)),
        })
        .ok();
    };
    while let Ok(Some(_)) = commands.message().await {
        answer();
        while let Some(Ok(Some(_))) = commands.message().now_or_never() {
            answer();
        }
    }
}
