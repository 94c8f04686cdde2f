//! What others are told of a saga's life, as CloudEvents 1.0 in the structured form: pure, from journal rows.
//!
//! No payload, and no message of an error, goes out: whoever reads events may know less than who runs sagas.

use saga_core::{
    Event, Record, SagaId, Status, Timestamp,
    event::{Cause, Failure, Incident, IncidentKind},
};
use saga_dsl::plan::{Plan, StepIx};
use serde::Serialize;

use saga_engine::store::record::{JournalRow, SagaRow};

/// `content_type` of an event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// Whose ids the ids of events are.
const SOURCE: &str = "/saga";

/// An event on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The same whenever the same event is told.
    pub id: String,
    /// `<definition>.<type>`.
    pub routing_key: String,
    /// The whole event as JSON.
    pub body: Vec<u8>,
}

/// Something worth telling, before it is known of which definition the saga is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    saga_id: SagaId,
    seq: u64,
    /// Its place among the events of its decision.
    place: usize,
    at: Timestamp,
    what: What,
}

/// Every kind of turn; the table in `docs/how-to/events.md` has them all.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Started,
    Compensating(Failure),
    Incident(Incident),
    Completed,
    Compensated,
    Abandoned,
}

impl What {
    fn kind(&self) -> &'static str {
        match self {
            Self::Started => "saga.started",
            Self::Compensating(_) => "saga.compensating",
            Self::Incident(_) => "saga.incident",
            Self::Completed => "saga.completed",
            Self::Compensated => "saga.compensated",
            Self::Abandoned => "saga.abandoned",
        }
    }

    /// Where the saga stands with it; an incident says nothing of that.
    fn status(&self) -> Option<Status> {
        match self {
            Self::Started => Some(Status::Running),
            Self::Compensating(_) => Some(Status::Compensating),
            Self::Incident(_) => None,
            Self::Completed => Some(Status::Completed),
            Self::Compensated => Some(Status::Compensated),
            Self::Abandoned => Some(Status::Abandoned),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Started | Self::Compensating(_) | Self::Incident(_) => false,
            Self::Completed | Self::Compensated | Self::Abandoned => true,
        }
    }
}

/// What a journal row tells others. Most rows tell nothing, and those are not even decoded.
///
/// # Errors
/// When the row cannot be decoded.
pub fn turns(row: &JournalRow) -> Result<Vec<Turn>, serde_json::Error> {
    const NAMES: [&str; 6] = [
        "\"started\":",
        "\"failing\":",
        "\"incident_raised\":",
        "\"completed\":",
        "\"compensated\":",
        "\"abandoned\":",
    ];
    let worth =
        str::from_utf8(&row.body).is_ok_and(|text| NAMES.iter().any(|name| text.contains(name)));
    if !worth {
        return Ok(Vec::new());
    }
    let record: Record = serde_json::from_slice(&row.body)?;
    let turn = |(place, event)| {
        let what = match event {
            Event::Started(_) => What::Started,
            Event::Failing(failure) => What::Compensating(failure),
            Event::IncidentRaised(incident) => What::Incident(incident),
            Event::Completed { .. } => What::Completed,
            Event::Compensated {} => What::Compensated,
            Event::Abandoned {} => What::Abandoned,
            // The steps of a saga are its own affair.
            _ => return None,
        };
        Some(Turn {
            saga_id: row.saga_id,
            seq: row.seq,
            place,
            at: row.at,
            what,
        })
    };
    Ok(record
        .events
        .into_iter()
        .enumerate()
        .filter_map(turn)
        .collect())
}

impl Turn {
    /// The saga.
    #[must_use]
    pub fn saga_id(&self) -> SagaId {
        self.saga_id
    }

    /// The event, of a saga with this row and this plan; without the plan its steps have no names.
    #[must_use]
    pub fn tell(&self, row: &SagaRow, plan: Option<&Plan>) -> Told {
        let id = format!("{}/{}/{}", self.saga_id, self.seq, self.place);
        let kind = self.what.kind();
        let name = |ix: Option<StepIx>| {
            ix.and_then(|ix| plan?.step(ix))
                .map(|step| step.id.as_str())
        };
        let time =
            jiff::Timestamp::from_microsecond(self.at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let event = CloudEvent {
            specversion: "1.0",
            id: &id,
            source: SOURCE,
            kind,
            subject: self.saga_id.to_string(),
            time: time.to_string(),
            datacontenttype: "application/json",
            data: Data {
                definition: &row.name,
                version: row.version,
                key: row.key.as_deref(),
                status: self.what.status().map(Status::word),
                exceptions: self.what.is_end() && row.face.exceptions,
                failure: match &self.what {
                    What::Compensating(failure) => Some(FailureData {
                        cause: failure.cause,
                        step: name(failure.step),
                        code: &failure.error.code,
                    }),
                    What::Started
                    | What::Incident(_)
                    | What::Completed
                    | What::Compensated
                    | What::Abandoned => None,
                },
                incident: match &self.what {
                    What::Incident(incident) => Some(IncidentData {
                        kind: incident.kind,
                        step: name(incident.step),
                        code: &incident.error.code,
                    }),
                    What::Started
                    | What::Compensating(_)
                    | What::Completed
                    | What::Compensated
                    | What::Abandoned => None,
                },
            },
        };
        // Texts and numbers always serialise.
        let body = serde_json::to_vec(&event).unwrap_or_default();
        let routing_key = format!("{}.{kind}", row.name);
        Told {
            id,
            routing_key,
            body,
        }
    }
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    definition: &'a str,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    exceptions: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<IncidentData<'a>>,
}

#[derive(Serialize)]
struct FailureData<'a> {
    cause: Cause,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    code: &'a str,
}

