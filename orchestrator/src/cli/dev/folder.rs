//! The saga files of a folder, kept registered: each is tried when it changes, and when somebody it waits for comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use saga_dsl::{codes::Code, file};
use saga_proto::v1::{DeployResponse, ListParticipantsRequest, SagaFile};

use super::super::{
    client::Server,
    deploy,
    exit::{Exit, Failure},
    files, output,
};

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The file.
    pub path: String,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The server has it.
    Registered {
        /// Name of the definition.
        name: String,
        /// Its version.
        version: u32,
        /// False: it was there before.
        created: bool,
        /// Whom its steps need.
        participants: BTreeSet<String>,
    },
    /// Nothing is wrong with it, but these have not registered yet.
    Waits(BTreeSet<String>),
    /// It has faults, which were shown.
    Skipped {
        /// How many; zero when it cannot be read.
        faults: usize,
    },
}

/// A file as it was tried.
struct Tried {
    bytes: Vec<u8>,
    waits: bool,
}

/// The saga files of a folder.
pub struct Folder {
    dir: PathBuf,
    tried: BTreeMap<PathBuf, Tried>,
    /// Names of participants that had registered at the last look.
    registered: BTreeSet<String>,
}

impl Folder {
    /// A folder whose files nobody has tried.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), tried: BTreeMap::new(), registered: BTreeSet::new() }
    }

    /// Tries what is new, has changed, or waited for somebody who came. Faults are shown as they are found.
    pub async fn look(&mut self, server: &Server) -> Result<Vec<Outcome>, Failure> {
        let came = self.ask_who_is_there(server).await?;
        let found = files::saga_files(&self.dir)?;
        self.tried.retain(|path, _| found.contains(path));
        let mut outcomes = Vec::new();
        for path in found {
            let name = path.display().to_string();
            let bytes = files::read(&name, files::SAGA_FILE_BYTES_MAX);
            let content = bytes.as_deref().unwrap_or_default();
            let again =
                self.tried.get(&path).is_none_or(|tried| tried.bytes != content || (tried.waits && came));
            if !again {
                continue;
            }
            let fate = match bytes {
                Ok(ref bytes) => self.register(server, &name, bytes).await?,
                Err(ref failure) => {
                    output::failure(failure);
                    Fate::Skipped { faults: 0 }
                }
            };
            let waits = matches!(fate, Fate::Waits(_));
            self.tried.insert(path, Tried { bytes: bytes.unwrap_or_default(), waits });
            outcomes.push(Outcome { path: name, fate });
        }
        Ok(outcomes)
    }

    /// True when somebody has registered since the last look.
    async fn ask_who_is_there(&mut self, server: &Server) -> Result<bool, Failure> {
        let list = server.participants().list_participants(ListParticipantsRequest {}).await;
        let list = list.map_err(|status| server.failure(status))?.into_inner();
        let now: BTreeSet<String> =
            list.participants.into_iter().map(|participant| participant.name).collect();
        let came = now.difference(&self.registered).next().is_some();
        self.registered = now;
        Ok(came)
    }

    async fn register(&self, server: &Server, name: &str, bytes: &[u8]) -> Result<Fate, Failure> {
        let file = SagaFile { path: name.to_owned(), content: bytes.to_vec().into() };
        match deploy::deploy(server, vec![file], false).await {
            Ok(answer) => {
                let fate = fate(&answer, &needed(name, bytes), &self.registered);
                show(&answer, &fate);
                Ok(fate)
            }
            Err(failure) if failure.exit() == Exit::Unreachable => Err(failure),
            Err(failure) => {
                output::failure(&failure);
                Ok(Fate::Skipped { faults: 1 })
            }
        }
    }
}

/// Whom the steps of a file need; nobody while it has faults.
fn needed(name: &str, bytes: &[u8]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for step in file::load(name, bytes).plan.into_iter().flat_map(|plan| plan.steps) {
        names.insert(step.action.participant);
        names.extend(step.compensation.map(|undo| undo.participant));
    }
    names
}

/// A file whose only faults are that nobody serves its actions waits, as long as somebody has yet to come.
fn fate(answer: &DeployResponse, needed: &BTreeSet<String>, registered: &BTreeSet<String>) -> Fate {
    if let (true, Some(deployed)) = (answer.accepted, answer.deployed.first()) {
        return Fate::Registered {
            name: deployed.name.clone(),
            version: deployed.version,
            created: deployed.created,
            participants: needed.clone(),
        };
    }
    let mut faults = answer.diagnostics.iter().filter(|diagnostic| diagnostic.severity == "error");
    let missing: BTreeSet<String> = needed.difference(registered).cloned().collect();
    if !missing.is_empty() && faults.all(|fault| fault.code == Code::S0401.as_str()) {
        return Fate::Waits(missing);
    }
    let errors = answer.diagnostics.iter().filter(|diagnostic| diagnostic.severity == "error");
    Fate::Skipped { faults: errors.count() }
}

/// That somebody is missing is told in one line elsewhere, not once for every step.
fn show(answer: &DeployResponse, fate: &Fate) {
    let quiet = matches!(fate, Fate::Waits(_));
    for diagnostic in &answer.diagnostics {
        if diagnostic.severity != "note" && !(quiet && diagnostic.severity == "error") {
            output::note(&deploy::shown(diagnostic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_proto::v1::{Deployed, Diagnostic};

    const TRIP: &[u8] = b"saga: trip\nversion: 1\nsteps:\n  - step: book\n    action: flights/reserve\n    compensation: flights/cancel\n  - step: charge\n    kind: pivot\n    action: payments/charge\n";

    fn refused(codes: &[&str]) -> DeployResponse {
        let fault = |code: &&str| Diagnostic {
            severity: "error".into(),
            code: (*code).into(),
            ..Diagnostic::default()
        };
        DeployResponse { diagnostics: codes.iter().map(fault).collect(), ..DeployResponse::default() }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_file_waits_for_those_who_have_not_come() {
        let needed = needed("trip.saga.yaml", TRIP);
        assert_eq!(needed, names(&["flights", "payments"]));
        let none = BTreeSet::new();
        assert_eq!(fate(&refused(&["S0401", "S0401"]), &needed, &none), Fate::Waits(needed.clone()));
        let flights = names(&["flights"]);
        assert_eq!(fate(&refused(&["S0401"]), &needed, &flights), Fate::Waits(names(&["payments"])));
    }

    #[test]
    fn other_faults_and_missing_actions_are_no_reason_to_wait() {
        let needed = needed("trip.saga.yaml", TRIP);
        assert_eq!(
            fate(&refused(&["S0401", "S0303"]), &needed, &BTreeSet::new()),
            Fate::Skipped { faults: 2 }
        );
        assert_eq!(fate(&refused(&["S0401"]), &needed, &needed), Fate::Skipped { faults: 1 });
    }

    #[test]
    fn what_was_accepted_is_registered() {
        let deployed = Deployed { name: "trip".into(), version: 1, hash: String::new(), created: true };
        let answer = DeployResponse { deployed: vec![deployed], diagnostics: vec![], accepted: true };
        let Fate::Registered { name, participants, .. } = fate(&answer, &needed("x", TRIP), &BTreeSet::new())
        else {
            panic!("not registered");
        };
        assert_eq!((name.as_str(), participants), ("trip", names(&["flights", "payments"])));
    }
}
