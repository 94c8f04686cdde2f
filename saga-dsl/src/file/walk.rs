//! The tools of the typed walk over the tree: each reads one sort of value and reports what is wrong with it.
//!
//! A reader that reports answers `None` or a stand-in, and the walk goes on, so that all faults come at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use serde_json::Value;

use super::{
    keys,
    read::shown,
    scalar,
    tree::{Content, Entry, Node},
    unsupported::{self, UNSUPPORTED},
};
use crate::{
    check::FINDINGS_MAX,
    codes::Code,
    definition::{ActionName, Duration},
    finding::Finding,
    names,
    near_miss::{near_miss, snake_case},
    place::{Part, Place, Segment},
};

/// What the walk has found so far.
#[derive(Default)]
pub(super) struct Walk {
    pub findings: Vec<Finding>,
    /// Steps of which something could not be read: that nothing undoes them would be a second fault.
    pub doubtful: BTreeSet<Place>,
    /// Whether parts of the definition were left out of the model, so that rules about the whole cannot be told.
    pub incomplete: bool,
    /// Whether steps were left out whose ids nobody knows.
    pub lost_steps: bool,
    /// Keys without a value, and the first of the keys that were probably meant to stand below.
    misindented: BTreeMap<Place, String>,
}

/// A map whose keys were compared with those known at its place.
pub(super) struct Fields<'a> {
    node: &'a Node,
    pub place: Place,
    /// Keys that were reported.
    unknown: Vec<&'a Entry>,
}

impl<'a> Fields<'a> {
    pub(super) fn get(&self, key: &str) -> Option<(&'a Node, Place)> {
        self.node
            .get(key)
            .map(|entry| (&entry.value, self.place.key(key)))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some()
    }

    /// Whether a key may stand here although it was not found: another one that was reported was probably meant to be
    /// it, or a part of the map could not be read. That it is missing is no second fault.
    pub(super) fn may_have(&self, key: &str) -> bool {
        self.node.torn || self.misspelled(key).is_some()
    }

    /// The value of a key, or of another one that was reported and was probably meant to be it.
    pub(super) fn get_meant(&self, key: &str) -> Option<(&'a Node, Place)> {
        self.get(key).or_else(|| {
            let entry = self.misspelled(key)?;
            let is_list = matches!(entry.value.content, Content::List(_));
            // A value of another shape shows that another key was meant.
            let fits = match key {
                "steps" | "cases" => is_list,
                _ => matches!(entry.value.content, Content::Scalar(_)),
            };
            fits.then(|| (&entry.value, self.place.key(&entry.key)))
        })
    }

    fn misspelled(&self, key: &str) -> Option<&'a Entry> {
        let meant = |entry: &&&Entry| keys::meant(&entry.key, std::iter::once(key)).is_some();
        self.unknown.iter().find(meant).copied()
    }

    /// Whether a part of the map could not be read.
    pub(super) fn is_uncertain(&self) -> bool {
        self.node.is_uncertain()
    }

    pub(super) fn entries(&self) -> &'a [Entry] {
        self.node.entries()
    }
}

impl Walk {
    pub(super) fn report(&mut self, finding: Finding) {
        if !self.full() {
            self.findings.push(finding);
        }
    }

    fn full(&self) -> bool {
        self.findings.len() > FINDINGS_MAX
    }

