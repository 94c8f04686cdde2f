//! saga itself: `saga bench` as a process, with a server and participants of its own.

use std::{path::PathBuf, process::Stdio};

use serde::Deserialize;

/// The `saga` program.
pub(crate) struct Engine {
    program: PathBuf,
}

/// What `saga bench -o json` says, as far as it is of use here.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) sagas_per_s: f64,
    pub(crate) steps_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) commits_per_s: f64,
    pub(crate) batch_mean: f64,
    pub(crate) rss_peak_mib: f64,
}

impl Engine {
    /// `given`, or the one that was built beside this program.
    pub(crate) fn new(given: Option<PathBuf>) -> Self {
        let beside = || {
            let own = std::env::current_exe().expect("a program knows where it is");
            own.ancestors()
                .skip(1)
                .take(3)
                .map(|folder| folder.join("saga"))
                .find(|path| path.is_file())
        };
        let program = given.or_else(beside);
        Self {
            program: program.expect("no program `saga` here: cargo build --release --bin saga"),
        }
    }

    /// Runs so many sagas of four steps, so many at a time. Ends this program when any is lost or doubled.
    pub(crate) async fn run(&self, sagas: u64, in_flight: u64, more: &[&str]) -> Run {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(["bench", "-o", "json", "--sagas", &sagas.to_string()]);
        command
            .args(["--concurrency", &in_flight.to_string()])
            .args(more);
        let told = command
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .expect("saga runs");
        assert!(
            told.status.success(),
            "saga bench {more:?}: {}",
            String::from_utf8_lossy(&told.stdout)
        );
        serde_json::from_slice(&told.stdout).expect("a report")
    }
}
