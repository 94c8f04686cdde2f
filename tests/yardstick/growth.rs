//! What ended sagas in the store cost those that run.

use saga_tests::postgres::Postgres;

use crate::{engine::Engine, journal, report::median};

/// Sagas that have ended before the measurement begins.
const ENDED: u64 = 100_000;

/// Alternates between an empty store and one that has grown, over gRPC, where the store weighs most.
pub(crate) async fn measure(engine: &Engine, sagas: u64, rounds: usize) {
    let postgres = tokio::task::spawn_blocking(Postgres::start)
        .await
        .expect("a server of our own");
    journal::create_database(&postgres.url("postgres"), "grown").await;
    let grown = postgres.url("grown");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("grown.db").display().to_string();
    println!("\n## {ENDED} ended sagas in the store against none, at 256 in flight\n");
    for (name, full) in [("PostgreSQL", grown), ("SQLite", file)] {
        engine.run(ENDED, 2_000, &["--store", &full]).await;
        let mut ratios = Vec::new();
        for round in 0..rounds {
            let empty = if name == "SQLite" {
                folder
                    .path()
                    .join(format!("empty_{round}.db"))
                    .display()
                    .to_string()
            } else {
                let database = format!("empty_{round}");
                journal::create_database(&postgres.url("postgres"), &database).await;
                postgres.url(&database)
            };
            let with = engine.run(sagas, 256, &["--store", &full]).await;
            let without = engine.run(sagas, 256, &["--store", &empty]).await;
            ratios.push(with.steps_per_s / without.steps_per_s);
        }
        ratios.sort_by(f64::total_cmp);
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        println!(
            "{name:<11} {:.2}  ({low:.2} to {high:.2})   goal: at least 0.9",
            median(&ratios)
        );
    }
}
