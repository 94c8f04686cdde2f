//! The participant's road to the orchestrators, kept up for as long as it takes: one stream to each, or a broker between.

mod amqp;
pub(crate) mod convert;
mod dispatch;
mod grpc;
mod outbound;
mod pulse;
mod supervisor;

use std::{fmt, future::Future, time::Duration};

pub(crate) use outbound::{Links, Sink};
pub(crate) use supervisor::serve;

use crate::{reply::with_causes, unheard::unheard};

/// Why a participant does not serve, or no longer does. `Debug` is for people, too: it is what Rust prints of an error that
/// `main` returns.
#[derive(thiserror::Error)]
pub enum Error {
    /// The participant is not put together rightly.
    #[error("participant {participant}: {mistake}")]
    Mistake {
        /// Its name.
        participant: String,
        /// What is wrong with it.
        mistake: String,
    },
    /// The endpoint cannot be read, or its transport is not there.
    #[error("endpoint `{endpoint}`: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The orchestrator refused the registration; trying again would not help.
    #[error("the orchestrator refuses participant {participant}: {reason}")]
    Refused {
        /// Its name.
        participant: String,
        /// The orchestrator's words.
        reason: String,
    },
    /// The signals of the process cannot be watched.
    #[error("watching for signals")]
    Signals(#[source] std::io::Error),
    /// A handler blocks its thread, and with it the inbox. Nothing more can be done by this process.
    #[error(
        "participant {participant}: a handler blocks its thread and holds the inbox's only writer; end this process and \
         start it again, and let handlers wait without blocking"
    )]
    Stuck {
        /// Its name.
        participant: String,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_causes(self))
    }
}

/// How much runs at once, and how long the end may take.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    pub(crate) forward: usize,
    pub(crate) undo: usize,
    pub(crate) drain: Duration,
    /// Over a broker: commands and answers travel together.
    pub(crate) together: bool,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            forward: 256,
            undo: 64,
            drain: Duration::from_secs(25),
            together: true,
        }
    }
}

/// Completes at SIGTERM or SIGINT, which are watched from now on.
///
/// # Errors
/// When the signals cannot be watched.
pub fn signals() -> Result<impl Future<Output = ()> + Send, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// How long `main` has to end the process after the drain, where handlers are left that may block a thread.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Ends the process soon: a runtime waits without end for a thread that a handler blocks.
pub(crate) fn end_process(participant: &str, handlers: usize) {
    let line = format!(
        "{participant}: {handlers} handlers did not end in time; the process ends without them"
    );
    let end = move || {
        std::thread::sleep(ENDS_WITHIN);
        unheard(line);
        std::process::exit(1);
    };
    if let Err(error) = std::thread::Builder::new()
        .name("saga-end".to_owned())
        .spawn(end)
    {
        tracing::warn!(%error, "no thread to end the process with");
    }
}

/// `host:port` of an endpoint; without a scheme it is taken for gRPC.
fn authority(endpoint: &str) -> Result<String, Error> {
    let error = |reason: &str| {
        Err(Error::Endpoint {
            endpoint: endpoint.to_owned(),
            reason: reason.to_owned(),
        })
    };
    let authority = match endpoint.split_once("://") {
        Some(("grpc", authority)) => authority.trim_end_matches('/'),
        Some((scheme, _)) => {
            return error(&format!(
                "scheme `{scheme}` is not served here, `grpc://host:port`, `amqp://host` and `amqps://host` are"
            ));
        }
        None => endpoint,
    };
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(authority.to_owned())
        }
        Some(_) | None => error("expected `grpc://host:port`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_or_say_what_they_should_be() {
        assert_eq!(
            authority("grpc://127.0.0.1:7420").expect("plain"),
            "127.0.0.1:7420"
        );
        assert_eq!(authority("grpc://[::1]:7420/").expect("v6"), "[::1]:7420");
        assert_eq!(
            authority("saga.local:7420").expect("as a welcome names it"),
            "saga.local:7420"
        );
        let message = authority("http://server:80")
            .expect_err("another wire")
            .to_string();
        assert!(message.contains("`http` is not served here"), "{message}");
        assert!(authority("grpc://nowhere").is_err());
    }

    #[test]
    fn errors_that_main_returns_are_printed_in_words() {
        let error = Error::Signals(std::io::Error::other("no signals here"));
        assert_eq!(
            format!("{error:?}"),
            "watching for signals: no signals here"
        );
        let error = crate::inbox::Error::from(sqlx::Error::PoolTimedOut);
        assert!(
            format!("{error:?}").starts_with("inbox database: "),
            "{error:?}"
        );
    }
}
