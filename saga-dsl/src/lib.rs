//! The language of sagas: from a file to a checked plan, without any I/O.

pub mod builder;
pub mod canonical;
pub mod definition;
pub mod duration;
pub mod expr;
pub mod names;
pub mod near_miss;
pub mod plan;
pub mod types;
