//! The yardstick: saga against what the same machine's bare pipelines do, in one run.
//!
//! Absolute figures drift from hour to hour and from machine to machine. What is kept is the ratio: each round measures
//! the bare pipelines and saga one after the other on the same servers, a ratio is taken within a round, and the
//! median over the rounds is what counts. How to run it and what it gave: `docs/reference/benchmarks.md`.
//!
//! In reading order: `broker.rs` (commands and replies through RabbitMQ without an engine), `journal.rs` (journal rows
//! without an engine), `stream.rs` (the same over gRPC), `engine.rs` (saga itself, through `saga bench`), `growth.rs`
//! (a store that is full of ended sagas), `report.rs` (ratios).

mod broker;
mod engine;
mod growth;
mod journal;
mod report;
mod stream;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use saga_tests::{postgres::Postgres, rabbitmq::RabbitMq};

use broker::Form;
use engine::Engine;
use report::Report;

/// Measures saga against the bare pipelines of this machine.
#[derive(Parser)]
struct Args {
    /// What to measure
    #[arg(long, value_enum, default_value = "all")]
    road: Road,
    /// Rounds; the median of each ratio counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds for each bare pipeline
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Sagas of a run at 256 in flight; the others follow from it
    #[arg(long, default_value_t = 20_000)]
    sagas: u64,
    /// The `saga` program
    #[arg(long)]
    saga: Option<PathBuf>,
    /// Of `cargo bench`, without a meaning here
    #[arg(long, hide = true)]
    bench: bool,
    /// The other end of a bare pipeline, in a process of its own
    #[arg(long, hide = true)]
    peer: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Road {
    /// RabbitMQ and PostgreSQL
    Broker,
    /// SQLite and gRPC
    Embedded,
    /// A store with many ended sagas against an empty one
    Growth,
    /// All of them
    All,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args = Args::parse();
    match args.peer.as_deref() {
        Some(url) if url.starts_with("amqp") => return broker::peer(url).await,
        Some(address) => return stream::peer(address).await,
        None => {}
    }
    let engine = Engine::new(args.saga.clone());
    let wants = |road| args.road == road || args.road == Road::All;
    if wants(Road::Broker) {
        over_the_broker(&args, &engine).await;
    }
    if wants(Road::Embedded) {
        embedded(&args, &engine).await;
    }
    if wants(Road::Growth) {
        growth::measure(&engine, args.sagas, 3 * args.rounds).await;
    }
}

async fn over_the_broker(args: &Args, engine: &Engine) {
    let (postgres, rabbit) = tokio::task::spawn_blocking(|| (Postgres::start(), RabbitMq::start()))
        .await
        .expect("servers of our own");
    let mut report = Report::new("RabbitMQ and PostgreSQL");
    let bare = Duration::from_secs(args.seconds);
    for round in 0..args.rounds {
        eprintln!("round {} of {}", round + 1, args.rounds);
        // A virtual host and a database for each run: none inherits what another left.
        let vhost = |name: &str| rabbit.vhost(&format!("{name}_{round}"));
        let database = async |name: &str| {
            let name = format!("{name}_{round}");
            journal::create_database(&postgres.url("postgres"), &name).await;
            postgres.url(&name)
        };

        let echo = broker::Echo::open(&vhost("bare")).await;
        report.note(
            "bare echo at 1",
            "round trip ms",
            echo.run(Form::Packed, 1, bare).await.p50_ms,
        );
        report.note(
            "bare echo, plain form, at 256",
            "/s",
            echo.run(Form::Plain, 256, bare).await.rate,
        );
        report.note(
            "bare echo at 256",
            "/s",
            echo.run(Form::Packed, 256, bare).await.rate,
        );
        report.note(
            "bare echo at 1,000",
            "/s",
            echo.run(Form::Packed, 1_000, bare).await.rate,
        );
        drop(echo);
        let rows = journal::in_postgres(&database("bare").await, bare).await;
        report.note("bare commit of one row", "ms", rows.commit_ms);
        report.note("bare rows, 1,000 a commit", "/s", rows.batch_rate);

        let run = async |name: &str, sagas: u64, in_flight: u64, more: &[&str]| {
            let (store, broker) = (database(name).await, vhost(name));
            let ground = ["--store", &store, "--broker", &broker];
            engine
                .run(sagas, in_flight, &[&ground, more].concat())
                .await
        };
        report.engine(
            "saga, one command a message, at 256",
            &run("single", args.sagas, 256, &["--one-a-message"]).await,
        );
        let happy = run("happy", args.sagas, 256, &[]).await;
        report.engine("saga at 256", &happy);
        report.engine(
            "saga at 256, compensated",
            &run("undone", args.sagas / 2, 256, &["--compensate"]).await,
        );
        report.engine(
            "saga at 2,000",
            &run("deep", 2 * args.sagas, 2_000, &[]).await,
        );
        report.engine(
            "saga at 1",
            &run("alone", (args.sagas / 20).max(100), 1, &[]).await,
        );
    }
    report.ratio(
        "one command a message at 256 ÷ bare echo, plain form, at 256",
        0.85,
        |r| {
            r("saga, one command a message, at 256", "steps/s")
                / r("bare echo, plain form, at 256", "/s")
        },
    );
    report.ratio("coalesced at 2,000 ÷ bare echo at 1,000", 3.0, |r| {
        r("saga at 2,000", "steps/s") / r("bare echo at 1,000", "/s")
    });
    report.ratio("compensated ÷ completed, sagas at 256", 0.57, |r| {
        r("saga at 256, compensated", "sagas/s") / r("saga at 256", "sagas/s")
    });
    report.cost(
        "one saga alone ÷ (4 bare round trips + 5 bare commits)",
        1.5,
        |r| {
            let bare = 4.0 * r("bare echo at 1", "round trip ms")
                + 5.0 * r("bare commit of one row", "ms");
            r("saga at 1", "p50 ms") / bare
        },
    );
    report.cost("server's memory at 2,000 in flight ÷ 100 MiB", 1.0, |r| {
        r("saga at 2,000", "peak MiB") / 100.0
    });
    report.print();
}

async fn embedded(args: &Args, engine: &Engine) {
    let mut report = Report::new("SQLite and gRPC");
    let bare = Duration::from_secs(args.seconds);
    for round in 0..args.rounds {
        eprintln!("round {} of {}", round + 1, args.rounds);
        let rows = tokio::task::spawn_blocking(move || journal::in_sqlite(bare))
            .await
            .expect("a bare journal");
        report.note("bare commit of one row", "ms", rows.commit_ms);
        report.note("bare rows, 1,000 a commit", "/s", rows.batch_rate);
        let echo = stream::Echo::open().await;
        report.note(
            "bare stream at 1",
            "round trip ms",
            echo.run(1, bare).await.p50_ms,
        );
        report.note(
            "bare stream at 2,000",
            "/s",
            echo.run(2_000, bare).await.rate,
        );
        drop(echo);
        report.engine("saga at 256", &engine.run(args.sagas, 256, &[]).await);
        report.engine(
            "saga at 256, compensated",
            &engine.run(args.sagas / 2, 256, &["--compensate"]).await,
        );
        report.engine(
            "saga at 2,000",
            &engine.run(2 * args.sagas, 2_000, &[]).await,
        );
        report.engine(
            "saga at 1",
            &engine.run((args.sagas / 20).max(100), 1, &[]).await,
        );
    }
    report.ratio(
        "journal rows at 2,000 ÷ bare rows, 1,000 a commit",
        0.6,
        |r| r("saga at 2,000", "rows/s") / r("bare rows, 1,000 a commit", "/s"),
    );
    report.ratio("compensated ÷ completed, sagas at 256", 0.57, |r| {
        r("saga at 256, compensated", "sagas/s") / r("saga at 256", "sagas/s")
    });
    report.cost(
        "one saga alone ÷ (4 bare round trips + 5 bare commits)",
        2.0,
        |r| {
            let bare = 4.0 * r("bare stream at 1", "round trip ms")
                + 5.0 * r("bare commit of one row", "ms");
            r("saga at 1", "p50 ms") / bare
        },
    );
    report.cost("server's memory at 2,000 in flight ÷ 100 MiB", 1.0, |r| {
        r("saga at 2,000", "peak MiB") / 100.0
    });
    report.print();
}
