//! `saga bench`: how fast this machine runs sagas, and proof that it loses none on the way.
//!
//! Three processes take part, as in life: this one is the client, and it starts a server, on an SQLite file of its own
//! unless it is told another store, and participants that do nothing. In the end the client's ends are balanced against the participants' effects.

mod drive;
mod journal;
pub mod participants;
mod report;

use std::{ffi::OsStr, path::Path};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tempfile::TempDir;

use self::{
    drive::{Load, Tally, drive},
    journal::{Progress, memory_mib},
    report::{Balance, Memory, Report, Shape},
};
use saga_lab::bench::{Effects, generate};

use super::child::{Ground, OwnServer, Process, deployed, registered};
use crate::{
    Context,
    client::{Endpoint, Server},
    exit::{Exit, Failure},
    show::output::{self, Format},
};

/// Sagas before the ones that count: connections are up, files have grown and memory is warm then.
const WARM_UP_MAX: u64 = 1_000;
const WARM_UP_SHARE: u64 = 20;

const EXAMPLES: &str = "\
Examples:
  saga bench                                     a server of its own, on a temporary SQLite file
  saga bench --sagas 50000 --concurrency 2000
  saga bench --compensate                        every saga is refused at its last step and undone
  saga bench --store postgres://saga@localhost/sagas --broker amqp://localhost
  saga bench --endpoint grpc://127.0.0.1:7420    a server that runs already; it keeps the sagas

The exit code is 0 only when nothing was lost or done twice.";

/// Arguments of `saga bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Sagas to run, after a warm-up
    #[arg(long, value_name = "N", default_value = "20000", value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    sagas: u64,
    /// Sagas in flight at a time
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    concurrency: u64,
    /// Steps of each saga
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=100))]
    steps: u16,
    /// Refuse the last step of every saga, so that all are undone
    #[arg(long)]
    compensate: bool,
    /// Store of the server that is started: an SQLite file, a temporary one by default, or the URL of a PostgreSQL database
    #[arg(long, value_name = "PATH|URL")]
    store: Option<String>,
    /// RabbitMQ between the server that is started and the participants
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// With --broker: one command a message and one answer a message, as participants without the SDK have it
    #[arg(long, requires = "broker")]
    one_a_message: bool,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

impl Args {
    const fn shape(&self) -> Shape {
        Shape {
            sagas: self.sagas,
            concurrency: self.concurrency,
            steps: self.steps as u64,
            compensate: self.compensate,
        }
    }
}

/// Runs `saga bench`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let endpoint = context.written_endpoint()?;
    let measured = tokio::select! {
        measured = measure(&args, endpoint.as_ref()) => measured?,
        // The children are killed when what holds them is dropped.
        _ = tokio::signal::ctrl_c() => return Err(Failure::error("interrupted")),
    };
    let (report, refusal) = measured;
    match args.output {
        Format::Json => output::json(&report)?,
        Format::Text => output::data(&report.text())?,
    }
    if let Some(refusal) = refusal {
        return Err(Failure::error(format!(
            "the server refused a start: {refusal}"
        )));
    }
    match (report.lost, report.duplicated) {
        (0, 0) => Ok(Exit::Ok),
        (lost, duplicated) => Err(Failure::error(format!(
            "{lost} lost, {duplicated} duplicated"
        ))),
    }
}

/// The report, and the first refused start if there was one.
async fn measure(
    args: &Args,
    endpoint: Option<&Endpoint>,
) -> Result<(Report, Option<String>), Failure> {
    let dir = TempDir::with_prefix("saga-bench-")
        .map_err(|error| Failure::error(format!("cannot make a temporary folder: {error}")))?;
    let bench = Bench {
        args,
        dir: dir.path(),
    };
    let Some(endpoint) = endpoint else {
        let own_store = dir.path().join("saga.db");
        let store = args
            .store
            .as_deref()
            .map_or(own_store.as_os_str(), OsStr::new);
        let ground = Ground {
            store,
            broker: args.broker.as_deref(),
        };
        let mut own = OwnServer::start(dir.path(), ground, &["bench"]).await?;
        let inside = own.process.id().map(|process| Inside { process, store });
        let measured = bench.on(&own.server, &own.road, inside).await;
        // A server that died explains more than the stream that broke with it.
        own.process.check()?;
        return measured;
    };
    if args.store.is_some() || args.broker.is_some() {
        let message =
            "--store and --broker are for a server that bench starts; leave out --endpoint";
        return Err(Failure::new(Exit::Usage, message));
    }
    bench
        .on(
            &Server::connect(endpoint).await?,
            &endpoint.to_string(),
            None,
        )
        .await
}

/// What we can see of a server that is ours.
#[derive(Clone, Copy)]
struct Inside<'a> {
    process: u32,
    store: &'a OsStr,
}

impl Inside<'_> {
    fn memory(&self, field: &str) -> Option<f64> {
        memory_mib(self.process, field)
    }
}

struct Bench<'a> {
    args: &'a Args,
    dir: &'a Path,
}

impl Bench<'_> {
    async fn on(
        &self,
        server: &Server,
        road: &str,
        inside: Option<Inside<'_>>,
    ) -> Result<(Report, Option<String>), Failure> {
        let definition = generate(self.args.steps, self.args.compensate);
        let mut verb = vec!["bench-participants", "--road", road];
        verb.extend(self.args.one_a_message.then_some("--one-a-message"));
        let mut participants = Process::start("participants", &verb, self.dir)?;
        registered(server, &["bench"], &mut [&mut participants]).await?;
        deployed(server, &definition.name, &definition.yaml).await?;

        let shape = self.args.shape();
        let idle = inside.and_then(|inside| inside.memory("VmRSS"));
        let load = Load {
            name: &definition.name,
            sagas: shape.sagas,
            concurrency: shape.concurrency,
        };
        let warm_up = Load {
            sagas: (shape.sagas / WARM_UP_SHARE).clamp(1, WARM_UP_MAX),
            ..load
        };
        let warmed = drive(server, warm_up, &ProgressBar::hidden()).await?;
        let before = progress(inside).await?;
        let bar = bar(shape.sagas);
        let mut tally = drive(server, load, &bar).await?;
        bar.finish_and_clear();
        let after = progress(inside).await?;
        let memory = Memory {
            idle,
            peak: inside.and_then(|inside| inside.memory("VmHWM")),
        };

        let effects = effects(participants).await?;
        let balance = Balance::of(&[&warmed, &tally], shape.steps, shape.compensate, effects);
        let journal = after.zip(before).map(|(after, before)| after.since(before));
        let report = Report::new(shape, &mut tally, journal, memory, balance);
        Ok((report, first_refusal(warmed, tally)))
    }
}

fn first_refusal(warm_up: Tally, tally: Tally) -> Option<String> {
    warm_up.refusal.or(tally.refusal)
}

/// How far the store of a server that is ours has come.
async fn progress(inside: Option<Inside<'_>>) -> Result<Option<Progress>, Failure> {
    match inside {
        Some(inside) => Progress::read(inside.store).await.map(Some),
        None => Ok(None),
    }
}

/// What the participants did, told by them as they end.
async fn effects(participants: Process) -> Result<Effects, Failure> {
    let said = participants.finish().await?;
    said.last()
        .and_then(|line| serde_json::from_str(line).ok())
        .ok_or_else(|| Failure::error("the participants did not tell what they did"))
}

/// A bar on stderr; nothing where stderr is no terminal.
fn bar(sagas: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(sagas), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} sagas, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
