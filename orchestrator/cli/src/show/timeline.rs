//! When each step ran, as a bar over the life of its saga: `██` the action, `▒▒` its undo.

use saga_proto::v1::{SagaSummary, StepDetail};

use super::time;

/// Cells of a bar.
const CELLS: usize = 24;
/// Cells of a bar in a narrow terminal.
const CELLS_FEW: usize = 14;

/// The life of a saga so far, in microseconds.
pub struct Window {
    from_us: i64,
    to_us: i64,
    /// Cells of a bar.
    cells: usize,
}

impl Window {
    /// From the saga's start to its end, or to now.
    pub fn of(summary: &SagaSummary, now_us: i64, roomy: bool) -> Self {
        let to_us = if summary.ended_at_us == 0 {
            now_us
        } else {
            summary.ended_at_us
        };
        Self {
            from_us: summary.started_at_us,
            to_us: to_us.max(summary.started_at_us.saturating_add(1)),
            cells: if roomy { CELLS } else { CELLS_FEW },
        }
    }

    /// What stands above the bars: `0s` at the left, the saga's age at the right.
    pub fn scale(&self) -> String {
        let age = time::span(self.to_us.saturating_sub(self.from_us));
        format!("0s{age:>width$}", width = self.cells - 2)
    }

    /// The bar of one step.
    pub fn bar(&self, step: &StepDetail) -> String {
        let mut cells = vec![' '; self.cells];
        self.fill(&mut cells, step.started_at_us, step.settled_at_us, '█');
        self.fill(
            &mut cells,
            step.undo_started_at_us,
            step.undo_settled_at_us,
            '▒',
        );
        cells.into_iter().collect::<String>().trim_end().to_owned()
    }

    /// What began and has not ended reaches up to now; what began fills one cell at least.
    fn fill(&self, cells: &mut [char], begin_us: i64, end_us: i64, with: char) {
        if begin_us == 0 {
            return;
        }
        let end_us = if end_us == 0 { self.to_us } else { end_us };
        let first = self.cell(begin_us);
        let last = self.cell(end_us).max(first);
        for cell in &mut cells[first..=last] {
            *cell = with;
        }
    }

    fn cell(&self, at_us: i64) -> usize {
        let life = (i128::from(self.to_us) - i128::from(self.from_us)).max(1);
        let at = (i128::from(at_us) - i128::from(self.from_us)).clamp(0, life);
        usize::try_from(at * self.cells as i128 / life)
            .unwrap_or(0)
            .min(self.cells - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn bars_show_action_and_undo() {
        let summary = SagaSummary {
            started_at_us: 100 * SECOND,
            ended_at_us: 124 * SECOND,
            ..SagaSummary::default()
        };
        let window = Window::of(&summary, 999 * SECOND, true);
        assert_eq!(window.scale(), "0s                   24s");
        let step = StepDetail {
            started_at_us: 100 * SECOND,
            settled_at_us: 102 * SECOND,
            undo_started_at_us: 110 * SECOND,
            ..StepDetail::default()
        };
        assert_eq!(window.bar(&step), "███       ▒▒▒▒▒▒▒▒▒▒▒▒▒▒");
        assert_eq!(window.bar(&StepDetail::default()), "");
    }

    #[test]
    fn times_outside_of_the_window_do_not_panic() {
        let summary = SagaSummary {
            started_at_us: i64::MAX,
            ..SagaSummary::default()
        };
        let window = Window::of(&summary, i64::MIN, true);
        for at in [i64::MIN, -1, 1, i64::MAX] {
            let step = StepDetail {
                started_at_us: at,
                settled_at_us: at.wrapping_neg(),
                ..StepDetail::default()
            };
            window.bar(&step);
        }
        let backwards = SagaSummary {
            started_at_us: i64::MIN,
            ended_at_us: i64::MAX,
            ..SagaSummary::default()
        };
        Window::of(&backwards, 0, false).bar(&StepDetail {
            started_at_us: 5,
            ..StepDetail::default()
        });
    }
}
