//! `saga new NAME`: a saga, its tests and the participant that serves it, ready to be run and changed.
//!
//! The files are those of the folder `new/template`, with another name in the place of `my_saga`. They are compiled,
//! linted and run by the tests as they stand there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use saga_dsl::{file, names};

use crate::{
    exit::{Exit, Failure},
    show::output,
};

const EXAMPLES: &str = "\
Examples:
  saga new order                             the folder order/
  saga new order --dir services/order
  saga new order --sdk ../saga/participants  where the Rust SDK lies";

/// Arguments of `saga new`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the saga
    #[arg(value_name = "NAME")]
    name: String,
    /// Folder to make; NAME without it
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// Folder of the Rust SDK; without it the one that this program was built beside
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    sdk: Option<PathBuf>,
}

/// The name that stands in the templates.
const PLACEHOLDER: &str = "my_saga";
const SDK_PLACEHOLDER: &str = "PATH_OF_THE_SDK";
/// The folder of the SDK in a copy of the repository, and the package in it.
const SDK_FOLDER: &str = "participants";
const SDK_PACKAGE: &str = "name = \"saga-participant\"";

const TEMPLATES: &[(&str, &str)] = &[
    ("my_saga.saga.yaml", include_str!("new/template/saga.yaml")),
    (
        "my_saga.saga.test.yaml",
        include_str!("new/template/test.yaml"),
    ),
    ("Cargo.toml", include_str!("new/template/manifest.toml")),
    ("src/main.rs", include_str!("new/template/main.rs")),
    ("README.md", include_str!("new/template/readme.txt")),
    (".gitignore", "/target\n*.db\n*.db-*\n*.db.lock\n"),
];

/// Runs `saga new`.
pub fn run(args: Args) -> Result<Exit, Failure> {
    check_name(&args.name)?;
    let folder = args.dir.unwrap_or_else(|| PathBuf::from(&args.name));
    let sdk = match &args.sdk {
        Some(path) => Some(named_sdk(path)?),
        None => std::env::current_exe()
            .ok()
            .and_then(|program| sdk_beside(&program)),
    };
    make(&folder, &files(&args.name, sdk.as_deref()))?;
    if sdk.is_none() {
        output::note(
            "Cargo.toml needs a word from you: where the Rust SDK lies. It says so there.",
        );
    }
    output::data(&screen(&args.name, &folder))?;
    Ok(Exit::Ok)
}

/// Refuses what a saga file would be refused for.
fn check_name(name: &str) -> Result<(), Failure> {
    let shown = output::printable(name);
    let refused =
        |why: String| Failure::new(Exit::Usage, format!("`{shown}` cannot name a saga: {why}"));
    if let Err(error) = names::check_id(name) {
        let mended: String = name
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let failure = refused(error.to_string());
        return Err(match names::check_id(&mended) {
            Ok(()) => failure.help(format!("saga new {mended}")),
            Err(_) => failure.help("a name begins with a letter: saga new order"),
        });
    }
    // By their letters alone, words of the language are ids.
    let text = TEMPLATES[0].1.replace(PLACEHOLDER, name);
    match file::load(name, text.as_bytes()).has_errors() {
        false => Ok(()),
        true => Err(refused("it is a word of the language".to_owned()).help("choose another name")),
    }
}

fn named_sdk(path: &Path) -> Result<PathBuf, Failure> {
    let refused = |why: &str| {
        Failure::new(Exit::Usage, format!("{}: {why}", path.display()))
            .help("name the folder `participants` of a copy of saga")
    };
    let path = path
        .canonicalize()
        .map_err(|_| refused("there is no such folder"))?;
    if is_sdk(&path) {
        Ok(path)
    } else {
        Err(refused("the Rust SDK is not in it"))
    }
}

fn is_sdk(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml"))
        .is_ok_and(|manifest| manifest.contains(SDK_PACKAGE))
}

