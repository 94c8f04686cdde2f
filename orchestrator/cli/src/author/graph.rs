//! `saga graph`: draws the steps of a saga file without a server, or those of a saga with where they stand.

use std::{collections::BTreeMap, path::Path};

use saga_dsl::{
    definition::Definition,
    file,
    graph::{self, Standing, ascii, dot, mermaid, svg_with},
    plan::Plan,
};
use saga_proto::v1::{GetSagaRequest, SagaDetail, StepDetail};
use serde_json::{Value, json};

use super::lint;
use crate::{
    Context,
    exit::{Exit, Failure},
    files,
    show::{
        output::{self, Frame},
        words::{self, Tone},
    },
};

const EXAMPLES: &str = "\
Examples:
  saga graph book_trip.saga.yaml
  saga graph book_trip.saga.yaml --format mermaid   for a Markdown page
  saga graph book_trip.saga.yaml --format svg > book_trip.svg
  saga graph book_trip.saga.yaml --format dot | dot -Tpng > book_trip.png
  saga graph 7QK3MV2A                               a saga, and where its steps stand";

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
    /// Saga file, - for stdin; or a saga: its id, the unique end of one, or DEFINITION/KEY
    #[arg(value_name = "FILE|ID", value_hint = clap::ValueHint::FilePath)]
    what: String,
    /// Format
    #[arg(long, value_name = "FORMAT", default_value = "ascii")]
    format: Picture,
}

/// Runs `saga graph`. Faults go to stderr: on stdout, a program may wait for the picture.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let width = Frame::of_stdout().width;
    if is_file(&args.what) {
        return of_file(&args.what, args.format, width);
    }
    if args.what.contains('@') {
        return Err(no_file(&args.what));
    }
    let server = context.server().await?;
    let detail = server
        .sagas()
        .get_saga(GetSagaRequest {
            saga: args.what.clone(),
        })
        .await;
    let detail = detail.map_err(|status| match server.failure(status) {
        failure if failure.exit() == Exit::NotFound => {
            failure.help("name a saga as `saga list` does, or a saga file")
        }
        failure => failure,
    })?;
    output::data(&of_saga(&detail.into_inner(), args.format, width)?)?;
    Ok(Exit::Ok)
}

fn of_file(name: &str, format: Picture, width: Option<u16>) -> Result<Exit, Failure> {
    let bytes = files::read(name, files::SAGA_FILE_BYTES_MAX)?;
    let loaded = file::load(files::shown(name), &bytes);
    let Some(plan) = loaded.plan else {
        output::note(
            lint::drawn(&loaded.diagnostics, &bytes, output::stderr_has_colour()).trim_end(),
        );
        return Ok(Exit::Error);
    };
    output::data(&drawn(&plan, &BTreeMap::new(), format, width))?;
    Ok(Exit::Ok)
}

fn drawn(
    plan: &Plan,
    standings: &BTreeMap<String, Standing>,
    picture: Picture,
    width: Option<u16>,
) -> String {
    match picture {
        Picture::Ascii => ascii(plan, width.map(usize::from)),
        Picture::Mermaid => mermaid(plan),
        Picture::Dot => dot(plan),
        Picture::Svg => svg_with(plan, standings),
    }
}

/// A saga with where its steps stand: on the boxes of an SVG; beside a picture in the terminal as a list. The other two
/// formats are for documents, which outlive any standing.
fn of_saga(detail: &SagaDetail, picture: Picture, width: Option<u16>) -> Result<String, Failure> {
    let plan = plan_of(detail)?;
    let summary = detail.summary.clone().unwrap_or_default();
    let forward = summary.status == "running";
    let word = |step: &StepDetail| words::step(step, forward, detail.now_us);
    let standing = |step: &StepDetail| {
        let word = word(step);
        (
            step.id.clone(),
            Standing {
                tone: tone(word.tone),
                words: word.text(),
            },
        )
    };
    let standings: BTreeMap<String, Standing> = detail.steps.iter().map(standing).collect();
    let mut text = drawn(&plan, &standings, picture, width);
    if picture == Picture::Ascii {
        let longest = detail
            .steps
            .iter()
            .map(|step| step.id.chars().count())
            .max()
            .unwrap_or_default();
        text.push('\n');
        for step in &detail.steps {
            let id = output::printable(&step.id);
            text.push_str(&format!("{id:longest$}  {}\n", word(step).painted()));
        }
    }
    Ok(text)
}

