//! `saga demo`: four trips through a real server and real participants, and what their ledgers say in the end.
//!
//! The server and each participant are processes of their own, so that what dies in the fourth scene is what would
//! die in life.

pub mod participant;
mod scenes;
mod stage;
mod verdict;

use std::path::Path;

use saga_lab::demo::{self, LedgerRow};
use saga_proto::v1::{SagaDetail, StartSagaRequest};
use tempfile::TempDir;
use tokio::time::{Duration, timeout};
use uuid::Uuid;

use self::{
    scenes::{Plot, SCENES, Scene},
    stage::Stage,
    verdict::{Check, Played},
};
use crate::{
    exit::{Exit, Failure},
    operator::follow::{self, Follow, Show},
    show::{ids, output, words::Tone},
};

/// A scene that takes longer has gone wrong.
const SCENE_LIMIT: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  saga demo                                      with nothing but this program
  saga demo --store postgres://saga@localhost/sagas --broker amqp://localhost

A store that holds these trips already returns them instead of taking them again.";

/// Arguments of `saga demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Store of the server: an SQLite file, a temporary one by default, or the URL of an empty PostgreSQL database
    #[arg(long, value_name = "PATH|URL")]
    store: Option<String>,
    /// RabbitMQ between server and participants
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Leave server and participants running until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Runs `saga demo`.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let dir = TempDir::with_prefix("saga-demo-")
        .map_err(|error| Failure::error(format!("cannot make a temporary folder: {error}")))?;
    let mut stage = None;
    let held = tokio::select! {
        held = play(dir.path(), &args, &mut stage) => held?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::error("interrupted")),
    };
    if let (true, Some(stage)) = (args.keep, &stage) {
        output::data(&invitation(stage)?)?;
        // Without the signal there is no way to stop but to be killed, which the children notice.
        let _ = tokio::signal::ctrl_c().await;
    }
    if held {
        Ok(Exit::Ok)
    } else {
        Err(Failure::error("a guarantee was broken"))
    }
}

/// Sets the stage, runs all scenes, and tells whether the guarantees held.
async fn play(dir: &Path, args: &Args, slot: &mut Option<Stage>) -> Result<bool, Failure> {
    let stage = Stage::set(dir, args.store.as_deref(), args.broker.as_deref()).await?;
    let stage = slot.insert(stage);
    output::data(&stage.description())?;
    let mut played = Vec::new();
    for (number, scene) in (1..).zip(SCENES) {
        output::data(&heading(number, &scene))?;
        played.push(perform(stage, scene).await?);
    }
    let ledger = ledger(stage).await?;
    let checks = verdict::checks(&played, &ledger);
    output::data(&epilogue(
        &verdict::table(&played, &ledger, output::Frame::of_stdout()),
        &checks,
    ))?;
    Ok(checks.iter().all(|check| check.broken.is_empty()))
}

/// Runs one scene to its end.
async fn perform(stage: &mut Stage, scene: Scene) -> Result<Played, Failure> {
    if scene.plot == Plot::KilledFlights {
        stage.flights_will_hang().await?;
    }
    let saga_id = start(stage, &scene).await?;
    let uuid =
        Uuid::from_slice(&saga_id).map_err(|_| Failure::error("the server answered no saga id"))?;
    if scene.plot == Plot::KilledFlights {
        kill_flights(stage, &uuid.to_string()).await?;
    }
    let how = Follow {
        show: Show::Text,
        timeout: Some(SCENE_LIMIT),
        through_incidents: false,
    };
    let ending = follow::follow(stage.server(), &ids::id_of(&saga_id), how).await?;
    output::line(&follow::verdict(&ending))?;
    let detail = ending.detail.unwrap_or_default();
    let status = detail
        .summary
        .as_ref()
        .map(|summary| summary.status.clone())
        .unwrap_or_default();
    let (tries, over_broker) = (tries(&detail, scene.plot), stage.over_broker());
    Ok(Played {
        scene,
        saga_id: uuid.to_string(),
        status,
        tries,
        over_broker,
    })
}

