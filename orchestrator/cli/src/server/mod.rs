//! Servers, their processes, and what measures and shows them.

pub(crate) mod bench;
pub(crate) mod child;
pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod log;
pub(crate) mod serve;
pub(crate) mod topology;
pub(crate) mod version;
