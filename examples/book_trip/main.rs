//! Runs the participants of the trip: all four, or those named on the command line.
//!
//! `book_trip [--dir FOLDER] [flights] [hotels] [payments] [notifications]`

use std::{error::Error, path::PathBuf, process::ExitCode};

use saga_examples::book_trip::{PARTICIPANTS, run};
use saga_participant::serve::signals;
use tracing_subscriber::EnvFilter;

const USAGE: &str = "usage: book_trip [--dir FOLDER] [flights] [hotels] [payments] [notifications]";

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("book_trip: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let mut dir = PathBuf::from("book_trip-data");
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--dir" => dir = arguments.next().ok_or(USAGE)?.into(),
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(());
            }
            option if option.starts_with('-') => return Err(USAGE.into()),
            _ => names.push(argument),
        }
    }
    if names.is_empty() {
        names = PARTICIPANTS.map(str::to_owned).to_vec();
    }
    let endpoint =
        std::env::var("SAGA_ENDPOINT").unwrap_or_else(|_| "grpc://127.0.0.1:7420".to_owned());
    let shutdown = signals()?;
    Ok(run(&names, &dir, &endpoint, None, shutdown).await?)
}
