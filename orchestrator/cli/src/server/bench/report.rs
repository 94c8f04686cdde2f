//! What a run found: the figures, and whether anything was lost or done twice.

use serde::Serialize;

use saga_lab::bench::Effects;

use super::{drive::Tally, journal::Progress};

/// What was asked of a run.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Sagas counted, after the warm-up.
    pub sagas: u64,
    /// How many at a time.
    pub concurrency: u64,
    /// Steps of each saga.
    pub steps: u64,
    /// The last step is refused.
    pub compensate: bool,
}

/// The figures of a run. The names are API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Ends per second.
    pub sagas_per_s: f64,
    /// Commands carried out per second, compensations included.
    pub steps_per_s: f64,
    /// From writing a start to its outcome: the median.
    pub p50_ms: f64,
    /// The same for the slowest hundredth.
    pub p99_ms: f64,
    /// Commits of the store per second; absent for a server that is not ours.
    pub commits_per_s: Option<f64>,
    /// Journal rows in a commit, on average.
    pub batch_mean: Option<f64>,
    /// The most memory that the server held, in MiB; absent where the system does not tell.
    pub rss_peak_mib: Option<f64>,
    /// Sagas that ended completed.
    pub completed: u64,
    /// Sagas that ended compensated.
    pub compensated: u64,
    /// Sagas without an end, and effects that are missing for their end.
    pub lost: u64,
    /// Ends and effects beyond those that there should be.
    pub duplicated: u64,
    /// Sagas asked for.
    pub sagas: u64,
    /// Sagas in flight.
    pub concurrency: u64,
    /// Steps of a saga.
    pub steps: u64,
    /// How long it took, without the warm-up.
    pub seconds: f64,
    /// The server's memory before the first saga, in MiB.
    pub rss_idle_mib: Option<f64>,
}

/// The server's memory, in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Before the first saga.
    pub idle: Option<f64>,
    /// The most that it ever was.
    pub peak: Option<f64>,
}

impl Report {
    /// Puts the figures together. `balance` covers the warm-up too, the figures do not.
    pub fn new(
        shape: Shape,
        tally: &mut Tally,
        journal: Option<Progress>,
        memory: Memory,
        balance: Balance,
    ) -> Self {
        let seconds = tally.elapsed.as_secs_f64().max(f64::EPSILON);
        let commands = tally.completed * shape.steps + tally.compensated * (2 * shape.steps - 1);
        tally.latencies_us.sort_unstable();
        let commits = journal.filter(|journal| journal.commits > 0);
        Self {
            sagas_per_s: round(tally.ended() as f64 / seconds, 1),
            steps_per_s: round(commands as f64 / seconds, 1),
            p50_ms: round(f64::from(percentile(&tally.latencies_us, 50)) / 1_000.0, 3),
            p99_ms: round(f64::from(percentile(&tally.latencies_us, 99)) / 1_000.0, 3),
            commits_per_s: commits.map(|journal| round(journal.commits as f64 / seconds, 1)),
            batch_mean: commits
                .map(|journal| round(journal.rows as f64 / journal.commits as f64, 1)),
            rss_peak_mib: memory.peak.map(|mib| round(mib, 1)),
            completed: tally.completed,
            compensated: tally.compensated,
            lost: balance.lost,
            duplicated: balance.duplicated,
            sagas: shape.sagas,
            concurrency: shape.concurrency,
            steps: shape.steps,
            seconds: round(seconds, 3),
            rss_idle_mib: memory.idle.map(|mib| round(mib, 1)),
        }
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let opt = |figure: Option<f64>, unit: &str| {
            figure.map_or("–".to_owned(), |f| format!("{}{unit}", grouped(f)))
        };
        let rows = [
            (
                "sagas",
                format!(
                    "{} at {} in flight, {} steps each",
                    grouped(self.sagas as f64),
                    self.concurrency,
                    self.steps
                ),
            ),
            ("took", format!("{:.2} s", self.seconds)),
            ("sagas/s", grouped(self.sagas_per_s)),
            ("steps/s", grouped(self.steps_per_s)),
            (
                "latency",
                format!("p50 {:.1} ms, p99 {:.1} ms", self.p50_ms, self.p99_ms),
            ),
            (
                "commits/s",
                format!(
                    "{}, {} rows each",
                    opt(self.commits_per_s, ""),
                    opt(self.batch_mean, "")
                ),
            ),
            (
                "memory",
                format!(
                    "{}, {} at most",
                    opt(self.rss_idle_mib, " MiB idle"),
                    opt(self.rss_peak_mib, " MiB")
                ),
            ),
            (
                "ended",
                format!(
                    "{} completed, {} compensated",
                    self.completed, self.compensated
                ),
            ),
            ("lost", self.lost.to_string()),
            ("duplicated", self.duplicated.to_string()),
        ];
        rows.iter()
            .map(|(name, text)| format!("{name:<11} {text}\n"))
            .collect()
    }
}

/// The balance of starts, ends and effects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Sagas without an end, and effects that are missing for their end.
    pub lost: u64,
    /// Ends and effects beyond those that there should be.
    pub duplicated: u64,
}