    /// A map with nothing but the `known` keys in it.
    pub(super) fn fields<'a>(
        &mut self,
        node: &'a Node,
        place: &Place,
        what: &str,
        known: &[&str],
    ) -> Option<Fields<'a>> {
        let before = self.findings.len();
        let Some(mut fields) = self.map(node, place, what) else {
            self.help_since(before, || format!("known here: {}", listed(known)));
            return None;
        };
        let is_known = |entry: &Entry| known.contains(&entry.key.as_str());
        for entry in fields.entries() {
            if is_known(entry) || self.full() || entry.moved {
                continue;
            }
            if UNSUPPORTED.contains(&entry.key.as_str()) {
                self.incomplete = true;
                self.report(unsupported::fault(&entry.key, &place.key(&entry.key)));
                continue;
            }
            let free = known
                .iter()
                .copied()
                .filter(|key| fields.get(key).is_none());
            let meant = keys::meant(&entry.key, free)
                .or_else(|| near_miss(&entry.key, known.iter().copied()));
            if let (Some(owner), None) = (empty_owner(fields.entries(), entry), meant) {
                let owner = place.key(&owner.key);
                let first = entry.key.clone();
                self.misindented.entry(owner).or_insert(first);
                continue;
            }
            fields.unknown.push(entry);
            self.report(unknown_key(entry, place, what, known, meant));
        }
        Some(fields)
    }

    /// Gives the findings since there were `before` a help, if they have none.
    pub(super) fn help_since(&mut self, before: usize, help: impl Fn() -> String) {
        for fault in self.findings.iter_mut().skip(before) {
            fault.help.get_or_insert_with(&help);
        }
    }

    /// A map with any keys.
    pub(super) fn map<'a>(
        &mut self,
        node: &'a Node,
        place: &Place,
        what: &str,
    ) -> Option<Fields<'a>> {
        match &node.content {
            Content::Map(_) => Some(Fields {
                node,
                place: place.clone(),
                unknown: Vec::new(),
            }),
            Content::Scalar(_) | Content::List(_) | Content::Empty | Content::Broken => {
                self.wrong_shape(node, place, &format!("{what} is a map"));
                None
            }
        }
    }

    pub(super) fn list<'a>(
        &mut self,
        node: &'a Node,
        place: &Place,
        what: &str,
    ) -> Option<&'a [Node]> {
        match &node.content {
            Content::List(items) => Some(items),
            Content::Map(_) | Content::Scalar(_) | Content::Empty | Content::Broken => {
                self.wrong_shape(node, place, &format!("{what} is a list"));
                None
            }
        }
    }

    /// Reports what a value is and what it should be; silent about what was reported already.
    pub(super) fn wrong_shape(&mut self, node: &Node, place: &Place, expected: &str) {
        let found = match &node.content {
            Content::Broken => {
                self.incomplete = true;
                return;
            }
            Content::Empty => {
                let (message, where_from) = match place.0.last() {
                    Some(Segment::Index(_)) => ("this entry is empty", "the entry"),
                    Some(Segment::Key(_)) | None => ("nothing stands after this key", "the key"),
                };
                let fault = Finding::new(Code::S0006, place, message).on_key();
                if let Some(key) = self.misindented.get(place) {
                    let around = Place(place.0.iter().rev().skip(1).rev().cloned().collect());
                    let help = format!("indent `{}` and what belongs to it deeper", shown(key));
                    let fault = fault.also(around.key(key), Part::Key, "does not stand below it");
                    return self.report(fault.help(help));
                }
                return self
                    .report(fault.help(format!("{expected}; give it, or remove {where_from}")));
            }
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
            Content::Scalar(scalar) => match scalar::value(scalar) {
                Ok(Value::Null) => {
                    let fault = Finding::new(Code::S0006, place, "null is no value here");
                    return self
                        .report(fault.help(format!("{expected}; give it, or remove the key")));
                }
                Ok(Value::Bool(_)) => "true or false",
                Ok(Value::Number(_)) | Err(_) => "a number",
                Ok(Value::String(_) | Value::Array(_) | Value::Object(_)) => "a text",
            },
        };
        self.report(Finding::new(
            Code::S0108,
            place,
            format!("{expected}, and this is {found}"),
        ));
    }

    /// A text. Numbers, booleans and null need quotes to be one.
    pub(super) fn text<'a>(
        &mut self,
        node: &'a Node,
        place: &Place,
        what: &str,
    ) -> Option<&'a str> {
        let Content::Scalar(found) = &node.content else {
            self.wrong_shape(node, place, &format!("{what} is a text"));
            return None;
        };
        match scalar::value(found) {
            Ok(Value::String(_)) => Some(&found.text),
            Ok(Value::Null) => {
                self.wrong_shape(node, place, &format!("{what} is a text"));
                None
            }
            _ => {
                self.wrong_shape(node, place, &format!("{what} is a text"));
                if let Some(fault) = self.findings.last_mut() {
                    fault.help = Some(format!("quote it: \"{}\"", shown(&found.text)));
                }
                None
            }
        }
    }

    /// The characters of a scalar as they are written: expressions and durations may look like a number.
    pub(super) fn word<'a>(
        &mut self,
        node: &'a Node,
        place: &Place,
        what: &str,
    ) -> Option<&'a str> {
        match &node.content {
            Content::Scalar(found) if !matches!(scalar::value(found), Ok(Value::Null)) => {
                Some(&found.text)
            }
            Content::Scalar(_)
            | Content::List(_)
            | Content::Map(_)
            | Content::Empty
            | Content::Broken => {
                self.wrong_shape(node, place, what);
                None
            }
        }
    }

    pub(super) fn id<'a>(&mut self, node: &'a Node, place: &Place, what: &str) -> Option<&'a str> {
        let text = self.text(node, place, what)?;
        let problem = match names::check_id(text) {
            Ok(()) if keys::RESERVED.contains(&text) => {
                format!("`{text}` is a word of the expression language")
            }
            Ok(()) => return Some(text),
            Err(error) => error.to_string(),
        };
        let mut fault = Finding::new(Code::S0103, place, problem);
        let mended = snake_case(text);
        if mended != text && names::check_id(&mended).is_ok() {
            fault = fault.help(format!("write `{mended}`"));
        }
        self.report(fault);
        None
    }

    pub(super) fn action(&mut self, node: &Node, place: &Place, what: &str) -> Option<ActionName> {
        let text = self.text(node, place, what)?;
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let error: names::NameError = error;
                let mut fault = Finding::new(Code::S0103, place, error.to_string());
                let slash = text.replacen(['.', ':'], "/", 1);
                let names: Vec<String> = slash.split('/').map(snake_case).collect();
                let dotted = names.join("/");
                if dotted != text && ActionName::from_str(&dotted).is_ok() {
                    fault = fault.help(format!("write `{dotted}`"));
                }
                self.report(fault);
                None
            }
        }
    }

    pub(super) fn duration(&mut self, node: &Node, place: &Place) -> Option<Duration> {
        let text = self.word(node, place, "a duration such as 15m stands here")?;
        match text.parse() {
            Ok(duration) => Some(duration),
            Err(error) => {
                let error: crate::duration::DurationError = error;
                let mut fault = Finding::new(Code::S0104, place, error.to_string());
                if error == crate::duration::DurationError::NoUnit {
                    fault = fault.help(format!("seconds? write `{text}s`"));
                }
                self.report(fault);
                None
            }
        }
    }

    /// A whole number from `least` to the largest that fits 32 bits.
    pub(super) fn count(
        &mut self,
        node: &Node,
        place: &Place,
        what: &str,
        least: u32,
    ) -> Option<u32> {
        let Content::Scalar(found) = &node.content else {
            self.wrong_shape(node, place, &format!("{what} is a whole number"));
            return None;
        };
        let number = match scalar::value(found) {
            Ok(Value::Number(number)) => number.as_i64(),
            Ok(
                Value::Null
                | Value::Bool(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_),
            ) => {
                self.wrong_shape(node, place, &format!("{what} is a whole number"));
                if let (Ok(number), Some(fault)) =
                    (found.text.parse::<u32>(), self.findings.last_mut())
                {
                    fault.help = Some(format!("write it without quotes: {number}"));
                }
                return None;
            }
            Err(_) => None,
        };
        let good = number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number >= least);
        if good.is_none() {
            let message = format!("{what} is a whole number from {least} to {}", u32::MAX);
            self.report(Finding::new(Code::S0103, place, message));
        }
        good
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        place: &Place,
        words: &[(&str, T)],
    ) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let expected = format!("one of {} stands here", names.join(", "));
        let text = self.word(node, place, &expected)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let mut fault = Finding::new(
            Code::S0103,
            place,
            format!("`{}` is not allowed here", shown(text)),
        );
        fault.help = Some(match near_miss(text, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => expected,
        });
        self.report(fault);
        None
    }

    /// `true` or `false`; YAML 1.1's other words for them are texts.
    pub(super) fn flag(&mut self, node: &Node, place: &Place, what: &str) -> Option<bool> {
        if let Content::Scalar(found) = &node.content
            && let Ok(Value::Bool(flag)) = scalar::value(found)
        {
            return Some(flag);
        }
        self.wrong_shape(node, place, &format!("{what} is true or false"));
        None
    }

    /// Any JSON value; texts may hold `${…}`.
    pub(super) fn value(&mut self, node: &Node, place: &Place) -> Option<Value> {
        match &node.content {
            Content::Broken | Content::Empty => {
                self.wrong_shape(node, place, "a value stands here");
                None
            }
            Content::Scalar(found) => match scalar::value(found) {
                Ok(value) => Some(value),
                Err(problem) => {
                    let quoted =
                        format!("to keep it as a text, quote it: \"{}\"", shown(&found.text));
                    self.report(Finding::new(Code::S0103, place, problem).help(quoted));
                    None
                }
            },
            Content::List(items) => {
                let values: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| self.value(item, &place.at(at)))
                    .collect();
                values.into_iter().collect()
            }
            Content::Map(entries) => {
                let fields: Vec<_> = entries
                    .iter()
                    .map(|entry| {
                        let value = self.value(&entry.value, &place.key(&entry.key))?;
                        Some((entry.key.clone(), value))
                    })
                    .collect();
                fields
                    .into_iter()
                    .collect::<Option<serde_json::Map<_, _>>>()
                    .map(Value::Object)
            }
        }
    }

    /// A required key.
    pub(super) fn require<'a>(
        &mut self,
        fields: &Fields<'a>,
        key: &str,
        what: &str,
    ) -> Option<(&'a Node, Place)> {
        let found = fields.get_meant(key);
        if found.is_none() && !fields.may_have(key) {
            let message = format!("{what} needs the key `{key}`");
            self.report(Finding::new(Code::S0107, &fields.place, message));
        }
        found
    }
}