/// The SDK of the copy of the repository in which a program was built.
fn sdk_beside(program: &Path) -> Option<PathBuf> {
    let program = program.canonicalize().ok()?;
    program
        .ancestors()
        .map(|folder| folder.join(SDK_FOLDER))
        .find(|folder| is_sdk(folder))
}

/// What is written, by path.
fn files(name: &str, sdk: Option<&Path>) -> Vec<(String, String)> {
    let named = |text: &str| text.replace(PLACEHOLDER, name);
    let with_sdk = |text: &str| match sdk {
        // A quoted text of TOML knows the escapes of JSON.
        Some(path) => {
            let quoted = serde_json::Value::from(path.display().to_string()).to_string();
            text.replace(&format!("\"{SDK_PLACEHOLDER}\""), &quoted)
        }
        None => text.replace(
            &format!("saga-participant = {{ path = \"{SDK_PLACEHOLDER}\" }}"),
            "# Here goes the path of the folder `participants` in your copy of saga:\n\
             saga-participant = { path = \"../saga/participants\" }",
        ),
    };
    TEMPLATES
        .iter()
        .map(|(path, text)| (named(path), with_sdk(&named(text))))
        .collect()
}

/// Writes the files into a folder that is new or empty.
fn make(folder: &Path, files: &[(String, String)]) -> Result<(), Failure> {
    let shown = folder.display().to_string();
    let unwritten = |error: std::io::Error| {
        Failure::error(format!("{shown}: cannot write: {error}"))
            .help("choose another folder with --dir")
    };
    if folder.exists() {
        let empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        if !empty {
            return Err(
                Failure::error(format!("{shown} exists, and nothing is overwritten"))
                    .help("choose another name, or another folder with --dir"),
            );
        }
    }
    for (path, text) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(unwritten)?;
        }
        fs::write(&path, text).map_err(unwritten)?;
    }
    Ok(())
}

fn screen(name: &str, folder: &Path) -> String {
    let folder = output::printable(&folder.display().to_string()).into_owned();
    format!(
        "made {folder}/\n\
         \x20 {name}.saga.yaml       the saga: four steps, and what undoes them\n\
         \x20 {name}.saga.test.yaml  what must happen when a step fails\n\
         \x20 src/main.rs{blanks}      the participant that serves them, in Rust\n\
         \x20 README.md{blanks}        how to go on\n\
         \n\
         next, each in a terminal of its own\n\
         \x20 cd {folder} && saga dev\n\
         \x20 cd {folder} && cargo run\n\
         \x20 saga start {name} -f order_id=order-1 -f customer=ada -f item=lamp -f count=2 -f cents=4900 --watch\n",
        blanks = " ".repeat(name.chars().count()),
    )
}

#[cfg(test)]
mod tests {
    use saga_dsl::file::format::format;

    use super::*;

    fn new(name: &str, dir: &Path) -> Result<Exit, Failure> {
        run(Args {
            name: name.to_owned(),
            dir: Some(dir.to_owned()),
            sdk: None,
        })
    }

