//! What `saga bench` runs: a saga file of any length, and participants that do nothing but count.

mod definition;
mod participants;

pub use definition::{Definition, generate};
pub use participants::{Effects, serve};
