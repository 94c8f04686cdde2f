//! From a text to the tree of its places.

use super::{Branch, Fault, Kind, Tree, Word};

/// Deepest nesting. The edge lets in 64 levels, and an expression may wrap such a document once more.
pub(super) const DEPTH_MAX: u32 = 200;

/// Reads one JSON document.
///
/// # Errors
/// The first [`Fault`].
pub(crate) fn read(text: &str) -> Result<Tree, Fault> {
    if u32::try_from(text.len()).is_err() {
        return Err(Fault::Syntax(u32::MAX as usize));
    }
    let mut reader = Reader {
        text,
        at: 0,
        repeated: None,
    };
    let root = reader.value(DEPTH_MAX)?;
    reader.blank();
    if reader.at < text.len() {
        return Err(Fault::Syntax(reader.at));
    }
    Ok(Tree {
        root,
        repeated: reader.repeated,
    })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    repeated: Option<Box<str>>,
}

impl Reader<'_> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes `byte`, if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let found = self.next() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn wants(&mut self, byte: u8) -> Result<(), Fault> {
        if self.takes(byte) {
            Ok(())
        } else {
            Err(Fault::Syntax(self.at))
        }
    }

    /// A position; texts are known to be short enough.
    fn mark(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }

    fn value(&mut self, depth: u32) -> Result<Branch, Fault> {
        self.blank();
        let start = self.mark();
        let kind = match self.next() {
            Some(b'n') => self.literal("null", Kind::Null)?,
            Some(b't') => self.literal("true", Kind::Bool(true))?,
            Some(b'f') => self.literal("false", Kind::Bool(false))?,
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'[') => self.list(depth.checked_sub(1).ok_or(Fault::TooDeep)?)?,
            Some(b'{') => self.object(depth.checked_sub(1).ok_or(Fault::TooDeep)?)?,
            Some(_) | None => return Err(Fault::Syntax(self.at)),
        };
        Ok(Branch {
            start,
            end: self.mark(),
            kind,
        })
    }

    fn literal(&mut self, word: &str, kind: Kind) -> Result<Kind, Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Fault::Syntax(self.at));
        }
        self.at += word.len();
        Ok(kind)
    }

    fn list(&mut self, depth: u32) -> Result<Kind, Fault> {
        self.wants(b'[')?;
        let mut items = Vec::new();
        self.blank();
        if !self.takes(b']') {
            loop {
                items.push(self.value(depth)?);
                self.blank();
                if !self.takes(b',') {
                    break;
                }
            }
            self.wants(b']')?;
        }
        Ok(Kind::List(items.into()))
    }

    fn object(&mut self, depth: u32) -> Result<Kind, Fault> {
        self.wants(b'{')?;
        let mut fields: Vec<(Word, Branch)> = Vec::new();
        self.blank();
        if !self.takes(b'}') {
            loop {
                self.blank();
                let start = self.mark() + 1;
                let unescaped = self.string()?;
                let word = Word {
                    start,
                    end: self.mark() - 1,
                    unescaped,
                };
                self.blank();
                self.wants(b':')?;
                fields.push((word, self.value(depth)?));
                self.blank();
                if !self.takes(b',') {
                    break;
                }
            }
            self.wants(b'}')?;
        }
        let text = self.text;
        // Stable, so that of two with one name the later one comes later.
        fields.sort_by(|(a, _), (b, _)| a.get(text).cmp(b.get(text)));
        let repeated = &mut self.repeated;
        fields.dedup_by(|later, kept| {
            let same = later.0.get(text) == kept.0.get(text);
            if same {
                repeated.get_or_insert_with(|| later.0.get(text).into());
                std::mem::swap(later, kept);
            }
            same
        });
        Ok(Kind::Object(fields.into()))
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let from = self.at;
        while matches!(self.next(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from {
            Err(Fault::Syntax(from))
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Result<Kind, Fault> {
        /// Numbers with fewer letters and without an exponent are in range.
        const LETTERS_SAFE: usize = 300;
        let from = self.at;
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        let exponent = self.takes(b'e') || self.takes(b'E');
        if exponent {
            let _ = self.takes(b'+') || self.takes(b'-');
            self.digits()?;
        }
        let text = &self.text[from..self.at];
        if (exponent || text.len() > LETTERS_SAFE) && !text.parse::<f64>().is_ok_and(f64::is_finite)
        {
            const SHOWN: usize = 40;
            let shown = if text.len() > SHOWN {
                format!("{}…", &text[..SHOWN])
            } else {
                text.to_owned()
            };
            return Err(Fault::NumberTooLarge(shown));
        }
        Ok(Kind::Number)
    }

    /// Takes a string; gives its text where it has escapes.
    fn string(&mut self) -> Result<Option<Box<str>>, Fault> {
        self.wants(b'"')?;
        let mut plain = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            match self.next() {
                Some(b'"') => {
                    let rest = &self.text[plain..self.at];
                    self.at += 1;
                    return Ok(unescaped.map(|text| (text + rest).into()));
                }
                Some(b'\\') => {
                    let text = unescaped.get_or_insert_default();
                    text.push_str(&self.text[plain..self.at]);
                    let letter = self.escape()?;
                    unescaped.get_or_insert_default().push(letter);
                    plain = self.at;
                }
                Some(0..=31) | None => return Err(Fault::Syntax(self.at)),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let from = self.at;
        let letter = self.text.as_bytes().get(from + 1).copied();
        self.at += 2;
        Ok(match letter {
            Some(letter @ (b'"' | b'\\' | b'/')) => char::from(letter),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex()?;
                let lone = || Fault::LoneSurrogate(from);
                let code = match first {
                    0xd800..=0xdbff => {
                        if !(self.takes(b'\\') && self.takes(b'u')) {
                            return Err(lone());
                        }
                        let second = self.hex()?.checked_sub(0xdc00).filter(|low| *low < 0x400);
                        0x10000 + ((first - 0xd800) << 10) + second.ok_or_else(lone)?
                    }
                    other => other,
                };
                char::from_u32(code).ok_or_else(lone)?
            }
            Some(_) | None => return Err(Fault::Syntax(from)),
        })
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .ok_or(Fault::Syntax(self.at))?;
        self.at += 4;
        Ok(code)
    }
}
