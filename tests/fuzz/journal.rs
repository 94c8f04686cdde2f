//! Journals: rows to records, records to a state, and the state to everything that screens and the lane do with it.
//!
//! A journal that makes no sense may be refused or fold to nonsense; it must not bring anybody down. The fixtures are
//! real journals, and their edits are what a damaged store could hold.

use std::sync::Arc;

use saga_core::{
    ErrorBody, Input, Payload, Record, SagaId, Timestamp, apply_record,
    command::{addressee, outstanding},
    decide,
    event::{Incident, IncidentKind},
    input::{Cancel, Intervention, Lost, Order, Outcome, Reply},
    scope::status_word,
    state::OpenIncident,
};
use saga_dsl::plan::{Plan, StepIx};
use saga_engine::store::record::JournalRow;
use saga_server::story::{detail, events, fold::Picture, why as story};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    edits::{edited, files, grafted},
    run::fuzz,
    walk::{self, gate},
};

#[derive(Deserialize)]
struct Journal {
    saga: SagaId,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    seq: u64,
    at: Timestamp,
    body: Box<RawValue>,
}

fn plan() -> Arc<Plan> {
    let canonical = files("tests/fixtures/journal-1", "definition.json");
    let canonical = std::str::from_utf8(&canonical[0])
        .expect("UTF-8")
        .trim_end();
    Arc::new(Plan::from_canonical(canonical).expect("the definition loads"))
}

/// Those that a release wrote, and some with events that are rarer.
fn journals(plan: &Arc<Plan>) -> Vec<Value> {
    let documents = files("tests/fixtures/journal-1", ".json");
    let documents = documents
        .iter()
        .map(|text| serde_json::from_slice(text).expect("JSON"));
    let mut journals: Vec<Value> = documents
        .filter(|document: &Value| document.get("rows").is_some())
        .collect();
    assert!(journals.len() > 3, "the fixtures are gone");
    journals.extend(walk::journals(plan, 40));
    journals
}

#[test]
fn journal() {
    let plan = plan();
    fuzz("journal", grafted(journals(&plan)), |bytes| {
        target(&plan, bytes)
    });
}

/// One row, as bytes: what the store gives back is a record, or is refused.
#[test]
fn record() {
    let rows = journals(&plan())
        .into_iter()
        .flat_map(|journal| journal["rows"].as_array().expect("rows").clone());
    let bodies = rows
        .map(|row| row["body"].to_string().into_bytes())
        .collect();
    let words = &[
        "\"",
        "{",
        "}",
        "null",
        "1",
        "-1",
        "99999999999",
        "\"v\":",
        "2",
        ",",
        "\"step\":",
        "[",
        "\\u0000",
        "\\ud800",
        "1e999",
        "{}",
    ];
    fuzz("record", edited(bodies, words), |bytes| {
        if let Ok(record) = serde_json::from_slice::<Record>(bytes) {
            let again = serde_json::to_vec(&record).expect("a record is JSON");
            assert_eq!(
                serde_json::from_slice::<Record>(&again).expect("what was written can be read"),
                record
            );
        }
    });
}

pub fn target(plan: &Arc<Plan>, bytes: &[u8]) {
    let Ok(journal) = serde_json::from_slice::<Journal>(bytes) else {
        return;
    };
    let row = |row: &Row| JournalRow {
        saga_id: journal.saga,
        seq: row.seq,
        at: row.at,
        body: row.body.get().as_bytes().to_vec(),
    };
    let rows: Vec<JournalRow> = journal.rows.iter().map(row).collect();
    let last = rows.last().map_or(Timestamp(0), |row| row.at);
    for length in 0..=rows.len() {
        if let Ok(picture) = Picture::fold(Arc::clone(plan), journal.saga, &rows[..length]) {
            for now in [last, Timestamp(i64::MIN), Timestamp(0), Timestamp(i64::MAX)] {
                is_told(&picture, now);
            }
        }
    }
    for row in &rows {
        if let Ok(record) = serde_json::from_slice::<Record>(&row.body) {
            for event in &record.events {
                let line = events::describe(plan, event, row.at);
                assert!(!line.kind.is_empty() && !line.text.is_empty(), "{event:?}");
            }
        }
    }
    if let Ok(picture) = Picture::fold(Arc::clone(plan), journal.saga, &rows)
        && picture.state.birth.is_some()
    {
        goes_on(plan, &picture, last);
    }
}

