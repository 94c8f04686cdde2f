//! Quoted literals of CEL: single, double and triple quotes, raw texts, bytes, escapes.

use super::{Fault, FaultKind, lexer::TokenKind};

/// How a quoted literal begins.
struct Opening {
    raw: bool,
    bytes: bool,
    /// Length of the prefix letters.
    prefix: usize,
    quote: &'static str,
}

/// What opens at the start of `rest`, if a quoted literal does.
fn opening(rest: &str) -> Option<Opening> {
    let prefix = rest
        .bytes()
        .take(2)
        .take_while(|b| matches!(b, b'r' | b'R' | b'b' | b'B'))
        .count();
    let letters = rest[..prefix].to_ascii_lowercase();
    if letters == "rr" || letters == "bb" {
        return None;
    }
    let quote = ["'''", "\"\"\"", "'", "\""]
        .into_iter()
        .find(|quote| rest[prefix..].starts_with(quote))?;
    Some(Opening {
        raw: letters.contains('r'),
        bytes: letters.contains('b'),
        prefix,
        quote,
    })
}

/// Length in bytes of the quoted literal that opens at the start of `rest`; `None`: it is not closed.
fn length(rest: &str, opening: &Opening) -> Option<usize> {
    let mut at = opening.prefix + opening.quote.len();
    loop {
        let tail = rest.get(at..)?;
        if tail.starts_with(opening.quote) {
            return Some(at + opening.quote.len());
        }
        let next = tail.chars().next()?;
        at += next.len_utf8();
        if next == '\\' && !opening.raw {
            at += tail.chars().nth(1)?.len_utf8();
        } else if opening.quote.len() == 1 && (next == '\n' || next == '\r') {
            return None;
        }
    }
}

/// Where the quoted literal at the start of `rest` ends; `None` if none begins here or it is not closed.
pub(super) fn skip(rest: &str) -> Option<usize> {
    length(rest, &opening(rest)?)
}

/// The quoted literal at the start of `rest` as a token with its length; `None` if none begins here.
pub(super) fn quoted(rest: &str) -> Result<Option<(TokenKind, usize)>, Fault> {
    let Some(opening) = opening(rest) else {
        return Ok(None);
    };
    let Some(length) = length(rest, &opening) else {
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        return Err(
            Fault::new(FaultKind::Syntax, 0..end, "this text is not closed")
                .with_help(format!("it ends at the next {}", opening.quote)),
        );
    };
    let begin = opening.prefix + opening.quote.len();
    let inner = &rest[begin..length - opening.quote.len()];
    let bytes = if opening.raw {
        inner.as_bytes().to_vec()
    } else {
        unescaped(inner, opening.bytes).map_err(|fault| fault.moved_by(begin))?
    };
    let kind = if opening.bytes {
        TokenKind::Bytes(bytes)
    } else {
        // Only escapes of bytes could break UTF-8, and those stay characters in texts.
        TokenKind::Text(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Some((kind, length)))
}

fn unescaped(inner: &str, bytes: bool) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(next) = inner.get(at..).and_then(|tail| tail.chars().next()) {
        if next != '\\' {
            push(&mut out, next);
            at += next.len_utf8();
            continue;
        }
        at += escape(&inner[at..], bytes, &mut out).map_err(|fault| fault.moved_by(at))?;
    }
    Ok(out)
}

/// Takes the escape at the start of `tail`, gives its length.
fn escape(tail: &str, bytes: bool, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let unknown = |length: usize| {
        Fault::new(
            FaultKind::Syntax,
            0..length.min(tail.len()),
            "this escape does not exist",
        )
        .with_help(r"a backslash itself is `\\`; raw texts, r'\d', know no escapes")
    };
    let Some(letter) = tail.chars().nth(1) else {
        return Err(unknown(1));
    };
    let simple = match letter {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' => Some(b'\\'),
        '?' => Some(b'?'),
        '\'' => Some(b'\''),
        '"' => Some(b'"'),
        '`' => Some(b'`'),
        _ => None,
    };
    if let Some(byte) = simple {
        out.push(byte);
        return Ok(2);
    }
    let (from, digits, radix) = match letter {
        'x' | 'X' => (2, 2, 16),
        'u' if !bytes => (2, 4, 16),
        'U' if !bytes => (2, 8, 16),
        '0'..='3' => (1, 3, 8),
        _ => return Err(unknown(1 + letter.len_utf8())),
    };
    let end = from + digits;
    let code = tail
        .get(from..end)
        .filter(|text| text.bytes().all(|b| char::from(b).is_digit(radix)))
        .and_then(|text| u32::from_str_radix(text, radix).ok())
        .ok_or_else(|| unknown(2))?;
    match u8::try_from(code) {
        Ok(byte) if bytes => out.push(byte),
        _ => push(out, char::from_u32(code).ok_or_else(|| unknown(end))?),
    }
    Ok(end)
}

fn push(out: &mut Vec<u8>, next: char) {
    out.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
}
