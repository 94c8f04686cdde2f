//! The saga files of a folder, kept registered: each is tried again when it changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use saga_dsl::{file, plan::Plan};
use saga_proto::v1::{DeployResponse, SagaFile};

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
    /// It has faults, which were shown.
    Skipped {
        /// How many; zero when it cannot be read.
        faults: usize,
    },
}

/// The saga files of a folder.
pub struct Folder {
    dir: PathBuf,
    /// What stood in each file when it was tried; nothing for one that could not be read.
    tried: BTreeMap<PathBuf, Vec<u8>>,
    /// The last plan of each file that was without faults.
    plans: BTreeMap<PathBuf, Plan>,
}

impl Folder {
    /// A folder whose files nobody has tried.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), tried: BTreeMap::new(), plans: BTreeMap::new() }
    }

    /// Reads the plans of what is new or has changed, without registering anything.
    pub fn read(&mut self) -> Result<(), Failure> {
        for path in files::saga_files(&self.dir)? {
            let name = path.display().to_string();
            let Ok(bytes) = files::read(&name, files::SAGA_FILE_BYTES_MAX) else { continue };
            if self.tried.get(&path).is_none_or(|tried| *tried != bytes)
                && let Some(plan) = file::load(&name, &bytes).plan
            {
                self.plans.insert(path, plan);
            }
        }
        Ok(())
    }

    /// Tries what is new or has changed. Faults are shown as they are found.
    pub async fn look(&mut self, server: &Server) -> Result<Vec<Outcome>, Failure> {
        let found = files::saga_files(&self.dir)?;
        self.tried.retain(|path, _| found.contains(path));
        self.plans.retain(|path, _| found.contains(path));
        let mut outcomes = Vec::new();
        for path in found {
            let name = path.display().to_string();
            let bytes = files::read(&name, files::SAGA_FILE_BYTES_MAX);
            let content = bytes.as_deref().unwrap_or_default();
            if self.tried.get(&path).is_some_and(|tried| tried == content) {
                continue;
            }
            let plan = bytes.as_ref().ok().and_then(|bytes| file::load(&name, bytes).plan);
            let fate = match &bytes {
                Ok(bytes) => register(server, &name, bytes, plan.as_ref()).await?,
                Err(failure) => {
                    output::failure(failure);
                    Fate::Skipped { faults: 0 }
                }
            };
            if let Some(plan) = plan {
                self.plans.insert(path.clone(), plan);
            }
            self.tried.insert(path, bytes.unwrap_or_default());
            outcomes.push(Outcome { path: name, fate });
        }
        Ok(outcomes)
    }

    /// Tries those that were skipped once more at the next look.
    pub fn try_again(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if let Fate::Skipped { .. } = outcome.fate {
                self.tried.remove(Path::new(&outcome.path));
            }
        }
    }

    /// What the files ask for, those with faults as they last were without.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.values()
    }
}

async fn register(server: &Server, name: &str, bytes: &[u8], plan: Option<&Plan>) -> Result<Fate, Failure> {
    let file = SagaFile { path: name.to_owned(), content: bytes.to_vec().into() };
    match deploy::deploy(server, vec![file], false).await {
        Ok(answer) => {
            // Notes say that participants have not come yet. The screen names them once, for all files.
            for diagnostic in answer.diagnostics.iter().filter(|diagnostic| diagnostic.severity != "note") {
                output::note(&deploy::shown(diagnostic));
            }
            Ok(fate(&answer, needed(plan)))
        }
        Err(failure) if failure.exit() == Exit::Unreachable => Err(failure),
        Err(failure) => {
            output::failure(&failure);
            Ok(Fate::Skipped { faults: 1 })
        }
    }
}

/// Whom the steps of a file need; nobody while it has faults.
fn needed(plan: Option<&Plan>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for step in plan.into_iter().flat_map(|plan| &plan.steps) {
        names.insert(step.action.participant.clone());
        names.extend(step.compensation.as_ref().map(|undo| undo.participant.clone()));
    }
    names
}

fn fate(answer: &DeployResponse, participants: BTreeSet<String>) -> Fate {
    match (answer.accepted, answer.deployed.first()) {
        (true, Some(deployed)) => Fate::Registered {
            name: deployed.name.clone(),
            version: deployed.version,
            created: deployed.created,
            participants,
        },
        (_, _) => {
            let faults = answer.diagnostics.iter().filter(|diagnostic| diagnostic.severity == "error");
            Fate::Skipped { faults: faults.count() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_proto::v1::{Deployed, Diagnostic};

    const TRIP: &[u8] = b"saga: trip\nversion: 1\nsteps:\n  - step: book\n    action: flights/reserve\n    compensation: flights/cancel\n  - step: charge\n    kind: pivot\n    action: payments/charge\n";

    #[test]
    fn participants_are_read_from_the_steps() {
        let names: Vec<String> = needed(file::load("t", TRIP).plan.as_ref()).into_iter().collect();
        assert_eq!(names, ["flights", "payments"]);
        assert_eq!(needed(None).len(), 0);
    }

    #[test]
    fn an_answer_becomes_a_fate() {
        let deployed = Deployed { name: "trip".into(), version: 1, hash: String::new(), created: true };
        let answer = DeployResponse { deployed: vec![deployed], diagnostics: vec![], accepted: true };
        assert!(matches!(fate(&answer, BTreeSet::new()), Fate::Registered { version: 1, created: true, .. }));
        let of = |severity: &str| Diagnostic { severity: severity.into(), ..Diagnostic::default() };
        let diagnostics = vec![of("error"), of("note"), of("error")];
        let refused = DeployResponse { diagnostics, ..DeployResponse::default() };
        assert_eq!(fate(&refused, BTreeSet::new()), Fate::Skipped { faults: 2 });
    }
}
