//! From the engine's types to the messages of the wire, for everything that is shown.

use std::collections::BTreeMap;

use bytes::Bytes;
use saga_core::{ErrorBody, SagaId, Timestamp, state::StepState};
use saga_dsl::definition::Node;
use saga_proto::{limits::ERROR_TEXT_BYTES_MAX, v1 as wire};

use super::{
    picture::Seen,
    sizes::{self, Room},
};
use crate::story::{
    detail::{self, StepView},
    fold::Picture,
    why as story, words,
};
use saga_engine::{document::clean_text, lane::clock::LaneClock, store::record::SagaRow};

/// A saga's line in a list. `folded` is absent for sagas that have ended: nothing of it would be shown.
pub(super) fn summary(
    row: &SagaRow,
    folded: Option<&Result<Picture, String>>,
    now: Timestamp,
) -> wire::SagaSummary {
    let (shown, step) = match folded {
        Some(Ok(picture)) => {
            let shown = story::summary(picture, now);
            let step = shown
                .step
                .map(|ix| words::step(&picture.plan, ix).to_owned());
            (shown, step)
        }
        Some(Err(why)) => (
            story::Summary {
                mark: "incident",
                next: why.clone(),
                ..Default::default()
            },
            None,
        ),
        None => (story::Summary::default(), None),
    };
    let mark = if row.face.incident {
        "incident"
    } else {
        shown.mark
    };
    wire::SagaSummary {
        saga_id: id_bytes(row.id),
        id: row.id.to_string(),
        name: row.name.clone(),
        version: row.version,
        status: row.face.status.word().to_owned(),
        // Of a saga that has ended, only an incident that nobody has acknowledged is left.
        mark: if row.face.status.is_open() || row.face.incident {
            mark
        } else {
            ""
        }
        .to_owned(),
        key: row.key.clone().unwrap_or_default(),
        labels: row.labels.clone().into_iter().collect(),
        started_at_us: row.started_at.0,
        ended_at_us: row.face.ended_at.map_or(0, |at| at.0),
        step: step.unwrap_or_default(),
        tries: shown.tries,
        next: clean_text(shown.next, 2 * ERROR_TEXT_BYTES_MAX),
        next_due_us: shown.next_due.map_or(0, |at| at.0),
        exceptions: row.face.exceptions,
    }
}

/// The whole picture of a saga.
/// A saga as it stands, by the lane's clock; says so if the host's shows another time.
pub(super) fn detail_by(seen: &Seen, clock: &LaneClock) -> wire::SagaDetail {
    let mut detail = detail(seen, clock.now());
    if seen.row.face.ended_at.is_none() {
        detail
            .story
            .extend(clock.drift().map(|drift| drift.to_string()));
    }
    detail
}

pub(super) fn detail(seen: &Seen, now: Timestamp) -> wire::SagaDetail {
    let mut detail = wire::SagaDetail {
        summary: Some(summary(&seen.row, Some(&seen.folded), now)),
        now_us: now.0,
        definition_hash: hash_text(&seen.row.hash),
        ..wire::SagaDetail::default()
    };
    let picture = match &seen.folded {
        Ok(picture) => picture,
        Err(why) => {
            detail.story = vec![why.clone()];
            return detail;
        }
    };
    let state = &picture.state;
    let birth = state.birth.as_ref();
    let (mut room, mut left_out) = (Room::new(), false);
    detail.input = room.take(birth.map(|birth| &birth.input), &mut left_out);
    detail.output = room.take(state.output.as_ref(), &mut left_out);
    detail.left_out = left_out;
    detail.output_error = state.output_error.as_ref().map(|error| fault(error, ""));
    detail.failure = failure(picture);
    detail.deadline_us = birth.and_then(|birth| birth.deadline).map_or(0, |at| at.0);
    let groups = groups(&picture.plan.definition.steps);
    for view in detail::steps(picture) {
        let Some(mut step) = step(picture, &view, &mut room) else {
            continue;
        };
        step.groups = groups.get(&*step.id).cloned().unwrap_or_default();
        left_out |= step.left_out;
        detail.steps.push(step);
    }
    detail.incidents = state
        .incidents
        .iter()
        .map(|open| incident(picture, open))
        .collect();
    detail.story = story::story(picture, now);
    if left_out {
        detail.story.push(
            "Some inputs and outputs are too large to be shown here; the history has them."
                .to_owned(),
        );
    }
    detail.seq = state.seq;
    detail.cancel_reason = state.cancel.as_deref().unwrap_or_default().to_owned();
    // Row and journal are two reads; the journal's word is the one that the rest of the picture tells.
    if let Some(summary) = &mut detail.summary {
        state.status.word().clone_into(&mut summary.status);
        summary.ended_at_us = state.ended_at.map_or(0, |at| at.0);
        summary.exceptions = state.exceptions;
    }
    sizes::cut_texts(&mut detail);
    detail
}

