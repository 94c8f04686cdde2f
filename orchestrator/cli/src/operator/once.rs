//! Sends an act until it is answered, and finds out what became of it where an answer was missed.
//!
//! Every sending carries the same act id, so that the act is done once. A server of an earlier release does not know such
//! ids; it is told apart by `FindAct`, which it lacks, and is sent nothing twice.

use std::{future::Future, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use saga_proto::v1::FindActRequest;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use crate::{
    client::Server,
    exit::{Failure, Fate, is_fate_unknown, was_never_sent},
    show::output,
};

/// How long an act is waited for where no `--timeout` says otherwise.
pub const ACT_WITHIN: Duration = Duration::from_secs(30);

/// One act on one saga.
pub struct Once<'a> {
    /// As it was named on the command line.
    pub saga: &'a str,
    /// The same in every sending.
    pub act: Uuid,
    /// No sending begins afterwards.
    pub until: Instant,
    /// What is said if nobody can tell.
    pub fate: Fate,
}

/// What asking after an act brought.
enum Found {
    /// The server does an act once: it may be sent again.
    Once,
    /// It may not: the server cannot tell.
    Never,
    /// The server did not answer; later it may.
    Later,
}

/// Sends the act until it is answered or the time is up.
///
/// # Errors
/// The server's refusal; that it was not there; or that nobody knows whether the act was done.
pub async fn once<T, F>(
    server: &Server,
    once: Once<'_>,
    mut send: impl FnMut() -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut missed: Option<Status> = None;
    let mut pauses = pauses();
    loop {
        match timeout_at(once.until, send()).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) if is_fate_unknown(&status) => {
                if missed.is_none() {
                    output::note("the answer was missed; asking again");
                }
                missed = Some(status);
            }
            Ok(Err(status)) => match &missed {
                // It is away for the moment, or stands by: that is no answer to the act.
                Some(_) if status.code() == Code::Unavailable => {}
                Some(_) | None => return Err(server.failure(status)),
            },
            Err(_) => return Err(unknown(server, once.fate, missed.as_ref())),
        }
        loop {
            let pause = pauses.next().unwrap_or(PAUSE_MAX);
            if Instant::now() + pause >= once.until {
                return Err(unknown(server, once.fate, missed.as_ref()));
            }
            sleep(pause).await;
            match timeout_at(once.until, find(server, once.saga, once.act)).await {
                Ok(Found::Once) => break,
                Ok(Found::Later) => {}
                Ok(Found::Never) | Err(_) => {
                    return Err(unknown(server, once.fate, missed.as_ref()));
                }
            }
        }
    }
}

async fn find(server: &Server, saga: &str, act: Uuid) -> Found {
    let request = FindActRequest {
        saga: saga.to_owned(),
        act_id: act.as_bytes().to_vec().into(),
    };
    match server.operators().find_act(request).await {
        Ok(_) => Found::Once,
        Err(status) if status.code() == Code::Unimplemented => Found::Never,
        Err(status) if was_never_sent(&status) || is_fate_unknown(&status) => Found::Later,
        Err(status) if status.code() == Code::Unavailable => Found::Later,
        // Refused by a server that knows the question: the act itself is refused, or was done, in its own words.
        Err(_) => Found::Once,
    }
}

fn unknown(server: &Server, fate: Fate, missed: Option<&Status>) -> Failure {
    match missed {
        Some(status) => server.act_failed(status, fate),
        None => Failure::unknown(fate, "no answer came in time"),
    }
}

/// Longest pause between two questions.
const PAUSE_MAX: Duration = Duration::from_secs(2);

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(PAUSE_MAX)
        .without_max_times()
        .with_jitter()
        .build()
}
