//! A broker: where it is, and what is asked of it.

use std::{fmt, path::PathBuf};

use saga_engine::address::{self, Parts};

/// Why a text is no URL of a broker. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no address at all.
    #[error(transparent)]
    Address(#[from] address::Fault),
    /// It is an address of something else.
    #[error("{0}")]
    Unfit(&'static str),
}

/// A RabbitMQ broker, as participants and servers reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct Broker {
    /// `amqp://user:password@host:port/vhost` or `amqps://...`.
    pub url: String,
    /// File with the password, which then is not in the URL.
    pub password_file: Option<PathBuf>,
    /// Certificates that the broker's is checked against, beside the well-known ones.
    pub ca_file: Option<PathBuf>,
    /// Participants to declare queues for, beside those that definitions name.
    pub participants: Vec<String>,
    /// Tell of the lives of sagas.
    pub events: bool,
}

/// For messages: without user and password.
impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&broker_place(&self.url))
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("url", &broker_place(&self.url))
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// A broker at a URL.
    ///
    /// # Errors
    /// When it is no URL of a broker.
    pub fn at(url: &str) -> Result<Self, Fault> {
        let parts = Parts::of(url)?;
        parts.servers()?;
        if !matches!(parts.scheme, "amqp" | "amqps") {
            return Err(Fault::Unfit("its scheme is neither amqp nor amqps"));
        }
        // Its words may repeat what was written.
        let understood = url.parse::<lapin::uri::AMQPUri>();
        understood.map_err(|_| Fault::Unfit("an option after its `?` is not understood"))?;
        Ok(Self {
            url: url.to_owned(),
            password_file: None,
            ca_file: None,
            participants: Vec::new(),
            events: false,
        })
    }
}

/// Scheme, host and virtual host of a broker that was read before.
fn broker_place(url: &str) -> String {
    let place = |parts: Parts<'_>| {
        let slash = if parts.path.is_empty() { "" } else { "/" };
        format!("{}://{}{slash}{}", parts.scheme, parts.hosts, parts.path)
    };
    Parts::of(url).map_or_else(|_| "amqp://...".to_owned(), place)
}
