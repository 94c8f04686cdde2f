//! What `-o json` prints. The field names are API: they are added to, never renamed.
//!
//! Ids are 26 letters, moments are RFC 3339 in UTC (absent when not set), inputs and outputs are embedded as the JSON
//! that they are.

use std::collections::BTreeMap;

use saga_proto::v1;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{ids::id_text, time::rfc3339};

/// A saga in a list.
#[derive(Debug, Serialize)]
pub struct Saga {
    /// 26 letters.
    pub id: String,
    /// Name of the definition.
    pub saga: String,
    /// Version of the definition.
    pub version: u32,
    /// `running`, `compensating`, `completed`, `compensated`, `abandoned`.
    pub status: String,
    /// `incident`, `waiting`, `paused`; absent without a mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// In part it rests on an operator's word.
    pub exceptions: bool,
    /// Idempotency key of the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Labels given at the start.
    pub labels: BTreeMap<String, String>,
    /// When it was started.
    pub started_at: Option<String>,
    /// When it ended; absent while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// The step that matters most now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How often that step was tried.
    pub tries: u32,
    /// What happens next, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_due: Option<String>,
}

/// Everything about one saga.
#[derive(Debug, Serialize)]
pub struct Detail {
    /// As in a list.
    #[serde(flatten)]
    pub saga: Saga,
    /// What it was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Box<RawValue>>,
    /// What it gave, when completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// Why it has no output, when completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_error: Option<Fault>,
    /// Input or output is too large to be shown with the rest; the history has it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
    /// Why it went back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Fault>,
    /// When it is cancelled by the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Given with a cancel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    /// In the order of the definition.
    pub steps: Vec<Step>,
    /// What an operator has to settle.
    pub incidents: Vec<Incident>,
    /// Why it is where it is, in sentences.
    pub story: Vec<String>,
    /// Number of committed decisions.
    pub seq: u64,
    /// Hash of the definition it is pinned to.
    pub definition_hash: String,
    /// The server's clock when this was taken.
    pub at: Option<String>,
}

/// A stable code and a message.
#[derive(Debug, Serialize)]
pub struct Fault {
    /// Stable.
    pub code: String,
    /// For people.
    pub message: String,
    /// Where it arose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// One step of a saga.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Unique in the definition.
    pub id: String,
    /// Groups around it, from the outside in.
    pub groups: Vec<String>,
    /// `compensatable`, `pivot`, `retriable`.
    pub kind: String,
    /// `participant/action`.
    pub action: String,
    /// `participant/action`; absent when nothing undoes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensation: Option<String>,
    /// As in `saga.proto`, `StepDetail.status`.
    pub status: String,
    /// Attempts of the action.
    pub tries: u32,
    /// Attempts of the compensation.
    pub undo_tries: u32,
    /// Counts from 1 and grows when an operator has a step done again.
    pub round: u32,
    /// Why it waits, or its last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_due: Option<String>,
    /// What the action was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Box<RawValue>>,
    /// What it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// Input or output is too large to be shown with the rest; the history has it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
    /// Its last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// First sending of the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Definite outcome of the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<String>,
    /// First sending of the compensation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_started_at: Option<String>,
    /// End of the compensation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_settled_at: Option<String>,
}

/// Something an operator has to settle.
#[derive(Debug, Serialize)]
pub struct Incident {
    /// Stable.
    pub code: String,
    /// For people.
    pub message: String,
    /// Where it arose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Since when.
    pub since: Option<String>,
}

/// A line of a saga's journal.
#[derive(Debug, Serialize)]
pub struct Event {
    /// Number of the decision; several events share one.
    pub seq: u64,
    /// When it was committed.
    pub at: Option<String>,
    /// `step_dispatched`, `step_succeeded`, …
    pub kind: String,
    /// The step it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// For people.
    pub text: String,
    /// The event itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
    /// The event is too large to be shown; the text says how large.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
}

