//! Why a connection to the broker is given up. No await goes without a limit: the broker may stop reading.

use std::time::Duration;

use lapin::Connection;
use tokio::time::timeout;

/// How long the broker may take to answer anything.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Ends a session with the broker; the supervisor begins another.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{what}: {source}")]
    Broker { what: String, source: lapin::Error },
    #[error("{remedy} ({told})")]
    Refused { remedy: String, told: String },
    #[error("{what}: no answer within {ANSWERS_WITHIN:?}")]
    Silent { what: String },
    #[error("{what} ended; the queue may have been deleted")]
    Ended { what: &'static str },
    #[error("{what} is gone, and is declared again")]
    Gone { what: String },
    #[error("{messages} messages are not confirmed, the oldest for {age:?}")]
    Unconfirmed { messages: usize, age: Duration },
    #[error("the lane has stopped")]
    LaneStopped,
    #[error("this process does not own the store any more")]
    NotOwner,
}

/// The broker's answer, or what it was about.
pub(super) async fn soon<T>(
    what: &str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Fault> {
    match timeout(ANSWERS_WITHIN, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(Fault::Broker {
            what: what.to_owned(),
            source,
        }),
        Err(_) => Err(Fault::Silent {
            what: what.to_owned(),
        }),
    }
}

/// As [`soon`], for what is published: while the broker blocks whoever publishes, its answer may take long, and that is
/// nobody's fault.
pub(super) async fn patiently<T>(
    connection: &Connection,
    what: &str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Fault> {
    let mut answer = std::pin::pin!(answer);
    loop {
        match timeout(ANSWERS_WITHIN, &mut answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(source)) => {
                return Err(Fault::Broker {
                    what: what.to_owned(),
                    source,
                });
            }
            Err(_) if connection.status().connected() && connection.status().blocked() => {}
            Err(_) => {
                return Err(Fault::Silent {
                    what: what.to_owned(),
                });
            }
        }
    }
}
