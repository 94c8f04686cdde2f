//! `saga graph`: draws the steps of a saga file without a server.

use std::path::Path;

use saga_dsl::{
    file,
    graph::{ascii, dot, mermaid, svg},
    plan::Plan,
};

use super::{
    exit::{Exit, Failure},
    files, lint,
    output::{self, Frame},
};

const EXAMPLES: &str = "\
Examples:
  saga graph book_trip.saga.yaml
  saga graph book_trip.saga.yaml --format mermaid   for a Markdown page
  saga graph book_trip.saga.yaml --format svg > book_trip.svg
  saga graph book_trip.saga.yaml --format dot | dot -Tpng > book_trip.png";

/// Who is to read the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Picture {
    /// A person at a terminal; a tree where the terminal is too narrow.
    Ascii,
    /// What shows Mermaid, as many Markdown pages do.
    Mermaid,
    /// Graphviz.
    Dot,
    /// A page or a slide: a picture as it is.
    Svg,
}

/// Arguments of `saga graph`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Saga file; - reads stdin
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: String,
    /// Format
    #[arg(long, value_name = "FORMAT", default_value = "ascii")]
    format: Picture,
}

/// Runs `saga graph`. Faults go to stderr: on stdout, a program may wait for the picture.
pub fn run(args: Args) -> Result<Exit, Failure> {
    if !is_file(&args.file) {
        return Err(no_file(&args.file));
    }
    let bytes = files::read(&args.file, files::SAGA_FILE_BYTES_MAX)?;
    let name = files::shown(&args.file);
    let loaded = file::load(name, &bytes);
    let Some(plan) = loaded.plan else {
        output::note(lint::drawn(&loaded.diagnostics, &bytes, true).trim_end());
        return Ok(Exit::Error);
    };
    output::data(&drawn(&plan, args.format, Frame::of_stdout().width))?;
    Ok(Exit::Ok)
}

fn drawn(plan: &Plan, picture: Picture, width: Option<u16>) -> String {
    match picture {
        Picture::Ascii => ascii(plan, width.map(usize::from)),
        Picture::Mermaid => mermaid(plan),
        Picture::Dot => dot(plan),
        Picture::Svg => svg(plan),
    }
}

/// Whether a file is meant, also one that is not there.
fn is_file(name: &str) -> bool {
    let path = Path::new(name);
    let is_yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    name == "-" || is_yaml || path.exists()
}

fn no_file(name: &str) -> Failure {
    let saga = name.split('@').next().unwrap_or(name);
    Failure::error(format!(
        "{name}: there is no such file, and a server does not hand out the definitions it holds"
    ))
    .help(format!("name the file that was deployed: saga graph {saga}.saga.yaml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(file: &str) -> Result<Exit, Failure> {
        run(Args { file: file.to_owned(), format: Picture::Dot })
    }

    #[test]
    fn a_registered_definition_is_refused_with_a_way_out() {
        let Err(Failure::Told { exit, message, help, .. }) = graph("book_trip@3") else { panic!("refused") };
        assert_eq!(exit, Exit::Error);
        assert!(message.starts_with("book_trip@3: there is no such file"), "{message}");
        assert!(help.expect("a remedy").ends_with("saga graph book_trip.saga.yaml"));
    }

    #[test]
    fn a_file_that_is_not_there_is_not_taken_for_a_name() {
        for name in ["none.saga.yaml", "none.yml"] {
            let failure = graph(name).expect_err("missing");
            assert_eq!(failure.to_string(), format!("{name}: there is no such file"));
        }
    }

    #[test]
    fn a_file_is_drawn_whatever_its_name_and_a_faulty_one_fails() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("trip");
        let named = path.display().to_string();
        let right = "saga: trip\nversion: 1\nsteps:\n  - {step: a, action: p/do, compensation: p/undo}\n";
        std::fs::write(&path, right).expect("written");
        assert_eq!(graph(&named).expect("drawn"), Exit::Ok);
        std::fs::write(&path, right.replace("compensation", "compensatoin")).expect("written");
        assert_eq!(graph(&named).expect("faults are no failure of the verb"), Exit::Error);
    }

    #[test]
    fn every_format_is_its_own() {
        let source = b"saga: t\nversion: 1\nsteps:\n  - {step: a, action: p/do, compensation: p/undo}\n";
        let plan = file::load("t", source).plan.expect("no faults");
        assert!(drawn(&plan, Picture::Ascii, None).starts_with("start ── a ↩ ── end\n"));
        assert!(drawn(&plan, Picture::Ascii, Some(10)).starts_with("start\n├─ a ↩\n"));
        assert!(drawn(&plan, Picture::Mermaid, Some(10)).starts_with("flowchart LR\n"));
        assert!(drawn(&plan, Picture::Dot, Some(10)).starts_with("digraph "));
        assert!(drawn(&plan, Picture::Svg, Some(10)).starts_with("<svg "));
    }
}
