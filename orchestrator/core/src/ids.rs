//! Names of things: sagas, partitions, steps, and moments.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A moment as microseconds since the Unix epoch. The core never reads a clock; every moment is an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `ms` milliseconds later; saturates at the end of time.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        let us = i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(us))
    }
}

/// A partition of the orchestrator's work: the unit that a lane owns. At most 4,096 exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u16);

/// Identity of a saga: a `UUIDv7` whose twelve `rand_a` bits are the number of its partition.
///
/// Prints as 26 Crockford letters; [`SagaId::short`] gives the last eight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SagaId(u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LETTERS: usize = 26;
const VARIANT_RFC: u128 = 0b10 << 62;
const VERSION_7: u128 = 7 << 76;
const RANDOM_BITS: u128 = (1 << 62) - 1;
/// The first ten letters of a test's id, `7TEST0SAGA`, and version 8, which no saga has.
const TEST: u128 = 0xFA76_740C_AA0A << 80 | 8 << 76;
/// All bits before the first random one.
const TEST_BITS: u128 = !0 << 76;

impl SagaId {
    /// No saga: where something else is meant, as in the list of what operators did.
    pub const NONE: Self = Self(0);

    /// Puts an id together from the Unix time in milliseconds (48 bits), the partition and 62 random bits.
    #[must_use]
    pub fn new(unix_ms: u64, partition: Partition, random: u64) -> Self {
        let time = u128::from(unix_ms & 0xFFFF_FFFF_FFFF) << 80;
        let rand_a = u128::from(partition.0 & 0xFFF) << 64;
        Self(time | VERSION_7 | rand_a | VARIANT_RFC | (u128::from(random) & RANDOM_BITS))
    }

    /// The id of the saga that a start request asks for: the same request, the same id.
    ///
    /// Keeps the time and the 62 random bits of the request's `UUIDv7` and puts the partition in between.
    #[must_use]
    pub fn for_request(request: u128, partition: Partition) -> Self {
        let unix_ms = u64::try_from(request >> 80).unwrap_or(0);
        let random = u64::try_from(request & RANDOM_BITS).unwrap_or(0);
        Self::new(unix_ms, partition, random)
    }

    /// An id for commands that no saga sends: it begins with `7TEST0SAGA`, and can be that of no saga.
    #[must_use]
    pub fn for_test(random: u128) -> Self {
        let random = random & !TEST_BITS & !(0b11 << 62);
        Self(TEST | VARIANT_RFC | random)
    }

    /// Was it made by [`SagaId::for_test`]?
    #[must_use]
    pub fn is_test(self) -> bool {
        self.0 & TEST_BITS == TEST
    }

    /// The partition whose number stands in the id.
    #[must_use]
    pub fn partition(self) -> Partition {
        Partition(((self.0 >> 64) & 0xFFF) as u16)
    }

    /// Sixteen bytes, big endian: the order of the bytes is the order of the ids.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads what [`SagaId::to_bytes`] wrote; `None` for another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }

    /// The number behind the id; a source of per-saga chance that needs no randomness.
    #[must_use]
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The id that a number stands for, for ranges over ids.
    #[must_use]
    pub fn from_u128(number: u128) -> Self {
        Self(number)
    }

    /// The last eight letters, which is how screens show an id.
    #[must_use]
    pub fn short(self) -> String {
        self.to_string().split_off(LETTERS - 8)
    }

    /// The value and number of bits that a suffix of an id's letters fixes, for searches by suffix.
    /// `None` when a letter is not Crockford's or there are more than 26.
    #[must_use]
    pub fn parse_suffix(text: &str) -> Option<(u128, u32)> {
        if text.is_empty() || text.len() > LETTERS {
            return None;
        }
        let mut value: u128 = 0;
        for letter in text.bytes() {
            value = value.checked_mul(32)? | u128::from(letter_value(letter)?);
        }
        Some((value, u32::try_from(text.len() * 5).unwrap_or(128).min(128)))
    }
}

fn letter_value(letter: u8) -> Option<u8> {
    let upper = match letter.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    CROCKFORD
        .iter()
        .position(|&c| c == upper)
        .and_then(|i| u8::try_from(i).ok())
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = [0_u8; LETTERS];
        let mut rest = self.0;
        for slot in letters.iter_mut().rev() {
            *slot = CROCKFORD[(rest & 31) as usize];
            rest >>= 5;
        }
        f.pad(std::str::from_utf8(&letters).unwrap_or_default())
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not the 26 letters of a saga id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a saga id is 26 letters of 0-9 and A-Z without I, L, O, U")]
pub struct NotASagaId;

impl FromStr for SagaId {
    type Err = NotASagaId;

    fn from_str(text: &str) -> Result<Self, NotASagaId> {
        match Self::parse_suffix(text) {
            Some((value, _)) if text.len() == LETTERS => Ok(Self(value)),
            Some(_) | None => Err(NotASagaId),
        }
    }
}

impl Serialize for SagaId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SagaId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Identity of one act of an operator, made by the client: the same when the client sends the act again, so that it is
/// done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActId(pub u128);

impl ActId {
    /// Reads sixteen bytes, big endian; `None` for another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl Serialize for ActId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for ActId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_partition_and_its_order() {
        let a = SagaId::new(1_000, Partition(7), 42);
        let b = SagaId::new(1_001, Partition(3), 1);
        assert_eq!(a.partition(), Partition(7));
        assert!(a < b);
        assert!(a.to_string() < b.to_string());
        assert_eq!(SagaId::from_bytes(&a.to_bytes()), Some(a));
    }

    #[test]
    fn text_round_trips_and_suffixes_match() {
        let id = SagaId::new(1_780_000_000_123, Partition(31), u64::MAX);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        let (value, bits) = SagaId::parse_suffix(&id.short()).expect("letters");
        assert_eq!(id.as_u128() & ((1 << bits) - 1), value);
        assert!("nonsense!".parse::<SagaId>().is_err());
        assert!(SagaId::parse_suffix("U").is_none());
    }

    #[test]
    fn a_tests_id_is_seen_to_be_one_and_is_no_sagas() {
        for random in [0, 1, u128::MAX] {
            let id = SagaId::for_test(random);
            assert!(
                id.is_test() && id.to_string().starts_with("7TEST0SAGA"),
                "{id}"
            );
            let bytes = id.to_bytes();
            assert_eq!(
                (bytes[6] >> 4, bytes[8] >> 6),
                (8, 0b10),
                "a UUID of version 8"
            );
            // Whatever the time and the chance of it, a saga's id has version 7.
            let alike = SagaId::new((id.as_u128() >> 80) as u64, Partition(0xFFF), u64::MAX);
            assert!(!alike.is_test());
        }
        assert_ne!(SagaId::for_test(1), SagaId::for_test(2));
    }

    #[test]
    fn a_repeated_request_names_the_same_saga() {
        let request = SagaId::new(99, Partition(4_000), 77).as_u128();
        let id = SagaId::for_request(request, Partition(5));
        assert_eq!(id, SagaId::for_request(request, Partition(5)));
        assert_eq!(id.partition(), Partition(5));
    }
}
