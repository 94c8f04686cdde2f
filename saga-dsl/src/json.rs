//! JSON documents as they were written: a tree of places in the text, so that whatever is only passed on keeps its bytes.
//!
//! `serde_json::Value` holds numbers as `i64`, `u64` or `f64`: a decimal of more than 17 digits loses some of them, and
//! `1.0`, `1e2` and `-0` come back in another form. [`Json`] keeps the text of every number, text, list and object, and
//! [`Number`] says what of it fits the arithmetic of expressions.

pub mod edit;
mod number;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::number::{Decimal, Number, Reduced};
pub(crate) use self::read::read;

/// A JSON value and the text that it stands in; cheap to copy.
#[derive(Clone, Copy)]
pub struct Json<'a> {
    text: &'a str,
    node: &'a Branch,
}

/// What a JSON value is.
#[derive(Debug, Clone, Copy)]
pub enum Shape<'a> {
    /// `null`.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number<'a>),
    /// A text, its escapes resolved.
    Text(&'a str),
    /// A list.
    List(Items<'a>),
    /// An object.
    Object(Fields<'a>),
}

/// The items of a list.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a> {
    text: &'a str,
    items: &'a [Branch],
}

/// The fields of an object, sorted by name. Of two with one name the last counts, as for most readers of JSON.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    text: &'a str,
    fields: &'a [(Word, Branch)],
}

/// Why a text has no JSON value that this engine can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON.
    #[error("not JSON at byte {0}")]
    Syntax(usize),
    /// Nested deeper than the reader goes.
    #[error("nested deeper than {} levels", read::DEPTH_MAX)]
    TooDeep,
    /// `"\ud800"`: half of a pair, no character.
    #[error(
        "the text at byte {0} holds half of a surrogate pair (`\\ud800` to `\\udfff`), which is no character"
    )]
    LoneSurrogate(usize),
    /// `1e400`.
    #[error("the number {0} is beyond every double: the largest is about 1.8e308")]
    NumberTooLarge(String),
}

/// The tree of a document: where its values stand in the text.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Branch,
    /// A field that stands twice in its object, if there is one.
    repeated: Option<Box<str>>,
}

#[derive(Debug)]
struct Branch {
    start: u32,
    end: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Null,
    Bool(bool),
    Number,
    /// With the text where it has escapes; else it is what stands between the quotes.
    Text(Option<Box<str>>),
    List(Box<[Branch]>),
    Object(Box<[(Word, Branch)]>),
}

/// The name of a field: between which bytes it stands, and its text where it has escapes.
#[derive(Debug)]
struct Word {
    start: u32,
    end: u32,
    unescaped: Option<Box<str>>,
}

impl Tree {
    /// What a document that cannot be read is taken for.
    pub(crate) const NULL: Self = Self {
        root: Branch {
            start: 0,
            end: 0,
            kind: Kind::Null,
        },
        repeated: None,
    };

    pub(crate) fn view<'a>(&'a self, text: &'a str) -> Json<'a> {
        Json {
            text,
            node: &self.root,
        }
    }

    pub(crate) fn repeated(&self) -> Option<&str> {
        self.repeated.as_deref()
    }
}

fn cut(text: &str, start: u32, end: u32) -> &str {
    // Both come from the reader of this very text.
    text.get(start as usize..end as usize).unwrap_or_default()
}

impl Word {
    fn get<'a>(&'a self, text: &'a str) -> &'a str {
        self.unescaped
            .as_deref()
            .unwrap_or_else(|| cut(text, self.start, self.end))
    }
}

impl<'a> Json<'a> {
    /// The value's own text, as it was written.
    #[must_use]
    pub fn written(self) -> &'a str {
        match self.node.kind {
            // Also of a document that cannot be read.
            Kind::Null => "null",
            _ => cut(self.text, self.node.start, self.node.end),
        }
    }

    /// What it is.
    #[must_use]
    pub fn shape(self) -> Shape<'a> {
        match &self.node.kind {
            Kind::Null => Shape::Null,
            Kind::Bool(value) => Shape::Bool(*value),
            Kind::Number => Shape::Number(Number::of_valid(self.written())),
            Kind::Text(Some(text)) => Shape::Text(text),
            Kind::Text(None) => Shape::Text(cut(self.text, self.node.start + 1, self.node.end - 1)),
            Kind::List(items) => Shape::List(Items {
                text: self.text,
                items,
            }),
            Kind::Object(fields) => Shape::Object(Fields {
                text: self.text,
                fields,
            }),
        }
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        matches!(self.node.kind, Kind::Object(_))
    }

    /// A field, if it is an object that has it.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Self> {
        match self.shape() {
            Shape::Object(fields) => fields.get(name),
            Shape::Null | Shape::Bool(_) | Shape::Number(_) | Shape::Text(_) | Shape::List(_) => {
                None
            }
        }
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.written())
    }
}

impl<'a> Items<'a> {
    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.items.is_empty()
    }

    /// One of them.
    #[must_use]
    pub fn get(self, index: usize) -> Option<Json<'a>> {
        self.items.get(index).map(|node| Json {
            text: self.text,
            node,
        })
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Json<'a>> {
        self.items.iter().map(move |node| Json {
            text: self.text,
            node,
        })
    }
}

impl<'a> Fields<'a> {
    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.fields.is_empty()
    }

    /// One of them.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Json<'a>> {
        let at = self
            .fields
            .binary_search_by(|(word, _)| word.get(self.text).cmp(name))
            .ok()?;
        self.fields.get(at).map(|(_, node)| Json {
            text: self.text,
            node,
        })
    }

    /// All of them, sorted by name.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Json<'a>)> {
        self.fields.iter().map(move |(word, node)| {
            (
                word.get(self.text),
                Json {
                    text: self.text,
                    node,
                },
            )
        })
    }
}

/// Appends a text in quotes, escaped where JSON asks for it.
pub fn push_text(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            8 => "\\b",
            12 => "\\f",
            0..=31 => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        match escape {
            "" => out.push_str(&format!("\\u{byte:04x}")),
            escape => out.push_str(escape),
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}
