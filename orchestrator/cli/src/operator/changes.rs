//! What changed between two pictures of a saga, one line each: `watch` where nothing can be redrawn.

use saga_proto::v1::{SagaDetail, SagaSummary, StepDetail};

use crate::show::{output::printable, time, tree, words};

/// The lines to print after a picture; `before` is the one before it.
pub fn lines(before: Option<&SagaDetail>, now: &SagaDetail) -> Vec<String> {
    let at = time::utc(now.now_us);
    let none = SagaSummary::default();
    let old = before.and_then(|detail| detail.summary.as_ref());
    let new = now.summary.as_ref().unwrap_or(&none);
    let forward = new.status == "running";
    let mut lines = Vec::new();
    let mut say = |text: String| lines.push(format!("{at}  {}", printable(&text)));
    for step in &now.steps {
        let same = before.and_then(|detail| detail.steps.iter().find(|old| old.id == step.id));
        if changed(same, step) {
            say(tree::step_line(step, forward, now.now_us));
        }
    }
    for incident in &now.incidents {
        let known = before.is_some_and(|detail| detail.incidents.contains(incident));
        if !known {
            say(format!("incident {}", words::incident(incident)));
        }
    }
    // The saga's own status stands last: it is what the steps made of it.
    if old.is_none_or(|old| (&old.status, &old.mark) != (&new.status, &new.mark)) {
        say(format!(
            "{}@{}  {}",
            new.name,
            new.version,
            words::saga(new).text()
        ));
    }
    lines
}

/// A countdown is no change. A step that has not begun is nothing to tell at first sight.
fn changed(before: Option<&StepDetail>, now: &StepDetail) -> bool {
    match before {
        None => now.status != "pending",
        Some(old) => {
            (&old.status, old.tries, old.undo_tries, old.round)
                != (&now.status, now.tries, now.undo_tries, now.round)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::sample;

    #[test]
    fn the_first_picture_tells_what_has_begun() {
        insta::assert_snapshot!(lines(None, &sample::compensating()).join("\n"), @r"
        2026-05-28T20:26:40.000Z  reserve_flight  ↩ compensated  tries 1 + 1
        2026-05-28T20:26:40.000Z  reserve_hotel  ↺ undo in 8s  tries 1 + 4  hotels/cancel: 503 service unavailable
        2026-05-28T20:26:40.000Z  charge_card  ✗ refused  tries 1  card_declined: insufficient funds
        2026-05-28T20:26:40.000Z  book_trip@1  ↺ compensating
        ");
    }

    #[test]
    fn later_ones_tell_changes_only() {
        let before = sample::compensating();
        let mut now = before.clone();
        now.now_us += 1_000_000;
        assert_eq!(lines(Some(&before), &now), Vec::<String>::new());
        now.steps[1].status = "compensated".into();
        now.steps[1].note = String::new();
        now.steps[1].undo_tries = 5;
        if let Some(summary) = &mut now.summary {
            summary.status = "compensated".into();
        }
        insta::assert_snapshot!(lines(Some(&before), &now).join("\n"), @r"
        2026-05-28T20:26:41.000Z  reserve_hotel  ↩ compensated  tries 1 + 5
        2026-05-28T20:26:41.000Z  book_trip@1  ↩ compensated
        ");
    }

    #[test]
    fn an_incident_is_told_once() {
        let detail = sample::incident();
        let first = lines(None, &detail);
        assert_eq!(
            first
                .iter()
                .filter(|line| line.contains("pivot_unknown"))
                .count(),
            1
        );
        assert_eq!(lines(Some(&detail), &detail), Vec::<String>::new());
    }
}
