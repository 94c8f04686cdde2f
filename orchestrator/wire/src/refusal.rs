//! Refusals: every error of the API and of the participants' stream has a stable code, and words that say what to do.
//!
//! The code is the first word of the status message and stands in the metadata under [`METADATA_KEY`].

use std::fmt;

use saga_proto::limits::STATUS_BYTES_MAX;
use tonic::{Code as Grpc, Status, metadata::MetadataValue};

use saga_engine::{
    document,
    store::{self, tenure::Tenure},
};

/// Metadata key of the code.
pub const METADATA_KEY: &str = "saga-code";

/// Stable codes. A code's meaning never changes; a new meaning gets a new code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// A field of the request breaks its rule.
    Malformed,
    /// No saga answers to that name.
    NoSuchSaga,
    /// No such definition, or not in that version.
    NoSuchDefinition,
    /// Several sagas answer to that name.
    Ambiguous,
    /// The saga has no such step.
    NoSuchStep,
    /// Nobody has such an action.
    NoSuchAction,
    /// The key belongs to a saga with other input.
    KeyConflict,
    /// The saga has ended.
    Ended,
    /// The pivot took effect.
    AfterPivot,
    /// The act makes no sense where the saga stands.
    Unfit,
    /// The document is too large or too deep.
    TooLarge,
    /// Nobody can prove it.
    NeedsForce,
    /// No instance of the participant is connected.
    NotConnected,
    /// The breaker is not open.
    BreakerNotOpen,
    /// The input does not fit the definition.
    Input,
    /// The definition's idempotency key has no value for this input.
    Key,
    /// The participant's hello breaks a rule.
    Hello,
    /// The participant came with another inbox.
    OtherInbox,
    /// A fault of the server.
    Internal,
    /// The server is going down or not up yet.
    Unavailable,
    /// The store cannot be reached.
    Store,
    /// The saga is open but no lane runs it.
    NotRunning,
    /// The server cannot say whether it was done.
    Unanswered,
    /// The server stands by: another process owns the store, or nobody can.
    StandingBy,
    /// Too many reads at once.
    Busy,
    /// Too many starts wait.
    Crowded,
}

/// What `saga explain` tells about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explained {
    /// The code.
    pub code: Code,
    /// As people see it.
    pub text: &'static str,
    /// The gRPC status that it comes with.
    pub grpc: Grpc,
    /// In one line.
    pub title: &'static str,
    /// What happened and what to do.
    pub help: &'static str,
}

