//! `saga lint`: checks saga files without a server.

use std::path::Path;

use saga_dsl::{
    diagnostic::{Diagnostic, Severity},
    file,
};

use super::deploy::{Also, Fault, Position};
use crate::{
    exit::{Exit, Failure},
    files,
    show::output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  saga lint book_trip.saga.yaml
  saga lint .                       every *.saga.yaml of the folder and below it
  saga lint sagas/ --deny warnings
  cat trip.saga.yaml | saga lint -
  saga explain S0303                what a code means";

/// What is not let through beside errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Deny {
    /// Warnings count as errors.
    Warnings,
}

/// Arguments of `saga lint`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Saga files, or folders with all below them; - reads stdin
    #[arg(value_name = "FILE|DIR", required = true)]
    paths: Vec<String>,
    /// What else makes the exit code 1
    #[arg(long, value_name = "WHAT")]
    deny: Option<Deny>,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// How much was found in all files.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    errors: usize,
    warnings: usize,
    notes: usize,
    /// The first code that is not a remark alone.
    first: Option<&'static str>,
}

impl Tally {
    fn add(&mut self, found: &[Diagnostic]) {
        for diagnostic in found {
            if diagnostic.severity != Severity::Note {
                self.first.get_or_insert(diagnostic.code.as_str());
            }
            match diagnostic.severity {
                Severity::Error => self.errors += 1,
                Severity::Warning => self.warnings += 1,
                Severity::Note => self.notes += 1,
            }
        }
    }

    const fn exit(self, deny: Option<Deny>) -> Exit {
        match (self.errors, self.warnings, deny) {
            (0, 0, _) | (0, _, None) => Exit::Ok,
            (_, _, _) => Exit::Error,
        }
    }

    fn line(self, files: usize) -> String {
        let number = |count: usize, noun: &str| match count {
            1 => format!("1 {noun}"),
            _ => format!("{count} {noun}s"),
        };
        let files = number(files, "file");
        let found: Vec<String> = [
            (self.errors, "error"),
            (self.warnings, "warning"),
            (self.notes, "note"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| number(count, noun))
        .collect();
        if found.is_empty() {
            format!("{files}, no faults")
        } else {
            let more = self
                .first
                .map(|code| format!("; more: saga explain {code}"))
                .unwrap_or_default();
            format!("{files}: {}{more}", found.join(", "))
        }
    }
}

/// Runs `saga lint`. Every file is looked at, also after one that cannot be read.
pub fn run(args: Args) -> Result<Exit, Failure> {
    let mut tally = Tally::default();
    let mut found = Vec::new();
    let mut unread = false;
    let mut read = 0;
    for name in &files(&args.paths)? {
        let bytes = match files::read(name, files::SAGA_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(failure) => {
                output::failure(&failure);
                unread = true;
                continue;
            }
        };
        read += 1;
        let loaded = file::load(files::shown(name), &bytes);
        tally.add(&loaded.diagnostics);
        if args.output == Format::Text {
            output::data(&drawn(
                &loaded.diagnostics,
                &bytes,
                output::stdout_has_colour(),
            ))?;
        }
        found.extend(loaded.diagnostics);
    }
    match args.output {
        Format::Json => output::json(&found.iter().map(fault).collect::<Vec<_>>())?,
        // Of files that could not be read, how many faults they have cannot be told.
        Format::Text if read > 0 => output::note(&tally.line(read)),
        Format::Text => {}
    }
    Ok(if unread {
        Exit::Error
    } else {
        tally.exit(args.deny)
    })
}

/// Folders become the saga files in them and below.
fn files(paths: &[String]) -> Result<Vec<String>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path == "-" || !Path::new(path).is_dir() {
            files.push(path.clone());
            continue;
        }
        let found = files::saga_files_below(Path::new(path))?;
        let sagas = found
            .iter()
            .map(|path| path.display().to_string())
            .filter(|path| path.ends_with(files::SUFFIX));
        let before = files.len();
        files.extend(sagas);
        if files.len() == before {
            return Err(files::none_in(path));
        }
    }
    Ok(files)
}

/// Diagnostics with their source lines, a blank line after each.
pub fn drawn(found: &[Diagnostic], source: &[u8], colour: bool) -> String {
    let source = String::from_utf8_lossy(source);
    let width = output::Frame::of_stdout().width;
    found
        .iter()
        .map(|diagnostic| {
            output::prose_wrapped(&diagnostic.render(&source, colour), width) + "\n\n"
        })
        .collect()
}

