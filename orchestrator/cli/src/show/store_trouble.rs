//! A store that takes no commits, on every screen: the server says so with each answer, whatever was asked, and one place
//! here reads it. The line goes to stderr, so that what a program reads from stdout stays what it was.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use prost::Message;
use saga_proto::v1::StoreTrouble;
use saga_server::api::store_trouble::{HEALTH_SERVICE, METADATA_KEY};
use tokio::task::JoinHandle;
use tonic::{
    body::Body,
    codegen::{Service, http},
    metadata::MetadataMap,
    transport::Channel,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    output::{self, count, printable},
    time,
    words::Tone,
};

/// How often a verb that waits asks the server for the state of its store.
const LOOKS_EVERY: Duration = Duration::from_secs(3);
/// A server that is there answers such a question within this time.
const LOOKS_FOR: Duration = Duration::from_secs(1);

/// What the last answer said of the store. Clones share it.
#[derive(Clone, Default)]
pub struct Notices {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    trouble: Option<StoreTrouble>,
    /// A moving picture draws the line itself.
    drawn: bool,
}

impl Notices {
    /// From now on a moving picture shows [`Notices::line`], and nothing is printed beside it.
    pub fn draw(&self) {
        self.lock().drawn = true;
    }

    /// The line above a screen; `None` while all is well.
    pub fn line(&self) -> Option<String> {
        self.lock().trouble.as_ref().map(line)
    }

    /// Takes what an answer carried, and prints a line when trouble begins. Its end is not printed: a server that stands
    /// back from the store carries no trouble either.
    fn take(&self, trouble: Option<StoreTrouble>) {
        let mut seen = self.lock();
        let before = std::mem::replace(&mut seen.trouble, trouble);
        if seen.drawn {
            return;
        }
        if let (None, Some(trouble)) = (before, &seen.trouble) {
            output::note(&line(trouble));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        // What a panicking thread left is whole: one assignment.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `! the store has taken no commit for 14s: database or disk is full (4 starts wait)`.
fn line(trouble: &StoreTrouble) -> String {
    let span = time::span(i64::try_from(trouble.for_ms.saturating_mul(1_000)).unwrap_or(i64::MAX));
    let why = printable(&trouble.why);
    let text = format!(
        "! the store has taken no commit for {span}: {why}{}",
        waiting(trouble)
    );
    Tone::Bad.paint(&text)
}

fn waiting(trouble: &StoreTrouble) -> String {
    let number = |number: u64, one: &str, many: &str| match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{} {many}", count(number))),
    };
    let starts = number(trouble.starts, "start", "starts");
    let others = number(trouble.others, "other input", "other inputs");
    let verb = if trouble.starts.saturating_add(trouble.others) == 1 {
        "waits"
    } else {
        "wait"
    };
    match (starts, others) {
        (None, None) => String::new(),
        (Some(these), None) | (None, Some(these)) => format!(" ({these} {verb})"),
        (Some(starts), Some(others)) => format!(" ({starts} and {others} {verb})"),
    }
}

/// The channel to the server, with every answer looked at.
#[derive(Clone)]
pub struct Wire {
    channel: Channel,
    notices: Notices,
}

impl Wire {
    /// Looks at all answers that come over the channel.
    pub fn new(channel: Channel) -> Self {
        Self {
            channel,
            notices: Notices::default(),
        }
    }

    /// What the answers said.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Asks for nothing but the state of the store. Silence is no answer and changes nothing.
    pub async fn look(&self) {
        let request = HealthCheckRequest {
            service: HEALTH_SERVICE.to_owned(),
        };
        let mut health = HealthClient::new(self.clone());
        // The answer itself says less than its metadata, which [`Wire`] has read by now.
        let _ = tokio::time::timeout(LOOKS_FOR, health.check(request)).await;
    }

    /// Looks now and then, for a verb that waits on a stream whose answer began long ago.
    pub fn keep_looking(&self) -> Looking {
        let wire = self.clone();
        Looking(tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOKS_EVERY).await;
                wire.look().await;
            }
        }))
    }
}

/// Ends [`Wire::keep_looking`] when it is dropped.
pub struct Looking(JoinHandle<()>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Service<http::Request<Body>> for Wire {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.channel.call(request);
        let notices = self.notices.clone();
        Box::pin(async move {
            let response = answer.await?;
            notices.take(carried(response.headers()));
            Ok(response)
        })
    }
}

/// The trouble that an answer carries.
fn carried(headers: &http::HeaderMap) -> Option<StoreTrouble> {
    let value = headers.get(METADATA_KEY)?;
    let alone =
        http::HeaderMap::from_iter([(http::HeaderName::from_static(METADATA_KEY), value.clone())]);
    let metadata = MetadataMap::from_headers(alone);
    let bytes = metadata.get_bin(METADATA_KEY)?.to_bytes().ok()?;
    StoreTrouble::decode(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::output::bare;

    #[test]
    fn the_line_says_since_when_why_and_who_waits() {
        let trouble = |why: &str, starts, others| StoreTrouble {
            kind: "disk_full".into(),
            why: why.into(),
            for_ms: 14_200,
            starts,
            others,
        };
        let all = [
            trouble("database or disk is full", 4, 0),
            trouble("cannot execute INSERT in a read-only transaction", 1, 0),
            trouble("the database\nis away", 1_200, 3),
            trouble("x", 0, 1),
            trouble("x", 0, 0),
        ];
        let all: Vec<String> = all.iter().map(|trouble| bare(&line(trouble))).collect();
        insta::assert_snapshot!(all.join("\n"), @r"
        ! the store has taken no commit for 14s: database or disk is full (4 starts wait)
        ! the store has taken no commit for 14s: cannot execute INSERT in a read-only transaction (1 start waits)
        ! the store has taken no commit for 14s: the database is away (1 200 starts and 3 other inputs wait)
        ! the store has taken no commit for 14s: x (1 other input waits)
        ! the store has taken no commit for 14s: x
        ");
    }

    #[test]
    fn an_answer_without_trouble_or_with_nonsense_is_no_trouble() {
        let key = http::HeaderName::from_static(METADATA_KEY);
        assert_eq!(carried(&http::HeaderMap::new()), None);
        let nonsense = http::HeaderMap::from_iter([(key, http::HeaderValue::from_static("%%%"))]);
        assert_eq!(carried(&nonsense), None);
    }
}
