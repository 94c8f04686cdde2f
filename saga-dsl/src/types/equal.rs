//! When two values of one type are the same value.

use super::Type;
use crate::{
    expr::{time, value::parse_bytes},
    json::{Json, Shape},
};

impl Type {
    /// Feeds bytes that are the same for two values of this type exactly if they are one value: numbers by what they
    /// are and not by how they are written, times and spans of time likewise, an optional field that is null like one
    /// that is absent.
    pub fn feed_value(&self, json: Json<'_>, eat: &mut dyn FnMut(&[u8])) {
        match (self, json.shape()) {
            (Self::Optional(inner), shape) if !matches!(shape, Shape::Null) => {
                inner.feed_value(json, eat)
            }
            (Self::Timestamp, Shape::Text(text)) => match time::parse_timestamp(text) {
                Some(time) => feed_text(b't', time.to_string().as_bytes(), eat),
                None => feed_text(b'"', text.as_bytes(), eat),
            },
            (Self::Duration, Shape::Text(text)) => match time::parse_duration(text) {
                Some(span) => feed_text(b'd', &span.as_nanos().to_be_bytes(), eat),
                None => feed_text(b'"', text.as_bytes(), eat),
            },
            (Self::Bytes, Shape::Text(text)) => match parse_bytes(text) {
                Some(bytes) => feed_text(b'b', &bytes, eat),
                None => feed_text(b'"', text.as_bytes(), eat),
            },
            (_, Shape::Null) => eat(b"null"),
            (_, Shape::Bool(value)) => eat(if value { b"true" } else { b"false" }),
            (_, Shape::Number(number)) => feed_text(b'n', number.decimal().exact().as_bytes(), eat),
            (_, Shape::Text(text)) => feed_text(b'"', text.as_bytes(), eat),
            (ty, Shape::List(items)) => {
                let item = if let Self::List(item) = ty {
                    item
                } else {
                    &Self::Any
                };
                eat(b"[");
                for json in items.iter() {
                    item.feed_value(json, eat);
                    eat(b",");
                }
                eat(b"]");
            }
            (ty, Shape::Object(fields)) => {
                eat(b"{");
                for (name, json) in fields.iter() {
                    let field = if let Self::Object(types) = ty {
                        types.get(name)
                    } else {
                        None
                    };
                    if matches!(
                        (field, json.shape()),
                        (Some(Self::Optional(_)), Shape::Null)
                    ) {
                        continue;
                    }
                    feed_text(b'"', name.as_bytes(), eat);
                    eat(b":");
                    field.unwrap_or(&Self::Any).feed_value(json, eat);
                    eat(b",");
                }
                eat(b"}");
            }
        }
    }
}

/// With the length before it, so that no two values feed the same bytes.
fn feed_text(mark: u8, text: &[u8], eat: &mut dyn FnMut(&[u8])) {
    eat(&[mark]);
    eat(&(text.len() as u64).to_be_bytes());
    eat(text);
}
