//! Whether the file that is written is still the one at the store's path.
//!
//! SQLite goes on writing to a file that was moved, removed or replaced under it, and a commit is then durable where nobody
//! will look for it. So file, log and lock are compared with their paths after each write, before it is answered. A file
//! that is put back is taken again; until then nothing is written, and the process stays: it holds the only way to a file
//! that was removed.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
};

use saga_engine::store::trouble::{Cause, Kind};

/// What a file is, by whatever name: device, number, and how many names it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    number: u64,
    names: u64,
}

#[cfg(unix)]
impl From<Metadata> for Identity {
    fn from(found: Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            device: found.dev(),
            number: found.ino(),
            names: found.nlink(),
        }
    }
}

/// Elsewhere files have no number that the standard library tells; that one is there is all that is compared.
#[cfg(not(unix))]
impl From<Metadata> for Identity {
    fn from(_: Metadata) -> Self {
        Self {
            device: 0,
            number: 0,
            names: 1,
        }
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(Self::from)
    }
}

/// What a store consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    File,
    Log,
    Lock,
}

/// The paths of an opened store, with what was found there.
#[derive(Debug)]
pub(super) struct Place {
    parts: [(Part, PathBuf, Identity); 3],
}

/// A path with something appended to the name of its file.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// The path behind links, where there is a file.
pub(super) fn behind_links(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Refuses to make a store where the log of another one was left, and to open a file that has other names.
///
/// SQLite removes a log that it finds beside a new or empty file, with all commits that are in it alone; and under another
/// name the same file has another log and another lock.
pub(super) fn check_before_open(path: &Path) -> Result<(), Cause> {
    let found = match fs::metadata(path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(Cause::new(
                Kind::Denied,
                format!("{}: {error}", path.display()),
            ));
        }
    };
    if found.as_ref().is_none_or(|found| found.len() == 0) {
        let left = ["-wal", "-journal", "-shm"].map(|suffix| beside(&behind_links(path), suffix));
        if let Some(left) = left.iter().find(|left| left.exists()) {
            let words = format!(
                "{} is {}, but {} is there: the file was moved or removed without its log, which holds its last commits. \
                 Put the file back beside its log; or, to begin anew without these commits, remove the log",
                path.display(),
                if found.is_some() {
                    "empty"
                } else {
                    "not there"
                },
                left.display()
            );
            return Err(Cause::new(Kind::Moved, words));
        }
    }
    match found.map(Identity::from) {
        Some(Identity { names, .. }) if names > 1 => Err(linked(path, names)),
        Some(_) | None => Ok(()),
    }
}

fn linked(path: &Path, names: u64) -> Cause {
    let words = format!(
        "{} has {names} names (hard links), and under each another log and lock: a second server would damage it. Remove \
         the other names (find DIR -samefile FILE lists them)",
        path.display()
    );
    Cause::new(Kind::Moved, words)
}

impl Place {
    /// Notes what is at the paths of a store that was just opened. The log is there as soon as the file was read.
    ///
    /// # Errors
    /// When one of them is not there any more.
    pub(super) fn of(path: &Path, lock: &File) -> Result<Self, Cause> {
        let real = behind_links(path);
        // A change of the working directory must not look like a move.
        let asked = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (log, side) = (beside(&real, "-wal"), beside(&real, ".lock"));
        let found =
            |part, path: &Path| Identity::of(path).map_err(|error| lost(part, path, &error));
        let held = lock
            .metadata()
            .map(Identity::from)
            .map_err(|error| lost(Part::Lock, &side, &error))?;
        let (file, wal) = (found(Part::File, &asked)?, found(Part::Log, &log)?);
        let place = Self {
            parts: [
                (Part::File, asked, file),
                (Part::Log, log, wal),
                (Part::Lock, side, held),
            ],
        };
        place.check()?;
        Ok(place)
    }

    /// Compares each path with what was found there first.
    ///
    /// # Errors
    /// What is amiss, and what puts it right.
    pub(super) fn check(&self) -> Result<(), Cause> {
        for (part, path, first) in &self.parts {
            let now = Identity::of(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => lost(*part, path, &"it was moved or removed"),
                _ => lost(*part, path, &error),
            })?;
            if (now.device, now.number) != (first.device, first.number) {
                return Err(lost(*part, path, &"another file is there"));
            }
            if now.names != first.names {
                return Err(linked(path, now.names));
            }
        }
        Ok(())
    }
}

fn lost(part: Part, path: &Path, problem: &dyn fmt::Display) -> Cause {
    let remedy = match part {
        Part::File => format!(
            "Put the file back, and it is taken again. Do not stop the server before: a file that was removed lives only as \
             long as the server does, as one of /proc/{}/fd",
            std::process::id()
        ),
        // The end of the server moves the log into the file.
        Part::Log => "Put it back, or stop the server with SIGTERM and start it again".to_owned(),
        Part::Lock => {
            "Start the server again: another one could take the store meanwhile".to_owned()
        }
    };
    let words = format!(
        "{}: {problem}, while the server has the store open. {remedy}",
        path.display()
    );
    Cause::new(Kind::Moved, words)
}
