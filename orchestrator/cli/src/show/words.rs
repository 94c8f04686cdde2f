//! Statuses as people see them: always a symbol *and* a word, never a colour alone.
//!
//! Statuses arrive as text. One that this version does not know (the server may be newer) is shown as it came.

use anstyle::{AnsiColor, Style};
use saga_proto::v1::{Incident, SagaSummary, StepDetail};

use super::time;

/// What a status means to whoever skims the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// In the terminal's own colour.
    Plain,
    /// Done.
    Good,
    /// Refused, failed, or in need of an operator.
    Bad,
    /// On its way back.
    Back,
    /// At work now.
    Busy,
    /// Waiting, or of less interest.
    Dim,
}

impl Tone {
    /// Its colour.
    pub const fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Back => AnsiColor::Yellow.on_default(),
            Self::Busy => AnsiColor::Cyan.on_default(),
            Self::Dim => Style::new().dimmed(),
        }
    }

    /// The text in this tone's colour.
    pub fn paint(self, text: &str) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

/// A status: symbol, word, tone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    symbol: &'static str,
    word: String,
    /// How it looks.
    pub tone: Tone,
}

impl Word {
    fn new(symbol: &'static str, word: impl Into<String>, tone: Tone) -> Self {
        Self {
            symbol,
            word: word.into(),
            tone,
        }
    }

    /// Where a circuit breaker stands.
    pub fn breaker(state: &'static str) -> Self {
        match state {
            "closed" => Self::new("●", state, Tone::Good),
            "open" => Self::new("✗", state, Tone::Bad),
            "half_open" => Self::new("◌", "half open", Tone::Back),
            "recovering" => Self::new("◌", state, Tone::Back),
            other => Self::new("?", other, Tone::Plain),
        }
    }

    /// A participant that is connected.
    pub fn live() -> Self {
        Self::new("●", "live", Tone::Good)
    }

    /// A participant that finishes what it has and takes nothing new.
    pub fn draining() -> Self {
        Self::new("◌", "draining", Tone::Back)
    }

    /// A participant that nothing travels to, and that has no part in that.
    pub fn held() -> Self {
        Self::new("⏸", "held", Tone::Back)
    }

    /// An instance whose process is probably gone.
    pub fn lost() -> Self {
        Self::new("✗", "lost", Tone::Bad)
    }

    /// A participant that is not connected.
    pub fn absent() -> Self {
        Self::new("✗", "absent", Tone::Bad)
    }

    /// `✔ completed`.
    pub fn text(&self) -> String {
        format!("{} {}", self.symbol, self.word)
    }

    /// The same in colour.
    pub fn painted(&self) -> String {
        self.tone.paint(&super::output::printable(&self.text()))
    }
}

/// A saga's status; its mark, when it has one, says more and is shown instead.
pub fn saga(summary: &SagaSummary) -> Word {
    match summary.mark.as_str() {
        "incident" if is_end(&summary.status) => {
            Word::new("✗", format!("{} (incident)", summary.status), Tone::Bad)
        }
        "incident" => Word::new("✗", "incident", Tone::Bad),
        "waiting" => Word::new("⏸", "waiting", Tone::Dim),
        "paused" => Word::new("⏸", "paused", Tone::Dim),
        _ if summary.exceptions && is_end(&summary.status) => {
            let plain = status(&summary.status);
            // Whoever skims must not take it for an end that was proved.
            Word {
                word: format!("{} (exceptions)", plain.word),
                tone: Tone::Bad,
                ..plain
            }
        }
        _ => status(&summary.status),
    }
}

/// A saga's status by its name.
pub fn status(name: &str) -> Word {
    match name {
        "running" => Word::new("●", name, Tone::Busy),
        "compensating" => Word::new("↺", name, Tone::Back),
        "completed" => Word::new("✔", name, Tone::Good),
        "compensated" => Word::new("↩", name, Tone::Back),
        "abandoned" => Word::new("■", name, Tone::Bad),
        other => Word::new("?", other, Tone::Plain),
    }
}

/// An incident: its code, its step where it has one, and what is behind it.
pub fn incident(incident: &Incident) -> String {
    let Incident {
        code,
        step,
        message,
        ..
    } = incident;
    let place = if step.is_empty() {
        String::new()
    } else {
        format!("{step}: ")
    };
    // The message begins with the code of the error behind it, which may be the incident's own.
    let message = message
        .strip_prefix(&**code)
        .filter(|rest| rest.is_empty() || rest.starts_with(' '))
        .map_or(&**message, str::trim_start);
    format!("{code} {place}{message}").trim_end().to_owned()
}

/// Whether a saga of this status will change no more.
pub fn is_end(status: &str) -> bool {
    matches!(status, "completed" | "compensated" | "abandoned")
}