impl Balance {
    /// Compares the ends that the client saw with the effects that the participants counted, over whole runs.
    ///
    /// What an unfinished saga did is nobody's guess, so its effects are no duplicates.
    pub fn of(tallies: &[&Tally], steps: u64, compensate: bool, effects: Effects) -> Self {
        let sum = |count: fn(&Tally) -> u64| tallies.iter().map(|tally| count(tally)).sum::<u64>();
        let completed = sum(|tally| tally.completed);
        let compensated = sum(|tally| tally.compensated);
        let open = sum(|tally| tally.started - tally.refused) - sum(Tally::ended);
        let abandoned = sum(|tally| tally.abandoned);
        let slack = (open + abandoned) * steps;
        // Where every saga is undone, one that is not undone at all must show. Elsewhere a saga may fail at any step,
        // and only the net effect is known.
        let (done, undone) = if compensate {
            (
                completed * steps + compensated * (steps - 1),
                compensated * (steps - 1),
            )
        } else {
            (completed * steps + effects.undone, effects.undone)
        };
        let missing = done.saturating_sub(effects.done) + undone.saturating_sub(effects.undone);
        let extra = effects.done.saturating_sub(done).saturating_sub(slack)
            + effects.undone.saturating_sub(undone).saturating_sub(slack);
        Self {
            lost: open + missing,
            duplicated: extra + sum(|tally| tally.surplus),
        }
    }
}

/// The value below which `percent` of the sorted values lie, by nearest rank; zero for none.
fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

fn round(figure: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (figure * scale).round() / scale
}

/// Whole thousands apart; small figures with a decimal.
fn grouped(figure: f64) -> String {
    if figure < 1_000.0 && figure.fract() != 0.0 {
        format!("{figure:.1}")
    } else {
        // Figures are counts and rates: not negative, and far below 2^53.
        crate::show::output::count(figure.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tally(completed: u64, compensated: u64) -> Tally {
        Tally {
            started: completed + compensated,
            completed,
            compensated,
            ..Tally::default()
        }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u32> = (1..=200).collect();
        assert_eq!(
            [50, 99, 100].map(|p| percentile(&values, p)),
            [100, 198, 200]
        );
        assert_eq!(
            (
                percentile(&[7], 50),
                percentile(&[7], 99),
                percentile(&[], 50)
            ),
            (7, 7, 0)
        );
    }

    #[test]
    fn what_adds_up_is_neither_lost_nor_duplicated() {
        let effects = Effects {
            done: 40,
            refused: 0,
            undone: 0,
        };
        assert_eq!(
            Balance::of(&[&tally(4, 0), &tally(6, 0)], 4, false, effects),
            Balance::default()
        );
        let effects = Effects {
            done: 30,
            refused: 10,
            undone: 30,
        };
        assert_eq!(
            Balance::of(&[&tally(0, 10)], 4, true, effects),
            Balance::default()
        );
    }

    #[test]
    fn every_way_to_lose_or_repeat_shows() {
        let of = |tally: &Tally, compensate, done, undone| {
            let balance = Balance::of(
                &[tally],
                4,
                compensate,
                Effects {
                    done,
                    refused: 0,
                    undone,
                },
            );
            (balance.lost, balance.duplicated)
        };
        assert_eq!(
            of(&tally(10, 0), false, 39, 0),
            (1, 0),
            "a step without effect"
        );
        assert_eq!(of(&tally(10, 0), false, 41, 0), (0, 1), "a step twice");
        assert_eq!(
            of(&tally(0, 10), true, 30, 29),
            (1, 0),
            "an undo is missing"
        );
        assert_eq!(of(&tally(0, 10), true, 30, 31), (0, 1), "an undo twice");
        let open = Tally {
            started: 10,
            ..tally(9, 0)
        };
        assert_eq!(of(&open, false, 38, 0), (1, 0), "a saga without an end");
        let surplus = Tally {
            surplus: 1,
            ..tally(10, 0)
        };
        assert_eq!(of(&surplus, false, 40, 0), (0, 1), "an end twice");
    }

    #[test]
    fn the_names_are_api() {
        let shape = Shape {
            sagas: 10,
            concurrency: 2,
            steps: 4,
            compensate: false,
        };
        let mut tally = Tally {
            latencies_us: vec![3_000, 1_000, 2_000],
            elapsed: Duration::from_secs(2),
            ..tally(10, 0)
        };
        let journal = Some(Progress {
            commits: 5,
            rows: 50,
        });
        let memory = Memory {
            idle: Some(10.04),
            peak: None,
        };
        let report = Report::new(shape, &mut tally, journal, memory, Balance::default());
        insta::assert_snapshot!(serde_json::to_string_pretty(&report).expect("JSON"), @r#"
        {
          "sagas_per_s": 5.0,
          "steps_per_s": 20.0,
          "p50_ms": 2.0,
          "p99_ms": 3.0,
          "commits_per_s": 2.5,
          "batch_mean": 10.0,
          "rss_peak_mib": null,
          "completed": 10,
          "compensated": 0,
          "lost": 0,
          "duplicated": 0,
          "sagas": 10,
          "concurrency": 2,
          "steps": 4,
          "seconds": 2.0,
          "rss_idle_mib": 10.0
        }
        "#);
        insta::assert_snapshot!(report.text(), @r"
        sagas       10 at 2 in flight, 4 steps each
        took        2.00 s
        sagas/s     5
        steps/s     20
        latency     p50 2.0 ms, p99 3.0 ms
        commits/s   2.5, 10 rows each
        memory      10 MiB idle, – at most
        ended       10 completed, 0 compensated
        lost        0
        duplicated  0
        ");
    }
}