const fn tone(tone: Tone) -> graph::Tone {
    match tone {
        Tone::Good => graph::Tone::Done,
        Tone::Bad => graph::Tone::Bad,
        Tone::Back => graph::Tone::Back,
        Tone::Busy => graph::Tone::Busy,
        Tone::Dim | Tone::Plain => graph::Tone::Idle,
    }
}

/// The plan as far as a saga shows it. Conditions are not shown; a step that was skipped had one.
fn plan_of(detail: &SagaDetail) -> Result<Plan, Failure> {
    let summary = detail.summary.clone().unwrap_or_default();
    let steps = nodes(&detail.steps, 0);
    let definition = json!({"saga": summary.name, "version": summary.version, "steps": steps});
    let odd = |error: String| {
        Failure::error(format!("the server's answer cannot be drawn: {error}"))
            .help("server and command may be of different versions: compare `saga version`")
    };
    let definition: Definition =
        serde_json::from_value(definition).map_err(|error| odd(error.to_string()))?;
    Plan::from_definition(definition).map_err(|error| odd(error.to_string()))
}

/// Steps that share their first `depth` groups, as the items of a definition.
fn nodes(steps: &[StepDetail], depth: usize) -> Vec<Value> {
    let mut items = Vec::new();
    let mut rest = steps;
    while let Some(first) = rest.first() {
        let group = first.groups.get(depth);
        let count = match group {
            None => 1,
            Some(_) => rest
                .iter()
                .take_while(|step| step.groups.get(depth) == group)
                .count(),
        };
        let (members, after) = rest.split_at(count);
        items.push(match group {
            None => node(first),
            Some(group) => {
                let word = group
                    .split_once(':')
                    .map_or(group.as_str(), |(word, _)| word);
                json!({ word: nodes(members, depth + 1) })
            }
        });
        rest = after;
    }
    items
}

fn node(step: &StepDetail) -> Value {
    let mut node = json!({"step": step.id, "kind": step.kind, "action": step.action});
    if !step.compensation.is_empty() {
        node["compensation"] = Value::from(step.compensation.as_str());
    }
    if step.status == "skipped" {
        node["when"] = Value::from("true");
    }
    node
}

/// Whether a file is meant, also one that is not there.
fn is_file(name: &str) -> bool {
    let path = Path::new(name);
    let is_yaml = path
        .extension()
        .is_some_and(|ending| ending == "yaml" || ending == "yml");
    name == "-" || is_yaml || path.exists()
}

fn no_file(name: &str) -> Failure {
    let saga = name.split('@').next().unwrap_or(name);
    Failure::error(format!(
        "{name}: there is no such file, and a server does not hand out the definitions it holds"
    ))
    .help(format!(
        "name the file that was deployed: saga graph {saga}.saga.yaml"
    ))
}

#[cfg(test)]
mod tests {
    use saga_dsl::definition::Node;

    use super::*;
    use crate::show::{output::bare, sample};

