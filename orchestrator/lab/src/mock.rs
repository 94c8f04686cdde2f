//! Participants that are not there yet, played in this process over the real wire.
//!
//! A mock serves what the files of the folder ask of its name, answers with made-up outputs, and follows the files as
//! they change. Its inbox is the SDK's own on SQLite, because a pivot is only sent to a transactional one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use saga_core::SagaId;
use saga_dsl::{near_miss::near_miss, plan::Plan, sample};
use saga_participant::{Ctx, Error, Participant, Sqlite, SqliteInbox};
use serde_json::{Map, Value};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// The word for every participant that the files name.
pub const ALL: &str = "all";

/// What happens to mocks.
#[derive(Debug)]
pub enum Event<'e> {
    /// A command has reached one.
    Called {
        /// The participant.
        participant: &'e str,
        /// The action or compensation.
        action: &'e str,
        /// The definition of the saga.
        definition: &'e str,
        /// The saga.
        saga: SagaId,
        /// The step.
        step: &'e str,
        /// The output as JSON; `None`: the action was undone.
        output: Option<&'e str>,
    },
    /// Its inbox could not be opened, and it does not play.
    NoInbox {
        /// The participant.
        participant: &'e str,
        /// Why.
        error: String,
    },
    /// It has stopped playing.
    Ended {
        /// The participant.
        participant: &'e str,
        /// Why.
        error: String,
        /// The server knows another service by this name.
        refused: bool,
    },
    /// A name is in no saga file: most often a slip; the file may also come later.
    Unknown {
        /// The name.
        name: &'e str,
        /// What may be meant.
        meant: Option<&'e str>,
    },
}

/// Hears what happens to mocks, from any task.
pub type Listener = fn(&Event<'_>);

/// What a mock serves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Served {
    /// Actions with what they answer.
    pub actions: BTreeMap<String, Value>,
    /// Compensations.
    pub compensations: BTreeSet<String>,
}

/// What the plans ask of each participant.
pub fn asked<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> BTreeMap<String, Served> {
    let mut asked: BTreeMap<String, Served> = BTreeMap::new();
    for plan in plans {
        let outputs = sample::outputs(plan);
        for step in &plan.steps {
            let served = asked.entry(step.action.participant.clone()).or_default();
            let output = served
                .actions
                .entry(step.action.action.clone())
                .or_insert_with(empty);
            merge(output, outputs.get(&step.id));
            if let Some(undo) = &step.compensation {
                let served = asked.entry(undo.participant.clone()).or_default();
                served.compensations.insert(undo.action.clone());
            }
        }
    }
    asked
}

fn empty() -> Value {
    Value::Object(Map::new())
}

/// Several steps may call one action and read other fields of its output.
fn merge(into: &mut Value, more: Option<&Value>) {
    match (into, more) {
        (Value::Object(fields), Some(Value::Object(more))) => {
            for (name, value) in more {
                match fields.get_mut(name) {
                    Some(known) => merge(known, Some(value)),
                    None => drop(fields.insert(name.clone(), value.clone())),
                }
            }
        }
        (into, Some(more)) if *into == empty() => *into = more.clone(),
        (_, _) => {}
    }
}

/// The mocks of one `saga dev`.
pub struct Mocks {
    wanted: BTreeSet<String>,
    /// Where their inboxes are.
    dir: PathBuf,
    endpoint: String,
    playing: BTreeMap<String, Mock>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    /// Names that were reported to be in no file.
    reported: BTreeSet<String>,
    listener: Listener,
}

struct Mock {
    /// Names of what it serves; a change makes it register anew.
    names: watch::Sender<Names>,
    outputs: Outputs,
}

/// Actions and compensations.
type Names = (BTreeSet<String>, BTreeSet<String>);
type Outputs = Arc<Mutex<BTreeMap<String, Value>>>;

impl Mocks {
    /// Nobody plays yet. `wanted` are names of participants, or [`ALL`].
    pub fn new(wanted: &[String], dir: &Path, endpoint: String, listener: Listener) -> Self {
        Self {
            wanted: wanted.iter().cloned().collect(),
            dir: dir.to_owned(),
            endpoint,
            playing: BTreeMap::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            reported: BTreeSet::new(),
            listener,
        }
    }

