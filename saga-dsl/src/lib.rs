//! The language of sagas: from a file to a checked plan, without any I/O.

pub mod definition;
pub mod expr;
pub mod near_miss;
pub mod plan;
pub mod types;
