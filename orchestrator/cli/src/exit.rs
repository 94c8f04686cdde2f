//! How the command ends: its exit codes, and the one error type that every verb returns.
//!
//! The numbers are API. Scripts tell with them apart "nobody is there" from "it was refused" without reading
//! any text.

use std::process::ExitCode;

use tonic::{Code, Status};

/// Metadata key under which the server sends its stable code.
const CODE_KEY: &str = "saga-code";
/// The code of everything whose fate is unknown, whether the server says so or says nothing at all.
const UNANSWERED: &str = "A0506";

/// The exit codes of `saga`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// It did not work; the message says why.
    Error,
    /// The command line itself is wrong. `deploy --dry-run` uses the same number for "this would change something",
    /// as `diff` and its relatives do.
    Usage,
    /// No server answers, or not in time. Whether an act was done may be unknown then, which the message says.
    Unreachable,
    /// The server knows who asks, and says no.
    NotAllowed,
    /// There is no such saga or definition.
    NotFound,
    /// Refused in the state in which the thing is: a cancel after the pivot, a key used with other input.
    Refused,
    /// Waited for: the saga ended compensated.
    Compensated,
    /// Waited for: the saga needs an operator.
    Incident,
    /// Waited for: the time was up first.
    GaveUp,
    /// Waited for: an operator ended the saga as it was.
    Abandoned,
}

impl Exit {
    /// The number that the shell sees.
    pub const fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotAllowed => 4,
            Self::NotFound => 5,
            Self::Refused => 6,
            Self::Compensated => 10,
            Self::Incident => 11,
            Self::GaveUp => 12,
            Self::Abandoned => 13,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// Why a verb could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something to tell the person, and how to go on.
    #[error("{message}")]
    Told {
        /// What the shell sees.
        exit: Exit,
        /// Stable code, where there is one.
        code: Option<String>,
        /// Stands alone: names the thing, not only the problem.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// Whoever read our output has left (`saga list | head -1`). That is no failure worth a word.
    #[error("the reader of the output has left")]
    ReaderLeft,
}

impl Failure {
    /// A failure without a code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Told {
            exit,
            code: None,
            message: message.into(),
            help: None,
        }
    }

    /// A plain error.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Exit::Error, message)
    }

    /// Adds what to do about it.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        if let Self::Told { help, .. } = &mut self {
            *help = Some(text.into());
        }
        self
    }

    /// What the shell sees.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Told { exit, .. } => *exit,
            Self::ReaderLeft => Exit::Ok,
        }
    }

    /// Nobody answers at `endpoint`.
    pub fn unreachable(endpoint: &str, detail: &str) -> Self {
        let detail = if detail.is_empty() {
            String::new()
        } else {
            format!(" ({detail})")
        };
        Self::new(
            Exit::Unreachable,
            format!("no server at {endpoint}{detail}"),
        )
        .help("start one with `saga dev`, or name another with --endpoint or SAGA_ENDPOINT")
    }

    /// Something was asked for, and whether it was done is unknown. `why` tells how the answer was missed.
    pub fn unknown(fate: Fate, why: &str) -> Self {
        let Fate { what, find_out } = fate;
        Self::Told {
            exit: Exit::Unreachable,
            code: Some(UNANSWERED.to_owned()),
            message: format!("it is unknown whether {what}: {why}"),
            help: Some(find_out),
        }
    }

    /// What it means that a call failed which changes something.
    pub fn of_act(status: &Status, endpoint: &str, fate: Fate) -> Self {
        if !is_fate_unknown(status) {
            return Self::from_status(status, endpoint);
        }
        let code = stable_code(status);
        let why = match (code, status.code()) {
            (Some(code), _) => without_code(status.message(), Some(code)),
            (None, Code::Cancelled | Code::DeadlineExceeded) => {
                format!("the server at {endpoint} did not answer in time")
            }
            (None, _) => {
                let cause = match first_cause(status) {
                    cause if cause.is_empty() => status.message().to_owned(),
                    cause => cause,
                };
                format!("the answer of the server at {endpoint} was cut off ({cause})")
            }
        };
        Self::unknown(fate, &why)
    }

    /// What a server's refusal means for us. `endpoint` stands in the message when nobody answered.
    pub fn from_status(status: &Status, endpoint: &str) -> Self {
        let code = stable_code(status).map(str::to_owned);
        let exit = exit_of(status.code());
        if code.is_none() && exit == Exit::Unreachable {
            return Self::unreachable(endpoint, &first_cause(status));
        }
        // Calls are cut off by our own clock, and a status made here carries no code.
        if code.is_none() && matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) {
            return Self::new(
                Exit::Unreachable,
                format!("the server at {endpoint} did not answer in time"),
            )
            .help("it may be busy or hang: look at its log, then try again");
        }
        let message = without_code(status.message(), code.as_deref());
        let message = if message.is_empty() {
            format!("the server answered {:?}", status.code())
        } else {
            message
        };
        let help = code.as_ref().map(|code| format!("saga explain {code}"));
        Self::Told {
            exit,
            code,
            message,
            help,
        }
    }
}