    /// Ends them all when it is cancelled.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Whether somebody plays this participant.
    pub fn plays(&self, participant: &str) -> bool {
        self.playing.contains_key(participant)
    }

    /// Takes on what the files ask now, beside what they asked before: sagas of an older version still need it.
    /// Answers whether a mock registers anew for it.
    pub fn follow<'p>(&mut self, plans: impl IntoIterator<Item = &'p Plan>) -> bool {
        if self.wanted.is_empty() {
            return false;
        }
        let asked = asked(plans);
        self.report_unknown(&asked);
        let mut changed = false;
        for (name, served) in asked {
            if self.wanted.contains(ALL) || self.wanted.contains(&name) {
                changed |= self.play(name, served);
            }
        }
        changed
    }

    fn play(&mut self, name: String, served: Served) -> bool {
        let names: Names = (
            served.actions.keys().cloned().collect(),
            served.compensations,
        );
        if let Some(mock) = self.playing.get(&name) {
            mock.outputs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(served.actions);
            return mock.names.send_if_modified(|known| {
                let before = (known.0.len(), known.1.len());
                known.0.extend(names.0);
                known.1.extend(names.1);
                before != (known.0.len(), known.1.len())
            });
        }
        let outputs: Outputs = Arc::new(Mutex::new(served.actions));
        let (sender, receiver) = watch::channel(names);
        let (dir, endpoint, stop) = (self.dir.clone(), self.endpoint.clone(), self.stop.clone());
        let role = Role {
            name: name.clone(),
            outputs: Arc::clone(&outputs),
            names: receiver,
            listener: self.listener,
        };
        self.tasks
            .spawn(async move { role.perform(&dir, &endpoint, &stop).await });
        self.playing.insert(
            name,
            Mock {
                names: sender,
                outputs,
            },
        );
        true
    }

    fn report_unknown(&mut self, asked: &BTreeMap<String, Served>) {
        for name in &self.wanted {
            if name == ALL || asked.contains_key(name) || !self.reported.insert(name.clone()) {
                continue;
            }
            let meant = near_miss(name, asked.keys().map(String::as_str));
            (self.listener)(&Event::Unknown { name, meant });
        }
    }
}

/// One mock at work.
struct Role {
    name: String,
    outputs: Outputs,
    names: watch::Receiver<Names>,
    listener: Listener,
}

impl Role {
    async fn perform(mut self, dir: &Path, endpoint: &str, stop: &CancellationToken) {
        let participant = self.name.clone();
        let opened = SqliteInbox::open(dir.join(&self.name).with_extension("db")).await;
        let inbox = match opened {
            Ok(inbox) => inbox,
            Err(error) => {
                return (self.listener)(&Event::NoInbox {
                    participant: &participant,
                    error: error.to_string(),
                });
            }
        };
        loop {
            let (actions, compensations) = self.names.borrow_and_update().clone();
            let playing = self.participant(inbox.clone(), actions, compensations);
            let mut over = false;
            let until = async {
                tokio::select! {
                    () = stop.cancelled() => over = true,
                    changed = self.names.changed() => over = changed.is_err(),
                }
            };
            if let Err(error) = playing.serve(endpoint, until).await {
                return (self.listener)(&Event::Ended {
                    participant: &participant,
                    error: error.to_string(),
                    refused: matches!(error, Error::Refused { .. }),
                });
            }
            if over {
                return;
            }
        }
    }

    fn participant(
        &self,
        inbox: SqliteInbox,
        actions: BTreeSet<String>,
        compensations: BTreeSet<String>,
    ) -> Participant<Sqlite> {
        let mut participant = Participant::new(self.name.clone());
        let listener = self.listener;
        for action in actions {
            let (outputs, name) = (Arc::clone(&self.outputs), self.name.clone());
            let called = action.clone();
            participant = participant.action(action, move |ctx: Ctx<Sqlite>, _: Value| {
                let outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
                let output = outputs.get(&called).cloned().unwrap_or_else(empty);
                report(listener, &ctx, (&name, &called), Some(&output.to_string()));
                std::future::ready(saga_participant::Result::Ok(output))
            });
        }
        for compensation in compensations {
            let (name, called) = (self.name.clone(), compensation.clone());
            participant =
                participant.compensation_with(compensation, move |ctx: Ctx<Sqlite>, _: Value| {
                    report(listener, &ctx, (&name, &called), None);
                    std::future::ready(saga_participant::Result::Ok(()))
                });
        }
        participant.inbox(inbox)
    }
}

