//! How cases are made: something real, with a few edits. Each edit is a value of its own, so that a failing case loses
//! those that do not matter.

use std::{fs, path::Path};

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::{Index, select},
    strategy::Union,
};
use serde_json::Value;

/// An edit of a text or of a message.
#[derive(Debug, Clone)]
enum Edit {
    /// Bytes are put in.
    Insert(Index, Vec<u8>),
    /// Bytes are taken out.
    Delete(Index, usize),
    /// Bytes are overwritten.
    Overwrite(Index, Vec<u8>),
    /// A piece is copied somewhere else.
    Copy(Index, usize, Index),
    /// The same bytes many times.
    Repeat(Index, Vec<u8>, usize),
    /// A line changes places with another.
    SwapLines(Index, Index),
    /// A line stands twice.
    DoubleLine(Index),
    /// A line moves to the right.
    Indent(Index, usize),
    /// Everything behind this is gone.
    Cut(Index),
}

fn apply(mut text: Vec<u8>, edit: &Edit) -> Vec<u8> {
    let at = |index: &Index, text: &[u8]| index.index(text.len() + 1);
    match edit {
        Edit::Insert(index, piece) => {
            let at = at(index, &text);
            text.splice(at..at, piece.iter().copied());
        }
        Edit::Delete(index, length) => {
            let from = at(index, &text);
            text.drain(from..(from + length).min(text.len()));
        }
        Edit::Overwrite(index, piece) => {
            let from = at(index, &text);
            let to = (from + piece.len()).min(text.len());
            text.splice(from..to, piece.iter().copied());
        }
        Edit::Copy(index, length, to) => {
            let from = at(index, &text);
            let piece = text[from..(from + length).min(text.len())].to_vec();
            let to = at(to, &text);
            text.splice(to..to, piece);
        }
        Edit::Repeat(index, piece, times) => {
            let at = at(index, &text);
            text.splice(at..at, piece.repeat(*times));
        }
        Edit::SwapLines(a, b) => {
            return with_lines(&text, |lines| {
                let count = lines.len();
                lines.swap(a.index(count), b.index(count));
            });
        }
        Edit::DoubleLine(index) => {
            return with_lines(&text, |lines| {
                let at = index.index(lines.len());
                lines.insert(at, lines[at].clone());
            });
        }
        Edit::Indent(index, by) => {
            return with_lines(&text, |lines| {
                let at = index.index(lines.len());
                lines[at].splice(0..0, vec![b' '; *by]);
            });
        }
        Edit::Cut(index) => {
            let at = at(index, &text);
            text.truncate(at);
        }
    }
    text
}

fn with_lines(text: &[u8], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    change(&mut lines);
    lines.join(&b'\n')
}

/// A word of the dictionary, or noise.
fn piece(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![
        6 => select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..4),
        1 => any::<char>().prop_map(|letter| letter.to_string().into_bytes()),
    ]
}

fn edit(words: &'static [&'static str]) -> impl Strategy<Value = Edit> {
    let place = any::<Index>;
    prop_oneof![
        6 => (place(), piece(words)).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        4 => (place(), 1_usize..20).prop_map(|(at, length)| Edit::Delete(at, length)),
        6 => (place(), piece(words)).prop_map(|(at, piece)| Edit::Overwrite(at, piece)),
        3 => (place(), 1_usize..60, place()).prop_map(|(from, length, to)| Edit::Copy(from, length, to)),
        1 => (place(), piece(words), 2_usize..400).prop_map(|(at, piece, times)| Edit::Repeat(at, piece, times)),
        3 => (place(), place()).prop_map(|(a, b)| Edit::SwapLines(a, b)),
        3 => place().prop_map(Edit::DoubleLine),
        3 => (place(), 1_usize..5).prop_map(|(at, by)| Edit::Indent(at, by)),
        1 => place().prop_map(Edit::Cut),
    ]
}

/// Texts or messages of a collection with edits, words of the dictionary in a row, and noise.
pub fn edited(
    originals: Vec<Vec<u8>>,
    words: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    let mended = move |edits| {
        let edited = (select(originals.clone()), vec(edit(words), edits));
        edited.prop_map(|(original, edits)| edits.iter().fold(original, apply))
    };
    prop_oneof![
        // One or two edits are often still something; many are seldom.
        12 => mended(0..3),
        4 => mended(3..9),
        3 => vec(piece(words), 0..24).prop_map(|pieces| pieces.concat()),
        1 => vec(any::<u8>(), 0..200),
    ]
}

