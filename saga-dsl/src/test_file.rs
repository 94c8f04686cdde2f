//! What a `*.saga.test.yaml` says: how participants answer, and what is expected of the saga.
//!
//! [`crate::file::load_tests`] reads one; `saga test` runs its cases.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::diagnostic::Diagnostic;

/// How the names of test files end.
pub const SUFFIX: &str = ".saga.test.yaml";

/// A test file as far as it could be read.
#[derive(Debug)]
pub struct LoadedTests {
    /// The cases that nothing is wrong with; `None` where it cannot be told which those are.
    pub tests: Option<TestFile>,
    /// Everything found, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Cases for one saga file.
#[derive(Debug, Clone, PartialEq)]
pub struct TestFile {
    /// The saga file, relative to this one.
    pub saga: String,
    /// In order.
    pub cases: Vec<OwnCase>,
}

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnCase {
    /// Unique in the file.
    pub name: String,
    /// The start payload; `None`: a sample is made.
    pub input: Option<Value>,
    /// Answers by `participant/action`, attempt by attempt; the last one repeats. Never empty.
    pub answers: BTreeMap<String, Vec<Answer>>,
    /// What must come of it.
    pub expect: Expectation,
}

/// How a participant answers one attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It takes effect. The output, where a sample will not do.
    Succeed(Option<Value>),
    /// A business no.
    Refuse(Words),
    /// Rolled back; with the milliseconds that it asks to be left alone.
    Fail(Words, Option<u64>),
    /// No answer. True: and it took effect.
    Silent(bool),
    /// Of a compensation: no machine can do it.
    NeedsOperator(Words),
}

/// A code for machines and words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// For instance `card_declined`.
    pub code: String,
    /// May be empty.
    pub message: String,
}

/// What must come of a case; what is left out may be anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expectation {
    /// How it ends.
    pub status: Option<ExpectedEnd>,
    /// Where it failed, or where the incident is.
    pub step: Option<String>,
    /// Code of the failure or of the incident.
    pub code: Option<String>,
    /// Exactly these steps are undone, group after group; within a group in any order.
    pub compensated: Option<Vec<Vec<String>>>,
    /// Fields of the saga's output; others may be there.
    pub output: Option<Map<String, Value>>,
    /// These calls occur in this order; others may stand between.
    pub calls: Vec<String>,
}

/// The ends that a case can expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedEnd {
    /// Every selected step took effect.
    Completed,
    /// As if it had never happened.
    Compensated,
    /// An operator is needed.
    Incident,
}

impl ExpectedEnd {
    /// Every end with its word.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("completed", Self::Completed),
        ("compensated", Self::Compensated),
        ("incident", Self::Incident),
    ];

    /// The word in files and on screens.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Incident => "incident",
        }
    }
}
