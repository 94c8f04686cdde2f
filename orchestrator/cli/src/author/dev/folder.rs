//! The saga files of a folder, kept registered: each is tried again when it changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use saga_dsl::{file, plan::Plan};
use saga_proto::v1::{DeployResponse, SagaFile};

use super::super::deploy;
use crate::{
    client::Server,
    exit::{Exit, Failure},
    files,
    show::output,
};

/// The server has this version with other content.
const VERSION_TAKEN: &str = "S0501";

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
        /// What the file said before and the server still has, as `name@version`.
        stays: Option<String>,
        /// The fault is that the version is taken.
        taken: Option<Taken>,
    },
    /// It is no longer there.
    Gone {
        /// What it said before and the server still has, as `name@version`.
        stays: Option<String>,
    },
}

/// A version that the server has with other content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// `name@version`.
    pub by: String,
    /// The other file of the folder that says so, if it is another one.
    pub file: Option<String>,
    /// Whether the store outlives the server.
    pub is_kept: bool,
}

/// What is known of a file.
#[derive(Debug, Default)]
struct Tried {
    /// What stood in it; nothing if it could not be read.
    content: Vec<u8>,
    /// What the server got from it last, as `name@version`.
    registered: Option<String>,
}

/// The saga files of a folder.
pub struct Folder {
    dir: PathBuf,
    tried: BTreeMap<PathBuf, Tried>,
    /// The last plan of each file that was without faults.
    plans: BTreeMap<PathBuf, Plan>,
    /// Whether the server's store outlives it.
    is_kept: bool,
}

impl Folder {
    /// A folder whose files nobody has tried, and whether what is registered outlives the server.
    pub fn new(dir: &Path, is_kept: bool) -> Self {
        Self {
            dir: dir.to_owned(),
            tried: BTreeMap::new(),
            plans: BTreeMap::new(),
            is_kept,
        }
    }

