//! `saga deploy`: registers saga files; all of them or none.

use std::path::{Path, PathBuf};

use saga_proto::limits::{DEPLOY_BYTES_MAX, DEPLOY_FILES_MAX};
use saga_proto::v1::{DeployRequest, DeployResponse, Diagnostic, SagaFile};
use serde::Serialize;

use crate::{
    Context,
    client::Server,
    exit::{Exit, Failure, Fate},
    files,
    show::{
        output::{self, Format},
        words::Tone,
    },
};

const EXAMPLES: &str = "\
Examples:
  saga deploy book_trip.saga.yaml
  saga deploy sagas/                every *.saga.yaml of the folder
  saga deploy sagas/ --dry-run      exit code 2 when something would change";

/// Arguments of `saga deploy`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Saga files, or folders that hold them; - reads stdin
    #[arg(value_name = "FILE|DIR", required = true)]
    paths: Vec<String>,
    /// Check and compare, register nothing
    #[arg(long)]
    dry_run: bool,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Runs `saga deploy`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let mut files = Vec::new();
    for path in expand(&args.paths)? {
        let content = files::read(&path, files::SAGA_FILE_BYTES_MAX)?;
        files.push(SagaFile {
            path: files::shown(&path).to_owned(),
            content: content.into(),
        });
    }
    let server = context.server().await?;
    let answer = deploy(&server, files, args.dry_run).await?;
    match args.output {
        Format::Json => output::json(&Answer::of(&answer, args.dry_run))?,
        Format::Text => {
            for diagnostic in &answer.diagnostics {
                output::note(&shown(diagnostic));
            }
            output::data(&screen(&answer, args.dry_run))?;
        }
    }
    let changes = answer.deployed.iter().any(|deployed| deployed.created);
    Ok(match (answer.accepted, args.dry_run && changes) {
        (false, _) => Exit::Error,
        (true, true) => Exit::Usage,
        (true, false) => Exit::Ok,
    })
}

/// Sends files to the server, unless they are more than one deploy takes.
pub async fn deploy(
    server: &Server,
    files: Vec<SagaFile>,
    dry_run: bool,
) -> Result<DeployResponse, Failure> {
    fits(&files)?;
    let request = DeployRequest { files, dry_run };
    if dry_run {
        let answer = server.definitions().deploy(request).await;
        return Ok(answer
            .map_err(|status| server.failure(status))?
            .into_inner());
    }
    let fate = Fate {
        what: "the files are registered".to_owned(),
        find_out: "saga definitions tells; the same files may be deployed again".to_owned(),
    };
    server.act(server.definitions().deploy(request), fate).await
}

/// One deploy is all or nothing, so it travels in one message.
fn fits(files: &[SagaFile]) -> Result<(), Failure> {
    let (count, bytes) = (
        files.len(),
        files
            .iter()
            .map(|file| file.path.len() + file.content.len())
            .sum::<usize>(),
    );
    if count <= DEPLOY_FILES_MAX && bytes <= DEPLOY_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "{count} files of {bytes} bytes together are more than one deploy takes ({DEPLOY_FILES_MAX} files, \
         {DEPLOY_BYTES_MAX} bytes)"
    );
    Err(Failure::error(message)
        .help("nothing was sent; deploy them in several calls, each of which is all or nothing"))
}

/// Folders become the saga files in them.
fn expand(paths: &[String]) -> Result<Vec<String>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path == "-" || !Path::new(path).is_dir() {
            files.push(path.clone());
            continue;
        }
        let found = files::saga_files(Path::new(path))?;
        if found.is_empty() {
            return Err(files::none_in(path));
        }
        files.extend(
            found
                .iter()
                .map(PathBuf::as_path)
                .map(|path| path.display().to_string()),
        );
    }
    Ok(files)
}

/// A diagnostic as the server drew it, or in one line where it did not.
pub fn shown(diagnostic: &Diagnostic) -> String {
    let drawn = diagnostic.rendered.trim_end();
    if drawn.is_empty() {
        let place = match diagnostic.line {
            0 => diagnostic.path.clone(),
            line => format!("{}:{line}:{}", diagnostic.path, diagnostic.column),
        };
        let text = format!(
            "{}[{}]: {} ({place})",
            diagnostic.severity, diagnostic.code, diagnostic.message
        );
        return output::printable(&text).into_owned();
    }
    drawn
        .lines()
        .map(output::printable)
        .collect::<Vec<_>>()
        .join("\n")
        + "\n"
}

fn screen(answer: &DeployResponse, dry_run: bool) -> String {
    let mut text = String::new();
    for deployed in &answer.deployed {
        let name = format!("{}@{}", deployed.name, deployed.version);
        let name = output::printable(&name);
        text += &match (deployed.created, dry_run) {
            (true, false) => format!("{} {name} registered\n", Tone::Good.paint("✔")),
            (true, true) => format!("{} {name} would be registered\n", Tone::Good.paint("+")),
            (false, _) => format!("{} {name} unchanged\n", Tone::Dim.paint("=")),
        };
    }
    if !answer.accepted {
        let faults = answer
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == "error")
            .count();
        let noun = if faults == 1 { "fault" } else { "faults" };
        text += &format!(
            "{} nothing registered: {faults} {noun}\n",
            Tone::Bad.paint("✗")
        );
    }
    text
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    accepted: bool,
    dry_run: bool,
    deployed: Vec<Deployed<'a>>,
    diagnostics: Vec<Fault<'a>>,
}

