//! Reading the files that people name: bounded, with messages that name the file and the way out.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use super::exit::Failure;

/// How the names of saga files end.
pub const SUFFIX: &str = ".saga.yaml";
/// How the names of their tests end.
const TEST_SUFFIX: &str = ".saga.test.yaml";
/// A definition has at most 256 KiB; so much more is read that the fault can be told from a truncated file.
pub const SAGA_FILE_BYTES_MAX: u64 = 1 << 20;

/// How messages call a file.
pub fn shown(name: &str) -> &str {
    if name == "-" { "<stdin>" } else { name }
}

/// The bytes of a file, or of stdin for `-`; refused beyond `max` bytes.
pub fn read(name: &str, max: u64) -> Result<Vec<u8>, Failure> {
    let bytes = if name == "-" {
        bounded(io::stdin().lock(), max)
    } else {
        File::open(name).and_then(|file| {
            // A folder opens and then fails to be read with a message that helps nobody.
            if file.metadata()?.is_dir() {
                Err(ErrorKind::IsADirectory.into())
            } else {
                bounded(file, max)
            }
        })
    };
    let bytes = bytes.map_err(|error| unreadable(shown(name), &error))?;
    if bytes.len() as u64 > max {
        return Err(
            Failure::error(format!("{} has more than {max} bytes", shown(name))).help(
                "move data out of it: what services exchange can be a reference to where it lies",
            ),
        );
    }
    Ok(bytes)
}

fn bounded(from: impl Read, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file that cannot be read, and what to do about it.
pub fn unreadable(name: &str, error: &io::Error) -> Failure {
    let (why, help) = match error.kind() {
        ErrorKind::NotFound => (
            "there is no such file".to_owned(),
            "check the path; `-` reads stdin",
        ),
        ErrorKind::PermissionDenied => (
            "no permission to read it".to_owned(),
            "check the file's mode and owner",
        ),
        ErrorKind::IsADirectory => ("it is a folder".to_owned(), "name the files in it"),
        _ => (
            error.to_string(),
            "check that the file can be read by this user",
        ),
    };
    Failure::error(format!("{name}: {why}")).help(help)
}

fn unreadable_folder(name: &str, error: &io::Error) -> Failure {
    let (why, help) = match error.kind() {
        ErrorKind::NotFound => ("there is no such folder".to_owned(), "check the path"),
        ErrorKind::NotADirectory => (
            "it is not a folder".to_owned(),
            "name the folder that holds the file",
        ),
        ErrorKind::PermissionDenied => (
            "no permission to read it".to_owned(),
            "check the folder's mode and owner",
        ),
        _ => (
            error.to_string(),
            "check that the folder can be read by this user",
        ),
    };
    Failure::error(format!("{name}: {why}")).help(help)
}

/// A folder that holds nothing of use.
pub fn none_in(path: &str) -> Failure {
    Failure::error(format!("{path}: no saga files in this folder"))
        .help("their names end in .saga.yaml")
}

/// The saga files of a folder, by name.
pub fn saga_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    ending(folder, SUFFIX)
}

/// The files of a folder whose names end so, by name.
pub fn ending(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>, Failure> {
    let shown = folder.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable_folder(&shown, &error))? {
        let path = entry
            .map_err(|error| unreadable_folder(&shown, &error))?
            .path();
        let named = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().ends_with(suffix));
        if named && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The saga files and tests of a folder and of all below it, by name. Hidden folders and links to folders are passed
/// over: what a tool keeps for itself is not the author's.
pub fn saga_files_below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let shown = folder.display().to_string();
        for entry in
            std::fs::read_dir(&folder).map_err(|error| unreadable_folder(&shown, &error))?
        {
            let entry = entry.map_err(|error| unreadable_folder(&shown, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry
                .file_type()
                .map_err(|error| unreadable_folder(&shown, &error))?;
            if kind.is_dir() && !name.starts_with('.') {
                folders.push(entry.path());
            } else if [SUFFIX, TEST_SUFFIX]
                .iter()
                .any(|suffix| name.ends_with(suffix))
                && !kind.is_dir()
            {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named_with_a_way_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let missing = dir.path().join("none.json").display().to_string();
        assert!(
            read(&missing, 10)
                .expect_err("missing")
                .to_string()
                .ends_with("there is no such file")
        );
        let folder = dir.path().display().to_string();
        assert!(
            read(&folder, 10)
                .expect_err("a folder")
                .to_string()
                .ends_with("it is a folder")
        );
        let large = dir.path().join("large");
        std::fs::write(&large, [b'x'; 11]).expect("written");
        let large = large.display().to_string();
        assert!(
            read(&large, 10)
                .expect_err("large")
                .to_string()
                .ends_with("has more than 10 bytes")
        );
        assert_eq!(read(&large, 11).expect("fits").len(), 11);
        let refused = |path: &str| {
            saga_files(Path::new(path))
                .expect_err("no folder")
                .to_string()
        };
        assert!(refused(&missing).ends_with("there is no such folder"));
        assert!(refused(&large).ends_with("it is not a folder"));
    }

    #[test]
    fn a_folder_gives_its_saga_files_in_order() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["b.saga.yaml", "a.saga.yaml", "c.yaml", "notes.md"] {
            std::fs::write(dir.path().join(name), "").expect("written");
        }
        std::fs::create_dir(dir.path().join("d.saga.yaml")).expect("a folder");
        let names: Vec<_> = saga_files(dir.path())
            .expect("read")
            .iter()
            .map(|p| p.file_name().map(ToOwned::to_owned))
            .collect();
        assert_eq!(
            names,
            [Some("a.saga.yaml".into()), Some("b.saga.yaml".into())]
        );
    }
}