/// A registered definition.
#[derive(Debug, Serialize)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Hash of its canonical form.
    pub hash: String,
    /// When it was registered.
    pub deployed_at: Option<String>,
    /// Sagas of this version that have not ended.
    pub open_sagas: u64,
    /// Number of its steps.
    pub steps: u32,
    /// As its author wrote it.
    pub description: String,
}

/// A participant and its instances.
#[derive(Debug, Serialize)]
pub struct Participant {
    /// Its name.
    pub name: String,
    /// Random id of its inbox.
    pub inbox_id: String,
    /// `transactional`, `journaled`, `none`, `unspecified`.
    pub inbox_kind: &'static str,
    /// Actions it serves.
    pub actions: Vec<String>,
    /// Its processes.
    pub instances: Vec<Instance>,
    /// Further processes that are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub instances_left_out: u64,
    /// Commands without an answer yet.
    pub outstanding: u64,
    /// Sagas that wait for it.
    pub waiting: u64,
    /// The last sign of life of any instance.
    pub last_seen: Option<String>,
    /// What it may be sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
}

/// A limit of a participant.
#[derive(Debug, Serialize)]
pub struct Limit {
    /// `rate_limit`, `max_in_flight`.
    pub setting: String,
    /// `30/m`.
    pub value: String,
    /// Who says so.
    pub owner: String,
    /// Sagas that wait for room.
    pub waiting: u64,
}

