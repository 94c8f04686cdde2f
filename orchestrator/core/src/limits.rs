//! Sizes of the documents that a decision makes. Documents from outside are held to the same sizes at the edge.
//!
//! A size is checked where the document is made, before anything of it is recorded: the step that asked for too much is
//! told so, and no message is ever too large for its road.

use crate::{error::ErrorBody, payload::Payload};

/// Largest document, in bytes of JSON text: the input of a saga or of an action, the output of an action or of a saga.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Room for what a compensation gets beside two documents: the names of the fields and the key of the action.
const UNDO_ENVELOPE_BYTES: usize = 1024;
/// Largest payload of a compensation: where the file writes none, it is the action's input and output together.
pub const UNDO_BYTES_MAX: usize = 2 * DOCUMENT_BYTES_MAX + UNDO_ENVELOPE_BYTES;
/// Code of the errors that name a document beyond its size.
pub const TOO_LARGE: &str = "too_large";

/// An error that names part, size and limit; `Ok` where the document is within it.
pub(crate) fn check(
    what: impl FnOnce() -> String,
    bytes: usize,
    bytes_max: usize,
) -> Result<(), ErrorBody> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let message = format!(
        "{}: {bytes} bytes are more than the limit of {bytes_max}",
        what()
    );
    Err(ErrorBody::new(TOO_LARGE, message))
}

/// Why a command with this payload cannot be sent; `None`: it can.
///
/// Payloads are within their sizes when they are recorded; a journal of an older release may hold a larger one.
#[must_use]
pub fn unsendable(payload: &Payload) -> Option<ErrorBody> {
    check(
        || "payload of the command".to_owned(),
        payload.text().len(),
        UNDO_BYTES_MAX,
    )
    .err()
}
