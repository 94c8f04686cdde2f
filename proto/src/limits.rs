//! Sizes of the contract: what one part of a message may hold, and the largest message, which follows from its parts.
//!
//! Whoever makes a part holds it to its size, so that a message within [`MESSAGE_BYTES_MAX`] can be made of it by every
//! road and in every form. All sizes are in bytes and inclusive.

/// Largest document: the input of a saga or of an action, the output of an action or of a saga.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Largest payload of a compensation: input and output of its action, and the key of it.
pub const UNDO_BYTES_MAX: usize = 2 * DOCUMENT_BYTES_MAX + 1024;

/// Longest code of an error.
pub const CODE_BYTES_MAX: usize = 128;
/// Longest text of an error.
pub const ERROR_TEXT_BYTES_MAX: usize = 4 * 1024;

/// Message of a status, as it is written into a header. Libraries of gRPC take headers of 8 KiB together by default, and
/// cut the call where there are more.
pub const STATUS_BYTES_MAX: usize = 7 * 1024;

/// Documents and texts of commands, of replies or of outcomes that travel in one message; a larger one travels alone.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Most replies, or outcomes of sagas, in one message.
pub const BATCH_COUNT_MAX: usize = 512;

/// Most actions of one participant.
pub const ACTIONS_MAX: usize = 1_000;
/// Largest schema of an input or an output.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// All schemas of one registration. In the plain form a schema may be a text within JSON, written with three bytes for
/// one; the registration then is still within [`MESSAGE_BYTES_MAX`].
pub const SCHEMAS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most saga files of one deploy.
pub const DEPLOY_FILES_MAX: usize = 200;
/// All saga files of one deploy, contents and paths.
pub const DEPLOY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One page of a list, of a history or of diagnostics; an entry that is larger travels alone.
pub const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Inputs and outputs in the picture of a saga; others are left out, and the history has them.
pub const PICTURE_DOCUMENTS_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Everything else in the picture of a saga; beyond it, texts are cut.
pub const PICTURE_TEXTS_BYTES_MAX: usize = 960 * 1024;

/// Names, ids, numbers and labels around one document.
const ENVELOPE_BYTES: usize = 1024;
/// Labels and key of a start, characters of four bytes and names of fields included.
const START_ENVELOPE_BYTES: usize = 128 * 1024;

/// The largest message that a server sends, to clients and to participants. Libraries of gRPC take no larger one, 4 MiB,
/// unless they are told to.
pub const ANSWER_BYTES_MAX: usize = largest(&[
    // Commands, of which one may carry the payload of a compensation.
    BATCH_BYTES_MAX + BATCH_COUNT_MAX * ENVELOPE_BYTES,
    UNDO_BYTES_MAX + ENVELOPE_BYTES,
    // Outcomes of sagas.
    DOCUMENT_BYTES_MAX + ERROR_TEXT_BYTES_MAX + BATCH_COUNT_MAX * ENVELOPE_BYTES,
    PAGE_BYTES_MAX + START_ENVELOPE_BYTES,
    // One entry that is larger than a page would be: an event with the payload of a compensation.
    UNDO_BYTES_MAX + START_ENVELOPE_BYTES,
    PICTURE_DOCUMENTS_BYTES_MAX + PICTURE_TEXTS_BYTES_MAX,
]);

/// The largest message of all, over gRPC or as the body of a message of the broker: what a server sends, and what it
/// takes.
pub const MESSAGE_BYTES_MAX: usize = largest(&[
    ANSWER_BYTES_MAX,
    // Replies, whose last one may go beyond the batch.
    BATCH_BYTES_MAX + DOCUMENT_BYTES_MAX + ERROR_TEXT_BYTES_MAX + BATCH_COUNT_MAX * ENVELOPE_BYTES,
    // A registration, in the plain form.
    3 * SCHEMAS_BYTES_MAX + ACTIONS_MAX * ENVELOPE_BYTES,
    // The start of a saga.
    DOCUMENT_BYTES_MAX + START_ENVELOPE_BYTES,
    DEPLOY_BYTES_MAX + DEPLOY_FILES_MAX * ENVELOPE_BYTES,
]);

const fn largest(sizes: &[usize]) -> usize {
    let (mut most, mut at) = (0, 0);
    while at < sizes.len() {
        if sizes[at] > most {
            most = sizes[at];
        }
        at += 1;
    }
    most
}

const _: () = assert!(
    ANSWER_BYTES_MAX <= 4 * 1024 * 1024,
    "libraries of gRPC take no larger message by default"
);
const _: () = assert!(
    MESSAGE_BYTES_MAX <= 16 * 1024 * 1024,
    "RabbitMQ takes no larger message by default"
);
