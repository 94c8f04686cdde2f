//! The participants of the example under the generated trials of its saga file: real handlers on real databases, and
//! ledgers without unique keys that say what was really done.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use saga_core::SagaId;
use saga_dsl::{file, plan::Plan};
use saga_examples::book_trip::{BOOK_TRIP, Kind, PARTICIPANTS, ledger, participant};
use saga_lab::trials::{self, cast::Effects, real::Real};
use saga_participant::{Ctx, Participant, Result, Sqlite, SqliteInbox, Undo};
use serde_json::Value;
use uuid::Uuid;

/// Any will do; this one is printed with what it shows.
const SEED: u64 = 1;

fn plan() -> Arc<Plan> {
    Arc::new(
        file::load("book_trip.saga.yaml", BOOK_TRIP.as_bytes())
            .plan
            .expect("no faults"),
    )
}

/// What the ledgers in `dir` tell of a saga.
async fn effects(dir: std::path::PathBuf, saga: SagaId) -> BTreeMap<String, Effects> {
    let saga = Uuid::from_bytes(saga.to_bytes()).to_string();
    let mut effects: BTreeMap<String, Effects> = BTreeMap::new();
    for row in ledger(&dir)
        .await
        .unwrap()
        .into_iter()
        .filter(|row| row.saga_id == saga)
    {
        let of_step = effects.entry(row.step).or_default();
        match row.kind {
            Kind::Effect => of_step.acted += 1,
            Kind::Compensation => of_step.undone += 1,
        }
    }
    effects
}

async fn cast(dir: &Path, without: Option<&str>) -> Real {
    let folder = dir.to_owned();
    let mut cast = Real::new(move |saga| effects(folder.clone(), saga));
    for name in PARTICIPANTS
        .into_iter()
        .filter(|name| Some(*name) != without)
    {
        cast = cast.with(name, participant(name, dir).await.unwrap().test());
    }
    cast
}

async fn broken(plan: &Arc<Plan>, cast: &mut Real) -> Vec<(String, Vec<String>)> {
    let mut broken = Vec::new();
    for case in trials::generate(plan).cases {
        let verdict = trials::run(plan, &case, SEED, cast).await;
        if !verdict.passed() {
            let story: Vec<_> = verdict
                .story
                .iter()
                .map(|line| format!("  {:>8} {}", line.after_ms, line.text))
                .collect();
            println!(
                "seed {SEED}, {}: {:?}\n{}",
                case.name,
                verdict.faults,
                story.join("\n")
            );
            broken.push((case.name, verdict.faults));
        }
    }
    broken
}

#[tokio::test]
async fn the_services_of_the_trip_keep_their_promises() {
    let dir = tempfile::tempdir().unwrap();
    let mut cast = cast(dir.path(), None).await;
    assert_eq!(broken(&plan(), &mut cast).await, []);
}

async fn reserve(ctx: Ctx<Sqlite>, _: Value) -> Result<Value> {
    note(&ctx, "effect").await?;
    Ok(serde_json::json!({"confirmation": "H-1"}))
}

/// Says that it has cancelled, and has not.
async fn forgets(_: Ctx<Sqlite>, _: Undo<Value, Value>) -> Result<()> {
    Ok(())
}

/// Finds what it cancels by the output alone, which is not there when nobody saw the reservation succeed.
async fn needs_the_output(ctx: Ctx<Sqlite>, undo: Undo<Value, Value>) -> Result<()> {
    if undo.known == saga_participant::Known::Unknown {
        return Err(saga_participant::NeedsOperator::new("404", "no such confirmation").into());
    }
    note(&ctx, "compensation").await
}

async fn note(ctx: &Ctx<Sqlite>, kind: &str) -> Result<()> {
    let mut tx = ctx.tx().await?;
    sqlx::query(
        "insert into ledger (saga_id, step, round, kind, subject, at) values (?, ?, 1, ?, '', 0)",
    )
    .bind(ctx.saga_id().to_string())
    .bind(ctx.step())
    .bind(kind)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

const LEDGER: &str = "create table if not exists ledger (saga_id text not null, step text not null, \
                      round integer not null, kind text not null, subject text not null, at integer not null);";

#[tokio::test]
async fn with_hotels_broken_the_cases_that_break_are_named() {
    for forgetful in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let inbox = SqliteInbox::open(dir.path().join("hotels.db"))
            .await
            .unwrap();
        inbox.migrate(LEDGER).await.unwrap();
        let hotels = Participant::new("hotels").action("reserve", reserve);
        let hotels = match forgetful {
            true => hotels.compensation("cancel", forgets),
            false => hotels.compensation("cancel", needs_the_output),
        };
        let mut cast = cast(dir.path(), Some("hotels"))
            .await
            .with("hotels", hotels.inbox(inbox).test());
        let broken = broken(&plan(), &mut cast).await;
        let faults: BTreeMap<&str, String> = broken
            .iter()
            .map(|(name, faults)| (&**name, faults.join("; ")))
            .collect();
        let unknown = faults["reserve_hotel: never answers, effect happened"].as_str();
        if forgetful {
            let undone = faults["charge_card: refused"].as_str();
            for fault in [undone, unknown] {
                assert!(
                    fault.contains("the effect of `reserve_hotel` is still there (I5)"),
                    "{fault}"
                );
            }
        } else {
            assert!(
                unknown.contains("undo_stuck") && unknown.contains("no such confirmation"),
                "{unknown}"
            );
            assert!(
                !faults.contains_key("charge_card: refused"),
                "the outcome is known there"
            );
        }
        assert!(
            !faults.contains_key("all goes well"),
            "nothing is undone there"
        );
    }
}
