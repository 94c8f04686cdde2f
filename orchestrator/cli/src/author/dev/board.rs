//! What `saga dev` says first, and each time a file changes.

use std::{collections::BTreeSet, path::Path};

use saga_server::config;

use super::folder::{Fate, Outcome, Taken};
use crate::{
    client::Endpoint,
    show::{output::printable, words::Tone},
};

/// What became of a file, in one line; where the version is taken, a second one says how to go on.
pub fn line(outcome: &Outcome) -> String {
    let path = printable(&outcome.path);
    let kept = |stays: &Option<String>, how: &str| match stays {
        Some(definition) => format!("; {} stays {how}", printable(definition)),
        None => String::new(),
    };
    match &outcome.fate {
        Fate::Registered {
            name,
            version,
            created,
            ..
        } => {
            let sign = if *created {
                Tone::Good.paint("✔")
            } else {
                Tone::Dim.paint("=")
            };
            let word = if *created { "registered" } else { "unchanged" };
            format!("{sign} {}@{version} {word}  {path}", printable(name))
        }
        Fate::Skipped {
            faults,
            stays,
            taken,
        } => {
            let faults = match faults {
                0 => String::new(),
                1 => ": 1 fault".to_owned(),
                faults => format!(": {faults} faults"),
            };
            let way_out = taken.as_ref().map(way_out).unwrap_or_default();
            format!(
                "{} {path} skipped{faults}{}{way_out}",
                Tone::Bad.paint("✗"),
                kept(stays, "as it was")
            )
        }
        Fate::Gone { stays } => {
            format!(
                "{} {path} is gone{}",
                Tone::Dim.paint("–"),
                kept(stays, "registered")
            )
        }
    }
}

/// How to go on where a version is registered with other content.
fn way_out(taken: &Taken) -> String {
    let definition = printable(&taken.by);
    if let Some(file) = &taken.file {
        return format!(
            "\n  {definition} is defined by {} too: give one of them another name",
            printable(file)
        );
    }
    let anew = match taken.is_kept {
        true => "try things out with `saga dev --ephemeral`, which knows nothing of before",
        false => "start `saga dev` again, for it keeps nothing",
    };
    format!("\n  raise `version` in it, or {anew}")
}

fn joined(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    printable(&names.join(", ")).into_owned()
}

/// The first screen. `store` is `None` when nothing is kept; `played` says who is answered for.
pub fn screen(
    outcomes: &[Outcome],
    endpoint: &Endpoint,
    dir: &Path,
    store: Option<&str>,
    played: &dyn Fn(&str) -> bool,
) -> String {
    let keeps = match store {
        Some(path) => format!("store {}", printable(path)),
        None => "keeps nothing".to_owned(),
    };
    let mut text = format!(
        "saga {} at {endpoint}, {keeps}\n\n",
        env!("CARGO_PKG_VERSION")
    );
    for outcome in outcomes {
        text += &format!("{}\n", line(outcome));
    }
    if outcomes.is_empty() {
        text += &format!(
            "no *.saga.yaml in {}\n",
            printable(&dir.display().to_string())
        );
    }
    let elsewhere = endpoint.to_string() != format!("grpc://{}", config::DEFAULT_LISTEN);
    text += "\nnext\n";
    if elsewhere {
        text += &format!("  export SAGA_ENDPOINT={endpoint}\n");
    }
    let mut participants = BTreeSet::new();
    let mut first = None;
    for outcome in outcomes {
        match &outcome.fate {
            Fate::Registered {
                name,
                participants: needed,
                ..
            } => {
                participants.extend(needed.iter().cloned());
                first = first.or(Some(name.as_str()));
            }
            Fate::Skipped { .. } | Fate::Gone { .. } => {}
        }
    }
    let (mocked, missing): (BTreeSet<String>, BTreeSet<String>) =
        participants.into_iter().partition(|name| played(name));
    if !mocked.is_empty() {
        text += &format!("  made-up answers for       {}\n", joined(&mocked));
    }
    if !missing.is_empty() {
        text += &format!("  connect participants      {}\n", joined(&missing));
        let name = missing.first().map_or("", String::as_str);
        text += &format!(
            "  or have them made up      --mock {}, or --mock all\n",
            printable(name)
        );
    }
    if let Some(name) = first {
        text += &format!("  saga start {} -i input.json --watch\n", printable(name));
    }
    text += "  saga list                 what is going on\n  saga watch                the same, live\n";
    text + "\nsaga files are read again when they change; Ctrl-C stops the server\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::output::bare;

    #[test]
    fn the_first_screen() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<BTreeSet<_>>()
        };
        let of = |path: &str, fate| Outcome {
            path: path.into(),
            fate,
        };
        let registered = |name: &str, created| Fate::Registered {
            name: name.into(),
            version: 1,
            created,
            participants: names(&["flights", "payments"]),
        };
        let outcomes = [
            of(
                "sagas/broken.saga.yaml",
                Fate::Skipped {
                    faults: 2,
                    stays: None,
                    taken: None,
                },
            ),
            of("sagas/order.saga.yaml", registered("order", false)),
            of("sagas/trip.saga.yaml", registered("trip", true)),
        ];
        let endpoint = "grpc://127.0.0.1:7420".parse().expect("an endpoint");
        insta::assert_snapshot!(bare(&screen(
            &outcomes,
            &endpoint,
            Path::new("sagas"),
            Some("./saga.db"),
            &|name| name == "payments"
        )));
    }

    #[test]
    fn the_lines_about_files_that_change() {
        let stays = Some("trip@1".to_owned());
        let taken = |file: Option<&str>, is_kept| {
            Some(Taken {
                by: "trip@1".into(),
                file: file.map(str::to_owned),
                is_kept,
            })
        };
        let skipped = |faults, taken| Fate::Skipped {
            faults,
            stays: stays.clone(),
            taken,
        };
        let fates = [
            skipped(0, None),
            skipped(1, None),
            skipped(1, taken(None, true)),
            skipped(1, taken(None, false)),
            Fate::Skipped {
                faults: 1,
                stays: None,
                taken: taken(Some("sagas/order.saga.yaml"), true),
            },
            Fate::Gone {
                stays: stays.clone(),
            },
            Fate::Gone { stays: None },
        ];
        let lines = fates.map(|fate| {
            line(&Outcome {
                path: "sagas/trip.saga.yaml".into(),
                fate,
            })
        });
        insta::assert_snapshot!(bare(&lines.join("\n")));
    }

    #[test]
    fn an_empty_folder_and_another_port() {
        let endpoint = "grpc://127.0.0.1:9999".parse().expect("an endpoint");
        insta::assert_snapshot!(bare(&screen(
            &[],
            &endpoint,
            Path::new("sagas"),
            None,
            &|_| false
        )));
    }
}
