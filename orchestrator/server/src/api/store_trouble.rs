//! What callers learn of a store that takes no commits, in one place for all calls.
//!
//! Every answer, also a refusal, carries the trouble in its metadata while it lasts. A call that waits for the store
//! longer than [`GIVES_UP_AFTER`] is answered without it: a read is refused, and of an act it is said that its fate is
//! unknown. A start waits as long as its caller's own deadline allows: it is worth waiting for, and the lane keeps it.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use prost::Message;
use saga_core::Timestamp;
use saga_proto::v1 as wire;
use tokio::sync::watch;
use tonic::{
    Status,
    body::Body,
    codegen::http,
    metadata::{BinaryMetadataKey, BinaryMetadataValue, MetadataMap},
};
use tower::{Layer, Service};

use crate::story::words::span;
use saga_engine::{
    document::clean_text,
    lane::{self, clock::LaneClock, waiting::Waiting},
    store::trouble::{Kind, Trouble},
};
use saga_wire::refusal::{Code, Refusal};

/// Metadata key under which an answer carries a [`wire::StoreTrouble`].
pub const METADATA_KEY: &str = "saga-store-trouble-bin";
/// Name under which health tells of the store.
pub const HEALTH_SERVICE: &str = "saga.store";
/// A call that waits this long while the store takes no commits is answered without it.
pub const GIVES_UP_AFTER: Duration = Duration::from_secs(4);
/// Trouble that ends within this time is none to give up for: a commit that failed once is tried again soon.
const TROUBLE_LASTS: Duration = Duration::from_millis(500);
/// Longest words in the metadata, in bytes.
const WORDS_BYTES_MAX: usize = 512;

/// Adds the store's trouble to every answer. Wraps all services of the server.
///
/// The lane changes with each claim on the store. Without one, calls are answered at once, by whoever stands before the
/// services.
#[derive(Clone)]
pub struct StoreTroubleLayer {
    lane: watch::Receiver<Option<Arc<Lane>>>,
}

/// What the layer needs of a lane.
pub struct Lane {
    trouble: watch::Receiver<Option<Trouble>>,
    waiting: Waiting,
    /// The clock of [`Trouble::since`].
    clock: LaneClock,
}

impl StoreTroubleLayer {
    /// The layer over the lane that commits at the time of a call.
    #[must_use]
    pub fn new(lane: watch::Receiver<Option<Arc<Lane>>>) -> Self {
        Self { lane }
    }
}

impl<S> Layer<S> for StoreTroubleLayer {
    type Service = TellsStoreTrouble<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TellsStoreTrouble {
            inner,
            lane: self.lane.clone(),
        }
    }
}

/// A service whose answers carry the store's trouble.
#[derive(Clone)]
pub struct TellsStoreTrouble<S> {
    inner: S,
    lane: watch::Receiver<Option<Arc<Lane>>>,
}

impl<S> Service<http::Request<Body>> for TellsStoreTrouble<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let lane = self.lane.borrow().clone();
        let patience = Patience::of(request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let Some(lane) = lane else {
                return answer.await;
            };
            let mut response = match patience {
                Patience::Callers => answer.await?,
                Patience::Read | Patience::Act => tokio::select! {
                    biased;
                    response = answer => response?,
                    trouble = lane.trouble_that_lasts() => patience.refusal(&trouble, lane.clock.now()).into_http(),
                },
            };
            lane.mark(&mut response);
            Ok(response)
        })
    }
}

impl Lane {
    /// What is to be told of this lane's store.
    #[must_use]
    pub fn of(lane: &lane::Handle) -> Arc<Self> {
        Arc::new(Self {
            trouble: lane.trouble(),
            waiting: lane.waiting().clone(),
            clock: lane.clock().clone(),
        })
    }

    /// The trouble that a call must give up for. The call may have waited for something else before.
    async fn trouble_that_lasts(&self) -> Trouble {
        tokio::time::sleep(GIVES_UP_AFTER).await;
        let mut trouble = self.trouble.clone();
        loop {
            let told = trouble
                .wait_for(Option::is_some)
                .await
                .map(|told| told.as_ref().map(|told| told.since));
            let Ok(since) = told else {
                // The lane has ended; its callers are answered by that.
                return std::future::pending().await;
            };
            tokio::time::sleep(TROUBLE_LASTS).await;
            if let Some(told) = trouble
                .borrow()
                .clone()
                .filter(|told| Some(told.since) == since)
            {
                return told;
            }
        }
    }

    fn mark(&self, response: &mut http::Response<Body>) {
        let Some(trouble) = &*self.trouble.borrow() else {
            return;
        };
        let told = wire::StoreTrouble {
            kind: word(trouble.kind).to_owned(),
            why: clean_text(trouble.words.clone(), WORDS_BYTES_MAX),
            for_ms: u64::try_from(self.clock.now().0.saturating_sub(trouble.since.0) / 1_000)
                .unwrap_or(0),
            starts: u64::try_from(self.waiting.starts()).unwrap_or(u64::MAX),
            others: u64::try_from(self.waiting.others()).unwrap_or(u64::MAX),
        };
        let mut metadata = MetadataMap::new();
        let value = BinaryMetadataValue::from_bytes(&told.encode_to_vec());
        metadata.insert_bin(BinaryMetadataKey::from_static(METADATA_KEY), value);
        response.headers_mut().extend(metadata.into_headers());
    }
}

/// How long a call may wait for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// As long as its caller does.
    Callers,
    /// [`GIVES_UP_AFTER`]; nothing is changed by it.
    Read,
    /// [`GIVES_UP_AFTER`]; it may be carried out later all the same.
    Act,
}

