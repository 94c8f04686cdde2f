//! Why a broker cannot be reached, with what would mend it where that is known. The client library tells the kinds of
//! refusals apart by their words only.

use super::{CA_VARIABLE, PASSWORD_FILE_VARIABLE};

/// What was told, behind what to do about it.
pub(super) fn explained(host: &str, vhost: &str, told: String) -> String {
    let kinds = [
        (
            // The second: an authority of the same name, and another key.
            &["UnknownIssuer", "BadSignature"][..],
            format!(
                "the broker's certificate is of no authority that we know: name the file with its authority's own in \
                 {CA_VARIABLE}, or check that this file is the right one"
            ),
        ),
        (
            &["not valid for name"],
            format!(
                "the broker's certificate is for another host than `{host}`: write the host that it names, or renew it"
            ),
        ),
        (
            &["expired"],
            "the broker's certificate has expired, or a clock is wrong: renew the one, set the other"
                .to_owned(),
        ),
        (
            &["InvalidContentType"],
            "whoever listens there does not speak TLS: write amqp://, or the broker's port for TLS (5671)"
                .to_owned(),
        ),
        (
            &["ACCESS_REFUSED"],
            format!(
                "the broker does not take user and password: check the user in SAGA_ENDPOINT, and the password there or \
                 in the file that {PASSWORD_FILE_VARIABLE} names"
            ),
        ),
        (&["NOT_ALLOWED"], format!("the broker has no virtual host `{vhost}`, or does not let this user in")),
    ];
    match kinds
        .into_iter()
        .find(|(words, _)| words.iter().any(|word| told.contains(word)))
    {
        Some((_, remedy)) => format!("{remedy} ({told})"),
        None => told,
    }
}
