//! What the language has and this release cannot run, and what to write instead today.

use crate::{codes::Code, finding::Finding, place::Place};

/// Constructs of the language that this release cannot run.
pub(crate) const UNSUPPORTED: &[&str] = &[
    "choose",
    "for_each",
    "saga",
    "signal",
    "timer",
    "after",
    "locks",
    "redact",
    "as",
    "max_parallel",
    "do",
    "payload",
    "accept",
    "on_timeout",
    "on_failure",
    "heartbeat",
    "otherwise",
];

/// The fault of a construct that this release cannot run.
pub(super) fn fault(key: &str, place: &Place) -> Finding {
    let message = format!("`{key}` is not supported by this release");
    let fault = Finding::new(Code::S0109, place, message).on_key();
    match instead(key) {
        Some(instead) => fault.help(instead),
        None => fault,
    }
}

/// What does today what the construct will do.
fn instead(key: &str) -> Option<&'static str> {
    Some(match key {
        "choose" | "otherwise" => {
            "write the steps of each case one after another, each with its own `when:`"
        }
        "for_each" | "as" | "do" | "max_parallel" => {
            "give the whole list to one action, or start one saga for each item"
        }
        "saga" => "call an action whose handler starts the other saga and waits for its end",
        "signal" | "payload" | "accept" | "on_timeout" => {
            "call an action whose handler answers when the signal has come; `timeout:` limits the wait"
        }
        "timer" => "call an action whose handler answers when the time has passed",
        "after" => {
            "steps run in the order in which they stand; what may run together stands in `parallel:`"
        }
        "locks" => {
            "take the lock in the action of a step, and release it in the step's `compensation:`"
        }
        "redact" => "send a reference instead of the secret, and let the participant look it up",
        "on_failure" => {
            "let the action answer the failure as its output, and read that in the `when:` of later steps"
        }
        "heartbeat" => "write in `timeout:` how long one attempt may take",
        _ => return None,
    })
}
