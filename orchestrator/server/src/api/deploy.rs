//! `Deploy`: checks saga files and registers those without faults, all of them or none.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use prost::Message;
use saga_dsl::{
    check::{ActionSchema, Catalog},
    diagnostic::{self, Severity},
    file::load_with,
    plan::Plan,
    types::Type,
};
use saga_proto::{
    limits::{DEPLOY_BYTES_MAX, DEPLOY_FILES_MAX, PAGE_BYTES_MAX},
    v1 as wire,
};

use super::{
    Api, convert,
    error::{Code, Refusal},
};
use saga_engine::{
    clock,
    definitions::Overruled,
    directory::{Directory, stored_actions},
    document::clean_text,
    lane::intake::Intake,
    store::{self, record::DefinitionRow, trouble::Kind},
};

/// Code of "same version, other content".
const VERSION_TAKEN: &str = "S0501";
/// Code of "somebody else says otherwise".
const OVERRULED: &str = "W0602";

/// A file without faults.
struct Sound {
    path: String,
    plan: Plan,
    canonical: String,
    /// 1-based; 0 when it was not found.
    version_line: u32,
}

pub(super) async fn deploy(
    api: &Api,
    request: wire::DeployRequest,
) -> Result<wire::DeployResponse, Refusal> {
    if request.files.is_empty() || request.files.len() > DEPLOY_FILES_MAX {
        let (count, rule) = (
            request.files.len(),
            format!("a call takes 1 to {DEPLOY_FILES_MAX}"),
        );
        return Err(Refusal::new(
            Code::Malformed,
            format!("files: {count} of them; {rule}"),
        ));
    }
    let bytes: usize = request
        .files
        .iter()
        .map(|file| file.path.len() + file.content.len())
        .sum();
    if bytes > DEPLOY_BYTES_MAX {
        let message = format!(
            "files: {bytes} bytes together are more than {DEPLOY_BYTES_MAX}; deploy them in several calls"
        );
        return Err(Refusal::new(Code::TooLarge, message));
    }
    let known = Registered::of(&api.parts().directory).await;
    let store = &api.parts().store;
    let mut hashes: BTreeMap<(String, u32), [u8; 32]> = store
        .definitions()
        .await?
        .into_iter()
        .map(|row| ((row.name, row.version), row.hash))
        .collect();
    let mut response = wire::DeployResponse::default();
    let mut sound: Vec<Sound> = Vec::new();
    for file in request.files {
        let Some(file) = check(file, &known, &mut response.diagnostics) else {
            continue;
        };
        let definition = &file.plan.definition;
        match hashes.entry((definition.saga.clone(), definition.version)) {
            Entry::Occupied(taken) if *taken.get() != file.plan.hash => {
                response.diagnostics.push(version_taken(&file))
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(free) => {
                free.insert(file.plan.hash);
            }
        }
        sound.push(file);
    }
    response.accepted = response
        .diagnostics
        .iter()
        .all(|found| found.severity != Severity::Error.word());
    if !response.accepted {
        fit(&mut response.diagnostics);
        return Ok(response);
    }
    for file in &sound {
        response.diagnostics.extend(
            api.parts()
                .definitions
                .overruled(&file.plan)
                .iter()
                .map(|o| overruled(file, o)),
        );
    }
    fit(&mut response.diagnostics);
    if request.dry_run {
        response.deployed = sound
            .iter()
            .map(|file| deployed(file, is_new(api, file)))
            .collect();
        return Ok(response);
    }
    // A caller who leaves, or is answered without it, must not leave a definition in the store that no start finds.
    let task = api.clone();
    let registering = api
        .parts()
        .tasks
        .spawn(async move { register(&task, sound, response).await });
    registering
        .await
        .unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(api.no_answer()),
        })
}

