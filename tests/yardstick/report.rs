//! Figures of the rounds, and the ratios between them.

use std::collections::BTreeMap;

use crate::engine::Run;

/// The figures of one road.
pub(crate) struct Report {
    title: &'static str,
    /// What was measured and its unit, in order of appearance, with a figure a round.
    figures: Vec<((&'static str, &'static str), Vec<f64>)>,
    ratios: Vec<String>,
}

impl Report {
    pub(crate) fn new(title: &'static str) -> Self {
        Self {
            title,
            figures: Vec::new(),
            ratios: Vec::new(),
        }
    }

    /// Takes down a figure of this round.
    pub(crate) fn note(&mut self, what: &'static str, unit: &'static str, figure: f64) {
        match self
            .figures
            .iter_mut()
            .find(|(name, _)| *name == (what, unit))
        {
            Some((_, figures)) => figures.push(figure),
            None => self.figures.push(((what, unit), vec![figure])),
        }
    }

    /// Takes down a run of saga.
    pub(crate) fn engine(&mut self, what: &'static str, run: &Run) {
        self.note(what, "steps/s", run.steps_per_s);
        self.note(what, "sagas/s", run.sagas_per_s);
        self.note(what, "p50 ms", run.p50_ms);
        self.note(what, "p99 ms", run.p99_ms);
        self.note(what, "rows/s", run.commits_per_s * run.batch_mean);
        self.note(what, "rows a commit", run.batch_mean);
        self.note(what, "peak MiB", run.rss_peak_mib);
    }

    /// A ratio of figures of the same round; more is better, `goal` is where to get to.
    pub(crate) fn ratio(
        &mut self,
        what: &str,
        goal: f64,
        of: impl Fn(&dyn Fn(&'static str, &'static str) -> f64) -> f64,
    ) {
        let line = self.line(what, of);
        self.ratios.push(format!("{line}   goal: at least {goal}"));
    }

    /// As [`Report::ratio`], where less is better.
    pub(crate) fn cost(
        &mut self,
        what: &str,
        goal: f64,
        of: impl Fn(&dyn Fn(&'static str, &'static str) -> f64) -> f64,
    ) {
        let line = self.line(what, of);
        self.ratios.push(format!("{line}   goal: at most {goal}"));
    }

    fn line(
        &self,
        what: &str,
        of: impl Fn(&dyn Fn(&'static str, &'static str) -> f64) -> f64,
    ) -> String {
        let figures: BTreeMap<_, _> = self
            .figures
            .iter()
            .map(|(name, figures)| (*name, figures))
            .collect();
        let rounds = self.figures.first().map_or(0, |(_, figures)| figures.len());
        let mut ratios: Vec<f64> = (0..rounds)
            .map(|n| of(&|what, unit| figures[&(what, unit)][n]))
            .collect();
        ratios.sort_by(f64::total_cmp);
        let (low, high) = (ratios[0], ratios[rounds - 1]);
        format!(
            "{what:<58} {:>6.2}  ({low:.2} to {high:.2})",
            median(&ratios)
        )
    }

    /// Prints all of it, as Markdown.
    pub(crate) fn print(&self) {
        println!(
            "\n## {}\n\n| | | median | lowest | highest |\n|---|---|---|---|---|",
            self.title
        );
        for ((what, unit), figures) in &self.figures {
            let mut sorted = figures.clone();
            sorted.sort_by(f64::total_cmp);
            let digits = if sorted[0] < 100.0 { 2 } else { 0 };
            println!(
                "| {what} | {unit} | {:.digits$} | {:.digits$} | {:.digits$} |",
                median(&sorted),
                sorted[0],
                sorted[sorted.len() - 1]
            );
        }
        println!("\n```text");
        for ratio in &self.ratios {
            println!("{ratio}");
        }
        println!("```");
    }
}

/// Of figures in order.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}