fn fault(diagnostic: &Diagnostic) -> Fault<'_> {
    Fault {
        severity: diagnostic.severity.word(),
        code: diagnostic.code.as_str(),
        path: &diagnostic.path,
        line: diagnostic.line as u64,
        column: diagnostic.column as u64,
        message: &diagnostic.message,
        end: (diagnostic.line > 0).then(|| position(diagnostic.end)),
        label: &diagnostic.label,
        also: diagnostic
            .also
            .iter()
            .map(|mark| Also {
                line: mark.line as u64,
                column: mark.column as u64,
                end: position(mark.end),
                label: &mark.label,
            })
            .collect(),
        help: diagnostic.help.as_deref().unwrap_or_default(),
    }
}

const fn position((line, column): (usize, usize)) -> Position {
    Position {
        line: line as u64,
        column: column as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKEN: &[u8] =
        b"saga: trip\nversion: 1\nsteps:\n  - step: book\n    action: flights/reserve\n";

    #[test]
    fn a_fault_is_drawn_with_its_line_and_fails() {
        let loaded = file::load("trip.saga.yaml", BROKEN);
        let mut tally = Tally::default();
        tally.add(&loaded.diagnostics);
        assert!(tally.errors > 0);
        assert_eq!(tally.exit(None), Exit::Error);
        let drawn = drawn(&loaded.diagnostics, BROKEN, false);
        assert!(
            drawn.contains("error[S0303]") && drawn.contains("trip.saga.yaml:4"),
            "{drawn}"
        );
    }

    #[test]
    fn the_screen() {
        let source: &[u8] = b"saga: trip\nversion: 1\ninput: {amount: int}\nsteps:\n  - step: book\n    action: flights/reserve\n    input: [amuont]\n";
        let loaded = file::load("trip.saga.yaml", source);
        let mut tally = Tally::default();
        tally.add(&loaded.diagnostics);
        let screen = drawn(&loaded.diagnostics, source, false) + &tally.line(1);
        insta::assert_snapshot!(screen);
    }

    #[test]
    fn warnings_fail_only_when_denied() {
        let tally = Tally {
            warnings: 2,
            notes: 1,
            ..Tally::default()
        };
        assert_eq!(tally.exit(None), Exit::Ok);
        assert_eq!(tally.exit(Some(Deny::Warnings)), Exit::Error);
        assert_eq!(tally.line(1), "1 file: 2 warnings, 1 note");
        assert_eq!(Tally::default().line(2), "2 files, no faults");
        assert_eq!(
            Tally {
                notes: 9,
                ..Tally::default()
            }
            .exit(Some(Deny::Warnings)),
            Exit::Ok
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_a_fault_and_no_panic() {
        for bytes in [b"\xff\xfe\x00".as_slice(), b"", b"\0", b"a: [", b"\xc3"] {
            let loaded = file::load("x", bytes);
            assert!(loaded.has_errors(), "{bytes:?}");
            drawn(&loaded.diagnostics, bytes, true);
        }
    }

    #[test]
    fn the_json_form() {
        let loaded = file::load("trip.saga.yaml", BROKEN);
        let first = loaded
            .diagnostics
            .iter()
            .find(|d| d.code.as_str() == "S0303")
            .expect("found");
        let value = serde_json::to_value(fault(first)).expect("JSON");
        assert_eq!(
            (&value["severity"], &value["line"]),
            (&"error".into(), &4.into())
        );
        assert_eq!(value["end"], serde_json::json!({"line": 4, "column": 15}));
        assert!(value.get("also").is_none(), "{value}");
    }

    #[test]
    fn the_json_form_names_both_places() {
        let twice: &[u8] = b"saga: t\nversion: 1\nversion: 2\nsteps: []\n";
        let loaded = file::load("trip.saga.yaml", twice);
        let found = loaded.diagnostics.iter();
        let fault = found.map(fault).find(|fault| fault.code == "S0106");
        let value = serde_json::to_value(fault.expect("found")).expect("JSON");
        assert_eq!(
            value["also"],
            serde_json::json!([{
                "line": 2, "column": 1, "end": {"line": 2, "column": 8}, "label": "first here",
            }])
        );
    }

    #[test]
    fn folders_give_the_saga_files_in_them_and_below() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().display().to_string();
        let empty = files(std::slice::from_ref(&folder)).expect_err("empty");
        assert!(
            empty.to_string().ends_with("no saga files in this folder"),
            "{empty}"
        );
        std::fs::create_dir(dir.path().join("sub")).expect("a folder");
        for name in [
            "b.saga.yaml",
            "sub/a.saga.yaml",
            "b.saga.test.yaml",
            "x.yaml",
        ] {
            std::fs::write(dir.path().join(name), "").expect("written");
        }
        let found = files(&["missing.saga.yaml".into(), folder, "-".into()]).expect("files");
        let ends = ["missing.saga.yaml", "b.saga.yaml", "sub/a.saga.yaml", "-"];
        assert_eq!(found.len(), ends.len(), "{found:?}");
        for (path, end) in found.iter().zip(ends) {
            assert!(path.ends_with(end), "{found:?}");
        }
    }
}