/// Why a saga goes or went back.
pub(super) fn failure(picture: &Picture) -> Option<wire::Fault> {
    let failure = picture.state.failure.as_ref()?;
    let step = failure
        .step
        .map(|ix| words::step(&picture.plan, ix))
        .unwrap_or_default();
    Some(fault(&failure.error, step))
}

fn incident(picture: &Picture, open: &saga_core::state::OpenIncident) -> wire::Incident {
    wire::Incident {
        code: story::incident_code(open.incident.kind).to_owned(),
        step: open
            .incident
            .step
            .map(|ix| words::step(&picture.plan, ix))
            .unwrap_or_default()
            .to_owned(),
        message: words::error(&open.incident.error),
        since_us: open.since.0,
    }
}

fn step(picture: &Picture, view: &StepView, room: &mut Room) -> Option<wire::StepDetail> {
    let planned = picture.plan.step(view.ix)?;
    let state: &StepState = picture.state.steps.get(view.ix.at())?;
    let at = |moment: Option<Timestamp>| moment.map_or(0, |at| at.0);
    let mut left_out = false;
    Some(wire::StepDetail {
        id: planned.id.clone(),
        depth: u32::try_from(planned.groups.len()).unwrap_or(u32::MAX),
        kind: detail::kind_word(planned.kind).to_owned(),
        action: words::action(&picture.plan, view.ix),
        compensation: words::compensation(&picture.plan, view.ix),
        status: view.status.to_owned(),
        tries: state.attempts,
        undo_tries: state.undo_attempts,
        note: view.note.clone(),
        next_due_us: at(view.next_due),
        input: room.take(state.input.as_ref(), &mut left_out),
        output: room.take(view.output.as_ref(), &mut left_out),
        error: view.error.as_ref().map(|error| fault(error, &planned.id)),
        started_at_us: at(state.first_sent),
        settled_at_us: at(state.settled_at),
        undo_started_at_us: at(state.undo_first_sent),
        undo_settled_at_us: at(state.undo_settled_at),
        groups: Vec::new(),
        round: state.round,
        left_out,
    })
}

/// The groups around each step, from the outside in. One that stands right behind another of its kind is numbered,
/// `parallel:2`: a list of steps alone would not tell the two apart.
fn groups(items: &[Node]) -> BTreeMap<&str, Vec<String>> {
    let mut found = BTreeMap::new();
    collect_groups(items, &[], &mut found);
    found
}

fn collect_groups<'a>(
    items: &'a [Node],
    around: &[String],
    found: &mut BTreeMap<&'a str, Vec<String>>,
) {
    let mut before = ("", 0);
    for item in items {
        let (word, inside) = match item {
            Node::Step(step) => {
                before = ("", 0);
                found.insert(&step.step, around.to_vec());
                continue;
            }
            Node::Parallel(group) => ("parallel", &group.parallel),
            Node::Sequence(group) => ("sequence", &group.sequence),
        };
        let number = if before.0 == word { before.1 + 1 } else { 1 };
        before = (word, number);
        let name = if number == 1 {
            word.to_owned()
        } else {
            format!("{word}:{number}")
        };
        collect_groups(inside, &[around, &[name]].concat(), found);
    }
}

fn fault(error: &ErrorBody, step: &str) -> wire::Fault {
    let message = clean_text(error.message.clone(), ERROR_TEXT_BYTES_MAX);
    wire::Fault {
        code: error.code.clone(),
        message,
        step: step.to_owned(),
    }
}

/// A saga id as it travels.
pub(super) fn id_bytes(id: SagaId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

/// A content hash as people see it: 64 hexadecimal digits.
pub(super) fn hash_text(hash: &[u8; 32]) -> String {
    use std::fmt::Write;
    hash.iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_groups_are_told_apart() {
        let step = |id: &str| serde_json::json!({"step": id, "action": "p/do"});
        let items: Vec<Node> = serde_json::from_value(serde_json::json!([
            {"parallel": [step("a"), {"sequence": [step("b")]}, {"sequence": [step("c")]}]},
            {"parallel": [step("d")]},
            step("e"),
            {"parallel": [step("f")]},
        ]))
        .expect("steps");
        let groups = groups(&items);
        let of = |id: &str| groups[id].join("/");
        assert_eq!(
            [of("a"), of("b"), of("c")],
            ["parallel", "parallel/sequence", "parallel/sequence:2"]
        );
        assert_eq!([of("d"), of("e"), of("f")], ["parallel:2", "", "parallel"]);
    }
}