    fn graph(what: &str) -> Result<Exit, Failure> {
        // Nobody listens there, and nobody may be asked.
        let context = Context {
            endpoint: "grpc://127.0.0.1:1".to_owned(),
            endpoint_written: false,
        };
        let args = Args {
            what: what.to_owned(),
            format: Picture::Dot,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(run(args, &context))
    }

    #[test]
    fn what_is_no_file_is_asked_of_the_server() {
        for name in ["7QK3MV2A", "book_trip/trip-1"] {
            assert_eq!(
                graph(name).expect_err("no server").exit(),
                Exit::Unreachable
            );
        }
    }

    #[test]
    fn a_saga_is_drawn_with_where_its_steps_stand() {
        let saga = sample::compensating();
        insta::assert_snapshot!(bare(&of_saga(&saga, Picture::Ascii, None).expect("drawn")));
        let svg = of_saga(&saga, Picture::Svg, None).expect("drawn");
        for wanted in [
            "t-back",
            "t-bad",
            "↩ compensated",
            "✗ refused",
            "– not reached",
            "book_trip version 1",
        ] {
            assert!(svg.contains(wanted), "{wanted}: {svg}");
        }
    }

    #[test]
    fn groups_come_back_as_they_were() {
        let step = |id: &str, groups: &[&str]| StepDetail {
            id: id.into(),
            kind: "compensatable".into(),
            action: "p/do".into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..StepDetail::default()
        };
        let steps = [
            step("a", &["parallel"]),
            step("b", &["parallel", "sequence"]),
            step("c", &["parallel", "sequence"]),
            step("d", &["parallel", "sequence:2"]),
            step("e", &["parallel:2"]),
            step("f", &[]),
        ];
        let items: Vec<Node> = serde_json::from_value(nodes(&steps, 0).into()).expect("items");
        let [Node::Parallel(first), Node::Parallel(second), Node::Step(_)] = &*items else {
            panic!("{items:?}");
        };
        let [Node::Step(_), Node::Sequence(one), Node::Sequence(other)] = &*first.parallel else {
            panic!("{first:?}");
        };
        assert_eq!(
            (
                one.sequence.len(),
                other.sequence.len(),
                second.parallel.len()
            ),
            (2, 1, 1)
        );
    }

    #[test]
    fn a_registered_definition_is_refused_with_a_way_out() {
        let Err(Failure::Told {
            exit,
            message,
            help,
            ..
        }) = graph("book_trip@3")
        else {
            panic!("refused")
        };
        assert_eq!(exit, Exit::Error);
        assert!(
            message.starts_with("book_trip@3: there is no such file"),
            "{message}"
        );
        assert!(
            help.expect("a remedy")
                .ends_with("saga graph book_trip.saga.yaml")
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_not_taken_for_a_name() {
        for name in ["none.saga.yaml", "none.yml"] {
            let failure = graph(name).expect_err("missing");
            assert_eq!(
                failure.to_string(),
                format!("{name}: there is no such file")
            );
        }
    }

    #[test]
    fn a_file_is_drawn_whatever_its_name_and_a_faulty_one_fails() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("trip");
        let named = path.display().to_string();
        let right =
            "saga: trip\nversion: 1\nsteps:\n  - {step: a, action: p/do, compensation: p/undo}\n";
        std::fs::write(&path, right).expect("written");
        assert_eq!(graph(&named).expect("drawn"), Exit::Ok);
        std::fs::write(&path, right.replace("compensation", "compensatoin")).expect("written");
        assert_eq!(
            graph(&named).expect("faults are no failure of the verb"),
            Exit::Error
        );
    }

    #[test]
    fn every_format_is_its_own() {
        let source =
            b"saga: t\nversion: 1\nsteps:\n  - {step: a, action: p/do, compensation: p/undo}\n";
        let plan = file::load("t", source).plan.expect("no faults");
        let none = BTreeMap::new();
        assert!(drawn(&plan, &none, Picture::Ascii, None).starts_with("start ── a ↩ ── end\n"));
        assert!(drawn(&plan, &none, Picture::Ascii, Some(10)).starts_with("start\n├─ a ↩\n"));
        assert!(drawn(&plan, &none, Picture::Mermaid, Some(10)).starts_with("flowchart LR\n"));
        assert!(drawn(&plan, &none, Picture::Dot, Some(10)).starts_with("digraph "));
        assert!(drawn(&plan, &none, Picture::Svg, Some(10)).starts_with("<svg "));
    }
}
