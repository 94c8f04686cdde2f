//! `saga schema`: the JSON Schema of saga files, without a server.

use crate::{
    exit::{Exit, Failure},
    show::output,
};

/// Arguments of `saga schema`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  saga schema > saga.schema.json\n\nThen, as the first line of a saga file, for editors with a YAML language server:\n  # yaml-language-server: $schema=saga.schema.json"
)]
pub struct Args {}

/// Runs `saga schema`.
pub fn run(_args: Args) -> Result<Exit, Failure> {
    output::json(&saga_dsl::schema::schema())?;
    Ok(Exit::Ok)
}
