//! One gRPC stream: hello, commands, replies, and the end of it.

use std::{sync::Arc, time::Duration};

use saga_proto::limits::MESSAGE_BYTES_MAX;
use saga_proto::v1::{
    self, participant_service_client::ParticipantServiceClient, to_participant::Message,
};
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming, transport::Endpoint};

use super::{
    convert,
    dispatch::{Dispatcher, Workers},
    outbound::{Links, Sink, outbound},
};
use crate::{execute::Core, inbox::Store, reply::with_causes, unheard::Connectedness};

/// From dialing to the orchestrator's welcome.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How long the orchestrator may take to close its half after ours.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(20);

/// Wide enough that a batch of commands never waits for a window update on a fast network.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// What all streams of a participant share.
pub(super) struct Shared<S: Store> {
    pub(super) core: Arc<Core<S>>,
    pub(super) instance: String,
    pub(super) workers: Workers,
    pub(super) stop: CancellationToken,
    /// Addresses of orchestrators, as welcomes name them.
    pub(super) addresses: UnboundedSender<Vec<String>>,
}

/// How a stream ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// After the shutdown, in order.
    Drained,
    /// There is a stream to this orchestrator already.
    Duplicate,
    /// The registration was refused before any welcome.
    Refused(Status),
    /// Everything else; dial again.
    Lost { why: String, welcomed: bool },
}

impl Ended {
    fn lost(why: impl Into<String>) -> Self {
        Self::Lost {
            why: why.into(),
            welcomed: false,
        }
    }
}

/// Turns `host:port` into an endpoint with our settings.
pub(super) fn endpoint(authority: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{authority}"))?
        .connect_timeout(HANDSHAKE_LIMIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES))
}

/// Dials, registers and serves one stream until it ends.
pub(super) async fn run<S: Store>(
    shared: &Shared<S>,
    endpoint: &Endpoint,
    way: &mut Connectedness,
) -> Ended {
    let hello = convert::hello(&shared.core, &shared.instance);
    let handshake = timeout(
        HANDSHAKE_LIMIT,
        shake_hands(endpoint, hello, &shared.core.links),
    );
    let (sink, inbound, welcome) = tokio::select! {
        () = shared.stop.cancelled() => return Ended::Drained,
        result = handshake => match result {
            Ok(Ok(open)) => open,
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::lost("no welcome in time"),
        },
    };
    let Some(_link) = shared.core.links.add(&welcome.orchestrator, &sink) else {
        sink.end();
        return Ended::Duplicate;
    };
    way.connected();
    // Fails only while the whole participant is being taken down.
    let _ = shared.addresses.send(welcome.addresses);
    match converse(shared, &sink, inbound).await {
        Ok(()) => Ended::Drained,
        Err(why) => Ended::Lost {
            why,
            welcomed: true,
        },
    }
}

type Open = (Sink, Streaming<v1::ToParticipant>, v1::Welcome);

async fn shake_hands(endpoint: &Endpoint, hello: v1::Hello, links: &Links) -> Result<Open, Ended> {
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| Ended::lost(with_causes(&error)))?;
    let mut client = ParticipantServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (sink, outbound) = outbound(hello, links);
    let mut inbound = client
        .connect(outbound)
        .await
        .map_err(before_welcome)?
        .into_inner();
    match inbound.message().await.map_err(before_welcome)? {
        Some(v1::ToParticipant {
            message: Some(Message::Welcome(welcome)),
        }) => Ok((sink, inbound, welcome)),
        Some(_) => Err(Ended::lost("the first message was no welcome")),
        None => Err(Ended::lost("the stream ended before the welcome")),
    }
}

fn before_welcome(status: Status) -> Ended {
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => {
            Ended::Refused(status)
        }
        _ => Ended::lost(words(&status)),
    }
}

/// Serves commands until the stream is lost (an error says why) or the shutdown is over.
async fn converse<S: Store>(
    shared: &Shared<S>,
    sink: &Sink,
    mut inbound: Streaming<v1::ToParticipant>,
) -> Result<(), String> {
    let mut dispatcher = Dispatcher::new(shared.core.clone(), shared.workers.clone());
    let running = &shared.workers.running;
    let mut deadline = None;
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled(), if deadline.is_none() => {
                sink.draining();
                deadline = Some(shared.workers.drained_at());
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                tracing::warn!(running = running.len(), "the drain took too long, closing");
                break;
            }
            () = running.wait(), if deadline.is_some() && dispatcher.is_empty() => break,
            () = dispatcher.start_waiting(), if !dispatcher.is_empty() => {}
            message = inbound.message(), if dispatcher.has_room() => match message {
                Ok(Some(message)) => take(&mut dispatcher, message, sink),
                Ok(None) => return Err("the orchestrator closed the stream".to_owned()),
                Err(status) => return Err(words(&status)),
            },
        }
    }
    sink.end();
    let closed = async { while let Ok(Some(_)) = inbound.message().await {} };
    let _ = timeout(CLOSE_LIMIT, closed).await;
    Ok(())
}

fn take<S: Store>(dispatcher: &mut Dispatcher<S>, message: v1::ToParticipant, sink: &Sink) {
    match message.message {
        Some(Message::Commands(batch)) => dispatcher.take(batch, sink),
        // A later version may say more; what this one does not know it need not obey.
        Some(Message::Welcome(_)) | None => {}
    }
}

fn words(status: &Status) -> String {
    let code = status.code();
    if status.message().is_empty() {
        code.to_string()
    } else {
        format!("{}: {code}", status.message())
    }
}
