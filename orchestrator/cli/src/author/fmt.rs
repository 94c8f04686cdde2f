//! `saga fmt`: formats saga files and the files of their tests, without a server.
//!
//! A file is replaced whole or not at all, by one that was read again and says the same.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use saga_dsl::file::format::{FormatError, format};

use super::lint;
use crate::{
    exit::{Exit, Failure},
    files,
    show::output,
};

const EXAMPLES: &str = "\
Examples:
  saga fmt                          every saga file in this folder and below it
  saga fmt book_trip.saga.yaml
  saga fmt --check sagas/           changes nothing; exit code 1 if something would change
  cat trip.saga.yaml | saga fmt -   the formatted text on stdout

Names that were changed go to stdout. What a file says never changes.";

/// Arguments of `saga fmt`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Saga files, files of tests, or folders of both; - reads stdin
    #[arg(value_name = "FILE|DIR", default_value = ".", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<String>,
    /// Change nothing, and list the files that would change
    #[arg(long)]
    check: bool,
}

/// What became of the files.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    files: usize,
    changed: usize,
    /// Files that could not be formatted, which were told.
    failed: usize,
}

impl Tally {
    fn line(self, check: bool) -> String {
        let files = if self.files == 1 {
            "1 file".to_owned()
        } else {
            format!("{} files", self.files)
        };
        let what = if check { "would change" } else { "changed" };
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {failed} left alone"),
        };
        format!("{files}, {} {what}{failed}", self.changed)
    }
}

/// Runs `saga fmt`. Every file is looked at, also after one with faults.
pub fn run(args: Args) -> Result<Exit, Failure> {
    let mut tally = Tally::default();
    for name in named(&args.paths)? {
        tally.files += 1;
        match one(&name, args.check) {
            Ok(changed) => tally.changed += usize::from(changed),
            Err(Failure::ReaderLeft) => return Err(Failure::ReaderLeft),
            Err(failure) => {
                output::failure(&failure);
                tally.failed += 1;
            }
        }
    }
    if args.paths != ["-"] {
        output::note(&tally.line(args.check));
    }
    let would_change = args.check && tally.changed > 0;
    Ok(if tally.failed > 0 || would_change {
        Exit::Error
    } else {
        Exit::Ok
    })
}

/// The files that are meant, folders replaced by what is in them.
fn named(paths: &[String]) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for path in paths {
        if path != "-" && Path::new(path).is_dir() {
            let found = files::saga_files_below(Path::new(path))?;
            names.extend(found.iter().map(|path| path.display().to_string()));
        } else {
            names.push(path.clone());
        }
    }
    Ok(names)
}

/// Formats one file; true if its text is not what it was.
fn one(name: &str, check: bool) -> Result<bool, Failure> {
    let bytes = files::read(name, files::SAGA_FILE_BYTES_MAX)?;
    let shown = files::shown(name);
    let text = format(shown, &bytes).map_err(|error| refused(shown, &bytes, &error))?;
    let changed = text.as_bytes() != bytes;
    match (name, check) {
        ("-", false) => output::data(&text)?,
        (_, true) if changed => output::line(shown)?,
        (_, false) if changed => {
            replace(Path::new(name), text.as_bytes()).map_err(|error| {
                Failure::error(format!("{name}: cannot write it: {error}")).help(
                    "check that the folder can be written by this user; the file is as it was",
                )
            })?;
            output::line(shown)?;
        }
        (_, _) => {}
    }
    Ok(changed)
}

fn refused(name: &str, bytes: &[u8], error: &FormatError) -> Failure {
    match error {
        FormatError::Faults(found) => {
            let drawn = lint::drawn(found, bytes, output::stderr_has_colour());
            output::note(drawn.trim_end_matches('\n'));
            output::note("");
            Failure::error(format!(
                "{name}: the text has faults, and was left as it is"
            ))
            .help("mend them first")
        }
        FormatError::Changed(what) => {
            let message = format!("{name}: left as it is, because formatting would change {what}");
            Failure::error(message)
                .help("this is a fault of `saga fmt`: please report it with the file")
        }
    }
}

/// Writes a file anew beside the old one and sets it in its place, so that nobody ever sees half of it.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    // Of a link, the file behind it is meant.
    let path: PathBuf = path.canonicalize()?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(content)?;
    new.as_file()
        .set_permissions(fs::metadata(&path)?.permissions())?;
    new.as_file().sync_all()?;
    new.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UGLY: &str = "version:   1\nsaga: trip\n";
    const PRETTY: &str = "saga: trip\nversion: 1\n";

    fn fmt(paths: &[&Path], check: bool) -> Exit {
        let paths = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        run(Args { paths, check }).expect("no failure of the verb")
    }

    #[test]
    fn a_folder_is_formatted_with_everything_below_it_and_only_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let below = dir.path().join("below");
        fs::create_dir_all(&below).expect("a folder");
        let files = [
            dir.path().join("a.saga.yaml"),
            below.join("b.saga.test.yaml"),
        ];
        let other = dir.path().join("values.yaml");
        for file in files.iter().chain([&other]) {
            fs::write(file, UGLY).expect("written");
        }
        assert_eq!(fmt(&[dir.path()], true), Exit::Error);
        assert_eq!(
            fs::read_to_string(&files[0]).expect("read"),
            UGLY,
            "--check changes nothing"
        );
        assert_eq!(fmt(&[dir.path()], false), Exit::Ok);
        for file in &files {
            assert_eq!(fs::read_to_string(file).expect("read"), PRETTY);
        }
        assert_eq!(
            fs::read_to_string(&other).expect("read"),
            UGLY,
            "only saga files"
        );
        assert_eq!(fmt(&[dir.path()], true), Exit::Ok);
        let left: Vec<_> = fs::read_dir(dir.path()).expect("a folder").collect();
        assert_eq!(left.len(), 3, "no temporary file is left: {left:?}");
    }

    #[test]
    fn a_file_with_faults_is_left_alone_and_the_next_one_is_formatted() {
        let dir = tempfile::tempdir().expect("a folder");
        let (bad, good) = (
            dir.path().join("bad.saga.yaml"),
            dir.path().join("good.saga.yaml"),
        );
        fs::write(&bad, "version:   1\nsaga: [\n").expect("written");
        fs::write(&good, UGLY).expect("written");
        assert_eq!(fmt(&[&bad, &good], false), Exit::Error);
        assert_eq!(
            fs::read_to_string(&bad).expect("read"),
            "version:   1\nsaga: [\n"
        );
        assert_eq!(fs::read_to_string(&good).expect("read"), PRETTY);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().expect("a folder");
        let (file, link) = (
            dir.path().join("a.saga.yaml"),
            dir.path().join("link.saga.yaml"),
        );
        fs::write(&file, UGLY).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        symlink(&file, &link).expect("a link");
        assert_eq!(fmt(&[&link], false), Exit::Ok);
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("read"), PRETTY);
        assert_eq!(
            fs::metadata(&file).expect("there").permissions().mode() & 0o777,
            0o640
        );
    }

    #[test]
    fn the_last_line() {
        let tally = Tally {
            files: 3,
            changed: 1,
            failed: 1,
        };
        assert_eq!(tally.line(true), "3 files, 1 would change, 1 left alone");
        assert_eq!(
            Tally {
                files: 1,
                ..Tally::default()
            }
            .line(false),
            "1 file, 0 changed"
        );
    }
}