/// Keeps as many diagnostics as an answer holds, faults before warnings; the last one says how many are missing.
fn fit(diagnostics: &mut Vec<wire::Diagnostic>) {
    let bytes: usize = diagnostics.iter().map(Message::encoded_len).sum();
    if bytes <= PAGE_BYTES_MAX {
        return;
    }
    let is_fault = |found: &wire::Diagnostic| found.severity == Severity::Error.word();
    diagnostics.sort_by_key(|found| !is_fault(found));
    let (mut kept, mut bytes) = (0, 0);
    for found in &*diagnostics {
        bytes += found.encoded_len();
        if bytes > PAGE_BYTES_MAX {
            break;
        }
        kept += 1;
    }
    let missing = diagnostics.split_off(kept);
    let Some(first) = missing.first() else { return };
    let message = format!("{} more are not shown", missing.len());
    let rendered = format!("{}[{}]: {message}\n", first.severity, first.code);
    diagnostics.push(wire::Diagnostic {
        message,
        rendered,
        help: String::new(),
        ..first.clone()
    });
}

/// Checks one file; its diagnostics are added to `found`.
fn check(
    file: wire::SagaFile,
    known: &Registered,
    found: &mut Vec<wire::Diagnostic>,
) -> Option<Sound> {
    let path = clean_text(file.path, 1_024);
    let loaded = load_with(&path, &file.content, Some(known));
    let source = String::from_utf8_lossy(&file.content);
    found.extend(
        loaded
            .diagnostics
            .iter()
            .map(|diagnostic| to_wire(diagnostic, &source)),
    );
    // The plan is made of the canonical form, as it will be after a restart.
    let canonical = loaded.plan?.definition.canonical_json();
    let plan = Plan::from_canonical(&canonical)
        .inspect_err(
            |error| tracing::error!(path, %error, "a sound definition does not load from its canonical form"),
        )
        .ok()?;
    let version_line = source
        .lines()
        .position(|line| line.starts_with("version:"))
        .map_or(0, |at| at + 1);
    Some(Sound {
        path,
        plan,
        canonical,
        version_line: u32::try_from(version_line).unwrap_or(0),
    })
}

async fn register(
    api: &Api,
    files: Vec<Sound>,
    mut response: wire::DeployResponse,
) -> Result<wire::DeployResponse, Refusal> {
    let now = clock::now();
    let mut rows: Vec<DefinitionRow> = Vec::new();
    for file in &files {
        let definition = &file.plan.definition;
        // The same file twice in one call is one definition.
        if !rows
            .iter()
            .any(|row| row.name == definition.saga && row.version == definition.version)
        {
            rows.push(DefinitionRow {
                name: definition.saga.clone(),
                version: definition.version,
                hash: file.plan.hash,
                canonical: file.canonical.clone(),
                deployed_at: now,
            });
        }
    }
    let names: Vec<(String, u32)> = rows
        .iter()
        .map(|row| (row.name.clone(), row.version))
        .collect();
    let created = match api.parts().store.put_definitions(rows).await {
        Ok(created) => created,
        // Somebody else was faster with other content.
        Err(store::Error::DefinitionConflict { name, version }) => {
            let taken = |file: &&Sound| {
                file.plan.definition.saga == name && file.plan.definition.version == version
            };
            response
                .diagnostics
                .extend(files.iter().filter(taken).map(version_taken));
            response.accepted = false;
            return Ok(response);
        }
        Err(error) => return Err(not_registered(error)),
    };
    let created: BTreeMap<_, _> = names.into_iter().zip(created).collect();
    for file in files {
        let name = (
            file.plan.definition.saga.clone(),
            file.plan.definition.version,
        );
        response.deployed.push(deployed(
            &file,
            created.get(&name).copied().unwrap_or(false),
        ));
        api.parts().definitions.insert(Arc::new(file.plan));
    }
    // A lane that has stopped needs no limits any more; the definitions are registered.
    api.parts().lane.send(Intake::Limits).await.ok();
    Ok(response)
}

/// The write failed; where the store did not say that it took nothing, it may have been done.
fn not_registered(error: store::Error) -> Refusal {
    let doubtful = match &error {
        store::Error::Unavailable(cause) => match cause.kind {
            Kind::Unreachable | Kind::Ended | Kind::Other => true,
            Kind::ReadOnly
            | Kind::Starting
            | Kind::DiskFull
            | Kind::NoConnection
            | Kind::TimedOut
            | Kind::Overloaded
            | Kind::Denied
            | Kind::Unfit
            | Kind::Moved
            | Kind::Fenced
            | Kind::Closed => false,
        },
        store::Error::Held { .. }
        | store::Error::Owned
        | store::Error::Busy { .. }
        | store::Error::Corrupt(_)
        | store::Error::TooNew { .. }
        | store::Error::DefinitionConflict { .. }
        | store::Error::Closed => false,
    };
    let refusal = Refusal::from(error);
    if doubtful {
        Refusal::new(Code::Unanswered, refusal.message)
    } else {
        refusal
    }
}

