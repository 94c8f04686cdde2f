//! JSON at the edge: what is let in, before anything else of the engine sees it.
//!
//! Size and depth are bounded here, so that nobody behind the edge has to fear a document.

use saga_core::{Payload, limits::DOCUMENT_BYTES_MAX, payload::NotJson};
use saga_dsl::json;

/// Largest document, in bytes.
pub const BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// Documents above this many bytes are taken, with a warning.
pub const BYTES_SOFT_MAX: usize = 256 * 1024;
/// Deepest nesting of lists and objects.
pub const DEPTH_MAX: u32 = 64;

/// Why bytes are not let in as a document.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Larger than [`BYTES_MAX`].
    #[error("{0} bytes are more than the limit of {BYTES_MAX}")]
    TooLarge(usize),
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// Not one JSON document.
    #[error(transparent)]
    NotJson(#[from] NotJson),
    /// JSON by its form, with a part that has no value.
    #[error(transparent)]
    NoValue(#[from] json::Fault),
}

/// Reads one JSON document.
///
/// # Errors
/// See [`Fault`].
pub fn read(bytes: &[u8]) -> Result<Payload, Fault> {
    if bytes.len() > BYTES_MAX {
        return Err(Fault::TooLarge(bytes.len()));
    }
    // Short documents cannot be deep; the scan is for the others.
    if bytes.len() > DEPTH_MAX as usize && is_too_deep(bytes) {
        return Err(Fault::TooDeep);
    }
    let payload = Payload::from_bytes(bytes)?;
    if may_have_no_value(bytes) {
        // Refused now, and the part is named; later the whole document would read as null.
        payload.check()?;
    }
    Ok(payload)
}

/// Texts that have the form of JSON and no value: half of a surrogate pair, a number beyond every double. The form is
/// all that is checked where a document passes through unread; what may be of this kind is read once, to be sure.
fn may_have_no_value(bytes: &[u8]) -> bool {
    /// Numbers with fewer digits and without an exponent are in range.
    const DIGITS_SAFE: usize = 300;
    let mut digits = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' if digits == DIGITS_SAFE => return true,
            b'0'..=b'9' => digits += 1,
            b'e' | b'E' if digits > 0 => return true,
            b'u' if at > 0
                && bytes[at - 1] == b'\\'
                && matches!(bytes.get(at + 1), Some(b'd' | b'D')) =>
            {
                return true;
            }
            _ => digits = 0,
        }
    }
    false
}

/// Counts brackets outside of strings. Right for valid JSON; anything else fails to parse afterwards.
fn is_too_deep(bytes: &[u8]) -> bool {
    let mut depth: u32 = 0;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => loop {
                match rest.next() {
                    Some(b'\\') => {
                        rest.next();
                    }
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
    }
    false
}

/// A text for people, cut to `bytes_max` at a character's edge, with NUL written `\0`: stores refuse the bare one.
#[must_use]
pub fn clean_text(mut text: String, bytes_max: usize) -> String {
    if text.contains('\0') {
        text = text.replace('\0', "\\0");
    }
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        [vec![b'['; depth], vec![b']'; depth]].concat()
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_texts_do_not_count() {
        assert!(read(&nested(64)).is_ok());
        assert!(matches!(read(&nested(65)), Err(Fault::TooDeep)));
        let text = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(200), "{".repeat(200));
        assert!(read(text.as_bytes()).is_ok());
        let long = format!("[{}]", vec!["[]"; 500].join(","));
        assert!(read(long.as_bytes()).is_ok());
    }

    #[test]
    fn size_is_bounded() {
        let largest = format!("\"{}\"", "a".repeat(BYTES_MAX - 2));
        assert!(read(largest.as_bytes()).is_ok());
        let larger = format!("\"{}\"", "a".repeat(BYTES_MAX - 1));
        assert!(matches!(read(larger.as_bytes()), Err(Fault::TooLarge(_))));
    }

    #[test]
    fn what_has_the_form_of_json_and_no_value_is_refused() {
        let long = "9".repeat(400);
        for text in [
            r#"{"a":"\ud800"}"#,
            r#""\uDC00\ud800""#,
            "[1e400]",
            "-9E999",
            &long,
        ] {
            assert!(
                matches!(read(text.as_bytes()), Err(Fault::NoValue(_))),
                "{text}"
            );
        }
        for text in [
            r#""\ud83d\ude00""#,
            r#""\u00e9 3e 4""#,
            "1e300",
            "1e-400",
            &long[..300],
        ] {
            let payload = read(text.as_bytes()).expect("a value");
            assert_eq!(
                Some(payload.to_value()),
                serde_json::from_str(text).ok(),
                "{text}"
            );
        }
    }

    #[test]
    fn texts_are_cut_between_characters_and_lose_their_nul() {
        assert_eq!(clean_text("a\0b".to_owned(), 10), "a\\0b");
        assert_eq!(clean_text("aüb".to_owned(), 2), "a");
    }
}