#[derive(Serialize)]
struct Deployed<'a> {
    name: &'a str,
    version: u32,
    hash: &'a str,
    /// False: the same content was there before.
    created: bool,
}

/// A diagnostic; `saga lint -o json` has the same fields.
#[derive(Serialize)]
pub struct Fault<'a> {
    /// `error`, `warning`, `note`.
    pub severity: &'a str,
    /// Stable code.
    pub code: &'a str,
    /// The file.
    pub path: &'a str,
    /// From 1; 0 for the whole file.
    pub line: u64,
    /// From 1; 0 for the whole file.
    pub column: u64,
    /// What is wrong.
    pub message: &'a str,
    /// Behind the last character; absent for the whole file, and where the server does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Position>,
    /// What stands beside the source.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub label: &'a str,
    /// Other places of the file that have a part in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Also<'a>>,
    /// How to put it right.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub help: &'a str,
}

/// A place in a file, both from 1.
#[derive(Serialize)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column in characters.
    pub column: u64,
}

/// Another place of the file, and what stands there.
#[derive(Serialize)]
pub struct Also<'a> {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// Behind the last character.
    pub end: Position,
    /// What stands there.
    pub label: &'a str,
}

impl<'a> Answer<'a> {
    fn of(answer: &'a DeployResponse, dry_run: bool) -> Self {
        let deployed = answer.deployed.iter();
        let deployed = deployed.map(|d| Deployed {
            name: &d.name,
            version: d.version,
            hash: &d.hash,
            created: d.created,
        });
        let faults = answer.diagnostics.iter().map(|d| Fault {
            severity: &d.severity,
            code: &d.code,
            path: &d.path,
            line: d.line.into(),
            column: d.column.into(),
            message: &d.message,
            end: None,
            label: "",
            also: Vec::new(),
            help: &d.help,
        });
        Self {
            accepted: answer.accepted,
            dry_run,
            deployed: deployed.collect(),
            diagnostics: faults.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::output::bare;

    fn answer(accepted: bool) -> DeployResponse {
        let deployed = |name: &str, created| saga_proto::v1::Deployed {
            name: name.into(),
            version: 1,
            hash: "6f1d".into(),
            created,
        };
        DeployResponse {
            deployed: if accepted {
                vec![deployed("book_trip", true), deployed("lab_report", false)]
            } else {
                vec![]
            },
            diagnostics: vec![Diagnostic {
                severity: if accepted { "warning" } else { "error" }.into(),
                code: "S0303".into(),
                path: "trip.saga.yaml".into(),
                line: 3,
                column: 5,
                message: "no compensation".into(),
                help: "add `compensation:`".into(),
                rendered: String::new(),
            }],
            accepted,
        }
    }

    #[test]
    fn the_screens() {
        let screens = [
            screen(&answer(true), false),
            screen(&answer(true), true),
            screen(&answer(false), false),
        ];
        insta::assert_snapshot!(bare(&screens.join("\n")), @r"
        ✔ book_trip@1 registered
        = lab_report@1 unchanged

        + book_trip@1 would be registered
        = lab_report@1 unchanged

        ✗ nothing registered: 1 fault
        ");
        assert_eq!(
            shown(&answer(false).diagnostics[0]),
            "error[S0303]: no compensation (trip.saga.yaml:3:5)"
        );
    }

    #[test]
    fn the_json_form() {
        let text = serde_json::to_string(&Answer::of(&answer(true), true)).expect("JSON");
        insta::assert_snapshot!(text, @r#"{"accepted":true,"dry_run":true,"deployed":[{"name":"book_trip","version":1,"hash":"6f1d","created":true},{"name":"lab_report","version":1,"hash":"6f1d","created":false}],"diagnostics":[{"severity":"warning","code":"S0303","path":"trip.saga.yaml","line":3,"column":5,"message":"no compensation","help":"add `compensation:`"}]}"#);
    }

    #[test]
    fn more_than_one_deploy_takes_is_refused_before_it_is_sent() {
        let file = |bytes: usize| SagaFile {
            path: String::new(),
            content: vec![b' '; bytes].into(),
        };
        assert!(fits(&[file(DEPLOY_BYTES_MAX)]).is_ok());
        assert!(fits(&vec![file(1); DEPLOY_FILES_MAX]).is_ok());
        let failure = fits(&[file(DEPLOY_BYTES_MAX), file(1)]).expect_err("one byte more");
        assert!(
            failure.to_string().contains("2 files of 8388609 bytes"),
            "{failure}"
        );
        assert!(fits(&vec![file(1); DEPLOY_FILES_MAX + 1]).is_err());
    }

    #[test]
    fn folders_give_their_saga_files() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().display().to_string();
        assert!(
            expand(std::slice::from_ref(&folder))
                .expect_err("empty")
                .to_string()
                .ends_with("no saga files in this folder")
        );
        std::fs::write(dir.path().join("a.saga.yaml"), "").expect("written");
        let files = expand(&["x.yaml".into(), folder, "-".into()]).expect("expanded");
        assert_eq!(files.len(), 3);
        assert!(files[1].ends_with("a.saga.yaml"));
    }
}
