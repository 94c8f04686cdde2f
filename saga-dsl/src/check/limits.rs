//! What is set for participants: whether it makes sense, and whether anything asks them.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::{
    codes::Code, finding::Finding, limits::Participant, names, near_miss::near_miss, place::Place,
};

/// Also of a server's file, where nothing is known of sagas.
pub(crate) fn make_sense(all: &BTreeMap<String, Participant>, findings: &mut Vec<Finding>) {
    let top = Place::default().key("participants");
    for (name, participant) in all {
        let place = top.key(name);
        if let Err(error) = names::check_id(name) {
            findings.push(Finding::new(Code::S0103, &place, format!("`{name}`: {error}")).on_key());
        }
        let breaker = participant.circuit_breaker.clone().unwrap_or_default();
        let below = place.key("circuit_breaker");
        for (count, place) in [
            (participant.max_in_flight, place.key("max_in_flight")),
            (breaker.min_calls, below.key("min_calls")),
            (breaker.half_open_calls, below.key("half_open_calls")),
        ] {
            if count == Some(0) {
                let fault = Finding::new(Code::S0103, &place, "at least 1");
                findings.push(
                    fault.help("to hold a participant back for a while: `saga breakers trip`"),
                );
            }
        }
        for (span, key) in [(breaker.window, "window"), (breaker.open_for, "open_for")] {
            let place = below.key(key);
            if span.is_some_and(|span| span.is_zero()) {
                let fault = Finding::new(Code::S0104, &place, format!("`{key}: 0` makes no sense"));
                findings.push(fault.help("give a time, or remove the key"));
            }
        }
    }
}

pub(super) fn are_of_somebody(check: &Check<'_>, findings: &mut Vec<Finding>) {
    if check.knowledge.incomplete {
        return;
    }
    let asked: BTreeSet<&str> = check
        .outline
        .steps
        .iter()
        .flat_map(|step| check.actions_of(step))
        .map(|(action, _)| action.participant.as_str())
        .collect();
    let top = Place::default().key("participants");
    for name in check
        .definition
        .participants
        .keys()
        .filter(|name| !asked.contains(name.as_str()))
    {
        if names::check_id(name).is_err() {
            continue;
        }
        let message = format!("no step of this saga asks `{name}` anything");
        let mut warning = Finding::new(Code::W0606, &top.key(name), message).on_key();
        warning.help =
            near_miss(name, asked.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
        findings.push(warning);
    }
}