/// Kills flights between its commit and its reply, shows that the seat is booked, and starts it again.
async fn kill_flights(stage: &mut Stage, saga_id: &str) -> Result<(), Failure> {
    let killed = stage.kill_flights(SCENE_LIMIT).await?;
    let ledger = ledger(stage).await?;
    let seat = ledger
        .iter()
        .find(|row| row.participant == "flights" && row.saga_id == saga_id);
    let seat = seat.ok_or_else(|| {
        Failure::error("flights said that it had committed, but its ledger is empty")
    })?;
    output::line(&format!(
        "flights has booked seat {} and was killed before it could say so (process {killed})",
        seat.subject
    ))?;
    let again = stage.start_flights()?;
    output::line(&format!(
        "flights runs again on the same database (process {again})"
    ))
}

/// The participants' ledgers.
async fn ledger(stage: &Stage) -> Result<Vec<LedgerRow>, Failure> {
    demo::ledger(stage.data())
        .await
        .map_err(|error| Failure::error(error.to_string()))
}

async fn start(stage: &Stage, scene: &Scene) -> Result<Vec<u8>, Failure> {
    let request = StartSagaRequest {
        name: "book_trip".to_owned(),
        input: scene.input().to_string().into_bytes().into(),
        ..StartSagaRequest::default()
    };
    let answer = stage.server().sagas().start_saga(request).await;
    Ok(answer
        .map_err(|status| stage.server().failure(status))?
        .into_inner()
        .saga_id
        .to_vec())
}

/// Attempts of the step at which the scene aims.
fn tries(detail: &SagaDetail, plot: Plot) -> u32 {
    let step = match plot {
        Plot::FlakyHotel => "reserve_hotel",
        Plot::Plain | Plot::Declined | Plot::KilledFlights => "reserve_flight",
    };
    detail
        .steps
        .iter()
        .find(|known| known.id == step)
        .map_or(0, |step| step.tries)
}

fn heading(number: usize, scene: &Scene) -> String {
    let bold = anstyle::Style::new().bold();
    format!(
        "\n{bold}{number}. {}{bold:#}  ({})\n   {}\n\n",
        scene.title, scene.trip_id, scene.look
    )
}

fn epilogue(table: &str, checks: &[Check]) -> String {
    let mut text = format!("\nBy the participants' own ledgers:\n\n{table}\n");
    for Check { promise, broken } in checks {
        text += &match broken.is_empty() {
            true => format!("{} {promise}\n", Tone::Good.paint("✔")),
            false => format!(
                "{} {promise}: broken for {}\n",
                Tone::Bad.paint("✗"),
                broken.join(", ")
            ),
        };
    }
    text += match checks.iter().all(|check| check.broken.is_empty()) {
        true => "guarantees held\n",
        false => "guarantees were broken\n",
    };
    text
}

/// What to try while it runs; the last command's input is written here.
fn invitation(stage: &Stage) -> Result<String, Failure> {
    let endpoint = stage.endpoint();
    let input = stage.data().join("trip-5.json");
    let written = std::fs::write(&input, scenes::trip("trip-5", Plot::Plain).to_string());
    written
        .map_err(|error| Failure::error(format!("cannot write {}: {error}", input.display())))?;
    Ok(format!(
        "\nIt runs on until Ctrl-C. In another terminal:\n  \
         saga list --all --endpoint {endpoint}\n  \
         saga describe book_trip/trip-2 --endpoint {endpoint}\n  \
         saga start book_trip -i {} --watch --endpoint {endpoint}\n",
        input.display()
    ))
}

/// Does the work, but not for ever.
async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = || Failure::error(format!("{what} took longer than {} s", limit.as_secs()));
    timeout(limit, work).await.map_err(|_| late())?
}