/// Whatever a screen shows of a saga can be shown.
pub fn is_told(picture: &Picture, now: Timestamp) {
    let story = story::story(picture, now);
    assert!(
        !story.is_empty() && story.iter().all(|sentence| !sentence.trim().is_empty()),
        "{story:?}"
    );
    let summary = story::summary(picture, now);
    assert_eq!(
        summary.mark == "incident",
        !picture.state.incidents.is_empty()
    );
    let steps = detail::steps(picture);
    assert_eq!(steps.len(), picture.state.steps.len());
    assert!(steps.iter().all(|step| !step.status.is_empty()));
    assert!(
        picture
            .state
            .steps
            .iter()
            .all(|step| !status_word(step).is_empty())
    );
    for open in &picture.state.incidents {
        assert!(!story::incident(picture, open, now).is_empty());
    }
    let open = picture.state.birth.is_some() && !picture.state.status.is_end();
    if open
        && outstanding(&picture.plan, &picture.state).is_empty()
        && picture.state.next_due().is_none()
    {
        // Nothing moves it by itself: then the story says what it waits for.
        assert!(
            story.len() > 1 || !summary.next.is_empty(),
            "an open saga without a word: {story:?}"
        );
    }
}

/// Whatever the lane asks about a saga that it loaded gets an answer.
fn goes_on(plan: &Arc<Plan>, picture: &Picture, last: Timestamp) {
    let state = &picture.state;
    let error = || ErrorBody::new("odd", "as the case says");
    let mut inputs = vec![
        Input::Due,
        Input::Wake,
        Input::Cancel(Cancel {
            reason: "no".to_owned(),
            by: String::new(),
            act: None,
        }),
        Input::Trouble(error()),
    ];
    let orders = || {
        let payload = || Payload::from_value(Value::Null);
        [
            Order::Retry { input: None },
            Order::Retry {
                input: Some(payload()),
            },
            Order::Skip,
            Order::ResolveSucceeded { output: payload() },
            Order::ResolveFailed,
            Order::Abandon,
            Order::Acknowledge,
        ]
    };
    for step in (0_u16..)
        .map(StepIx)
        .take(plan.steps.len())
        .map(Some)
        .chain([None])
    {
        inputs.extend(orders().map(|order| {
            let (reason, by) = ("no".to_owned(), String::new());
            Input::Intervene(Intervention {
                order,
                step,
                reason,
                by,
                force: true,
                act: None,
            })
        }));
    }
    for command in outstanding(plan, state) {
        let (participant, _) = addressee(plan, command.step, command.op).unwrap_or(("nobody", ""));
        let (step, round, op, attempt) = (command.step, command.round, command.op, command.attempt);
        let null = || Payload::from_value(Value::Null);
        let outcomes = [
            Outcome::Succeeded(null()),
            Outcome::Refused(error()),
            Outcome::Failed(error()),
            Outcome::Accepted,
            Outcome::Absent,
            Outcome::Sealed,
            Outcome::OutputNotTaken(error()),
            Outcome::Compensated,
        ];
        inputs.extend(outcomes.into_iter().map(|outcome| {
            Input::Reply(Reply {
                participant: participant.into(),
                step,
                round,
                op,
                attempt,
                outcome,
            })
        }));
        inputs.push(Input::Lost(Lost {
            step,
            round,
            op,
            attempt,
            unsent: true,
            error: error(),
        }));
    }
    for input in inputs {
        for (now, how) in [
            (last, 0),
            (last, 1),
            (Timestamp(i64::MAX), 0),
            (Timestamp(i64::MIN), 2),
        ] {
            let Ok(decision) = decide(plan, state, &input, &gate(plan, how), now) else {
                continue;
            };
            if decision.events.is_empty() {
                continue;
            }
            let record = Record {
                v: Record::VERSION,
                events: decision.events,
            };
            assert_eq!(
                apply_record(state.clone(), &record, now),
                decision.state,
                "{input:?} {record:?}"
            );
        }
    }
}

#[test]
fn every_kind_of_incident_is_told() {
    // The walk meets most of them; that none is left out is for the compiler to see.
    let plan = plan();
    let all = [
        IncidentKind::Slow,
        IncidentKind::UndoSlow,
        IncidentKind::UndoStuck,
        IncidentKind::RetriableRefused,
        IncidentKind::RetriableExhausted,
        IncidentKind::Expression,
        IncidentKind::Deadline,
        IncidentKind::PivotUnknown,
        IncidentKind::OutputNotTaken,
        IncidentKind::Contradiction,
        IncidentKind::Internal,
    ];
    let rows = Vec::new();
    let picture = Picture::fold(plan, SagaId::from_u128(1), &rows).expect("an empty journal");
    for kind in all {
        let incident = Incident {
            step: None,
            kind,
            error: ErrorBody::new("e", "m"),
            lasting: kind.outlives_its_saga(),
        };
        let open = OpenIncident {
            incident: Arc::new(incident),
            since: Timestamp(0),
        };
        assert!(!story::incident(&picture, &open, Timestamp(0)).is_empty());
    }
}