/// The key without a value below which an unknown one was probably meant to stand.
fn empty_owner<'e>(entries: &'e [Entry], unknown: &Entry) -> Option<&'e Entry> {
    let is_empty = |entry: &&Entry| {
        entry.value.content == Content::Empty && keys::MAPS.contains(&entry.key.as_str())
    };
    let has = |owner: &&Entry| {
        keys::of_map(&owner.key).is_some_and(|keys| keys.contains(&unknown.key.as_str()))
    };
    let takes_any = |owner: &&Entry| is_empty(owner) && keys::of_map(&owner.key).is_none();
    entries
        .iter()
        .filter(is_empty)
        .find(has)
        .or_else(|| entries.iter().rfind(takes_any))
}

/// The fault of a key that nobody reads.
fn unknown_key(
    entry: &Entry,
    place: &Place,
    what: &str,
    known: &[&str],
    meant: Option<&str>,
) -> Finding {
    let owner = match place.0.last() {
        Some(Segment::Key(key)) => key.as_str(),
        Some(Segment::Index(_)) | None => "",
    };
    let message = format!("{what} has no key `{}`", shown(&entry.key));
    let fault = Finding::new(Code::S0101, &place.key(&entry.key), message).on_key();
    let elsewhere = keys::belongs_elsewhere(&entry.key, known, owner);
    fault.help(match (elsewhere, meant) {
        (Some(elsewhere), _) => elsewhere,
        (None, Some(meant)) => format!("did you mean `{meant}`?"),
        (None, None) => format!("known here: {}", listed(known)),
    })
}

/// The words, each once.
fn listed(words: &[&str]) -> String {
    let mut seen = BTreeSet::new();
    let once: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| seen.insert(*word))
        .collect();
    once.join(", ")
}
