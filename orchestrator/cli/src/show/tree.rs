//! The steps of a saga as a tree, one row a step, with what each is at and a small picture of when it ran.

use saga_proto::v1::{SagaDetail, StepDetail};

use super::{
    output::Frame,
    table::{self, Text},
    timeline, words,
};

/// Narrower than this, the picture of times is smaller, and the kinds of the steps make room for it.
const ROOMY_FROM_WIDTH: u16 = 110;

/// One row of the tree: its lines and the step; `None` for the row of a group.
struct Branch<'a> {
    label: String,
    step: Option<&'a StepDetail>,
}

/// Draws the tree; empty for a saga without steps.
pub fn draw(detail: &SagaDetail, frame: Frame) -> String {
    if detail.steps.is_empty() {
        return String::new();
    }
    let summary = detail.summary.clone().unwrap_or_default();
    let forward = summary.status == "running";
    let roomy = frame.width.is_none_or(|width| width >= ROOMY_FROM_WIDTH);
    let window = timeline::Window::of(&summary, frame.now_us, roomy);
    let scale = window.scale();
    let mut header = vec!["   STEP", "STATUS", "TRIES", &scale, "NOTE"];
    if roomy {
        header.insert(1, "KIND");
    }
    let rows = branches(&detail.steps).into_iter().map(|branch| {
        let Some(step) = branch.step else {
            let blanks = header.len() - 1;
            return std::iter::once(Text::plain(branch.label))
                .chain((0..blanks).map(|_| Text::plain("")))
                .collect();
        };
        let mut row = vec![
            Text::plain(branch.label),
            words::step(step, forward, frame.now_us).into(),
            Text::plain(words::tries(step.tries, step.undo_tries)),
            Text::rigid(window.bar(step)),
            Text::plain(note(step)),
        ];
        if roomy {
            row.insert(1, Text::dim(step.kind.as_str()));
        }
        row
    });
    table::draw(&header, rows.collect(), frame)
}

/// Why it waits, or its last error; a second round is worth a word, for somebody ordered it.
fn note(step: &StepDetail) -> String {
    let round = if step.round > 1 {
        format!("round {}", step.round)
    } else {
        String::new()
    };
    let error = step
        .error
        .as_ref()
        .map(|fault| match fault.code.is_empty() {
            true => fault.message.clone(),
            false => format!("{}: {}", fault.code, fault.message),
        });
    // An error that was overcome is history, and would only worry people.
    let overcome = matches!(
        step.status.as_str(),
        "succeeded" | "compensated" | "nothing_to_undo"
    );
    let error = error.filter(|_| !overcome);
    let text = if step.note.is_empty() {
        error.unwrap_or_default()
    } else {
        step.note.clone()
    };
    [round, text]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

/// Steps in order, each with the groups around it, become rows with lines.
fn branches(steps: &[StepDetail]) -> Vec<Branch<'_>> {
    let mut rows = Vec::with_capacity(steps.len());
    grow(steps, 0, " ", true, &mut rows);
    rows
}

/// Rows of the steps that share their first `depth` groups. `indent` is what stands before each of them; only the
/// outermost list begins with a corner, since the others hang from their group's row.
fn grow<'a>(
    steps: &'a [StepDetail],
    depth: usize,
    indent: &str,
    outermost: bool,
    rows: &mut Vec<Branch<'a>>,
) {
    let mut rest = steps;
    let mut first = outermost;
    while let Some(head) = rest.first() {
        let group = head.groups.get(depth);
        let length = match group {
            None => 1,
            Some(_) => rest
                .iter()
                .take_while(|step| step.groups.get(depth) == group)
                .count(),
        };
        let (members, after) = rest.split_at(length);
        let last = after.is_empty();
        let line = match (first, last) {
            (true, true) => "──",
            (true, false) => "┌─",
            (false, false) => "├─",
            (false, true) => "└─",
        };
        match group {
            None => rows.push(Branch {
                label: format!("{indent}{line} {}", head.id),
                step: Some(head),
            }),
            Some(group) => {
                rows.push(Branch {
                    label: format!("{indent}{line} {}", group_word(group)),
                    step: None,
                });
                let deeper = if last { "   " } else { "│  " };
                grow(
                    members,
                    depth + 1,
                    &format!("{indent}{deeper}"),
                    false,
                    rows,
                );
            }
        }
        rest = after;
        first = false;
    }
}

/// A server that tells two neighbouring groups apart writes `parallel:2`; the number is not for people.
fn group_word(group: &str) -> &str {
    group.split_once(':').map_or(group, |(word, _)| word)
}

/// What a step is at, in one line: for the plain form of `watch`.
pub fn step_line(step: &StepDetail, forward: bool, now_us: i64) -> String {
    let word = words::step(step, forward, now_us);
    let note = note(step);
    let tries = match step.tries + step.undo_tries {
        0 => String::new(),
        _ => format!("  tries {}", words::tries(step.tries, step.undo_tries)),
    };
    let note = if note.is_empty() {
        note
    } else {
        format!("  {note}")
    };
    format!("{}  {}{tries}{note}", step.id, word.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id: &str, groups: &[&str]) -> StepDetail {
        StepDetail {
            id: id.into(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..StepDetail::default()
        }
    }

    fn lines(steps: &[StepDetail]) -> String {
        branches(steps)
            .into_iter()
            .map(|branch| branch.label + "\n")
            .collect()
    }

    #[test]
    fn groups_nest_and_their_last_member_closes_the_line() {
        let steps = [
            step("a", &[]),
            step("b", &["parallel:1", "sequence"]),
            step("c", &["parallel:1", "sequence"]),
            step("d", &["parallel:1"]),
            step("e", &["parallel:2"]),
            step("f", &["parallel:2"]),
        ];
        insta::assert_snapshot!(lines(&steps), @r"
        ┌─ a
        ├─ parallel
        │  ├─ sequence
        │  │  ├─ b
        │  │  └─ c
        │  └─ d
        └─ parallel
           ├─ e
           └─ f
        ");
    }

    #[test]
    fn one_step_is_a_line_and_none_is_nothing() {
        assert_eq!(lines(&[step("only", &[])]), " ── only\n");
        assert_eq!(lines(&[]), "");
        assert_eq!(
            draw(
                &SagaDetail::default(),
                Frame {
                    width: None,
                    now_us: 0
                }
            ),
            ""
        );
    }

    #[test]
    fn notes_prefer_the_reason_to_the_error() {
        let mut one = step("a", &[]);
        one.round = 2;
        one.error = Some(saga_proto::v1::Fault {
            code: "card_declined".into(),
            message: "no funds".into(),
            step: String::new(),
        });
        assert_eq!(note(&one), "round 2; card_declined: no funds");
        one.status = "succeeded".into();
        assert_eq!(note(&one), "round 2");
        one.note = "no live participant payments".into();
        assert_eq!(note(&one), "round 2; no live participant payments");
    }
}
