//! Fuzz targets: whatever reads something from outside is given what nobody meant.
//!
//! A target is a function of bytes that panics where a property does not hold. Its cases are made by a strategy: mostly
//! real files, journals and messages with a few edits, so that they get past the first check, and some plain noise. A
//! case that fails is made smaller edit by edit and saved under `tests/fuzz/regressions/<target>/`, from where every later
//! run takes it first.
//!
//! ```text
//! cargo test -p saga-tests --test fuzz                         a few hundred cases a target, always the same
//! SAGA_FUZZ=long cargo test -p saga-tests --test fuzz          60 seconds a target, other cases each time
//! SAGA_FUZZ=300 SAGA_FUZZ_SEED=7 cargo test ... journal        300 seconds of one target, from a given seed
//! ```
//! In reading order: [`run`] (how a target is run), [`edits`] (how cases are made), then one module a target.
#![allow(clippy::expect_used, reason = "a test may panic")]

mod definition;
mod edits;
mod expression;
mod journal;
mod payload;
mod run;
mod saga_file;
mod walk;
mod wire;
