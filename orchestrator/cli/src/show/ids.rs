//! Saga ids in words: 26 letters in full, the last eight where space is short.

use saga_core::ids::SagaId;
use saga_proto::v1::SagaSummary;

/// Letters that a screen shows of an id; any unique suffix names the saga.
const SHOWN: usize = 8;

/// The 26 letters of a saga's id.
pub fn id_text(summary: &SagaSummary) -> String {
    if summary.id.is_empty() {
        id_of(&summary.saga_id)
    } else {
        summary.id.clone()
    }
}

/// The letters of an id in bytes; hexadecimal, should a newer server have ids of another size.
pub fn id_of(bytes: &[u8]) -> String {
    match SagaId::from_bytes(bytes) {
        Some(id) => id.to_string(),
        None => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// The last letters, which is how lists show an id.
pub fn short(id: &str) -> String {
    let skip = id.chars().count().saturating_sub(SHOWN);
    id.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shortened_from_the_front() {
        assert_eq!(short("01JD8W3K5T0000000000007QK4"), "00007QK4");
        assert_eq!(short("é"), "é");
        assert_eq!(id_of(&[0xab, 1]), "ab01");
        assert_eq!(id_of(&[0; 16]), "0".repeat(26));
    }
}