/// A step's status. `forward` is false once the saga goes back or has ended: a step that is pending then is
/// one that will not be reached.
pub fn step(step: &StepDetail, forward: bool, now_us: i64) -> Word {
    let next = time::until(step.next_due_us, now_us)
        .map(|at| format!(" {at}"))
        .unwrap_or_default();
    match step.status.as_str() {
        "pending" if forward => Word::new("·", "pending", Tone::Dim),
        "pending" => Word::new("–", "not reached", Tone::Dim),
        "skipped" => Word::new("–", "skipped", Tone::Dim),
        "waiting" => Word::new("⏸", "waiting", Tone::Dim),
        "running" => Word::new("●", "running", Tone::Busy),
        "backing_off" => Word::new("↻", format!("retry{next}"), Tone::Busy),
        "querying" => Word::new("?", "asking whether done", Tone::Busy),
        "sealing" => Word::new("?", "sealing", Tone::Busy),
        "succeeded" => Word::new("✔", "succeeded", Tone::Good),
        "refused" => Word::new("✗", "refused", Tone::Bad),
        "failed" => Word::new("✗", "failed", Tone::Bad),
        "unknown" => Word::new("?", "unknown", Tone::Bad),
        "undo_pending" => Word::new("↺", "to be undone", Tone::Back),
        "undo_waiting" => Word::new("⏸", "undo waits", Tone::Back),
        "undoing" => Word::new("↺", "undoing", Tone::Back),
        "undo_backing_off" => Word::new("↺", format!("undo{next}"), Tone::Back),
        "compensated" => Word::new("↩", "compensated", Tone::Back),
        "nothing_to_undo" => Word::new("–", "nothing to undo", Tone::Dim),
        "not_undone" => Word::new("✗", "not undone", Tone::Bad),
        "undo_skipped" => Word::new("–", "undo skipped", Tone::Bad),
        "sealed" => Word::new("✗", "sealed, never happened", Tone::Bad),
        other => Word::new("?", other, Tone::Plain),
    }
}

/// Attempts of the action and of the compensation: `1 + 4`; a dash for none.
pub fn tries(action: u32, undo: u32) -> String {
    match (action, undo) {
        (0, 0) => "–".into(),
        (action, 0) => action.to_string(),
        (action, undo) => format!("{action} + {undo}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_the_contract_has_a_symbol_and_a_word() {
        for name in [
            "pending",
            "skipped",
            "waiting",
            "running",
            "backing_off",
            "querying",
            "sealing",
            "succeeded",
            "refused",
            "failed",
            "unknown",
            "undo_pending",
            "undo_waiting",
            "undoing",
            "undo_backing_off",
            "compensated",
            "nothing_to_undo",
            "not_undone",
            "undo_skipped",
            "sealed",
        ] {
            let detail = StepDetail {
                status: name.into(),
                ..StepDetail::default()
            };
            let word = step(&detail, true, 0);
            assert_ne!(word.tone, Tone::Plain, "{name} is not known");
            assert!(!word.word.is_empty());
        }
        for name in [
            "running",
            "compensating",
            "completed",
            "compensated",
            "abandoned",
        ] {
            assert_ne!(status(name).tone, Tone::Plain, "{name} is not known");
        }
    }

    #[test]
    fn a_status_of_a_newer_server_is_shown_as_it_came() {
        assert_eq!(status("frozen").text(), "? frozen");
        let detail = StepDetail {
            status: "melting".into(),
            ..StepDetail::default()
        };
        assert_eq!(step(&detail, true, 0).text(), "? melting");
    }

    #[test]
    fn the_mark_stands_before_the_status() {
        let summary = SagaSummary {
            status: "running".into(),
            mark: "incident".into(),
            ..SagaSummary::default()
        };
        assert_eq!(saga(&summary).text(), "✗ incident");
        let ended = SagaSummary {
            status: "completed".into(),
            exceptions: true,
            ..summary
        };
        assert_eq!(saga(&ended).text(), "✗ completed (incident)");
        let summary = SagaSummary {
            status: "compensated".into(),
            exceptions: true,
            ..SagaSummary::default()
        };
        assert_eq!(saga(&summary).text(), "↩ compensated (exceptions)");
    }

    #[test]
    fn an_incident_names_its_code_once() {
        let of = |code: &str, step: &str, message: &str| {
            incident(&Incident {
                code: code.into(),
                step: step.into(),
                message: message.into(),
                since_us: 0,
            })
        };
        assert_eq!(of("slow", "pay", "slow \"late\""), "slow pay: \"late\"");
        assert_eq!(
            of("slow", "pay", "slow_bank \"503\""),
            "slow pay: slow_bank \"503\""
        );
        assert_eq!(
            of("undo_stuck", "pay", "by_hand"),
            "undo_stuck pay: by_hand"
        );
        assert_eq!(
            of("deadline", "", "deadline \"it passed\""),
            "deadline \"it passed\""
        );
        assert_eq!(of("internal", "", "internal"), "internal");
    }

    #[test]
    fn waiting_undo_says_when() {
        let detail = StepDetail {
            status: "undo_backing_off".into(),
            next_due_us: 8_000_000,
            ..StepDetail::default()
        };
        assert_eq!(step(&detail, false, 0).text(), "↺ undo in 8s");
        assert_eq!(tries(1, 4), "1 + 4");
        assert_eq!(tries(0, 0), "–");
    }
}
