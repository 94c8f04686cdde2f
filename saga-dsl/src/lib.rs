//! The language of sagas: from a file to a checked plan, without any I/O.
//!
//! [`file::load`] reads a YAML file and [`builder`] is the typed front; both give a [`definition::Definition`].
//! [`check`] finds what is wrong with it, as [`diagnostic::Diagnostic`]s with stable [`codes`].
//! [`schema`] tells editors what a file may hold.
//! [`plan::Plan`] is a definition made ready to run; [`payload::Payload`] is a document that it reads, number for number.
//! [`graph`] draws one, [`sample`] makes up the values it speaks of.

pub mod builder;
pub mod canonical;
pub mod check;
pub mod codes;
pub mod definition;
pub mod diagnostic;
pub mod duration;
pub mod expr;
pub mod file;
mod finding;
pub mod graph;
pub mod json;
pub mod limits;
pub mod names;
pub mod near_miss;
mod outline;
pub mod payload;
mod place;
pub mod plan;
pub mod sample;
pub mod schema;
pub mod test_file;
pub mod types;
