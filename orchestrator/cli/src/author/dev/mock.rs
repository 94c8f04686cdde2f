//! `saga dev --mock`: what happens to the mocks, on the screen.

use saga_core::SagaId;
use saga_lab::mock::Event;

use crate::{
    exit::Failure,
    show::{
        output::{self, printable},
        words::Tone,
    },
};

/// Shows what has happened to a mock. If nobody reads the screen, the mock goes on all the same.
pub fn show(event: &Event<'_>) {
    match event {
        Event::Called {
            participant,
            action,
            definition,
            saga,
            step,
            output,
        } => {
            let called = format!("{participant}/{action}");
            let answer = output.unwrap_or("undone");
            // An error: nobody reads.
            let _ = output::line(&line(&called, definition, *saga, step, answer));
        }
        Event::NoInbox { participant, error } => output::failure(&Failure::error(format!(
            "the inbox of mock `{participant}`: {error}"
        ))),
        Event::Ended {
            participant,
            error,
            refused,
        } => output::failure(&ended(participant, error, *refused)),
        Event::Unknown { name, meant } => {
            let help = meant
                .map(|meant| format!("; did you mean `{meant}`?"))
                .unwrap_or_default();
            output::note(&format!(
                "{} no saga file here asks anything of `{}`{help}",
                Tone::Back.paint("warning:"),
                printable(name)
            ));
        }
    }
}

fn line(called: &str, definition: &str, saga: SagaId, step: &str, answer: &str) -> String {
    let whose = Tone::Dim.paint(&format!(
        "{} {} {}",
        printable(definition),
        saga.short(),
        printable(step)
    ));
    format!(
        "{} {}  {whose} → {}",
        Tone::Busy.paint("mock"),
        printable(called),
        printable(answer)
    )
}

fn ended(name: &str, error: &str, refused: bool) -> Failure {
    let failure = Failure::error(format!("mock `{name}`: {error}"));
    if !refused {
        return failure;
    }
    failure.help(format!(
        "a service called `{name}` has registered here before: start it and leave out --mock {name}, or take a \
         store that does not know it with --ephemeral"
    ))
}

#[cfg(test)]
mod tests {
    use saga_core::Partition;

    use super::*;
    use crate::show::output::bare;

    #[test]
    fn a_call_is_one_line_and_a_refusal_names_the_way_out() {
        let saga = SagaId::new(1_700_000_000_000, Partition(3), 7);
        let shown = bare(&line("hotels/reserve", "trip", saga, "reserve_hotel", "{}"));
        assert_eq!(
            shown,
            format!(
                "mock hotels/reserve  trip {} reserve_hotel → {{}}",
                saga.short()
            )
        );
        let Failure::Told { help, message, .. } = ended("hotels", "another inbox", true) else {
            panic!("told")
        };
        assert!(
            message.contains("another inbox") && help.expect("a way out").contains("--ephemeral")
        );
    }
}