/// Every code, in the order of [`Code`].
pub const CODES: [Explained; 26] = [
    row(
        Code::Malformed,
        "A0400",
        Grpc::InvalidArgument,
        "a field of the request breaks its rule",
        "The message names the field and the rule. Mend the request; repeating it as it is cannot succeed.",
    ),
    row(
        Code::NoSuchSaga,
        "A0404",
        Grpc::NotFound,
        "no saga answers to that name",
        "A saga is named by its 26 letters, by at least four letters from their end, or by `definition/key`. \
         `saga list --all` shows those that exist.",
    ),
    row(
        Code::NoSuchDefinition,
        "A0405",
        Grpc::NotFound,
        "the definition is not registered",
        "`saga definitions` shows what is registered; `saga deploy FILE` registers a file.",
    ),
    row(
        Code::Ambiguous,
        "A0406",
        Grpc::InvalidArgument,
        "several sagas answer to that name",
        "The message lists them. Write more letters of the id.",
    ),
    row(
        Code::NoSuchStep,
        "A0407",
        Grpc::NotFound,
        "the saga has no such step",
        "`saga describe ID` shows its steps. A step is named by its id alone, as the saga file has it.",
    ),
    row(
        Code::NoSuchAction,
        "A0408",
        Grpc::NotFound,
        "nobody has such an action",
        "A breaker belongs to an action that a definition asks for or a participant serves, written `participant/action`. \
         `saga participants` shows what is served; `saga breakers` shows the breakers that there are.",
    ),
    row(
        Code::KeyConflict,
        "A0409",
        Grpc::AlreadyExists,
        "the key belongs to a saga with other input",
        "A start with the same key and the same input returns the first saga; with other input it is refused, because \
         one of the two is a mistake. Look at the first saga, then repeat its input or choose another key.",
    ),
    row(
        Code::Ended,
        "A0410",
        Grpc::FailedPrecondition,
        "the saga has ended",
        "Nothing can be changed any more. `saga describe ID` tells how it ended. An incident that stays after the end is \
         taken off the list by `saga acknowledge ID`.",
    ),
    row(
        Code::AfterPivot,
        "A0411",
        Grpc::FailedPrecondition,
        "the pivot has taken effect, there is no way back",
        "After its pivot a saga goes forward until it completes; it cannot be cancelled. Business that must be undone now \
         needs a saga of its own.",
    ),
    row(
        Code::Unfit,
        "A0412",
        Grpc::FailedPrecondition,
        "the act makes no sense where the saga stands",
        "The message says why, and what would make sense. Nothing was changed. `saga describe ID` tells what the saga waits \
         for and which incidents stand.",
    ),
    row(
        Code::TooLarge,
        "A0413",
        Grpc::InvalidArgument,
        "the document is too large or too deep",
        "Documents have at most 1 MiB and 64 levels; above 256 KiB the server warns. Store large data elsewhere and \
         send a reference. One deploy takes at most 8 MiB of files; deploy more of them in several calls.",
    ),
    row(
        Code::NeedsForce,
        "A0414",
        Grpc::FailedPrecondition,
        "nobody can prove it, so it takes force",
        "The participant has no inbox that shares a transaction with its effects, so an earlier sending of the step may \
         still take effect. Find out at the participant itself what happened; then repeat the act with --force. The saga \
         is marked for good (exceptions).",
    ),
    row(
        Code::NotConnected,
        "A0415",
        Grpc::FailedPrecondition,
        "no instance of the participant is connected",
        "`saga participants` shows who is there. Start the service with SAGA_ENDPOINT set to this server or to its broker, \
         then try again.",
    ),
    row(
        Code::BreakerNotOpen,
        "A0416",
        Grpc::FailedPrecondition,
        "the breaker is not open",
        "There is nothing to reset: the breaker lets everything through, or is letting those that waited through a few at \
         a time. `saga breakers` shows where each one stands.",
    ),
    row(
        Code::Input,
        "A0422",
        Grpc::InvalidArgument,
        "the input does not fit the definition",
        "The message lists every place where the input differs from the types that the saga file declares.",
    ),
    row(
        Code::Key,
        "A0423",
        Grpc::InvalidArgument,
        "the idempotency key has no value for this input",
        "The file's `idempotency_key` could not be evaluated, or gives an empty or over-long text. Mend the input, or pass \
         a key with the start.",
    ),
    row(
        Code::Hello,
        "A0424",
        Grpc::InvalidArgument,
        "the participant's hello breaks a rule",
        "The message names the field. Names are written with a-z, 0-9 and _, at most 63 characters; schemas are JSON of \
         at most 256 KiB.",
    ),
    row(
        Code::OtherInbox,
        "A0425",
        Grpc::FailedPrecondition,
        "the participant came with another inbox",
        "All instances of a participant share one inbox, because only then a repeated command is recognised. Point the \
         instance at the database of the others, or give the service another participant name.",
    ),
    row(
        Code::Internal,
        "A0500",
        Grpc::Internal,
        "a fault of the server",
        "This should not happen. The server's log tells more; please report it.",
    ),
    row(
        Code::Unavailable,
        "A0503",
        Grpc::Unavailable,
        "the server is shutting down or not ready yet",
        "Try again in a moment. Starts with a key or a request id may be repeated safely.",
    ),
    row(
        Code::Store,
        "A0504",
        Grpc::Unavailable,
        "the store is not available",
        "Look at the disk or the database of the server; then try again.",
    ),
    row(
        Code::NotRunning,
        "A0505",
        Grpc::FailedPrecondition,
        "the saga is open, but nothing runs it",
        "Its journal or its definition could not be loaded at the start of the server; the server's log names the \
         reason. Other sagas are not affected.",
    ),
    row(
        Code::Unanswered,
        "A0506",
        Grpc::Unavailable,
        "it is unknown whether it was done",
        "The server received the request and could not say in time what became of it. It may be done already, be done \
         later, or never be done. Look before you ask again: `saga describe ID` and `saga audit` show what was committed. \
         You may repeat a start with the same key or the same --request-id, and a deploy with the same files: neither is \
         done twice.",
    ),
    row(
        Code::StandingBy,
        "A0507",
        Grpc::Unavailable,
        "the server stands by",
        "Another process owns the store, or the store cannot be reached; the message says which. Nothing was done. Call \
         the server that owns the store, or try again in a moment: a server that stands by takes over within seconds.",
    ),
    row(
        Code::Busy,
        "A0508",
        Grpc::ResourceExhausted,
        "too many reads at once",
        "The server reads for a few callers at a time and lets a bounded number wait, so that lists never hold up sagas. \
         Try again in a moment. Filters that find little in a large store are slow: narrow them by status or by time.",
    ),
    row(
        Code::Crowded,
        "A0509",
        Grpc::ResourceExhausted,
        "too many starts wait",
        "Starts wait in the server's memory until they are committed, and no more of them may. Nothing was started. Try again \
         in a moment; a key or a request id makes that safe. `saga list` says above its rows whether the store takes no \
         commits.",
    ),
];

