//! `saga test`: tries saga files in virtual time, without a server.
//!
//! The cases are run by `saga_lab::trials`; this verb finds the files, picks the cases and shows what came
//! of them.

mod files;
mod screen;

use std::{path::PathBuf, sync::Arc, time::Instant};

use saga_dsl::plan::Plan;
use saga_lab::trials::{self, Case, Verdict, memory::Memory};

use self::screen::Tally;
use crate::{
    exit::{Exit, Failure},
    show::output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  saga test                                  every saga file of this folder
  saga test book_trip.saga.yaml              its own cases, then the generated ones
  saga test book_trip.saga.test.yaml         its own cases alone
  saga test book_trip.saga.yaml --case 'charge_card: refused'
  saga test sagas/ --seed 7 -o json

Every step is tried refused, failing, silent, late and doubled, undone with trouble, cancelled, past the deadline,
and with a crash at each of its commits. Cases of your own stand in NAME.saga.test.yaml, beside NAME.saga.yaml.";

#[cfg(test)]
mod tests;

/// The seed unless another is asked for: the same cases run the same every day.
const SEED: u64 = 1;

/// Arguments of `saga test`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Saga files, test files, or folders of them
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Only cases with this name, or whose name holds it
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// Varies latencies, their order and the jitter of retries
    #[arg(long, value_name = "N", default_value_t = SEED)]
    seed: u64,
    /// Only list the cases
    #[arg(long)]
    list: bool,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// The cases of one saga file.
struct Suite {
    /// As the person may name it.
    path: String,
    plan: Arc<Plan>,
    /// Each with whether an author wrote it.
    cases: Vec<(Case, bool)>,
    /// What could not be tried.
    notes: Vec<String>,
}

/// Runs `saga test`. Every file is looked at, also after one that has faults.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let began = Instant::now();
    let gathered = files::gather(&args.paths)?;
    let mut tally = Tally::new(args.seed, gathered.faulty);
    let mut picked_any = false;
    for suite in &gathered.suites {
        let picked = picked(suite, args.case.as_deref());
        picked_any |= !picked.is_empty();
        if args.output == Format::Text && !picked.is_empty() {
            output::line(&screen::heading(&suite.path, &suite.plan))?;
        }
        let width = picked
            .iter()
            .map(|(case, _)| case.name.chars().count())
            .max()
            .unwrap_or(0);
        for (case, own) in picked {
            if args.list {
                listed(suite, case, *own, args.output)?;
                continue;
            }
            let verdict = trials::run(&suite.plan, case, args.seed, &mut Memory::default()).await;
            tally.add(&suite.path, case, &verdict);
            shown(suite, case, *own, &verdict, args.output, width)?;
        }
        if args.case.is_none() {
            tally.untried(&suite.path, &suite.notes);
        }
    }
    if let (Some(name), false) = (&args.case, picked_any || gathered.faulty > 0) {
        return Err(
            Failure::new(Exit::NotFound, format!("no case is called `{name}`"))
                .help("saga test --list shows the names of all cases"),
        );
    }
    if args.list {
        return Ok(if gathered.faulty > 0 {
            Exit::Error
        } else {
            Exit::Ok
        });
    }
    if args.output == Format::Text {
        output::data(&tally.screen(began.elapsed()))?;
    }
    Ok(if tally.passed() {
        Exit::Ok
    } else {
        Exit::Error
    })
}

/// Exactly the case of that name; where there is none, all whose name holds it.
fn picked<'a>(suite: &'a Suite, name: Option<&str>) -> Vec<&'a (Case, bool)> {
    let Some(name) = name else {
        return suite.cases.iter().collect();
    };
    let exact: Vec<_> = suite
        .cases
        .iter()
        .filter(|(case, _)| case.name == name)
        .collect();
    if exact.is_empty() {
        suite
            .cases
            .iter()
            .filter(|(case, _)| case.name.contains(name))
            .collect()
    } else {
        exact
    }
}

fn listed(suite: &Suite, case: &Case, own: bool, format: Format) -> Result<(), Failure> {
    match format {
        Format::Text => output::line(&output::printable(&case.name)),
        Format::Json => output::json_line(&screen::listed(&suite.path, &suite.plan, case, own)),
    }
}

fn shown(
    suite: &Suite,
    case: &Case,
    own: bool,
    verdict: &Verdict,
    format: Format,
    width: usize,
) -> Result<(), Failure> {
    match format {
        Format::Text => output::data(&screen::case(&suite.path, case, verdict, width)),
        Format::Json => {
            output::json_line(&screen::json(&suite.path, &suite.plan, case, own, verdict))
        }
    }
}
