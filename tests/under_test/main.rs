//! `saga-under-test serve --without RULE`: the server with rules left out, so that a test can be seen to notice.
//!
//! Takes the options of `saga serve`, prints the same first line and ends on the same signals. With no `--without` it
//! is the server as it ships. With `SAGA_LEASH` set it ends when its standard input does.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use saga_core::{Rule, Rules};
use saga_server::{Server, config::Written};
use tokio::signal::unix::{SignalKind, signal};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "The saga server with rules left out, for tests of the tests")]
enum Command {
    /// Run the server
    Serve(Box<Args>),
    /// Print the rules that can be left out, each with what it forbids
    Rules,
}

#[derive(clap::Args)]
struct Args {
    #[command(flatten)]
    server: Written,
    /// Leave a rule out; may be repeated
    #[arg(long, value_name = "RULE")]
    without: Vec<Rule>,
    /// Format of the log, which goes to stderr
    #[arg(long, env = "SAGA_LOG_FORMAT", value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log: String,
}

fn main() -> ExitCode {
    let ended = match Command::parse() {
        Command::Serve(args) => serve(*args),
        Command::Rules => list(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for rule in Rule::ALL {
        writeln!(out, "{:28} {}", rule.name(), rule.says())?;
    }
    Ok(())
}

#[tokio::main]
async fn serve(args: Args) -> Result<(), Failure> {
    log(&args.log)?;
    if std::env::var_os("SAGA_LEASH").is_some() {
        std::thread::spawn(until_let_go);
    }
    let rules = args
        .without
        .iter()
        .fold(Rules::ALL, |rules, rule| rules.without(*rule));
    let running = Server::start_under(rules, args.server.read()?).await?;
    // For whoever started us with port 0. A server whose stdout is closed goes on.
    writeln!(
        std::io::stdout(),
        "listening on grpc://{}",
        running.address()
    )
    .ok();
    let shutdown = running.shutdown();
    let mut term = signal(SignalKind::terminate())?;
    let mut serving = std::pin::pin!(running.join());
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        _ = term.recv() => {}
        told = tokio::signal::ctrl_c() => told?,
    }
    shutdown.cancel();
    Ok(serving.await?)
}

/// Ends the process when whoever started it is gone, as `saga serve` does.
fn until_let_go() {
    // An input that cannot be read is one that nobody holds.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
    std::process::exit(1);
}

fn log(format: &str) -> Result<(), Failure> {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("SAGA_LOG").unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if format == "json" {
        log.json().try_init()
    } else {
        log.try_init()
    }
}