const fn row(
    code: Code,
    text: &'static str,
    grpc: Grpc,
    title: &'static str,
    help: &'static str,
) -> Explained {
    Explained {
        code,
        text,
        grpc,
        title,
        help,
    }
}

impl Code {
    /// What is known about it.
    #[must_use]
    pub fn explained(self) -> &'static Explained {
        &CODES[self as usize]
    }

    /// As people see it: `A0404`.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.explained().text
    }
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// What is wrong here and how to put it right, without the code.
    pub message: String,
}

impl Refusal {
    /// A refusal in words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The server does not own the store.
    #[must_use]
    pub fn standing_by(why: &str) -> Self {
        Self::new(Code::StandingBy, format!("standing by: {why}"))
    }

    /// A call, or a stream, that the server cannot go on with: it lost the store, or goes down.
    #[must_use]
    pub fn closed(tenure: &Tenure) -> Self {
        if tenure.holds() {
            return Self::shutting_down();
        }
        let why = match tenure.why() {
            "" => "its claim has run out",
            why => why,
        };
        let message = format!(
            "unknown: this server lost the store before it could answer ({why}); ask the server that owns it now"
        );
        Self::new(Code::Unanswered, message)
    }

    /// The lane took it and ended without an answer: a commit may have been under way.
    #[must_use]
    pub fn no_answer() -> Self {
        Self::new(
            Code::Unanswered,
            "the server is shutting down and cannot say any more whether it was done",
        )
    }

    /// The server goes down, or its lane has stopped.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::new(
            Code::Unavailable,
            "the server is shutting down; try again in a moment",
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.text(), self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut status = Self::new(
            refusal.code.explained().grpc,
            for_header(refusal.to_string()),
        );
        let value = MetadataValue::from_static(refusal.code.text());
        status.metadata_mut().insert(METADATA_KEY, value);
        status
    }
}

/// Cuts a message that no header would hold. Written there, everything but letters and digits may take three bytes for one.
fn for_header(mut message: String) -> String {
    let mut bytes = 0;
    let cut = message.char_indices().find_map(|(at, letter)| {
        bytes += if letter.is_ascii_alphanumeric() {
            1
        } else {
            3 * letter.len_utf8()
        };
        (bytes > STATUS_BYTES_MAX).then_some(at)
    });
    if let Some(at) = cut {
        message.truncate(at);
        message.push('…');
    }
    message
}

impl From<saga_engine::lane::Stopped> for Refusal {
    fn from(_: saga_engine::lane::Stopped) -> Self {
        Self::shutting_down()
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        let code = match &error {
            store::Error::Closed => return Self::shutting_down(),
            // No fault of the store, and nothing for the log.
            store::Error::Busy { .. } => return Self::new(Code::Busy, error.to_string()),
            store::Error::Unavailable(_)
            | store::Error::Held { .. }
            | store::Error::Owned
            | store::Error::TooNew { .. } => Code::Store,
            store::Error::Corrupt(_) => Code::Internal,
            store::Error::DefinitionConflict { .. } => Code::Malformed,
        };
        tracing::error!(%error, "the store failed a call");
        Self::new(code, error.to_string())
    }
}

impl From<document::Fault> for Refusal {
    fn from(fault: document::Fault) -> Self {
        let code = match fault {
            document::Fault::TooLarge(_) | document::Fault::TooDeep => Code::TooLarge,
            document::Fault::NotJson(_) | document::Fault::NoValue(_) => Code::Malformed,
        };
        Self::new(code, format!("input: {fault}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_codes_and_each_is_unique() {
        for (at, row) in CODES.iter().enumerate() {
            assert_eq!(row.code as usize, at, "{}", row.text);
            assert_eq!(row.code.text(), row.text);
            assert!(row.text.len() == 5 && row.text.starts_with('A') && row.help.ends_with('.'));
        }
        assert_eq!(
            CODES
                .iter()
                .map(|row| row.text)
                .collect::<BTreeSet<_>>()
                .len(),
            CODES.len()
        );
    }

    #[test]
    fn a_status_carries_the_code_twice() {
        let status = Status::from(Refusal::new(Code::NoSuchSaga, "no saga `x`"));
        assert_eq!(status.message(), "A0404 no saga `x`");
        assert_eq!(
            status.metadata().get(METADATA_KEY).map(|v| v.as_bytes()),
            Some(&b"A0404"[..])
        );
        assert_eq!(status.code(), Grpc::NotFound);
    }
}
