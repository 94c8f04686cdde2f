//! What people must learn of although nobody has set up logging: it goes to stderr then.

use std::{fmt::Display, io::Write, time::Duration};

/// Writes a line on stderr if the process listens to no traces. For what was traced as a warning or an error already.
pub(crate) fn unheard(line: impl Display) {
    if !tracing::dispatcher::has_been_set() {
        // Nobody reads stderr any more: nothing is left to be done.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// The state of one way to an orchestrator or a broker, said when it changes and not at each attempt.
#[derive(Debug)]
pub(crate) struct Connectedness {
    participant: String,
    place: String,
    /// Why it is not connected, as it was said last.
    said: Option<String>,
}

impl Connectedness {
    /// `place` holds no password.
    pub(crate) fn new(participant: &str, place: String) -> Self {
        Self {
            participant: participant.to_owned(),
            place,
            said: None,
        }
    }

    /// An attempt failed, or a connection was lost.
    pub(crate) fn lost(&mut self, why: &str, delay: Duration) {
        let Self {
            participant,
            place,
            said,
        } = self;
        tracing::warn!(
            participant,
            place,
            why,
            ?delay,
            "not connected, will dial again"
        );
        if said.as_deref() != Some(why) {
            unheard(format_args!(
                "{participant}: not connected to {place}: {why}; trying again in {delay:.1?}"
            ));
            *said = Some(why.to_owned());
        }
    }

    /// A connection is up.
    pub(crate) fn connected(&mut self) {
        let Self {
            participant,
            place,
            said,
        } = self;
        tracing::info!(participant, place, "connected");
        if said.take().is_some() {
            unheard(format_args!("{participant}: connected to {place}"));
        }
    }
}
