//! Texts to tokens.

use std::ops::Range;

use super::{Fault, FaultKind, literal};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    Name(String),
    /// Magnitude; the sign is the parser's, so that the smallest integer can be written.
    Int(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// An operator or a bracket.
    Symbol(&'static str),
    End,
}

/// Longer symbols first.
const SYMBOLS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}", "=",
];

/// All tokens, the last one [`TokenKind::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = source.get(at..).unwrap_or_default();
        let Some(first) = rest.chars().next() else {
            tokens.push(Token {
                kind: TokenKind::End,
                span: at..at,
            });
            return Ok(tokens);
        };
        if first.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (kind, length) = token(rest, first).map_err(|fault| fault.moved_by(at))?;
        tokens.push(Token {
            kind,
            span: at..at + length,
        });
        at += length;
    }
}

/// The token at the start of `rest`, and its length in bytes.
fn token(rest: &str, first: char) -> Result<(TokenKind, usize), Fault> {
    if let Some(quoted) = literal::quoted(rest)? {
        return Ok(quoted);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
            .count();
        return Ok((TokenKind::Name(rest[..length].to_owned()), length));
    }
    let fraction_only = first == '.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if first.is_ascii_digit() || fraction_only {
        return number(rest);
    }
    if rest.starts_with("//") {
        return Err(syntax(
            0..2,
            "an expression has no comments",
            "a comment stands outside, after ` #`",
        ));
    }
    if rest.starts_with("=") && !rest.starts_with("==") {
        return Err(syntax(0..1, "`=` is not an operator", "`==` compares"));
    }
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        return Ok((TokenKind::Symbol(symbol), symbol.len()));
    }
    let help = match first {
        '$' => "this already is an expression: it stands without `${` and `}`",
        '&' => "`&&` means and",
        '|' => "`||` means or",
        '“' | '”' | '‘' | '’' => "texts stand between straight quotes: 'text'",
        '`' => "texts stand between single or double quotes: 'text'",
        _ => "texts stand between quotes: 'text'",
    };
    Err(syntax(
        0..first.len_utf8(),
        &format!("`{}` has no meaning here", first.escape_debug()),
        help,
    ))
}

fn number(rest: &str) -> Result<(TokenKind, usize), Fault> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| {
        bytes
            .iter()
            .skip(from)
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    if rest.starts_with("0x") || rest.starts_with("0X") {
        let length = 2 + bytes
            .iter()
            .skip(2)
            .take_while(|b| b.is_ascii_hexdigit())
            .count();
        let value = u64::from_str_radix(&rest[2..length], 16).map_err(|_| out_of_range(length))?;
        return ends_well(rest, TokenKind::Int(value), length);
    }
    let mut length = digits(0);
    let mut whole = true;
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        whole = false;
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            whole = false;
            length += 1 + sign + exponent;
        }
    }
    let text = &rest[..length];
    let kind = if whole {
        TokenKind::Int(text.parse().map_err(|_| out_of_range(length))?)
    } else {
        let value: f64 = text.parse().map_err(|_| out_of_range(length))?;
        if !value.is_finite() {
            return Err(out_of_range(length));
        }
        TokenKind::Double(value)
    };
    ends_well(rest, kind, length)
}

/// A number must not run into a name: `10s`, `1u`.
fn ends_well(rest: &str, kind: TokenKind, length: usize) -> Result<(TokenKind, usize), Fault> {
    let suffix = rest
        .bytes()
        .skip(length)
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
        .count();
    if suffix == 0 {
        return Ok((kind, length));
    }
    let word = &rest[..length + suffix];
    let help = match &rest[length..length + suffix] {
        "u" | "U" => format!("integers have one kind here: write `{}`", &rest[..length]),
        _ if super::time::parse_duration(word).is_some() => {
            format!("a span of time is written `duration('{word}')`")
        }
        _ => "names begin with a letter; texts stand between quotes".to_owned(),
    };
    Err(syntax(
        0..length + suffix,
        &format!("`{word}` is not a number"),
        &help,
    ))
}

fn out_of_range(length: usize) -> Fault {
    syntax(
        0..length,
        "this number is out of range",
        "integers have 64 bits: up to 9223372036854775807",
    )
}

fn syntax(span: Range<usize>, message: &str, help: &str) -> Fault {
    Fault::new(FaultKind::Syntax, span, message).with_help(help)
}
