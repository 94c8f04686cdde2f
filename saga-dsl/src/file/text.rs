//! Bytes to text: size and encoding, before anything is parsed.

use std::ops::Range;

use crate::codes::Code;

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// Why the bytes are not the text of a saga file.
pub(super) struct TextFault {
    pub code: Code,
    pub message: String,
    pub help: Option<&'static str>,
    /// Bytes of the text that the diagnostic shows.
    pub span: Range<usize>,
}

/// The text of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, TextFault> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(TextFault {
            code: Code::S0002,
            message: format!(
                "the file has {} bytes, and at most {FILE_BYTES_MAX} are read",
                bytes.len()
            ),
            help: None,
            span: 0..0,
        });
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(encoding("the file is UTF-16".to_owned(), 0..0));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        encoding(
            format!("the file is not UTF-8: byte {at} is 0x{:02x}", bytes[at]),
            at..at,
        )
    })?;
    let control = text
        .char_indices()
        .find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    match control {
        None => Ok(text),
        Some((at, c)) => Err(TextFault {
            code: Code::S0001,
            message: format!(
                "the file holds the control character U+{:04X}",
                u32::from(c)
            ),
            help: Some("remove it"),
            span: at..at + c.len_utf8(),
        }),
    }
}

fn encoding(message: String, span: Range<usize>) -> TextFault {
    TextFault {
        code: Code::S0001,
        message,
        help: Some("save the file as UTF-8"),
        span,
    }
}
