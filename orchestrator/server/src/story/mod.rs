//! What people see of a saga: the fold of its journal, told in words. Reads committed state only.

pub mod advice;
pub mod detail;
pub mod events;
pub mod fold;
mod next;
#[cfg(test)]
mod tests;
pub mod why;
pub mod words;