    #[test]
    fn what_is_made_has_no_faults_and_is_formatted() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("order");
        assert_eq!(new("order", &folder).expect("made"), Exit::Ok);
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("written");
        let saga = read("order.saga.yaml");
        let loaded = file::load("order.saga.yaml", saga.as_bytes());
        assert!(loaded.plan.is_some(), "{:?}", loaded.diagnostics);
        let codes: Vec<_> = loaded
            .diagnostics
            .iter()
            .map(|found| found.code.as_str())
            .collect();
        assert!(codes.iter().all(|code| *code == "N0701"), "{codes:?}");
        for (name, _) in TEMPLATES.iter().filter(|(name, _)| name.ends_with(".yaml")) {
            let text = read(&name.replace(PLACEHOLDER, "order"));
            assert_eq!(format(name, text.as_bytes()).expect("formatted"), text);
        }
        for (name, _) in TEMPLATES {
            let text = read(&name.replace(PLACEHOLDER, "order"));
            assert!(
                !text.contains(PLACEHOLDER) && !text.contains(SDK_PLACEHOLDER),
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn the_actions_of_the_file_are_those_of_the_participant() {
        let saga = file::load("", TEMPLATES[0].1.as_bytes())
            .plan
            .expect("a plan");
        let main = include_str!("new/template/main.rs");
        for step in &saga.steps {
            assert!(
                main.contains(&format!(".action(\"{}\", ", step.action.action)),
                "{}",
                step.id
            );
            if let Some(undo) = &step.compensation {
                assert!(
                    main.contains(&format!(".compensation(\"{}\", ", undo.action)),
                    "{}",
                    step.id
                );
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("notes"), "mine").expect("written");
        let failure = new("order", dir.path()).expect_err("refused");
        assert!(
            failure
                .to_string()
                .ends_with("exists, and nothing is overwritten"),
            "{failure}"
        );
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).expect("a folder");
        assert_eq!(
            new("order", &empty).expect("an empty folder will do"),
            Exit::Ok
        );
    }

    #[test]
    fn bad_names_are_refused_with_a_better_one() {
        let refused = |name: &str| match check_name(name) {
            Err(Failure::Told {
                exit: Exit::Usage,
                message,
                help,
                ..
            }) => (message, help.unwrap_or_default()),
            other => panic!("{name}: {other:?}"),
        };
        for (name, help) in [
            ("My-Order", "saga new my_order"),
            ("order.saga.yaml", "saga new order_saga_yaml"),
            ("a/b", "saga new a_b"),
            ("../x", "a name begins with a letter: saga new order"),
            ("1st", "a name begins with a letter: saga new order"),
            ("", "a name begins with a letter: saga new order"),
            ("true", "choose another name"),
        ] {
            let (message, found) = refused(name);
            assert!(
                message.starts_with(&format!("`{name}` cannot name a saga: ")),
                "{message}"
            );
            assert_eq!(found, help, "{name}");
        }
        assert!(refused(&"a".repeat(64)).0.contains("63"));
    }

    #[test]
    fn the_sdk_is_found_or_asked_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let sdk = dir.path().join(SDK_FOLDER);
        fs::create_dir_all(&sdk).expect("a folder");
        let program = dir.path().join("target/debug/saga");
        fs::create_dir_all(program.parent().expect("a folder")).expect("a folder");
        fs::write(&program, "").expect("written");
        assert_eq!(sdk_beside(&program), None);
        assert!(
            named_sdk(&sdk)
                .expect_err("no SDK")
                .to_string()
                .ends_with("the Rust SDK is not in it")
        );
        assert!(
            named_sdk(&sdk.join("x"))
                .expect_err("none")
                .to_string()
                .ends_with("no such folder")
        );
        fs::write(
            sdk.join("Cargo.toml"),
            format!("[package]\n{SDK_PACKAGE}\n"),
        )
        .expect("written");
        let found = sdk_beside(&program).expect("found");
        assert_eq!(named_sdk(&sdk).expect("found"), found);
        let manifest = |sdk: Option<&Path>| files("order", sdk)[2].1.clone();
        assert!(manifest(Some(&found)).contains(&format!(
            "saga-participant = {{ path = \"{}\" }}",
            found.display()
        )));
        assert!(manifest(None).contains("# Here goes the path of the folder `participants`"));
    }

    #[test]
    fn the_screen() {
        insta::assert_snapshot!(screen("order", Path::new("services/order")), @r"
        made services/order/
          order.saga.yaml       the saga: four steps, and what undoes them
          order.saga.test.yaml  what must happen when a step fails
          src/main.rs           the participant that serves them, in Rust
          README.md             how to go on

        next, each in a terminal of its own
          cd services/order && saga dev
          cd services/order && cargo run
          saga start order -f order_id=order-1 -f customer=ada -f item=lamp -f count=2 -f cents=4900 --watch
        ");
    }
}
