//! What a private broker has against its clients, read from its log.
//!
//! A client that breaks the protocol loses a channel or a connection, dials again, and everything that is outstanding comes
//! a second time. Nothing is lost by it, so no other assertion of a test sees it.

use std::{
    fmt, fs,
    ops::Deref,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// A virtual host of one test. With the last clone, the test fails on every error of a channel or connection in this
/// virtual host that the test did not announce with [`Vhost::causes`].
#[derive(Debug, Clone)]
pub struct Vhost(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    name: String,
    /// The broker's log; `None` for a broker that was given, whose log cannot be read.
    log: Option<PathBuf>,
    causes: Mutex<Vec<&'static str>>,
}

impl Vhost {
    pub(crate) fn new(url: String, log: Option<PathBuf>) -> Self {
        let name = url
            .rsplit_once('/')
            .map_or("/", |(_, name)| name)
            .to_owned();
        Self(Arc::new(Inner {
            url,
            name,
            log,
            causes: Mutex::default(),
        }))
    }

    /// Announces an error that this test causes: all whose text contains `words`.
    pub fn causes(&self, words: &'static str) {
        self.0
            .causes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(words);
    }
}

impl Deref for Vhost {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.url
    }
}

impl AsRef<std::ffi::OsStr> for Vhost {
    fn as_ref(&self) -> &std::ffi::OsStr {
        self.0.url.as_ref()
    }
}

impl fmt::Display for Vhost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.url)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(log) = self.log.as_deref().filter(|_| !std::thread::panicking()) else {
            return;
        };
        let causes = self
            .causes
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let log = fs::read(log).unwrap_or_default();
        let mut complaints = complaints(&String::from_utf8_lossy(&log), &self.name);
        complaints.retain(|complaint| !causes.iter().any(|words| complaint.contains(words)));
        complaints.retain(|complaint| {
            !QUEUE_IN_THE_MAKING
                .iter()
                .all(|words| complaint.contains(words))
        });
        assert!(
            complaints.is_empty(),
            "the broker has something against us: {complaints:#?}"
        );
    }
}

/// RabbitMQ 3.10's own race, which it logs as an internal error: somebody consumes a quorum queue that is being declared
/// at that moment. The participant dials again.
const QUEUE_IN_THE_MAKING: [&str; 2] = ["{error,noproc}", "rabbit_quorum_queue,consume"];

/// Errors of channels and connections of one virtual host in a log, each in one line.
fn complaints(log: &str, vhost: &str) -> Vec<String> {
    let place = format!("vhost: '{vhost}'");
    let mut found: Vec<String> = Vec::new();
    // The process whose error is being read: an error goes on in further lines of its process.
    let mut process = "";
    for line in log.lines() {
        // Colours end with the line.
        let line = line.trim_end_matches("\u{1b}[0m");
        let Some((_, rest)) = line.split_once(" [error] ") else {
            process = "";
            continue;
        };
        let Some((from, text)) = rest.split_once(' ') else {
            continue;
        };
        let begins = [
            "Channel error on",
            "Error on AMQP connection",
            "closing AMQP connection",
        ];
        if begins.iter().any(|begin| text.starts_with(begin)) {
            let ours = text.contains(&place);
            process = if ours { from } else { "" };
            if ours {
                found.push(text.to_owned());
            }
        } else if process == from
            && let Some(last) = found.last_mut()
        {
            last.push(' ');
            last.push_str(text.trim());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-01-01 21:32:21.596679+00:00 [error] <0.691.0> Channel error on connection <0.684.0> (127.0.0.1:42260 -> 127.0.0.1:57101, vhost: 'a', user: 'guest'), channel 1:
2026-01-01 21:32:21.596679+00:00 [error] <0.691.0> operation basic.ack caused a channel exception precondition_failed: unknown delivery tag 99
2026-01-01 21:32:21.684994+00:00 [warning] <0.708.0> closing AMQP connection <0.708.0> (127.0.0.1:42282 -> 127.0.0.1:57101, vhost: 'a', user: 'guest'):
2026-01-01 21:32:21.684994+00:00 [warning] <0.708.0> client unexpectedly closed TCP connection
2026-01-01 21:32:21.732640+00:00 [error] <0.722.0> Error on AMQP connection <0.722.0> (127.0.0.1:42286 -> 127.0.0.1:57101, state: starting):
2026-01-01 21:32:21.732640+00:00 [error] <0.722.0> PLAIN login refused: user 'guest' - invalid credentials
2026-01-01 21:32:25.782994+00:00 [error] <0.698.0>     supervisor: {<0.698.0>,rabbit_channel_sup_sup}
";

    #[test]
    fn errors_are_read_with_their_reasons() {
        let of_a = complaints(LOG, "a");
        assert!(
            matches!(&of_a[..], [one] if one.ends_with("unknown delivery tag 99")),
            "{of_a:?}"
        );
        assert!(complaints(LOG, "b").is_empty());
    }

    #[test]
    #[should_panic(expected = "unknown delivery tag")]
    fn a_test_fails_on_an_error_that_it_did_not_announce() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("broker.log");
        fs::write(&log, LOG).expect("a log");
        let vhost = Vhost::new("amqp://guest@localhost:1/a".to_owned(), Some(log));
        let kept = vhost.clone();
        drop(vhost);
        drop(kept);
    }

    #[test]
    fn an_announced_error_fails_no_test() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("broker.log");
        fs::write(&log, LOG).expect("a log");
        let vhost = Vhost::new("amqp://guest@localhost:1/a".to_owned(), Some(log));
        vhost.causes("unknown delivery tag");
    }
}
