//! What participants did, written down beside the effect itself and without any unique key: what was done twice stands
//! there twice.

use std::{collections::BTreeMap, path::Path};

use rusqlite::{Connection, OpenFlags};

/// Done or undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An action took effect.
    Done,
    /// A compensation undid it.
    Undone,
}

/// A line of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effect {
    /// The saga, in the usual form of a UUID.
    pub saga: String,
    /// Path of the step.
    pub step: String,
    /// Done or undone.
    pub kind: Kind,
}

/// The table of a ledger in a participant's database.
pub const SCHEMA: &str = "create table if not exists ledger (saga text not null, step text not null, undone integer not null);";

/// The ledger in a participant's database, in the order of writing.
///
/// # Panics
/// When the database is there and cannot be read.
#[must_use]
pub fn read(path: &Path) -> Vec<Effect> {
    if !path.exists() {
        return Vec::new();
    }
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the database opens");
    let mut statement = database
        .prepare("select saga, step, undone from ledger order by rowid")
        .expect("the ledger is there");
    let rows = statement.query_map([], |row| {
        let kind = if row.get(2)? {
            Kind::Undone
        } else {
            Kind::Done
        };
        Ok(Effect {
            saga: row.get(0)?,
            step: row.get(1)?,
            kind,
        })
    });
    rows.expect("the ledger can be read")
        .collect::<Result<_, _>>()
        .expect("lines can be read")
}

/// How often each step of each saga was done, and undone.
#[must_use]
pub fn counts(effects: &[Effect]) -> BTreeMap<(String, String), (usize, usize)> {
    let mut counts = BTreeMap::new();
    for effect in effects {
        let count: &mut (usize, usize) = counts
            .entry((effect.saga.clone(), effect.step.clone()))
            .or_default();
        match effect.kind {
            Kind::Done => count.0 += 1,
            Kind::Undone => count.1 += 1,
        }
    }
    counts
}

/// Nothing was done twice, nothing was undone twice, and nothing was undone that was not done.
///
/// # Panics
/// When it was.
pub fn assert_sane(effects: &[Effect]) {
    for (step, (done, undone)) in counts(effects) {
        assert!(
            done <= 1 && undone <= done,
            "{step:?} was done {done} times and undone {undone} times"
        );
    }
}
