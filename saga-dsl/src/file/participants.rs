//! `participants`: how much each may be asked. In a saga file, and alone in the file of a server.

use std::collections::BTreeMap;

use super::{
    keys, read,
    read::shown,
    report::Report,
    text,
    tree::Node,
    unreadable,
    walk::{Fields, Walk},
};
use crate::{
    check,
    codes::Code,
    diagnostic::{self, Diagnostic, Severity},
    finding::Finding,
    limits::{CircuitBreaker, Participant},
    place::Place,
};

/// Loads and checks a server's file of limits, which holds `participants` as a saga file does.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn load_limits(
    path_for_messages: &str,
    bytes: &[u8],
) -> Result<BTreeMap<String, Participant>, Vec<Diagnostic>> {
    let source = match text::decode(bytes) {
        Ok(source) => source,
        Err(fault) => return Err(unreadable(path_for_messages, bytes, fault).diagnostics),
    };
    let report = Report::new(path_for_messages, source);
    let read = read::read(source);
    let mut diagnostics = report.of_text(read.findings);
    let mut all = BTreeMap::new();
    if let Some(tree) = &read.tree {
        let mut walk = Walk::default();
        let what = "a file of limits";
        if let Some(fields) = walk.fields(tree, &Place::default(), what, keys::LIMITS_FILE)
            && walk.require(&fields, "participants", what).is_some()
        {
            all = participants(&mut walk, &fields);
            check::limits::make_sense(&all, &mut walk.findings);
        }
        diagnostics.extend(
            walk.findings
                .into_iter()
                .map(|finding| report.of_place(tree, finding)),
        );
    }
    diagnostic::sort(&mut diagnostics);
    let faulty = diagnostics
        .iter()
        .any(|found| found.severity == Severity::Error);
    if faulty { Err(diagnostics) } else { Ok(all) }
}

pub(super) fn participants(walk: &mut Walk, fields: &Fields<'_>) -> BTreeMap<String, Participant> {
    let mut all = BTreeMap::new();
    let Some((node, place)) = fields.get("participants") else {
        return all;
    };
    let Some(fields) = walk.map(node, &place, "`participants`") else {
        return all;
    };
    for entry in fields.entries() {
        let place = place.key(&entry.key);
        all.insert(
            entry.key.clone(),
            participant(walk, &entry.value, &place).unwrap_or_default(),
        );
    }
    all
}

fn participant(walk: &mut Walk, node: &Node, place: &Place) -> Option<Participant> {
    let fields = walk.fields(node, place, "a participant", keys::PARTICIPANT)?;
    Some(Participant {
        max_in_flight: fields
            .get("max_in_flight")
            .and_then(|(node, place)| in_flight(walk, node, &place)),
        rate_limit: fields
            .get("rate_limit")
            .and_then(|(node, place)| written(walk, node, &place, "50/s")),
        circuit_breaker: fields
            .get("circuit_breaker")
            .and_then(|(node, place)| breaker(walk, node, &place)),
    })
}

fn in_flight(walk: &mut Walk, node: &Node, place: &Place) -> Option<u32> {
    let found = walk.count(node, place, "`max_in_flight`", 1);
    if let (None, Some(fault)) = (found, walk.findings.last_mut()) {
        let help = "to send nothing at all for a while: `saga breakers trip`";
        fault.help.get_or_insert_with(|| help.to_owned());
    }
    found
}

fn breaker(walk: &mut Walk, node: &Node, place: &Place) -> Option<CircuitBreaker> {
    let fields = walk.fields(node, place, "`circuit_breaker`", keys::CIRCUIT_BREAKER)?;
    let count = |walk: &mut Walk, key: &str| {
        fields
            .get(key)
            .and_then(|(node, place)| walk.count(node, &place, &format!("`{key}`"), 1))
    };
    let duration = |walk: &mut Walk, key: &str| {
        fields
            .get(key)
            .and_then(|(node, place)| walk.duration(node, &place))
    };
    Some(CircuitBreaker {
        failure_rate: fields
            .get("failure_rate")
            .and_then(|(node, place)| written(walk, node, &place, "50%")),
        window: duration(walk, "window"),
        min_calls: count(walk, "min_calls"),
        open_for: duration(walk, "open_for"),
        half_open_calls: count(walk, "half_open_calls"),
    })
}

/// A value with a form of its own, such as `50%`.
fn written<T: std::str::FromStr<Err: std::fmt::Display>>(
    walk: &mut Walk,
    node: &Node,
    place: &Place,
    example: &str,
) -> Option<T> {
    let text = walk.word(
        node,
        place,
        &format!("a value such as {example} stands here"),
    )?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let fault = Finding::new(Code::S0103, place, format!("`{}`: {error}", shown(text)));
            walk.report(fault.help(format!("write it as in {example}")));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_s_file_holds_participants_and_nothing_else() {
        let good = "participants:\n  payments: {max_in_flight: 200, rate_limit: 50/s}\n";
        let all = load_limits("limits.yaml", good.as_bytes()).expect("good");
        assert_eq!(all["payments"].max_in_flight, Some(200));
        for (bad, said) in [
            ("", "the file is empty"),
            ("steps: []\n", "has no key `steps`"),
            ("participants: {Payments: {max_in_flight: 1}}\n", "Payments"),
            (
                "participants: {payments: {max_in_flight: 0}}\n",
                "from 1 to",
            ),
            (
                "participants: {payments: {circuit_breaker: {open_for: 0s}}}\n",
                "`open_for: 0` makes no sense",
            ),
        ] {
            let found = load_limits("limits.yaml", bad.as_bytes()).expect_err(bad);
            assert!(
                found.iter().any(|fault| fault.message.contains(said)),
                "{bad}: {found:?}"
            );
        }
    }
}
