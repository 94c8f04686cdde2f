//! The laboratory: whatever brings participants of its own. The only crate that knows the SDK.
//!
//! `trials/` plays sagas in virtual time behind the SDK's barrier; [`mock`] plays participants that are not there yet;
//! [`mod@bench`] and [`demo`] are the participants of the commands of these names.

pub mod bench;
pub mod demo;
pub mod mock;
pub mod trials;