/// An edit of a document, at a place counted over all of its values.
#[derive(Debug, Clone)]
enum Graft {
    /// Another value stands there.
    Put(Value),
    /// It is gone.
    Remove,
    /// It stands there twice, or the list's first item does.
    Double,
    /// What stands at another place stands here too.
    CopyFrom(Index),
}

/// Documents of a collection with values changed, removed, doubled and moved.
pub fn grafted(originals: Vec<Value>) -> impl Strategy<Value = Vec<u8>> {
    let value = Union::new(odd_values().into_iter().map(Just)).boxed();
    let graft = prop_oneof![
        5 => value.prop_map(Graft::Put),
        2 => Just(Graft::Remove),
        2 => Just(Graft::Double),
        3 => any::<Index>().prop_map(Graft::CopyFrom),
    ];
    (select(originals), vec((any::<Index>(), graft), 0..6)).prop_map(|(mut document, grafts)| {
        for (place, graft) in grafts {
            set(&mut document, place, &graft);
        }
        document.to_string().into_bytes()
    })
}

/// Values at the edges of what a field may hold.
fn odd_values() -> Vec<Value> {
    let texts = [
        "",
        "a",
        "\u{0}",
        "ü\u{202e}",
        "no_participant",
        "deadline",
        "undo_stuck",
        "not_transactional",
    ];
    let mut values: Vec<Value> = texts.into_iter().map(Value::from).collect();
    for number in [
        i64::MIN,
        -1,
        0,
        1,
        2,
        3,
        4,
        5,
        65_535,
        i64::from(u32::MAX),
        i64::MAX,
    ] {
        values.push(number.into());
    }
    values.extend([
        u64::MAX.into(),
        0.5.into(),
        1e300.into(),
        Value::Null,
        true.into(),
    ]);
    values.extend([
        Value::Array(Vec::new()),
        serde_json::json!({}),
        serde_json::json!([{}]),
    ]);
    values
}

fn set(document: &mut Value, place: Index, graft: &Graft) {
    let number = place.index(count(document));
    let other = match graft {
        Graft::CopyFrom(index) => nth(document, &mut index.index(count(document))).cloned(),
        Graft::Put(_) | Graft::Remove | Graft::Double => None,
    };
    change(document, &mut { number }, graft, other.as_ref());
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn nth<'a>(value: &'a Value, number: &mut usize) -> Option<&'a Value> {
    if *number == 0 {
        return Some(value);
    }
    *number -= 1;
    match value {
        Value::Array(items) => items.iter().find_map(|item| nth(item, number)),
        Value::Object(fields) => fields.values().find_map(|field| nth(field, number)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Finds the place and changes it; true once that is done.
fn change(value: &mut Value, number: &mut usize, graft: &Graft, other: Option<&Value>) -> bool {
    if *number == 0 {
        match (graft, &mut *value, other) {
            (Graft::Put(new), ..) => *value = new.clone(),
            (Graft::CopyFrom(_), _, Some(other)) => *value = other.clone(),
            (Graft::Double, Value::Array(items), _) if !items.is_empty() => {
                items.insert(0, items[0].clone())
            }
            (Graft::Remove, Value::Array(items), _) => items.truncate(items.len() / 2),
            (Graft::Remove, ..) => *value = Value::Null,
            (Graft::Double | Graft::CopyFrom(_), ..) => {}
        }
        return true;
    }
    *number -= 1;
    match value {
        Value::Array(items) => {
            for at in 0..items.len() {
                let here = *number == 0;
                match graft {
                    Graft::Remove if here => drop(items.remove(at)),
                    Graft::Double if here => items.insert(at, items[at].clone()),
                    Graft::Put(_) | Graft::CopyFrom(_) | Graft::Remove | Graft::Double => {
                        if !change(&mut items[at], number, graft, other) {
                            continue;
                        }
                    }
                }
                return true;
            }
            false
        }
        Value::Object(fields) => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            for key in keys {
                if *number == 0 && matches!(graft, Graft::Remove) {
                    fields.remove(&key);
                    return true;
                }
                if fields
                    .get_mut(&key)
                    .is_some_and(|field| change(field, number, graft, other))
                {
                    return true;
                }
            }
            false
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Every file below a folder of the workspace whose path ends so.
pub fn files(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    // The same cases on every machine.
    found.sort();
    assert!(!found.is_empty(), "nothing in {folder} ends in {ending}");
    found
        .iter()
        .map(|path| fs::read(path).expect("a readable file"))
        .collect()
}
