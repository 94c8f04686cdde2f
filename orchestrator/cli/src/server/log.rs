//! The server's log: on stderr, as text or JSON, as much as `SAGA_LOG` or `RUST_LOG` asks for.

use std::{env, io};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    exit::{Exit, Failure},
    show::output,
};

/// Variables that say what is logged; the first that is set counts.
const VARIABLES: [&str; 2] = ["SAGA_LOG", "RUST_LOG"];

/// Formats of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins logging; `usual` is the filter when no variable is set.
pub fn begin(format: Format, usual: &str) -> Result<(), Failure> {
    let filter = filter(|name| env::var(name).ok(), usual)?;
    let registry = tracing_subscriber::registry().with(filter);
    let begun = match format {
        Format::Text => registry
            .with(
                fmt::layer()
                    .with_writer(io::stderr)
                    .with_ansi(output::stderr_has_colour()),
            )
            .try_init(),
        Format::Json => registry
            .with(fmt::layer().json().with_writer(io::stderr))
            .try_init(),
    };
    begun.map_err(|error| Failure::error(format!("cannot begin the log: {error}")))
}

fn filter(variable: impl Fn(&str) -> Option<String>, usual: &str) -> Result<EnvFilter, Failure> {
    let set = VARIABLES.into_iter().find_map(|name| {
        variable(name)
            .filter(|written| !written.is_empty())
            .map(|written| (name, written))
    });
    let Some((name, written)) = set else {
        return Ok(EnvFilter::new(usual));
    };
    EnvFilter::try_new(&written).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!(
                "{name}: `{}` says not what to log: {error}",
                output::printable(&written)
            ),
        )
        .help(
            "write a level (error, warn, info, debug, trace) or module=level, separated by commas",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[(&str, &str)]) -> Result<String, Failure> {
        let values = values.to_owned();
        let variable = |name: &str| {
            values
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        filter(variable, "info").map(|filter| filter.to_string())
    }

    #[test]
    fn the_first_variable_that_is_set_counts() {
        assert_eq!(with(&[]).expect("usual"), "info");
        assert_eq!(with(&[("RUST_LOG", "debug")]).expect("set"), "debug");
        assert_eq!(
            with(&[("RUST_LOG", "debug"), ("SAGA_LOG", "warn")]).expect("set"),
            "warn"
        );
        assert_eq!(
            with(&[("RUST_LOG", "debug"), ("SAGA_LOG", "")]).expect("set"),
            "debug"
        );
    }

    #[test]
    fn a_slip_names_the_variable() {
        let failure = with(&[("SAGA_LOG", "saga=loud")]).expect_err("no level");
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(
            failure.to_string().starts_with("SAGA_LOG: `saga=loud`"),
            "{failure}"
        );
    }
}