/// What is said of an act whose fate is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// What may have happened, after "it is unknown whether".
    pub what: String,
    /// How to find out, and whether it may be asked for again.
    pub find_out: String,
}

impl Fate {
    /// An act on one saga, which the audit list shows once it is committed.
    pub fn of_saga(what: impl Into<String>, saga: &str) -> Self {
        Self {
            what: what.into(),
            find_out: format!("saga audit {saga} lists it once it is done"),
        }
    }
}

fn stable_code(status: &Status) -> Option<&str> {
    status
        .metadata()
        .get(CODE_KEY)
        .and_then(|value| value.to_str().ok())
}

/// Whether what was asked for may have been done, or may be done later.
pub fn is_fate_unknown(status: &Status) -> bool {
    match stable_code(status) {
        Some(code) => code == UNANSWERED,
        None if was_never_sent(status) => false,
        // Said by a door on the way, or by a server that does not have the call.
        None => !matches!(
            status.code(),
            Code::Ok | Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied
        ),
    }
}

/// Whether the request cannot have reached the server: there was no connection.
pub fn was_never_sent(status: &Status) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

const fn exit_of(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Ok,
        Code::Unavailable => Exit::Unreachable,
        Code::PermissionDenied | Code::Unauthenticated => Exit::NotAllowed,
        Code::NotFound => Exit::NotFound,
        Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => Exit::Refused,
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => Exit::Error,
    }
}

/// The server puts the code before its messages, for clients that show nothing else; we show it apart.
fn without_code(message: &str, code: Option<&str>) -> String {
    let rest = code
        .and_then(|code| message.strip_prefix(code))
        .unwrap_or(message);
    rest.trim_start_matches(':').trim().to_owned()
}

/// The innermost cause says `connection refused`; the outer ones say only that there was an error.
fn first_cause(status: &Status) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    let mut text = String::new();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: &Status) -> (u8, String, Option<String>) {
        let failure = Failure::from_status(status, "grpc://127.0.0.1:7420");
        let number = failure.exit().number();
        match failure {
            Failure::Told { message, help, .. } => (number, message, help),
            Failure::ReaderLeft => (number, String::new(), None),
        }
    }

    fn coded(code: Code, message: &str, stable: &str) -> Status {
        let mut status = Status::new(code, message);
        status
            .metadata_mut()
            .insert(CODE_KEY, stable.parse().expect("ascii"));
        status
    }

    #[test]
    fn the_numbers_are_api() {
        let numbers = [
            (Exit::Ok, 0),
            (Exit::Error, 1),
            (Exit::Usage, 2),
            (Exit::Unreachable, 3),
            (Exit::NotAllowed, 4),
            (Exit::NotFound, 5),
            (Exit::Refused, 6),
            (Exit::Compensated, 10),
            (Exit::Incident, 11),
            (Exit::GaveUp, 12),
            (Exit::Abandoned, 13),
        ];
        for (exit, number) in numbers {
            assert_eq!(exit.number(), number, "{exit:?}");
        }
    }

    #[test]
    fn a_refusal_shows_its_code_once_and_where_to_read_on() {
        let status = coded(Code::NotFound, "A0404 no saga ends in 7QK", "A0404");
        assert_eq!(
            told(&status),
            (
                5,
                "no saga ends in 7QK".into(),
                Some("saga explain A0404".into())
            )
        );
    }

    #[test]
    fn grpc_codes_become_exit_codes() {
        for (code, number) in [
            (Code::PermissionDenied, 4),
            (Code::Unauthenticated, 4),
            (Code::NotFound, 5),
            (Code::FailedPrecondition, 6),
            (Code::AlreadyExists, 6),
            (Code::InvalidArgument, 1),
            (Code::Internal, 1),
            (Code::Unavailable, 3),
        ] {
            assert_eq!(told(&coded(code, "A0001 x", "A0001")).0, number, "{code:?}");
        }
    }

    #[test]
    fn silence_names_the_endpoint_and_the_remedy() {
        let (number, message, help) = told(&Status::unavailable("tcp connect error"));
        assert_eq!(
            (number, message.as_str()),
            (3, "no server at grpc://127.0.0.1:7420")
        );
        assert!(help.expect("a remedy").contains("saga dev"));
        assert_eq!(told(&Status::cancelled("Timeout expired")).0, 3);
    }

    #[test]
    fn an_empty_message_still_says_something() {
        assert_eq!(
            told(&Status::new(Code::Internal, "")).1,
            "the server answered Internal"
        );
    }
}
