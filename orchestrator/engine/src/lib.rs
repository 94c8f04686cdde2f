//! The engine: lanes, which take inputs, decide, commit, and only then act.
//!
//! `lane/` is the work itself. Around it stand the traits of what it needs from outside, [`store`] and [`link`], and what
//! lanes share with whoever serves them: definitions that are deployed, participants that are connected, breakers.

pub mod address;
pub mod breaker;
pub mod clock;
pub mod definitions;
pub mod directory;
pub mod document;
pub mod input_hash;
pub mod lane;
pub mod link;
pub mod store;

/// The naive store of the conformance suite names this crate from outside; tests of lanes run on it, too.
#[cfg(test)]
extern crate self as saga_engine;
