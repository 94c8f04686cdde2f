//! What people see of a saga: the fold of its journal, told in words. Reads committed state only.

pub mod advice;
pub mod clock;
pub mod detail;
pub mod events;
pub mod fold;
mod next;
pub mod story;
#[cfg(test)]
mod tests;
pub mod words;
