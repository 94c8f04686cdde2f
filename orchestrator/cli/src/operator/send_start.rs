//! Sends a start until it is answered, and says meanwhile what is waited for.
//!
//! Every sending carries the same request id, so that the second finds what the first began. A start whose answer was
//! missed is neither started nor failed: its fate is unknown, and the message says how to learn it.

use std::{cell::Cell, pin::pin, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use saga_proto::v1::{StartSagaRequest, StartSagaResponse};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::{
    client::Server,
    exit::{Failure, Fate, is_fate_unknown, was_never_sent},
    show::{output, time},
};

/// How long a start is waited for where no `--timeout` says otherwise.
pub const START_WITHIN: Duration = Duration::from_secs(30);
/// A wait that lasts longer is explained.
const SAYS_AFTER: Duration = Duration::from_secs(2);
/// Longest pause between two sendings.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// Sendings to a server that is not there, with pauses that add up to about six seconds.
const RETRIES: usize = 5;

/// Sends the request until it is answered or the time is up.
///
/// # Errors
/// The server's refusal; that it was not there; or that nobody knows whether the saga was started.
pub async fn send_start(
    server: &Server,
    request: &StartSagaRequest,
    until: Instant,
) -> Result<StartSagaResponse, Failure> {
    let began = Instant::now();
    let arrived = Cell::new(false);
    let mut answer = pin!(timeout_at(
        until,
        sent_again(server, request, until, &arrived)
    ));
    let mut is_explained = false;
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer,
            () = sleep_until(began + SAYS_AFTER), if !is_explained => {
                is_explained = true;
                explain(server, began, until).await;
            }
        }
    };
    match answer {
        Ok(Ok(started)) => Ok(started),
        Ok(Err(status)) if is_fate_unknown(&status) => {
            Err(server.act_failed(&status, fate(request)))
        }
        Ok(Err(status)) => Err(server.failure(status)),
        Err(_) => Err(Failure::unknown(
            fate(request),
            &format!("no answer came within {}", words(began.elapsed())),
        )),
    }
}

/// Says what is waited for: the store, if the server says so, else the server itself.
async fn explain(server: &Server, began: Instant, until: Instant) {
    // Prints the store's trouble, if there is any.
    server.wire().look().await;
    let so_far = words(began.elapsed());
    let left = words(until.saturating_duration_since(Instant::now()));
    let what = match server.notices().line() {
        Some(_) => "waiting for the start to be committed",
        None => "waiting for the server's answer",
    };
    output::note(&format!(
        "{what}, for {so_far} so far and at most {left} more"
    ));
}

/// To the nearest second: a limit of 4 s is not shown as 3.
fn words(span: Duration) -> String {
    let seconds = span.saturating_add(Duration::from_millis(500)).as_secs();
    time::span(i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX))
}

async fn sent_again(
    server: &Server,
    request: &StartSagaRequest,
    until: Instant,
    arrived: &Cell<bool>,
) -> Result<StartSagaResponse, Status> {
    let mut pauses = pauses();
    loop {
        let mut call = Request::new(request.clone());
        // The server gives up when we do.
        call.set_timeout(until.saturating_duration_since(Instant::now()));
        let status = match server.sagas().start_saga(call).await {
            Ok(started) => return Ok(started.into_inner()),
            Err(status) => status,
        };
        if !may_be_sent_again(&status) {
            return Err(status);
        }
        arrived.set(arrived.get() || is_fate_unknown(&status));
        if status.code() == Code::Cancelled {
            // Nobody refused the connection: the server is there and slow, which may last.
            pauses = self::pauses();
        }
        match pauses.next() {
            Some(pause) => tokio::time::sleep(pause).await,
            // Somebody has the start, so only an answer tells what became of it.
            None if arrived.get() => tokio::time::sleep(PAUSE_MAX).await,
            None => return Err(status),
        }
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(PAUSE_MAX)
        .with_max_times(RETRIES)
        .with_jitter()
        .build()
}

/// The server did not say no: it was not there, or its answer was lost.
fn may_be_sent_again(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        _ => is_fate_unknown(status) && !was_never_sent(status),
    }
}

/// What is unknown, and how to learn it. The same request id or key never starts a second saga.
fn fate(request: &StartSagaRequest) -> Fate {
    let find_out = match (request.key.as_str(), Uuid::from_slice(&request.request_id)) {
        ("", Ok(id)) => {
            format!("the same command with --request-id {id} tells, and starts nothing twice")
        }
        ("", Err(_)) => format!("saga list --all --saga {} --since 5m", request.name),
        (key, _) => {
            format!(
                "saga describe {}/{key} tells; the same command starts nothing twice",
                request.name
            )
        }
    };
    Fate {
        what: format!("{} was started", request.name),
        find_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_repeated_only_where_nobody_said_no() {
        assert!(may_be_sent_again(&Status::unavailable("tcp connect error")));
        assert!(may_be_sent_again(&Status::cancelled("Timeout expired")));
        let mut fault = Status::internal("A0500 a fault of the server");
        fault
            .metadata_mut()
            .insert("saga-code", "A0500".parse().expect("ascii"));
        assert!(!may_be_sent_again(&fault));
        for code in [Code::InvalidArgument, Code::AlreadyExists, Code::NotFound] {
            let mut refusal = Status::new(code, "x");
            refusal
                .metadata_mut()
                .insert("saga-code", "A0400".parse().expect("ascii"));
            assert!(!may_be_sent_again(&refusal), "{refusal}");
        }
    }

    #[test]
    fn an_unknown_start_names_what_finds_it() {
        let id = Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001);
        let mut request = StartSagaRequest {
            name: "book_trip".into(),
            request_id: id.as_bytes().to_vec().into(),
            ..StartSagaRequest::default()
        };
        let expected =
            format!("the same command with --request-id {id} tells, and starts nothing twice");
        assert_eq!(fate(&request).find_out, expected);
        request.key = "K-1".into();
        let expected = "saga describe book_trip/K-1 tells; the same command starts nothing twice";
        assert_eq!(fate(&request).find_out, expected);
    }
}
