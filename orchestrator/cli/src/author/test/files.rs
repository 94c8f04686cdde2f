//! Which saga files and test files are meant, and what is in them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use saga_dsl::{
    diagnostic::{Diagnostic, Severity},
    file::{self, NoPlan},
    plan::Plan,
    test_file,
};
use saga_lab::trials;

use super::{super::lint, Suite};
use crate::{exit::Failure, files, show::output};

/// How the names of saga files end.
const SAGA_SUFFIX: &str = ".saga.yaml";

/// All that is to be tried.
pub struct Gathered {
    pub suites: Vec<Suite>,
    /// Files with faults, which were shown; what is right in them is tried.
    pub faulty: usize,
}

/// Reads everything that the paths name. Faults are shown as they are found.
pub fn gather(paths: &[PathBuf]) -> Result<Gathered, Failure> {
    let mut gathered = Gathered {
        suites: Vec::new(),
        faulty: 0,
    };
    for path in named(paths)? {
        let suite = if is_test(&path) {
            own_alone(&path, &mut gathered.faulty)
        } else {
            whole(&path, &mut gathered.faulty)
        };
        match suite {
            Ok(suite) => gathered.suites.extend(suite),
            Err(failure) => {
                output::failure(&failure);
                gathered.faulty += 1;
            }
        }
    }
    if gathered.suites.is_empty() && gathered.faulty == 0 {
        let shown: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(
            Failure::error(format!("no *{SAGA_SUFFIX} in {}", shown.join(", ")))
                .help("name a saga file, or the folder that holds some"),
        );
    }
    Ok(gathered)
}

fn is_test(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().ends_with(test_file::SUFFIX))
}

/// Folders stand for their saga files, and for those of their test files that no saga file brings along.
fn named(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let sagas = files::saga_files(path)?;
        let brought: BTreeSet<PathBuf> = sagas.iter().map(|saga| sibling(saga)).collect();
        found.extend(sagas);
        found.extend(
            files::ending(path, test_file::SUFFIX)?
                .into_iter()
                .filter(|test| !brought.contains(test)),
        );
    }
    Ok(found)
}

/// `book_trip.saga.test.yaml` for `book_trip.saga.yaml`; for a file of another name nothing that exists.
fn sibling(saga: &Path) -> PathBuf {
    let name = saga
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let stem = name.strip_suffix(SAGA_SUFFIX).unwrap_or(&name);
    saga.with_file_name(format!("{stem}{}", test_file::SUFFIX))
}

/// A saga file with its test file, if it has one, and the generated cases. Counts the files that have faults.
fn whole(path: &Path, faulty: &mut usize) -> Result<Option<Suite>, Failure> {
    let name = path.display().to_string();
    let Some(plan) = plan(&name)? else {
        *faulty += 1;
        return Ok(None);
    };
    let test = sibling(path);
    // It may have been written for another file of the folder.
    let own = if test.is_file() {
        own(&test, faulty)?.filter(|own| own.plan.hash == plan.hash)
    } else {
        None
    };
    let mut cases = own.map(|own| own.cases).unwrap_or_default();
    let generated = trials::generate(&plan);
    cases.extend(generated.cases.into_iter().map(|case| (case, false)));
    Ok(Some(Suite {
        path: name,
        plan: Arc::new(plan),
        cases,
        notes: generated.notes,
    }))
}

fn own_alone(path: &Path, faulty: &mut usize) -> Result<Option<Suite>, Failure> {
    Ok(own(path, faulty)?.map(|own| Suite {
        path: path.display().to_string(),
        plan: Arc::new(own.plan),
        cases: own.cases,
        notes: Vec::new(),
    }))
}

struct Own {
    plan: Plan,
    cases: Vec<(trials::Case, bool)>,
}

fn own(path: &Path, faulty: &mut usize) -> Result<Option<Own>, Failure> {
    let name = path.display().to_string();
    let bytes = files::read(&name, files::SAGA_FILE_BYTES_MAX)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut found = None;
    let mut saga_is_faulty = false;
    let mut plan_of = |saga: &str| {
        let at = folder.join(saga).display().to_string();
        match plan(&at) {
            Ok(Some(plan)) => {
                found = Some(plan.clone());
                Ok(plan)
            }
            Ok(None) => {
                saga_is_faulty = true;
                Err(NoPlan::Faulty)
            }
            Err(failure) => Err(NoPlan::Missing(failure.to_string())),
        }
    };
    let loaded = file::load_tests(&name, &bytes, &mut plan_of);
    show(&loaded.diagnostics, &bytes);
    let has_faults = loaded
        .diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error);
    *faulty += usize::from(has_faults || saga_is_faulty);
    let (Some(tests), Some(plan)) = (loaded.tests, found) else {
        return Ok(None);
    };
    let cases = tests
        .cases
        .iter()
        .map(|case| (trials::own(&plan, case), true))
        .collect();
    Ok(Some(Own { plan, cases }))
}

/// The plan of a saga file; `None` where it has faults, which are shown.
fn plan(name: &str) -> Result<Option<Plan>, Failure> {
    let bytes = files::read(name, files::SAGA_FILE_BYTES_MAX)?;
    let loaded = file::load(files::shown(name), &bytes);
    if loaded.plan.is_none() {
        show(&loaded.diagnostics, &bytes);
    }
    Ok(loaded.plan)
}

/// Errors only: warnings and notes are what `saga lint` is for.
fn show(found: &[Diagnostic], source: &[u8]) {
    let errors: Vec<Diagnostic> = found
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .cloned()
        .collect();
    if !errors.is_empty() {
        output::note(lint::drawn(&errors, source, output::stderr_has_colour()).trim_end());
    }
}