#[derive(Serialize)]
struct IncidentData<'a> {
    kind: IncidentKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    code: &'a str,
}

#[cfg(test)]
mod tests {
    use saga_dsl::builder::{Saga, step};
    use serde_json::{Value, json};

    use super::*;
    use saga_engine::store::record::Face;

    fn row(seq: u64, events: &Value) -> JournalRow {
        let body = serde_json::to_vec(&json!({"v": 1, "events": events})).expect("JSON");
        JournalRow {
            saga_id: SagaId::from_u128(7),
            seq,
            at: Timestamp(1_700_000_000_123_456),
            body,
        }
    }

    fn saga() -> SagaRow {
        let status = Status::Compensated;
        let face = Face {
            status,
            incident: false,
            exceptions: true,
            ended_at: Some(Timestamp(1)),
        };
        SagaRow {
            id: SagaId::from_u128(7),
            name: "trip".to_owned(),
            version: 3,
            hash: [0; 32],
            key: Some("t-1".to_owned()),
            labels: Default::default(),
            started_at: Timestamp(0),
            face,
        }
    }

    fn told(events: &Value) -> Vec<(Told, Value)> {
        let definition = Saga::new("trip", 3)
            .step(step("book").action("p/a").compensation("p/u"))
            .build();
        let plan = Plan::from_definition(definition.expect("a definition")).expect("a plan");
        let turns = turns(&row(5, events)).expect("a record");
        let tell = |turn: &Turn| {
            let told = turn.tell(&saga(), Some(&plan));
            let event = serde_json::from_slice(&told.body).expect("JSON");
            (told, event)
        };
        turns.iter().map(tell).collect()
    }

    #[test]
    fn an_event_is_a_cloud_event_with_an_id_of_its_own() {
        let secret = json!({"code": "no_funds", "message": "card 4711"});
        let failing = json!({"failing": {"cause": "refused", "step": 0, "error": secret}});
        let skipped = json!({"step_skipped": {"step": 0}});
        let told = told(&json!([failing, skipped, {"compensated": {}}]));
        let [(first, back), (second, end)] = &told[..] else {
            panic!("{told:?}")
        };
        let saga_id = SagaId::from_u128(7).to_string();
        assert_eq!(first.routing_key, "trip.saga.compensating");
        let expected = json!({
            "specversion": "1.0",
            "id": format!("{saga_id}/5/0"),
            "source": "/saga",
            "type": "saga.compensating",
            "subject": saga_id,
            "time": "2023-11-14T22:13:20.123456Z",
            "datacontenttype": "application/json",
            "data": {
                "definition": "trip", "version": 3, "key": "t-1", "status": "compensating",
                "failure": {"cause": "refused", "step": "book", "code": "no_funds"},
            },
        });
        assert_eq!(*back, expected);
        assert_eq!(
            (end["id"].as_str(), second.id.as_str()),
            (Some(&*second.id), &*format!("{saga_id}/5/2"))
        );
        assert_eq!(end["data"]["status"], "compensated");
        assert_eq!(end["data"]["exceptions"], true);
    }

    #[test]
    fn every_turn_has_its_type_and_steps_have_none() {
        let incident =
            json!({"step": 0, "kind": "undo_stuck", "error": {"code": "x", "message": ""}});
        let started = json!({"name": "trip", "version": 3, "steps": 1, "input": {}});
        let events = json!([
            {"started": started}, {"incident_raised": incident}, {"completed": {"output": {"completed": 1}}},
            {"abandoned": {}}, {"step_skipped": {"step": 0}},
        ]);
        let kinds: Vec<Value> = told(&events)
            .iter()
            .map(|(_, event)| event["type"].clone())
            .collect();
        assert_eq!(
            kinds,
            [
                "saga.started",
                "saga.incident",
                "saga.completed",
                "saga.abandoned"
            ]
        );
        assert_eq!(told(&events)[1].1["data"]["incident"]["kind"], "undo_stuck");
        assert!(
            !String::from_utf8_lossy(&told(&events)[2].0.body).contains("output"),
            "a payload goes out"
        );
    }

    #[test]
    fn rows_that_tell_nothing_are_not_decoded_and_damage_is_named() {
        let mut broken = row(1, &json!([{"step_skipped": {"step": 0}}]));
        broken.body.push(b'x');
        assert_eq!(turns(&broken).expect("not looked at"), []);
        let mut broken = row(1, &json!([{"abandoned": {}}]));
        broken.body.push(b'x');
        assert!(turns(&broken).is_err());
    }
}