/// A process of a participant.
#[derive(Debug, Serialize)]
pub struct Instance {
    /// Its name.
    pub instance: String,
    /// Since when.
    pub connected_at: Option<String>,
    /// Language and version of its kit.
    pub sdk: String,
    /// It takes no new commands.
    pub draining: bool,
    /// The broker takes no messages for it.
    pub held: bool,
    /// Nobody reads the queue for it any more.
    pub lost: bool,
    /// Commands without an answer yet, of all instances that are reached by the same queue.
    pub outstanding: u64,
    /// Its address.
    pub peer: String,
    /// Its last sign of life.
    pub last_seen: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Absent instead of empty.
fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Payloads are JSON. Should one be anything else, it is shown as text rather than lost.
fn raw(bytes: &[u8]) -> Option<Box<RawValue>> {
    if bytes.is_empty() {
        return None;
    }
    // A line break inside of JSON is blank space, and would tear a line of JSON Lines apart.
    let text = String::from_utf8_lossy(bytes).replace(['\n', '\r'], " ");
    let as_text = serde_json::value::to_raw_value(&text);
    RawValue::from_string(text).or(as_text).ok()
}

impl From<&v1::SagaSummary> for Saga {
    fn from(s: &v1::SagaSummary) -> Self {
        Self {
            id: id_text(s),
            saga: s.name.clone(),
            version: s.version,
            status: s.status.clone(),
            exceptions: s.exceptions,
            mark: some(&s.mark),
            key: some(&s.key),
            labels: s.labels.clone().into_iter().collect(),
            started_at: rfc3339(s.started_at_us),
            ended_at: rfc3339(s.ended_at_us),
            step: some(&s.step),
            tries: s.tries,
            next: some(&s.next),
            next_due: rfc3339(s.next_due_us),
        }
    }
}

impl From<&v1::SagaDetail> for Detail {
    fn from(d: &v1::SagaDetail) -> Self {
        Self {
            saga: Saga::from(&d.summary.clone().unwrap_or_default()),
            input: raw(&d.input),
            output: raw(&d.output),
            output_error: d.output_error.as_ref().map(Fault::from),
            left_out: d.left_out,
            failure: d.failure.as_ref().map(Fault::from),
            deadline: rfc3339(d.deadline_us),
            cancel_reason: some(&d.cancel_reason),
            steps: d.steps.iter().map(Step::from).collect(),
            incidents: d.incidents.iter().map(Incident::from).collect(),
            story: d.story.clone(),
            seq: d.seq,
            definition_hash: d.definition_hash.clone(),
            at: rfc3339(d.now_us),
        }
    }
}

impl From<&v1::Fault> for Fault {
    fn from(f: &v1::Fault) -> Self {
        Self {
            code: f.code.clone(),
            message: f.message.clone(),
            step: some(&f.step),
        }
    }
}

impl From<&v1::StepDetail> for Step {
    fn from(s: &v1::StepDetail) -> Self {
        Self {
            id: s.id.clone(),
            groups: s.groups.clone(),
            kind: s.kind.clone(),
            action: s.action.clone(),
            compensation: some(&s.compensation),
            status: s.status.clone(),
            tries: s.tries,
            undo_tries: s.undo_tries,
            round: s.round,
            note: some(&s.note),
            next_due: rfc3339(s.next_due_us),
            input: raw(&s.input),
            output: raw(&s.output),
            left_out: s.left_out,
            error: s.error.as_ref().map(Fault::from),
            started_at: rfc3339(s.started_at_us),
            settled_at: rfc3339(s.settled_at_us),
            undo_started_at: rfc3339(s.undo_started_at_us),
            undo_settled_at: rfc3339(s.undo_settled_at_us),
        }
    }
}

impl From<&v1::Incident> for Incident {
    fn from(i: &v1::Incident) -> Self {
        Self {
            code: i.code.clone(),
            message: i.message.clone(),
            step: some(&i.step),
            since: rfc3339(i.since_us),
        }
    }
}

impl From<&v1::HistoryEvent> for Event {
    fn from(e: &v1::HistoryEvent) -> Self {
        Self {
            seq: e.seq,
            at: rfc3339(e.at_us),
            kind: e.kind.clone(),
            step: some(&e.step),
            text: e.text.clone(),
            event: raw(&e.body),
            left_out: e.left_out,
        }
    }
}

impl From<&v1::DefinitionInfo> for Definition {
    fn from(d: &v1::DefinitionInfo) -> Self {
        Self {
            name: d.name.clone(),
            version: d.version,
            hash: d.hash.clone(),
            deployed_at: rfc3339(d.deployed_at_us),
            open_sagas: d.open_sagas,
            steps: d.steps,
            description: d.description.clone(),
        }
    }
}

impl From<&v1::ParticipantInfo> for Participant {
    fn from(p: &v1::ParticipantInfo) -> Self {
        Self {
            name: p.name.clone(),
            inbox_id: p.inbox_id.clone(),
            inbox_kind: inbox_kind(p.inbox_kind()),
            actions: p.actions.clone(),
            instances: p.instances.iter().map(Instance::from).collect(),
            instances_left_out: p.instances_left_out,
            outstanding: p.outstanding,
            waiting: p.waiting,
            last_seen: rfc3339(p.last_seen_us),
            limits: p
                .limits
                .iter()
                .map(|limit| Limit {
                    setting: limit.setting.clone(),
                    value: limit.value.clone(),
                    owner: limit.owner.clone(),
                    waiting: limit.waiting,
                })
                .collect(),
        }
    }
}

impl From<&v1::InstanceInfo> for Instance {
    fn from(i: &v1::InstanceInfo) -> Self {
        Self {
            instance: i.instance.clone(),
            connected_at: rfc3339(i.connected_at_us),
            sdk: i.sdk.clone(),
            draining: i.draining,
            held: i.held,
            lost: i.lost,
            outstanding: i.outstanding,
            peer: i.peer.clone(),
            last_seen: rfc3339(i.last_seen_us),
        }
    }
}

/// The kind of an inbox as a word.
pub const fn inbox_kind(kind: v1::InboxKind) -> &'static str {
    match kind {
        v1::InboxKind::Unspecified => "unspecified",
        v1::InboxKind::Transactional => "transactional",
        v1::InboxKind::Journaled => "journaled",
        v1::InboxKind::None => "none",
    }
}
