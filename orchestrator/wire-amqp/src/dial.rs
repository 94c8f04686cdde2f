//! A connection to the broker.

use lapin::{Connection, ConnectionProperties, tcp::OwnedTLSConfig, uri::AMQPUri};

use super::fault::{ANSWERS_WITHIN, Fault, soon};
use crate::Broker;

/// Seconds between two signs of life where the URL names none. Broker and server give a connection up after two that did
/// not come, the broker up to one later.
const HEARTBEAT_S: u16 = 3;
/// The most that a URL may name. Messages that an owner took and did not acknowledge are given to the next one when its
/// connection is given up, so a longer heartbeat, or none, would hold sagas up.
const HEARTBEAT_MAX_S: u16 = 5;

/// Connects, under a name that the broker's own tools show.
pub(super) async fn dial(broker: &Broker, name: &str) -> Result<Connection, Fault> {
    let unreadable = |why: String| Fault::Broker {
        what: "reading the broker's options".to_owned(),
        source: std::io::Error::other(why).into(),
    };
    let mut uri: AMQPUri = broker.url.parse().map_err(unreadable)?;
    uri.query.heartbeat = Some(heartbeat(uri.query.heartbeat));
    uri.query
        .connection_timeout
        .get_or_insert(u64::try_from(ANSWERS_WITHIN.as_millis()).unwrap_or(u64::MAX));
    // Read at each dial, so that a secret may be renewed while we run.
    if let Some(path) = &broker.password_file {
        let password = std::fs::read_to_string(path)
            .map_err(|error| unreadable(format!("{}: {error}", path.display())))?;
        password
            .trim_end_matches(['\r', '\n'])
            .clone_into(&mut uri.authority.userinfo.password);
    }
    let mut tls = OwnedTLSConfig::default();
    if let Some(path) = &broker.ca_file {
        let chain = std::fs::read_to_string(path)
            .map_err(|error| unreadable(format!("{}: {error}", path.display())))?;
        tls.cert_chain = Some(chain);
    }
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime().map_err(|source| Fault::Broker {
        what: "starting".to_owned(),
        source,
    })?;
    let place = (uri.authority.host.clone(), uri.vhost.clone());
    let connected = soon(
        "connecting",
        Connection::connect_uri_with_config(uri, properties, tls, runtime),
    )
    .await;
    connected.map_err(|fault| match fault {
        Fault::Broker { source, .. } => refused(&place, source),
        other => other,
    })
}

/// The heartbeat to ask for; 0 in a URL would mean none.
fn heartbeat(named: Option<u16>) -> u16 {
    match named {
        None => HEARTBEAT_S,
        Some(0) => HEARTBEAT_MAX_S,
        Some(seconds) => seconds.min(HEARTBEAT_MAX_S),
    }
}

/// Why the broker cannot be reached, with what would mend it where that is known. The client library tells the kinds of
/// refusals apart by their words only.
fn refused((host, vhost): &(String, String), source: lapin::Error) -> Fault {
    let told = source.to_string();
    let kinds = [
        (
            // The second: an authority of the same name, and another key.
            &["UnknownIssuer", "BadSignature"][..],
            "the broker's certificate is of no authority that we know: name its authority's own with --broker-ca FILE, \
             or check that this file is the right one"
                .to_owned(),
        ),
        (
            &["not valid for name"],
            format!("the broker's certificate is for another host than `{host}`: write the host that it names, or renew it"),
        ),
        (&["expired"], "the broker's certificate has expired, or a clock is wrong: renew the one, set the other".to_owned()),
        (
            &["InvalidContentType"],
            "whoever listens there does not speak TLS: write amqp://, or the broker's port for TLS (5671)".to_owned(),
        ),
        (
            &["ACCESS_REFUSED"],
            "the broker does not take user and password: check the user in the URL, and the password in the URL or in \
             the file that --broker-password-file names"
                .to_owned(),
        ),
        (&["NOT_ALLOWED"], format!("the broker has no virtual host `{vhost}`, or does not let this user in")),
    ];
    match kinds
        .into_iter()
        .find(|(words, _)| words.iter().any(|word| told.contains(word)))
    {
        Some((_, remedy)) => Fault::Refused { remedy, told },
        None => Fault::Broker {
            what: "connecting".to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_never_long_and_never_off() {
        assert_eq!(
            [None, Some(0), Some(2), Some(60)].map(heartbeat),
            [3, 5, 2, 5]
        );
    }
}
