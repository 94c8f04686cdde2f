//! The way to the server: where it is, how to reach it, what its refusals mean.

use std::{fmt, future::Future, str::FromStr, time::Duration};

use saga_proto::limits::MESSAGE_BYTES_MAX;
use saga_proto::v1::{
    definition_service_client::DefinitionServiceClient,
    operator_service_client::OperatorServiceClient,
    participant_directory_client::ParticipantDirectoryClient,
    saga_service_client::SagaServiceClient,
};
use tonic::{
    Response, Status,
    transport::{Channel, Uri},
};

use super::exit::{Failure, Fate};
use crate::show::store_trouble::{Notices, Wire};

/// A server that is there answers within this; a longer wait only delays the message that it is not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Until a call's first answer; streams may then last.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a server listens: `grpc://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    fn authority(&self) -> &str {
        self.0.strip_prefix("grpc://").unwrap_or(&self.0)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text does not name a server that this command can speak to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAnEndpoint {
    /// Neither host nor port can be read.
    #[error("not an address: write grpc://host:port")]
    Form,
    /// A scheme that is for participants.
    #[error("the command speaks to the server itself, not to a broker: write grpc://host:port")]
    Broker,
    /// Encryption that this build does not have.
    #[error(
        "this build has no TLS: write grpc://host:port, and use a tunnel for a server elsewhere"
    )]
    Tls,
    /// Any other scheme.
    #[error("unknown scheme `{0}`: write grpc://host:port")]
    Scheme(String),
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let text = text.trim();
        let authority = match text.split_once("://") {
            None => text,
            Some(("grpc" | "http", rest)) => rest,
            Some(("grpcs" | "https", _)) => return Err(NotAnEndpoint::Tls),
            Some(("amqp" | "amqps", _)) => return Err(NotAnEndpoint::Broker),
            Some((scheme, _)) => return Err(NotAnEndpoint::Scheme(scheme.to_owned())),
        };
        let authority = authority.trim_end_matches('/');
        let uri: Uri = format!("http://{authority}")
            .parse()
            .map_err(|_| NotAnEndpoint::Form)?;
        let plain = uri.path() == "/" && uri.query().is_none();
        let complete = uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some();
        if plain && complete {
            Ok(Self(format!("grpc://{authority}")))
        } else {
            Err(NotAnEndpoint::Form)
        }
    }
}

/// A connection to a server.
pub struct Server {
    endpoint: Endpoint,
    wire: Wire,
}

impl Server {
    /// Connects now, so that "nobody is there" is known before anything is asked.
    ///
    /// # Errors
    /// When nobody answers at the endpoint.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, Failure> {
        let unreachable = |error: &tonic::transport::Error| {
            Failure::unreachable(&endpoint.to_string(), &innermost(error))
        };
        let channel = Channel::from_shared(format!("http://{}", endpoint.authority()))
            .map_err(|_| Failure::error(format!("{endpoint} is not an address")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|error| unreachable(&error))?;
        Ok(Self {
            endpoint: endpoint.clone(),
            wire: Wire::new(channel),
        })
    }

    /// Starting, following and steering sagas.
    pub fn sagas(&self) -> SagaServiceClient<Wire> {
        SagaServiceClient::new(self.wire.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Acts of operators.
    pub fn operators(&self) -> OperatorServiceClient<Wire> {
        OperatorServiceClient::new(self.wire.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The register of definitions.
    pub fn definitions(&self) -> DefinitionServiceClient<Wire> {
        DefinitionServiceClient::new(self.wire.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Who takes part.
    pub fn participants(&self) -> ParticipantDirectoryClient<Wire> {
        ParticipantDirectoryClient::new(self.wire.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The connection itself.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// What the server's answers said of its store.
    pub fn notices(&self) -> &Notices {
        self.wire.notices()
    }

    /// What a refusal of this server means, of a call that changes nothing.
    pub fn failure(&self, status: Status) -> Failure {
        Failure::from_status(&status, &self.endpoint.to_string())
    }

    /// Makes a call that changes something. An answer that is cut off does not mean that nothing was done.
    ///
    /// # Errors
    /// The refusal, or that its fate is unknown, in the words of `fate`.
    pub async fn act<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
        fate: Fate,
    ) -> Result<T, Failure> {
        call.await
            .map(Response::into_inner)
            .map_err(|status| self.act_failed(&status, fate))
    }

    /// What it means that a call failed which changes something.
    pub fn act_failed(&self, status: &Status, fate: Fate) -> Failure {
        Failure::of_act(status, &self.endpoint.to_string(), fate)
    }
}

fn innermost(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_written_in_three_ways() {
        for text in [
            "grpc://127.0.0.1:7420",
            "http://127.0.0.1:7420/",
            "127.0.0.1:7420",
        ] {
            assert_eq!(
                text.parse(),
                Ok(Endpoint("grpc://127.0.0.1:7420".into())),
                "{text}"
            );
        }
        assert!("[::1]:7420".parse::<Endpoint>().is_ok());
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        for (text, fault) in [
            ("", NotAnEndpoint::Form),
            ("grpc://", NotAnEndpoint::Form),
            ("localhost", NotAnEndpoint::Form),
            ("grpc://host:99999", NotAnEndpoint::Form),
            ("grpc://host:1/path", NotAnEndpoint::Form),
            ("grpc://ho st:1", NotAnEndpoint::Form),
            ("grpcs://host:1", NotAnEndpoint::Tls),
            ("amqp://host:5672", NotAnEndpoint::Broker),
            ("ftp://host:1", NotAnEndpoint::Scheme("ftp".into())),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(fault), "{text}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_at_once() {
        // A port that was free a moment ago and that nobody listens on.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port");
        let endpoint: Endpoint = format!("grpc://{free}").parse().expect("an endpoint");
        let failure = Server::connect(&endpoint)
            .await
            .map(|_| ())
            .expect_err("nobody listens");
        assert_eq!(failure.exit(), crate::exit::Exit::Unreachable);
        assert!(failure.to_string().contains(&free.to_string()), "{failure}");
    }
}