    /// Reads the plans of what is new or has changed, without registering anything.
    pub fn read(&mut self) -> Result<(), Failure> {
        for path in files::saga_files(&self.dir)? {
            let name = path.display().to_string();
            let Ok(bytes) = files::read(&name, files::SAGA_FILE_BYTES_MAX) else {
                continue;
            };
            if self
                .tried
                .get(&path)
                .is_none_or(|tried| tried.content != bytes)
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
        let mut outcomes = self.forget_all_but(&found);
        self.plans.retain(|path, _| found.contains(path));
        for path in found {
            let name = path.display().to_string();
            let bytes = files::read(&name, files::SAGA_FILE_BYTES_MAX);
            let content = bytes.as_deref().unwrap_or_default();
            if self
                .tried
                .get(&path)
                .is_some_and(|tried| tried.content == content)
            {
                continue;
            }
            let plan = bytes
                .as_ref()
                .ok()
                .and_then(|bytes| file::load(&name, bytes).plan);
            let fate = match &bytes {
                Ok(bytes) => register(server, &name, bytes, plan.as_ref()).await?,
                Err(failure) => {
                    output::failure(failure);
                    Fate::Skipped {
                        faults: 0,
                        stays: None,
                        taken: None,
                    }
                }
            };
            if let Some(plan) = plan {
                self.plans.insert(path.clone(), plan);
            }
            outcomes.push(Outcome {
                path: name,
                fate: self.remember(path, bytes.unwrap_or_default(), fate),
            });
        }
        Ok(outcomes)
    }

    /// Drops files that are no longer there.
    fn forget_all_but(&mut self, found: &[PathBuf]) -> Vec<Outcome> {
        let gone: Vec<PathBuf> = self
            .tried
            .keys()
            .filter(|path| !found.contains(path))
            .cloned()
            .collect();
        let outcome = |path: PathBuf| {
            let stays = self.tried.remove(&path).and_then(|tried| tried.registered);
            Outcome {
                path: path.display().to_string(),
                fate: Fate::Gone { stays },
            }
        };
        gone.into_iter().map(outcome).collect()
    }

    /// Keeps what is known of a file now, and adds to its fate what was known before.
    fn remember(&mut self, path: PathBuf, content: Vec<u8>, fate: Fate) -> Fate {
        let before = self.tried.remove(&path).and_then(|tried| tried.registered);
        let fate = match fate {
            Fate::Skipped { faults, taken, .. } => {
                let taken = taken.map(|taken| Taken {
                    file: self.file_of(&taken.by),
                    is_kept: self.is_kept,
                    by: taken.by,
                });
                Fate::Skipped {
                    faults,
                    stays: before.clone(),
                    taken,
                }
            }
            Fate::Registered { .. } | Fate::Gone { .. } => fate,
        };
        let registered = match &fate {
            Fate::Registered { name, version, .. } => Some(format!("{name}@{version}")),
            Fate::Skipped { .. } | Fate::Gone { .. } => before,
        };
        self.tried.insert(
            path,
            Tried {
                content,
                registered,
            },
        );
        fate
    }

    fn file_of(&self, definition: &str) -> Option<String> {
        let says = |tried: &Tried| tried.registered.as_deref() == Some(definition);
        self.tried
            .iter()
            .find(|(_, tried)| says(tried))
            .map(|(path, _)| path.display().to_string())
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

async fn register(
    server: &Server,
    name: &str,
    bytes: &[u8],
    plan: Option<&Plan>,
) -> Result<Fate, Failure> {
    let file = SagaFile {
        path: name.to_owned(),
        content: bytes.to_vec().into(),
    };
    match deploy::deploy(server, vec![file], false).await {
        Ok(answer) => {
            // Notes say that participants have not come yet. The screen names them once, for all files.
            for diagnostic in answer
                .diagnostics
                .iter()
                .filter(|diagnostic| diagnostic.severity != "note")
            {
                output::note(&deploy::shown(diagnostic));
            }
            Ok(fate(&answer, needed(plan), || defined(name, bytes)))
        }
        Err(failure) if failure.exit() == Exit::Unreachable => Err(failure),
        Err(failure) => {
            output::failure(&failure);
            Ok(Fate::Skipped {
                faults: 1,
                stays: None,
                taken: None,
            })
        }
    }
}

/// Whom the steps of a file need; nobody while it has faults.
fn needed(plan: Option<&Plan>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for step in plan.into_iter().flat_map(|plan| &plan.steps) {
        names.insert(step.action.participant.clone());
        names.extend(
            step.compensation
                .as_ref()
                .map(|undo| undo.participant.clone()),
        );
    }
    names
}

/// What a file defines, as `name@version`.
fn defined(name: &str, bytes: &[u8]) -> Option<String> {
    let definition = file::load(name, bytes).definition?;
    Some(format!("{}@{}", definition.saga, definition.version))
}

fn fate(
    answer: &DeployResponse,
    participants: BTreeSet<String>,
    defined: impl FnOnce() -> Option<String>,
) -> Fate {
    match (answer.accepted, answer.deployed.first()) {
        (true, Some(deployed)) => Fate::Registered {
            name: deployed.name.clone(),
            version: deployed.version,
            created: deployed.created,
            participants,
        },
        (_, _) => {
            let faults = answer
                .diagnostics
                .iter()
                .filter(|diagnostic| diagnostic.severity == "error");
            let is_taken = answer
                .diagnostics
                .iter()
                .any(|diagnostic| diagnostic.code == VERSION_TAKEN);
            let by = if is_taken { defined() } else { None };
            let taken = by.map(|by| Taken {
                by,
                file: None,
                is_kept: true,
            });
            Fate::Skipped {
                faults: faults.count(),
                stays: None,
                taken,
            }
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
        let names: Vec<String> = needed(file::load("t", TRIP).plan.as_ref())
            .into_iter()
            .collect();
        assert_eq!(names, ["flights", "payments"]);
        assert_eq!(needed(None).len(), 0);
    }

    #[test]
    fn an_answer_becomes_a_fate() {
        let deployed = Deployed {
            name: "trip".into(),
            version: 1,
            hash: String::new(),
            created: true,
        };
        let answer = DeployResponse {
            deployed: vec![deployed],
            diagnostics: vec![],
            accepted: true,
        };
        let registered = fate(&answer, BTreeSet::new(), || None);
        assert!(matches!(
            registered,
            Fate::Registered {
                version: 1,
                created: true,
                ..
            }
        ));
        let of = |severity: &str| Diagnostic {
            severity: severity.into(),
            ..Diagnostic::default()
        };
        let diagnostics = vec![of("error"), of("note"), of("error")];
        let refused = DeployResponse {
            diagnostics,
            ..DeployResponse::default()
        };
        let skipped = Fate::Skipped {
            faults: 2,
            stays: None,
            taken: None,
        };
        assert_eq!(
            fate(&refused, BTreeSet::new(), || panic!("no version is taken")),
            skipped
        );
    }

    #[test]
    fn what_the_server_has_of_a_file_is_remembered() {
        let mut folder = Folder::new(Path::new("sagas"), false);
        let (a, b) = (
            PathBuf::from("sagas/a.saga.yaml"),
            PathBuf::from("sagas/b.saga.yaml"),
        );
        let registered = |version| Fate::Registered {
            name: "trip".into(),
            version,
            created: true,
            participants: BTreeSet::new(),
        };
        let skipped = |taken| Fate::Skipped {
            faults: 1,
            stays: None,
            taken,
        };
        let stays = |fate: Fate| match fate {
            Fate::Skipped { stays, taken, .. } => (stays, taken),
            other => panic!("{other:?}"),
        };
        folder.remember(a.clone(), vec![1], registered(1));
        let (kept, taken) = stays(folder.remember(a.clone(), vec![2], skipped(None)));
        assert_eq!((kept.as_deref(), taken), (Some("trip@1"), None));
        // Mended under the same version: the file itself is no other file.
        let by = || {
            Some(Taken {
                by: "trip@1".into(),
                file: None,
                is_kept: true,
            })
        };
        let (kept, taken) = stays(folder.remember(a.clone(), vec![3], skipped(by())));
        assert_eq!(kept.as_deref(), Some("trip@1"));
        assert_eq!(
            taken,
            Some(Taken {
                by: "trip@1".into(),
                file: None,
                is_kept: false
            })
        );
        // A second file that says the same names the first one.
        let (kept, taken) = stays(folder.remember(b.clone(), vec![4], skipped(by())));
        assert_eq!(
            (kept, taken.and_then(|taken| taken.file)),
            (None, Some(a.display().to_string()))
        );
        let gone = folder.forget_all_but(&[b]);
        let fate = Fate::Gone {
            stays: Some("trip@1".into()),
        };
        assert_eq!(
            gone,
            [Outcome {
                path: a.display().to_string(),
                fate
            }]
        );
    }
}
