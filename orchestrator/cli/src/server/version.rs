//! `saga version`.

use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    show::output::{self, Format},
};

/// Version of the contract that this command speaks.
const WIRE: &str = "saga.v1";

/// Arguments of `saga version`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Version {
    version: &'static str,
    wire: &'static str,
    target: String,
}

/// Runs `saga version`.
pub fn run(args: Args) -> Result<Exit, Failure> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        wire: WIRE,
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    };
    match args.output {
        Format::Json => output::json(&version)?,
        Format::Text => {
            output::line(&format!(
                "saga {} (wire {}, {})",
                version.version, version.wire, version.target
            ))?;
        }
    }
    Ok(Exit::Ok)
}
