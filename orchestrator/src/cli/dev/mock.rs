//! `saga dev --mock`: participants that are not there yet, played in this process over the real wire.
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

use super::super::{
    exit::Failure,
    output::{self, printable},
    words::Tone,
};

/// The word for every participant that the files name.
pub const ALL: &str = "all";

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
    /// Names that were told to be in no file.
    told: BTreeSet<String>,
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
    pub fn new(wanted: &[String], dir: &Path, endpoint: String) -> Self {
        Self {
            wanted: wanted.iter().cloned().collect(),
            dir: dir.to_owned(),
            endpoint,
            playing: BTreeMap::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            told: BTreeSet::new(),
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
        self.tell_unknown(&asked);
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
        };
        self.tasks.spawn(async move {
            if let Err(failure) = role.perform(&dir, &endpoint, &stop).await {
                output::failure(&failure);
            }
        });
        self.playing.insert(
            name,
            Mock {
                names: sender,
                outputs,
            },
        );
        true
    }

    /// A name that no file knows is most often a slip; the file may also come later.
    fn tell_unknown(&mut self, asked: &BTreeMap<String, Served>) {
        for name in &self.wanted {
            if name == ALL || asked.contains_key(name) || !self.told.insert(name.clone()) {
                continue;
            }
            let meant = near_miss(name, asked.keys().map(String::as_str));
            let help = meant
                .map(|meant| format!("; did you mean `{meant}`?"))
                .unwrap_or_default();
            output::note(&format!(
                "{} no saga file here asks anything of `{}`{help}",
                Tone::Back.paint("warning:"),
                printable(name)
            ));
        }
    }
}

/// One mock at work.
struct Role {
    name: String,
    outputs: Outputs,
    names: watch::Receiver<Names>,
}

impl Role {
    async fn perform(
        mut self,
        dir: &Path,
        endpoint: &str,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let inbox = SqliteInbox::open(dir.join(&self.name).with_extension("db"))
            .await
            .map_err(|error| {
                Failure::error(format!("the inbox of mock `{}`: {error}", self.name))
            })?;
        loop {
            let (actions, compensations) = self.names.borrow_and_update().clone();
            let participant = self.participant(inbox.clone(), actions, compensations);
            let mut over = false;
            let until = async {
                tokio::select! {
                    () = stop.cancelled() => over = true,
                    changed = self.names.changed() => over = changed.is_err(),
                }
            };
            participant
                .serve(endpoint, until)
                .await
                .map_err(|error| refused(&self.name, &error))?;
            if over {
                return Ok(());
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
        for action in actions {
            let (outputs, called) = (Arc::clone(&self.outputs), format!("{}/{action}", self.name));
            let name = action.clone();
            participant = participant.action(action, move |ctx: Ctx<Sqlite>, _: Value| {
                let outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
                let output = outputs.get(&name).cloned().unwrap_or_else(empty);
                told(&ctx, &called, &output.to_string());
                std::future::ready(saga_participant::Result::Ok(output))
            });
        }
        for compensation in compensations {
            let called = format!("{}/{compensation}", self.name);
            participant =
                participant.compensation_with(compensation, move |ctx: Ctx<Sqlite>, _: Value| {
                    told(&ctx, &called, "undone");
                    std::future::ready(saga_participant::Result::Ok(()))
                });
        }
        participant.inbox(inbox)
    }
}

/// One line for each call that reaches a mock; that nobody reads it changes nothing.
fn told(ctx: &Ctx<Sqlite>, called: &str, answer: &str) {
    let id = SagaId::from_bytes(ctx.saga_id().as_bytes())
        .map(SagaId::short)
        .unwrap_or_default();
    let _ = output::line(&line(called, ctx.definition(), &id, ctx.step(), answer));
}

fn line(called: &str, definition: &str, id: &str, step: &str, answer: &str) -> String {
    let whose = Tone::Dim.paint(&format!(
        "{} {id} {}",
        printable(definition),
        printable(step)
    ));
    format!(
        "{} {}  {whose} → {}",
        Tone::Busy.paint("mock"),
        printable(called),
        printable(answer)
    )
}

fn refused(name: &str, error: &Error) -> Failure {
    let failure = Failure::error(format!("mock `{name}`: {error}"));
    match error {
        Error::Refused { .. } => failure.help(format!(
            "a service called `{name}` has registered here before: start it and leave out --mock {name}, or take a \
             store that does not know it with --ephemeral"
        )),
        Error::Mistake { .. } | Error::Endpoint { .. } | Error::Signals(_) | Error::Stuck { .. } => failure,
    }
}

#[cfg(test)]
mod tests {
    use saga_dsl::file;
    use saga_participant::Answer;
    use serde_json::json;

    use super::super::super::output::bare;
    use super::*;

    fn plan(text: &str) -> Plan {
        file::load("t.saga.yaml", text.as_bytes())
            .plan
            .expect("no faults")
    }

    const ONE: &str = "saga: one\nversion: 1\nsteps:\n  - {step: a, action: hotels/reserve, compensation: hotels/cancel}\n  - {step: b, kind: pivot, action: bank/pay, input: {to: '${steps.a.output.confirmation}'}}\n";
    const TWO: &str = "saga: two\nversion: 1\nsteps:\n  - {step: a, action: hotels/reserve, compensation: desk/drop}\n  - {step: b, kind: pivot, action: bank/pay, when: steps.a.output.price > 3}\n";

    #[test]
    fn a_mock_serves_what_all_files_ask_of_it() {
        let plans = [plan(ONE), plan(TWO)];
        let asked = asked(&plans);
        let names: Vec<&str> = asked.keys().map(String::as_str).collect();
        assert_eq!(names, ["bank", "desk", "hotels"]);
        assert_eq!(
            asked["hotels"].actions["reserve"],
            json!({"confirmation": "confirmation-1", "price": 1})
        );
        assert_eq!(
            asked["hotels"].compensations,
            BTreeSet::from(["cancel".to_owned()])
        );
        assert_eq!(
            asked["desk"],
            Served {
                compensations: BTreeSet::from(["drop".to_owned()]),
                ..Served::default()
            }
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

    #[test]
    fn a_call_is_one_line_and_a_refusal_names_the_way_out() {
        let shown = bare(&line(
            "hotels/reserve",
            "trip",
            "4QK2M9ZA",
            "reserve_hotel",
            "{}",
        ));
        assert_eq!(
            shown,
            "mock hotels/reserve  trip 4QK2M9ZA reserve_hotel → {}"
        );
        let error = Error::Refused {
            participant: "hotels".into(),
            reason: "another inbox".into(),
        };
        let Failure::Told { help, message, .. } = refused("hotels", &error) else {
            panic!("told")
        };
        assert!(
            message.contains("another inbox") && help.expect("a way out").contains("--ephemeral")
        );
    }
}