fn is_new(api: &Api, file: &Sound) -> bool {
    let definition = &file.plan.definition;
    api.parts()
        .definitions
        .get(&definition.saga, definition.version)
        .is_none()
}

fn deployed(file: &Sound, created: bool) -> wire::Deployed {
    wire::Deployed {
        name: file.plan.definition.saga.clone(),
        version: file.plan.definition.version,
        hash: convert::hash_text(&file.plan.hash),
        created,
    }
}

fn version_taken(file: &Sound) -> wire::Diagnostic {
    let definition = &file.plan.definition;
    let message = format!(
        "{}@{} is registered with other content",
        definition.saga, definition.version
    );
    let help = "raise `version`: running sagas keep the content that they began with".to_owned();
    let rendered = format!(
        "error[{VERSION_TAKEN}]: {message}\n --> {}:{}:1\n  = help: {help}",
        file.path, file.version_line
    );
    wire::Diagnostic {
        severity: Severity::Error.word().to_owned(),
        code: VERSION_TAKEN.to_owned(),
        path: file.path.clone(),
        line: file.version_line,
        column: u32::from(file.version_line > 0),
        message,
        help,
        rendered,
    }
}

/// What the file says of a participant does not hold, and who says otherwise.
fn overruled(file: &Sound, overruled: &Overruled) -> wire::Diagnostic {
    let Overruled {
        participant,
        setting,
        said,
        holds,
        by,
    } = overruled;
    let message = format!("{participant}: {setting} is {holds}, as {by} says, and not {said}");
    let help = "say the same in both, or leave it out here".to_owned();
    let path = &file.path;
    wire::Diagnostic {
        severity: Severity::Warning.word().to_owned(),
        code: OVERRULED.to_owned(),
        path: path.clone(),
        line: 0,
        column: 0,
        rendered: format!("warning[{OVERRULED}]: {message}\n --> {path}\n  = help: {help}"),
        message,
        help,
    }
}

fn to_wire(found: &diagnostic::Diagnostic, source: &str) -> wire::Diagnostic {
    wire::Diagnostic {
        severity: found.severity.word().to_owned(),
        code: found.code.as_str().to_owned(),
        path: found.path.clone(),
        line: u32::try_from(found.line).unwrap_or(u32::MAX),
        column: u32::try_from(found.column).unwrap_or(u32::MAX),
        message: found.message.clone(),
        help: found.help.clone().unwrap_or_default(),
        rendered: found.render(source, false),
    }
}

/// What participants registered, as types.
pub(super) struct Registered {
    actions: BTreeMap<(String, String), ActionSchema>,
}

impl Registered {
    pub(super) async fn of(directory: &Directory) -> Self {
        let mut actions = BTreeMap::new();
        for row in directory.known().await {
            for action in stored_actions(&row) {
                let schema = ActionSchema {
                    input: type_of(action.input_schema.as_deref()),
                    output: type_of(action.output_schema.as_deref()),
                };
                actions.insert((row.name.clone(), action.name), schema);
            }
        }
        Self { actions }
    }
}

impl Catalog for Registered {
    fn action(&self, participant: &str, action: &str) -> Option<ActionSchema> {
        self.actions
            .get(&(participant.to_owned(), action.to_owned()))
            .cloned()
    }

    fn actions(&self) -> Vec<String> {
        self.actions
            .keys()
            .map(|(participant, action)| format!("{participant}/{action}"))
            .collect()
    }
}

/// The type of a schema; a participant that publishes none takes and answers anything.
fn type_of(schema: Option<&str>) -> Type {
    let schema = schema.and_then(|text| serde_json::from_str(text).ok());
    schema.map_or(Type::Any, |schema| Type::from_json_schema(&schema))
}