impl Patience {
    fn of(path: &str) -> Self {
        let Some((service, method)) = path
            .strip_prefix("/saga.v1.")
            .and_then(|call| call.split_once('/'))
        else {
            return Self::Callers;
        };
        match (service, method) {
            ("ParticipantService", _) | ("SagaService", "StartSaga" | "RunSagas") => Self::Callers,
            ("SagaService", "GetSaga" | "ListSagas" | "WatchSaga" | "History")
            | ("DefinitionService", "GetDefinition" | "ListDefinitions")
            | ("ParticipantDirectory", "ListParticipants")
            | ("OperatorService", "ListBreakers" | "ListAudit" | "PreviewRetry" | "FindAct") => {
                Self::Read
            }
            // A call that this list has forgotten may change something.
            (_, _) => Self::Act,
        }
    }

    fn refusal(self, trouble: &Trouble, now: Timestamp) -> Status {
        let Trouble { since, words, .. } = trouble;
        let store = format!(
            "the store has taken no commit for {}: {words}",
            span(*since, now)
        );
        let refusal = match self {
            Self::Callers | Self::Read => Refusal::new(Code::Store, store),
            Self::Act => Refusal::new(
                Code::Unanswered,
                format!(
                    "{store}; the server has what was asked for and may carry it out when the store takes commits again"
                ),
            ),
        };
        refusal.into()
    }
}

/// A kind as programs read it.
const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::ReadOnly => "read_only",
        Kind::Starting => "starting",
        Kind::DiskFull => "disk_full",
        Kind::NoConnection => "no_connection",
        Kind::TimedOut => "timed_out",
        Kind::Overloaded => "overloaded",
        Kind::Ended => "ended",
        Kind::Unreachable => "unreachable",
        Kind::Denied => "denied",
        Kind::Unfit => "unfit",
        Kind::Moved => "moved",
        Kind::Fenced => "fenced",
        Kind::Closed => "closed",
        Kind::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use saga_proto::v1::{
        definition_service_server, operator_service_server, participant_directory_server,
        participant_service_server, saga_service_server,
    };

    use super::*;

    #[test]
    fn only_starts_and_participants_wait_as_long_as_they_like() {
        let of = |service: &str, method: &str| Patience::of(&format!("/{service}/{method}"));
        for (service, method) in [
            (saga_service_server::SERVICE_NAME, "StartSaga"),
            (saga_service_server::SERVICE_NAME, "RunSagas"),
            (participant_service_server::SERVICE_NAME, "Connect"),
            ("grpc.health.v1.Health", "Watch"),
        ] {
            assert_eq!(of(service, method), Patience::Callers, "{service}/{method}");
        }
        for (service, method) in [
            (saga_service_server::SERVICE_NAME, "WatchSaga"),
            (definition_service_server::SERVICE_NAME, "ListDefinitions"),
            (operator_service_server::SERVICE_NAME, "ListBreakers"),
            (
                participant_directory_server::SERVICE_NAME,
                "ListParticipants",
            ),
        ] {
            assert_eq!(of(service, method), Patience::Read, "{service}/{method}");
        }
        for (service, method) in [
            (saga_service_server::SERVICE_NAME, "CancelSaga"),
            (definition_service_server::SERVICE_NAME, "Deploy"),
            (operator_service_server::SERVICE_NAME, "Abandon"),
            (operator_service_server::SERVICE_NAME, "ACallOfTheFuture"),
        ] {
            assert_eq!(of(service, method), Patience::Act, "{service}/{method}");
        }
    }

    /// A lane in trouble, and the sender that ends it.
    fn lane(trouble: Option<Trouble>) -> (Lane, watch::Sender<Option<Trouble>>) {
        let (sender, trouble) = watch::channel(trouble);
        (
            Lane {
                trouble,
                waiting: Waiting::default(),
                clock: LaneClock::default(),
            },
            sender,
        )
    }

    fn disk_full() -> Trouble {
        Trouble {
            since: Timestamp(LaneClock::default().now().0 - 14_200_000),
            kind: Kind::DiskFull,
            words: "é".repeat(400),
        }
    }

    #[test]
    fn an_answer_carries_the_trouble_while_it_lasts() {
        let (lane, sender) = lane(Some(disk_full()));
        let _ticket = lane.waiting.start();
        let mut response = http::Response::new(Body::empty());
        lane.mark(&mut response);
        let metadata = MetadataMap::from_headers(response.headers().clone());
        let bytes = metadata
            .get_bin(METADATA_KEY)
            .expect("metadata")
            .to_bytes()
            .expect("base64");
        let told = wire::StoreTrouble::decode(bytes).expect("a message");
        assert_eq!((told.kind.as_str(), told.starts), ("disk_full", 1));
        assert!(
            told.for_ms >= 14_200 && told.why.len() <= WORDS_BYTES_MAX,
            "{told:?}"
        );
        sender.send_replace(None);
        let mut response = http::Response::new(Body::empty());
        lane.mark(&mut response);
        assert!(response.headers().is_empty());
    }

    #[tokio::test]
    async fn a_read_is_refused_and_an_act_is_unknown() {
        let code = |patience: Patience| {
            let status = patience.refusal(&disk_full(), LaneClock::default().now());
            (
                status.code(),
                status
                    .message()
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            )
        };
        assert_eq!(
            code(Patience::Read),
            (tonic::Code::Unavailable, "A0504".to_owned())
        );
        assert_eq!(
            code(Patience::Act),
            (tonic::Code::Unavailable, "A0506".to_owned())
        );
    }
}
