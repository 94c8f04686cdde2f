//! How things are shown: tables, words, times, JSON.

pub(crate) mod ids;
pub(crate) mod json;
#[cfg(test)]
pub(crate) mod narrow;
pub(crate) mod output;
pub(crate) mod pages;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod store_trouble;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod timeline;
pub(crate) mod tree;
pub(crate) mod words;