fn report(
    listener: Listener,
    ctx: &Ctx<Sqlite>,
    (participant, action): (&str, &str),
    output: Option<&str>,
) {
    listener(&Event::Called {
        participant,
        action,
        definition: ctx.definition(),
        saga: SagaId::from_bytes(ctx.saga_id().as_bytes()).unwrap_or(SagaId::NONE),
        step: ctx.step(),
        output,
    });
}

#[cfg(test)]
mod tests {
    use saga_dsl::file;
    use saga_participant::Answer;
    use serde_json::json;

    use super::*;

    fn plan(text: &str) -> Plan {
        file::load("t.saga.yaml", text.as_bytes())
            .plan
            .expect("no faults")
    }

    const ONE: &str = "saga: one\nversion: 1\nsteps:\n  - {step: a, action: hotels/reserve, compensation: hotels/cancel}\n  - {step: b, kind: pivot, action: bank/pay, input: {to: '${steps.a.output.confirmation}'}}\n";
    const TWO: &str = "saga: two\nversion: 1\nsteps:\n  - {step: a, action: hotels/reserve, compensation: hotels/drop}\n  - {step: b, kind: pivot, action: bank/pay, when: steps.a.output.price > 3}\n";

    #[test]
    fn a_mock_serves_what_all_files_ask_of_it() {
        let plans = [plan(ONE), plan(TWO)];
        let asked = asked(&plans);
        let names: Vec<&str> = asked.keys().map(String::as_str).collect();
        assert_eq!(names, ["bank", "hotels"]);
        assert_eq!(
            asked["hotels"].actions["reserve"],
            json!({"confirmation": "confirmation-1", "price": 1})
        );
        assert_eq!(
            asked["hotels"].compensations,
            BTreeSet::from(["cancel".to_owned(), "drop".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_mock_answers_with_samples_and_undoes() {
        let dir = tempfile::tempdir().expect("a folder");
        let served = asked(&[plan(ONE)]).remove("hotels").expect("asked");
        let inbox = SqliteInbox::open(dir.path().join("hotels.db"))
            .await
            .expect("opened");
        let (_keep, names) = watch::channel(Names::default());
        let role = Role {
            name: "hotels".to_owned(),
            outputs: Arc::new(Mutex::new(served.actions)),
            names,
            listener: |_| {},
        };
        let hotels = role
            .participant(
                inbox,
                BTreeSet::from(["reserve".to_owned()]),
                served.compensations,
            )
            .test();
        let Answer::Succeeded(output) = hotels.call("reserve", json!({"any": 1})).times(2).await
        else {
            panic!("no success")
        };
        assert_eq!(&output[..], br#"{"confirmation":"confirmation-1"}"#);
        assert_eq!(hotels.undo("cancel").await, Answer::Compensated);
    }

    #[tokio::test]
    async fn a_mock_goes_on_serving_what_an_older_version_needs() {
        let dir = tempfile::tempdir().expect("a folder");
        // Nobody listens there; the mocks dial until they are told to stop.
        let mut mocks = Mocks::new(
            &[ALL.to_owned()],
            dir.path(),
            "grpc://127.0.0.1:1".to_owned(),
            |_| {},
        );
        let later = ONE.replace("hotels/reserve", "hotels/book");
        assert!(mocks.follow(&[plan(ONE)]) && mocks.plays("bank"));
        assert!(!mocks.follow(&[plan(ONE)]), "nothing is new");
        assert!(mocks.follow(&[plan(&later)]), "an action more");
        let names = mocks.playing["hotels"].names.borrow().0.clone();
        assert_eq!(
            names,
            BTreeSet::from(["book".to_owned(), "reserve".to_owned()])
        );
        assert!(!mocks.follow(&[plan(ONE)]), "it was never gone");
        mocks.stop().cancel();
        while mocks.tasks.join_next().await.is_some() {}
    }
}
